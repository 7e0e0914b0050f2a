package generic

import (
	"slices"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
)

// TestTakesElsewhere is about what the services of presets take in place of the target's
// files: only what is sure is said.
func TestTakesElsewhere(t *testing.T) {
	output := func(argv []string, text string) map[string]deployers.Output {
		return map[string]deployers.Output{strings.Join(argv, "\x00"): {Stdout: text}}
	}
	say := func(f deployers.Facts, argv []string, text string) {
		f.Outputs[strings.Join(argv, "\x00")] = deployers.Output{Stdout: text}
	}
	mainCommand, servicesCommand, ownCommand := postfix{}.commands()
	postfix := func(main, master string) deployers.Facts {
		f := deployers.Facts{Outputs: map[string]deployers.Output{}}
		say(f, mainCommand, "smtpd_tls_security_level = may\n"+main)
		say(f, servicesCommand, "smtp inet n - y - - smtpd\nsmtps inet n - y - - smtpd\npickup unix n - y 60 1 pickup\n")
		say(f, ownCommand, master)
		return f
	}
	dovecot := func(text string) deployers.Facts {
		return deployers.Facts{Outputs: output([]string{"doveconf", "-n"}, text), Unit: deployers.Unit{ExecStart: []string{"/usr/sbin/dovecot", "-F"}}}
	}
	text := func(path, content string) map[string][]deployers.Text {
		return map[string][]deployers.Text{path: {{Path: path, Content: content}}}
	}
	coturn := func(content string, more ...string) deployers.Facts {
		return deployers.Facts{Texts: text("/etc/turnserver.conf", content), Argv: append([]string{"/usr/bin/turnserver", "-c", "/etc/turnserver.conf", "--pidfile="}, more...)}
	}
	ejabberd := func(content string) deployers.Facts { return deployers.Facts{Texts: text(ejabberdConfig, content)} }
	haproxy := func(content string) deployers.Facts {
		return deployers.Facts{Texts: text("/etc/haproxy/haproxy.cfg", content), Argv: []string{"haproxy", "-f", "/etc/haproxy/haproxy.cfg"}}
	}
	for _, test := range []struct {
		name   string
		preset PresetName
		facts  deployers.Facts
		change func(*deployers.Target, *Options, *deployers.Facts)
		takes  []string
	}{
		{"main.cf", "postfix", postfix("smtpd_tls_cert_file = /live/c.pem\nsmtpd_tls_chain_files =\ntlsproxy_tls_cert_file = /live/c.pem\n", ""), nil, []string{"smtpd_tls_cert_file takes /live/c.pem"}},
		{"no list", "postfix", postfix("smtpd_tls_chain_files = none\nsmtpd_tls_cert_file = /live/c.pem\n", ""), nil, []string{"smtpd_tls_cert_file takes /live/c.pem"}},
		{"ours in another instance", "postfix", postfix("smtpd_tls_cert_file = /live/c.pem\n", ""), func(_ *deployers.Target, _ *Options, f *deployers.Facts) {
			say(*f, mainCommand, "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = /live/c.pem\nmulti_instance_directories = /etc/postfix-out\n")
			say(*f, postfixInstance("/etc/postfix-out"), "yes\n/etc/x/cert.pem\n")
		}, nil},
		{"a service of master.cf", "postfix", postfix("smtpd_tls_cert_file = /live/c.pem\n", "smtps/inet/smtpd_tls_chain_files = /a.key, /etc/x/cert.pem\n"), nil, nil},
		{"as a client", "postfix", postfix("smtpd_tls_cert_file = /live/c.pem\nsmtp_tls_chain_files = /etc/x/key.pem, /etc/x/cert.pem\n", ""), nil, nil},
		{"of one type alone", "postfix", postfix("smtpd_tls_cert_file = none\nsmtpd_tls_eccert_file = /live/c.pem\n", ""), nil, []string{"smtpd_tls_eccert_file takes /live/c.pem"}},
		{"no certificate", "postfix", postfix("smtpd_tls_cert_file =\nsmtpd_tls_chain_files = none\n", ""), nil, nil},
		{"a service of master.cf, elsewhere", "postfix", postfix("smtpd_tls_cert_file = /live/c.pem\nsmtpd_tls_key_file = /live/k.pem\n", "smtps/inet/smtpd_tls_chain_files = /a.key, /a.pem\n"), nil, []string{"smtpd_tls_cert_file takes /live/c.pem", "smtps/inet/smtpd_tls_chain_files takes /a.key", "smtps/inet/smtpd_tls_chain_files takes /a.pem"}},
		{"a service of another program", "postfix", postfix("smtpd_tls_cert_file = /live/c.pem\n", "smtpd/pass/smtpd_tls_cert_file = /etc/x/cert.pem\n"), nil, nil},
		{"without TLS", "postfix", postfix("smtpd_tls_security_level = none\nsmtpd_tls_cert_file = /live/c.pem\n", ""), nil, nil},
		{"as a client alone", "postfix", postfix("smtp_tls_cert_file = /live/c.pem\n", ""), nil, nil},
		{"relative", "postfix", postfix("smtpd_tls_cert_file = c.pem\n", ""), nil, nil},
		{"postconf fails", "postfix", postfix("smtpd_tls_cert_file = /live/c.pem\n", ""), func(_ *deployers.Target, _ *Options, f *deployers.Facts) {
			f.Outputs[strings.Join(ownCommand, "\x00")] = deployers.Output{Failed: "it ended with 1"}
		}, nil},
		{"an inline table", "postfix", postfix("smtpd_tls_cert_file = /live/c.pem\n", ""), func(_ *deployers.Target, _ *Options, f *deployers.Facts) {
			say(*f, mainCommand, "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = /live/c.pem\ntls_server_sni_maps = inline:{x=/srv/key.pem}\n")
		}, nil},
		{"another instance", "postfix", postfix("smtpd_tls_cert_file = /live/c.pem\n", ""), func(t *deployers.Target, _ *Options, _ *deployers.Facts) { t.Unit = "mail.service" }, nil},

		{"2.4", "dovecot", dovecot("ssl = required\nssl_server_cert_file = /live/c.pem\nssl_server_key_file = /live/k.pem\n"), nil, []string{"ssl_server_cert_file takes /live/c.pem"}},
		{"2.4, as a block", "dovecot", dovecot("ssl_server {\n  cert_file = /live/c.pem\n}\n"), nil, []string{"ssl_server_cert_file takes /live/c.pem"}},
		{"2.3, and of a name", "dovecot", dovecot("ssl_cert = </live/c.pem\nlocal_name b.example {\n  ssl_cert = < /b.pem\n}\n"), nil, []string{"ssl_cert takes /live/c.pem", "local_name b.example: ssl_cert takes /b.pem"}},
		{"of a name, ours", "dovecot", dovecot("ssl_cert = </live/c.pem\nlocal_name b.example {\n  ssl_cert = </etc/x/cert.pem\n}\n"), nil, nil},
		{"the certificate itself", "dovecot", dovecot("ssl_cert = -----BEGIN CERTIFICATE-----\n"), nil, nil},
		{"a variable", "dovecot", dovecot("ssl_server_cert_file = /live/%{local_name}.pem\n"), nil, nil},
		{"another file", "dovecot", dovecot("ssl_cert = </live/c.pem\n"), func(_ *deployers.Target, _ *Options, f *deployers.Facts) {
			f.Unit.ExecStart = append(f.Unit.ExecStart, "-c", "/srv/dovecot.conf")
		}, nil},
		{"2.3, with its key hidden", "dovecot", dovecot("ssl_cert = </live/c.pem\nssl_key = # hidden, use -P to show it\n"), nil, []string{"ssl_cert takes /live/c.pem"}},
		{"as a client", "dovecot", dovecot("ssl_cert = </live/c.pem\nssl_client_cert = </etc/x/cert.pem\n"), nil, nil},
		{"of addresses that ask", "dovecot", dovecot("ssl_server {\n  cert_file = /live/c.pem\n}\nremote 192.0.2.0/24 {\n  ssl_server {\n    cert_file = /etc/x/cert.pem\n  }\n}\n"), nil, nil},
		{"without TLS", "dovecot", dovecot("ssl = no\nssl_cert = </live/c.pem\n"), nil, nil},
		{"nothing of it", "dovecot", dovecot("ssl = no\n"), nil, nil},

		{"its file", "coturn", coturn("# cert=/x\n cert = /live/c.pem\npkey=/live/k.pem\n"), nil, []string{"/etc/turnserver.conf takes /live/c.pem"}},
		{"by a blank", "coturn", coturn("cert \"/live/c.pem\"\n"), nil, []string{"/etc/turnserver.conf takes /live/c.pem"}},
		{"ours", "coturn", coturn("cert=/etc/x/cert.pem\n"), nil, nil},
		{"relative", "coturn", coturn("cert=c.pem\n"), nil, nil},
		{"by an option", "coturn", coturn("cert=/live/c.pem\n", "--cert=/etc/x/cert.pem"), nil, nil},
		{"the last one", "coturn", coturn("cert=/etc/x/cert.pem\ncert=/live/c.pem\n"), nil, []string{"/etc/turnserver.conf takes /live/c.pem"}},
		{"without its file", "coturn", coturn("cert=/live/c.pem\n", "-n"), nil, nil},
		{"unread", "coturn", deployers.Facts{Argv: []string{"turnserver"}, Texts: text("/etc/turnserver.conf", "cert=/live/c.pem\n")}, nil, nil},

		{"a list", "ejabberd", ejabberd("hosts: [a.example]\ncertfiles:\n  - /live/c.pem # x\n  - \"/live/k.pem\"\nlisten:\n  - port: 5222\n"), nil, []string{"/etc/ejabberd/ejabberd.yml takes /live/c.pem", "/etc/ejabberd/ejabberd.yml takes /live/k.pem"}},
		{"in a line", "ejabberd", ejabberd("certfiles: [/live/c.pem, '/live/k.pem']\n"), nil, []string{"/etc/ejabberd/ejabberd.yml takes /live/c.pem", "/etc/ejabberd/ejabberd.yml takes /live/k.pem"}},
		{"of a listener, ours", "ejabberd", ejabberd("certfiles:\n- /live/c.pem\nlisten:\n  - {port: 5223, certfile: /etc/x/cert.pem}\n"), nil, nil},
		{"a glob", "ejabberd", ejabberd("certfiles:\n- /etc/x/*.pem\n"), nil, nil},
		{"a macro", "ejabberd", ejabberd("define_macro:\n  LISTENER: {port: 5223}\ncertfiles:\n- /live/c.pem\n"), nil, nil},
		{"another file besides", "ejabberd", ejabberd("certfiles:\n- /live/c.pem\ninclude_config_file: /x.yml\n"), nil, nil},
		{"another file in its place", "ejabberd", ejabberd("certfiles:\n- /live/c.pem\n"), func(_ *deployers.Target, _ *Options, f *deployers.Facts) {
			f.Texts[ejabberdCtlFile] = []deployers.Text{{Content: "#X\n EJABBERD_CONFIG_PATH='/srv/e.yml'\n"}}
		}, nil},

		{"the usual file, as Debian says", "ejabberd", ejabberd("certfiles:\n- /live/c.pem\n"), func(_ *deployers.Target, _ *Options, f *deployers.Facts) {
			f.Texts[ejabberdCtlFile] = []deployers.Text{{Content: "EJABBERD_CONFIG_PATH=/etc/ejabberd/ejabberd.yml\n"}}
		}, []string{"/etc/ejabberd/ejabberd.yml takes /live/c.pem"}},
		{"by an option of the unit", "ejabberd", ejabberd("certfiles:\n- /live/c.pem\n"), func(_ *deployers.Target, _ *Options, f *deployers.Facts) {
			f.Unit.ExecStart = []string{"/bin/sh", "-c", "ejabberdctl --config /srv/e.yml foreground"}
		}, nil},

		{"a bind", "haproxy", haproxy("frontend a\n bind :443 ssl crt /live/all.pem\n"), nil, []string{"/etc/haproxy/haproxy.cfg:2 takes /live/all.pem"}},
		{"one of several", "haproxy", haproxy("frontend a\n bind :443 ssl crt /live/all.pem crt /etc/x/cert.pem\n"), nil, nil},
		{"as a client", "haproxy", haproxy("frontend a\n bind :443 ssl crt /live/all.pem\nbackend b\n server s 192.0.2.1:443 ssl crt /etc/x/cert.pem\n"), nil, nil},
		{"a bundle", "haproxy", haproxy("frontend a\n bind :443 ssl crt /etc/x/all.pem\n"), func(t *deployers.Target, _ *Options, _ *deployers.Facts) { t.Combined = "/etc/x/all.pem.rsa" }, nil},
		{"a variable", "haproxy", haproxy("frontend a\n bind :443 ssl crt \"${CERT}\"\n bind :444 ssl crt /live/all.pem\n"), nil, nil},
		{"a list that cannot be read", "haproxy", haproxy("frontend a\n bind :443 ssl crt-list /etc/haproxy/list\n"), nil, nil},
		{"started with what is not to be believed", "haproxy", haproxy("frontend a\n bind :443 ssl crt /live/all.pem\n"), func(_ *deployers.Target, _ *Options, f *deployers.Facts) { f.Argv = append(f.Argv, "-f", "") }, nil},
		{"another name that leads to ours", "haproxy", haproxy("frontend a\n bind :443 ssl crt /live/all.pem\n"), func(_ *deployers.Target, _ *Options, f *deployers.Facts) {
			f.Same = map[string][]string{"/etc/x/cert.pem": {"/live/all.pem"}}
		}, nil},
		{"a program of the target's", "haproxy", haproxy("frontend a\n bind :443 ssl crt /live/all.pem\n"), func(_ *deployers.Target, o *Options, _ *deployers.Facts) {
			o.Activate = []string{"/usr/local/bin/bring"}
		}, nil},
		{"a reload of the target's", "haproxy", haproxy("frontend a\n bind :443 ssl crt /live/all.pem\n"), func(_ *deployers.Target, o *Options, _ *deployers.Facts) {
			o.Activate = []string{"systemctl", "reload", "haproxy"}
		}, []string{"/etc/haproxy/haproxy.cfg:2 takes /live/all.pem"}},
		{"copies", "haproxy", haproxy("frontend a\n bind :443 ssl crt /live/all.pem\n"), func(_ *deployers.Target, o *Options, _ *deployers.Facts) {
			o.Copies = [][]string{{"/usr/local/bin/bring"}}
		}, nil},
	} {
		t.Run(string(test.preset)+", "+test.name, func(t *testing.T) {
			f := test.facts
			target := presetTarget(test.preset, func(t *deployers.Target, o *Options) {
				if test.change != nil {
					test.change(t, o, &f)
				}
			})
			execStart := f.Unit.ExecStart
			f.Systemd, f.Unit = true, up(target.Unit, true)
			f.Unit.ExecStart = execStart
			if f.Texts == nil {
				f.Texts = map[string][]deployers.Text{}
			}
			f.Texts[programFile(7)] = []deployers.Text{{Content: "turnserver\n"}}
			plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "web.example"}, f)
			if err != nil {
				t.Fatal(err)
			}
			var takes []string
			if plan.NotOurs != nil {
				for _, taken := range plan.NotOurs.Takes {
					takes = append(takes, taken.String())
					if taken.Key == taken.File {
						t.Errorf("%s: the key is told apart, and is in the same file", taken)
					}
				}
			}
			if !slices.Equal(takes, test.takes) {
				t.Errorf("%q, want %q; %q", takes, test.takes, plan.Notes())
			}
			said := slices.ContainsFunc(plan.Notes(), func(note string) bool { return strings.Contains(note, "names none of the target's files") })
			if said && takes == nil && test.preset != "haproxy" { // of which doctor tells more than is sure
				t.Errorf("nothing is sure, and it is said: %q", plan.Notes())
			}
		})
	}
}
