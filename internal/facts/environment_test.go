package facts

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/need"
)

func TestExpanded(t *testing.T) {
	variables := map[string]string{"A": "a", "TWO": " x  y ", "NONE": "", "QUOTED": `"x y"`}
	for word, want := range map[string][]string{
		"-f": {"-f"}, "$A": {"a"}, "$TWO": {"x", "y"}, "$NONE": {}, "$QUOTED": {"$QUOTED"}, "$UNKNOWN": {"$UNKNOWN"},
		"${A}": {"a"}, "${TWO}": {" x  y "}, "-f${A}/${A}": {"-fa/a"}, "${NONE}": {""}, "x${UNKNOWN}": {"x${UNKNOWN}"}, "x$A": {"x$A"}, "$$A": {"$$A"}, "${A": {"${A"},
	} {
		if diff := cmp.Diff(want, expanded(word, variables)); diff != "" {
			t.Errorf("%s:\n%s", word, diff)
		}
	}
}

func TestAssign(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"# it's \"a comment\n; b\n\nA=1\n  B = \"x y\"\nC='z'\nD=\nA=2": {"A": "2", "B": "x y", "C": "z", "D": ""},
		"A=\"x\nB=y\"\n": nil, "A=x\\\ny\n": nil, "A\n": nil, "export A=1\n": nil,
	} {
		got := map[string]string{}
		if ok := assign(got, text); ok != (want != nil) || ok && !cmp.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
}

// TestResolved is about who could have written the files of an environment.
func TestResolved(t *testing.T) {
	need.Root(t)
	dir, err := os.MkdirTemp("/root", "environment")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "sipd")
	if err := os.WriteFile(path, []byte("CFGFILE=/etc/other.cfg\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	unit := deployers.Unit{
		ActiveState: "inactive", ExecStart: []string{"/usr/sbin/sipd", "-f", "$CFGFILE", "-m", "$MEMORY"},
		Environment:      []string{"CFGFILE=/etc/sipd.cfg", "MEMORY=64"},
		EnvironmentFiles: []deployers.EnvironmentFile{{Path: path, Optional: true}, {Path: filepath.Join(dir, "sipd.d", "*"), Optional: true}},
	}
	want := []string{"/usr/sbin/sipd", "-f", "/etc/other.cfg", "-m", "64"}
	if diff := cmp.Diff(want, resolved(unit)); diff != "" {
		t.Error(diff)
	}
	missing := unit
	missing.EnvironmentFiles = []deployers.EnvironmentFile{{Path: filepath.Join(dir, "none")}}
	if diff := cmp.Diff(unit.ExecStart, resolved(missing)); diff != "" {
		t.Errorf("without a file that has to be there:\n%s", diff)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(unit.ExecStart, resolved(unit)); diff != "" {
		t.Errorf("anybody could have written it:\n%s", diff)
	}
	if running := (deployers.Unit{ActiveState: "active", ExecStart: unit.ExecStart}); hasVariables(running) || !hasVariables(unit) {
		t.Error("what counts is the command line of a unit that does not run")
	}
}
