package need

import (
	"io/fs"
	"os"
	"testing"
)

func TestKeptTemp(t *testing.T) {
	KeptTemp()
	good := t.TempDir()
	for mode, want := range map[fs.FileMode]bool{0o755: true, 0o777: false, 0o775: false, 0o777 | fs.ModeSticky: true} {
		dir := good + "/dir"
		if err := os.MkdirAll(dir+"/below", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if got := kept(dir + "/below"); got != want {
			t.Errorf("below a directory with mode %v: %v", mode, got)
		}
		t.Setenv("TMPDIR", dir+"/below")
		KeptTemp()
		if got := os.Getenv("TMPDIR") == dir+"/below"; got != want {
			t.Errorf("mode %v: it is %s", mode, os.Getenv("TMPDIR"))
		}
	}
}
