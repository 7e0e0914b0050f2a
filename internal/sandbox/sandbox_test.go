package sandbox

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/config"
)

// parse reads a configuration that keeps its state where it does by default.
func parse(t *testing.T, targets string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("config.yaml", []byte("lineages:\n  - directory: /srv/certs\ntargets:\n"+targets))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDropIn(t *testing.T) {
	dir := t.TempDir() // there, so it need not be made
	cfg := parse(t, `
  - name: made
    lineage: "*"
    service: nginx
    directory: `+filepath.Join(dir, "new", "{lineage}")+`
    probe: []
  - name: odd
    lineage: b.example
    service: nginx
    certificate: '/etc/with "quotes" and 100%/a.pem'
    key: '/etc/with "quotes" and 100%/a.key'
    probe: []
`)
	want := "# Made of config.yaml by certlatch config systemd, which makes it anew.\n[Service]\n" +
		`ReadWritePaths="-/etc/with \"quotes\" and 100%%"` + "\n" +
		`ReadWritePaths="-` + dir + `"` + "\n" + `ReadWritePaths="-` + dir + `/new"` + "\n"
	got, private, _ := strings.Cut(DropIn(cfg), "# A service is met there.\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if below := strings.HasPrefix(dir, "/tmp/"); below != (private == "PrivateTmp=no\n") {
		t.Errorf("of %s: %q", dir, private)
	}
}

func TestAllows(t *testing.T) {
	const less, more = "# one\n[Service]\nReadWritePaths=\"-/a\"\n", "# another\n[Service]\nReadWritePaths=\"-/a\"\nReadWritePaths=\"-/b\"\n"
	if !allows(more, less) || !allows(less, less) || allows(less, more) || allows("", less) {
		t.Error("a drop-in with all settings, or with more, is enough; no other is")
	}
}
