package prosody

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sample"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
)

// running is prosody.service of Debian 13 as systemd 257 shows it.
var running = deployers.Unit{
	Name: "prosody.service", LoadState: "loaded", ActiveState: "active", CanReload: true,
	User: "prosody", Group: "prosody", MainPID: 70,
}

// fakeHost is a host with files, by their paths, and listeners.
type fakeHost struct {
	files     map[string]string
	listeners string
	unit      deployers.Unit // zero: running
	argv      []string
}

// facts returns what is found out on the host, asked for in rounds until
// nothing new is wanted.
func (h fakeHost) facts(t *testing.T, target deployers.Target) deployers.Facts {
	t.Helper()
	f := deployers.Facts{Systemd: true, Unit: running, Texts: map[string][]deployers.Text{}}
	f.Argv = h.argv
	if h.unit.Name != "" {
		f.Unit = h.unit
	}
	for range 10 {
		wants := Deployer{}.Wants(target, f)
		f.Listeners = nil
		for listener := range strings.FieldsSeq(h.listeners) {
			if addr := netip.MustParseAddrPort(listener); slices.Contains(wants.Ports, addr.Port()) {
				f.Listeners = append(f.Listeners, addr)
			}
		}
		news := false
		for _, pattern := range wants.Texts {
			if _, asked := f.Texts[pattern]; !asked {
				f.Texts[pattern], news = h.glob(t, pattern), true
			}
		}
		if !news {
			return f
		}
	}
	t.Fatal("it goes on asking")
	return f
}

func (h fakeHost) glob(t *testing.T, pattern string) []deployers.Text {
	t.Helper()
	found := []deployers.Text{}
	for path, content := range h.files {
		matched, err := filepath.Match(pattern, path)
		if err != nil {
			t.Fatal(err)
		}
		if matched {
			text := deployers.Text{Path: path, Content: content}
			if filepath.IsAbs(content) { // it is a link
				text.Real, text.Content = content, h.files[content]
			}
			found = append(found, text)
		}
	}
	slices.SortFunc(found, func(a, b deployers.Text) int { return strings.Compare(a.Path, b.Path) })
	return found
}

