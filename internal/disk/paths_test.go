package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestPathsMustBeClean wants nothing to be made or removed at a path that is
// not absolute or not clean, neither relative to the working directory nor at
// the clean path.
func TestPathsMustBeClean(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	check(t, os.MkdirAll("sub/sub", 0o700))
	check(t, os.WriteFile("sub/file", nil, 0o600))
	acts := map[string]func(path string) error{
		"Replace":     func(path string) error { return Replace(path, nil, 0o600) },
		"ReplaceLink": func(path string) error { return ReplaceLink("nowhere", path) },
		"Put":         func(path string) error { return Put(path, nil, 0o600) },
		"MakeDir":     func(path string) error { return MakeDir(path, Own(0o700)) },
		"MakeAll":     func(path string) error { return MakeAll(path, Own(0o700)) },
		"MakeWhole":   func(path string) error { return MakeWhole(path, dir+"/draft", Own(0o700), nil) },
		"Remove":      Remove,
		"RemoveFiles": RemoveFiles,
	}
	for name, act := range acts {
		for _, path := range []string{"", "new", "sub", "./new", dir + "/sub/", dir + "/new/", dir + "/new/../new", dir + "/sub/../new", dir + "//new", dir + "/./new"} {
			err := act(path)
			if refused, ok := errors.AsType[*fs.PathError](err); !ok || refused.Err != errUnclean || refused.Path != path {
				t.Errorf("%s(%q) ends with %v", name, path, err)
			}
		}
	}
	// / is in no directory.
	for _, name := range []string{"Replace", "ReplaceLink", "Put", "MakeDir", "MakeWhole", "Remove", "RemoveFiles"} {
		if err := acts[name]("/"); !errors.Is(err, errUnclean) {
			t.Errorf("%s(%q) ends with %v", name, "/", err)
		}
	}
	var left []string
	check(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		left = append(left, path)
		return err
	}))
	if want := []string{".", "sub", "sub/file", "sub/sub"}; !slices.Equal(left, want) {
		t.Errorf("%q is there, want %q", left, want)
	}
}
