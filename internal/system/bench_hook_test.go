package system

import "github.com/certlatch/certlatch/internal/system/bench"

// hook measures the hook where there is nothing to do, alone and among many
// lineages, against the start of a small program.
func (b *bencher) hook() []bench.Row {
	ca := newAuthority(b)
	alone, among := b.boot(), b.boot()
	const name = "n00001.web.example"
	b.manyServers(alone, ca, manyTarget{name: "web", lineage: "*.web.example", listens: map[string]string{name: "127.0.0.1:443"}})

	b.trust(among, ca)
	b.renew(among, ca, many(5000))
	b.put(among, map[string]string{"many-generic.yaml": "/etc/certlatch/config.yaml"})
	b.do(among, "certlatch deploy 2>&1")

	called := func(h *host) func() sample {
		return func() sample {
			return b.time(h, []int{0}, "RENEWED_LINEAGE=/etc/letsencrypt/live/"+name, "certlatch", "hook", "certbot")
		}
	}
	s := inTurns(101, called(alone), called(among), func() sample { return b.time(alone, []int{0}, "openssl", "version") })
	const version = "openssl version"
	return []bench.Row{
		bench.NewRow("hook with nothing to do", "ms", wall(s[0])).Against(version, wall(s[2])).AtMost(1.4),
		bench.NewRow("hook with nothing to do, CPU", "ms", cpu(s[0])).Against(version, cpu(s[2])),
		bench.NewRow("hook with nothing to do among 5,000 lineages", "ms", wall(s[1])).Against(version, wall(s[2])).AtMost(1.4),
		bench.NewRow("hook with nothing to do among 5,000 lineages, CPU", "ms", cpu(s[1])).Against(version, cpu(s[2])),
	}
}
