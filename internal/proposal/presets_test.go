package proposal

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// withPreset returns a service with a preset as its deployer describes it, with uses.
func withPreset(t *testing.T, preset string, uses ...deployers.Use) Service {
	t.Helper()
	for _, d := range all.Discoverers() {
		target := deployers.Target{Service: d.Name(), Options: d.Options()}
		d.Defaults(&target)
		found := d.Discover(target, deployers.Facts{Systemd: true, Unit: deployers.Unit{Name: target.Unit, LoadState: "loaded", ActiveState: "active"}})
		if found.Preset == preset {
			found.Uses, found.Unknown = uses, nil
			for i := range found.Uses {
				found.Uses[i].Settings = []deployers.Setting{{Key: "preset", Value: preset}}
			}
			return Service{Name: d.Name(), Discovery: found}
		}
	}
	t.Fatalf("nothing has the preset %s", preset)
	return Service{}
}

// TestPresetTargets is about targets of services that have a preset.
func TestPresetTargets(t *testing.T) {
	const live = "/etc/letsencrypt/live/www.example/fullchain.pem"
	www := ecdsa("www.example", "www.example")
	inOne := func(path string) deployers.Use {
		return deployers.Use{Where: "x", Certificate: path, Key: path, Names: []string{"www.example"}}
	}
	ofAll := inOne("/h/certs/www.pem")
	ofAll.InDirectory = true
	sourced := use("certfiles", "/e/cert.pem", "www.example")
	sourced.Source = "/e/ejabberd.yml"
	elsewhere := use("certfiles", "/e/cert.pem", "other.example", "www.example")
	elsewhere.Unusual = true
	for _, name := range elsewhere.Names {
		elsewhere.Probes = append(elsewhere.Probes, endpoint.Endpoint{Scheme: "xmpp-client", Host: "127.0.0.1", Port: 15222, Name: name})
	}
	for _, test := range []struct {
		name     string
		services []Service
		files    map[string]File
		want     []string
		text     string // of the configuration
	}{
		{
			"one file for both", []Service{withPreset(t, "haproxy", inOne("/h/www.pem"))}, map[string]File{"/h/www.pem": {Group: "haproxy", Mode: 0o600}},
			[]string{"edge www.example /h/www.fullchain.pem"},
			"  - name: edge\n    service: generic\n    lineage: www.example\n    certificate: /h/www.fullchain.pem\n    key: /h/www.privkey.pem\n    combined: /h/www.pem\n    group: haproxy\n    mode: \"0600\"\n    generic:\n      preset: haproxy\n",
		}, {
			"one of all files of a directory", []Service{withPreset(t, "haproxy", ofAll)}, nil,
			[]string{"edge www.example /h/www.fullchain.pem"}, "    combined: /h/certs/www.pem\n",
		}, {
			"a client's own file", []Service{withPreset(t, "haproxy", inOne(live))}, map[string]File{live: {Kept: "certbot:www.example", KeptBy: "certbot"}},
			[]string{"edge www.example /etc/haproxy/www.example.fullchain.pem to do"}, "  # To do: let haproxy name the target's files, for x\n  #     crt /etc/haproxy/www.example.pem\n",
		}, {
			"a client's own file, apart from its key", []Service{withPreset(t, "postfix", use("smtpd_tls_cert_file", live, "www.example"))}, map[string]File{live: {Kept: "certbot:www.example", KeptBy: "certbot"}},
			[]string{"mail www.example /etc/postfix/tls/www.example to do"}, "  #     smtpd_tls_key_file = /etc/postfix/tls/www.example/current/privkey.pem\n",
		}, {
			"a configuration that others could have written", []Service{withPreset(t, "ejabberd", sourced)}, map[string]File{"/e/ejabberd.yml": {Foreign: true}},
			[]string{"xmpp www.example /e/cert.pem idle to do"}, "  # To do: see that certbot:www.example is meant for ejabberd: others than root could have\n  # written that into",
		}, {
			"a configuration that root alone wrote", []Service{withPreset(t, "ejabberd", sourced)}, map[string]File{"/e/ejabberd.yml": {}},
			[]string{"xmpp www.example /e/cert.pem"}, "preset: ejabberd",
		}, {
			"a name that the leaf lacks", []Service{withPreset(t, "ejabberd", elsewhere)}, nil,
			[]string{"xmpp www.example /e/cert.pem xmpp-client://127.0.0.1:15222 xmpp-client://127.0.0.1:15222?name=www.example"}, "",
		}, {
			"several with one role or name", []Service{
				service(t, "prosody", use("host", "/p.pem", "www.example")), withPreset(t, "ejabberd", use("certfiles", "/e.pem", "www.example")),
				withPreset(t, "postfix", use("a", "/m.pem", "www.example")), withPreset(t, "dovecot", use("b", "/m.pem", "www.example")),
			}, nil,
			[]string{"prosody www.example /p.pem", "ejabberd www.example /e.pem", "mail www.example /m.pem", "imap www.example /etc/dovecot/tls/www.example to do"},
			"The target for postfix writes these files already",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := Make(Host{Roots: []lineage.Root{certbot}, Lineages: []Lineage{www}, Services: test.services, Files: test.files})
			if diff := cmp.Diff(test.want, says(p)); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
			var text strings.Builder
			if err := p.Write(&text); err != nil || !strings.Contains(text.String(), test.text) {
				t.Errorf("%v, and %q is not in\n%s", err, test.text, text.String())
			}
			loads(t, p)
		})
	}
	if mine := (Target{Combined: "/a.pem"}).paths(); !slices.Equal(mine, []string{"/a.pem"}) {
		t.Errorf("it writes %q", mine)
	}
}
