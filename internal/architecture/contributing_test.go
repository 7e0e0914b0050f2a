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

// testsOf runs tests of packages in a copy of the tree. With -trimpath the build
// cache has what does not differ from the tree.
func testsOf(t *testing.T, dir, tests string, packages ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(need.Program(t, "go"), append([]string{"test", "-trimpath", "-run", tests}, packages...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// checkSaid wants that tests have failed and have said what to do next.
func checkSaid(t *testing.T, out string, err error, steps ...string) {
	t.Helper()
	if err == nil {
		t.Error("the suite passes")
	}
	for _, step := range steps {
		if !strings.Contains(out, step) {
			t.Errorf("the suite does not say %q, but\n%s", step, out)
		}
	}
}

// TestContributingClient wants CONTRIBUTING.md to have the whole change for one
// more client.
func TestContributingClient(t *testing.T) {
	dir := copyOfTree(t)
	apply(t, dir, exampleDiff(t, "A new ACME client"))
	if out, err := testsOf(t, dir, "^TestClients$", "./hooks"); err != nil {
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
	out, err := testsOf(t, dir, "^TestClients$", "./hooks")
	checkSaid(t, out, err,
		"pocketcert: no call was recorded: run the client with a hook",
		"pocketcert: it has no layout: return from Layout",
		"pocketcert.go: the comment of the method Layout cites no source",
		"write a section on it under ACME CLIENTS",
		"write a paragraph on it under LINEAGES",
		"packaging/deb/prerm has no",
		"packaging/rpm/preun has no",
	)
}

// serviceTests are those that hold a service: the suite for the one of the
// example, and what others hold of all.
const serviceTests = "^TestServices$/^pocketd$|^TestRoomsHaveRows$|^TestArchitecture$|^TestManualOfConfiguration$"

// TestContributingService holds that CONTRIBUTING.md shows the whole change for
// one more service.
func TestContributingService(t *testing.T) {
	dir := copyOfTree(t)
	apply(t, dir, exampleDiff(t, "A new service"))
	if out, err := testsOf(t, dir, serviceTests, "./deployers/all", "./internal/architecture", "./cmd/certlatch"); err != nil {
		t.Errorf("the service of CONTRIBUTING.md is not complete: %v\n%s", err, out)
	}
}

// TestContributingServiceInParts holds that who has done a part of it is told of
// the rest: of the row first.
func TestContributingServiceInParts(t *testing.T) {
	dir, parts := copyOfTree(t), fileDiffs(exampleDiff(t, "A new service"))
	apply(t, dir, parts["deployers/pocketd/pocketd.go"])
	out, err := testsOf(t, dir, serviceTests, "./deployers/all")
	checkSaid(t, out, err, "pocketd has no row in the table: add pocketd.Deployer{}")

	apply(t, dir, parts["deployers/all/all.go"])
	file := filepath.Join(dir, "deployers/pocketd/pocketd.go")
	replace(t, file, " 1.2 tls.c, tls_reload", "")
	replace(t, file, "plan.Test.Command =", "var options *Options\n\tplan.Test.Command =")
	replace(t, file, `"-c", t.Options.(*Options).Config}`, `"-c", options.Config}`)
	replace(t, file, ") Discover(", ") Discovers(")
	out, err = testsOf(t, dir, serviceTests, "./deployers/all")
	checkSaid(t, out, err,
		"pocketd: a panic with Plan for",
		"let it plan with what is known, or return a *NoWayError",
		"pocketd: no discovery: write a method Discover",
		"pocketd: the comment of the type Deployer cites no source",
		"pocketd: no block has the key config: write to testdata/options.yaml",
		"note that by Plan.TakesElsewhere, and put a configuration that names others into its testdata",
		"write a chapter on it",
		"write a section on its block under SERVICE BLOCKS",
		"name it at the key service",
		"name its block under TARGETS",
		"name it at the key service of the example",
	)
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
