package watch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWatchPoints(t *testing.T) {
	top := t.TempDir()
	for _, dir := range []string{"live/a", "archive/a", "certs/X", "keys/Y"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"live/a/fullchain.pem": "../../archive/a/fullchain1.pem",
		"live/b":               "../certs/X",
		"certs/X/privkey":      top + "/keys/Y/privkey",
		"loop":                 "loop",
		"live/gone":            "../nowhere/deeper",
	} {
		if err := os.Symlink(to, filepath.Join(top, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"archive/a/fullchain1.pem", "keys/Y/privkey"} {
		if err := os.WriteFile(filepath.Join(top, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ path, points, end string }{
		{"live/a/fullchain.pem", "live: live/a: live/a:fullchain.pem archive: archive/a: archive/a:fullchain1.pem", "archive/a/fullchain1.pem"},
		{"live/b/privkey", "live: live:b certs: certs/X: certs/X:privkey keys: keys/Y: keys/Y:privkey", "keys/Y/privkey"},
		{"live/c/privkey.pem", "live: live:c", ""},
		{"live/gone/x", "live: live:gone .:nowhere", ""},
		{"live", "live:", "live"},
		{"loop/x", strings.TrimSpace(strings.Repeat(".:loop ", 41)), ""},
	} {
		points, end := watchPoints(filepath.Join(top, test.path))
		below := func(path string) string {
			rel, err := filepath.Rel(top, path)
			if err != nil || strings.HasPrefix(rel, "..") {
				return ""
			}
			return rel
		}
		var got []string
		for _, p := range points {
			if dir := below(p.dir); dir != "" && (dir != "." || p.name != "") {
				got = append(got, dir+":"+p.name)
			}
		}
		if diff := cmp.Diff(test.points, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.path, diff)
		}
		if test.end != "" {
			test.end = filepath.Join(top, test.end)
		}
		if end != test.end {
			t.Errorf("%s leads to %q, not %q", test.path, end, test.end)
		}
	}
}
