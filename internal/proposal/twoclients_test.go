package proposal

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
)

// Of lineages that two clients keep under one name, that is proposed whose leaf is
// installed; where none is, the operator is asked.
func TestTwoClients(t *testing.T) {
	const own = "/etc/nginx/keys/a.pem"
	kept := func(client string, until int64) Lineage {
		l := ecdsa("web.example", "web.example")
		l.Client, l.Leaf.Fingerprint, l.Leaf.NotAfter = client, client, time.Unix(until, 0)
		return l
	}
	left, live := kept("certbot", 2e9), kept("acme.sh", 1.9e9)
	for _, test := range []struct {
		name, installed, want, asks string
	}{
		{"installed is the second", "acme.sh", "web acme.sh:web.example " + own, ""},
		{"installed is the first", "certbot", "web certbot:web.example " + own, ""},
		{"installed is neither", "other", "web certbot:web.example " + own + " idle to do", "certbot:web.example or acme.sh:web.example"},
		{"nothing is installed", "", "web certbot:web.example " + own + " idle to do", "certbot:web.example or acme.sh:web.example"},
	} {
		host := Host{Roots: nil, Lineages: []Lineage{left, live}, Services: []Service{service(t, "nginx", use("a", own, "web.example"))}, Files: map[string]File{}}
		if test.installed != "" {
			host.Files[own] = File{Leaf: &lineage.Leaf{Fingerprint: test.installed, Names: []string{"web.example"}, Key: "ecdsa-p256"}}
		}
		made := Make(host)
		if got := says(made); !slices.Equal(got, []string{test.want}) {
			t.Errorf("%s: proposed is %q", test.name, got)
		}
		asked := len(made.Targets) > 0 && slices.ContainsFunc(made.Targets[0].Steps, func(s Step) bool { return test.asks != "" && strings.Contains(s.Says, test.asks) })
		if asked != (test.asks != "") {
			t.Errorf("%s: to do is %v", test.name, made.Targets[0].Steps)
		}
	}
}
