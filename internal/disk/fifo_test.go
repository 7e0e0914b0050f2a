package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/need"
)

func TestFIFO(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	fifo, err := NewFIFO(dir, nobody)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fifo.Name())
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); info.Mode() != fs.ModeNamedPipe|0o600 || st.Uid != nobody || st.Gid != 0 {
		t.Errorf("it is %v of %d:%d", info.Mode(), st.Uid, st.Gid)
	}

	// Its reader is there before any writer, and stays when one has gone.
	for _, text := range []string{"one", "two"} {
		writer, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writer.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 8)
		if n, err := fifo.Read(got); err != nil || string(got[:n]) != text {
			t.Errorf("read %q, %v", got[:n], err)
		}
	}

	if err := fifo.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestFIFOSwapped wants what somebody else has put in the FIFO's place to keep
// its owner, and not to be written to.
func TestFIFOSwapped(t *testing.T) {
	need.Root(t)
	for name, swap := range map[string]func(path string) error{
		"a file":        func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"another FIFO":  func(path string) error { return errors.Join(unix.Mkfifo(path, 0o600), os.Chown(path, 1234, 1234)) },
		"a linked FIFO": func(path string) error { return errors.Join(unix.Mkfifo(path, 0o600), os.Link(path, path+"-too")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			fifo := &FIFO{dir: dir, name: "fifo"}
			path := filepath.Join(dir.Path(), fifo.name)
			if err := swap(path); err != nil {
				t.Fatal(err)
			}
			if err := fifo.open(nobody); !errors.Is(err, errSwapped) {
				t.Errorf("got %v", err)
			}
			info, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Sys().(*syscall.Stat_t).Uid == nobody {
				t.Error("it was handed out")
			}
			if err := fifo.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
