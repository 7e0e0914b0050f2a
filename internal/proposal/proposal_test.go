package proposal

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// certbot is where the lineages of the tests are kept.
var certbot = hooks.UsualRoots()[0]

// issued returns a lineage with a leaf of its own.
func issued(name, key string, names ...string) Lineage {
	l, err := certbot.Lineage(name)
	if err != nil {
		panic(err)
	}
	return Lineage{l, lineage.Leaf{Fingerprint: name, Names: names, Key: key, NotAfter: time.Unix(2e9, 0)}}
}

func ecdsa(name string, names ...string) Lineage { return issued(name, "ecdsa-p256", names...) }

// service returns a service as its deployer describes it, with uses.
func service(t *testing.T, name string, uses ...deployers.Use) Service {
	t.Helper()
	d, _ := all.For(name)
	target := deployers.Target{Service: name, Options: d.Options()}
	s := Service{Name: name, Discovery: d.(deployers.Discoverer).Discover(target, deployers.Facts{Systemd: true})}
	s.Uses = uses
	return s
}

func use(where, certificate string, names ...string) deployers.Use {
	return deployers.Use{Where: where, Certificate: certificate, Key: strings.TrimSuffix(certificate, filepath.Ext(certificate)) + ".key", Names: names}
}

func selfSigned(names ...string) File {
	return File{Leaf: &lineage.Leaf{Fingerprint: "self", Names: names, Key: "rsa-2048"}, SelfIssued: true}
}

func bought(names ...string) File {
	return File{Leaf: &lineage.Leaf{Fingerprint: "bought", Names: names, Key: "rsa-2048"}}
}

// says returns a line for each target, for tests to compare.
func says(p Proposal) []string {
	var lines []string
	for _, t := range p.Targets {
		line := fmt.Sprintf("%s %s %s%s%s", t.Name, t.Lineage, t.Directory, t.Certificate, t.Domain)
		for _, probe := range t.Probes {
			line += " " + probe.String()
		}
		if t.Idle {
			line += " idle"
		}
		if t.Steps != nil {
			line += " to do"
		}
		lines = append(lines, line)
	}
	return lines
}

