package generic

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/pki"
)

// looked returns the service of a preset, as it is looked for.
func looked(name PresetName) (service, deployers.Target) {
	s := service{preset: name}
	t := deployers.Target{Service: s.Name(), Options: s.Options()}
	s.Defaults(&t)
	return s, t
}

// found returns what is found of the service of a preset that runs, in lines: its uses,
// and what is unknown. The texts are by path, and of what commands print by their words.
func found(t *testing.T, name PresetName, texts map[string]string, listeners ...string) (lines []string) {
	t.Helper()
	s, target := looked(name)
	facts := deployers.Facts{Systemd: true, Unit: up(target.Unit, true), Texts: map[string][]deployers.Text{}, Outputs: map[string]deployers.Output{}}
	for range 10 {
		wants := s.Wants(target, facts)
		for _, argv := range wants.Commands {
			text, ok := texts[strings.Join(argv, " ")]
			output := deployers.Output{Stdout: text}
			if !ok {
				output.Failed = "exit status 1"
			}
			facts.Outputs[strings.Join(argv, "\x00")] = output
		}
		for _, path := range wants.Texts {
			facts.Texts[path] = nil
			for _, at := range slices.Sorted(maps.Keys(texts)) {
				if is, _ := filepath.Match(path, at); is {
					facts.Texts[path] = append(facts.Texts[path], deployers.Text{Path: at, Content: texts[at]})
				}
			}
		}
		facts.Listeners = nil
		for _, listener := range listeners {
			if at := netip.MustParseAddrPort(listener); strings.Contains(fmt.Sprint(wants.Ports), fmt.Sprint(at.Port())) {
				facts.Listeners = append(facts.Listeners, at)
			}
		}
	}
	d := s.Discover(target, facts)
	for _, use := range d.Uses {
		line := fmt.Sprintf("%s: %s %s", use.Where, use.Certificate, use.Key)
		for _, name := range use.Names {
			line += " for " + name
		}
		for _, name := range use.Hints {
			line += " as " + name
		}
		if use.Twin {
			line += " twin"
		}
		if use.InDirectory {
			line += " of all"
		}
		if use.Unusual || use.Twin {
			for _, probe := range use.Probes {
				line += " " + probe.String()
			}
		}
		lines = append(lines, line)
	}
	return append(lines, d.Unknown...)
}

