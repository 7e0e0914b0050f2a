// Package need says what a test cannot do without. Where it is missing the
// test is skipped with the reason, and fails with CI=true, where nothing may be
// skipped. It is for tests alone.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// That demands that something is the case; why is said where it is not.
func That(t testing.TB, have bool, why string) {
	t.Helper()
	switch {
	case have:
	case os.Getenv("CI") == "true":
		t.Fatal(why + ", and CI=true says that this must run")
	default:
		t.Skip(why)
	}
}

// Root demands that the test runs as root.
func Root(t testing.TB) {
	t.Helper()
	That(t, os.Geteuid() == 0, "needs root")
}

// Program demands a program in the PATH, and gives its path.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	That(t, err == nil, "needs the program "+name)
	return path
}
