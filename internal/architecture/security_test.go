package architecture

import (
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// evidence is what SECURITY.md may name: test functions with the directories
// that have one of that name, and the paths of scenarios.
type evidence struct {
	tests     map[string][]string
	scenarios []string
}

// named matches what a text names: a test, perhaps with its directory before
// it, or a scenario.
var named = regexp.MustCompile("(?:`(internal/[a-z/]+)`'s )?`(?:(Test[A-Z]\\w*)|([\\w/-]+\\.txtar))`")

// flaws returns what a text names that there is not, and the rows of its tables
// that name nothing. The first two rows of a table are its head.
func (e evidence) flaws(text string) (found []string) {
	row := 0
	for line := range strings.Lines(text) {
		names := named.FindAllStringSubmatch(line, -1)
		for _, name := range names {
			if flaw := e.flaw(name[1], name[2], name[3]); flaw != "" {
				found = append(found, flaw)
			}
		}
		if !strings.HasPrefix(line, "|") {
			row = 0
			continue
		}
		if row++; row > 2 && len(names) == 0 {
			found = append(found, "nothing shows this: "+strings.TrimSpace(line))
		}
	}
	return found
}

func (e evidence) flaw(dir, test, scenario string) string {
	if scenario != "" {
		if !slices.ContainsFunc(e.scenarios, func(p string) bool { return strings.HasSuffix(p, "/"+scenario) }) {
			return "there is no scenario " + scenario
		}
		return ""
	}
	dirs := e.tests[test]
	switch {
	case len(dirs) == 0, dir != "" && !slices.Contains(dirs, dir):
		return fmt.Sprintf("there is no test %s %s", dir, test)
	case dir == "" && len(dirs) > 1:
		return fmt.Sprintf("%s is in each of %q: say whose is meant", test, dirs)
	}
	return ""
}

// TestSecurityIsShown wants each promise of SECURITY.md to name a test or
// scenario that there is.
func TestSecurityIsShown(t *testing.T) {
	e := evidence{tests: map[string][]string{}}
	for _, f := range repository(t) {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test && fn.Recv == nil {
				e.tests[fn.Name.Name] = append(e.tests[fn.Name.Name], f.dir())
			}
		}
	}
	top := os.DirFS("../..")
	err := fs.WalkDir(top, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && path.Ext(name) == ".txtar" {
			e.scenarios = append(e.scenarios, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(top, "SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, flaw := range e.flaws(string(text)) {
		t.Error("SECURITY.md: " + flaw)
	}
	if n := len(named.FindAllString(string(text), -1)); n < 20 {
		t.Errorf("SECURITY.md names %d tests: is this the right file?", n)
	}
}

// TestSecurityCanFail checks texts with flaws, and some without.
func TestSecurityCanFail(t *testing.T) {
	e := evidence{map[string][]string{"TestOne": {"internal/a"}, "TestTwo": {"internal/a", "internal/b"}}, []string{"internal/system/testdata/script/there.txtar"}}
	for text, against := range map[string]bool{
		"`TestOne` and `there.txtar`":                  false,
		"`script/there.txtar`":                         false,
		"`TestNone`":                                   true,
		"`here.txtar`":                                 true,
		"`ere.txtar`":                                  true,
		"`TestTwo`":                                    true,
		"`internal/b`'s `TestTwo`":                     false,
		"`internal/c`'s `TestTwo`":                     true,
		"`internal/b`'s `TestOne`":                     true,
		"| | shown by |\n|---|---|\n| a | `TestOne` |": false,
		"| | shown by |\n|---|---|\n| a | somebody's word |": true,
		"no table\n": false,
	} {
		if found := e.flaws(text); len(found) > 0 != against {
			t.Errorf("%q: found %q", text, found)
		}
	}
}
