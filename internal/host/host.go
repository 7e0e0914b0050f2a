// Package host looks at what every deployment on a host depends on: its clock,
// the room on its disks, and what its kernel allows.
//
// It changes nothing, and judges nothing. It does not promise that what it
// found still holds a moment later, nor that what a container's kernel says is
// true of its host.
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

// ErrHidden says that this host does not let the caller see something, as a
// container does not the clock.
var ErrHidden = errors.New("this host does not tell")

// ClockSynchronised reports whether something keeps the clock right, as far as
// the kernel knows (adjtimex(2), STA_UNSYNC; org.freedesktop.timedate1(5) has
// its NTPSynchronized from there). It fails with ErrHidden.
func ClockSynchronised() (bool, error) {
	var state unix.Timex
	if _, err := unix.Adjtimex(&state); errors.Is(err, fs.ErrPermission) {
		return false, ErrHidden
	} else if err != nil {
		return false, fmt.Errorf("ask the kernel about its clock: %w", err)
	}
	return state.Status&unix.STA_UNSYNC == 0, nil
}

// Room is how much room a file system has left.
type Room struct {
	Device   uint64 // of the file system: the same for two paths on one
	Free     uint64 // bytes that anybody may use
	Files    uint64 // files that can still be made; 1<<62 where the file system does not count them
	ReadOnly bool
}

// RoomAt returns the room on the file system that a path is on. Where the path
// does not exist, it is that of the nearest directory above it that does.
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

// SandboxHolds reports whether the file system of a path can be written to as the first
// process sees it, and not as this one does, which is in a sandbox then. Where the
// first one's view is hidden, that shows a sandbox too. The path need not exist.
func SandboxHolds(path string) bool {
	inside, err := RoomAt(path)
	if err != nil || !inside.ReadOnly {
		return false
	}
	outside, err := RoomAt("/proc/1/root" + path)
	return err != nil || !outside.ReadOnly
}

// WatchLimit returns how many directories and files one user may watch
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

// SELinuxEnforces reports whether SELinux enforces its policy (selinux(8)).
func SELinuxEnforces() bool {
	text, err := os.ReadFile("/sys/fs/selinux/enforce")
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

// AppArmorProfiles returns the names of the AppArmor profiles that are enforced
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
