package nginx

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sample"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// serversOf returns the servers of an http block.
func serversOf(t *testing.T, http string) serversRead {
	t.Helper()
	read := readServers("# configuration file /n/nginx.conf:\nhttp {\n" + http + "\n}\n")
	if read.err != nil {
		t.Fatal(read.err)
	}
	return read
}

// TestChoice wants the server that nginx 1.26 answers with, by its source.
func TestChoice(t *testing.T) {
	read := serversOf(t, `
		server { listen 443 ssl; server_name first.example; }
		server { listen 443 ssl; server_name *.example .zone.example; }
		server { listen 443 ssl; server_name *.deep.example www.*; }
		server { listen 443 ssl default_server; server_name _; }
		server { listen 443 ssl; server_name ~^re\d+\.test$ ~(?<!a)x ~^RE\.test$; }
		server { listen 443 ssl; server_name first.example zone.example *.zone.example other.example; }
		server { listen 443 ssl; server_name ~^re1; }
	`)
	c := read.choices["*:443"]
	for name, want := range map[string]int{
		"first.example": 0, "a.example": 1, "a.b.example": 1, "zone.example": 1, "x.zone.example": 1,
		"a.deep.example": 2, "deep.example": 1, "www.test": 2, "www.a.b": 2, "www": 3, "other.example": 5,
		"re1.test": 4, "example": 3,
	} {
		if got, _ := c.of(name); got != want {
			t.Errorf("%s: server %d, want %d", name, got, want)
		}
	}
	for name, want := range map[string]bool{"first.example": true, "re7.test": true, "nobody.test": false} {
		if _, sure := c.of(name); sure != want {
			t.Errorf("%s: sure is %v", name, sure)
		}
	}
	var lost []string
	for number, names := range read.lost {
		for _, l := range names {
			lost = append(lost, fmt.Sprint(number, " ", l.name, " ", l.listener, " ", l.winner))
		}
	}
	if diff := cmp.Diff([]string{"5 first.example *:443 0", "5 zone.example *:443 1", "5 *.zone.example *:443 1"}, lost); diff != "" {
		t.Error(diff)
	}
}

