package hookfiles

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/need"
)

// What root runs belongs to root: a hook that is as it should be, but somebody
// else's, is made anew.
func TestHookOfSomebodyElse(t *testing.T) {
	need.Root(t)
	acmesh, _ := hooks.For("acme.sh")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "deploy"), 0o755); err != nil {
		t.Fatal(err)
	}
	place, err := In(filepath.Join(dir, "deploy"), acmesh, "/usr/bin/certlatch")
	if err != nil {
		t.Fatal(err)
	}
	install := func() {
		t.Helper()
		if _, err := place.Install(); err != nil {
			t.Fatal(err)
		}
	}
	install()
	path := filepath.Join(dir, "deploy/certlatch.sh")
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	install()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != uint32(os.Getegid()) {
		t.Errorf("it belongs to %d:%d", st.Uid, st.Gid)
	}
}