func sampleText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestIsUsed wants nothing to be found of a package that only others depend on.
func TestIsUsed(t *testing.T) {
	s, target := looked("haproxy")
	link := wanted("haproxy.service")
	for name, test := range map[string]struct {
		unit deployers.Unit
		link bool
		want bool
	}{
		"it runs":          {up("haproxy.service", true), false, true},
		"it is enabled":    {deployers.Unit{Name: "haproxy.service", LoadState: "loaded", ActiveState: "inactive"}, true, true},
		"it is installed":  {deployers.Unit{Name: "haproxy.service", LoadState: "loaded", ActiveState: "inactive"}, false, false},
		"its unit is gone": {deployers.Unit{Name: "haproxy.service", LoadState: "not-found"}, true, false},
	} {
		facts := deployers.Facts{Systemd: true, Unit: test.unit, Texts: map[string][]deployers.Text{link: nil}}
		if test.link {
			facts.Texts[link] = []deployers.Text{{Path: "/etc/systemd/system/multi-user.target.wants/haproxy.service"}}
		}
		if got := s.Discover(target, facts); got.Installed != test.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestDiscover(t *testing.T) {
	ca := pki.NewCA(t, "discover")
	one, other := ca.Leaf(t, pki.Names("a.example")), ca.Leaf(t, pki.Names("b.example"))
	twin := ca.Leaf(t, pki.Names("a.example"), pki.RSA(2048))
	a, aKey, b, bKey := string(one.Fullchain), string(one.Key), string(other.Fullchain), string(other.Key)
	mainCommand, _, _ := postfix{}.commands()
	postfix := func(own, main string) map[string]string {
		return map[string]string{
			"postconf -M":                  "smtp       inet  n       -       y       -       -       smtpd\npickup     unix  n       -       y       60      1       pickup\n" + own,
			"postconf -P -x":               "relay/unix/syslog_name = postfix/relay\nsubmission/inet/smtpd_tls_cert_file = /x/y.pem\nsubmission/inet/smtpd_tls_key_file = /x/y.key\n2465/inet/smtpd_tls_wrappermode = yes\n127.0.0.1:10025/inet/smtpd_tls_security_level = none\n",
			strings.Join(mainCommand, " "): "myhostname = Mail.example\nsmtpd_tls_security_level = may\nsmtpd_use_tls = no\nmulti_instance_directories =\ntls_server_sni_maps = hash:/etc/postfix/sni, static:none\n" + main,
			"/x/a.pem":                     a, "/x/a.key": aKey, "/x/all.pem": bKey + b,
		}
	}
	const pairOfMain = "smtpd_tls_chain_files =\nsmtpd_tls_cert_file = /x/a.pem\nsmtpd_tls_key_file = /x/a.key\nsmtpd_tls_eccert_file =\nsmtpd_tls_eckey_file =\n"
	haproxy := func(bind string) map[string]string {
		return map[string]string{
			haproxyConfig: "global\n crt-base /c\nfrontend f\n mode http\n bind :80\n bind " + bind + "\n",
			"/c/both.pem": a + aKey, "/c/cert.pem": a, "/c/cert.pem.key": aKey, "/c/rsa.pem": string(twin.Fullchain) + string(twin.Key),
			"/d/b.pem": b + bKey, "/d/a.pem": a, "/d/a.pem.key": aKey, "/d/a.pem.ocsp": "x", "/d/.hidden": "x",
			"/list": "both.pem [alpn h2] A.example\nabsent.pem\n",
		}
	}
	coturn := func(text string) map[string]string { return map[string]string{"/etc/turnserver.conf": text} }
	ejabberd := func(text string, files ...string) map[string]string {
		all := map[string]string{ejabberdConfig: text}
		for i := 0; i < len(files); i += 2 {
			all[files[i]] = files[i+1]
		}
		return all
	}
	for _, test := range []struct {
		name      string
		preset    PresetName
		texts     map[string]string
		listeners string
		want      []string
	}{
		{
			"Postfix: main.cf, and a service with files of its own", "postfix", postfix("submission inet  n - y - - smtpd -o smtpd_tls_cert_file=/x/y.pem\n", pairOfMain), "0.0.0.0:25 0.0.0.0:587",
			[]string{
				"smtpd_tls_cert_file: /x/a.pem /x/a.key as mail.example smtp://127.0.0.1:25?name=mail.example",
				"submission/inet/smtpd_tls_cert_file: /x/y.pem /x/y.key as mail.example smtp://127.0.0.1:587?name=mail.example",
			},
		}, {
			"Postfix: other ports, and one without TLS", "postfix", postfix("2465 inet n - y - - smtpd -o smtpd_tls_wrappermode=yes\n127.0.0.1:10025 inet n - y - - smtpd\n", pairOfMain), "0.0.0.0:25 [::]:2465 127.0.0.1:10025",
			[]string{"smtpd_tls_cert_file: /x/a.pem /x/a.key as mail.example smtp://127.0.0.1:25?name=mail.example tls://[::1]:2465?name=mail.example"},
		}, {
			"Postfix: chain files go before the others", "postfix", postfix("", strings.Replace(pairOfMain, "chain_files =", "chain_files = /x/a.key, /x/a.pem /x/all.pem", 1)), "127.0.0.1:25",
			[]string{
				"smtpd_tls_chain_files: /x/a.pem /x/a.key as mail.example twin smtp://127.0.0.1:25?name=mail.example",
				"smtpd_tls_chain_files: /x/all.pem /x/all.pem as mail.example twin smtp://127.0.0.1:25?name=mail.example",
			},
		}, {
			"Postfix: chain files that are not there yet", "postfix", postfix("", strings.Replace(pairOfMain, "chain_files =", "chain_files = /x/new.key /x/new.pem", 1)), "127.0.0.1:25",
			[]string{"smtpd_tls_chain_files: /x/new.pem /x/new.key as mail.example"},
		}, {
			"Postfix: a key in the certificate's file", "postfix", postfix("", "smtpd_tls_cert_file = /x/all.pem\nsmtpd_tls_key_file = /x/all.pem\n"), "127.0.0.1:25",
			[]string{"smtpd_tls_cert_file: /x/all.pem /x/all.pem as mail.example"},
		}, {
			"Postfix: in another unit", "postfix", postfix("submission inet n - y - - smtpd\n", "smtpd_tls_cert_file = /x/all.pem\nsmtpd_tls_key_file = /x/all.pem\n"), "",
			[]string{
				"smtpd_tls_cert_file: /x/all.pem /x/all.pem as mail.example smtp://127.0.0.1:25?name=mail.example",
				"submission/inet/smtpd_tls_cert_file: /x/y.pem /x/y.key as mail.example smtp://127.0.0.1:587?name=mail.example",
			},
		}, {
			"Postfix as it is installed", "postfix", postfix("", strings.ReplaceAll(pairOfMain, "/x/a.pem", snakeoil)), "0.0.0.0:25", []string{"smtpd_tls_cert_file: " + snakeoil + " /x/a.key for mail.example as mail.example"},
		}, {
			"Postfix as it is installed, for this host alone", "postfix", postfix("", strings.ReplaceAll(pairOfMain, "/x/a.pem", snakeoil)), "127.0.0.1:25 [::1]:25",
			[]string{"Postfix has the certificate of Debian's package ssl-cert, and nothing says that others than this host are to trust it, so no target is proposed"},
		}, {
			"Postfix: no certificate", "postfix", postfix("", "smtpd_tls_cert_file =\n"), "",
			[]string{"Postfix has no certificate, and receives mail without TLS (smtpd_tls_cert_file, smtpd_tls_key_file and smtpd_tls_security_level = may let it have both)"},
		}, {
			"Postfix: it cannot be asked", "postfix", nil, "", []string{"Postfix's settings cannot be read: exit status 1"},
		}, {
			"Postfix: tables of names", "postfix", withText(postfix("", pairOfMain), "/etc/postfix/sni", "# name\nB.example /x/all.pem\n.sub.example /x/a.key,\n  /x/a.pem\nbad\n"), "127.0.0.1:25",
			[]string{
				"smtpd_tls_cert_file, /etc/postfix/sni: .sub.example: /x/a.pem /x/a.key as mail.example",
				"/etc/postfix/sni: B.example: /x/all.pem /x/all.pem for b.example",
			},
		}, {
			"Dovecot 2.4", "dovecot", map[string]string{"doveconf -n": sampleText(t, "debian13/doveconf")}, "0.0.0.0:143 0.0.0.0:993 0.0.0.0:10993",
			[]string{
				"ssl_server_cert_file: /etc/dovecot/private/dovecot.pem /etc/dovecot/private/dovecot.key twin imap://127.0.0.1:143 tls://127.0.0.1:993 tls://127.0.0.1:10993",
				"ssl_server_alt_cert_file: /a.pem /a.key twin imap://127.0.0.1:143 tls://127.0.0.1:993 tls://127.0.0.1:10993",
				"local_name b.example: ssl_server_cert_file: /b.pem /b.key for b.example imap://127.0.0.1:143?name=b.example tls://127.0.0.1:993?name=b.example tls://127.0.0.1:10993?name=b.example",
				"local 127.0.0.2: ssl_server_cert_file: /c.pem /c.key imap://127.0.0.2:143 tls://127.0.0.2:993 tls://127.0.0.2:10993",
				"protocol pop3 has a certificate of its own, for which no target is proposed: write one with probes of that protocol",
			},
		}, {
			"Dovecot 2.3", "dovecot", map[string]string{"doveconf -n": withoutKeys(sampleText(t, "debian12/doveconf")), "doveconf -n -P": sampleText(t, "debian12/doveconf")}, "0.0.0.0:143 [::]:10993",
			[]string{
				"ssl_cert: /etc/dovecot/private/dovecot.pem /etc/dovecot/private/dovecot.key twin imap://127.0.0.1:143 tls://[::1]:10993",
				"ssl_alt_cert: /a.pem /a.key twin imap://127.0.0.1:143 tls://[::1]:10993",
				"local 127.0.0.2: ssl_cert: /c.pem /c.key imap://127.0.0.2:143 tls://127.0.0.2:10993",
				"local_name b.example c.example: ssl_cert: /b.pem /b.key for b.example for c.example imap://127.0.0.1:143?name=b.example tls://[::1]:10993?name=b.example",
				"protocol pop3 has a certificate of its own, for which no target is proposed: write one with probes of that protocol",
			},
		}, {
			"Dovecot without TLS", "dovecot", map[string]string{"doveconf -n": "# 2.4.1\nssl = no\nssl_server {\n  cert_file = /a\n}\n"}, "", []string{"Dovecot serves without TLS: its configuration says ssl = no"},
		}, {
			"Dovecot with a key in place of its path", "dovecot", map[string]string{"doveconf -n": "# 2.3.19\nssl_cert = </a.pem\nssl_key = x\n"}, "", []string{"ssl_cert: /a.pem "},
		}, {
			"Dovecot with nothing", "dovecot", map[string]string{"doveconf -n": "# 2.4.1\n"}, "", []string{"Dovecot has no certificate; ssl_server_cert_file and ssl_server_key_file (2.3: ssl_cert and ssl_key) give it one"},
		}, {
			"HAProxy: a file with both, and one with the key beside it", "haproxy", haproxy("127.0.0.1:443 ssl crt both.pem crt cert.pem"), "", []string{
				"/etc/haproxy/haproxy.cfg:6: /c/both.pem /c/both.pem", "/etc/haproxy/haproxy.cfg:6: /c/cert.pem /c/cert.pem.key",
			},
		}, {
			"HAProxy: a directory", "haproxy", haproxy("127.0.0.1:443 ssl crt /d"), "", []string{
				"/etc/haproxy/haproxy.cfg:6: /d/a.pem /d/a.pem.key of all", "/etc/haproxy/haproxy.cfg:6: /d/b.pem /d/b.pem of all",
			},
		}, {
			"HAProxy: a list, of which one file is not there yet", "haproxy", haproxy("127.0.0.1:443 ssl crt-list /list"), "", []string{
				"/etc/haproxy/haproxy.cfg:6: /c/both.pem /c/both.pem for a.example", "/etc/haproxy/haproxy.cfg:6: /c/absent.pem /c/absent.pem",
			},
		}, {
			"HAProxy: two types of keys", "haproxy", haproxy("127.0.0.1:8443 ssl crt both.pem crt rsa.pem"), "127.0.0.1:8443", []string{
				"/etc/haproxy/haproxy.cfg:6: /c/both.pem /c/both.pem twin https://127.0.0.1:8443", "/etc/haproxy/haproxy.cfg:6: /c/rsa.pem /c/rsa.pem twin https://127.0.0.1:8443",
			},
		}, {
			"HAProxy without TLS", "haproxy", haproxy(":81"), "", []string{"HAProxy serves without TLS: no bind of /etc/haproxy/haproxy.cfg has ssl crt FILE"},
		}, {
			"coturn", "coturn", coturn("# cert=/no\n\ncert=/etc/coturn/fullchain.pem\npkey = /etc/coturn/privkey.pem\nrealm=turn.example\nno-udp-relay\n"), "", []string{
				"/etc/turnserver.conf: /etc/coturn/fullchain.pem /etc/coturn/privkey.pem as turn.example",
			},
		}, {
			"coturn at another port, with one file", "coturn", coturn("cert /all.pem\ntls-listening-port=7443\n"), "127.0.0.1:7443", []string{"/etc/turnserver.conf: /all.pem /all.pem tls://127.0.0.1:7443"},
		}, {
			"coturn as it is installed", "coturn", coturn(sampleText(t, "debian13/turnserver.conf")), "", []string{"coturn has no certificate, and serves without TLS; cert and pkey in /etc/turnserver.conf give it one"},
		}, {
			"coturn with no-tls", "coturn", coturn("no-tls\ncert=/a.pem\n"), "", []string{"coturn serves without TLS: /etc/turnserver.conf says no-tls"},
		}, {
			"coturn with a relative path", "coturn", coturn("cert=turn_server_cert.pem\npkey=/k\n"), "", []string{"coturn takes turn_server_cert.pem, which is relative to wherever it looks"},
		}, {
			"coturn whose configuration cannot be read", "coturn", nil, "", []string{"coturn's /etc/turnserver.conf cannot be read"},
		}, {
			"ejabberd as Debian 12 installs it", "ejabberd", ejabberd(sampleText(t, "debian12/ejabberd.yml"), "/etc/ejabberd/ejabberd.pem", a+aKey), "[::]:5222", []string{"certfiles: /etc/ejabberd/ejabberd.pem /etc/ejabberd/ejabberd.pem"},
		}, {
			"ejabberd as Debian 13 installs it", "ejabberd", ejabberd(sampleText(t, "debian13/ejabberd.yml"), "/etc/ejabberd/ejabberd.pem", a+aKey), "[::]:5222 [::]:5280", []string{
				"certfiles: /etc/ejabberd/ejabberd.pem /etc/ejabberd/ejabberd.pem xmpp-client://[::1]:5222 https://[::1]:5280",
			},
		}, {
			"ejabberd with a glob", "ejabberd", ejabberd("hosts:\n  - A.example # one\n  - b.example\ncertfiles:\n  - /t/*/*.pem\n", "/t/a/cert.pem", a, "/t/a/key.pem", aKey, "/t/b/cert.pem", b), "", []string{
				"certfiles: /t/a/cert.pem /t/a/key.pem for a.example", "certfiles: /t/b/cert.pem  for b.example",
			},
		}, {
			"ejabberd in the other style of YAML", "ejabberd", ejabberd("hosts: [\"a.example\", 'c.example']\ncertfiles: [/t/cert.pem, /t/key.pem]\nlisten:\n  - {port: 15222, ip: \"127.0.0.1\", module: ejabberd_c2s, starttls: true}\n", "/t/cert.pem", a, "/t/key.pem", aKey), "127.0.0.1:15222", []string{
				"certfiles: /t/cert.pem /t/key.pem for a.example for c.example xmpp-client://127.0.0.1:15222?name=a.example",
			},
		}, {
			"ejabberd with files that are not there yet", "ejabberd", ejabberd("hosts: [a.example]\ncertfiles:\n  - /t/cert.pem\n  - /t/key.pem\n"), "", []string{"certfiles: /t/cert.pem /t/key.pem for a.example"},
		}, {
			"ejabberd with a macro, and another file", "ejabberd", ejabberd("certfiles:\n  - CERTIFICATE\ninclude_config_file: /x.yml\n"), "", []string{
				"certfiles of /etc/ejabberd/ejabberd.yml names CERTIFICATE, which is no path that could be followed", "/etc/ejabberd/ejabberd.yml includes other files, which were not read",
			},
		}, {
			"ejabberd whose configuration cannot be read", "ejabberd", nil, "", []string{"ejabberd's /etc/ejabberd/ejabberd.yml cannot be read"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, found(t, test.preset, test.texts, strings.Fields(test.listeners)...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// withoutKeys returns what doveconf of 2.3 prints without -P.
func withoutKeys(text string) string {
	return regexp.MustCompile(`(?m)^(\s*ssl(_alt)?_key = ).*`).ReplaceAllString(text, "${1} # hidden, use -P to show it")
}

func withText(texts map[string]string, path, text string) map[string]string {
	texts[path] = text
	return texts
}