// TestProbesOfServers wants each server that serves the pair to be probed under a name
// that leads to it, and none that refuses every handshake.
func TestProbesOfServers(t *testing.T) {
	const pair = "ssl_certificate /etc/nginx/tls/fullchain.pem; ssl_certificate_key /etc/nginx/tls/privkey.pem;"
	probe := func(name string) endpoint.Endpoint {
		return endpoint.Endpoint{Scheme: "https", Host: "127.0.0.1", Port: 443, Name: name}
	}
	var crowd string
	for n := range mostNames + 2 {
		crowd += fmt.Sprintf("server { listen 443 ssl; server_name n%d.example; }", n)
	}
	for _, test := range []struct {
		name, http string
		names      []string // of the leaf
		probes     []endpoint.Endpoint
		notes      int
	}{
		{"a default server that refuses", `server { listen 443 ssl default_server; server_name old.example _; ssl_reject_handshake on; }
			server { listen 443 ssl; server_name a.example b.example; } server { listen 443 ssl; server_name c.example; }`, nil, []endpoint.Endpoint{probe("a.example"), probe("c.example")}, 0},
		{"all but one refuse", `ssl_reject_handshake on; server { listen 443 ssl; server_name a.example; }
			server { listen 443 ssl; server_name b.example; ssl_reject_handshake off; }`, nil, []endpoint.Endpoint{probe("b.example")}, 0},
		{"another has no TLS", `server { listen 80; server_name a.example; } server { listen 443 ssl; server_name b.example; }`, nil, []endpoint.Endpoint{probe("b.example")}, 0},
		{"none has TLS", `server { listen 80; server_name a.example; }`, nil, nil, 1},
		{"all refuse", `ssl_reject_handshake on; server { listen 443 ssl; server_name a.example; }`, nil, nil, 1},
		{"one that refuses has the first name", `server { listen 443 ssl; server_name a.example; ssl_reject_handshake on; } server { listen 443 ssl; server_name a.example b.example; }`, nil, []endpoint.Endpoint{probe("b.example")}, 1},
		{"one without a name behind others", `server { listen 443 ssl default_server; } server { listen 443 ssl; server_name a.example; ssl_certificate /o; ssl_certificate_key /o; }`,
			[]string{"A.example", "*.example"}, []endpoint.Endpoint{probe("certlatch.example")}, 0},
		{"the names of the leaf lead to others", `server { listen 443 ssl default_server; } server { listen 443 ssl; server_name a.example; ssl_certificate /o; ssl_certificate_key /o; }`,
			[]string{"a.example"}, []endpoint.Endpoint{probe("127.0.0.1")}, 0},
		{"one that no name leads to", `server { listen 443 ssl; server_name a.example; ssl_certificate /o; ssl_certificate_key /o; } server { listen 443 ssl; }`, []string{"a.example"}, nil, 1},
		{"by a regular expression", `server { listen 443 ssl; server_name ~^a; } server { listen 443 ssl default_server; ssl_reject_handshake on; }`, []string{"b.example", "a.example"}, []endpoint.Endpoint{probe("a.example")}, 0},
		{"more than are probed", crowd, nil, nil, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dump := deployers.Output{Stdout: "# configuration file /etc/nginx/nginx.conf:\nhttp { " + pair + test.http + "}\n"}
			facts := factsOf(dump)
			facts.Names = test.names
			plan := planOf(t, facts)
			if test.name == "more than are probed" {
				if len(plan.Probes) != mostNames {
					t.Errorf("%d probes", len(plan.Probes))
				}
			} else if diff := cmp.Diff(test.probes, plan.Probes); diff != "" {
				t.Errorf("probes: %s", diff)
			}
			if notes := plan.Notes(); len(notes) != test.notes {
				t.Errorf("notes: %q", notes)
			}
		})
	}
}

// TestIgnoredNames wants the server to be named that nginx prefers to one with the pair.
func TestIgnoredNames(t *testing.T) {
	const pair = "ssl_certificate /etc/nginx/tls/fullchain.pem; ssl_certificate_key /etc/nginx/tls/privkey.pem;"
	const other = "ssl_certificate /old.pem; ssl_certificate_key /old.key;"
	for _, test := range []struct {
		name, http, said string
		level            deployers.Level
		notes, names     string
	}{
		{"all of its names", "server { listen 443 ssl; server_name a.example;" + other + "}\nserver { listen 443 ssl; server_name a.example;" + pair + "}", "", deployers.Wrong,
			"/n.conf:3: nginx ignores the server name a.example on *:443, since /n.conf:2 comes before it and answers for that name, with another pair", ""},
		{"one of two names", "server { listen 443 ssl; server_name a.example;" + other + "}\nserver { listen 443 ssl; server_name a.example b.example;" + pair + "}", "", deployers.Warned,
			"/n.conf:3: nginx ignores the server name a.example on *:443", "b.example"},
		{"at one of two addresses", "server { listen 443 ssl; server_name a.example;" + other + "}\nserver { listen 443 ssl; listen 444 ssl; server_name a.example;" + pair + "}", "", deployers.Warned,
			"/n.conf:3: nginx ignores the server name a.example on *:443", "a.example"},
		{"by one that refuses", "server { listen 443 ssl; server_name .example; ssl_reject_handshake on; }\nserver { listen 443 ssl; server_name *.example;" + pair + "}", "", deployers.Wrong,
			"/n.conf:2 comes before it and refuses every handshake for that name", ""},
		{"with the same pair", "server { listen 443 ssl; server_name a.example;" + pair + "}\nserver { listen 443 ssl; server_name a.example;" + pair + "}", "", "", "", "a.example"},
		{"without TLS", "server { listen 80; server_name a.example; }\nserver { listen 80; listen 443 ssl; server_name a.example;" + pair + "}", `conflicting server name "c.example" on 0.0.0.0:80, ignored`, "", "", "a.example"},
		{"what nginx alone knows", "server { listen 443 ssl; server_name a.example;" + pair + "}", `[warn] 1#1: conflicting server name "a.example" on 192.0.2.1:443, ignored`, deployers.Warned,
			"/n.conf:2: nginx says that it ignores the server name a.example somewhere", "a.example"},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan := planOf(t, factsOf(deployers.Output{Stdout: "# configuration file /n.conf:\nhttp {\n" + test.http + "}\n", Stderr: test.said}))
			var level deployers.Level
			var notes string
			for _, c := range plan.Checks {
				if c.Level != deployers.Fine {
					level, notes = c.Level, notes+c.Says+"\n"
				}
			}
			if level != test.level || !strings.Contains(notes, test.notes) || strings.Join(plan.Names, " ") != test.names {
				t.Errorf("%s: %q, names %q", level, notes, plan.Names)
			}
		})
	}
}

