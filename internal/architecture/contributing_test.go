package architecture

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
)

// exampleDiff returns the diff under a heading of CONTRIBUTING.md.
func exampleDiff(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	_, diff, _ := strings.Cut(section, "\n```diff\n")
	diff, _, ok := strings.Cut(diff, "\n```\n")
	if !ok {
		t.Fatalf("CONTRIBUTING.md has no diff under %q", heading)
	}
	return diff + "\n"
}

// copyOfTree returns a directory with the repository's files.
func copyOfTree(t *testing.T) string {
	t.Helper()
	dir, top := t.TempDir(), os.DirFS("../..")
	err := fs.WalkDir(top, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || name == "internal/system"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, name), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		text, err := fs.ReadFile(top, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// apply applies a diff to the files in a directory.
func apply(t *testing.T, dir, diff string) {
	t.Helper()
	cmd := exec.Command(need.Program(t, "git"), "apply", "-")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(diff)
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the diff in CONTRIBUTING.md does not fit the tree any more: make the change by hand, and let git diff -U2 write it anew: %v\n%s", err, out)
	}
}

// suiteOf runs the suite of package hooks in a copy of the tree. With -trimpath
// the build cache has what does not differ from the tree.
func suiteOf(t *testing.T, dir string) (string, error) {
	t.Helper()
	cmd := exec.Command(need.Program(t, "go"), "test", "-trimpath", "-run", "^TestClients$", "./hooks")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestContributingClient wants CONTRIBUTING.md to have the whole change for one
// more client.
func TestContributingClient(t *testing.T) {
	dir := copyOfTree(t)
	apply(t, dir, exampleDiff(t, "A new ACME client"))
	if out, err := suiteOf(t, dir); err != nil {
		t.Errorf("the client of CONTRIBUTING.md is not complete: %v\n%s", err, out)
	}
}

// TestContributingClientInParts wants the suite to name what is missing where
// only a part of the change is made.
func TestContributingClientInParts(t *testing.T) {
	dir, parts := copyOfTree(t), fileDiffs(exampleDiff(t, "A new ACME client"))
	apply(t, dir, parts["hooks/hooks.go"]+parts["hooks/pocketcert.go"])
	file := filepath.Join(dir, "hooks/pocketcert.go")
	replace(t, file, `lineage.Layout{Fullchain: "{dir}/chain.pem", Key: "{dir}/key.pem"}`, "lineage.Layout{}")
	replace(t, file, " (pocketcert 1.2 store.c)", "")
	out, err := suiteOf(t, dir)
	if err == nil {
		t.Error("the suite passes")
	}
	for _, step := range []string{
		"pocketcert: no call was recorded: run the client with a hook",
		"pocketcert: it has no layout: return from Layout",
		"pocketcert.go: the comment of the method Layout cites no source",
		"write a section on it under ACME CLIENTS",
		"write a paragraph on it under LINEAGES",
		"packaging/deb/prerm has no",
		"packaging/rpm/preun has no",
	} {
		if !strings.Contains(out, step) {
			t.Errorf("the suite does not say %q, but\n%s", step, out)
		}
	}
}

// fileDiffs returns a diff's parts by the file that they change.
func fileDiffs(diff string) map[string]string {
	parts := map[string]string{}
	for _, part := range regexp.MustCompile(`(?ms)^diff --git .*?\n(?:^[^d].*?\n|^\n)*`).FindAllString(diff, -1) {
		_, name, _ := strings.Cut(strings.SplitN(part, "\n", 2)[0], " b/")
		parts[name] = part
	}
	return parts
}

// replace replaces a text in a file that has it.
func replace(t *testing.T, path, old, with string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s does not have %q", path, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, with, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}
