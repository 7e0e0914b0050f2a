package hookfiles

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/lineage"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestExamine(t *testing.T) {
	const chosen, another = "Le_DeployHook='certlatch,'\n", "Le_DeployHook='haproxy,'\n"
	for _, test := range []struct {
		name, client string
		installed    bool
		self         os.FileMode // of certlatch's program; 0: it is gone
		memory       string      // what the client remembers of the lineage a.example_ecc, or a.example
		level        deployers.Level
		remedy       string
	}{
		{"no hooks", "lego", false, 0o755, "", deployers.Fine, ""},
		{"not there", "certbot", false, 0o755, "", deployers.Warned, "certlatch hook install certbot"},
		{"there", "certbot", true, 0o755, "", deployers.Fine, ""},
		{"not to be run", "certbot", true, 0o644, "", deployers.Wrong, "certlatch hook install certbot"},
		{"leads nowhere", "certbot", true, 0, "", deployers.Warned, "certlatch hook install certbot"},
		{"one of its own", "certbot", false, 0o755, "renew_hook = certlatch hook certbot\n", deployers.Fine, ""},
		{"one of its own, of another", "certbot", false, 0o755, "renew_hook = true\n", deployers.Warned, "certlatch hook install certbot"},
		{"chosen", "acme.sh", true, 0o755, chosen, deployers.Fine, ""},
		{"chosen, not there", "acme.sh", false, 0o755, chosen, deployers.Warned, "certlatch hook install acme.sh"},
		{"not chosen", "acme.sh", true, 0o755, another, deployers.Warned, "acme.sh --deploy -d a.example --ecc --deploy-hook certlatch"},
		{"never chosen", "acme.sh", true, 0o755, "", deployers.Warned, "acme.sh --deploy -d a.example --ecc --deploy-hook certlatch"},
	} {
		t.Run(test.client+" "+test.name, func(t *testing.T) {
			dir := t.TempDir()
			client, _ := hooks.For(test.client)
			self, lives, memory := filepath.Join(dir, "bin/certlatch"), filepath.Join(dir, "live"), "renewal/a.example.conf"
			name := "a.example"
			if test.client == "acme.sh" {
				name, memory = "a.example_ecc", "live/a.example_ecc/a.example.conf"
			}
			if test.self != 0 {
				write(t, self, "", test.self)
			}
			write(t, filepath.Join(lives, name, "x"), "", 0o600)
			if test.memory != "" {
				write(t, filepath.Join(dir, memory), test.memory, 0o600)
			}
			place := Usual(client, self)
			if test.client != "lego" {
				var err error
				if place, err = In(filepath.Join(dir, "hooks"), client, self); err != nil {
					t.Fatal(err)
				}
			}
			if test.installed {
				if _, err := place.Install(); err != nil {
					t.Fatal(err)
				}
			}
			keeper, _ := hooks.KeeperFor(test.client)
			l, err := keeper.Root(lives).Lineage(name)
			if err != nil {
				t.Fatal(err)
			}
			checks := place.Examine([]lineage.Lineage{l})
			for i := range checks {
				checks[i].Says = ""
			}
			want := []deployers.Check{deployers.NewCheck(deployers.Hook, test.level, test.remedy, "")}
			if diff := cmp.Diff(want, checks); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