func certificateFor(t *testing.T, names ...string) string {
	t.Helper()
	return string(pki.SelfSigned(t, pki.Names(names...)).Fullchain)
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// crt returns the target of a certificate in Prosody's own place.
func crt(change func(*deployers.Target)) deployers.Target {
	return sample.Target(Deployer{}, func(t *deployers.Target) {
		t.Name, t.Lineage, t.Probes = "chat", "chat.example", nil
		t.Certificate, t.Key = "/etc/prosody/certs/chat.example.crt", "/etc/prosody/certs/chat.example.key"
		if change != nil {
			change(t)
		}
	})
}

// elsewhere returns the target of a managed directory.
func elsewhere(directory string) deployers.Target {
	return crt(func(t *deployers.Target) { t.Certificate, t.Key, t.Directory = "", "", directory })
}

// TestPlan makes the whole plan for Debian's configuration with one
// virtual host and its component added.
func TestPlan(t *testing.T) {
	host := fakeHost{
		files: map[string]string{
			"/usr/bin/prosodyctl":                 "#!/usr/bin/env lua5.4",
			"/etc/prosody/prosody.cfg.lua":        testdata(t, "debian-13.cfg.lua"),
			"/etc/prosody/conf.d/chat.cfg.lua":    "VirtualHost \"chat.example\"\nComponent \"rooms.chat.example\" \"muc\"\n",
			"/etc/prosody/conf.d/.hidden.lua":     `VirtualHost "hidden.example"`,
			"/etc/prosody/certs/chat.example.crt": certificateFor(t, "chat.example", "rooms.chat.example"),
		},
		listeners: "0.0.0.0:5222 [::]:5222 0.0.0.0:5269 127.0.0.1:5280 127.0.0.1:5281",
	}
	target := crt(nil)
	got, err := Deployer{}.Plan(target, lineage.Lineage{Name: "chat.example"}, host.facts(t, target))
	if err != nil {
		t.Fatal(err)
	}
	want := deployers.Plan{
		Target: "chat", Service: "prosody", Lineage: "chat.example",
		Files: []deployers.File{
			{Path: "/etc/prosody/certs/chat.example.crt", Content: deployers.Fullchain, Group: "prosody", Mode: 0o644},
			{Path: "/etc/prosody/certs/chat.example.key", Content: deployers.Key, Group: "prosody", Mode: 0o640},
		},
		Reader: deployers.Account{User: "prosody", Group: "prosody"}, NeverStaples: true,
		Test: deployers.Test{
			Command:  []string{"/usr/bin/prosodyctl", "check", "certs"},
			Failures: failureLines,
			Beside:   policyLines,
			Own:      `\bfor (chat\.example|rooms\.chat\.example)([:)]|$)`,
			Others: []deployers.Other{{
				Name: "localhost", Says: `\bfor (localhost)([:)]|$)`,
				Probes: []endpoint.Endpoint{
					{Scheme: "xmpp-client", Host: "127.0.0.1", Port: 5222, Name: "localhost"},
					{Scheme: "xmpp-client", Host: "::1", Port: 5222, Name: "localhost"},
					{Scheme: "xmpp-server", Host: "127.0.0.1", Port: 5269, Name: "localhost"},
				},
			}},
		},
		Activate: deployers.Activation{Way: deployers.ReloadUnit, Unit: "prosody.service", Twice: true},
		Probes: []endpoint.Endpoint{
			{Scheme: "xmpp-client", Host: "127.0.0.1", Port: 5222, Name: "chat.example"},
			{Scheme: "xmpp-client", Host: "::1", Port: 5222, Name: "chat.example"},
			{Scheme: "xmpp-server", Host: "127.0.0.1", Port: 5269, Name: "chat.example"},
			{Scheme: "https", Host: "127.0.0.1", Port: 5281, Name: "chat.example"},
			{Scheme: "xmpp-server", Host: "127.0.0.1", Port: 5269, Name: "rooms.chat.example"},
			{Scheme: "https", Host: "127.0.0.1", Port: 5281, Name: "rooms.chat.example"},
		},
		Found: true,
		Proof: deployers.Proof{InARow: 2, Pace: 25 * time.Millisecond},
		Names: []string{"chat.example", "rooms.chat.example"},
		Checks: []deployers.Check{
			{About: deployers.Configuration, Level: deployers.Fine, Says: "host chat.example is served with it", Remedy: ""},
			{About: deployers.Configuration, Level: deployers.Fine, Says: "host rooms.chat.example is served with it", Remedy: ""},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestChoice is about which hosts a target's certificate belongs to.
func TestChoice(t *testing.T) {
	chat := certificateFor(t, "chat.example")
	const listeners = "127.0.0.1:5222 127.0.0.1:5269 127.0.0.1:5223 127.0.0.1:5270 127.0.0.1:5281"
	c2s := func(name string) string { return "xmpp-client://127.0.0.1:5222?name=" + name }
	s2s := func(name string) string { return "xmpp-server://127.0.0.1:5269?name=" + name }
	for _, test := range []struct {
		name   string
		target deployers.Target
		config string
		files  map[string]string
		coming []string // names of the new leaf
		probes []string
		names  []string
		notes  []string
	}{
		{
			name:   "by its place, before there is a certificate",
			target: crt(nil),
			config: `VirtualHost "chat.example" VirtualHost "localhost" VirtualHost "other.example"`,
			probes: []string{c2s("chat.example"), s2s("chat.example"), "https://127.0.0.1:5281?name=chat.example"},
			names:  []string{"chat.example"},
		}, {
			name: "by the names in the certificate, wherever it is in the tree",
			target: crt(func(t *deployers.Target) {
				t.Certificate, t.Key = "/etc/prosody/certs/a/fullchain.pem", "/etc/prosody/certs/a/privkey.pem"
			}),
			config: `VirtualHost "chat.example" VirtualHost "talk.example" VirtualHost "b.talk.example" VirtualHost "other.example"`,
			files:  map[string]string{"/etc/prosody/certs/a/fullchain.pem": certificateFor(t, "talk.example", "*.talk.example")},
			probes: []string{
				c2s("talk.example"), s2s("talk.example"), "https://127.0.0.1:5281?name=talk.example",
				c2s("b.talk.example"), s2s("b.talk.example"), "https://127.0.0.1:5281?name=b.talk.example",
			},
			names: []string{"talk.example", "b.talk.example"},
		}, {
			name:   "a component takes its parent domain's, and has no clients",
			target: crt(nil),
			config: "https_ports = { }\nVirtualHost \"chat.example\"\nComponent \"files.chat.example\" \"http_file_share\"",
			files:  map[string]string{"/etc/prosody/certs/chat.example.crt": chat},
			probes: []string{c2s("chat.example"), s2s("chat.example"), s2s("files.chat.example")},
			names:  []string{"chat.example", "files.chat.example"},
		}, {
			name:   "direct TLS where it is configured, https under its own name",
			target: crt(nil),
			config: `c2s_direct_tls_ports = { 5223 }
				legacy_ssl_ports = 5223
				s2s_direct_tls_ports = { 5270 }
				VirtualHost "chat.example"
				http_host = "WWW.chat.example"`,
			files: map[string]string{"/etc/prosody/certs/chat.example.crt": chat},
			probes: []string{
				c2s("chat.example"), s2s("chat.example"), "xmpps-client://127.0.0.1:5223?name=chat.example",
				"xmpps-server://127.0.0.1:5270?name=chat.example", "https://127.0.0.1:5281?name=www.chat.example",
			},
			names: []string{"chat.example"},
		}, {
			name:   "web services under names that no certificate is for",
			target: crt(nil),
			config: `https_host = "files.example" VirtualHost "chat.example" VirtualHost "talk.example" https_host = "talk.example"`,
			files:  map[string]string{"/etc/prosody/certs/chat.example.crt": chat},
			probes: []string{c2s("chat.example"), s2s("chat.example"), "https://127.0.0.1:5281?name=files.example"},
			names:  []string{"chat.example"},
		}, {
			name:   "web services that may show any certificate",
			target: crt(nil),
			config: `VirtualHost "chat.example" http_host = "files.example" VirtualHost "talk.example"`,
			files: map[string]string{
				"/etc/prosody/certs/chat.example.crt": chat,
				"/etc/prosody/certs/talk.example.crt": certificateFor(t, "talk.example"),
			},
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
			notes:  []string{"no certificate is for files.example, under which https shows any that is in /etc/prosody/certs, so it is not probed; issue a certificate for that name, or correct https_host or http_host"},
		}, {
			name:   "behind mod_net_multiplex, which knows no http_host",
			target: crt(nil),
			config: `c2s_ports = {} s2s_ports = {} https_ports = {} ports = { 5222 } ssl_ports = { 5281 }
				VirtualHost "chat.example" http_host = "www.chat.example" Component "rooms.chat.example" "muc"`,
			files: map[string]string{"/etc/prosody/certs/chat.example.crt": chat},
			probes: []string{
				c2s("chat.example"), "xmpp-server://127.0.0.1:5222?name=chat.example",
				"xmpps-client://127.0.0.1:5281?name=chat.example", "xmpps-server://127.0.0.1:5281?name=chat.example",
				"xmpp-server://127.0.0.1:5222?name=rooms.chat.example", "xmpps-server://127.0.0.1:5281?name=rooms.chat.example",
			},
			names: []string{"chat.example", "rooms.chat.example"},
		}, {
			name:   "other ports than the usual",
			target: crt(nil),
			config: `c2s_ports = { 5223, 5270 } s2s_ports = { } https_ports = { } VirtualHost "chat.example"`,
			probes: []string{"xmpp-client://127.0.0.1:5223?name=chat.example", "xmpp-client://127.0.0.1:5270?name=chat.example"},
			names:  []string{"chat.example"},
		}, {
			name:   "a directory outside, named by certificate",
			target: elsewhere("/etc/prosody/tls"),
			config: `VirtualHost "chat.example" certificate = "tls/current/fullchain.pem"`,
			probes: []string{c2s("chat.example"), s2s("chat.example"), "https://127.0.0.1:5281?name=chat.example"},
			names:  []string{"chat.example"},
		}, {
			name:   "a directory outside, named by ssl, counts for STARTTLS only",
			target: elsewhere("/etc/prosody/tls"),
			config: `VirtualHost "chat.example" {
				ssl = { certificate = "/etc/prosody/tls/current/fullchain.pem"; key = "/etc/prosody/tls/current/privkey.pem" };
			}`,
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
			notes:  []string{`the ssl option of chat.example counts for STARTTLS only, not for https; write certificate = "/etc/prosody/tls/current/fullchain.pem" in its place`},
		}, {
			name:   "the global ssl option counts for all",
			target: elsewhere("/etc/prosody/tls"),
			config: `https_ports = {} ssl = { certificate = "tls/current/fullchain.pem", key = "tls/current/privkey.pem" } VirtualHost "a.example" VirtualHost "b.example"`,
			probes: []string{c2s("a.example"), s2s("a.example"), c2s("b.example"), s2s("b.example")},
			names:  []string{"a.example", "b.example"},
		}, {
			name:   "an ssl option is taken over from the parent domain",
			target: elsewhere("/etc/prosody/tls"),
			config: `https_ports = {} VirtualHost "chat.example"
				ssl = { certificate = "/etc/prosody/tls/current/fullchain.pem", key = "/etc/prosody/tls/current/privkey.pem" }
				Component "rooms.chat.example" "muc"`,
			probes: []string{c2s("chat.example"), s2s("chat.example"), s2s("rooms.chat.example")},
			names:  []string{"chat.example", "rooms.chat.example"},
		}, {
			name:   "another certificate of the tree covers the name too",
			target: crt(nil),
			config: `https_ports = {} VirtualHost "chat.example"`,
			files: map[string]string{
				"/etc/prosody/certs/chat.example.crt":       chat,
				"/etc/prosody/certs/old/chat.crt":           certificateFor(t, "www.example", "chat.example"),
				"/etc/prosody/certs/.git/chat.crt":          chat,
				"/etc/prosody/certs/fullchain.pem.disabled": "#" + chat,
			},
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
			notes:  []string{"/etc/prosody/certs/old/chat.crt covers chat.example too, and Prosody takes either of them; move it out of /etc/prosody/certs"},
		}, {
			name:   "another certificate goes before the target's",
			target: elsewhere("/etc/prosody/tls"),
			config: `https_ports = {} VirtualHost "chat.example" certificate = "tls/current/fullchain.pem"`,
			files: map[string]string{
				"/etc/prosody/tls/current/fullchain.pem": chat,
				"/etc/prosody/certs/chat.example.crt":    certificateFor(t, "chat.example"),
			},
			probes: []string{"xmpp-client://127.0.0.1:5222", "xmpp-server://127.0.0.1:5269"},
			notes: []string{
				"the target's certificate covers chat.example, for which Prosody takes /etc/prosody/certs/chat.example.crt; take /etc/prosody/certs/chat.example.crt out of /etc/prosody/certs, where Prosody looks before it looks at certificate, if the host should have this one",
				"nothing in /etc/prosody/prosody.cfg.lua leads Prosody to /etc/prosody/tls/current/fullchain.pem: host chat.example takes /etc/prosody/certs/chat.example.crt; take /etc/prosody/certs/chat.example.crt out of /etc/prosody/certs, where Prosody looks before it looks at certificate, if the host should have this one",
			},
		}, {
			name:   "a client's directory is looked through before the certificate option",
			target: crt(nil),
			config: `https_ports = {} certificates = "/etc/letsencrypt/live" VirtualHost "chat.example" certificate = "/etc/prosody/certs/chat.example.crt"`,
			files: map[string]string{
				"/etc/prosody/certs/chat.example.crt":              chat,
				"/etc/letsencrypt/live/chat.example/fullchain.pem": chat,
			},
			probes: []string{"xmpp-client://127.0.0.1:5222", "xmpp-server://127.0.0.1:5269"},
			notes: []string{
				`the target's certificate covers chat.example, for which Prosody takes /etc/letsencrypt/live/chat.example/fullchain.pem; write certificates = "/etc/prosody/certs" in place of /etc/letsencrypt/live, where Prosody looks before it looks at certificate, if the host should have this one`,
				`nothing in /etc/prosody/prosody.cfg.lua leads Prosody to /etc/prosody/certs/chat.example.crt: host chat.example takes /etc/letsencrypt/live/chat.example/fullchain.pem; write certificates = "/etc/prosody/certs" in place of /etc/letsencrypt/live, where Prosody looks before it looks at certificate, if the host should have this one`,
			},
		}, {
			name:   "an ssl option is looked at before the tree",
			target: crt(nil),
			config: `VirtualHost "chat.example" ssl = { certificate = "/srv/a.pem", key = "/srv/a.key" }`,
			files:  map[string]string{"/etc/prosody/certs/chat.example.crt": chat, "/srv/a.pem": chat},
			probes: []string{"https://127.0.0.1:5281?name=chat.example"},
			names:  []string{"chat.example"},
			notes: []string{
				"the target's certificate covers chat.example, for which Prosody takes /srv/a.pem; let the ssl option that counts for that host name /etc/prosody/certs/chat.example.crt if it should have this one",
			},
		}, {
			name: "a directory below which a host's certificate lies by its name",
			target: crt(func(t *deployers.Target) {
				t.Certificate, t.Key = "/srv/tls/chat.example/fullchain.pem", "/srv/tls/chat.example/privkey.pem"
			}),
			config: `https_ports = {} VirtualHost "chat.example" certificate = "/srv/tls" VirtualHost "talk.example" certificate = "/srv/tls"`,
			files:  map[string]string{"/srv/tls/chat.example/fullchain.pem": chat, "/srv/tls/talk.example.pem": chat},
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
		}, {
			name:   "web services with a certificate of their own, which counts where the tree is empty",
			target: crt(func(t *deployers.Target) { t.Certificate, t.Key = "/srv/web.crt", "/srv/web.key" }),
			config: `https_certificate = { [5281] = "/srv/web.crt" } VirtualHost "chat.example" http_host = "web.example" certificate = "/srv/chat.crt"`,
			files:  map[string]string{"/srv/web.crt": certificateFor(t, "web.example"), "/srv/chat.crt": chat},
			probes: []string{"https://127.0.0.1:5281?name=web.example"},
		}, {
			name:   "and not where it holds another",
			target: crt(func(t *deployers.Target) { t.Certificate, t.Key = "/srv/web.crt", "/srv/web.key" }),
			config: `https_certificate = "/srv/web.crt" VirtualHost "chat.example" http_host = "web.example"`,
			files:  map[string]string{"/srv/web.crt": certificateFor(t, "web.example"), "/etc/prosody/certs/chat.example.crt": chat},
			probes: []string{"xmpp-client://127.0.0.1:5222", "xmpp-server://127.0.0.1:5269", "https://127.0.0.1:5281"},
			notes:  []string{`nothing in /etc/prosody/prosody.cfg.lua leads Prosody to /srv/web.crt; set certificate = "/srv/web.crt" for the hosts that should have it`},
		}, {
			name:   "a host with a certificate of its own elsewhere",
			target: crt(nil),
			config: `https_ports = {} VirtualHost "chat.example" VirtualHost "sub.chat.example" certificate = "/srv/sub.crt"`,
			files:  map[string]string{"/etc/prosody/certs/chat.example.crt": chat, "/srv/sub.crt": certificateFor(t, "sub.chat.example")},
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
		}, {
			name:   "Fedora's tree is known by two paths",
			target: crt(func(t *deployers.Target) { t.Certificate, t.Key = "/etc/pki/prosody/a.crt", "/etc/pki/prosody/a.key" }),
			config: `https_ports = {} VirtualHost "chat.example"`,
			files:  map[string]string{"/etc/pki/prosody/a.crt": chat, "/etc/prosody/certs/a.crt": "/etc/pki/prosody/a.crt"},
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
		}, {
			name:   "a key in another place than Prosody looks at",
			target: crt(func(t *deployers.Target) { t.Key = "/etc/prosody/keys/chat.key" }),
			config: `https_ports = {} VirtualHost "chat.example"`,
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
			notes:  []string{"Prosody looks for the key of /etc/prosody/certs/chat.example.crt at /etc/prosody/certs/chat.example.key, and the target's goes to /etc/prosody/keys/chat.key; set key: /etc/prosody/certs/chat.example.key for target chat"},
		}, {
			name: "key and chain in one file",
			target: crt(func(t *deployers.Target) {
				t.Combined = "/etc/prosody/certs/chat.example.pem"
				t.Certificate, t.Key = "/srv/a.crt", "/srv/a.key"
			}),
			config: `https_ports = {} VirtualHost "chat.example"`,
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
		}, {
			name:   "what is computed is said not to be known",
			target: crt(nil),
			config: "https_ports = {}\ncertificates = ENV_CERTS\nlocal name = 'x'\nif name then\n VirtualHost(name)\nend\nVirtualHost(name)\nVirtualHost 'chat.example'\n",
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
			notes: []string{
				"/etc/prosody/prosody.cfg.lua:4: what stands in this block of Lua is not known, since it would have to be run",
				"/etc/prosody/prosody.cfg.lua:7: the name of this VirtualHost is computed, so it is not known",
				"/etc/prosody/prosody.cfg.lua:2: certificates is computed, so what it comes to is not known",
			},
		}, {
			name:   "a host that is not enabled, and one whose name nobody can ask for",
			target: crt(nil),
			config: "https_ports = {} VirtualHost 'chat.example' VirtualHost 'off.chat.example' enabled = false VirtualHost 'bu\u0308cher.example'",
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
			notes:  []string{"bu\u0308cher.example is no name that can be asked for, so nothing is looked for under it; correct it, with its accents composed (NFC)"},
		}, {
			name:   "international names, found by the ASCII of the certificate, and nowhere by direct TLS",
			target: crt(nil),
			config: `c2s_direct_tls_ports = { 5223 } https_ports = {} VirtualHost "BÜCHER.example" Component "rooms.bücher.example" "muc" VirtualHost "xn--mnchen-3ya.example"`,
			files:  map[string]string{"/etc/prosody/certs/chat.example.crt": certificateFor(t, "xn--bcher-kva.example", "*.xn--bcher-kva.example", "xn--mnchen-3ya.example")},
			probes: []string{c2s("xn--bcher-kva.example"), s2s("xn--bcher-kva.example"), s2s("rooms.xn--bcher-kva.example")},
			names:  []string{"xn--bcher-kva.example", "rooms.xn--bcher-kva.example"},
			notes:  []string{`c2s_direct_tls turns away who asks for xn--bcher-kva.example, as clients do for bücher.example, so it is not probed; write c2s_direct_tls_host = "xn--bcher-kva.example" for that host, and keep its certificate and key at /etc/prosody/certs/xn--bcher-kva.example.crt and .key`},
		}, {
			name: "international names by their place, and by the name that direct TLS is asked for",
			target: crt(func(t *deployers.Target) {
				t.Certificate, t.Key = "/etc/prosody/certs/xn--bcher-kva.example.crt", "/etc/prosody/certs/xn--bcher-kva.example.key"
			}),
			config: `c2s_direct_tls_ports = { 5223 } https_ports = {}
				VirtualHost "bücher.example" c2s_direct_tls_host = "xn--bcher-kva.example" VirtualHost "straße.example"`,
			coming: []string{"xn--bcher-kva.example", "strasse.example"},
			probes: []string{
				c2s("xn--bcher-kva.example"), s2s("xn--bcher-kva.example"), "xmpps-client://127.0.0.1:5223?name=xn--bcher-kva.example",
				c2s("strasse.example"), s2s("strasse.example"), "xmpps-client://127.0.0.1:5223?name=strasse.example",
			},
			names: []string{"xn--bcher-kva.example", "strasse.example"},
		}, {
			name: "by the names that the new leaf brings, before there is a certificate",
			target: crt(func(t *deployers.Target) {
				t.Certificate, t.Key = "/etc/prosody/certs/a.crt", "/etc/prosody/certs/a.key"
			}),
			config: `https_ports = {} VirtualHost "chat.example" VirtualHost "talk.example"`,
			coming: []string{"Talk.example", "192.0.2.1"},
			probes: []string{c2s("talk.example"), s2s("talk.example")},
			names:  []string{"talk.example"},
		}, {
			name:   "a name that a renewal adds, and one that it loses",
			target: crt(nil),
			config: `https_ports = {} VirtualHost "chat.example" VirtualHost "talk.example" VirtualHost "other.example"`,
			files:  map[string]string{"/etc/prosody/certs/chat.example.crt": chat},
			coming: []string{"talk.example"},
			probes: []string{c2s("chat.example"), s2s("chat.example"), c2s("talk.example"), s2s("talk.example")},
			names:  []string{"chat.example", "talk.example"},
		}, {
			name:   "a name that a renewal adds although it has another certificate need not be seen",
			target: crt(nil),
			config: `https_ports = {} VirtualHost "chat.example" VirtualHost "talk.example"`,
			files: map[string]string{
				"/etc/prosody/certs/chat.example.crt": chat,
				"/etc/prosody/certs/talk.example.crt": certificateFor(t, "talk.example"),
			},
			coming: []string{"chat.example", "talk.example"},
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example", "talk.example"},
			notes:  []string{"/etc/prosody/certs/talk.example.crt covers talk.example too, and Prosody takes either of them; move it out of /etc/prosody/certs"},
		}, {
			name: "several lineages, each its own",
			target: crt(func(t *deployers.Target) {
				t.Lineage = "*"
				t.Certificate, t.Key = "/etc/prosody/certs/{lineage}.crt", "/etc/prosody/certs/{lineage}.key"
			}),
			config: `https_ports = {} VirtualHost "chat.example" VirtualHost "talk.example"`,
			files: map[string]string{
				"/etc/prosody/certs/chat.example.crt": chat,
				"/etc/prosody/certs/talk.example.crt": certificateFor(t, "talk.example"),
			},
			probes: []string{c2s("chat.example"), s2s("chat.example")},
			names:  []string{"chat.example"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			host := fakeHost{listeners: listeners, files: map[string]string{
				"/etc/prosody/prosody.cfg.lua": test.config, "/usr/bin/prosodyctl": "#!lua",
			}}
			for path, content := range test.files {
				host.files[path] = content
			}
			facts := host.facts(t, test.target)
			facts.Names = test.coming
			plan, err := Deployer{}.Plan(test.target, lineage.Lineage{Name: "chat.example"}, facts)
			if err != nil {
				t.Fatal(err)
			}
			var probes []string
			for _, probe := range plan.Probes {
				probes = append(probes, probe.String())
			}
			if diff := cmp.Diff(test.probes, probes); diff != "" {
				t.Error("probes:", diff)
			}
			if diff := cmp.Diff(test.names, plan.Names); diff != "" {
				t.Error("names:", diff)
			}
			if diff := cmp.Diff(test.notes, plan.Notes()); diff != "" {
				t.Error("notes:", diff)
			}
			// What is sure to be taken in place of the target's is said; that nothing is known to take it is a note alone.
			sure := slices.ContainsFunc(test.notes, func(note string) bool {
				return strings.HasPrefix(note, "nothing in") && strings.Contains(note, " takes ")
			})
			if got := plan.NotOurs != nil; got != sure {
				t.Errorf("taken elsewhere: %v", plan.NotOurs)
			}
		})
	}
}

// TestOthers is about the hosts that a reload must not harm.
func TestOthers(t *testing.T) {
	host := fakeHost{
		listeners: "127.0.0.1:5222 127.0.0.1:5269 127.0.0.1:5223 127.0.0.1:5281",
		files: map[string]string{
			"/usr/bin/prosodyctl": "#!lua",
			"/etc/prosody/prosody.cfg.lua": `c2s_direct_tls_ports = { 5223 } VirtualHost "chat.example" Component "rooms.chat.example" "muc"
				VirtualHost "other.example" Component "rooms.other.example" "muc" VirtualHost "bücher.example"`,
		},
	}
	target := crt(nil)
	plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "chat.example"}, host.facts(t, target))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, other := range plan.Test.Others {
		for _, probe := range other.Probes {
			got[other.Name] = append(got[other.Name], probe.String())
		}
	}
	want := map[string][]string{
		"bücher.example":      {"xmpp-client://127.0.0.1:5222?name=xn--bcher-kva.example", "xmpp-server://127.0.0.1:5269?name=xn--bcher-kva.example"},
		"other.example":       {"xmpp-client://127.0.0.1:5222?name=other.example", "xmpp-server://127.0.0.1:5269?name=other.example"},
		"rooms.other.example": {"xmpp-server://127.0.0.1:5269?name=rooms.other.example"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLayout is about where the files go if nothing says so.
func TestLayout(t *testing.T) {
	for _, test := range []struct {
		target           deployers.Target
		certificate, key string
	}{
		{deployers.Target{}, "/etc/prosody/certs/{lineage}.crt", "/etc/prosody/certs/{lineage}.key"},
		{deployers.Target{Options: &Options{Config: "/srv/p/prosody.cfg.lua"}}, "/srv/p/certs/{lineage}.crt", "/srv/p/certs/{lineage}.key"},
		{deployers.Target{Directory: "/etc/prosody/tls"}, "", ""},
		{deployers.Target{Certificate: "/srv/a.crt", Key: "/srv/a.key"}, "/srv/a.crt", "/srv/a.key"},
	} {
		if test.target.Options == nil {
			test.target.Options = Deployer{}.Options()
		}
		Deployer{}.Defaults(&test.target)
		if test.target.Certificate != test.certificate || test.target.Key != test.key {
			t.Errorf("%s and %s, want %s and %s", test.target.Certificate, test.target.Key, test.certificate, test.key)
		}
	}
}

// TestDirectory refuses directories whose generations Prosody would
// find.
func TestDirectory(t *testing.T) {
	for directory, refused := range map[string]bool{
		"/etc/prosody/certs":         true,
		"/etc/prosody/certs/chat":    true,
		"/etc/prosody/certs/a/chat":  false, // too deep
		"/etc/prosody/certs/.chat":   false, // hidden
		"/etc/prosody/certs.d/chat":  false,
		"/etc/prosody/tls/{lineage}": false,
	} {
		target := elsewhere(directory)
		host := fakeHost{files: map[string]string{"/etc/prosody/prosody.cfg.lua": `certificates = "./certs"`}}
		_, err := Deployer{}.Plan(target, lineage.Lineage{Name: "chat.example"}, host.facts(t, target))
		if _, is := err.(*deployers.NoWayError); is != refused {
			t.Errorf("%s: %v", directory, err)
		}
	}
}

func TestWithoutConfiguration(t *testing.T) {
	target := crt(nil)
	plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "chat.example"}, fakeHost{}.facts(t, target))
	if err != nil {
		t.Fatal(err)
	}
	if want := configPath + ": it cannot be read, so what Prosody serves is not known"; !slices.Contains(plan.Notes(), want) {
		t.Errorf("notes: %q", plan.Notes())
	}
}

func TestOwnTest(t *testing.T) {
	for _, test := range []struct {
		name   string
		config string
		files  []string
		want   []string
	}{
		{"the packaged one", configPath, []string{"/usr/bin/prosodyctl", "/usr/local/bin/prosodyctl"}, []string{"/usr/bin/prosodyctl", "check", "certs"}},
		{"of another configuration", "/srv/p.cfg.lua", []string{"/usr/local/bin/prosodyctl"}, []string{"/usr/local/bin/prosodyctl", "--config", "/srv/p.cfg.lua", "check", "certs"}},
		{"none", configPath, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := crt(func(t *deployers.Target) { t.Options = &Options{Config: test.config} })
			host := fakeHost{files: map[string]string{test.config: `VirtualHost "chat.example" certificate = "/etc/prosody/certs"`}}
			for _, path := range test.files {
				host.files[path] = "#!lua"
			}
			plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "chat.example"}, host.facts(t, target))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, plan.Test.Command); diff != "" {
				t.Error(diff)
			}
			if noted := len(plan.Notes()) > 0; noted != (test.want == nil) {
				t.Errorf("notes: %q", plan.Notes())
			}
		})
	}
}

