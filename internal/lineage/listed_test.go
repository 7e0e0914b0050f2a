package lineage_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/lineage"
)

// TestListed holds, for the layout of every client, that what is listed is what
// is found by its name, whatever else lies there.
func TestListed(t *testing.T) {
	names := []string{"a.example", "a.example_ecc", "b.issuer", "_.c.example", "README", "d", "..", "-e", "é.example", "f.crt", ""}
	for _, keeper := range hooks.Keepers() {
		t.Run(keeper.Name, func(t *testing.T) {
			root := keeper.Root(t.TempDir())
			for _, dir := range []string{"a.example", "a.example_ecc", "*.c.example", "_.c.example", "d", "é.example", "f.crt"} {
				for _, file := range []string{"fullchain.pem", "privkey.pem", "fullchain.cer", "a.example.key", "*.c.example.key", "_.c.example.key", "é.example.key", "fullchain", "privkey", "cert.pem", "key.pem", "fullchain.crt", "a.example.crt", "d.key", "d.crt"} {
					write(t, filepath.Join(root.Dir, dir, file))
				}
			}
			for _, file := range []string{"README", "a.example.crt", "a.example.issuer.crt", "a.example.key", "b.issuer.crt", "b.issuer.key", "b.key", "_.c.example.crt", "_.c.example.key", "f.crt.crt", "f.crt.key", "a.example-1f.crt", "a.example-1f.key", "d-e.crt", "d-e.key", "x-1f.crt", "private/a.example/key.pem", "private/d/key.pem"} {
				write(t, filepath.Join(root.Dir, file))
			}
			all, err := root.List()
			if err != nil || len(all) == 0 {
				t.Fatal(all, err)
			}
			for _, l := range all {
				if !slices.Contains(names, l.Name) {
					names = append(names, l.Name)
				}
			}
			for _, name := range names {
				l, is, err := root.Listed(name)
				at := slices.IndexFunc(all, func(other lineage.Lineage) bool { return other.Name == name })
				if err != nil || is != (at >= 0) || is && l != all[at] {
					t.Errorf("%q: found is %v %+v, %v, and listed are %+v", name, is, l, err, all)
				}
			}
		})
	}
}

// A root that cannot be listed is told as that, and one that is not there holds
// nothing.
func TestListedNowhere(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"))
	for path, fails := range map[string]bool{"file": true, "nowhere": false} {
		root := lineage.Root{Client: "certbot", Layout: lineage.Layout{Fullchain: "{dir}/fullchain.pem", Key: "{dir}/privkey.pem"}, Dir: filepath.Join(dir, path)}
		_, want := root.List()
		if _, is, err := root.Listed("a.example"); is || (err != nil) != fails || fails && err.Error() != want.Error() {
			t.Errorf("%s: %v, %v, and listing it says %v", path, is, err, want)
		}
	}
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
