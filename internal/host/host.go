// Package host looks at what every deployment on a host depends on: its clock,
// the room on its disks, and what its kernel allows.
//
// It changes nothing, and judges nothing. It does not promise that what it
// found still holds a moment later, nor that a container's kernel tells the
// truth about its host.
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrHidden says that this host does not let the caller look, as containers
// do with the clock.
var ErrHidden = errors.New("this host does not tell")

// ClockSynchronised tells whether something keeps the clock right, as the
// kernel knows (adjtimex(2), STA_UNSYNC; org.freedesktop.timedate1(5) has its
// NTPSynchronized from there). It fails with ErrHidden.
func ClockSynchronised() (bool, error) {
	var state unix.Timex
	if _, err := unix.Adjtimex(&state); errors.Is(err, fs.ErrPermission) {
		return false, ErrHidden
	} else if err != nil {
		return false, fmt.Errorf("ask the kernel about its clock: %w", err)
	}
	return state.Status&unix.STA_UNSYNC == 0, nil
}

// Room is what is left on a file system.
type Room struct {
	Device   uint64 // tells file systems apart
	Free     uint64 // bytes that anybody may use
	Files    uint64 // that may still be made; where the file system does not count them, very many
	ReadOnly bool
}

// RoomAt looks at the file system that a path is on, or would be, made in the
// nearest directory above it that exists.
func RoomAt(path string) (Room, error) {
	for {
		var at unix.Stat_t
		err := unix.Stat(path, &at)
		if errors.Is(err, fs.ErrNotExist) && path != "/" {
			path = filepath.Dir(path)
			continue
		}
		var of unix.Statfs_t
		if err == nil {
			err = unix.Statfs(path, &of)
		}
		if err != nil {
			return Room{}, fmt.Errorf("look at the file system of %s: %w", path, err)
		}
		room := Room{Device: at.Dev, Free: of.Bavail * uint64(of.Bsize), Files: of.Ffree, ReadOnly: of.Flags&unix.ST_RDONLY != 0}
		if of.Files == 0 {
			room.Files = 1 << 62
		}
		return room, nil
	}
}

// WatchLimit is how many directories and files one user may watch
// (inotify(7)).
func WatchLimit() (int, error) {
	const path = "/proc/sys/fs/inotify/max_user_watches"
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read the limit of watches: %w", err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read the limit of watches: %s holds no number", path)
	}
	return limit, nil
}

// SELinuxEnforces tells whether SELinux enforces its policy (selinux(8)).
func SELinuxEnforces() bool {
	text, err := os.ReadFile("/sys/fs/selinux/enforce")
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

// AppArmorProfiles gives the names of the AppArmor profiles that are enforced
// (apparmor(7)); none where there is no AppArmor. Only root may look: it fails
// with ErrHidden.
func AppArmorProfiles() ([]string, error) {
	if enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || strings.TrimSpace(string(enabled)) != "Y" {
		return nil, nil
	}
	text, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil {
		return nil, ErrHidden
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), " (enforce)"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