// TestFailures reads what prosodyctl check certs of two versions really
// printed: with a key that does not match, and then with one that the user
// Deployer may not read.
func TestFailures(t *testing.T) {
	const (
		b       = "certmanager         error\tSSL/TLS: Error initialising for b.example: private key does not match public key"
		d       = "certmanager         error\tSSL/TLS: Error initialising for d.example: private key does not match public key"
		a       = "certmanager         error\tSSL/TLS: Failed to load '/etc/prosody/certs/a.example.key': Check that the file exists and the permissions are correct (for a.example)"
		muc     = "certmanager         error\tSSL/TLS: Failed to load '/etc/prosody/certs/a.example.key': Reason: no private key assigned (for muc.a.example)"
		none    = "No 'certificate' found for localhost"
		foreign = "Not valid for server-to-server connections to muc.a.example."
	)
	for _, test := range []struct {
		kind     string
		all, own []string // own: those of a.example and b.example
		beside   []string
	}{
		{"mismatch", []string{b, d, none}, []string{b}, []string{foreign}},
		{"unreadable", []string{b, d, a, muc, none}, []string{b, a}, nil},
	} {
		for _, version := range []string{"0.12.3", "13.0.1"} {
			printed := strings.Split(testdata(t, "check-certs-"+version+"-"+test.kind+".txt"), "\n")
			failures := matching(failureLines, printed)
			for _, check := range []struct {
				of        string
				want, got []string
			}{
				{"all", test.all, failures},
				{"beside", test.beside, matching(policyLines, printed)},
				{"own", test.own, matching(failuresOf("a.example", "b.example"), failures)},
				{"localhost", []string{none}, matching(failuresOf("localhost"), failures)},
				{"example", nil, matching(failuresOf("example"), failures)},
			} {
				// 0.12 visits the hosts in any order.
				slices.Sort(check.want)
				slices.Sort(check.got)
				if diff := cmp.Diff(check.want, check.got); diff != "" {
					t.Errorf("%s, %s, %s: %s", version, test.kind, check.of, diff)
				}
			}
		}
	}
}

