package nginx

import (
	"strings"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
)

// TestNotOurs is about what is said of a configuration in which no server names the
// target's files: only what is sure.
func TestNotOurs(t *testing.T) {
	const (
		ours  = " ssl_certificate /etc/x/cert.pem; ssl_certificate_key /etc/x/key.pem; "
		live  = " ssl_certificate /live/fullchain.pem; ssl_certificate_key /live/privkey.pem; "
		other = " ssl_certificate /other/cert.pem; ssl_certificate_key /other/key.pem; "
	)
	server := func(rest string) string { return "server { listen 443 ssl; " + rest + "}\n" }
	running := deployers.Unit{Name: "nginx.service", LoadState: "loaded", ActiveState: "active", CanReload: true, MainPID: 7, ExecStart: []string{"/usr/sbin/nginx"}}
	for _, test := range []struct {
		name, config string
		change       func(*deployers.Target, *deployers.Facts)
		takes        string // empty: nothing is said
	}{
		{"the client's files", server(live + "server_name web.example;"), nil, "/etc/nginx/nginx.conf:1 takes /live/fullchain.pem"},
		{"of several, what answers for the names", server(other+"server_name other.example;") + server(live+"server_name *.example;"), nil, "/etc/nginx/nginx.conf:2 takes /live/fullchain.pem"},
		{"names below a wildcard", server(other) + server(live+"server_name a.apps.example;"), func(_ *deployers.Target, f *deployers.Facts) { f.Names = []string{"*.apps.example"} }, "/etc/nginx/nginx.conf:2 takes /live/fullchain.pem"},
		{"the default server's", server(live) + server(other+"server_name other.example;"), nil, "/etc/nginx/nginx.conf:1 takes /live/fullchain.pem"},
		{"one of several names ours", server(live+"server_name web.example;") + server(ours+"server_name other.example;"), nil, ""},
		{"by a variable", server("server_name web.example; ssl_certificate /live/$ssl_server_name.pem; ssl_certificate_key /live/$ssl_server_name.key;"), nil, ""},
		{"by a variable, for others", server(live+"server_name web.example;") + server("server_name other.example; ssl_certificate /live/$ssl_server_name.pem; ssl_certificate_key /live/$ssl_server_name.key;"), nil, "/etc/nginx/nginx.conf:1 takes /live/fullchain.pem"},
		{"a value", server("ssl_certificate data:$pem; ssl_certificate_key data:$key;"), nil, ""},
		{"a key in a token", server("ssl_certificate /live/fullchain.pem; ssl_certificate_key engine:pkcs11:x;"), nil, ""},
		{"by Lua", "ssl_certificate_by_lua_file /x.lua;\n" + server(live), nil, ""},
		{"by Lua in the server", server(live + "ssl_certificate_by_lua_block { x() }"), nil, ""},
		{"half of ours", server("ssl_certificate /etc/x/cert.pem; ssl_certificate_key /live/privkey.pem;"), nil, ""},
		{"ours, and every handshake is refused", server(ours + "ssl_reject_handshake on;"), nil, ""},
		{"every handshake is refused", server(live + "ssl_reject_handshake on;"), nil, ""},
		{"ours as a client", server(live + "location / { proxy_ssl_certificate /etc/x/cert.pem; }"), nil, ""},
		{"a credential", server("ssl_certificate /run/credentials/nginx.service/web.pem; ssl_certificate_key /run/credentials/nginx.service/web.key;"), nil, ""},
		{"by a regular expression that cannot be tried", server(live+"server_name other.example;") + server(other+"server_name ~^(?<=x)web;"), nil, ""},
		{"no lineage to ask for", server(live), func(_ *deployers.Target, f *deployers.Facts) { f.Names = nil }, "/etc/nginx/nginx.conf:1 takes /live/fullchain.pem"},
		{"another name that leads to ours", server(live + "server_name web.example;"), func(_ *deployers.Target, f *deployers.Facts) {
			f.Same = map[string][]string{"/etc/x/cert.pem": {"/live/fullchain.pem"}, "/etc/x/key.pem": {"/live/privkey.pem"}}
		}, ""},
		{"another unit, which says nothing", server(live), func(t *deployers.Target, f *deployers.Facts) {
			t.Unit, f.Unit.ExecStart = "edge.service", []string{"/start"}
		}, ""},
		{"another nginx beside a unit that is stopped", server(live), func(_ *deployers.Target, f *deployers.Facts) {
			f.Unit.ActiveState, f.Unit.MainPID = "inactive", 0
			f.Outside = []deployers.Process{{PID: 8, Title: "nginx: master process nginx -c /a"}, {PID: 9, Title: "nginx: master process nginx -c /b"}}
			for i := range f.Outside {
				f.Outside[i].Own, f.Outside[i].Program = true, "/usr/sbin/nginx"
			}
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := deployers.Target{Name: "web", Service: "nginx", Certificate: "/etc/x/cert.pem", Key: "/etc/x/key.pem", Options: Deployer{}.Options()}
			Deployer{}.Defaults(&target)
			f := deployers.Facts{Systemd: true, Unit: running, Names: []string{"web.example"}}
			if test.change != nil {
				test.change(&target, &f)
			}
			f.Outputs = map[string]deployers.Output{}
			for _, argv := range (Deployer{}).Wants(target, f).Commands {
				f.Outputs[strings.Join(argv, "\x00")] = deployers.Output{Stdout: "# configuration file /etc/nginx/nginx.conf:\nhttp { " + test.config + "}\n"}
			}
			plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "web.example"}, f)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if plan.NotOurs != nil {
				got = plan.NotOurs.Says
			}
			want := test.takes
			if want != "" {
				want = "no server of nginx's configuration names /etc/x/cert.pem and its key: " + want
			}
			if got != want {
				t.Errorf("%q, want %q; %q", got, want, plan.Notes())
			}
		})
	}
}
