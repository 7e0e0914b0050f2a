package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
)

// What root runs belongs to root: a hook that is as it should be, but somebody
// else's, is made anew.
func TestHookOfSomebodyElse(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "certlatch.sh")
	install := func() {
		var stderr bytes.Buffer
		if code := run([]string{"certlatch", "hook", "install", "acme.sh", "--dir", dir}, new(bytes.Buffer), &stderr); code != 0 {
			t.Fatalf("exit %d: %s", code, stderr.String())
		}
	}
	install()
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
