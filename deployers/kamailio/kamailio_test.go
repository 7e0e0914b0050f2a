package kamailio

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sample"
	"github.com/certlatch/certlatch/deployers/sipscript"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

func readTLS(t testing.TB, name string) deployers.Text {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return deployers.Text{Path: "/etc/kamailio/tls.cfg", Content: string(content)}
}

func TestParseTLS(t *testing.T) {
	got, err := parseTLS(readTLS(t, "debian-6.0.1.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	want := []tlsProfile{{
		Path: "/etc/kamailio/tls.cfg", Line: 15, Title: "[server:default]", Server: true, Default: true,
		Options: map[string]string{
			"method": "TLSv1.2+", "verify_certificate": "no", "require_certificate": "no",
			"private_key": "/etc/kamailio/kamailio-selfsigned.key", "certificate": "/etc/kamailio/kamailio-selfsigned.pem",
		},
	}, {
		Path: "/etc/kamailio/tls.cfg", Line: 31, Title: "[client:default]", Default: true,
		Options: map[string]string{"verify_certificate": "yes", "require_certificate": "yes"},
	}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestParseTLSSyntax(t *testing.T) {
	for _, test := range []struct{ name, text, certificate, fails string }{
		{"a word", "certificate=/a/b-c.pem", "/a/b-c.pem", ""},
		{"a comment behind it", "certificate = /a # b", "/a", ""},
		{"quotes within a word", `certificate = a"b"`, `a"b"`, ""},
		{"quotes", `certificate = "a \"b\" \\ # c"`, `a "b" \ # c`, ""},
		{"a quoted line break", "certificate = \"a\\\nb\"", "ab", ""},
		{"escapes in a word", `certificate = a\ b\#c`, "a b#c", ""},
		{"another name", "CERT_FILE = x", "x", ""},
		{"twice", "certificate = x\ncertificate = y", "y", ""},
		{"the end of the file", "certificate = x", "x", ""},
		{"carriage returns", "certificate = x\r\n\r\n", "x", ""},

		{"no such option", "\n\ncert = x", "", `:4: there is no option "cert"`},
		{"no value", "certificate =\n", "", ":3: the option certificate lacks its value"},
		{"no equals sign", "certificate x", "", ":2: the option certificate lacks its equals sign"},
		{"two values", "certificate = x y", "", `:2: "y" stands where the line should end`},
		{"a quote without end", "certificate = \"x\n\n", "", ":4: a closing quote is missing"},
		{"an escape of nothing", `certificate = x\`, "", ":2: nothing follows a backslash"},
		{"an escape without meaning", `certificate = x\y`, "", `:2: the backslash before 'y' has no meaning`},
		{"a character without meaning", "certificate = ~/x", "", `:2: the character '~' has no meaning`},
		{"an include", "include_file \"x\"", "", `:2: there is no option "include_file"`},
		{"a section of no kind", "[peer:default]", "", ":2: [peer:default] is neither"},
		{"a section for no address", "[server:*]", "", ":2: [server:*] names neither"},
		{"a section without port", "[server:192.0.2.1]", "", ":2: [server:192.0.2.1] names neither"},
		{"a section without end", "[server:default\n", "", "the section's closing bracket is missing"},
		{"something behind a section", "[server:default] x", "", `:2: "x" stands where the line should end`},
		{"a bracket alone", "]", "", `:2: "]" stands where a section or an option begins`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseTLS(deployers.Text{Path: "t", Content: "[server:default]\n" + test.text})
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Fatalf("error %v, want %q", err, test.fails)
			}
			if certificate := got[0].Options["certificate"]; certificate != test.certificate {
				t.Errorf("the certificate is %q", certificate)
			}
		})
	}
	if _, err := parseTLS(deployers.Text{Path: "t", Content: "method = TLSv1.2+"}); err == nil || err.Error() != "t:1: the option method stands before the first section" {
		t.Errorf("an option before the sections: %v", err)
	}
	six, err := parseTLS(deployers.Text{Path: "t", Content: "[server:[2001:db8::1]:5061]"})
	if err != nil || six[0].Address != netip.MustParseAddrPort("[2001:db8::1]:5061") {
		t.Errorf("an IPv6 address: %+v, %v", six, err)
	}
}

func FuzzParseTLS(f *testing.F) {
	for _, name := range []string{"debian-6.0.1.cfg", "many.cfg"} {
		f.Add(readTLS(f, name).Content)
	}
	f.Fuzz(func(t *testing.T, text string) {
		profiles, err := parseTLS(deployers.Text{Path: "t", Content: text})
		lines := strings.Count(text, "\n") + 1
		for _, p := range profiles {
			if p.Line < 1 || p.Line > lines {
				t.Errorf("a profile in line %d of %d", p.Line, lines)
			}
		}
		// What was read without an error reads the same after what ends with
		// a line break.
		if again, twice := parseTLS(deployers.Text{Path: "t", Content: "[client:any]\n" + text}); err == nil && (twice != nil || len(again) != len(profiles)+1) {
			t.Errorf("%d profiles, and behind another %d: %v", len(profiles), len(again), twice)
		}
	})
}

// What Kamailio 6.0.1 served with many.cfg, by the file's name.
func TestServingProfile(t *testing.T) {
	profiles, err := parseTLS(readTLS(t, "many.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	config := tlsConfig{profiles: profiles, base: "/etc/kamailio"}
	for _, test := range []struct{ listener, name, certificate string }{
		{"127.0.0.1:5061", "", "here"},
		{"127.0.0.1:5061", "one.example", "two"},
		{"127.0.0.1:5061", "sub.example", "sub"},
		{"127.0.0.1:5061", "a.sub.example", "sub"},
		{"127.0.0.1:5061", "below.example", "default"},
		{"127.0.0.1:5061", "x.below.example", "below"},
		{"127.0.0.1:5061", "here.example", "here"},
		{"127.0.0.1:5061", "ONE.example", "two"},
		{"127.0.0.1:5061", "other.example", "default"},
		{"127.0.0.1:5063", "", "bare"},
		{"127.0.0.1:5063", "one.example", "bare"},
		{"127.0.0.1:5063", "sub.example", "bare"},
		{"127.0.0.1:5063", "a.sub.example", "bare"},
		{"127.0.0.1:5063", "below.example", "bare"},
		{"127.0.0.1:5063", "x.below.example", "bare"},
		{"127.0.0.1:5063", "here.example", "bare"},
		{"127.0.0.1:5063", "ONE.example", "bare"},
		{"127.0.0.1:5063", "other.example", "bare"},
		{"127.0.0.1:5065", "", "default"},
		{"127.0.0.1:5065", "one.example", "two"},
		{"127.0.0.1:5065", "sub.example", "sub"},
		{"127.0.0.1:5065", "a.sub.example", "sub"},
		{"127.0.0.1:5065", "below.example", "default"},
		{"127.0.0.1:5065", "x.below.example", "below"},
		{"127.0.0.1:5065", "here.example", "default"},
		{"127.0.0.1:5065", "ONE.example", "two"},
		{"127.0.0.1:5065", "other.example", "default"},
	} {
		p := config.serving(netip.MustParseAddrPort(test.listener), test.name)
		if got, want := config.path(p, "certificate"), "/etc/kamailio/tls/"+test.certificate+".pem"; got != want {
			t.Errorf("%s with %q is served by %s with %s instead of %s", test.listener, test.name, p.place(), got, want)
		}
	}
	none := tlsConfig{modparam: map[string]string{"certificate": "cert.pem"}, base: "/etc/kamailio"}
	if got := none.path(none.serving(netip.MustParseAddrPort("127.0.0.1:5061"), "x"), "certificate"); got != "/etc/kamailio/cert.pem" {
		t.Errorf("without any profile, %s is served", got)
	}
}

var (
	ctl  = deployers.Channel{Protocol: deployers.BinRPC, Address: "/run/kamailio/kamailio_ctl"}
	sock = deployers.Channel{Protocol: deployers.JSONRPC, Address: "/run/kamailio/kamailio_rpc.sock"}

	sipRunning = deployers.Unit{Name: "kamailio.service", LoadState: "loaded", ActiveState: "active", MainPID: 61, User: "kamailio", Group: "kamailio"}
)

// silent is a control socket that is not there.
func silent(c deployers.Channel) deployers.Answer {
	return deployers.Answer{Err: "dial unix " + c.Address + ": no such file or directory"}
}

// factsOf returns the facts of a running Kamailio 6.0.1 with the given
// tls.options and tls.cfg.
func factsOf(options deployers.Answer, tls string) deployers.Facts {
	return deployers.Facts{
		Systemd: true, Unit: sipRunning,
		Listeners: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5061")},
		Answers: map[deployers.Query]deployers.Answer{
			{Channel: ctl, Method: "tls.options"}:  options,
			{Channel: ctl, Method: "core.version"}: {Reply: "kamailio 6.0.1 (x86_64/linux) "},
			{Channel: ctl, Method: "core.ps"}:      {Reply: strings.Repeat("100\nmain process - attendant\n", 24) + "124\ntcp main process"},
			{Channel: ctl, Method: "core.shmmem"}:  {Reply: "total: 67108864\nfree: 55917312\nused: 6878960"},
			{Channel: ctl, Method: "core.arg"}:     {Reply: "/usr/sbin/kamailio\n-P\n/run/kamailio/kamailio.pid\n-f\n/etc/kamailio/kamailio.cfg\n-m\n64\n-M\n8"},
			{Channel: ctl, Method: "tls.info"}:     {Reply: "max_connections: 2048\nopened_connections: 0\nclear_text_write_queued_bytes: 0"},
		},
		Texts: map[string][]deployers.Text{"/etc/kamailio/tls.cfg": {{Path: "/etc/kamailio/tls.cfg", Content: tls}}},
	}
}

// with changes facts.
func with(f deployers.Facts, change func(*deployers.Facts)) deployers.Facts {
	change(&f)
	return f
}

const ourProfile = "[server:default]\ncertificate = /etc/x/cert.pem\nprivate_key = /etc/x/key.pem\n"

// What tls.options answers where tls.cfg counts, and where it does not.
var (
	byModparam = deployers.Answer{Reply: "certificate: /etc/x/cert.pem\nprivate_key: /etc/x/key.pem\nconfig: <null string>"}
	byFile     = deployers.Answer{Reply: "method: TLSv1\nca_list: <null string>\nconfig: /etc/kamailio/tls.cfg\nlow_mem_threshold1: 13107200\nlow_mem_threshold2: 6553600"}
)

func TestActivation(t *testing.T) {
	reload := func(channels ...deployers.Channel) deployers.Activation {
		a := deployers.Activation{
			Way: deployers.CallControl, Unit: "kamailio.service", Success: "Ok. TLS configuration reloaded.",
			Faults: reloadFaults(), FaultKeepsOld: true, Gap: 10 * time.Second, Spends: true,
		}
		for _, c := range channels {
			a.Calls = append(a.Calls, deployers.Query{Channel: c, Method: "tls.reload"})
		}
		if len(channels) > 1 { // the other one is asked nothing else in these tests
			left := 44
			a.Left = &left
		}
		return a
	}
	slow := reload(ctl, sock)
	slow.Gap = 61 * time.Second
	const byModparamWhy = "certificates are set by modparam only, which Kamailio reads when it starts"
	unreachable := with(factsOf(silent(ctl), ourProfile), func(f *deployers.Facts) {
		f.Answers[deployers.Query{Channel: sock, Method: "tls.options"}] = silent(sock)
	})
	const unreachableWhy = "Kamailio cannot be reached: dial unix /run/kamailio/kamailio_ctl: no such file or directory; dial unix /run/kamailio/kamailio_rpc.sock: no such file or directory"
	hung := deployers.Answer{Err: "no answer", Sent: true}
	hangs := with(factsOf(hung, ourProfile), func(f *deployers.Facts) {
		f.Answers[deployers.Query{Channel: sock, Method: "tls.options"}] = silent(sock)
	})
	restart := func(t *deployers.Target) { t.AllowRestart = true }
	for _, test := range []struct {
		name   string
		change func(*deployers.Target)
		facts  deployers.Facts
		want   deployers.Activation
		fails  error
	}{
		{"it is told to reload", nil, factsOf(byFile, ourProfile), reload(ctl, sock), nil},
		{
			"over the configured channel", func(t *deployers.Target) { t.Options.(*Options).RPC = RPC(sock) },
			with(factsOf(byFile, ourProfile), func(f *deployers.Facts) { f.Answers[deployers.Query{Channel: sock, Method: "tls.options"}] = byFile }), reload(sock), nil,
		}, {
			"rpc_exec_delta sets the distance", nil,
			with(factsOf(byFile, ourProfile), func(f *deployers.Facts) {
				f.Texts["/etc/kamailio/kamailio.cfg"] = []deployers.Text{{Path: "/etc/kamailio/kamailio.cfg", Content: "import_file \"kamailio-local.cfg\"\n# rpc_exec_delta = 99\n"}}
				f.Texts["/etc/kamailio/kamailio-local.cfg"] = []deployers.Text{{Path: "/etc/kamailio/kamailio-local.cfg", Content: "  rpc_exec_delta=60\n"}}
			}), slow, nil,
		}, {
			"before 5.6 a success has no words", nil,
			with(factsOf(byFile, ourProfile), func(f *deployers.Facts) {
				f.Answers[deployers.Query{Channel: ctl, Method: "core.version"}] = deployers.Answer{Reply: "kamailio 5.5.4 (x86_64/linux) "}
			}),
			func() deployers.Activation { a := reload(ctl, sock); a.Success = ""; return a }(), nil,
		}, {
			"certificates of modparam wait for a restart", nil, factsOf(byModparam, ""),
			deployers.Activation{Way: deployers.NoWay, Unit: "kamailio.service", Wait: deployers.RestartNotAllowed, Why: byModparamWhy}, nil,
		}, {
			"or get one where that is allowed", restart, factsOf(byModparam, ""),
			deployers.Activation{Way: deployers.RestartUnit, Unit: "kamailio.service", Why: byModparamWhy + "; allow_restart is set, so it is restarted"}, nil,
		}, {
			"a control socket is missing", nil, unreachable, deployers.Activation{},
			&deployers.UnreachableError{NoWayError: &deployers.NoWayError{Target: "web", Why: unreachableWhy, Remedy: `let Kamailio load its module ctl or jsonrpcs, or set kamailio: {rpc: "unix:/PATH"} to the control socket that it has`, About: deployers.Control}},
		}, {
			"which is no reason to restart it", restart, unreachable, deployers.Activation{},
			&deployers.UnreachableError{NoWayError: &deployers.NoWayError{Target: "web", Why: unreachableWhy, Remedy: `let Kamailio load its module ctl or jsonrpcs, or set kamailio: {rpc: "unix:/PATH"} to the control socket that it has`, About: deployers.Control}},
		}, {
			"it takes the call and does not answer, which is no reason to restart it", restart, hangs, deployers.Activation{},
			&deployers.SilentError{NoWayError: &deployers.NoWayError{
				Target: "web", Why: "Kamailio does not answer: no answer; dial unix /run/kamailio/kamailio_rpc.sock: no such file or directory",
				Remedy: "see why it hangs (journalctl -u kamailio.service); certlatch deploy --pending tries again", About: deployers.Control,
			}},
		}, {
			"unless another channel answers", restart,
			with(factsOf(hung, ourProfile), func(f *deployers.Facts) { f.Answers[deployers.Query{Channel: sock, Method: "tls.options"}] = byFile }),
			func() deployers.Activation { a := reload(ctl, sock); a.Left = nil; return a }(), nil,
		}, {
			"the module tls is not loaded", nil, factsOf(deployers.Answer{Fault: "command tls.options not found"}, ourProfile), deployers.Activation{},
			&deployers.NoWayError{Target: "web", Why: `Kamailio answers tls.options with "command tls.options not found"`, Remedy: "let Kamailio load its module tls (in Debian's kamailio.cfg: #!define WITH_TLS), and restart it", About: deployers.Domains, NoTLS: true},
		}, {
			"a stopped one takes the files at its start", nil, with(unreachable, func(f *deployers.Facts) { f.Unit.ActiveState = "inactive" }),
			deployers.Activation{Way: deployers.NoWay, Unit: "kamailio.service", Wait: deployers.ServiceInactive}, nil,
		}, {
			"a missing unit", nil, with(unreachable, func(f *deployers.Facts) { f.Unit = deployers.Unit{LoadState: "not-found"} }), deployers.Activation{},
			&deployers.UnitError{Unit: "kamailio.service", LoadState: "not-found"},
		}, {
			"without systemd, it is told all the same", nil, with(factsOf(byFile, ourProfile), func(f *deployers.Facts) { f.Systemd, f.Unit = false, deployers.Unit{} }),
			reload(ctl, sock), nil,
		}, {
			"without systemd and answer", restart, with(unreachable, func(f *deployers.Facts) { f.Systemd, f.Unit = false, deployers.Unit{} }),
			deployers.Activation{Way: deployers.NoWay, Wait: deployers.ServiceInactive, Why: "no systemd here, and " + unreachableWhy}, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(sample.Target(Deployer{}, test.change), lineage.Lineage{Name: "sip.example"}, test.facts)
			if diff := cmp.Diff(test.fails, err); diff != "" {
				t.Fatal(diff)
			}
			if diff := cmp.Diff(test.want, plan.Activate); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNotes(t *testing.T) {
	named := ourProfile + "server_name = Sip.example\n"
	for _, test := range []struct {
		name   string
		change func(*deployers.Target)
		facts  deployers.Facts
		want   []string
	}{
		{
			"all is well", nil, factsOf(byFile, strings.Replace(named, "default", "any", 1)), nil,
		}, {
			"other files are named", func(t *deployers.Target) { t.Probes = nil },
			factsOf(byFile, "[server:default]\ncertificate = /a\nprivate_key = /b\n[server:any]\nserver_name = x\ncertificate = c\n"),
			[]string{"Kamailio does not take its certificates from /etc/x/cert.pem: [server:default] (/etc/kamailio/tls.cfg:1) takes /a, [server:any] (/etc/kamailio/tls.cfg:4) takes /etc/kamailio/c; name the target's paths there, or those in the target"},
		}, {
			"another key is named", func(t *deployers.Target) { t.Probes = nil }, factsOf(byFile, "[server:default]\ncertificate = /etc/x/cert.pem\nprivate_key = /b\n"),
			[]string{"[server:default] (/etc/kamailio/tls.cfg:1) takes /etc/x/cert.pem with the key /b, and the target has only one of the two; let it name both files of one pair"},
		}, {
			"another profile serves the probe", func(t *deployers.Target) {
				t.Probes = []endpoint.Endpoint{{Scheme: "sips", Host: "192.0.2.1", Port: 5061, Name: "other.example"}}
			}, factsOf(byFile, strings.Replace(named, "default", "any", 1)+"[server:default]\ncertificate = /a\n"),
			[]string{"sips://192.0.2.1:5061?name=other.example is served by [server:default] (/etc/kamailio/tls.cfg:5) with /a; correct the probe, or tls.cfg"},
		}, {
			"tls.cfg is broken", nil, factsOf(byFile, ourProfile+"oops\n"),
			[]string{`/etc/kamailio/tls.cfg:4: there is no option "oops"; correct it: Kamailio reads tls.cfg up to there and then refuses it`},
		}, {
			"ciphers of TLS 1.3 alone, too early", nil, factsOf(byFile, ourProfile+"method = TLSv1.3+\ncipher_list = TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384\n"),
			[]string{"[server:default] (/etc/kamailio/tls.cfg:1) has method TLSv1.3+ and a cipher_list of TLS 1.3, which kamailio 6.0.1 refuses; remove the cipher_list, or the next reload and the next start fail"},
		}, {
			"ciphers of TLS 1.3 alone", nil, with(factsOf(byFile, ourProfile+"method = TLSv1.3+\ncipher_list = TLS_AES_128_GCM_SHA256\n"), func(f *deployers.Facts) {
				f.Answers[deployers.Query{Channel: ctl, Method: "core.version"}] = deployers.Answer{Reply: "kamailio 6.0.2 (x86_64/linux) "}
			}), nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(sample.Target(Deployer{}, func(target *deployers.Target) {
				target.Probes = []endpoint.Endpoint{{Scheme: "sips", Host: "192.0.2.1", Port: 5061, Name: "sip.example"}}
				if test.change != nil {
					test.change(target)
				}
			}), lineage.Lineage{Name: "sip.example"}, test.facts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, plan.Notes()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestChecks(t *testing.T) {
	ask := sample.Target(Deployer{}, func(t *deployers.Target) {
		t.Probes = []endpoint.Endpoint{{Scheme: "sips", Host: "192.0.2.1", Port: 5061, Name: "sip.example"}}
	})
	for _, test := range []struct {
		name  string
		facts deployers.Facts
		want  []deployers.Check
	}{
		{
			"a reload takes it", factsOf(byFile, ourProfile), []deployers.Check{
				{About: deployers.Control, Level: deployers.Fine, Says: "kamailio 6.0.1 answers at /run/kamailio/kamailio_ctl", Remedy: ""},
				{About: deployers.Domains, Level: deployers.Fine, Says: "the profiles are in /etc/kamailio/tls.cfg, which a reload reads again", Remedy: ""},
				{About: deployers.Configuration, Level: deployers.Fine, Says: "[server:default] (/etc/kamailio/tls.cfg:1) takes /etc/x/cert.pem", Remedy: ""},
				{About: deployers.Serving, Level: deployers.Fine, Says: "sips://192.0.2.1:5061?name=sip.example is served by [server:default] (/etc/kamailio/tls.cfg:1)", Remedy: ""},
				{About: deployers.Reload, Level: deployers.Fine, Says: "its shared memory lasts for 44 more reloads: 53.3 MB of 64.0 MB are free, each reload takes 0.8 MB for good, and below 12.5 MB Kamailio closes every new TLS connection", Remedy: ""},
			},
		}, {
			"by modparam only", factsOf(byModparam, ""), []deployers.Check{
				{About: deployers.Control, Level: deployers.Fine, Says: "kamailio 6.0.1 answers at /run/kamailio/kamailio_ctl", Remedy: ""},
				{About: deployers.Domains, Level: deployers.Warned, Says: "certificates are set by modparam only, which Kamailio reads when it starts", Remedy: `give the module tls a config file (modparam("tls", "config", "/etc/kamailio/tls.cfg")), and it can be reloaded`},
				{About: deployers.Configuration, Level: deployers.Fine, Says: "[server:default] of modparam takes /etc/x/cert.pem", Remedy: ""},
				{About: deployers.Serving, Level: deployers.Fine, Says: "sips://192.0.2.1:5061?name=sip.example is served by [server:default] of modparam", Remedy: ""},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(ask, lineage.Lineage{Name: "sip.example"}, test.facts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, plan.Checks); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBeside is about what Kamailio reads beside the target's pair.
func TestBeside(t *testing.T) {
	const others = "[server:any]\nserver_name = b.example\ncertificate = /b/cert.pem\nprivate_key = key.pem\ncrl = /b/crl.pem\n" +
		"[server:192.0.2.2:5061]\ncertificate = ./cert.pem\nprivate_key = /c/key.pem\n" +
		"[server:192.0.2.3:5061]\ncertificate = /d/cert.pem\nprivate_key = /engine:id\n" +
		"[server:192.0.2.4:5061]\ncertificate = /e/cert.pem\n" +
		"[client:default]\nca_list = /peers.pem\n"
	for _, test := range []struct {
		name, tls string
		want      []string
	}{
		{"the target's own", ourProfile, nil},
		{"others", ourProfile + others, []string{
			"Kamailio's [server:any] (/etc/kamailio/tls.cfg:4): /b/cert.pem /etc/kamailio/key.pem []",
			"Kamailio's [server:any] (/etc/kamailio/tls.cfg:4):   [/b/crl.pem]",
			"Kamailio's [client:default] (/etc/kamailio/tls.cfg:17):   [/peers.pem]",
		}},
		{"of a file that is not read to its end", ourProfile + others + "nonsense\n", nil},
	} {
		plan, err := Deployer{}.Plan(sample.Target(Deployer{}, nil), lineage.Lineage{Name: "sip.example"}, factsOf(byFile, test.tls))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range plan.Beside {
			got = append(got, fmt.Sprintf("%s: %s %s %s", b.Name, b.Certificate, b.Key, b.Reads))
			if !b.Called || b.Reader == nil {
				t.Errorf("%s: %+v", test.name, b)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestProbesAndNames(t *testing.T) {
	const tls = ourProfile + "[server:any]\nserver_name = Sip.example\ncertificate = /etc/x/cert.pem\nprivate_key = /etc/x/key.pem\n" +
		"[server:any]\nserver_name = below.example\nserver_name_mode = 2\ncertificate = /etc/x/cert.pem\nprivate_key = /etc/x/key.pem\n" +
		"[server:any]\nserver_name = other.example\ncertificate = /a\nprivate_key = /b\n"
	at := func(name string) []endpoint.Endpoint {
		return []endpoint.Endpoint{{Scheme: "sips", Host: "192.0.2.1", Port: 5061, Name: name}}
	}
	for _, test := range []struct {
		name           string
		tls            string
		change         func(*deployers.Target)
		probes         []endpoint.Endpoint
		found          bool
		names, domains []string
	}{
		{"by the profiles' names", tls, nil, at("sip.example"), true, []string{"sip.example"}, []string{"sip.example"}},
		{"by the leaf's name where there are none", ourProfile, nil, at(""), true, nil, nil},
		{
			"as written", tls, func(t *deployers.Target) { t.Probes, t.Names = at("voice.example"), []string{"pbx.example"} },
			at("voice.example"), false, []string{"sip.example"}, []string{"pbx.example", "sip.example", "voice.example"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Deployer{}.Plan(sample.Target(Deployer{}, func(target *deployers.Target) {
				target.Probes = nil
				if test.change != nil {
					test.change(target)
				}
			}), lineage.Lineage{Name: "sip.example"}, factsOf(byFile, test.tls))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				what      string
				want, got any
			}{{"probes", test.probes, plan.Probes}, {"found", test.found, plan.Found}, {"names", test.names, plan.Names}, {"SIP domains", test.domains, plan.SIPDomains}} {
				if diff := cmp.Diff(c.want, c.got); diff != "" {
					t.Errorf("%s:\n%s", c.what, diff)
				}
			}
		})
	}
}

// The questions of one round depend on the answers of the last.
func TestWants(t *testing.T) {
	target := sample.Target(Deployer{}, nil)
	everything := with(factsOf(silent(ctl), ""), func(f *deployers.Facts) {
		f.Answers = map[deployers.Query]deployers.Answer{{Channel: ctl, Method: "tls.options"}: silent(ctl), {Channel: sock, Method: "tls.options"}: {Reply: "config: /etc/kamailio/tls"}}
		f.Texts = map[string][]deployers.Text{
			"/etc/kamailio/kamailio.cfg": {{Path: "/etc/kamailio/kamailio.cfg", Content: "#!include_file \"local/a.cfg\"\n"}},
			"/etc/kamailio/local/a.cfg":  {{Path: "/etc/kamailio/local/a.cfg", Content: "include_file \"/srv/b.cfg\"\n"}},
			"/etc/kamailio/tls/*":        {{Path: "/etc/kamailio/tls/10", Content: "[client:default]\nca_list = /etc/roots.pem\n"}},
		}
	})
	ask := func(c deployers.Channel, methods ...string) (queries []deployers.Query) {
		for _, method := range methods {
			queries = append(queries, deployers.Query{Channel: c, Method: method})
		}
		return queries
	}
	for _, test := range []struct {
		name  string
		facts deployers.Facts
		want  deployers.Wants
	}{
		{"at first", deployers.Facts{}, deployers.Wants{Texts: []string{"/etc/kamailio/kamailio.cfg"}, Queries: ask(ctl, "tls.options")}},
		{
			"ctl is silent", deployers.Facts{Answers: map[deployers.Query]deployers.Answer{{Channel: ctl, Method: "tls.options"}: silent(ctl)}},
			deployers.Wants{Texts: []string{"/etc/kamailio/kamailio.cfg"}, Queries: []deployers.Query{{Channel: ctl, Method: "tls.options"}, {Channel: sock, Method: "tls.options"}}},
		}, {
			"both are silent", deployers.Facts{Answers: map[deployers.Query]deployers.Answer{{Channel: ctl, Method: "tls.options"}: silent(ctl), {Channel: sock, Method: "tls.options"}: silent(sock)}},
			deployers.Wants{
				Texts:   []string{"/etc/kamailio/kamailio.cfg", "/etc/kamailio/tls.cfg", "/etc/kamailio/tls.cfg/*"},
				Queries: []deployers.Query{{Channel: ctl, Method: "tls.options"}, {Channel: sock, Method: "tls.options"}},
			},
		}, {
			"all is known", everything,
			deployers.Wants{
				Texts: []string{
					"/etc/kamailio/kamailio.cfg", "/local/a.cfg", "/etc/kamailio/local/a.cfg", "/srv/b.cfg",
					"/etc/kamailio/tls", "/etc/kamailio/tls/*", "/etc/roots.pem",
				},
				Queries: append(ask(ctl, "tls.options"), ask(sock, "tls.options", "core.version", "core.arg", "core.ps", "core.shmmem", "tls.info", "core.sockets_list")...),
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Unit, test.want.Argv, test.want.Ports = "kamailio.service", true, []uint16{5061}
			if diff := cmp.Diff(test.want, Deployer{}.Wants(target, test.facts)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRPC(t *testing.T) {
	for _, text := range []string{"", "unix:/run/kamailio/kamailio_ctl", "jsonrpc:/run/k.sock"} {
		var rpc RPC
		if err := rpc.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if again, err := rpc.MarshalText(); err != nil || string(again) != text {
			t.Errorf("%q becomes %q, %v", text, again, err)
		}
	}
	for _, text := range []string{"/run/kamailio/kamailio_ctl", "unix:kamailio_ctl", "tcp:127.0.0.1:2046", ":"} {
		if err := new(RPC).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestDiscover(t *testing.T) {
	channels := (&Options{}).channels(sipscript.Script{})
	silent := map[deployers.Query]deployers.Answer{}
	for _, channel := range channels {
		silent[deployers.Query{Channel: channel, Method: "tls.options"}] = deployers.Answer{Err: "no such file"}
	}
	facts := func(reply deployers.Answer, tls deployers.Text) deployers.Facts {
		answers := maps.Clone(silent)
		answers[deployers.Query{Channel: channels[0], Method: "tls.options"}] = reply
		return deployers.Facts{
			Systemd: true, Unit: deployers.Unit{LoadState: "loaded"}, Answers: answers,
			Texts: map[string][]deployers.Text{
				"/etc/kamailio/kamailio.cfg": {{Path: "/etc/kamailio/kamailio.cfg", Content: "#!define WITH_TLS\n# alias=no.example\nalias=\"SIP.example\"\nalias=tls:pbx.example:5061\n#!ifdef WITH_TLS\nloadmodule \"tls.so\"\n#!endif\n"}},
				"/etc/kamailio/tls.cfg":      {tls},
			},
		}
	}
	packaged := deployers.Use{
		Where: "[server:default] (/etc/kamailio/tls.cfg:15)", Certificate: "/etc/kamailio/kamailio-selfsigned.pem", Key: "/etc/kamailio/kamailio-selfsigned.key",
		Hints: []string{"sip.example", "pbx.example"},
	}
	debian := readTLS(t, "debian-6.0.1.cfg")
	sample.CheckUses(t, sample.Discover(Deployer{}, facts(deployers.Answer{Reply: "config: /etc/kamailio/tls.cfg\n"}, debian)), []deployers.Use{packaged})
	sample.CheckUses(t, sample.Discover(Deployer{}, facts(deployers.Answer{Err: "it is stopped"}, debian)), []deployers.Use{packaged})
	off := facts(deployers.Answer{Err: "it is stopped"}, debian)
	off.Texts["/etc/kamailio/kamailio.cfg"] = []deployers.Text{{Path: "/etc/kamailio/kamailio.cfg", Content: "#!ifdef WITH_TLS\nloadmodule \"tls.so\"\n#!endif\n# #!define WITH_TLS\n"}}
	sample.CheckUses(t, sample.Discover(Deployer{}, off), nil, "kamailio.service does not run, and /etc/kamailio/kamailio.cfg loads no TLS")
	without := facts(deployers.Answer{Fault: "method not found"}, debian)
	next := packaged
	next.Note = "Kamailio runs without TLS. Its configuration loads it: once the target's files are there, restart it."
	sample.CheckUses(t, sample.Discover(Deployer{}, without), []deployers.Use{next})
	without.Texts["/etc/kamailio/kamailio.cfg"] = off.Texts["/etc/kamailio/kamailio.cfg"]
	sample.CheckUses(t, sample.Discover(Deployer{}, without), nil, "Kamailio runs without TLS: ")

	none := facts(deployers.Answer{Reply: "config: <null string>\ncertificate: /m.pem\nprivate_key: /m.key\n"}, debian)
	sample.CheckUses(t, sample.Discover(Deployer{}, none), []deployers.Use{{
		Where: "[server:default] of modparam", Certificate: "/m.pem", Key: "/m.key", Hints: packaged.Hints,
		Note: "A renewed pair waits for a restart: certificates are set by modparam only, which Kamailio reads when it starts. Give the module tls a config file, or this target allow_restart: true.",
	}})

	named := deployers.Text{Path: "/etc/kamailio/tls.cfg", Content: "[server:default]\ncertificate=./a.pem\nprivate_key=./a.key\n[server:any]\nserver_name=B.example\ncertificate=tls/b.pem\nprivate_key=tls/b.key\n"}
	sample.CheckUses(t, sample.Discover(Deployer{}, facts(deployers.Answer{Reply: "config: /etc/kamailio/tls.cfg\n"}, named)), []deployers.Use{{
		Where: "[server:any] (/etc/kamailio/tls.cfg:4)", Certificate: "/etc/kamailio/tls/b.pem", Key: "/etc/kamailio/tls/b.key",
		Names: []string{"b.example"}, Hints: packaged.Hints,
	}}, "[server:default] (/etc/kamailio/tls.cfg:1) takes ./a.pem, which is relative")
}

// TestNotOurs is about what is said where no profile takes the files: only what is sure.
func TestNotOurs(t *testing.T) {
	const other = "[server:default]\ncertificate = /a\nprivate_key = /b\n"
	stopped := func(config string) deployers.Facts {
		return with(factsOf(byFile, other), func(f *deployers.Facts) {
			f.Unit.ActiveState, f.Unit.MainPID = "inactive", 0
			f.Texts[usualConfig] = []deployers.Text{{Path: usualConfig, Content: config + "\n"}}
			for _, channel := range []deployers.Channel{ctl, sock} {
				f.Answers[deployers.Query{Channel: channel, Method: "tls.options"}] = deployers.Answer{Err: "connection refused"}
			}
		})
	}
	for _, test := range []struct {
		name  string
		facts deployers.Facts
		want  bool
	}{
		{"another pair", factsOf(byFile, other), true},
		{"ours", factsOf(byFile, ourProfile), false},
		{"one of several", factsOf(byFile, other+strings.Replace(ourProfile, "default", "any", 1)), false},
		{"half of ours", factsOf(byFile, "[server:default]\ncertificate = /etc/x/cert.pem\nprivate_key = /b\n"), false},
		{"ours as a client", factsOf(byFile, other+"[client:default]\ncertificate = /etc/x/cert.pem\nprivate_key = /etc/x/key.pem\n"), false},
		{"relative to where it runs", factsOf(byFile, "[server:default]\ncertificate = ./a\nprivate_key = /b\n"), false},
		{"a flaw", factsOf(byFile, other+"oops\n"), false},
		{"a file that depends on what is not known", stopped(`modparam("tls", "config", TLS_CFG)`), false},
		{"the file of its configuration", stopped(`modparam("tls", "config", "/etc/kamailio/tls.cfg")`), true},
		{"another name that leads to ours", with(factsOf(byFile, other), func(f *deployers.Facts) { f.Same = map[string][]string{"/etc/x/cert.pem": {"/a"}} }), false},
	} {
		plan, err := Deployer{}.Plan(sample.Target(Deployer{}, nil), lineage.Lineage{Name: "sip.example"}, test.facts)
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.NotOurs != nil; got != test.want {
			t.Errorf("%s: %v; %q", test.name, plan.NotOurs, plan.Notes())
		}
	}
}