func TestMake(t *testing.T) {
	const own, live = "/etc/nginx/keys/a.pem", "/etc/letsencrypt/live/www.example/fullchain.pem"
	three := ecdsa("example", "web.example", "sip.example", "xmpp.example")
	www, sip, mail := ecdsa("www.example", "www.example", "example"), ecdsa("sip.example", "sip.example"), ecdsa("mail.example", "mail.example")
	wild := ecdsa("wild", "*.apps.example")
	probed := func(u deployers.Use) deployers.Use {
		u.Probes = []endpoint.Endpoint{{Scheme: "https", Host: "127.0.0.1", Port: 443, Name: "www.example"}}
		return u
	}
	twin := func(u deployers.Use) deployers.Use {
		u.Twin = true
		return probed(u)
	}
	without := func(s Service, uses ...deployers.Use) Service {
		s.Plain = uses
		return s
	}
	for _, test := range []struct {
		name     string
		lineages []Lineage
		services []Service
		files    map[string]File
		want     []string
		why      string // part of what is said of the first target, or of what is unknown
	}{
		{
			name: "one certificate for three services", lineages: []Lineage{three},
			services: []Service{
				service(t, "nginx", use("a", own, "web.example")),
				service(t, "kamailio", use("[server:default]", "/etc/kamailio/kamailio-selfsigned.pem")),
				service(t, "prosody", use("host xmpp.example", "/etc/prosody/certs/x.crt", "xmpp.example")),
			},
			files: map[string]File{"/etc/kamailio/kamailio-selfsigned.pem": selfSigned("host")},
			want:  []string{"web example " + own, "sip example /etc/kamailio/kamailio-selfsigned.pem", "xmpp example /etc/prosody/certs/x.crt"},
			why:   "nginx: a takes /etc/nginx/keys/a.pem. certbot:example covers web.example.",
		},
		{
			name: "no TLS yet", lineages: []Lineage{www, sip, mail},
			services: []Service{
				without(service(t, "nginx"), use("a", "", "www.example", "example"), use("b", "", "sip.example"), use("c", "", "mail.example", "imap.example"), use("d", "", "www.example")),
				service(t, "prosody", use("host sip.example", "", "sip.example")),
			},
			want: []string{"xmpp sip.example /etc/prosody/certs/sip.example.crt", "web www.example /etc/nginx/tls/www.example to do"},
		},
		{
			name: "each its own", lineages: []Lineage{www, sip, mail},
			services: []Service{
				service(t, "nginx", use("a", own, "www.example", "example"), use("b", "/b.pem", "mail.example")),
				service(t, "kamailio", use("[server:any]", "/s.pem", "sip.example")),
			},
			want: []string{"web-www.example www.example " + own, "web-mail.example mail.example /b.pem", "sip sip.example /s.pem"},
		},
		{
			name: "a name that nothing covers", lineages: []Lineage{www},
			services: []Service{service(t, "nginx", use("a", own, "other.example"))},
			why:      "nginx: a takes /etc/nginx/keys/a.pem. No lineage covers other.example.",
		},
		{
			name: "a name more than it covers", lineages: []Lineage{www},
			services: []Service{service(t, "nginx", use("a", own, "www.example", "new.example"))},
			want:     []string{"web www.example " + own}, why: "covers www.example, but not new.example.",
		},
		{
			name: "no lineage", services: []Service{service(t, "nginx", use("a", own, "www.example"))},
			why: "No ACME client keeps a certificate here yet.",
		},
		{
			name: "a client's own file", lineages: []Lineage{www},
			services: []Service{service(t, "nginx", probed(use("a", live, "www.example")), probed(use("b", "/link.pem", "example")))},
			files:    map[string]File{live: {Kept: "certbot:www.example", KeptBy: "certbot"}, "/link.pem": {Kept: "certbot:www.example", KeptBy: "certbot", Link: true}},
			want:     []string{"web www.example /etc/nginx/tls/www.example to do"}, why: "That is certbot's own file",
		},
		{
			name: "a client's own wildcard", lineages: []Lineage{wild},
			services: []Service{service(t, "nginx", probed(use("a", "/w.pem", "one.apps.example")))},
			files:    map[string]File{"/w.pem": {Kept: "certbot:wild", KeptBy: "certbot"}},
			want:     []string{"web wild /etc/nginx/tls/wild https://127.0.0.1:443?name=www.example to do"},
		},
		{
			name: "links among Prosody's certificates", lineages: []Lineage{sip},
			services: []Service{service(t, "prosody", use("host sip.example", "/etc/prosody/certs/sip.example.crt", "sip.example"))},
			files:    map[string]File{"/etc/prosody/certs/sip.example.crt": {Link: true, Kept: "certbot:sip.example", KeptBy: "certbot"}},
			want:     []string{"xmpp sip.example /etc/prosody/certs/sip.example.crt idle to do"},
		},
		{
			name: "hosts of Prosody without any", lineages: []Lineage{three},
			services: []Service{service(t, "prosody", use("host xmpp.example", "", "xmpp.example"), use("host web.example", "", "web.example"))},
			want:     []string{"xmpp example /etc/prosody/certs/example.crt"}, why: "host xmpp.example has no certificate yet",
		},
		{
			name: "a key that is a client's own", lineages: []Lineage{www}, services: []Service{service(t, "nginx", use("a", own, "www.example"))},
			files: map[string]File{"/etc/nginx/keys/a.key": {KeptBy: "certbot"}},
			want:  []string{"web www.example /etc/nginx/tls/www.example to do"},
		},
		{
			name: "a directory of certlatch's", lineages: []Lineage{www},
			services: []Service{service(t, "nginx", deployers.Use{Where: "a", Certificate: "/tls/current/fullchain.pem", Key: "/tls/current/privkey.pem", Names: []string{"example"}})},
			want:     []string{"web www.example /tls"},
		},
		{
			name: "ssl-cert's certificate", lineages: []Lineage{www},
			services: []Service{service(t, "nginx", use("a", "/etc/ssl/certs/ssl-cert-snakeoil.pem", "www.example"))},
			files:    map[string]File{"/etc/ssl/certs/ssl-cert-snakeoil.pem": selfSigned("host")},
			want:     []string{"web www.example /etc/nginx/tls/www.example to do"},
		},
		{
			name: "certificate and key in one", lineages: []Lineage{www},
			services: []Service{service(t, "nginx", deployers.Use{Where: "a", Certificate: own, Key: own, Names: []string{"www.example"}})},
			want:     []string{"web www.example /etc/nginx/tls/www.example to do"}, why: "certificate and key in one",
		},
		{
			name: "a path that no configuration can have", lineages: []Lineage{www},
			services: []Service{service(t, "nginx", use("a", "/a/../b\n.pem", "www.example"))},
			want:     []string{"web www.example /etc/nginx/tls/www.example to do"},
		},
		{
			name: "two services with one file", lineages: []Lineage{three},
			services: []Service{service(t, "nginx", use("a", "/both.pem", "web.example")), service(t, "prosody", use("host", "/both.pem", "xmpp.example"))},
			want:     []string{"web example /both.pem", "xmpp example /both.pem idle"},
		},
		{
			name: "two types of keys", lineages: []Lineage{www, issued("www-rsa", "rsa-2048", "www.example", "example")},
			services: []Service{service(t, "nginx", twin(use("a", "/ec.pem", "www.example")), twin(use("a", "/rsa.pem", "www.example")))},
			files:    map[string]File{"/ec.pem": {Leaf: &www.Leaf}},
			want: []string{
				"web-www.example www.example /ec.pem https://127.0.0.1:443?key=ecdsa&name=www.example",
				"web-www-rsa www-rsa /rsa.pem https://127.0.0.1:443?key=rsa&name=www.example",
			},
		},
		{
			name: "the type of key that is there", lineages: []Lineage{www, issued("www-rsa", "rsa-2048", "www.example", "example")},
			services: []Service{service(t, "nginx", use("a", own, "www.example"))}, files: map[string]File{own: bought("www.example")},
			want: []string{"web www-rsa " + own}, why: "so does certbot:www.example",
		},
		{
			name: "a wildcard covers one label, and no SIP domain", lineages: []Lineage{wild},
			services: []Service{
				service(t, "nginx", use("a", "/1.pem", "one.apps.example"), use("b", "/2.pem", "two.one.apps.example"), use("c", "/3.pem", "*.apps.example")),
				service(t, "kamailio", use("[server:any]", "/s.pem", "sip.apps.example")),
			},
			want: []string{"web-wild wild /1.pem", "web-wild-2 wild /3.pem"},
		},
		{
			name: "whatever name: the only lineage", lineages: []Lineage{mail}, services: []Service{service(t, "kamailio", use("[server:default]", "/s.pem"))},
			want: []string{"sip mail.example /s.pem"}, why: "the only lineage of this host",
		},
		{
			name: "whatever name: a bought certificate stays", lineages: []Lineage{mail},
			services: []Service{service(t, "kamailio", use("[server:default]", "/s.pem"))}, files: map[string]File{"/s.pem": bought("sip.other")},
			why: "the certificate there, of sip.other, is no lineage's",
		},
		{
			name: "whatever name: one with the same names", lineages: []Lineage{www, mail},
			services: []Service{service(t, "kamailio", use("[server:default]", "/s.pem"))}, files: map[string]File{"/s.pem": bought("mail.example")},
			want: []string{"sip mail.example /s.pem"}, why: "names of the certificate that is there now",
		},
		{
			name: "whatever name: the service's own", lineages: []Lineage{www, mail},
			services: []Service{service(t, "kamailio", deployers.Use{Where: "[server:default]", Certificate: "/s.pem", Key: "/s.key", Hints: []string{"example"}})},
			want:     []string{"sip www.example /s.pem"}, why: "counts those as its own names",
		},
		{
			name: "whatever name: a guess", lineages: []Lineage{www, sip, mail},
			services: []Service{service(t, "kamailio", use("[server:default]", "/s.pem"))}, files: map[string]File{"/s.pem": selfSigned("host")},
			want: []string{"sip sip.example /s.pem"}, why: "was guessed from its name",
		},
		{
			name: "whatever name: no sign", lineages: []Lineage{www, mail}, services: []Service{service(t, "kamailio", use("[server:default]", "/s.pem"))},
			why: "nothing tells which lineage it should have",
		},
		{
			name: "two services of one kind", lineages: []Lineage{three},
			services: []Service{service(t, "kamailio", use("[server:default]", "/k.pem")), service(t, "opensips", use("domain sip", "/o.pem"))},
			want:     []string{"kamailio example /k.pem", "opensips example /o.pem"},
		},
		{
			name: "a domain of OpenSIPS's database", lineages: []Lineage{sip}, services: []Service{service(t, "opensips", deployers.Use{Where: "domain sip", Domain: "sip", Names: []string{"sip.example"}, Note: "Fill in the database.", Incomplete: true, Settings: []deployers.Setting{{Key: "database", Value: "mysql://USER:PASSWORD@localhost/opensips"}, {Key: "domain", Value: "sip"}}})},
			want: []string{"sip sip.example sip idle"}, why: "Fill in the database",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := Make(Host{Roots: []lineage.Root{certbot, hooks.UsualRoots()[1]}, Lineages: test.lineages, Services: test.services, Files: test.files})
			if diff := cmp.Diff(test.want, says(p)); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
			said := slices.Clone(p.Unknown)
			if len(p.Targets) > 0 {
				said = p.Targets[0].About
			}
			if all := strings.Join(said, "\n"); !strings.Contains(all, test.why) {
				t.Errorf("%q is not said, but\n%s", test.why, all)
			}
			loads(t, p)
		})
	}
}

