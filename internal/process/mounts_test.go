package process

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
)

// TestSeesAnother is about processes that see what this one does; what units mount is
// in the scenario credentials.txtar.
func TestSeesAnother(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if _, err := SeesAnother(os.Getpid(), file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a file that there is not: %v", err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if another, err := SeesAnother(os.Getpid(), file); another || err != nil {
		t.Errorf("the same process sees another file: %v, %v", another, err)
	}
	if another, err := SeesAnother(1<<30, file); another || err == nil {
		t.Errorf("a process that there is not: %v, %v", another, err)
	}
}

// TestSharesMounts is about a process of this namespace and one of another.
func TestSharesMounts(t *testing.T) {
	if !SharesMounts(os.Getpid()) {
		t.Error("a process does not share its mounts with itself")
	}
	if SharesMounts(1 << 30) {
		t.Error("a process that there is not shares mounts")
	}
	need.Root(t)
	other := exec.Command("sleep", "infinity")
	other.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	if SharesMounts(other.Process.Pid) {
		t.Error("a process in a mount namespace of its own shares mounts")
	}
}
