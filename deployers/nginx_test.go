package deployers

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// nginxFacts are those of a running nginx that prints a configuration.
func nginxFacts(dump Output) Facts {
	return Facts{Systemd: true, Unit: running, Outputs: map[string]Output{"nginx\x00-T\x00-q": dump}}
}

// nginxPlan plans for a target that has no probes, of the files that the
// change sets.
func nginxPlan(t *testing.T, dump Output, change func(*Target)) Plan {
	t.Helper()
	plan, err := nginx{}.Plan(target("nginx", func(t *Target) {
		t.Probes = nil
		t.Certificate, t.Key = "/etc/nginx/tls/fullchain.pem", "/etc/nginx/tls/privkey.pem"
		if change != nil {
			change(t)
		}
	}), lineage.Lineage{Name: "web.example"}, nginxFacts(dump))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// The dump was printed by nginx 1.26.3.
func TestNginxFollowsItsConfiguration(t *testing.T) {
	dump, err := os.ReadFile("testdata/nginx/dump.conf")
	if err != nil {
		t.Fatal(err)
	}
	plan := nginxPlan(t, Output{Stdout: string(dump)}, nil)
	for _, want := range []struct {
		name      string
		want, got any
	}{
		{"probes", []endpoint.Endpoint{
			{Scheme: "https", Host: "127.0.0.1", Port: 443, Name: "www.example"},
			{Scheme: "https", Host: "::1", Port: 443, Name: "www.example"},
			{Scheme: "https", Host: "127.0.0.9", Port: 9443, Name: "zone.example"},
			{Scheme: "https", Host: "localhost", Port: 9444, Name: "zone.example"},
			{Scheme: "tls", Host: "127.0.0.1", Port: 853},
		}, plan.Probes},
		{"names", []string{"example", "hidden.example", "plain.example", "two.example", "www.example"}, plan.Names},
		{"notes", []string{
			"/etc/nginx/sites/b.conf:1: the server finds its certificate by a variable, at each handshake: whether it is this one is not known, and nginx's own test does not look at it; write probes for the names that it is for",
			"/etc/nginx/sites/a.conf:1: *:443 is not probed: it is for QUIC",
			"/etc/nginx/sites/a.conf:1: unix:/run/web.sock is not probed: it is a UNIX socket",
			"/etc/nginx/sites/a.conf:1: 127.0.0.1:8443 is not probed: it wants the PROXY protocol first",
			"/etc/nginx/sites/a.conf:13: of localhost:9444-9446, only the first port is probed",
			"/etc/nginx/sites/b.conf:14: *:7443 is not probed: from this host, 127.0.0.1:7443 of /etc/nginx/sites/b.conf:7 would answer",
			"/etc/nginx/sites/b.conf:18: *:6443 is not probed: the server has certificates for several types of keys; write a probe with key=rsa or key=ecdsa",
		}, plan.Notes()},
	} {
		if diff := cmp.Diff(want.want, want.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.name, diff)
		}
	}
}

