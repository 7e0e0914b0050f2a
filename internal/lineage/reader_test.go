package lineage_test

import (
	"os"
	"slices"
	"testing"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
)

// TestReader holds that a Reader says of every lineage what Read says, also of
// what has changed since it opened the root.
func TestReader(t *testing.T) {
	root := rootOf(t, "certbot", t.TempDir()+"/live")
	leaf := pki.NewCA(t, "Root").Intermediate(t, "Intermediate").Leaf(t, pki.Names("a.example"))
	var r lineage.Reader
	defer r.Close()
	var bundles []*lineage.Bundle
	read := func(name string) string {
		t.Helper()
		l, err := root.Lineage(name)
		if err != nil {
			t.Fatal(err)
		}
		bundle, findings := r.Read(l)
		if bundle != nil {
			bundles = append(bundles, bundle)
		}
		again, want := lineage.Read(l)
		if (bundle == nil) != (again == nil) || !slices.Equal(findings, want) {
			t.Errorf("%s: %v, and Read: %v", name, findings, want)
		}
		return codes(findings)
	}
	if got := read("a.example"); got == "" {
		t.Error("there is no root, and no finding")
	}
	for _, name := range []string{"a.example", "b.example"} {
		pki.WriteCertbot(t, root.Dir, name, leaf)
		if got := read(name); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if one, other := bundles[0], bundles[1]; one.Intermediates[0] != other.Intermediates[0] || one.Leaf == other.Leaf {
		t.Error("not the issuer alone was parsed once")
	}
	if err := os.Chmod(root.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if got := read("a.example"); got != "owner-mismatch owner-mismatch" {
		t.Errorf("everybody may write to the root: %q", got)
	}
}
