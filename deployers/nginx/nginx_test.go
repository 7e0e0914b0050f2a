package nginx

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sample"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// The states of nginx.service as systemd 257 shows them.
var (
	running = deployers.Unit{Name: "nginx.service", LoadState: "loaded", ActiveState: "active", CanReload: true, MainPID: 63}
	stopped = deployers.Unit{Name: "nginx.service", LoadState: "loaded", ActiveState: "inactive", CanReload: true}
	missing = deployers.Unit{Name: "nginx.service", LoadState: "not-found", ActiveState: "inactive"}
	masked  = deployers.Unit{Name: "nginx.service", LoadState: "masked", ActiveState: "inactive"}
)

// factsOf returns the facts of a running nginx that prints a configuration.
func factsOf(dump deployers.Output) deployers.Facts {
	return deployers.Facts{Systemd: true, Unit: running, Outputs: map[string]deployers.Output{"nginx\x00-T\x00-q": dump}}
}

// planOf returns the plan for a target without probes, in place.
func planOf(t *testing.T, facts deployers.Facts) deployers.Plan {
	t.Helper()
	plan, err := Deployer{}.Plan(sample.Target(Deployer{}, func(t *deployers.Target) {
		t.Probes, t.Certificate, t.Key = nil, "/etc/nginx/tls/fullchain.pem", "/etc/nginx/tls/privkey.pem"
	}), lineage.Lineage{Name: "web.example"}, facts)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// planFor returns the plan for a target without probes, with the files that
// change sets.
func planFor(t *testing.T, dump deployers.Output, change func(*deployers.Target)) deployers.Plan {
	t.Helper()
	plan, err := Deployer{}.Plan(sample.Target(Deployer{}, func(t *deployers.Target) {
		t.Probes = nil
		t.Certificate, t.Key = "/etc/nginx/tls/fullchain.pem", "/etc/nginx/tls/privkey.pem"
		if change != nil {
			change(t)
		}
	}), lineage.Lineage{Name: "web.example"}, factsOf(dump))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// The dump was printed by nginx 1.26.3.
func TestFollowsItsConfiguration(t *testing.T) {
	dump, err := os.ReadFile("testdata/dump.conf")
	if err != nil {
		t.Fatal(err)
	}
	plan := planFor(t, deployers.Output{Stdout: string(dump)}, nil)
	for _, want := range []struct {
		name      string
		want, got any
	}{
		{"probes", []endpoint.Endpoint{
			{Scheme: "https", Host: "127.0.0.1", Port: 443, Name: "www.example"},
			{Scheme: "https", Host: "::1", Port: 443, Name: "www.example"},
			{Scheme: "https", Host: "127.0.0.1", Port: 8443, Name: "www.example", Proxy: "v1"},
			{Scheme: "https", Host: "127.0.0.1", Port: 443, Name: "plain.example"},
			{Scheme: "https", Host: "127.0.0.9", Port: 9443, Name: "zone.example"},
			{Scheme: "https", Host: "localhost", Port: 9444, Name: "zone.example"},
			{Scheme: "tls", Host: "127.0.0.1", Port: 853},
		}, plan.Probes},
		{"names", []string{"example", "hidden.example", "plain.example", "two.example", "www.example"}, plan.Names},
		{"notes", []string{
			"/etc/nginx/sites/b.conf:1: the server finds its certificate by a variable, at each handshake: whether it is this one is not known, and nginx's own test does not look at it; write probes for the names that it is for",
			"/etc/nginx/sites/a.conf:1: *:443 is not probed: it is for QUIC",
			"/etc/nginx/sites/a.conf:1: unix:/run/web.sock is not probed: it is a UNIX socket",
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
func TestSaysWhatItsConfigurationLacks(t *testing.T) {
	const dump = "# configuration file /etc/nginx/nginx.conf:\nhttp { server { listen 443 ssl; ssl_certificate tls/fullchain.pem; ssl_certificate_key tls/privkey.pem; } }\n"
	for _, test := range []struct {
		name   string
		dump   deployers.Output
		change func(*deployers.Target)
		notes  []string
	}{
		{"named", deployers.Output{Stdout: dump}, nil, nil},
		{"not named", deployers.Output{Stdout: dump}, func(t *deployers.Target) { t.Certificate, t.Key = "/srv/cert.pem", "/srv/key.pem" },
			[]string{"no server of nginx's configuration names /srv/cert.pem and its key: /etc/nginx/nginx.conf:1 takes /etc/nginx/tls/fullchain.pem; let the server that should have it name both"}},
		{"managed and not named", deployers.Output{Stdout: dump}, func(t *deployers.Target) { t.Directory, t.Certificate, t.Key = "/etc/nginx/tls", "", "" },
			[]string{"no server of nginx's configuration names /etc/nginx/tls/current/fullchain.pem and its key: /etc/nginx/nginx.conf:1 takes /etc/nginx/tls/fullchain.pem; let the server that should have it name both"}},
		{"another key", deployers.Output{Stdout: dump}, func(t *deployers.Target) { t.Key = "/srv/key.pem" }, []string{
			"/etc/nginx/nginx.conf:1: the server names /etc/nginx/tls/fullchain.pem, but another key; let it name both files of one pair",
			"no server of nginx's configuration names /etc/nginx/tls/fullchain.pem and its key; let the server that should have it name both",
		}},
		{"another certificate", deployers.Output{Stdout: dump}, func(t *deployers.Target) { t.Certificate = "/srv/cert.pem" }, []string{
			"/etc/nginx/nginx.conf:1: the server names /etc/nginx/tls/privkey.pem, but another certificate; let it name both files of one pair",
			"no server of nginx's configuration names /srv/cert.pem and its key; let the server that should have it name both",
		}},
		{"both in one file", deployers.Output{Stdout: strings.NewReplacer("tls/fullchain.pem", "/srv/all.pem", "tls/privkey.pem", "/srv/all.pem").Replace(dump)},
			func(t *deployers.Target) { t.Combined = "/srv/all.pem" }, nil},
		{"broken", deployers.Output{Failed: "nginx ended with status 1: [emerg] invalid parameter"}, nil,
			[]string{"nginx's configuration could not be read, so it is not known which of its servers use these files: nginx ended with status 1: [emerg] invalid parameter; run nginx -T -q"}},
		{"printed nothing", deployers.Output{}, nil,
			[]string{"nginx's configuration could not be read, so it is not known which of its servers use these files: no file of it was printed; run nginx -T -q"}},
		{"cut off", deployers.Output{Stdout: dump[:len(dump)-5]}, nil,
			[]string{"nginx's configuration could not be read, so it is not known which of its servers use these files: /etc/nginx/nginx.conf:1: a block or directive has no end; run nginx -T -q"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.notes, planFor(t, test.dump, test.change).Notes()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParse(t *testing.T) {
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
		config, err := parse("# configuration file /x:\n" + test.text)
		got := words(config.files["/x"])
		if err != nil {
			got = []string{err.Error()}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q:\n%s", test.text, diff)
		}
	}
}

func words(block []directive) (all []string) {
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
func TestServersInherit(t *testing.T) {
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
	config, err := parse(dump)
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
func FuzzParse(f *testing.F) {
	dump, err := os.ReadFile("testdata/dump.conf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(dump))
	f.Add("# configuration file /a:\nstream { map $ssl_preread_server_name $b { hostnames; *.a unix:/b; ~c d; } server { listen 1; proxy_pass $b; } } http { server { listen unix:/b ssl; server_name x.a; } }")
	f.Add("# configuration file /a:\nhttp { include a; server { listen [::1]:1-2 ssl; server_name .x *.y ~z; } }")
	f.Fuzz(func(t *testing.T, dump string) {
		config, err := parse(dump)
		if err != nil && config.files != nil {
			t.Error("a configuration beside an error")
		}
		read := readServers(dump)
		for number, server := range read.servers {
			for _, l := range server.listens {
				e, why := read.probe(number, l, []string{"a.example"})
				if again, err := endpoint.Parse(e.String()); why == "" && e.Port != 0 && endpoint.IsHost(e.Host) && (err != nil || again != e) {
					t.Errorf("%s is no probe: %v", e, err)
				}
			}
		}
	})
}

// Workers that go on after a reload are counted by what they call themselves; seen
// with nginx 1.26.3.
func TestOldWorkers(t *testing.T) {
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
			plan, err := Deployer{}.Plan(sample.Target(Deployer{}, nil), lineage.Lineage{Name: "web.example"}, deployers.Facts{Titles: titles, Systemd: true, Unit: deployers.Unit{LoadState: "loaded", ActiveState: "active", CanReload: true}})
			if err != nil {
				t.Fatal(err)
			}
			warned := slices.ContainsFunc(plan.Checks, func(c deployers.Check) bool {
				return c.Level == deployers.Warned && strings.Contains(c.Says, "8 workers from before earlier reloads") && strings.Contains(c.Remedy, "worker_shutdown_timeout")
			})
			if warned != test.warned {
				t.Errorf("%v", plan.Checks)
			}
		})
	}
}

func TestActivation(t *testing.T) {
	for _, test := range []struct {
		name   string
		target deployers.Target
		facts  deployers.Facts
		want   deployers.Activation
		fails  error
	}{
		{
			"nginx under systemd is reloaded", sample.Target(Deployer{}, nil), deployers.Facts{Systemd: true, Unit: running, Master: 63},
			deployers.Activation{Way: deployers.ReloadUnit, Unit: "nginx.service"}, nil,
		}, {
			"a stopped nginx takes the files at its start", sample.Target(Deployer{}, nil), deployers.Facts{Systemd: true, Unit: stopped},
			deployers.Activation{Way: deployers.NoWay, Unit: "nginx.service", Wait: deployers.ServiceInactive}, nil,
		}, {
			"a missing unit", sample.Target(Deployer{}, nil), deployers.Facts{Systemd: true, Unit: missing},
			deployers.Activation{}, &deployers.UnitError{Unit: "nginx.service", LoadState: "not-found"},
		}, {
			"a masked unit", sample.Target(Deployer{}, nil), deployers.Facts{Systemd: true, Unit: masked},
			deployers.Activation{}, &deployers.UnitError{Unit: "nginx.service", LoadState: "masked"},
		}, {
			"without systemd the master gets a HUP", sample.Target(Deployer{}, nil), deployers.Facts{Master: 9},
			deployers.Activation{Way: deployers.SignalPID, PID: 9, Signal: "HUP", Why: "systemd does not manage this nginx, so its master process is sent a HUP"}, nil,
		}, {
			"an nginx beside the unit's gets a HUP", sample.Target(Deployer{}, nil), deployers.Facts{Systemd: true, Unit: missing, Master: 9},
			deployers.Activation{Way: deployers.SignalPID, PID: 9, Signal: "HUP", Why: "systemd does not manage this nginx, so its master process is sent a HUP"}, nil,
		}, {
			"without systemd and process", sample.Target(Deployer{}, nil), deployers.Facts{},
			deployers.Activation{Way: deployers.NoWay, Wait: deployers.ServiceInactive, Why: "no systemd here, and no process in /run/nginx.pid"}, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(test.target, lineage.Lineage{Name: "web.example"}, test.facts)
			if diff := cmp.Diff(test.fails, err); diff != "" {
				t.Fatal(diff)
			}
			if diff := cmp.Diff(test.want, plan.Activate); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	managed := sample.Target(Deployer{}, func(t *deployers.Target) {
		t.Certificate, t.Key = "", ""
		t.Directory = "/etc/nginx/tls/{lineage}"
		t.Probes = nil
		t.Options = &Options{Binary: "/usr/sbin/nginx", Config: "/srv/nginx.conf", Prefix: "/srv"}
	})
	facts := deployers.Facts{Systemd: true, Unit: running, Listeners: []netip.AddrPort{
		netip.MustParseAddrPort("0.0.0.0:443"), netip.MustParseAddrPort("[::]:443"), netip.MustParseAddrPort("192.0.2.1:8443"),
	}}
	got, err := Deployer{}.Plan(managed, lineage.Lineage{Name: "web.example"}, facts)
	if err != nil {
		t.Fatal(err)
	}
	want := deployers.Plan{
		Target: "web", Service: "nginx", Lineage: "web.example",
		Directory: "/etc/nginx/tls/web.example",
		Files: []deployers.File{
			{Path: "/etc/nginx/tls/web.example/current/fullchain.pem", Content: deployers.Fullchain, Mode: 0o644},
			{Path: "/etc/nginx/tls/web.example/current/chain.pem", Content: deployers.Chain, Mode: 0o644},
			{Path: "/etc/nginx/tls/web.example/current/privkey.pem", Content: deployers.Key, Mode: 0o640},
		},
		Test:     deployers.Test{Command: []string{"/usr/sbin/nginx", "-t", "-q", "-c", "/srv/nginx.conf", "-p", "/srv"}},
		Activate: deployers.Activation{Way: deployers.ReloadUnit, Unit: "nginx.service"},
		Probes: []endpoint.Endpoint{
			{Scheme: "https", Host: "127.0.0.1", Port: 443},
			{Scheme: "https", Host: "::1", Port: 443},
			{Scheme: "https", Host: "192.0.2.1", Port: 8443},
		},
		Example: "https://127.0.0.1:443", Found: true,
		Proof: deployers.Proof{Accepting: "nginx: worker process", InARow: 4, Pace: 25 * time.Millisecond},
		Checks: []deployers.Check{{
			About: deployers.Configuration, Level: deployers.Warned,
			Says:   "nginx's configuration could not be read, so it is not known which of its servers use these files: no file of it was printed",
			Remedy: "run /usr/sbin/nginx -T -q -c /srv/nginx.conf -p /srv",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestTestedByDump wants the test to be known to pass where nginx printed its
// configuration, which it does once it has tested it.
func TestTestedByDump(t *testing.T) {
	target := sample.Target(Deployer{}, nil)
	key := "nginx\x00-T\x00-q"
	for name, c := range map[string]struct {
		outputs map[string]deployers.Output
		passed  bool
	}{
		"printed":   {map[string]deployers.Output{key: {Stdout: "# configuration file /etc/nginx/nginx.conf:\nevents {}\n"}}, true},
		"failed":    {map[string]deployers.Output{key: {Stdout: "# configuration", Failed: "it took too long"}}, false},
		"nothing":   {map[string]deployers.Output{key: {}}, false},
		"not asked": {nil, false},
	} {
		plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "web.example"}, deployers.Facts{Systemd: true, Unit: running, Outputs: c.outputs})
		if err != nil || plan.Test.Passed != c.passed || plan.Test.Command[1] != "-t" {
			t.Errorf("%s: %+v (%v)", name, plan.Test, err)
		}
	}
}

func TestDiscover(t *testing.T) {
	const dump = `# configuration file /etc/nginx/nginx.conf:
http {
	server { listen 80; server_name plain.example; ssl_certificate a.pem; ssl_certificate_key a.key; }
	server { listen 443 ssl; server_name _; ssl_certificate /tls/default.pem; ssl_certificate_key /tls/default.key; }
	server { listen 443 ssl; server_name www.example .example; ssl_certificate a.pem; ssl_certificate_key a.key; }
	server { listen [::]:443 ssl; server_name *.sub.example "~^x"; ssl_certificate a.pem; ssl_certificate_key a.key; }
	server {
		listen 8443 ssl;
		server_name both.example;
		ssl_certificate ec.pem; ssl_certificate_key ec.key;
		ssl_certificate rsa.pem; ssl_certificate_key rsa.key;
	}
	server { listen 443 ssl; server_name each.example; ssl_certificate /tls/$ssl_server_name.pem; ssl_certificate_key /tls/key; }
}
`
	probe := func(host string, port uint16, name string) []endpoint.Endpoint {
		return []endpoint.Endpoint{{Scheme: "https", Host: host, Port: port, Name: name}}
	}
	sample.CheckUses(t, sample.Discover(Deployer{}, factsOf(deployers.Output{Stdout: dump})), []deployers.Use{
		{Where: "/etc/nginx/nginx.conf:3", Certificate: "/tls/default.pem", Key: "/tls/default.key", Probes: probe("127.0.0.1", 443, "")},
		{
			Where: "/etc/nginx/nginx.conf:4, /etc/nginx/nginx.conf:5", Certificate: "/etc/nginx/a.pem", Key: "/etc/nginx/a.key",
			Names:  []string{"www.example", "example", "*.example", "*.sub.example"},
			Probes: append(probe("127.0.0.1", 443, "www.example"), probe("::1", 443, "certlatch.sub.example")...),
		},
		{Where: "/etc/nginx/nginx.conf:6", Certificate: "/etc/nginx/ec.pem", Key: "/etc/nginx/ec.key", Names: []string{"both.example"}, Twin: true, Probes: probe("127.0.0.1", 8443, "both.example")},
		{Where: "/etc/nginx/nginx.conf:6", Certificate: "/etc/nginx/rsa.pem", Key: "/etc/nginx/rsa.key", Names: []string{"both.example"}, Twin: true, Probes: probe("127.0.0.1", 8443, "both.example")},
	}, "/etc/nginx/nginx.conf:12: the server takes its certificate from no file that has a fixed path")
	sample.CheckUses(t, sample.Discover(Deployer{}, factsOf(deployers.Output{Failed: "exit status 1"})), nil, "nginx refuses its configuration")
}

// TestDiscoverPlain wants servers without TLS to be told of, unless another server has
// their names with TLS.
func TestDiscoverPlain(t *testing.T) {
	const plain, tls, forAll = `server { listen 80; server_name %s; }
`, `server { listen 443 ssl; server_name www.example *.apps.example; ssl_certificate a.pem; ssl_certificate_key a.key; }
`, `server { listen 443 ssl default_server; ssl_certificate a.pem; ssl_certificate_key a.key; }
`
	const mail = `}
mail {
	server { listen 25; server_name mail.example; protocol smtp; }
`
	for text, want := range map[string][][]string{
		fmt.Sprintf(plain, "a.example b.example") + fmt.Sprintf(plain, "_") + fmt.Sprintf(plain, "~^c"): {{"a.example", "b.example"}},
		fmt.Sprintf(plain, "a.example") + tls:                                                    {{"a.example"}},
		fmt.Sprintf(plain, "www.example a.example") + fmt.Sprintf(plain, "x.apps.example") + tls: nil,
		fmt.Sprintf(plain, "a.example") + forAll:                                                 nil,
		mail:                                                                                     nil,
	} {
		dump := "# configuration file /etc/nginx/nginx.conf:\nhttp {\n" + text + "}\n"
		var names [][]string
		for _, use := range sample.Discover(Deployer{}, factsOf(deployers.Output{Stdout: dump})).Plain {
			names = append(names, use.Names)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s (-want +got)\n%s", text, diff)
		}
	}
}