// Where the configuration says nothing about the files, the listeners that
// were found stay the probes.
func TestNginxSaysWhatItsConfigurationLacks(t *testing.T) {
	const dump = "# configuration file /etc/nginx/nginx.conf:\nhttp { server { listen 443 ssl; ssl_certificate tls/fullchain.pem; ssl_certificate_key tls/privkey.pem; } }\n"
	for _, test := range []struct {
		name   string
		dump   Output
		change func(*Target)
		notes  []string
	}{
		{"named", Output{Stdout: dump}, nil, nil},
		{"not named", Output{Stdout: dump}, func(t *Target) { t.Certificate, t.Key = "/srv/cert.pem", "/srv/key.pem" },
			[]string{"no server of nginx's configuration names /srv/cert.pem and its key; let the server that should have it name both"}},
		{"managed and not named", Output{Stdout: dump}, func(t *Target) { t.Directory, t.Certificate, t.Key = "/etc/nginx/tls", "", "" },
			[]string{"no server of nginx's configuration names /etc/nginx/tls/current/fullchain.pem and its key; let the server that should have it name both"}},
		{"another key", Output{Stdout: dump}, func(t *Target) { t.Key = "/srv/key.pem" }, []string{
			"/etc/nginx/nginx.conf:1: the server names /etc/nginx/tls/fullchain.pem, but another key; let it name both files of one pair",
			"no server of nginx's configuration names /etc/nginx/tls/fullchain.pem and its key; let the server that should have it name both",
		}},
		{"another certificate", Output{Stdout: dump}, func(t *Target) { t.Certificate = "/srv/cert.pem" }, []string{
			"/etc/nginx/nginx.conf:1: the server names /etc/nginx/tls/privkey.pem, but another certificate; let it name both files of one pair",
			"no server of nginx's configuration names /srv/cert.pem and its key; let the server that should have it name both",
		}},
		{"both in one file", Output{Stdout: strings.NewReplacer("tls/fullchain.pem", "/srv/all.pem", "tls/privkey.pem", "/srv/all.pem").Replace(dump)},
			func(t *Target) { t.Combined = "/srv/all.pem" }, nil},
		{"broken", Output{Failed: "nginx ended with status 1: [emerg] invalid parameter"}, nil,
			[]string{"nginx's configuration could not be read, so it is not known which of its servers use these files: nginx ended with status 1: [emerg] invalid parameter; run nginx -T -q"}},
		{"printed nothing", Output{}, nil,
			[]string{"nginx's configuration could not be read, so it is not known which of its servers use these files: no file of it was printed; run nginx -T -q"}},
		{"cut off", Output{Stdout: dump[:len(dump)-5]}, nil,
			[]string{"nginx's configuration could not be read, so it is not known which of its servers use these files: /etc/nginx/nginx.conf:1: a block or directive has no end; run nginx -T -q"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.notes, nginxPlan(t, test.dump, test.change).Notes()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseNginx(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string // the words of the directives, blocks in braces; or the error
	}{
		{"", nil},
		{"a b  c;", []string{"a", "b", "c", ";"}},
		{"a\n\tb\r\n;", []string{"a", "b", ";"}},
		{"# all { of it\na#b;", []string{"a#b", ";"}},
		{`a "b ; {" '}' "\"" '\\n' "\t";`, []string{"a", "b ; {", "}", `"`, `\n`, "\t", ";"}},
		{`a \; b\ c;`, []string{"a", `\;`, `b\ c`, ";"}},
		{"a ${b}c};", []string{"a", "${b}c}", ";"}},
		{"a { b; c {} } d;", []string{"a", "{", "b", ";", "c", "{", "}", "}", "d", ";"}},
		{`a_by_lua_block { local x = {"}"} -- }
			--[[ } ]] y = [==[ }}]] ]==] z = t[1] - '\'}' } b;`, []string{"a_by_lua_block", "{", "}", "b", ";"}},
		{"a_by_lua_block {[[", []string{"/x:1: a text of Lua has no end"}},
		{"a_by_lua_block {\n{}", []string{"/x:2: a block of Lua has no end"}},
		{"a_by_lua_block {'", []string{"/x:1: a quoted word has no end"}},
		{"a b", []string{"/x:1: a block or directive has no end"}},
		{"a {\nb;\n", []string{"/x:3: a block or directive has no end"}},
		{"a; }", []string{"/x:1: there is a brace that closes nothing"}},
		{"a { b }", []string{"/x:1: there is a brace that closes nothing"}},
		{"a;\n;", []string{"/x:2: a directive has no name"}},
		{"a 'b\n", []string{"/x:1: a quoted word has no end"}},
		{strings.Repeat("a {", 100), []string{"/x:1: a block or directive has no end"}},
	} {
		config, err := parseNginx("# configuration file /x:\n" + test.text)
		got := words(config.files["/x"])
		if err != nil {
			got = []string{err.Error()}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q:\n%s", test.text, diff)
		}
	}
}

func words(block []nginxDirective) (all []string) {
	for _, d := range block {
		all = append(all, d.words...)
		if d.block == nil && !strings.HasSuffix(d.name(), "_block") && d.name() != "c" {
			all = append(all, ";")
			continue
		}
		all = append(append(append(all, "{"), words(d.block)...), "}")
	}
	return all
}

func TestParseListen(t *testing.T) {
	for _, test := range []struct {
		words, shown string
		probe        endpoint.Endpoint
	}{
		{"443 ssl", "*:443", endpoint.Endpoint{Host: "127.0.0.1", Port: 443}},
		{"*:443 ssl", "*:443", endpoint.Endpoint{Host: "127.0.0.1", Port: 443}},
		{"0.0.0.0:443 ssl http2", "*:443", endpoint.Endpoint{Host: "127.0.0.1", Port: 443}},
		{"192.0.2.1:8443", "192.0.2.1:8443", endpoint.Endpoint{Host: "192.0.2.1", Port: 8443}},
		{"192.0.2.1", "192.0.2.1:80", endpoint.Endpoint{Host: "192.0.2.1", Port: 80}},
		{"[::]:443 ipv6only=off", "[::]:443", endpoint.Endpoint{Host: "::1", Port: 443}},
		{"[2001:db8::1]", "[2001:db8::1]:80", endpoint.Endpoint{Host: "2001:db8::1", Port: 80}},
		{"[2001:db8::1]:8443-8450", "[2001:db8::1]:8443-8450", endpoint.Endpoint{Host: "2001:db8::1", Port: 8443}},
		{"8443-8450", "*:8443-8450", endpoint.Endpoint{Host: "127.0.0.1", Port: 8443}},
		{"web.example:443", "web.example:443", endpoint.Endpoint{Host: "web.example", Port: 443}},
		{"web.example", "web.example:80", endpoint.Endpoint{Host: "web.example", Port: 80}},
	} {
		l := parseListen(strings.Fields(test.words))
		if l.String() != test.shown || l.tls != strings.Contains(test.words, "ssl") {
			t.Errorf("%q is %s, TLS %v, want %s", test.words, l, l.tls, test.shown)
		}
		if diff := cmp.Diff(test.probe, l.endpoint("", "")); diff != "" {
			t.Errorf("%q: %s", test.words, diff)
		}
	}
}

// What servers have in common, and what one has from the others.
func TestNginxServersInherit(t *testing.T) {
	const dump = `# configuration file /n/nginx.conf:
http {
	ssl on;
	ssl_certificate a; ssl_certificate_key a.key;
	server { listen 1; }
	server { listen 2; ssl off; ssl_certificate b; ssl_certificate_key data:$key; }
	server { listen 2 ssl; listen 3 proxy_protocol; listen 3; ssl off; }
}
mail { server { listen 465 ssl; ssl_certificate c; ssl_certificate_key engine:x:y; } }
`
	config, err := parseNginx(dump)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range config.servers() {
		line := s.scheme
		for _, l := range s.listens {
			line += fmt.Sprintf(" %s tls=%v proxied=%v", l, l.tls, l.proxied)
		}
		for _, p := range s.pairs {
			line += " " + p.certificate + " " + p.key
		}
		got = append(got, line)
	}
	want := []string{
		"https *:1 tls=true proxied=false /n/a /n/a.key",
		"https *:2 tls=true proxied=false /n/b data:",
		"https *:2 tls=true proxied=false *:3 tls=false proxied=true *:3 tls=false proxied=true /n/a /n/a.key",
		"tls *:465 tls=true proxied=false /n/c engine:",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What follows from a configuration is either all that it says or nothing.
func FuzzParseNginx(f *testing.F) {
	dump, err := os.ReadFile("testdata/nginx/dump.conf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(dump))
	f.Add("# configuration file /a:\nhttp { include a; server { listen [::1]:1-2 ssl; server_name .x *.y ~z; } }")
	f.Fuzz(func(t *testing.T, dump string) {
		config, err := parseNginx(dump)
		if err != nil && config.files != nil {
			t.Error("a configuration beside an error")
		}
		for _, server := range config.servers() {
			for _, l := range server.listens {
				_ = unprobed(server, l, []nginxServer{server})
				if e := l.endpoint(server.scheme, server.probeName()); e.Name != "" && !endpoint.IsHost(e.Name) {
					t.Errorf("%q is no name to ask for", e.Name)
				}
			}
		}
	})
}

// Workers that go on after a reload are counted by what they call themselves; seen
// with nginx 1.26.3.
func TestNginxOldWorkers(t *testing.T) {
	const master, worker, old = "nginx: master process /usr/sbin/nginx -g daemon on; master_process on;", "nginx: worker process", "nginx: worker process is shutting down"
	for _, test := range []struct {
		name         string
		workers, old int
		warned       bool
	}{
		{"none", 2, 0, false},
		{"a few", 2, 7, false},
		{"many", 2, 8, true},
		{"no worker is left", 0, 8, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			titles := slices.Concat([]string{master, "nginx: cache manager process"}, slices.Repeat([]string{worker}, test.workers), slices.Repeat([]string{old}, test.old))
			plan, err := nginx{}.Plan(target("nginx", nil), lineage.Lineage{Name: "web.example"}, Facts{Titles: titles, Systemd: true, Unit: Unit{LoadState: "loaded", ActiveState: "active", CanReload: true}})
			if err != nil {
				t.Fatal(err)
			}
			warned := slices.ContainsFunc(plan.Checks, func(c Check) bool {
				return c.Level == Warned && strings.Contains(c.Says, "8 workers from before earlier reloads") && strings.Contains(c.Remedy, "worker_shutdown_timeout")
			})
			if warned != test.warned {
				t.Errorf("%v", plan.Checks)
			}
		})
	}
}
