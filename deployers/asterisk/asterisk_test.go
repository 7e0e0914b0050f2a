package asterisk

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sample"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// running is asterisk.service of Debian's 22.10.1 as systemd 262 shows it.
var running = deployers.Unit{Name: "asterisk.service", LoadState: "loaded", ActiveState: "active", CanReload: true, MainPID: 69}

// debianStatus is of /proc/PID/status of a process of Debian's package.
const debianStatus = "Name:\tasterisk\nUid:\t101\t101\t101\t101\nGid:\t102\t102\t102\t102\nGroups:\t \n"

// The whole line that Debian's 22.10.1 prints.
const debianVersion = "No ethernet interface found for seeding global EID. You will have to set it manually.\n" +
	"Asterisk 22.10.1+dfsg+~cs6.17.60671434-1 built by nobody @ buildd.debian.org on a unknown running Linux on 2026-07-20 21:35:32 UTC\n"

// factsOf are those of a running Asterisk with files of testdata, by their paths
// below /etc/asterisk.
func factsOf(t *testing.T, version string, files map[string]string) deployers.Facts {
	t.Helper()
	f := deployers.Facts{
		Systemd: true, Unit: running,
		Listeners: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:5061"), netip.MustParseAddrPort("[::1]:5071"), netip.MustParseAddrPort("0.0.0.0:8089")},
		Outputs:   map[string]deployers.Output{"asterisk\x00-rx\x00core show version": {Stdout: version}},
		Texts: map[string][]deployers.Text{
			"/etc/asterisk/asterisk.conf": {{Path: "/etc/asterisk/asterisk.conf", Content: "[options]\nrunuser = pbx\nrungroup = pbxgroup ; as packaged\n"}},
			"/proc/69/status":             {{Path: "/proc/69/status", Content: debianStatus}},
		},
	}
	for pattern, name := range files {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		f.Texts["/etc/asterisk/"+pattern] = []deployers.Text{{Path: "/etc/asterisk/" + name, Content: string(text)}}
	}
	return f
}

func sip() map[string]string {
	return map[string]string{"pjsip.conf": "pjsip.conf", "pjsip.d/*.conf": "phones.conf"}
}

// target is one of the files that a certificate and a key are in.
func target(certificate, key string, change func(*deployers.Target)) deployers.Target {
	return sample.Target(Deployer{}, func(t *deployers.Target) {
		t.Certificate, t.Key, t.Probes = certificate, key, nil
		if change != nil {
			change(t)
		}
	})
}

func TestReadsTransports(t *testing.T) {
	seen := (&Options{Config: usualConfig}).observe(factsOf(t, "", sip()))
	want := []use{
		{where: "transport transport-tls (/etc/asterisk/pjsip.conf:18)", certificate: "/etc/asterisk/keys/cert.pem", key: "/etc/asterisk/keys/key.pem", port: 5061},
		{where: "transport transport-v6 (/etc/asterisk/pjsip.conf:21)", certificate: "/etc/asterisk/keys/cert.pem", key: "/etc/asterisk/keys/key.pem", port: 5071},
		{where: "transport phones (/etc/asterisk/phones.conf:1)", certificate: "/etc/asterisk/keys/phones;1.pem", key: "/etc/asterisk/keys/phones.key", port: 5081},
	}
	if diff := cmp.Diff(want, seen.uses, cmp.AllowUnexported(use{})); diff != "" {
		t.Error(diff)
	}
	if want := []string{"/etc/asterisk/pjsip.conf:33: what a program writes there (#exec) is not known"}; !cmp.Equal(want, seen.unread) {
		t.Errorf("unread: %q", seen.unread)
	}
	if want := []string{
		"/etc/asterisk/asterisk.conf", "/etc/asterisk/pjsip.conf", "/etc/asterisk/pjsip.d/*.conf", "/etc/asterisk/nothing.conf", "/etc/asterisk/http.conf",
	}; !cmp.Equal(want, seen.asked) {
		t.Errorf("asked for %q", seen.asked)
	}
}

