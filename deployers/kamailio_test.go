package deployers

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

func readTLS(t testing.TB, name string) Text {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata/kamailio", name))
	if err != nil {
		t.Fatal(err)
	}
	return Text{"/etc/kamailio/tls.cfg", string(content)}
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
			got, err := parseTLS(Text{"t", "[server:default]\n" + test.text})
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Fatalf("error %v, want %q", err, test.fails)
			}
			if certificate := got[0].Options["certificate"]; certificate != test.certificate {
				t.Errorf("the certificate is %q", certificate)
			}
		})
	}
	if _, err := parseTLS(Text{"t", "method = TLSv1.2+"}); err == nil || err.Error() != "t:1: the option method stands before the first section" {
		t.Errorf("an option before the sections: %v", err)
	}
	six, err := parseTLS(Text{"t", "[server:[2001:db8::1]:5061]"})
	if err != nil || six[0].Address != netip.MustParseAddrPort("[2001:db8::1]:5061") {
		t.Errorf("an IPv6 address: %+v, %v", six, err)
	}
}

func FuzzParseTLS(f *testing.F) {
	for _, name := range []string{"debian-6.0.1.cfg", "many.cfg"} {
		f.Add(readTLS(f, name).Content)
	}
	f.Fuzz(func(t *testing.T, text string) {
		profiles, err := parseTLS(Text{"t", text})
		lines := strings.Count(text, "\n") + 1
		for _, p := range profiles {
			if p.Line < 1 || p.Line > lines {
				t.Errorf("a profile in line %d of %d", p.Line, lines)
			}
		}
		// What was read without an error reads the same after what ends with
		// a line break.
		if again, twice := parseTLS(Text{"t", "[client:any]\n" + text}); err == nil && (twice != nil || len(again) != len(profiles)+1) {
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
	ctl  = Channel{Protocol: BinRPC, Address: "/run/kamailio/kamailio_ctl"}
	sock = Channel{Protocol: JSONRPC, Address: "/run/kamailio/kamailio_rpc.sock"}

	sipRunning = Unit{Name: "kamailio.service", LoadState: "loaded", ActiveState: "active", MainPID: 61, User: "kamailio", Group: "kamailio"}
)

// silent is a control socket that is not there.
func silent(c Channel) Answer {
	return Answer{Err: "dial unix " + c.Address + ": no such file or directory"}
}

// kamailioFacts are those of a running Kamailio 6.0.1 with the given
// tls.options and tls.cfg.
func kamailioFacts(options Answer, tls string) Facts {
	return Facts{
		Systemd: true, Unit: sipRunning,
		Listeners: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5061")},
		Answers: map[Query]Answer{
			{ctl, "tls.options"}:  options,
			{ctl, "core.version"}: {Reply: "kamailio 6.0.1 (x86_64/linux) "},
			{ctl, "core.ps"}:      {Reply: strings.Repeat("100\nmain process - attendant\n", 24) + "124\ntcp main process"},
			{ctl, "core.shmmem"}:  {Reply: "total: 67108864\nfree: 55917312\nused: 6878960"},
			{ctl, "core.arg"}:     {Reply: "/usr/sbin/kamailio\n-P\n/run/kamailio/kamailio.pid\n-f\n/etc/kamailio/kamailio.cfg\n-m\n64\n-M\n8"},
			{ctl, "tls.info"}:     {Reply: "max_connections: 2048\nopened_connections: 0\nclear_text_write_queued_bytes: 0"},
		},
		Texts: map[string][]Text{"/etc/kamailio/tls.cfg": {{"/etc/kamailio/tls.cfg", tls}}},
	}
}

// with changes facts.
func with(f Facts, change func(*Facts)) Facts {
	change(&f)
	return f
}

const ourProfile = "[server:default]\ncertificate = /etc/x/cert.pem\nprivate_key = /etc/x/key.pem\n"

// What tls.options answers where tls.cfg counts, and where it does not.
var (
	byModparam = Answer{Reply: "certificate: /etc/x/cert.pem\nprivate_key: /etc/x/key.pem\nconfig: <null string>"}
	byFile     = Answer{Reply: "method: TLSv1\nca_list: <null string>\nconfig: /etc/kamailio/tls.cfg\nlow_mem_threshold1: 13107200\nlow_mem_threshold2: 6553600"}
)

func TestKamailioActivation(t *testing.T) {
	reload := func(channels ...Channel) Activation {
		a := Activation{
			Way: CallControl, Unit: "kamailio.service", Success: "Ok. TLS configuration reloaded.",
			Faults: kamailioFaults(), FaultKeepsOld: true, Gap: 10 * time.Second, Spends: true,
		}
		for _, c := range channels {
			a.Calls = append(a.Calls, Query{c, "tls.reload"})
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
	unreachable := with(kamailioFacts(silent(ctl), ourProfile), func(f *Facts) { f.Answers[Query{sock, "tls.options"}] = silent(sock) })
	const unreachableWhy = "Kamailio cannot be reached: dial unix /run/kamailio/kamailio_ctl: no such file or directory; dial unix /run/kamailio/kamailio_rpc.sock: no such file or directory"
	hung := Answer{Err: "no answer", Sent: true}
	hangs := with(kamailioFacts(hung, ourProfile), func(f *Facts) { f.Answers[Query{sock, "tls.options"}] = silent(sock) })
	restart := func(t *Target) { t.AllowRestart = true }
	for _, test := range []struct {
		name   string
		change func(*Target)
		facts  Facts
		want   Activation
		fails  error
	}{
		{"it is told to reload", nil, kamailioFacts(byFile, ourProfile), reload(ctl, sock), nil},
		{
			"over the configured channel", func(t *Target) { t.Options.(*KamailioOptions).RPC = KamailioRPC(sock) },
			with(kamailioFacts(byFile, ourProfile), func(f *Facts) { f.Answers[Query{sock, "tls.options"}] = byFile }), reload(sock), nil,
		}, {
			"rpc_exec_delta sets the distance", nil,
			with(kamailioFacts(byFile, ourProfile), func(f *Facts) {
				f.Texts["/etc/kamailio/kamailio.cfg"] = []Text{{"/etc/kamailio/kamailio.cfg", "import_file \"kamailio-local.cfg\"\n# rpc_exec_delta = 99\n"}}
				f.Texts["/etc/kamailio/kamailio-local.cfg"] = []Text{{"/etc/kamailio/kamailio-local.cfg", "  rpc_exec_delta=60\n"}}
			}), slow, nil,
		}, {
			"before 5.6 a success has no words", nil,
			with(kamailioFacts(byFile, ourProfile), func(f *Facts) {
				f.Answers[Query{ctl, "core.version"}] = Answer{Reply: "kamailio 5.5.4 (x86_64/linux) "}
			}),
			func() Activation { a := reload(ctl, sock); a.Success = ""; return a }(), nil,
		}, {
			"certificates of modparam wait for a restart", nil, kamailioFacts(byModparam, ""),
			Activation{Way: NoWay, Unit: "kamailio.service", Wait: RestartNotAllowed, Why: byModparamWhy}, nil,
		}, {
			"or get one where that is allowed", restart, kamailioFacts(byModparam, ""),
			Activation{Way: RestartUnit, Unit: "kamailio.service", Why: byModparamWhy + "; allow_restart is set, so it is restarted"}, nil,
		}, {
			"a control socket is missing", nil, unreachable, Activation{},
			&NoWayError{"web", unreachableWhy, `let Kamailio load its module ctl or jsonrpcs, or set kamailio: {rpc: "unix:/PATH"} to the control socket that it has`, Control},
		}, {
			"a control socket is missing, and a restart allowed", restart, unreachable,
			Activation{Way: RestartUnit, Unit: "kamailio.service", Why: unreachableWhy + "; allow_restart is set, so it is restarted"}, nil,
		}, {
			"it takes the call and does not answer, which is no reason to restart it", restart, hangs, Activation{},
			&SilentError{&NoWayError{
				"web", "Kamailio does not answer: no answer; dial unix /run/kamailio/kamailio_rpc.sock: no such file or directory",
				"see why it hangs (journalctl -u kamailio.service); certlatch deploy --pending tries again", Control,
			}},
		}, {
			"unless another channel answers", restart,
			with(kamailioFacts(hung, ourProfile), func(f *Facts) { f.Answers[Query{sock, "tls.options"}] = byFile }),
			func() Activation { a := reload(ctl, sock); a.Left = nil; return a }(), nil,
		}, {
			"the module tls is not loaded", nil, kamailioFacts(Answer{Fault: "command tls.options not found"}, ourProfile), Activation{},
			&NoWayError{"web", `Kamailio answers tls.options with "command tls.options not found"`, "let Kamailio load its module tls (in Debian's kamailio.cfg: #!define WITH_TLS), and restart it", Domains},
		}, {
			"a stopped one takes the files at its start", nil, with(unreachable, func(f *Facts) { f.Unit.ActiveState = "inactive" }),
			Activation{Way: NoWay, Unit: "kamailio.service", Wait: ServiceInactive}, nil,
		}, {
			"a missing unit", nil, with(unreachable, func(f *Facts) { f.Unit = Unit{LoadState: "not-found"} }), Activation{},
			&UnitError{"kamailio.service", "not-found"},
		}, {
			"without systemd, it is told all the same", nil, with(kamailioFacts(byFile, ourProfile), func(f *Facts) { f.Systemd, f.Unit = false, Unit{} }),
			reload(ctl, sock), nil,
		}, {
			"without systemd and answer", restart, with(unreachable, func(f *Facts) { f.Systemd, f.Unit = false, Unit{} }),
			Activation{Way: NoWay, Wait: ServiceInactive, Why: "no systemd here, and " + unreachableWhy}, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := kamailio{}.Plan(target("kamailio", test.change), lineage.Lineage{Name: "sip.example"}, test.facts)
			if diff := cmp.Diff(test.fails, err); diff != "" {
				t.Fatal(diff)
			}
			if diff := cmp.Diff(test.want, plan.Activate); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKamailioNotes(t *testing.T) {
	named := ourProfile + "server_name = Sip.example\n"
	for _, test := range []struct {
		name   string
		change func(*Target)
		facts  Facts
		want   []string
	}{
		{
			"all is well", nil, kamailioFacts(byFile, strings.Replace(named, "default", "any", 1)), nil,
		}, {
			"other files are named", func(t *Target) { t.Probes = nil },
			kamailioFacts(byFile, "[server:default]\ncertificate = /a\nprivate_key = /b\n[server:any]\nserver_name = x\ncertificate = c\n"),
			[]string{"Kamailio does not take its certificates from /etc/x/cert.pem: [server:default] (/etc/kamailio/tls.cfg:1) takes /a, [server:any] (/etc/kamailio/tls.cfg:4) takes /etc/kamailio/c; name the target's paths there, or those in the target"},
		}, {
			"another key is named", func(t *Target) { t.Probes = nil }, kamailioFacts(byFile, "[server:default]\ncertificate = /etc/x/cert.pem\nprivate_key = /b\n"),
			[]string{"[server:default] (/etc/kamailio/tls.cfg:1) takes /etc/x/cert.pem with the key /b, and the target has only one of the two; let it name both files of one pair"},
		}, {
			"another profile serves the probe", func(t *Target) {
				t.Probes = []endpoint.Endpoint{{Scheme: "sips", Host: "192.0.2.1", Port: 5061, Name: "other.example"}}
			}, kamailioFacts(byFile, strings.Replace(named, "default", "any", 1)+"[server:default]\ncertificate = /a\n"),
			[]string{"sips://192.0.2.1:5061?name=other.example is served by [server:default] (/etc/kamailio/tls.cfg:5) with /a; correct the probe, or tls.cfg"},
		}, {
			"tls.cfg is broken", nil, kamailioFacts(byFile, ourProfile+"oops\n"),
			[]string{`/etc/kamailio/tls.cfg:4: there is no option "oops"; correct it: Kamailio reads tls.cfg up to there and then refuses it`},
		}, {
			"ciphers of TLS 1.3 alone, too early", nil, kamailioFacts(byFile, ourProfile+"method = TLSv1.3+\ncipher_list = TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384\n"),
			[]string{"[server:default] (/etc/kamailio/tls.cfg:1) has method TLSv1.3+ and a cipher_list of TLS 1.3, which kamailio 6.0.1 refuses; remove the cipher_list, or the next reload and the next start fail"},
		}, {
			"ciphers of TLS 1.3 alone", nil, with(kamailioFacts(byFile, ourProfile+"method = TLSv1.3+\ncipher_list = TLS_AES_128_GCM_SHA256\n"), func(f *Facts) {
				f.Answers[Query{ctl, "core.version"}] = Answer{Reply: "kamailio 6.0.2 (x86_64/linux) "}
			}), nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := kamailio{}.Plan(target("kamailio", func(target *Target) {
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

func TestKamailioChecks(t *testing.T) {
	ask := target("kamailio", func(t *Target) {
		t.Probes = []endpoint.Endpoint{{Scheme: "sips", Host: "192.0.2.1", Port: 5061, Name: "sip.example"}}
	})
	for _, test := range []struct {
		name  string
		facts Facts
		want  []Check
	}{
		{
			"a reload takes it", kamailioFacts(byFile, ourProfile), []Check{
				{Control, Fine, "kamailio 6.0.1 answers at /run/kamailio/kamailio_ctl", ""},
				{Domains, Fine, "the profiles are in /etc/kamailio/tls.cfg, which a reload reads again", ""},
				{Configuration, Fine, "[server:default] (/etc/kamailio/tls.cfg:1) takes /etc/x/cert.pem", ""},
				{Serving, Fine, "sips://192.0.2.1:5061?name=sip.example is served by [server:default] (/etc/kamailio/tls.cfg:1)", ""},
				{Reload, Fine, "its shared memory lasts for 44 more reloads: 53.3 MB of 64.0 MB are free, each reload takes 0.8 MB for good, and below 12.5 MB Kamailio closes every new TLS connection", ""},
			},
		}, {
			"by modparam only", kamailioFacts(byModparam, ""), []Check{
				{Control, Fine, "kamailio 6.0.1 answers at /run/kamailio/kamailio_ctl", ""},
				{Domains, Warned, "certificates are set by modparam only, which Kamailio reads when it starts", `give the module tls a config file (modparam("tls", "config", "/etc/kamailio/tls.cfg")), and it can be reloaded`},
				{Configuration, Fine, "[server:default] of modparam takes /etc/x/cert.pem", ""},
				{Serving, Fine, "sips://192.0.2.1:5061?name=sip.example is served by [server:default] of modparam", ""},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := kamailio{}.Plan(ask, lineage.Lineage{Name: "sip.example"}, test.facts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, plan.Checks); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKamailioProbesAndNames(t *testing.T) {
	const tls = ourProfile + "[server:any]\nserver_name = Sip.example\ncertificate = /etc/x/cert.pem\nprivate_key = /etc/x/key.pem\n" +
		"[server:any]\nserver_name = below.example\nserver_name_mode = 2\ncertificate = /etc/x/cert.pem\nprivate_key = /etc/x/key.pem\n" +
		"[server:any]\nserver_name = other.example\ncertificate = /a\nprivate_key = /b\n"
	at := func(name string) []endpoint.Endpoint {
		return []endpoint.Endpoint{{Scheme: "sips", Host: "192.0.2.1", Port: 5061, Name: name}}
	}
	for _, test := range []struct {
		name           string
		tls            string
		change         func(*Target)
		probes         []endpoint.Endpoint
		found          bool
		names, domains []string
	}{
		{"by the profiles' names", tls, nil, at("sip.example"), true, []string{"sip.example"}, []string{"sip.example"}},
		{"by the leaf's name where there are none", ourProfile, nil, at(""), true, nil, nil},
		{
			"as written", tls, func(t *Target) { t.Probes, t.Names = at("voice.example"), []string{"pbx.example"} },
			at("voice.example"), false, []string{"sip.example"}, []string{"pbx.example", "sip.example", "voice.example"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := kamailio{}.Plan(target("kamailio", func(target *Target) {
				target.Probes = nil
				if test.change != nil {
					test.change(target)
				}
			}), lineage.Lineage{Name: "sip.example"}, kamailioFacts(byFile, test.tls))
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
func TestKamailioWants(t *testing.T) {
	target := target("kamailio", nil)
	everything := with(kamailioFacts(silent(ctl), ""), func(f *Facts) {
		f.Answers = map[Query]Answer{{ctl, "tls.options"}: silent(ctl), {sock, "tls.options"}: {Reply: "config: /etc/kamailio/tls"}}
		f.Texts = map[string][]Text{
			"/etc/kamailio/kamailio.cfg": {{"/etc/kamailio/kamailio.cfg", "#!include_file \"local/a.cfg\"\n"}},
			"/etc/kamailio/local/a.cfg":  {{"/etc/kamailio/local/a.cfg", "include_file \"/srv/b.cfg\"\n"}},
			"/etc/kamailio/tls/*":        {{"/etc/kamailio/tls/10", "[client:default]\nca_list = /etc/roots.pem\n"}},
		}
	})
	ask := func(c Channel, methods ...string) (queries []Query) {
		for _, method := range methods {
			queries = append(queries, Query{c, method})
		}
		return queries
	}
	for _, test := range []struct {
		name  string
		facts Facts
		want  Wants
	}{
		{"at first", Facts{}, Wants{Texts: []string{"/etc/kamailio/kamailio.cfg"}, Queries: ask(ctl, "tls.options")}},
		{
			"ctl is silent", Facts{Answers: map[Query]Answer{{ctl, "tls.options"}: silent(ctl)}},
			Wants{Texts: []string{"/etc/kamailio/kamailio.cfg"}, Queries: []Query{{ctl, "tls.options"}, {sock, "tls.options"}}},
		}, {
			"both are silent", Facts{Answers: map[Query]Answer{{ctl, "tls.options"}: silent(ctl), {sock, "tls.options"}: silent(sock)}},
			Wants{
				Texts:   []string{"/etc/kamailio/kamailio.cfg", "/etc/kamailio/tls.cfg", "/etc/kamailio/tls.cfg/*"},
				Queries: []Query{{ctl, "tls.options"}, {sock, "tls.options"}},
			},
		}, {
			"all is known", everything,
			Wants{
				Texts: []string{
					"/etc/kamailio/kamailio.cfg", "/etc/kamailio/local/a.cfg", "/srv/b.cfg",
					"/etc/kamailio/tls", "/etc/kamailio/tls/*", "/etc/roots.pem",
				},
				Queries: append(ask(ctl, "tls.options"), ask(sock, "tls.options", "core.version", "core.arg", "core.ps", "core.shmmem", "tls.info")...),
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Unit, test.want.Ports = "kamailio.service", []uint16{5061}
			if diff := cmp.Diff(test.want, kamailio{}.Wants(target, test.facts)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKamailioRPC(t *testing.T) {
	for _, text := range []string{"", "unix:/run/kamailio/kamailio_ctl", "jsonrpc:/run/k.sock"} {
		var rpc KamailioRPC
		if err := rpc.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if again, err := rpc.MarshalText(); err != nil || string(again) != text {
			t.Errorf("%q becomes %q, %v", text, again, err)
		}
	}
	for _, text := range []string{"/run/kamailio/kamailio_ctl", "unix:kamailio_ctl", "tcp:127.0.0.1:2046", ":"} {
		if err := new(KamailioRPC).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
