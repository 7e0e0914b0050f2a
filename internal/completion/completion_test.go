package completion

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata anew")

// TestScripts compares the scripts with golden files. Whether shells understand
// them is tested in internal/system.
func TestScripts(t *testing.T) {
	levels := []Level{
		{Words: []Word{{Text: "hook", About: "put it into a client's hooks"}, {Text: "--config", About: "the file", Value: true}, {Text: "--log-level", About: "how much", Value: true, Of: "levels"}, {Text: "--help", About: "show help"}}},
		{Path: " hook", Words: []Word{{Text: "install", About: `a \ in it`}, {Text: "--help", About: "show help"}}},
		{Path: " hold", Words: []Word{{Text: "--help", About: "show help"}}, Of: "targets"},
		{Path: " hook install", Words: []Word{{Text: "certbot"}, {Text: "--help", About: "show help"}}},
	}
	for name, shell := range Shells() {
		path := filepath.Join("testdata", name)
		got := shell(levels)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-has +written):\n%s", path, diff)
		}
	}
}
