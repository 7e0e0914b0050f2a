package process

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
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
