package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/config"
)

// parse returns a configuration whose state directory is not the default one.
func parse(t *testing.T, targets string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("config.yaml", []byte("state: /srv/state\nlineages:\n  - directory: /srv/certs\ntargets:\n"+targets))
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
  - name: met
    service: opensips
    lineage: c.example
    certificate: /etc/opensips/tls/full.pem
    key: /etc/opensips/tls/key.pem
  - name: odd
    lineage: b.example
    service: nginx
    certificate: '/etc/with "quotes" and 100%/a.pem'
    key: '/etc/with "quotes" and 100%/a.key'
    probe: []
`)
	paths := []string{"/etc/opensips/tls", `/etc/with \"quotes\" and 100%%`, "/run/opensips", "/srv/state", "/tmp", dir, dir + "/new"}
	slices.Sort(paths)
	want := "# Made of config.yaml by certlatch config systemd, which makes it anew.\n[Service]\n"
	for _, path := range paths {
		want += `ReadWritePaths="-` + path + `"` + "\n"
	}
	want += "# A service is met there.\nPrivateTmp=no\n"
	if diff := cmp.Diff(want, DropIn(cfg)); diff != "" {
		t.Error(diff)
	}
}

func TestHasAllSettings(t *testing.T) {
	const less, more = "# one\n[Service]\nReadWritePaths=\"-/a\"\n", "# another\n[Service]\nReadWritePaths=\"-/a\"\nReadWritePaths=\"-/b\"\n"
	if !hasAllSettings(more, less) || !hasAllSettings(less, less) || hasAllSettings(less, more) || hasAllSettings("", less) {
		t.Error("a drop-in with all settings, or with more, is enough; no other is")
	}
}

// TestPlaces wants installed units without a drop-in, or with an old one, to be
// outdated, and drop-ins to be written for units that are not installed too.
func TestPlaces(t *testing.T) {
	at := Places{Packages: t.TempDir(), Administrator: filepath.Join(t.TempDir(), "system")}
	before := parse(t, "  - {name: one, service: nginx, lineage: a.example, certificate: /srv/one/a.pem, key: /srv/one/a.key}\n")
	after := parse(t, "  - {name: one, service: nginx, lineage: a.example, certificate: /srv/two/a.pem, key: /srv/two/a.key}\n")
	if got := at.Installed(); len(got) > 0 {
		t.Errorf("where there are no units: %q", got)
	}
	if err := os.WriteFile(filepath.Join(at.Packages, "certlatch-watch.service"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	outdated := func(cfg *config.Config, want ...string) {
		t.Helper()
		if got := at.Outdated(cfg); !slices.Equal(got, want) {
			t.Errorf("%q are outdated, and not %q", got, want)
		}
	}
	outdated(before, "certlatch-watch.service")
	written, err := at.Write(before)
	var want []string
	for _, unit := range []string{"certlatch-recover", "certlatch-retry", "certlatch-watch"} {
		want = append(want, filepath.Join(at.Administrator, unit+".service.d", "paths.conf"))
	}
	if diff := cmp.Diff(want, written); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	for _, path := range written {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o644 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	outdated(before)
	outdated(after, "certlatch-watch.service")

	if err := os.WriteFile(filepath.Join(at.Administrator, "certlatch-retry.service"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	outdated(after, "certlatch-retry.service", "certlatch-watch.service")

	at.Administrator = filepath.Join(at.Packages, "certlatch-watch.service") // a file
	if written, err := at.Write(after); err == nil || len(written) > 0 {
		t.Errorf("wrote %q below a file", written)
	}
}
