package deployers

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/endpoint"
)

// discover asks a deployer with a target of defaults.
func discover(d Discoverer, f Facts) Discovery {
	t := Target{Service: d.Name(), Options: d.Options()}
	d.Defaults(&t)
	return d.Discover(t, f)
}

// uses wants some uses, and unknown of which each begins as it should.
func uses(t *testing.T, got Discovery, want []Use, unknown ...string) {
	t.Helper()
	if !got.Installed {
		t.Error("the service counts as not installed")
	}
	if diff := cmp.Diff(want, got.Uses); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
	if len(got.Unknown) != len(unknown) {
		t.Fatalf("unknown: %q, want %q", got.Unknown, unknown)
	}
	for i, text := range unknown {
		if !strings.HasPrefix(got.Unknown[i], text) {
			t.Errorf("unknown: %q, want %q", got.Unknown[i], text)
		}
	}
}

func TestNothingInstalled(t *testing.T) {
	for _, d := range All() {
		discoverer, ok := d.(Discoverer)
		if !ok {
			continue
		}
		got := discover(discoverer, Facts{Systemd: true, Unit: Unit{LoadState: "not-found"}})
		if got.Installed || got.Uses != nil || got.Unknown != nil {
			t.Errorf("%s: %+v", d.Name(), got)
		}
	}
}

func TestNginxDiscover(t *testing.T) {
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
	uses(t, discover(nginx{}, nginxFacts(Output{Stdout: dump})), []Use{
		{Where: "/etc/nginx/nginx.conf:3", Certificate: "/tls/default.pem", Key: "/tls/default.key", Probes: probe("127.0.0.1", 443, "")},
		{
			Where: "/etc/nginx/nginx.conf:4, /etc/nginx/nginx.conf:5", Certificate: "/etc/nginx/a.pem", Key: "/etc/nginx/a.key",
			Names:  []string{"www.example", "example", "*.example", "*.sub.example"},
			Probes: append(probe("127.0.0.1", 443, "www.example"), probe("::1", 443, "certlatch.sub.example")...),
		},
		{Where: "/etc/nginx/nginx.conf:6", Certificate: "/etc/nginx/ec.pem", Key: "/etc/nginx/ec.key", Names: []string{"both.example"}, Twin: true, Probes: probe("127.0.0.1", 8443, "both.example")},
		{Where: "/etc/nginx/nginx.conf:6", Certificate: "/etc/nginx/rsa.pem", Key: "/etc/nginx/rsa.key", Names: []string{"both.example"}, Twin: true, Probes: probe("127.0.0.1", 8443, "both.example")},
	}, "/etc/nginx/nginx.conf:12: the server takes its certificate from no file that has a fixed path")
	uses(t, discover(nginx{}, nginxFacts(Output{Failed: "exit status 1"})), nil, "nginx refuses its configuration")
}

func TestKamailioDiscover(t *testing.T) {
	channels := (&KamailioOptions{}).channels()
	silent := map[Query]Answer{}
	for _, channel := range channels {
		silent[Query{channel, "tls.options"}] = Answer{Err: "no such file"}
	}
	facts := func(reply Answer, tls Text) Facts {
		answers := maps.Clone(silent)
		answers[Query{channels[0], "tls.options"}] = reply
		return Facts{
			Systemd: true, Unit: Unit{LoadState: "loaded"}, Answers: answers,
			Texts: map[string][]Text{
				"/etc/kamailio/kamailio.cfg": {{"/etc/kamailio/kamailio.cfg", "# alias=no.example\nalias=\"SIP.example\"\nalias=tls:pbx.example:5061\n#!ifdef WITH_TLS\nloadmodule \"tls.so\"\n#!endif\n#!define WITH_TLS\n"}},
				"/etc/kamailio/tls.cfg":      {tls},
			},
		}
	}
	packaged := Use{
		Where: "[server:default] (/etc/kamailio/tls.cfg:15)", Certificate: "/etc/kamailio/kamailio-selfsigned.pem", Key: "/etc/kamailio/kamailio-selfsigned.key",
		Hints: []string{"sip.example", "pbx.example"},
	}
	debian := readTLS(t, "debian-6.0.1.cfg")
	uses(t, discover(kamailio{}, facts(Answer{Reply: "config: /etc/kamailio/tls.cfg\n"}, debian)), []Use{packaged})
	uses(t, discover(kamailio{}, facts(Answer{Err: "it is stopped"}, debian)), []Use{packaged})
	off := facts(Answer{Err: "it is stopped"}, debian)
	off.Texts["/etc/kamailio/kamailio.cfg"] = []Text{{"/etc/kamailio/kamailio.cfg", "#!ifdef WITH_TLS\nloadmodule \"tls.so\"\n#!endif\n# #!define WITH_TLS\n"}}
	uses(t, discover(kamailio{}, off), nil, "Kamailio does not run, and /etc/kamailio/kamailio.cfg loads no TLS")
	uses(t, discover(kamailio{}, facts(Answer{Fault: "method not found"}, debian)), nil, "Kamailio runs without TLS: ")

	none := facts(Answer{Reply: "config: <null string>\ncertificate: /m.pem\nprivate_key: /m.key\n"}, debian)
	uses(t, discover(kamailio{}, none), []Use{{
		Where: "[server:default] of modparam", Certificate: "/m.pem", Key: "/m.key", Hints: packaged.Hints,
		Note: "A renewed pair waits for a restart: certificates are set by modparam only, which Kamailio reads when it starts. Give the module tls a config file, or this target allow_restart: true.",
	}})

	named := Text{"/etc/kamailio/tls.cfg", "[server:default]\ncertificate=./a.pem\nprivate_key=./a.key\n[server:any]\nserver_name=B.example\ncertificate=tls/b.pem\nprivate_key=tls/b.key\n"}
	uses(t, discover(kamailio{}, facts(Answer{Reply: "config: /etc/kamailio/tls.cfg\n"}, named)), []Use{{
		Where: "[server:any] (/etc/kamailio/tls.cfg:4)", Certificate: "/etc/kamailio/tls/b.pem", Key: "/etc/kamailio/tls/b.key",
		Names: []string{"b.example"}, Hints: packaged.Hints,
	}}, "[server:default] (/etc/kamailio/tls.cfg:1) takes ./a.pem, which is relative")
}

