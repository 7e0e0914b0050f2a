package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// SeesAnother reports whether a process finds another directory, or another file, at a
// path without links than this one does, or none, since something is mounted over it there: in units by
// BindPaths=, TemporaryFileSystem=, PrivateTmp=, ProtectHome= and others
// (systemd.exec(5)). A process with a root of its own reads by other paths, so nothing
// is said of it, nor of one that has ended. An absolute link below /proc/PID/root would
// lead back.
func SeesAnother(pid int, path string) (bool, error) {
	root := fmt.Sprintf("/proc/%d/root", pid)
	same, err := isSame("/", root+"/")
	if err != nil || !same {
		return false, err
	}
	if _, err := os.Stat(path); err != nil {
		return false, err
	}
	same, err = isSame(path, root+path)
	if errors.Is(err, fs.ErrNotExist) {
		_, gone := os.Stat(root + "/")
		return gone == nil, nil
	}
	return err == nil && !same, err
}

// SharesMounts reports whether a process is in the mount namespace of this one
// (namespaces(7): then both links lead to one inode), so that nothing is mounted for the one alone. Of a process that
// cannot be looked at it does not.
func SharesMounts(pid int) bool {
	same, err := isSame("/proc/self/ns/mnt", fmt.Sprintf("/proc/%d/ns/mnt", pid))
	return err == nil && same
}

func isSame(path, other string) (bool, error) {
	a, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	b, err := os.Stat(other)
	if err != nil {
		return false, err
	}
	return os.SameFile(a, b), nil
}
