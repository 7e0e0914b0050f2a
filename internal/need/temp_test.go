package need

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestKeptTemp(t *testing.T) {
	KeptTemp()
	good, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(good) })
	for _, test := range []struct {
		mode fs.FileMode
		name string
		want bool
	}{
		{0o755, "d", true}, {0o777, "d", false}, {0o775, "d", false}, {0o777 | fs.ModeSticky, "d", true},
		{0o755, strings.Repeat("d", longest), false},
	} {
		below := good + "/" + test.name
		if err := os.MkdirAll(below, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(good, test.mode); err != nil {
			t.Fatal(err)
		}
		t.Setenv("TMPDIR", below)
		if KeptTemp(); (os.Getenv("TMPDIR") == below) != test.want {
			t.Errorf("mode %v: %s becomes %s", test.mode, below, os.Getenv("TMPDIR"))
		}
	}
}