func TestOpenSIPSDiscover(t *testing.T) {
	uses(t, discover(opensips{}, opensipsFacts("3.6.8", tlsList(t, "script"))), []Use{
		{Where: "domain sip", Certificate: "/path/fullchain.pem", Key: "/path/privkey.pem", Note: scriptNote},
	})
	uses(t, discover(opensips{}, opensipsFacts("3.6.8", tlsList(t, "database"))), []Use{{Where: "domain sip", Domain: "sip"}})

	stopped := Facts{Systemd: true, Unit: opensipsUp, Answers: map[Query]Answer{{miFIFO, "tls_list"}: miSilent}, Texts: map[string][]Text{}}
	if got := (opensips{}).Wants(Target{Options: opensips{}.Options()}, stopped).Texts; !cmp.Equal(got, []string{opensipsScript}) {
		t.Errorf("a silent OpenSIPS's script is not asked for, but %q", got)
	}
	stopped.Texts[opensipsScript] = []Text{{opensipsScript, `
modparam("tls_mgm", "server_domain", "sip")
modparam("tls_mgm", "match_sip_domain", "[sip]SIP.example, *.other.example")
modparam("tls_mgm", "certificate", "[sip]/etc/opensips/tls/a.pem")
modparam("tls_mgm", "private_key", "[sip]/etc/opensips/tls/a.key")
# modparam("tls_mgm", "certificate", "[sip]/etc/opensips/tls/old.pem")
modparam("tls_mgm", "client_domain", "out")
modparam("tls_mgm", "certificate", "[out]/etc/opensips/tls/out.pem")
`}}
	uses(t, discover(opensips{}, stopped), []Use{
		{Where: "domain sip", Certificate: "/etc/opensips/tls/a.pem", Key: "/etc/opensips/tls/a.key", Names: []string{"sip.example"}, Note: scriptNote},
	}, "OpenSIPS cannot be reached")
}

func TestProsodyDiscover(t *testing.T) {
	host := prosodyHost{files: map[string]string{
		prosodyConfigPath: `
VirtualHost "localhost"
VirtualHost "off.example"
	enabled = false
VirtualHost "tree.example"
VirtualHost "none.example"
VirtualHost "ssl.example"
	ssl = { certificate = "/tls/ssl.pem"; key = "/tls/ssl.key" }
VirtualHost "bücher.example"
Component "rooms.tree.example" "muc"
`,
		"/etc/prosody/certs/anything.crt": certificateFor(t, "tree.example"),
	}}
	target := Target{Options: prosody{}.Options()}
	prosody{}.Defaults(&target)
	uses(t, discover(prosody{}, host.facts(t, target)), []Use{
		{
			Where: "host tree.example, host rooms.tree.example", Certificate: "/etc/prosody/certs/anything.crt", Key: "/etc/prosody/certs/anything.key",
			Names: []string{"tree.example", "rooms.tree.example"},
		},
		{Where: "host none.example", Names: []string{"none.example"}},
		{Where: "host ssl.example", Certificate: "/tls/ssl.pem", Key: "/tls/ssl.key", Names: []string{"ssl.example"}},
	}, "bücher.example is not a name in ASCII")
}
