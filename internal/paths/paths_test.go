package paths

import "testing"

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		rest      string // "": it is not below
		within    bool
	}{
		{"/a", "/a", "", true},
		{"/a/b", "/a", "b", true},
		{"/a/b/c", "/a", "b/c", true},
		{"/ab", "/a", "", false},
		{"/", "/a", "", false},
		{"/a", "/a/b", "", false},
		{"/a", "/", "a", true},
		{"/", "/", "", true},
		{"/a", "", "", false},
		{"", "", "", false},
		{"", "/a", "", false},
	} {
		rest, below := Below(c.path, c.dir)
		if rest != c.rest || below != (c.rest != "") {
			t.Errorf("Below(%q, %q) is %q, %v", c.path, c.dir, rest, below)
		}
		if within := Within(c.path, c.dir); within != c.within {
			t.Errorf("Within(%q, %q) is %v", c.path, c.dir, within)
		}
	}
}
