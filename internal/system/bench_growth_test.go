package system

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/certlatch/certlatch/internal/system/bench"
)

// growth measures what concerns all lineages, at one nginx with a server for
// each.
func (b *bencher) growth() []bench.Row {
	ca := newAuthority(b)
	sizes := []int{50, 500, 2000}
	hosts := map[int]*host{}
	for _, size := range sizes {
		hosts[size] = b.boot()
		web := manyTarget{name: "web", lineage: "*.web.example", listens: map[string]string{}}
		for name := range many(size) {
			web.listens[name] = "127.0.0.1:443"
		}
		b.manyServers(hosts[size], ca, web)
		b.put(hosts[size], map[string]string{"validate.sh": "/usr/local/bin/validate.sh"})
	}
	// inEach measures a command among each number of lineages.
	inEach := func(before func(size int), exits []int, command ...string) map[int][]sample {
		var each []func() sample
		for _, size := range sizes {
			each = append(each, func() sample {
				before(size)
				return b.time(hosts[size], exits, command...)
			})
		}
		samples := map[int][]sample{}
		for i, s := range inTurns(rounds, each...) {
			samples[sizes[i]] = s
		}
		return samples
	}
	asIs := func(int) {}

	var rows []bench.Row
	grown := func(name string, s map[int][]sample) {
		rows = append(rows,
			bench.NewRow(name+", 500 lineages", "ms", wall(s[500])).Against("50", wall(s[50])).AtMost(7),
			bench.NewRow(name+", 2,000 lineages", "ms", wall(s[2000])).Against("500", wall(s[500])))
	}
	pending := inEach(func(size int) { b.renewMany(hosts[size], ca, size) }, []int{0}, "certlatch", "deploy", "--pending")
	grown("pending", pending)
	rows[0], rows[1] = rows[0].Within(2500), rows[1].Within(10_000)
	rows = append(rows, bench.NewRow("pending, 2,000 lineages, memory", "MB", memory(pending[2000])).Within(250))

	grown("deploy of nothing new", inEach(asIs, []int{0}, "certlatch", "deploy"))
	grown("dry run", inEach(asIs, []int{0}, "certlatch", "deploy", "--dry-run"))
	grown("status", inEach(asIs, []int{0}, "certlatch", "status"))
	grown("doctor", inEach(asIs, []int{0, 1}, "certlatch", "doctor", "--target", "web"))

	grown("status without probes", inEach(asIs, []int{0}, "certlatch", "--config", unprobed, "status"))
	rows[len(rows)-1] = rows[len(rows)-1].Within(1000)
	return append(rows, b.validate(hosts)...)
}

// validate measures validate --all against a loop of openssl.
func (b *bencher) validate(hosts map[int]*host) []bench.Row {
	all := func(size int) func() sample {
		return func() sample { return b.time(hosts[size], []int{0}, "certlatch", "validate", "--all") }
	}
	s := inTurns(rounds, all(500), all(2000), func() sample { return b.time(hosts[500], []int{0}, "validate.sh") })
	return []bench.Row{
		bench.NewRow("validate --all, 500 lineages", "ms", wall(s[0])).Against("loop of openssl", wall(s[2])).AtMost(0.05),
		bench.NewRow("validate --all, 2,000 lineages", "ms", wall(s[1])).Against("500", wall(s[0])),
	}
}

// manyTarget is a target for lineages of which an nginx has a server each, at some
// address. Without a probe, they are found.
type manyTarget struct {
	name, lineage, probe string
	listens              map[string]string // by lineage
}

// config returns the target for certlatch's configuration.
func (t manyTarget) config(probe string) string {
	return fmt.Sprintf("  - {name: %s, service: nginx, lineage: %q, directory: \"/etc/nginx/tls/{lineage}\"%s}\n", t.name, t.lineage, probe)
}

// manyServers lets a host's nginx serve the lineages of targets, which certlatch
// then has deployed.
func (b *bencher) manyServers(h *host, ca authority, targets ...manyTarget) {
	b.Helper()
	b.trust(h, ca)
	const policy = "policy: {trust: /root/ca.pem}\ntargets:\n"
	config, plain, servers := policy, policy, "server_names_hash_max_size 16384;\n"
	for _, target := range targets {
		probe := ""
		if target.probe != "" {
			probe = fmt.Sprintf(", probe: [\"https://%s\"]", target.probe)
		}
		config, plain = config+target.config(probe), plain+target.config(", probe: []")
		for name, address := range target.listens {
			b.renew(h, ca, map[string][]string{name: {name}})
			servers += fmt.Sprintf("server {\n\tlisten %[2]s ssl;\n\tserver_name %[1]s;\n"+
				"\tssl_certificate /etc/nginx/tls/%[1]s/current/fullchain.pem;\n\tssl_certificate_key /etc/nginx/tls/%[1]s/current/privkey.pem;\n}\n", name, address)
		}
	}
	for path, content := range map[string]string{"/etc/certlatch/config.yaml": config, unprobed: plain, "/root/many.conf": servers} {
		if err := h.write(path, []byte(content), "0644", "root"); err != nil {
			b.Fatal(err)
		}
	}
	// nginx may name only files that are there.
	b.do(h, "certlatch --config "+unprobed+" deploy 2>&1", "mv /root/many.conf /etc/nginx/conf.d/", "systemctl reload nginx", "certlatch deploy 2>&1")
}

// unprobed is the path of the configuration without probes.
const unprobed = "/etc/certlatch/unprobed.yaml"

// renewMany renews a number of lineages, and marks each as a hook with --defer
// does.
func (b *bencher) renewMany(h *host, ca authority, size int) {
	b.Helper()
	b.renew(h, ca, many(size))
	for name := range many(size) {
		if err := os.WriteFile(filepath.Join(h.path("/var/lib/certlatch/marks"), "certbot:"+name), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

// many returns a number of lineages, with the names that each is for.
func many(size int) map[string][]string {
	lineages := map[string][]string{}
	for n := range size {
		name := fmt.Sprintf("n%05d.web.example", n+1)
		lineages[name] = []string{name}
	}
	return lineages
}