// TestDiscoverIgnored wants what nginx ignores to be told from what answers.
func TestDiscoverIgnored(t *testing.T) {
	found := sample.Discover(Deployer{}, factsOf(deployers.Output{Stdout: `# configuration file /n.conf:
http {
	server { listen 443 ssl; server_name a.example .b.example; ssl_certificate /old.pem; ssl_certificate_key /old.key; }
	server { listen 443 ssl; server_name a.example c.example; ssl_certificate /c.pem; ssl_certificate_key /c.key; }
	server { listen 443 ssl; server_name *.b.example; ssl_certificate /b.pem; ssl_certificate_key /b.key; }
}
`}))
	got := map[string]string{}
	for _, use := range found.Uses {
		got[use.Certificate] = fmt.Sprint(use.Names, use.Ignored, use.Yields)
	}
	want := map[string]string{
		"/old.pem": "[a.example b.example *.b.example] false []",
		"/c.pem":   "[c.example] false [{a.example /n.conf:2 /old.pem}]",
		"/b.pem":   "[*.b.example] true [{*.b.example /n.conf:2 /old.pem}]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestOtherListeners wants mail and what stands behind a proxy to be probed, and what
// cannot be to be named by init too.
func TestOtherListeners(t *testing.T) {
	facts := factsOf(deployers.Output{Stdout: `# configuration file /n.conf:
stream { server { listen 443; ssl_preread on; proxy_pass 127.0.0.1:8443; proxy_protocol on; } }
http { server {
	listen 127.0.0.1:8443 ssl proxy_protocol; listen unix:/x.sock ssl; server_name www.example;
	ssl_certificate /etc/nginx/tls/fullchain.pem; ssl_certificate_key /etc/nginx/tls/privkey.pem;
} }
mail {
	starttls on;
	ssl_certificate /etc/nginx/tls/fullchain.pem; ssl_certificate_key /etc/nginx/tls/privkey.pem;
	server { listen 587; }
	server { listen 465 ssl; }
	server { listen 1143 proxy_protocol; protocol imap; starttls only; }
	server { listen 110; }
	server { listen 25; starttls off; }
}
`})
	var want []endpoint.Endpoint
	for _, url := range []string{
		"https://127.0.0.1:8443?name=www.example&proxy=v1", "smtp://127.0.0.1:587", "tls://127.0.0.1:465", "imap://127.0.0.1:1143?proxy=v1", "pop3://127.0.0.1:110",
	} {
		e, err := endpoint.Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, e)
	}
	if diff := cmp.Diff(want, planOf(t, facts).Probes); diff != "" {
		t.Error(diff)
	}
	sample.CheckUses(t, sample.Discover(Deployer{}, facts), []deployers.Use{{
		Where: "/n.conf:2, /n.conf:9, /n.conf:10, /n.conf:11, /n.conf:12", Certificate: "/etc/nginx/tls/fullchain.pem", Key: "/etc/nginx/tls/privkey.pem",
		Names: []string{"www.example"}, Note: "unix:/x.sock of /n.conf:2 is not probed: it is a UNIX socket.", Probes: want,
	}})

	target := sample.Target(Deployer{}, func(t *deployers.Target) {
		t.Certificate, t.Key = "/etc/nginx/tls/fullchain.pem", "/etc/nginx/tls/privkey.pem"
		t.Probes = want[:1]
	})
	plan, err := Deployer{}.Plan(target, lineage.Lineage{Name: "web.example"}, facts)
	if err != nil {
		t.Fatal(err)
	}
	var unlooked int
	for _, c := range plan.Checks {
		if strings.Contains(c.Says, "none of the target's probes looks there") {
			unlooked++
		}
	}
	if unlooked != 5 {
		t.Errorf("%d listeners without a probe: %v", unlooked, plan.Checks)
	}
}

// TestFronts wants a UNIX socket to be reached by the stream server that hands
// connections on to it.
func TestFronts(t *testing.T) {
	const names = `map $ssl_preread_server_name $behind {
		hostnames; default 127.0.0.1:1; a.example unix:/a.sock; .b.example group; *.c.example unix:/c.sock; "~*^D\\d" unix:/d.sock;
	} upstream group { server unix:/b.sock; server 127.0.0.1:2; }`
	for _, test := range []struct{ stream, socket, name, want string }{
		{"server { listen 443; ssl_preread on; proxy_pass $behind; }", "/a.sock", "a.example", "https://127.0.0.1:443?name=a.example"},
		{"server { listen 443; ssl_preread on; proxy_pass $behind; }", "/b.sock", "b.example", "https://127.0.0.1:443?name=b.example"},
		{"server { listen 443; ssl_preread on; proxy_pass $behind; }", "/b.sock", "x.b.example", "https://127.0.0.1:443?name=x.b.example"},
		{"server { listen 443; ssl_preread on; proxy_pass $behind; }", "/c.sock", "x.y.c.example", "https://127.0.0.1:443?name=x.y.c.example"},
		{"server { listen 443; ssl_preread on; proxy_pass $behind; }", "/c.sock", "c.example", ""},
		{"server { listen 443; ssl_preread on; proxy_pass $behind; }", "/d.sock", "d1.example", "https://127.0.0.1:443?name=d1.example"},
		{"server { listen 443; ssl_preread on; proxy_pass $behind; }", "/a.sock", "b.example", ""},
		{"server { listen [::1]:444 proxy_protocol; proxy_pass unix:/a.sock; }", "/a.sock", "b.example", "https://[::1]:444?name=b.example&proxy=v1"},
		{"server { listen 443 udp; listen unix:/x.sock; proxy_pass unix:/a.sock; }", "/a.sock", "a.example", ""},
		{"server { listen 443 ssl; ssl_certificate /o; ssl_certificate_key /o; proxy_pass unix:/a.sock; }", "/a.sock", "a.example", ""},
		{"server { listen 443; proxy_pass $other; }", "/a.sock", "a.example", ""},
	} {
		plan := planOf(t, factsOf(deployers.Output{Stdout: "# configuration file /n.conf:\nstream { " + names + test.stream + "}\nhttp { server { listen unix:" + test.socket + " ssl; server_name " + test.name +
			"; ssl_certificate /etc/nginx/tls/fullchain.pem; ssl_certificate_key /etc/nginx/tls/privkey.pem; } }\n"}))
		got := ""
		for _, e := range plan.Probes {
			got += e.String()
		}
		if got != test.want || (len(plan.Notes()) == 0) != (test.want != "") {
			t.Errorf("%s at %s by %s: %q, %q", test.stream, test.socket, test.name, got, plan.Notes())
		}
	}
}
