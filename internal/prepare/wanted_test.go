package prepare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/pki"
)

// TestWanted is about which lineages a client's call is about, as far as targets
// take them.
func TestWanted(t *testing.T) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live")
	ca := pki.NewCA(t, "Root")
	for _, name := range []string{"a.example", "b.example"} {
		pki.WriteCertbot(t, live, name, ca.Leaf(t, pki.Names(name)))
	}
	if err := os.Mkdir(filepath.Join(live, "out.example"), 0o755); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret.pem")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"} {
		if err := os.Symlink(secret, filepath.Join(live, "out.example", file)); err != nil {
			t.Fatal(err)
		}
	}
	var targets []string
	for _, name := range []string{"a", "out", "gone"} {
		targets = append(targets, strings.Replace(generic(filepath.Join(dir, name), ""), "web", name, 2))
	}
	cfg := parse(t, dir, targets...)
	for _, test := range []struct {
		name  string
		paths []string
		want  string // the lineages, or what the error says
	}{
		{"one that a target takes", []string{live + "/a.example"}, "certbot:a.example"},
		{"one that no target takes", []string{live + "/b.example"}, ""},
		{"both", []string{live + "/b.example", live + "/a.example"}, "certbot:a.example"},
		{"one that no target can name", []string{live + "/.hidden", live + "/caf\xe9"}, ""},
		{"no call at all", nil, ""},
		{"what is no lineage", []string{"/"}, `"/" is no place of a lineage`},
		{"elsewhere", []string{dir + "/else/a.example"}, "target a wants a.example, but " + dir + "/else/a.example is below none of the configured roots"},
		{"not there", []string{live + "/gone.example"}, "gone.example"},
		{"leads out", []string{live + "/out.example"}, "certbot:out.example"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var events []hooks.Event
			for _, path := range test.paths {
				events = append(events, hooks.Event{Client: "certbot", Path: path})
			}
			wanted, err := Wanted(cfg, events)
			var names []string
			for _, l := range wanted {
				names = append(names, l.String())
			}
			got := strings.Join(names, " ")
			if err != nil {
				got = err.Error()
			}
			if err := Inside(wanted); (err != nil) != (test.name == "leads out") || err != nil && !strings.Contains(err.Error(), "secret.pem") {
				t.Errorf("whether it leads out: %v", err)
			}
			if err == nil && got != test.want || err != nil && (test.want == "" || !strings.Contains(got, test.want)) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