func TestWebServer(t *testing.T) {
	read := func(text string) []use {
		f := deployers.Facts{Texts: map[string][]deployers.Text{"/etc/asterisk/http.conf": {{Path: "/etc/asterisk/http.conf", Content: text}}}}
		return (&Options{Config: usualConfig}).observe(f).uses
	}
	const on = "[general]\nenabled=yes\ntlsenable=yes\ntlscertfile=/c.pem\n"
	for text, want := range map[string][]use{
		on: {{where: "the web server (/etc/asterisk/http.conf:1)", certificate: "/c.pem", key: "/c.pem", port: 8089, web: true}},
		on + "tlsbindaddr=[::]:443\ntlsprivatekey=/k.pem\n": {{where: "the web server (/etc/asterisk/http.conf:1)", certificate: "/c.pem", key: "/k.pem", port: 443, web: true}},
		"[general]\nenabled=no\ntlsenable=yes\n":            nil,
		"[general]\nenabled=yes\n":                          nil,
	} {
		if diff := cmp.Diff(want, read(text), cmp.AllowUnexported(use{})); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestActivation(t *testing.T) {
	sipTarget := target("/etc/asterisk/keys/cert.pem", "/etc/asterisk/keys/key.pem", nil)
	restartable := target("/etc/asterisk/keys/cert.pem", "/etc/asterisk/keys/key.pem", func(t *deployers.Target) { t.AllowRestart = true })
	webTarget := target("", "", func(t *deployers.Target) { t.Combined = "/etc/asterisk/keys/web.pem" })
	both := target("/etc/asterisk/keys/cert.pem", "/etc/asterisk/keys/key.pem", func(t *deployers.Target) { t.Combined = "/etc/asterisk/keys/web.pem" })
	run := func(command ...string) deployers.Activation {
		return deployers.Activation{Way: deployers.RunCommand, Unit: "asterisk.service", Command: command}
	}
	const late = "Asterisk 18.14.0 reads the certificates of its transports only when it starts"
	everything := sip()
	everything["http.conf"] = "http.conf"
	silent := factsOf(t, "", sip())
	silent.Outputs["asterisk\x00-rx\x00core show version"] = deployers.Output{Failed: "exit status 1"}
	stopped := factsOf(t, "", sip())
	stopped.Unit.ActiveState, stopped.Unit.MainPID = "inactive", 0
	absent := factsOf(t, "", sip())
	absent.Unit = deployers.Unit{Name: "asterisk.service", LoadState: "not-found"}
	all := run("asterisk", "-rx", "core reload")
	all.Why = "a transport and the web server take these files, so all modules of Asterisk read their configuration again"
	for _, test := range []struct {
		name   string
		target deployers.Target
		facts  deployers.Facts
		want   deployers.Activation
		fails  error
	}{
		{name: "transports", target: sipTarget, facts: factsOf(t, debianVersion, sip()), want: run("asterisk", "-rx", "module reload res_pjsip.so")},
		{name: "the web server", target: webTarget, facts: factsOf(t, debianVersion, everything), want: run("asterisk", "-rx", "module reload http")},
		{name: "both", target: both, facts: factsOf(t, debianVersion, everything), want: all},
		{name: "nothing that is known", target: sipTarget, facts: factsOf(t, debianVersion, nil), want: run("asterisk", "-rx", "module reload res_pjsip.so")},
		{name: "a version that is not told", target: sipTarget, facts: factsOf(t, "Asterisk GIT-master-1a2b3c4 built by root", sip()), want: run("asterisk", "-rx", "module reload res_pjsip.so")},
		{
			name: "before transports looked at the time", target: sipTarget, facts: factsOf(t, "Asterisk 18.14.0 built by root", sip()),
			want: deployers.Activation{Way: deployers.NoWay, Unit: "asterisk.service", Wait: deployers.RestartNotAllowed, Why: strings.Replace(late, ".0", "", 1)},
		},
		{
			name: "and where a restart is allowed", target: restartable, facts: factsOf(t, "Asterisk 18.14.0 built by root", sip()),
			want: deployers.Activation{Way: deployers.RestartUnit, Unit: "asterisk.service", Why: strings.Replace(late, ".0", "", 1) + "; allow_restart is set, so it is restarted"},
		},
		{name: "the web server of such a one", target: webTarget, facts: factsOf(t, "Asterisk 18.14.0 built by root", everything), want: run("asterisk", "-rx", "module reload http")},
		{name: "stopped", target: sipTarget, facts: stopped, want: deployers.Activation{Way: deployers.NoWay, Unit: "asterisk.service", Wait: deployers.ServiceInactive}},
		{name: "absent", target: sipTarget, facts: absent, fails: &deployers.UnitError{Unit: "asterisk.service", LoadState: "not-found"}},
		{
			name: "silent", target: sipTarget, facts: silent,
			fails: &deployers.NoWayError{
				Target: "web", About: deployers.Control, Why: "Asterisk cannot be reached: exit status 1",
				Remedy: "see why asterisk -rx core show version fails, or set asterisk: {config: PATH} to the asterisk.conf that it runs with",
			},
		},
		{
			name: "no systemd", target: sipTarget, facts: deployers.Facts{},
			fails: &deployers.NoWayError{
				Target: "web", About: deployers.Reload, Why: "systemd does not run here, so asterisk.service cannot be reloaded",
				Remedy: "use service: generic with generic: {activate: [program, argument]} for this target",
			},
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

// Where Asterisk has another configuration, so has the command that talks to it.
func TestOtherConfiguration(t *testing.T) {
	other := target("/c.pem", "/k.pem", func(t *deployers.Target) { t.Options = &Options{Config: "/srv/pbx/asterisk.conf"} })
	wants := Deployer{}.Wants(other, deployers.Facts{Systemd: true, Unit: running, Texts: map[string][]deployers.Text{
		"/srv/pbx/asterisk.conf": {{Path: "/srv/pbx/asterisk.conf", Content: "[directories](!)\nastetcdir => /srv/pbx/etc\n"}},
	}})
	if want := [][]string{{"asterisk", "-C", "/srv/pbx/asterisk.conf", "-rx", "core show version"}}; !cmp.Equal(want, wants.Commands) {
		t.Errorf("commands %q", wants.Commands)
	}
	want := []string{
		"/srv/pbx/asterisk.conf", "/srv/pbx/etc/pjsip.conf", "/srv/pbx/etc/http.conf", "/srv/pbx/etc/sorcery.conf",
		"/etc/systemd/system/asterisk.service", "/usr/lib/systemd/system/asterisk.service", "/proc/69/status",
	}
	if !cmp.Equal(want, wants.Texts) {
		t.Errorf("texts %q", wants.Texts)
	}
}

func TestVersions(t *testing.T) {
	for printed, want := range map[string]bool{
		"Asterisk 22.10.1 built": true, "Asterisk 20.0.0 built": true, "Asterisk 19.7.0 built": true, "Asterisk 18.15.0 built": true, "Asterisk 16.29.0 built": true,
		"Asterisk certified-18.9-cert4 built": false, "Asterisk 19.6.9 built": false, "Asterisk 17.9.4 built": false, "Asterisk 16.28.0 built": false, "Asterisk 13.38.3 built": false,
	} {
		if got := reloads(versionNumber(printed)); got != want {
			t.Errorf("%s: %v", printed, got)
		}
	}
}

// Who reads the files, and whose group they get.
func TestAccount(t *testing.T) {
	const packaged = "[Service]\nExecStart=/usr/sbin/asterisk -g -f -p -U asterisk -G voip\n"
	unit := func(f *deployers.Facts) {
		f.Texts["/usr/lib/systemd/system/asterisk.service"] = []deployers.Text{{Path: "/usr/lib/systemd/system/asterisk.service", Content: packaged}}
	}
	stop := func(f *deployers.Facts) { f.Unit.ActiveState, f.Unit.MainPID = "inactive", 0 }
	for _, test := range []struct {
		name        string
		change      func(*deployers.Facts)
		user, group string
	}{
		{"as the process shows", func(*deployers.Facts) {}, "101", "102"},
		{"as root", func(f *deployers.Facts) {
			f.Texts["/proc/69/status"] = []deployers.Text{{Content: strings.NewReplacer("101", "0", "102", "0").Replace(debianStatus)}}
		}, "", ""},
		{"as its unit starts it", func(f *deployers.Facts) { stop(f); unit(f) }, "asterisk", "voip"},
		{"as asterisk.conf says", stop, "pbx", "pbxgroup"},
		{"as systemd starts it", func(f *deployers.Facts) { f.Unit.User, f.Unit.Group = "own", "other" }, "own", "other"},
	} {
		f := factsOf(t, debianVersion, sip())
		test.change(&f)
		plan, err := Deployer{}.Plan(target("/etc/asterisk/keys/cert.pem", "/etc/asterisk/keys/key.pem", nil), lineage.Lineage{Name: "web.example"}, f)
		if err != nil {
			t.Fatal(err)
		}
		if got := [3]string{plan.Reader.User, plan.Reader.Group, plan.Files[1].Group}; got != [3]string{test.user, test.group, test.group} {
			t.Errorf("%s: %q", test.name, got)
		}
	}
}

func TestProbesAndChecks(t *testing.T) {
	everything := sip()
	everything["http.conf"] = "http.conf"
	const unread = "/etc/asterisk/pjsip.conf:33: what a program writes there (#exec) is not known"
	at := func(scheme, host string, port uint16) endpoint.Endpoint {
		return endpoint.Endpoint{Scheme: scheme, Host: host, Port: port}
	}
	for _, test := range []struct {
		name   string
		target deployers.Target
		probes []endpoint.Endpoint
		notes  []string
	}{
		{
			"transports", target("/etc/asterisk/keys/cert.pem", "/etc/asterisk/keys/key.pem", nil),
			[]endpoint.Endpoint{at("sips", "127.0.0.1", 5061), at("sips", "::1", 5071)}, []string{unread},
		}, {
			"the web server", target("", "", func(t *deployers.Target) { t.Combined = "/etc/asterisk/keys/web.pem" }),
			[]endpoint.Endpoint{at("https", "127.0.0.1", 8089)}, []string{unread},
		}, {
			"half a pair", target("/etc/asterisk/keys/cert.pem", "/etc/asterisk/keys/phones.key", nil),
			[]endpoint.Endpoint{at("sips", "127.0.0.1", 5061), at("sips", "::1", 5071)},
			[]string{
				"transport transport-tls (/etc/asterisk/pjsip.conf:18) takes /etc/asterisk/keys/cert.pem with the key /etc/asterisk/keys/key.pem, and the target has only one of the two; let it name both files of one pair",
				"transport transport-v6 (/etc/asterisk/pjsip.conf:21) takes /etc/asterisk/keys/cert.pem with the key /etc/asterisk/keys/key.pem, and the target has only one of the two; let it name both files of one pair",
				"transport phones (/etc/asterisk/phones.conf:1) takes /etc/asterisk/keys/phones;1.pem with the key /etc/asterisk/keys/phones.key, and the target has only one of the two; let it name both files of one pair",
				unread,
			},
		}, {
			"another pair", target("/c.pem", "/k.pem", nil),
			[]endpoint.Endpoint{at("sips", "127.0.0.1", 5061), at("sips", "::1", 5071), at("sips", "127.0.0.1", 8089)},
			[]string{unread, "Asterisk does not take its certificates from /c.pem: transport transport-tls (/etc/asterisk/pjsip.conf:18) takes /etc/asterisk/keys/cert.pem, " +
				"transport transport-v6 (/etc/asterisk/pjsip.conf:21) takes /etc/asterisk/keys/cert.pem, transport phones (/etc/asterisk/phones.conf:1) takes /etc/asterisk/keys/phones;1.pem, " +
				"the web server (/etc/asterisk/http.conf:1) takes /etc/asterisk/keys/web.pem; name the target's paths there, or those in the target"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(test.target, lineage.Lineage{Name: "web.example"}, factsOf(t, debianVersion, everything))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.probes, plan.Probes); diff != "" {
				t.Errorf("probes: %s", diff)
			}
			if diff := cmp.Diff(test.notes, plan.Notes()); diff != "" {
				t.Errorf("notes: %s", diff)
			}
		})
	}
}

// No wildcard counts for a SIP domain, but it does for the web server.
func TestSIPDomains(t *testing.T) {
	everything := sip()
	everything["http.conf"] = "http.conf"
	named := func(t *deployers.Target) { t.Names = []string{"pbx.example"} }
	for _, test := range []struct {
		target deployers.Target
		want   []string
	}{
		{target("/etc/asterisk/keys/cert.pem", "/etc/asterisk/keys/key.pem", named), []string{"pbx.example"}},
		{target("/c.pem", "/k.pem", named), []string{"pbx.example"}},
		{target("", "", func(t *deployers.Target) { named(t); t.Combined = "/etc/asterisk/keys/web.pem" }), nil},
	} {
		plan, err := Deployer{}.Plan(test.target, lineage.Lineage{Name: "web.example"}, factsOf(t, debianVersion, everything))
		if err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(test.want, plan.SIPDomains) {
			t.Errorf("%q: %q", test.target.Certificate, plan.SIPDomains)
		}
	}
}

// A transport that has no certificate yet is one to propose a pair for.
func TestDiscoverWithoutCertificate(t *testing.T) {
	f := factsOf(t, debianVersion, sip())
	f.Texts["/etc/asterisk/pjsip.conf"][0].Content = "[new]\ntype=transport\nprotocol=tls\n"
	sample.CheckUses(t, sample.Discover(Deployer{}, f), []deployers.Use{{Where: "transport new (/etc/asterisk/pjsip.conf:1)"}})
}

func TestDiscover(t *testing.T) {
	everything := sip()
	everything["http.conf"] = "http.conf"
	f := factsOf(t, debianVersion, everything)
	f.Texts["/etc/asterisk/pjsip.d/*.conf"][0].Content = "[phones]\ntype=transport\nprotocol=tls\ncert_file=keys/p.pem\npriv_key_file=keys/p.key\n"
	sample.CheckUses(t, sample.Discover(Deployer{}, f), []deployers.Use{
		{
			Where:       "transport transport-tls (/etc/asterisk/pjsip.conf:18), transport transport-v6 (/etc/asterisk/pjsip.conf:21)",
			Certificate: "/etc/asterisk/keys/cert.pem", Key: "/etc/asterisk/keys/key.pem",
		},
		{Where: "the web server (/etc/asterisk/http.conf:1)", Certificate: "/etc/asterisk/keys/web.pem", Key: "/etc/asterisk/keys/web.pem"},
	}, "transport phones (/etc/asterisk/phones.conf:1) takes keys/p.pem, which is relative", "/etc/asterisk/pjsip.conf:33: what a program writes")
}

func FuzzConfig(f *testing.F) {
	for _, name := range []string{"pjsip.conf", "http.conf", "phones.conf"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		texts := map[string][]deployers.Text{}
		for _, name := range []string{"asterisk.conf", "pjsip.conf", "http.conf"} {
			texts["/etc/asterisk/"+name] = []deployers.Text{{Path: "/etc/asterisk/" + name, Content: text}}
		}
		for _, u := range (&Options{Config: usualConfig}).observe(deployers.Facts{Texts: texts}).uses {
			if u.port == 0 || u.where == "" {
				t.Errorf("%+v", u)
			}
		}
	})
}

// TestNotOurs is about what is said where nothing takes the files: only what is sure.
func TestNotOurs(t *testing.T) {
	const transport = "[tls]\ntype=transport\nprotocol=tls\ncert_file=/live/c.pem\npriv_key_file=/live/k.pem\n"
	for _, test := range []struct {
		name, sip, sources string
		want               bool
	}{
		{"another pair", transport, "", true},
		{"ours", strings.ReplaceAll(transport, "/live/", "/"), "", false},
		{"half of ours", strings.ReplaceAll(transport, "/live/k", "/k"), "", false},
		{"what a program writes", transport + "#exec /x\n", "", false},
		{"transports of a database", transport, "[res_pjsip]\ntransport=realtime,ps_transports\n", false},
		{"others of a database", transport, "[res_pjsip]\nendpoint=realtime,ps_endpoints\n", true},
	} {
		f := factsOf(t, debianVersion, sip())
		f.Texts["/etc/asterisk/pjsip.conf"] = []deployers.Text{{Path: "/etc/asterisk/pjsip.conf", Content: test.sip}}
		f.Texts["/etc/asterisk/sorcery.conf"] = []deployers.Text{{Path: "/etc/asterisk/sorcery.conf", Content: test.sources}}
		plan, err := Deployer{}.Plan(target("/c.pem", "/k.pem", nil), lineage.Lineage{Name: "web.example"}, f)
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.NotOurs != nil; got != test.want {
			t.Errorf("%s: %v; %q", test.name, plan.NotOurs, plan.Notes())
		}
	}
}
