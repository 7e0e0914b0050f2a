package kamailio

import (
	"slices"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/deployers"
)

// TestPorts is about where Kamailio's sockets for TLS are. The reply is that of
// Kamailio 6.0.1.
func TestPorts(t *testing.T) {
	const path = "/etc/kamailio/kamailio.cfg"
	options := Deployer{}.Options().(*Options)
	for _, test := range []struct {
		name, script, reply string
		want                []uint16
	}{
		{"nothing is known", "", "", []uint16{5061}},
		{"the configuration tells", "listen=udp:127.0.0.1:5060\nlisten=tls:127.0.0.1:8443\n  listen = \"tls:[::1]:7443\" advertise 192.0.2.1:443\n#listen=tls:127.0.0.1:9443\nlisten=tls:eth0\n", "", []uint16{5061, 8443, 7443}},
		{"in a list of several lines", "listen=udp:127.0.0.1:5060\n    tls:127.0.0.1:8443\n    tls:127.0.0.1:7443 mhomed=1\n", "", []uint16{5061, 8443, 7443}},
		{"in the form of later versions", "socket = {\n  bind = tls:127.0.0.1:8443;\n  name = \"a\";\n}\n", "", []uint16{5061, 8443}},
		{"Kamailio tells", "", "af: IPv4\nproto: udp\naddress: 127.0.0.1\nport: 5060\nagname: none\naf: IPv4\nproto: tls\naddress: 127.0.0.1\nport: 8443\nagname: none", []uint16{5061, 8443}},
	} {
		f := deployers.Facts{
			Texts:   map[string][]deployers.Text{path: {{Path: path, Content: test.script}}},
			Answers: map[deployers.Query]deployers.Answer{{Channel: ctl, Method: "core.sockets_list"}: {Reply: test.reply}},
		}
		if got := (observed{channel: ctl, script: options.read(f)}).ports(f); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	for script, want := range map[string]string{
		"":                                      "/etc/kamailio/tls.cfg",
		`modparam("tls", "config", "/srv/tls")`: "/srv/tls",
		`modparam("tls", "config", "tls2.cfg")`: "/etc/kamailio/tls2.cfg",
		`#modparam("tls", "config", "/old")`:    "/etc/kamailio/tls.cfg",
		"#!ifdef OFF\nmodparam(\"tls\", \"config\", \"/old\")\n#!endif\n":           "/etc/kamailio/tls.cfg",
		"#!ifdef KAMAILIO_6\nmodparam(\"tls\", \"config\", \"/maybe\")\n#!endif\n":  "/maybe",
		"#!define DIR \"/srv/tls\"\nmodparam(\"tls_wolfssl|tls\", \"config\", DIR)": "/srv/tls",
	} {
		f := deployers.Facts{Texts: map[string][]deployers.Text{path: {{Path: path, Content: script}}}}
		if got, maybe := options.tlsConfig(options.read(f), f); got != want || maybe != (want == "/maybe") {
			t.Errorf("%s: %s", script, got)
		}
	}
	mine := &Options{Config: path, TLS: "/mine"}
	f := deployers.Facts{Texts: map[string][]deployers.Text{path: {{Path: path, Content: `modparam("tls", "config", "/srv/tls")`}}}}
	if got, _ := mine.tlsConfig(mine.read(f), f); got != "/mine" {
		t.Errorf("what is configured does not count, but %s", got)
	}
}

// TestRoots is about what a ca_list takes.
func TestRoots(t *testing.T) {
	for _, test := range []struct {
		name  string
		size  int
		total string
		level deployers.Level // empty: nothing is said
		says  string
	}{
		{"a few roots", 4 << 10, "67108864", "", ""},
		{"the system's, with 64 MB", 224 << 10, "67108864", deployers.Warned, "some 68.2 MB of shared memory for its 24 processes, of 64.0 MB"},
		{"the system's, with 1 GB", 224 << 10, "1073741824", deployers.Fine, "some 68.2 MB of shared memory, of 1024.0 MB"},
		{"the system's, of one that does not answer", 224 << 10, "", deployers.Warned, "some 2.8 MB of shared memory for each of its processes"},
	} {
		f := deployers.Facts{Texts: map[string][]deployers.Text{"/roots.pem": {{Path: "/roots.pem", Content: strings.Repeat("x", test.size)}}}, Answers: map[deployers.Query]deployers.Answer{}}
		if test.total != "" {
			f.Answers[deployers.Query{Channel: ctl, Method: "core.shmmem"}] = deployers.Answer{Reply: "total: " + test.total + "\nfree: " + test.total}
			f.Answers[deployers.Query{Channel: ctl, Method: "core.ps"}] = deployers.Answer{Reply: strings.TrimSuffix(strings.Repeat("61\nx\n", 24), "\n")}
			f.Answers[deployers.Query{Channel: ctl, Method: "core.version"}] = deployers.Answer{Reply: "kamailio 6.1.5 (x86_64/linux)"}
		}
		k := observed{channel: ctl, config: "/etc/kamailio/tls.cfg", tls: tlsConfig{profiles: []tlsProfile{{Title: "[client:default]", Default: true, Options: map[string]string{"ca_list": "/roots.pem"}}}}}
		var plan deployers.Plan
		k.checkRoots(&plan, f)
		switch {
		case test.level == "" && plan.Checks == nil:
		case len(plan.Checks) != 1 || plan.Checks[0].Level != test.level || !strings.Contains(plan.Checks[0].Says, test.says):
			t.Errorf("%s: %v", test.name, plan.Checks)
		}
	}
}

// TestAnother wants the Kamailio of a unit to be told from one beside it.
func TestAnother(t *testing.T) {
	for _, test := range []struct {
		name       string
		unit       deployers.Unit
		argv       []string
		configured string // with which the one at the channel was started
		want       bool
	}{
		{"it is the unit's", sipRunning, []string{"/usr/sbin/kamailio", "-f", "/etc/kamailio/edge.cfg"}, "/etc/kamailio/edge.cfg", false},
		{"it runs with another configuration", sipRunning, []string{"/usr/sbin/kamailio", "-f", "/etc/kamailio/edge.cfg"}, "/etc/kamailio/kamailio.cfg", true},
		{"it does not say", sipRunning, []string{"/usr/sbin/kamailio", "-f", "/etc/kamailio/edge.cfg"}, "", false},
		{"the unit does not run", deployers.Unit{LoadState: "loaded", ActiveState: "inactive"}, nil, "/etc/kamailio/kamailio.cfg", true},
		{"nothing is known of a unit", deployers.Unit{}, nil, "/etc/kamailio/kamailio.cfg", false},
	} {
		reply := "/usr/sbin/kamailio"
		if test.configured != "" {
			reply += "\n-f\n" + test.configured
		}
		f := deployers.Facts{Unit: test.unit, Argv: test.argv, Answers: map[deployers.Query]deployers.Answer{{Channel: ctl, Method: "core.arg"}: {Reply: reply}}}
		if got := isAnother(ctl, f); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