func matching(expression string, lines []string) []string {
	pattern := regexp.MustCompile(expression)
	var found []string
	for _, line := range lines {
		if pattern.MatchString(line) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// TestConfig reads single forms of the language.
func TestConfig(t *testing.T) {
	for _, test := range []struct {
		name, text string
		options    map[string]any // of the last host
	}{
		{"kinds of values", `VirtualHost "x" a = "s" b = 's\'s' c = [[l]] d = [==[]]]==] e = 5222 f = true g = false h = nil`,
			map[string]any{"a": "s", "b": "s's", "c": "l", "d": "]]", "e": "5222", "f": true, "g": false, "h": nil}},
		{"comments", "VirtualHost \"x\" -- a = 1\n--[[ a = 2\n]] --[==[ ]] a = 3 ]==]\nb = 4 --", map[string]any{"b": "4"}},
		{"tables", `VirtualHost "x" a = { "1", b = 2; ["c"] = { }, [3] = f(), g .. "x"; }`,
			map[string]any{"a": luaTable{
				items:  []any{"1", computed{"/p:1"}},
				fields: map[string]any{"b": "2", "c": luaTable{fields: map[string]any{}}, "3": computed{"/p:1"}},
			}}},
		{"computed values end where the next statement begins", `VirtualHost "x"
			a = "x" .. ENV_Y
			b = FileLine "/etc/secret"
			c = Lua.os.getenv("C"):sub(1, 2) or not "c"
			d = function (x) if x then return "end" end end
			e = -1
			f = #t[1]
			g = 7`,
			map[string]any{
				"a": computed{"/p:2"}, "b": computed{"/p:3"}, "c": computed{"/p:4"}, "d": computed{"/p:5"},
				"e": computed{"/p:6"}, "f": computed{"/p:7"}, "g": "7",
			}},
		{"what sets no option", `VirtualHost "x"
			local a = { b = 1 }
			local c, d <const> = 1, f(2)
			local function g() ssl = 1 end
			modules_enabled:append { "x", b = 2 }
			print("VirtualHost", { b = 3 })
			t.b = 4
			for i = 1, 2 do b = 5 end
			while f() do b = 6 end
			repeat b = 7 until true
			h = 8`,
			map[string]any{"h": "8"}},
		{"options in a table go to the host, the next to all", `VirtualHost "x" { a = 1 } b = 2`, map[string]any{"a": "1"}},
		{"in brackets", `Component ("x") ("muc") { a = 1 } b = 2`, map[string]any{"a": "1"}},
		{"a host in two parts", `VirtualHost "X" a = 1 VirtualHost "y" a = 2 VirtualHost "x" b = 3 VirtualHost "Y"`, map[string]any{"a": "2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := readConfiguration("/p", map[string][]deployers.Text{"/p": {{Path: "/p", Content: test.text}}})
			host := config.hosts[len(config.hosts)-1]
			if diff := cmp.Diff(test.options, host.options, cmp.AllowUnexported(luaTable{}, computed{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIncludes(t *testing.T) {
	host := fakeHost{files: map[string]string{
		configPath:                  `a = 1 Include "conf.d/*.lua" Include "` + configPath + `" VirtualHost "z" Include(ENV_X)`,
		"/etc/prosody/conf.d/a.lua": `VirtualHost "a" Include "more/b.lua"`,
		"/etc/prosody/conf.d/c.lua": `https_ports = 443`,
		// Paths are relative to the including file's directory.
		"/etc/prosody/conf.d/more/b.lua": `Component "b" "muc"`,
	}}
	target := crt(nil)
	config := readConfiguration(configPath, host.facts(t, target).Texts)
	var names []string
	for _, host := range config.hosts {
		names = append(names, host.name)
	}
	if diff := cmp.Diff([]string{"a", "b", "z"}, names); diff != "" {
		t.Error(diff)
	}
	if ports := config.ports("https_ports", 5281); !slices.Equal(ports, []uint16{443}) {
		t.Errorf("https_ports are %v", ports)
	}
	if !config.complete || len(config.unread) != 1 {
		t.Errorf("complete: %v, not read: %q", config.complete, config.unread)
	}
}

// TestNotOurs wants nothing to be said of what Prosody takes where a part of its
// configuration could not be read.
func TestNotOurs(t *testing.T) {
	for config, want := range map[string]bool{
		`VirtualHost "chat.example" certificate = "/srv/a.crt"`:                                            true,
		`VirtualHost "chat.example" certificate = "/srv/a.crt" if x then certificate = "/srv/own.crt" end`: false,
		`VirtualHost "chat.example" certificate = "/srv/a.crt" ssl = { certificate = base .. "own.crt" }`:  false,
		`certificates = base VirtualHost "chat.example" certificate = "/srv/a.crt"`:                        false,
		`VirtualHost "chat.example" certificate = "/srv/own.crt"`:                                          false,
	} {
		target := crt(func(t *deployers.Target) { t.Certificate, t.Key = "/srv/own.crt", "/srv/own.key" })
		host := fakeHost{files: map[string]string{
			configPath: config, "/usr/bin/prosodyctl": "#!lua", "/srv/a.crt": certificateFor(t, "chat.example"), "/srv/own.crt": certificateFor(t, "chat.example"),
		}}
		plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "chat.example"}, host.facts(t, target))
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.NotOurs != nil; got != want {
			t.Errorf("%s: %v; %q", config, plan.NotOurs, plan.Notes())
		}
	}
}

// FuzzConfig holds that any text is read to its end, and that a text
// which is a literal is read as what it was written from.
func FuzzConfig(f *testing.F) {
	f.Add(`VirtualHost "x" ssl = { certificate = "a" .. b }`)
	f.Add("a = [==[ ]] \n --[[ {{{( function if do")
	f.Fuzz(func(t *testing.T, text string) {
		readConfiguration("/p", map[string][]deployers.Text{"/p": {{Path: "/p", Content: text}}})
		if strings.ContainsAny(text, "]\n\r") {
			return
		}
		config := readConfiguration("/p", map[string][]deployers.Text{"/p": {{Path: "/p", Content: "VirtualHost [==[" + text + "]==] option = { [==[" + text + "]==] }"}}})
		got, _ := config.find(text).options["option"].(luaTable)
		if len(got.items) != 1 || got.items[0] != text {
			t.Errorf("%q became %q", text, got.items)
		}
	})
}

func TestDiscover(t *testing.T) {
	host := fakeHost{files: map[string]string{
		configPath: `
VirtualHost "localhost"
VirtualHost "off.example"
	enabled = false
VirtualHost "tree.example"
VirtualHost "none.example"
VirtualHost "ssl.example"
	ssl = { certificate = "/tls/ssl.pem"; key = "/tls/ssl.key" }
VirtualHost "bücher.example"
VirtualHost "bu` + "\u0308" + `cher.example"
Component "rooms.tree.example" "muc"
`,
		"/etc/prosody/certs/books.crt":    certificateFor(t, "xn--bcher-kva.example"),
		"/etc/prosody/certs/anything.crt": certificateFor(t, "tree.example"),
	}}
	target := deployers.Target{Options: Deployer{}.Options()}
	Deployer{}.Defaults(&target)
	sample.CheckUses(t, sample.Discover(Deployer{}, host.facts(t, target)), []deployers.Use{
		{
			Where: "host tree.example, host rooms.tree.example", Certificate: "/etc/prosody/certs/anything.crt", Key: "/etc/prosody/certs/anything.key",
			InTree: true, Names: []string{"tree.example", "rooms.tree.example"},
		},
		{Where: "host none.example", Names: []string{"none.example"}},
		{Where: "host ssl.example", Certificate: "/tls/ssl.pem", Key: "/tls/ssl.key", Names: []string{"ssl.example"}, Lines: []string{`ssl = { certificate = "{certificate}", key = "{key}" }`}},
		{
			Where: "host bücher.example", Certificate: "/etc/prosody/certs/books.crt", Key: "/etc/prosody/certs/books.key",
			InTree: true, Names: []string{"xn--bcher-kva.example"},
		},
	}, "bu\u0308cher.example is no name that can be asked for")
}

// TestStopped wants the names of web services to count before there is a listener.
func TestStopped(t *testing.T) {
	host := fakeHost{unit: running, files: map[string]string{"/usr/bin/prosodyctl": "#!lua", configPath: `VirtualHost "chat.example" http_host = "www.example"`}}
	host.unit.ActiveState, host.unit.MainPID = "inactive", 0
	target := crt(nil)
	host.files["/etc/prosody/certs/chat.example.crt"] = certificateFor(t, "chat.example")
	plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "chat.example"}, host.facts(t, target))
	if want := []string{"chat.example", "www.example"}; err != nil || !slices.Equal(plan.Names, want) {
		t.Errorf("got %q, %v, want %q", plan.Names, err, want)
	}
}

// TestDiscoverServices is about what is taken under other names than the hosts' own, and
// about what Prosody's own test says.
func TestDiscoverServices(t *testing.T) {
	const checked = "Checking certificate for chat.example\n  Certificate: /srv/other.crt\nChecking certificate for talk.example\n  No 'certificate' found for talk.example\n"
	config := `
https_certificate = "/srv/web.crt"
VirtualHost "chat.example"
	http_host = "web.example"
	certificate = "/srv/chat.crt"
VirtualHost "talk.example"
`
	host := fakeHost{files: map[string]string{
		"/usr/bin/prosodyctl": "#!lua", configPath: config,
		"/srv/web.crt": certificateFor(t, "web.example"), "/srv/chat.crt": certificateFor(t, "chat.example"),
	}}
	target := deployers.Target{Options: Deployer{}.Options()}
	Deployer{}.Defaults(&target)
	facts := host.facts(t, target)
	if got := (Deployer{}).Wants(target, facts).Commands; len(got) != 1 {
		t.Fatalf("asked is %q", got)
	}
	facts.Outputs = map[string]deployers.Output{"/usr/bin/prosodyctl\x00check\x00certs": {Stdout: checked, Failed: "exit status 2"}}
	sample.CheckUses(t, sample.Discover(Deployer{}, facts), []deployers.Use{
		{Where: "host chat.example", Certificate: "/srv/other.crt", Names: []string{"chat.example"}},
		{Where: "https of host chat.example, https_certificate", Certificate: "/srv/web.crt", Key: "/srv/web.key", Names: []string{"web.example"}},
		{Where: "host talk.example", Names: []string{"talk.example"}},
	}, "prosodyctl check certs says that host chat.example takes /srv/other.crt, while /etc/prosody/prosody.cfg.lua was read to lead to /srv/chat.crt")

	host.files["/etc/prosody/certs/a.crt"] = certificateFor(t, "talk.example")
	found := sample.Discover(Deployer{}, host.facts(t, target))
	if want := "https_certificate names /srv/web.crt, which Prosody looks at only where /etc/prosody/certs holds no certificate, so it is not proposed"; !slices.Contains(found.Unknown, want) {
		t.Errorf("unknown: %q", found.Unknown)
	}
}

func orDefault(config string) string {
	if config == "" {
		return configPath
	}
	return config
}

// TestInstance is about which configuration is read and tested.
func TestInstance(t *testing.T) {
	const other = "/srv/im/prosody.cfg.lua"
	for _, test := range []struct {
		name            string
		option          string // empty: the default
		running, starts []string
		config          string
		note            string
	}{
		{"by itself", "", []string{"lua5.4", "/usr/bin/prosody", "-F"}, nil, configPath, ""},
		{"what runs", "", []string{"lua5.4", "/usr/bin/prosody", "-F", "--config", other}, []string{"/usr/bin/prosody", "-F"}, other, ""},
		{"in one word", "", []string{"lua5.4", "/usr/bin/prosody", "--config=" + other}, nil, other, ""},
		{"what will run", "", nil, []string{"/usr/bin/prosody", "-F", "--config", other}, other, ""},
		{"by a variable", "", nil, []string{"lua5.4", "/usr/bin/prosody", "--config", "$CONFIG"}, configPath, ""},
		{"beside the usual", "", []string{"lua5.4", "/usr/bin/prosody", "--config", "b.cfg.lua"}, nil, "/etc/prosody/b.cfg.lua", ""},
		{"another than the option's", "/etc/b.cfg.lua", []string{"lua5.4", "/usr/bin/prosody", "--config", other}, nil, other,
			"prosody.service runs Prosody with --config /srv/im/prosody.cfg.lua, and the target's prosody.config is /etc/b.cfg.lua: the former is read and tested; set prosody: {config: /srv/im/prosody.cfg.lua} for the target, or let the unit start it with /etc/b.cfg.lua"},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := crt(func(t *deployers.Target) { t.Options = &Options{Config: orDefault(test.option)} })
			host := fakeHost{listeners: "127.0.0.1:5222", files: map[string]string{
				"/usr/bin/prosodyctl": "#!lua", test.config: `certificates = "/etc/prosody/certs" VirtualHost "chat.example"`,
			}}
			host.unit = running
			host.unit.ExecStart = test.starts
			if test.running != nil {
				host.argv = test.running
			}
			plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "chat.example"}, host.facts(t, target))
			if err != nil {
				t.Fatal(err)
			}
			argv := []string{"/usr/bin/prosodyctl", "--config", test.config, "check", "certs"}
			if test.config == configPath {
				argv = slices.Delete(argv, 1, 3)
			}
			if !slices.Equal(plan.Test.Command, argv) || !slices.Equal(plan.Names, []string{"chat.example"}) || strings.Join(plan.Notes(), "") != test.note {
				t.Errorf("tested is %q, served %q, said %q", plan.Test.Command, plan.Names, plan.Notes())
			}
		})
	}
}
