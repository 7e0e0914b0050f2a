package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLockIsForItsOwner wants nobody else to be able to open a lock file, and
// so to hold the lock, whatever the umask.
func TestLockIsForItsOwner(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077} {
		path := filepath.Join(t.TempDir(), "lock")
		before := unix.Umask(umask)
		release, err := Lock(t.Context(), path)
		unix.Umask(before)
		if err != nil {
			t.Fatal(err)
		}
		release()
		wantMode(t, path, 0o600)
	}
}

// TestModesAreAsTold wants what is made to have the given mode, whatever the
// umask.
func TestModesAreAsTold(t *testing.T) {
	for _, umask := range []int{0, 0o077} {
		dir := t.TempDir()
		before := unix.Umask(umask)
		err := Replace(dir+"/file", nil, 0o644)
		if err == nil {
			err = MakeAll(dir+"/above/below", Own(0o755))
		}
		unix.Umask(before)
		if err != nil {
			t.Fatal(err)
		}
		wantMode(t, dir+"/file", 0o644)
		wantMode(t, dir+"/above", 0o755|fs.ModeDir)
		wantMode(t, dir+"/above/below", 0o755|fs.ModeDir)
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	if info, err := os.Stat(path); err != nil || info.Mode() != want {
		t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
	}
}