// loads wants the proposal to be a configuration with the targets that are not
// idle, and with all targets once the comments are removed.
func loads(t *testing.T, p Proposal) {
	t.Helper()
	var text strings.Builder
	if err := p.Write(&text); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("config.yaml", []byte(text.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	var want []string
	for _, target := range p.Targets {
		if !target.Idle {
			want = append(want, target.Name)
		}
	}
	var got []string
	for _, target := range cfg.Targets {
		got = append(got, target.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("targets of the configuration (-want +got):\n%s\n%s", diff, text.String())
	}
}

// TestOneLeafUnderSeveralNames has lineages as acmetool keeps them, one for
// each name of a certificate.
func TestOneLeafUnderSeveralNames(t *testing.T) {
	a, b := ecdsa("a.example", "a.example", "b.example"), ecdsa("b.example", "a.example", "b.example")
	b.Leaf.Fingerprint = a.Leaf.Fingerprint
	p := Make(Host{Lineages: []Lineage{a, b}, Services: []Service{service(t, "nginx", use("x", "/x.pem", "b.example"))}})
	if diff := cmp.Diff([]string{"web b.example /x.pem"}, says(p)); diff != "" {
		t.Error(diff)
	}
	twin := b
	twin.Client = "lego"
	p = Make(Host{Lineages: []Lineage{b, twin}, Services: []Service{service(t, "nginx", use("x", "/x.pem", "b.example"))}})
	if diff := cmp.Diff([]string{"web certbot:b.example /x.pem"}, says(p)); diff != "" {
		t.Error(diff)
	}
}

func TestWrite(t *testing.T) {
	p := Make(Host{
		Roots: []lineage.Root{certbot},
		Lineages: []Lineage{
			ecdsa("www.example", "www.example"), ecdsa("true", "chat.example"), ecdsa("spare.example", "spare.example"),
		},
		Services: []Service{
			service(t, "nginx", use("/etc/nginx/conf.d/a b.conf:1", "/etc/nginx/a b.pem", "www.example"), use("b", "/b.pem", "none.example")),
			service(t, "prosody", use("host chat.example", "/live.pem", "chat.example")),
		},
		Files: map[string]File{"/live.pem": {Kept: "certbot:true", KeptBy: "certbot"}},
	})
	var text strings.Builder
	if err := p.Write(&text); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(text.String(), "\ntargets:\n")
	want := `
  # nginx: /etc/nginx/conf.d/a b.conf:1 takes /etc/nginx/a b.pem. certbot:www.example covers
  # www.example.
  - name: web
    service: nginx
    lineage: www.example
    certificate: "/etc/nginx/a b.pem"
    key: "/etc/nginx/a b.key"

  # prosody: host chat.example takes /live.pem. It is the lineage's own file.
  # That is certbot's own file, so this target keeps a copy for the service: see above.
  # To do: let prosody name the target's files, for host chat.example
  #     certificate = "/etc/prosody/certs/true.crt"
  - name: xmpp
    service: prosody
    lineage: "true"
    certificate: /etc/prosody/certs/true.crt
    key: /etc/prosody/certs/true.key

  # No target takes these:
  #   certbot:spare.example, for spare.example
  # A service that certlatch does not know takes one so (presets: see certlatch.yaml(5)):
  #
  # - name: turn
  #   service: generic
  #   lineage: turn.example.org
  #   certificate: /etc/coturn/tls/fullchain.pem
  #   key: /etc/coturn/tls/privkey.pem
  #   generic: {preset: coturn}

  # What could not be concluded, and what to know:
  #   nginx: b takes /b.pem. No lineage covers none.example.
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	if !strings.Contains(text.String(), "There are two ways.") {
		t.Error("what it means to take a client's own files is not said")
	}
	loads(t, p)
}

// TestTree is about a service that looks through a directory before it looks at what is
// named to it.
func TestTree(t *testing.T) {
	const live, certs = "/etc/letsencrypt/live", "/etc/prosody/certs"
	im := ecdsa("im.example", "im.example")
	inTree := func(certificate, key string, either ...string) deployers.Use {
		return deployers.Use{Where: "host im.example", Certificate: certificate, Key: key, Names: []string{"im.example"}, InTree: true, Either: either}
	}
	ours := inTree(live+"/im.example/fullchain.pem", live+"/im.example/privkey.pem")
	linked := inTree(certs+"/linked/fullchain.pem", certs+"/linked/privkey.pem")
	for _, test := range []struct {
		name  string
		tree  string
		use   deployers.Use
		files map[string]File
		place string
		step  string
		line  string
	}{
		{"a client's directory", live, ours, map[string]File{live: {KeptBy: "certbot"}, ours.Certificate: {KeptBy: "certbot"}},
			certs + "/im.example.crt", "let prosody name", `certificates = "/etc/prosody/certs"`},
		{"a directory that holds a client's", "/etc/letsencrypt", ours, map[string]File{ours.Certificate: {KeptBy: "certbot"}},
			certs + "/im.example.crt", "let prosody name", `certificates = "/etc/prosody/certs"`},
		{"its own, which is a link to a client's", certs, inTree(certs+"/im.example/fullchain.pem", certs+"/im.example/privkey.pem"),
			map[string]File{certs: {KeptBy: "certbot"}, certs + "/im.example/fullchain.pem": {KeptBy: "certbot"}},
			"/etc/prosody/tls/im.example.crt", "let prosody name", `certificates = "/etc/prosody/tls"`},
		{"a client's, for a host without a certificate", live, deployers.Use{Where: "host im.example", Names: []string{"im.example"}}, map[string]File{live: {KeptBy: "certbot"}},
			certs + "/im.example.crt", "let prosody name", `certificates = "/etc/prosody/certs"`},
		{"a link in its own", certs, linked, map[string]File{linked.Certificate: {KeptBy: "certbot", LinkedAt: []string{certs + "/linked"}}, linked.Key: {LinkedAt: []string{certs + "/linked"}}},
			certs + "/im.example.crt", "take the others out of /etc/prosody/certs", "rm /etc/prosody/certs/linked"},
		{"several in its own", certs, inTree(certs+"/a.crt", certs+"/a.key", certs+"/b.crt"), nil,
			certs + "/a.crt", "take the others out of /etc/prosody/certs", "rm /etc/prosody/certs/b.crt"},
		{"one in its own", certs, inTree(certs+"/a.crt", certs+"/a.key"), nil, certs + "/a.crt", "", ""},
		{"another directory of its own", "/srv/tls", deployers.Use{Where: "host im.example", Names: []string{"im.example"}}, nil, "/srv/tls/im.example.crt", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, _ := all.For("prosody")
			const path = "/etc/prosody/prosody.cfg.lua"
			texts := map[string][]deployers.Text{path: {{Path: path, Content: "certificates = \"" + test.tree + "\""}}}
			found := d.(deployers.Discoverer).Discover(deployers.Target{Service: "prosody", Options: d.Options()}, deployers.Facts{Texts: texts})
			found.Uses = []deployers.Use{test.use}
			p := Make(Host{Roots: []lineage.Root{certbot}, Lineages: []Lineage{im}, Services: []Service{{Name: "prosody", Discovery: found}}, Files: test.files})
			if len(p.Targets) != 1 || p.Targets[0].Certificate != test.place {
				t.Fatalf("targets: %q, want one at %s", says(p), test.place)
			}
			var says, lines string
			for _, step := range p.Targets[0].Steps {
				says, lines = says+step.Says, lines+strings.Join(step.Lines, "\n")
			}
			if !strings.HasPrefix(says, test.step) || (says == "") != (test.step == "") || lines != test.line {
				t.Errorf("to do: %q: %q, want %q: %q", says, lines, test.step, test.line)
			}
			loads(t, p)
		})
	}
}

// FuzzWrite wants no name or path to change the rest of the configuration.
func FuzzWrite(f *testing.F) {
	for _, seed := range []string{"www.example", "a\nb: c", "- x", "#", "\u2028targets: []", "\xff", "*", "a: b", "'", `"`, "\\"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, path, where string) {
		loads(t, Make(Host{
			Roots: []lineage.Root{certbot}, Lineages: []Lineage{ecdsa("www.example", "www.example", where)},
			Services: []Service{service(t, "nginx", use(where, "/"+path, "www.example"))}, Unknown: []string{where},
		}))
	})
}

// TestKeptRights wants a target to leave the key to whom it belongs, where it writes
// the service's own files, and a copy to have what is usual.
func TestKeptRights(t *testing.T) {
	const own = "/etc/nginx/keys/a.pem"
	key := File{User: "acme", Group: "certs", Mode: 0o400}
	for kept, want := range map[string]string{
		"":        "\n    user: acme\n    group: certs\n    mode: \"0400\"\n",
		"certbot": "\n    directory: /etc/nginx/tls/a.example\n",
	} {
		certificate := bought("a.example")
		certificate.KeptBy = kept
		host := Host{
			Roots: []lineage.Root{certbot}, Lineages: []Lineage{ecdsa("a.example", "a.example")},
			Services: []Service{service(t, "nginx", use("a.conf:1", own, "a.example"))},
			Files:    map[string]File{own: certificate, "/etc/nginx/keys/a.key": key},
		}
		var text strings.Builder
		if err := Make(host).Write(&text); err != nil {
			t.Fatal(err)
		}
		if got := text.String(); !strings.Contains(got, want) || kept != "" && strings.Contains(got, "acme") {
			t.Errorf("kept by %q:\n%s", kept, got)
		}
	}
}
