package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestRoomAtWhatDoesNotExist(t *testing.T) {
	dir := t.TempDir()
	here, err := RoomAt(dir)
	if err != nil {
		t.Fatal(err)
	}
	below, err := RoomAt(filepath.Join(dir, "not", "there"))
	if err != nil {
		t.Fatal(err)
	}
	if SandboxHolds(filepath.Join(dir, "not", "there")) {
		t.Errorf("%s is in a sandbox", dir)
	}
	if here.Device != below.Device || here.Free == 0 || here.Files == 0 || here.ReadOnly {
		t.Errorf("%s has %+v, and a path below %+v", dir, here, below)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RoomAt(filepath.Join(dir, "file", "below")); err == nil {
		t.Error("a path below a file has a file system")
	}
	if proc, err := RoomAt("/proc/self"); err != nil || proc.Device == here.Device {
		t.Errorf("/proc is on the file system of %s: %+v, %v", dir, proc, err)
	}
}

func TestKernel(t *testing.T) {
	if limit, err := WatchLimit(); err != nil || limit <= 0 {
		t.Errorf("the limit of watches is %d, %v", limit, err)
	}
	if _, err := ClockSynchronised(); err != nil && !errors.Is(err, ErrHidden) {
		t.Error(err)
	}
	if _, err := AppArmorProfiles(); err != nil && !errors.Is(err, ErrHidden) {
		t.Error(err)
	}
}
