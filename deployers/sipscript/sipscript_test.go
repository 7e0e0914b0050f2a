package sipscript

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
)

const (
	kamailioPath = "/etc/kamailio/kamailio.cfg"
	opensipsPath = "/etc/opensips/opensips.cfg"
)

// texts returns files by path; the first is that of the main file.
func texts(pairs ...string) map[string][]deployers.Text {
	all := map[string][]deployers.Text{}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = []deployers.Text{{Path: pairs[i], Content: pairs[i+1]}}
	}
	return all
}

// lines returns what a script says, a line for each statement; those that may not
// count begin with a question mark.
func lines(s Script) (all []string) {
	for _, statement := range s.Statements {
		mark := ""
		if statement.Maybe {
			mark = "?"
		}
		all = append(all, mark+statement.Name+" "+strings.Join(statement.Args, "|"))
	}
	return all
}

func TestKamailio(t *testing.T) {
	for _, test := range []struct {
		name, script string
		want         []string
		defined      []string
	}{
		{name: "modules and their parameters", script: "loadmodule \"tls.so\"\nloadmodule(\"/usr/lib/ctl.so\", \"g\")\nmodparam(\"ctl\", \"binrpc\", \"unix:/run/x\")\nmodparam('tm','fr_timer',30000) modparam(\"auth_db\", \"calculate_ha1\", yes)\nmodparam(\"x\", \"y\", -1)", want: []string{"loadmodule tls.so", "loadmodule /usr/lib/ctl.so", "modparam ctl|binrpc|unix:/run/x", "modparam tm|fr_timer|30000", "modparam auth_db|calculate_ha1|yes", "modparam x|y|-1"}},
		{name: "the core's", script: "listen=udp:127.0.0.1:5060\nlisten = \"tls:[::1]:7443\" advertise 192.0.2.1:443 # c\nalias=\"a.example\" b.example:5061\nmhomed=1;rpc_exec_delta=3", want: []string{"listen udp:127.0.0.1:5060", "listen tls:[::1]:7443|advertise|192.0.2.1:443", "alias a.example|b.example:5061", "mhomed 1", "rpc_exec_delta 3"}},
		{name: "a block", script: "socket = {\n  bind = tls:127.0.0.1:8443;\n  name = \"a\";\n}\nmhomed=1", want: []string{"socket.bind tls:127.0.0.1:8443", "socket.name a", "mhomed 1"}},
		{name: "lists", script: "listen=udp:127.0.0.1:5060\n  tls:127.0.0.1:5061 tls:eth0:7443\n\n# more\n\"tls:[::1]:8443\"\n192.0.2.1\nalias=a.example:5060\nb.example:5061 children=4 port = 5062\nmhomed=1\nloadmodule \"tls.so\"\nlisten=eth0\neth1\n#!define L tls:192.0.2.2:9443\nlisten=L\nL\nroute {\n}\n",
			want: []string{"listen udp:127.0.0.1:5060|tls:127.0.0.1:5061|tls:eth0:7443|tls:[::1]:8443|192.0.2.1", "alias a.example:5060|b.example:5061", "children 4", "port 5062", "mhomed 1", "loadmodule tls.so", "listen eth0", "listen tls:192.0.2.2:9443|tls:192.0.2.2:9443"}},
		{name: "comments", script: "# listen=a\n// listen=b\n/* listen=c /* nested */ listen=d */ listen=e # listen=f\n#!KAMAILIO\n#!ifdef A # no\n#!endif\nlisten=http//x", want: []string{"listen e", "listen http"}},
		{name: "strings", script: "modparam(\"a\", \"b\", \"x # /* y\")\nmodparam(\"a\", \"b\", \"1\"\n  \"2\")\nmodparam(\"a\", 'b\\n', \"\\\"\\x41\\101\\d\\\\\")", want: []string{"modparam a|b|x # /* y", "modparam a|b|12", `modparam a|b\n|"AA\d\`}},
		{name: "routes", script: "request_route {\n modparam(\"a\",\"b\",\"c\")\n if ($var(x) == \"}\") { $(ru{s.select,0,#}); listen=x }\n # }\n}\nmhomed=1", want: []string{"mhomed 1"}},
		{name: "branches", script: "#!define A\n#!ifdef A\nlisten=a\n#!else\nlisten=b\n#!endif\n!!ifndef A\nlisten=c\n  #!ifdef B\nlisten=d\n#!else\nlisten=e\n#!endif\n!!endif\n#!ifdef B\nlisten=\"never ends\n#!endif\nmhomed=1\n", want: []string{"listen a", "mhomed 1"}},
		{name: "of the command line", script: "#!ifdef A\nlisten=a\n#!endif\n#!trydef B c\nlisten=B\n", defined: []string{"A", "B=b"}, want: []string{"listen a", "listen b"}},
		{name: "values", script: "#!define IP 127.0.0.1\n#!define URL \"mysql://\" \\\n \"x\"\n#!def NESTED tls:IP:5061\nlisten=NESTED\nmodparam(\"a\", \"b\", URL)\n#!redefine IP 127.0.0.2\nlisten=NESTED\n#!trydef IP no\nlisten=IP\nlisten=\"IP\"", want: []string{"listen tls:127.0.0.1:5061", "modparam a|b|mysql://x", "listen tls:127.0.0.2:5061", "listen 127.0.0.2", "listen IP"}},
		{name: "a definition is a whole statement", script: "#!define L listen=a\nL\n#!define M modparam(\"a\", \"b\", \"c\")\nM\n#!define BRACE {\nroute BRACE\nlisten=x\n}\nmhomed=1", want: []string{"listen a", "modparam a|b|c", "mhomed 1"}},
		{name: "substitutions", script: "#!substdef \"!MY_IP!192.0.2.1!g\"\nlisten=MY_IP\nmodparam(\"a\",\"b\",\"MY_IP-MY_IP\")\n#!subst \"/a.c/x/i\"\nmodparam(\"m\",\"n\",\"ABCabc\")\n#!subst \"/foo/$var(x)/\"\nmodparam(\"p\",\"q\",\"foo\")\n#!substdefs \"/Q/q/\"\nmodparam(\"p\",\"q\",Q)", want: []string{"listen 192.0.2.1", "modparam a|b|192.0.2.1-192.0.2.1", "modparam m|n|xabc", "?modparam p|q|$var(x)", "modparam p|q|q"}},
		{name: "a substitution that cannot be read", script: "#!subst \"/(/x/\"\nmodparam(\"m\",\"n\",\"v\")\nmhomed=1", want: []string{"?modparam m|n|v", "mhomed 1"}},
		{name: "expressions", script: "#!define A\n#!define B \"b\"\n#!ifexp A\nlisten=a\n#!endif\n#!ifexp B == \"b\"\nlisten=b\n#!endif\n#!ifexp B != \"b\"\nlisten=c\n#!else\nlisten=d\n#!endif\n#!ifexp NONE\nlisten=e\n#!endif\n#!ifexp KAMAILIO_VERSION >= 5006000\nlisten=f\nroute {\n#!define C 1\n#!else\nlisten=g\nroute[x] {\n#!endif\n}\n#!ifdef C\nlisten=h\n#!endif\nmhomed=1\n", want: []string{"listen a", "listen b", "listen d", "?listen f", "?listen g", "?listen h", "mhomed 1"}},
		{name: "of its version and of the environment", script: "#!ifdef KAMAILIO_6\nlisten=a\n#!endif\n#!defenv HOST\nlisten=tls:HOST:5061\nmodparam(\"a\",\"b\",HOST)\n#!ifdef HOST\nlisten=b\n#!endif\n#!trydefenv X=Y\n#!ifdef X\nlisten=c\n#!endif\nmodparamx(\"a\",\"b\",\"$def(X)\")\nmodparam(\"a\",\"b\", 1 + 2)", want: []string{"?listen a", "?listen tls:?:5061", "?modparam a|b|", "listen b", "?listen c", "?modparam a|b|", "?modparam a|b|"}},
		{name: "of a module", script: "loadmodule \"tls.so\"\n#!ifdef MOD_tls\nlisten=a\n#!endif\n#!ifdef MOD_ctl\nlisten=b\n#!endif\n", want: []string{"loadmodule tls.so", "listen a"}},
		{name: "definitions of themselves", script: "#!define A A\n#!define B B B\nlisten=A\nlisten=B"},
		{name: "cut off", script: "loadmodule\nmodparam(\"a\"\nlisten=\nmodparam(\"a\", \"b\", {", want: nil},
	} {
		got := lines(Read(Kamailio, kamailioPath, test.defined, texts(kamailioPath, test.script)))
		if test.name == "definitions of themselves" {
			if len(got) != 2 || !strings.HasPrefix(got[0], "?") || !strings.HasPrefix(got[1], "?") {
				t.Errorf("%s: %.200q", test.name, got)
			}
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s:\n%s", test.name, diff)
		}
	}
}

// TestKamailioFiles is about files that include each other.
func TestKamailioFiles(t *testing.T) {
	main := "import_file \"local.cfg\"\n#!ifdef WITH_TLS\n#!include_file \"/etc/sip/tls.cfg\"\n#!endif\ninclude_file \"none.cfg\"\nlisten=main\n#include_file \"commented.cfg\"\n"
	first := Read(Kamailio, kamailioPath, nil, texts(kamailioPath, main))
	paths := []string{kamailioPath, "/local.cfg", "/etc/kamailio/local.cfg", "/etc/sip/tls.cfg", "/none.cfg", "/etc/kamailio/none.cfg"}
	if diff := cmp.Diff(paths, first.Paths); diff != "" {
		t.Errorf("what is asked for first:\n%s", diff)
	}
	all := texts(kamailioPath, main, "/etc/kamailio/local.cfg", "#!define WITH_TLS", "/etc/sip/tls.cfg", "listen=tls\ninclude_file \"more/a.cfg\"\n", "/etc/sip/more/a.cfg", "listen=a")
	s := Read(Kamailio, kamailioPath, nil, all)
	if diff := cmp.Diff([]string{"listen tls", "listen a", "listen main"}, lines(s)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{kamailioPath + ":5: none.cfg could not be read"}, s.Doubts); diff != "" {
		t.Error(diff)
	}
	delete(all, "/etc/kamailio/local.cfg")
	if diff := cmp.Diff([]string{"listen main"}, lines(Read(Kamailio, kamailioPath, nil, all))); diff != "" {
		t.Errorf("a file counts whose branch does not:\n%s", diff)
	}
	again := Read(Kamailio, kamailioPath, nil, texts(kamailioPath, "include_file \"/etc/kamailio/kamailio.cfg\"\ninclude_file \"/etc/kamailio/kamailio.cfg\"\nlisten=a\n"))
	if n := len(again.Statements); n == 0 || n > 2*mostFiles || len(again.Doubts) == 0 {
		t.Errorf("a file that includes itself: %d statements, %v", n, again.Doubts)
	}
	if got := Read(Kamailio, kamailioPath, nil, nil); len(got.Statements) != 0 || !cmp.Equal(got.Paths, []string{kamailioPath}) {
		t.Errorf("without any text: %+v", got)
	}
}

func TestOpenSIPS(t *testing.T) {
	main := "#!define A\n#!ifdef A\nsocket=tls:127.0.0.1:5061 as 192.0.2.1:5061\n#!endif\n/* modparam(\"a\", \"b\", \"c\")\n*/ loadmodule \"tls_mgm.so\"\nmodparam(\"tls_mgm|proto_tls\", \"x\", \"1\"\n\"2\")\n  include_file 'tls.cfg'\nimport_file \"/etc/opensips/none.cfg\"\n# include_file \"commented.cfg\"\nroute {\n xlog(\"}\"); $var(x) = \"}\";\n}\nlisten = tls:eth0\ninclude_file \"broken\n"
	s := Read(OpenSIPS, opensipsPath, nil, texts(opensipsPath, main, "/etc/opensips/tls.cfg", "modparam(\"tls_mgm\", \"server_domain\", \"sip\")"))
	want := []string{"socket tls:127.0.0.1:5061|as|192.0.2.1:5061", "loadmodule tls_mgm.so", "modparam tls_mgm|proto_tls|x|12", "modparam tls_mgm|server_domain|sip", "listen tls:eth0"}
	if diff := cmp.Diff(want, lines(s)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{opensipsPath, "/tls.cfg", "/etc/opensips/tls.cfg", "/etc/opensips/none.cfg"}, s.Paths); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/etc/opensips/none.cfg could not be read"}, s.Doubts); diff != "" {
		t.Error(diff)
	}
	again := Read(OpenSIPS, opensipsPath, nil, texts(opensipsPath, "include_file \"/etc/opensips/opensips.cfg\"\ninclude_file \"/etc/opensips/opensips.cfg\"\nlisten=a\n"))
	if n := len(again.Statements); n == 0 || n > 2*mostFiles || len(again.Doubts) == 0 {
		t.Errorf("a file that includes itself: %d statements, %v", n, again.Doubts)
	}
}

// TestParams is about modules that a pattern names.
func TestParams(t *testing.T) {
	s := Read(OpenSIPS, opensipsPath, nil, texts(opensipsPath, `loadmodule "/usr/lib/tls_mgm.so"
modparam("auth_db|USRLOC", "db_url", "a")
modparam("usr.*", "db_url", "b")
modparam("us", "db_url", "c")
modparam("(", "db_url", "d")`))
	if got := s.Param("usrloc", "db_url").Value(); got != "b" {
		t.Errorf("%q", got)
	}
	if got := s.Param("auth_db", "db_url").Value(); got != "a" {
		t.Errorf("%q", got)
	}
	if got := s.Param("tm", "db_url"); got.Name != "" || got.Value() != "" {
		t.Errorf("%+v", got)
	}
	if len(s.Loads("tls_mgm")) != 1 || len(s.Loads("tls")) != 0 {
		t.Errorf("%+v", s.Statements)
	}
}

// likeDebians returns a script of some 30 KB in the shape of Debian's kamailio.cfg (6.0.1):
// pages of comments, branches, modules with their parameters, routes.
func likeDebians() string {
	var b strings.Builder
	b.WriteString("#!KAMAILIO\n#!define WITH_TLS\nimport_file \"kamailio-local.cfg\"\n#!substdef \"!DBURL!mysql://kamailio@localhost/kamailio!g\"\nlisten=tls:127.0.0.1:5061\n")
	for i := range 50 {
		fmt.Fprintf(&b, "# *** To enable part %d execute:\n#     - define WITH_PART%d before the line that includes this\n#     - see the README of the module for what else it needs\n\n", i, i)
		fmt.Fprintf(&b, "#!ifdef WITH_PART%d\nloadmodule \"part%d.so\"\nmodparam(\"part%d\", \"db_url\", DBURL)\n#!else\n/* uncomment to set another */\n# modparam(\"x\", \"y\", 1)\n#!endif\n", i, i, i)
		fmt.Fprintf(&b, "loadmodule \"m%d.so\"\n# ----- m%d params -----\nmodparam(\"m%d\", \"fr_timer\", 30000)\nmodparam(\"m%d\", \"failed_transaction_flag\", \"x\")\n\n", i, i, i, i)
		fmt.Fprintf(&b, "# Handle requests of kind %d\nroute[R%d] {\n\tif (is_method(\"INVITE|BYE\") && $rU != $null) { # only those\n\t\txlog(\"L_INFO\", \"$fU calls\\n\");\n\t\texit;\n\t}\n#!ifdef WITH_NAT\n\tforce_rport();\n#!endif\n\treturn;\n}\n\n", i, i)
	}
	return b.String()
}

// TestReadIsCheap wants a script to be read with few allocations, since that is done
// in each round of questions.
func TestReadIsCheap(t *testing.T) {
	all := texts(kamailioPath, likeDebians())
	statements := len(Read(Kamailio, kamailioPath, nil, all).Statements)
	if statements != 3*50+1 {
		t.Fatalf("%d statements", statements)
	}
	n := testing.AllocsPerRun(5, func() { Read(Kamailio, kamailioPath, nil, all) })
	if most := float64(2*statements + 50); n > most {
		t.Errorf("%v allocations for %d statements; want at most %v", n, statements, most)
	}
}

func BenchmarkRead(b *testing.B) {
	all := texts(kamailioPath, likeDebians())
	b.SetBytes(int64(len(all[kamailioPath][0].Content)))
	for b.Loop() {
		Read(Kamailio, kamailioPath, nil, all)
	}
}

// FuzzRead wants every script to be read to its end, with what it says bounded by how
// long it is.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"#!define A B\n#!ifdef A\nlisten=A:5061\n#!else\n#!endif\n#!subst \"/a/b/g\"\nmodparam(\"a\", \"b\", \"c\" 'd')\n",
		"include_file \"kamailio.cfg\"\n/* /* */ */ $(x{y}) !!ifexp A == \"b\"\nsocket = { bind = tls:a; }\n", "\"\\x4\\12\\\n", "#!substdef \"!A!B!\"\nroute { A }",
	} {
		f.Add(seed, "A=1")
	}
	f.Fuzz(func(t *testing.T, script, defined string) {
		for _, dialect := range []Dialect{Kamailio, OpenSIPS} {
			s := Read(dialect, kamailioPath, []string{defined}, texts(kamailioPath, script))
			if most := (mostFiles+1)*len(script) + mostExpanded; len(s.Statements) > most || len(s.Paths) > 2*mostFiles+1 {
				t.Errorf("%d statements and %d paths of %d bytes", len(s.Statements), len(s.Paths), len(script))
			}
			for _, statement := range s.Statements {
				if statement.Name == "modparam" && len(statement.Args) != 3 || statement.Name == "loadmodule" && len(statement.Args) != 1 {
					t.Errorf("%+v", statement)
				}
			}
		}
	})
}
