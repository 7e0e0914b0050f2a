package architecture

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/need"
)

// TestToolchain wants both modules to name the same Go, since the compressed parts
// of packages depend on the Go of the tools as the program does on its own.
func TestToolchain(t *testing.T) {
	var named []string
	for _, path := range []string{"../../go.mod", "../tools/go.mod"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		match := regexp.MustCompile(`(?m)^toolchain (go\d+\.\d+\.\d+)$`).FindSubmatch(text)
		if match == nil {
			t.Fatalf("%s has no toolchain line", path)
		}
		named = append(named, string(match[1]))
	}
	if named[0] != named[1] {
		t.Errorf("go.mod names %s, and that of the tools %s", named[0], named[1])
	}
}

// TestVersionWithoutHistory asks make package for the version and the date that it
// would give to packages of an archive that git made, and of a mere copy.
func TestVersionWithoutHistory(t *testing.T) {
	need.Program(t, "make")
	need.Program(t, "git")
	tree := t.TempDir()
	for _, name := range []string{"Makefile", "go.mod", "CHANGELOG.md", ".gitattributes", "packaging/archive.txt"} {
		content, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	changed := time.Unix(1_500_000_000, 0)
	if err := os.Chtimes(filepath.Join(tree, "CHANGELOG.md"), changed, changed); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, tree, "devel", "1500000000")

	run(t, tree, "git", "init", "--quiet")
	run(t, tree, "git", "add", "--all")
	run(t, tree, "git", "commit", "--quiet", "--message=All")
	archived := func() string {
		out := t.TempDir()
		// Inside of a repository, whose version it must not take for its own.
		run(t, out, "git", "init", "--quiet")
		below := filepath.Join(out, "source")
		if err := os.Mkdir(below, 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, tree, "git", "archive", "--output="+filepath.Join(out, "source.tar"), "HEAD")
		run(t, below, "tar", "-x", "-f", filepath.Join(out, "source.tar"))
		return below
	}
	commit := strings.TrimSpace(run(t, tree, "git", "rev-parse", "--short", "HEAD"))
	wantVersion(t, tree, commit, "1600000000")
	wantVersion(t, archived(), commit, "1600000000")
	run(t, tree, "git", "tag", "v9.8.7")
	wantVersion(t, tree, "v9.8.7", "1600000000")
	wantVersion(t, archived(), "v9.8.7", "1600000000")
}

// wantVersion wants the version and the date of packages that make would make.
func wantVersion(t *testing.T, tree, version, date string) {
	t.Helper()
	would := run(t, tree, "make", "--dry-run", "package")
	if want := "-version " + version + " -epoch " + date + " "; !strings.Contains(would, want) {
		t.Errorf("make package does not say %s:\n%s", want, would)
	}
}

// TestContainerfile wants the recipe of the image to take the program from where
// make package builds it, and nothing else.
func TestContainerfile(t *testing.T) {
	recipe, err := os.ReadFile("../../packaging/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	copied := regexp.MustCompile(`(?m)^(?:COPY|ADD) (\S+) `).FindAllSubmatch(recipe, -1)
	if len(copied) != 1 {
		t.Fatalf("it copies %d things", len(copied))
	}
	if built := strings.ReplaceAll(string(copied[0][1]), "${TARGETARCH}", "$$arch"); !strings.Contains(string(makefile), "-o "+built+" ") {
		t.Errorf("make package does not build %s", built)
	}
}

// TestClean wants make clean to remove the file systems of hosts that no test uses,
// and nothing else.
func TestClean(t *testing.T) {
	need.Program(t, "make")
	need.Program(t, "flock")
	tree, cache := t.TempDir(), t.TempDir()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "Makefile"), makefile, 0o644); err != nil {
		t.Fatal(err)
	}
	roots := filepath.Join(cache, "certlatch-roots")
	idle, used := filepath.Join(roots, "0123456789abcdef"), filepath.Join(roots, "fedcba9876543210")
	foreign := filepath.Join(roots, "somebody-else's")
	for _, dir := range []string{idle + "/etc", idle + ".partial/etc", used + "/etc", foreign, filepath.Join(tree, ".build/bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(idle+".lock", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(used + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}

	said := run(t, tree, "XDG_CACHE_HOME="+cache, "make", "clean")
	for _, gone := range []string{idle, idle + ".partial", idle + ".lock", filepath.Join(tree, ".build")} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	for _, kept := range []string{used + "/etc", used + ".lock", foreign} {
		if _, err := os.Stat(kept); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(said, "removed "+idle) || !strings.Contains(said, used+" stays: tests use it") {
		t.Errorf("it said:\n%s", said)
	}
}

// TestNoHome wants the caches of Go to be in .build for who has no home to write to,
// and nowhere else than they are for others.
func TestNoHome(t *testing.T) {
	need.Program(t, "make")
	tree, home := t.TempDir(), t.TempDir()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "Makefile"), makefile, 0o644); err != nil {
		t.Fatal(err)
	}
	here := tree + "/.build/go/cache"
	for _, test := range []struct{ home, cache, want string }{
		{"", "", here}, {"/dev/null/home", "", here}, {"/dev/null/home", home + "/cache", home + "/cache"},
		{home, "", home + "/.cache/go-build"},
	} {
		got := run(t, tree, "HOME="+test.home, "XDG_CACHE_HOME=", "GOCACHE="+test.cache, "GOENV=off",
			"make", "--no-print-directory", "--eval=say: ; @go env GOCACHE", "say")
		if strings.TrimSpace(got) != test.want {
			t.Errorf("with the home %q and the cache %q it is in %s, want %s", test.home, test.cache, got, test.want)
		}
	}
}

// TestBenchAsUser wants make bench to say what it cannot measure before it builds
// or measures anything.
func TestBenchAsUser(t *testing.T) {
	need.Program(t, "make")
	cmd := exec.CommandContext(t.Context(), "make", "--directory=../..", "--no-print-directory", "LACKS=root", "bench")
	out, err := cmd.CombinedOutput()
	if want := "takes root; without: make bench ROWS=daemon,weight"; err == nil || !strings.Contains(string(out), want) || bytes.Contains(out, []byte("go build")) {
		t.Errorf("%v\n%s", err, out)
	}
	run(t, "../..", "make", "--dry-run", "LACKS=root", "bench", "ROWS=daemon,weight")
}

// run runs a program in a directory, with NAME=VALUE before it in its environment,
// and returns what it printed.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	env := append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=n", "GIT_AUTHOR_EMAIL=n@example", "GIT_COMMITTER_NAME=n", "GIT_COMMITTER_EMAIL=n@example",
		"GIT_AUTHOR_DATE=1600000000 +0000", "GIT_COMMITTER_DATE=1600000000 +0000")
	for strings.Contains(args[0], "=") {
		env, args = append(env, args[0]), args[1:]
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}
