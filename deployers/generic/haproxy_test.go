package generic

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
)

// TestHAProxyStartedWith is about which configuration is read and tested.
func TestHAProxyStartedWith(t *testing.T) {
	debian := []string{"/usr/sbin/haproxy", "-Ws", "-f", "$CONFIG", "-p", "$PIDFILE", "$EXTRAOPTS"}
	for _, test := range []struct {
		name     string
		argv     []string
		starts   []string
		defaults string
		want     string
	}{
		{"nothing is known", nil, nil, "", "haproxy -c -q -f /etc/haproxy/haproxy.cfg"},
		{"Debian's, stopped", nil, debian, "#CONFIG=x\n", "haproxy -c -q -f /etc/haproxy/haproxy.cfg"},
		{"Debian's, stopped, with more", nil, debian, "CONFIG=/etc/h.cfg\nEXTRAOPTS=\"-S /run/x -f /etc/haproxy/conf.d\"\n", "haproxy -c -q -f /etc/h.cfg -f /etc/haproxy/conf.d"},
		{"what runs", []string{"haproxy", "-sf", "17", "-x", "sockpair@4", "-Ws", "-f", "/a.cfg", "-f", "/b"}, debian, "EXTRAOPTS=-f /c\n", "haproxy -c -q -f /a.cfg -f /b"},
		{"relative, behind two dashes", []string{"haproxy", "-C", "/srv", "-f", "a.cfg", "--", "b.cfg", "c.cfg"}, nil, "", "haproxy -c -q -C /srv -f /srv/a.cfg -f /srv/b.cfg -f /srv/c.cfg"},
		{"an option without its value", []string{"haproxy", "-f"}, nil, "", "haproxy -c -q -f /etc/haproxy/haproxy.cfg"},
	} {
		f := deployers.Facts{Argv: test.argv, Unit: deployers.Unit{ExecStart: test.starts}, Texts: map[string][]deployers.Text{"/etc/default/haproxy": {{Content: test.defaults}}}}
		if got := strings.Join(haproxyOf(f).test(), " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// TestHAProxyBinds is about who takes the files, and where that can be seen.
func TestHAProxyBinds(t *testing.T) {
	const combined = "/etc/haproxy/tls/web.pem"
	for _, test := range []struct {
		name   string
		config string
		list   string
		probes []string
		names  []string
		notes  []string
	}{
		{"a file", "defaults\n mode http\nfrontend a\n bind :443 ssl crt /etc/haproxy/tls/web.pem # bind :1 ssl\n bind :80\n", "", []string{"https://127.0.0.1:443", "https://[::1]:443"}, nil, nil},
		{"a directory, by a path with blanks before it", "listen a\n bind \"127.0.0.1:443\" ssl crt /srv/x\\ y.pem crt /etc/haproxy/tls/\n", "", []string{"tls://127.0.0.1:443"}, nil, nil},
		{"below crt-base, of several addresses", "global\n crt-base /etc/haproxy/tls\nfrontend a\n mode http\n bind 192.0.2.1:8443,[::1]:8443 ssl crt web.pem\n", "", []string{"https://[::1]:8443"}, nil, nil},
		{
			"by a crt-store", "crt-store web\n crt-base /etc/haproxy/tls\n load crt web.pem alias site\nfrontend a\n bind 127.0.0.1:8443 ssl crt @web/site\nfrontend b\n bind :443 ssl crt-list /list\n", "@web/web.pem web.example\n",
			[]string{"tls://127.0.0.1:8443", "tls://127.0.0.1:443?name=web.example", "tls://[::1]:443?name=web.example"}, []string{"web.example"}, nil,
		}, {
			"by a variable", "frontend a\n bind \"${ADDRESS}:443\" ssl crt /etc/haproxy/tls/web.pem\n bind 127.0.0.1:8443 ssl crt /etc/haproxy/tls/web.pem\n", "", []string{"tls://127.0.0.1:8443"}, nil,
			[]string{"/etc/haproxy/haproxy.cfg:2: a variable of the environment stands there, so it is not known what it comes to; write probes for what it is for"},
		}, {
			"below conditions", `
.if 0
frontend x
 bind 127.0.0.1:8443 ssl crt /etc/haproxy/tls/web.pem
.elif defined(X) # may hold
frontend y
 .if 1
 bind 127.0.0.1:8443 ssl crt /etc/haproxy/tls/web.pem
 .else
 bind 127.0.0.1:8443 ssl crt /etc/haproxy/tls/web.pem
 .endif
.else
frontend y
 bind 127.0.0.1:8443 ssl crt /srv/y.pem
.endif
.if 1
frontend z
 bind 0.0.0.0:443 ssl crt /etc/haproxy/tls/web.pem
.elif defined(X)
 bind 127.0.0.1:8443 ssl crt /etc/haproxy/tls/web.pem
.endif
`, "", []string{"tls://127.0.0.1:443", "tls://[::1]:443"}, nil,
			[]string{"/etc/haproxy/haproxy.cfg:8: 127.0.0.1:8443 is not probed: it stands below the .if of /etc/haproxy/haproxy.cfg:2, and whether that holds is not known; write a probe where it can be seen"},
		}, {
			"by ssl-f-use", "frontend a\n bind 127.0.0.1:8443 ssl crt /etc/haproxy/tls/web.pem\n ssl-f-use crt /srv/x.pem\n", "", []string{"tls://127.0.0.1:8443"}, nil,
			[]string{"/etc/haproxy/haproxy.cfg:3: ssl-f-use is not read; write probes for what it is for"},
		}, {
			"a list with names", "frontend a\n bind *:443 ssl crt-list /list\n", "# all\n/etc/haproxy/tls/web.pem [alpn h2 ocsp-update on] WEB.example *.web.example !x.web.example\n/srv/b.pem b.example\n",
			[]string{"tls://127.0.0.1:443?name=web.example", "tls://[::1]:443?name=web.example"}, []string{"web.example"}, nil,
		}, {
			"with the PROXY protocol", "frontend a\n bind 127.0.0.1:443 ssl crt /etc/haproxy/tls/web.pem accept-proxy\n bind unix@/run/x ssl crt /etc/haproxy/tls/web.pem\n", "", nil, nil,
			[]string{
				"/etc/haproxy/haproxy.cfg:2: 127.0.0.1:443 is not probed: it wants the PROXY protocol first; write a probe where it can be seen",
				"/etc/haproxy/haproxy.cfg:3: unix@/run/x is not probed: it is none of TCP that could be read; write a probe where it can be seen",
			},
		}, {
			"none of them", "frontend a\n bind 127.0.0.1:443 ssl crt /srv/copy.pem\n bind :8443 ssl crt-list /list\n", "/srv/b.pem\n", []string{"https://127.0.0.1:443", "https://[::1]:443", "https://127.0.0.1:8443"}, nil,
			[]string{"HAProxy's configuration names none of the target's files: /etc/haproxy/haproxy.cfg:2 takes /srv/copy.pem, /etc/haproxy/haproxy.cfg:3 takes /srv/b.pem; let crt or crt-list name /etc/haproxy/tls/web.pem, or the target's combined what they name"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := presetTarget("haproxy", func(t *deployers.Target, _ *Options) { t.Combined = combined })
			facts := deployers.Facts{Systemd: true, Unit: up("haproxy.service", true), Texts: map[string][]deployers.Text{
				haproxyConfig: {{Path: haproxyConfig, Content: test.config}}, "/list": {{Path: "/list", Content: test.list}}, "/etc/default/haproxy": nil,
			}}
			wanted := map[uint16]bool{}
			for _, port := range (Deployer{}).Wants(target, facts).Ports {
				wanted[port] = true
			}
			for listener := range strings.FieldsSeq("0.0.0.0:443 [::]:443 127.0.0.1:8443 0.0.0.0:80") {
				if at := netip.MustParseAddrPort(listener); wanted[at.Port()] {
					facts.Listeners = append(facts.Listeners, at)
				}
			}
			if test.name == "below crt-base, of several addresses" {
				facts.Listeners = []netip.AddrPort{netip.MustParseAddrPort("[::1]:8443"), netip.MustParseAddrPort("127.0.0.1:8443")}
			}
			if test.name == "a directory, by a path with blanks before it" {
				facts.Listeners = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:443")}
			}
			plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "web.example"}, facts)
			if err != nil {
				t.Fatal(err)
			}
			var probes []string
			for _, probe := range plan.Probes {
				probes = append(probes, probe.String())
			}
			for _, diff := range []string{cmp.Diff(test.probes, probes), cmp.Diff(test.names, plan.Names), cmp.Diff(test.notes, plan.Notes())} {
				if diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestHAProxyNotReloadedYet is about a bind that the configuration has and nobody
// listens at: where HAProxy runs, it is looked at all the same.
func TestHAProxyNotReloadedYet(t *testing.T) {
	for state, want := range map[string]string{"active": "[https://127.0.0.1:8443]", "inactive": "[]"} {
		unit := up("haproxy.service", true)
		unit.ActiveState = state
		target := presetTarget("haproxy", func(t *deployers.Target, _ *Options) { t.Combined = "/etc/haproxy/tls/web.pem" })
		plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "web.example"}, deployers.Facts{
			Systemd: true, Unit: unit,
			Listeners: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:443")},
			Texts:     map[string][]deployers.Text{haproxyConfig: {{Path: haproxyConfig, Content: "frontend a\n mode http\n bind 127.0.0.1:8443 ssl crt /etc/haproxy/tls/web.pem\n"}}},
		})
		if got := fmt.Sprint(plan.Probes); err != nil || got != want {
			t.Errorf("%s: got %s, %v", state, got, err)
		}
	}
}

// What is written goes before what runs, and is compared with it.
func TestHAProxyTest(t *testing.T) {
	target := presetTarget("haproxy", func(t *deployers.Target, o *Options) { o.Test = []string{"haproxy", "-c", "-f", "/x"} })
	plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "web.example"}, deployers.Facts{Systemd: true, Unit: up("haproxy.service", true)})
	if err != nil {
		t.Fatal(err)
	}
	want := "HAProxy is started with /etc/haproxy/haproxy.cfg, and the target's test is haproxy -c -f /x; leave test out, or let it be haproxy -c -q -f /etc/haproxy/haproxy.cfg"
	if notes := plan.Notes(); len(notes) == 0 || notes[0] != want {
		t.Errorf("notes: %q", notes)
	}
}

// FuzzHAProxy holds that any text is read to its end.
func FuzzHAProxy(f *testing.F) {
	f.Add("frontend a\n bind :443 ssl crt-list /l crt \"x\\", "/a.pem [x] y")
	f.Fuzz(func(t *testing.T, config, list string) {
		readHAProxy(deployers.Facts{Texts: map[string][]deployers.Text{haproxyConfig: {{Path: haproxyConfig, Content: config}}, "/l": {{Path: "/l", Content: list}}}})
	})
}
