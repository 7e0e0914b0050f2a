// Package need ends tests that lack something they need. They are skipped with
// the reason, and fail with CI=true, where nothing may be skipped. It is for
// tests alone.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// That ends the test where have is false; why is the reason.
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

// Root ends the test unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	That(t, os.Geteuid() == 0, "needs root")
}

// Program returns the path of a program in the PATH. It ends the test where
// there is none.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	That(t, err == nil, "needs the program "+name)
	return path
}
