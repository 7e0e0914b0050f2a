package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTrace(t *testing.T) {
	top := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(top, "a/b"), 0o755))
	check(t, os.WriteFile(filepath.Join(top, "a/b/file"), nil, 0o600))
	check(t, os.Symlink("../a/./b", filepath.Join(top, "a/link")))
	check(t, os.Symlink(top+"/a/link/file", filepath.Join(top, "far")))
	check(t, os.Symlink("loop", filepath.Join(top, "loop")))
	for _, c := range []struct {
		path, steps, end string
		err              error
	}{
		{"a/b", "a/ a/b/", "a/b", nil},
		{"a/link", "a/ a/link@ a/ a/b/", "a/b", nil},
		{"far", "far@ a/ a/link@ a/ a/b/ a/b/file", "a/b/file", nil},
		{"a/../far", "a/ far@ a/ a/link@ a/ a/b/ a/b/file", "a/b/file", nil},
		{"a/none/deeper", "a/ a/none?", "", fs.ErrNotExist},
		{"a/b/file/deeper", "a/ a/b/ a/b/file", "", unix.ENOTDIR},
		{"loop", strings.TrimSpace(strings.Repeat("loop@ ", maxLinks+1)), "", new(LinkError)},
	} {
		steps, end, err := Trace(top + "/" + c.path)
		var got []string
		for _, s := range steps {
			name, ok := strings.CutPrefix(s.Path(), top+"/")
			if !ok {
				continue // on the way to the directory of the test
			}
			switch {
			case s.Err != nil:
				name += "?"
			case s.Type == fs.ModeDir:
				name += "/"
			case s.Type == fs.ModeSymlink:
				name += "@"
			}
			got = append(got, name)
		}
		if steps := strings.Join(got, " "); steps != c.steps {
			t.Errorf("%s: %s, not %s", c.path, steps, c.steps)
		}
		if c.end != "" {
			c.end = filepath.Join(top, c.end)
		}
		_, link := errors.AsType[*LinkError](err)
		if _, wanted := c.err.(*LinkError); end != c.end || link != wanted || !wanted && !errors.Is(err, c.err) {
			t.Errorf("%s leads to %q: %v", c.path, end, err)
		}
	}
	if _, _, err := Trace("a"); !errors.Is(err, errUnclean) {
		t.Errorf("a relative path: %v", err)
	}
}
