// Package disk is the one home of writing to the file system. Files and
// directories appear complete: with their owner, mode and extended attributes
// before the first byte of content, durable before they get their name.
// Directories are opened once, component by component, and everything below
// them happens relative to a descriptor, so that nobody who may write to a
// directory on the way can turn a write elsewhere.
//
// It knows nothing of certificates, and gives no atomicity beyond one name:
// package install does. It does not promise that a directory whose owner is
// hostile holds what was put there; only that nothing outside of it is
// touched. Durability is that of fsync(2) on the file system in question.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symlinks are followed on one way, as many as the
// kernel follows (path_resolution(7)).
const maxLinks = 40

// LinkError says that a symlink on the way to a directory was not followed.
type LinkError struct {
	Path string // the directory that was to be opened
	Link string // the link, as a path
	Why  string
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("open directory %s: refuse to follow the link %s: %s", e.Path, e.Link, e.Why)
}

// errUnclean is the cause of a refused path or name.
var errUnclean = errors.New("not an absolute, clean path")

// Open opens a directory. A symlink on the way is followed only where root
// (or the effective user) owns both the link and the directory that it is in,
// and nobody else may write to that directory; otherwise the error is a
// *LinkError. The path must be absolute and clean.
//
// The walk does in user space what openat2(2) would need Linux 5.6 for, and
// what RESOLVE_NO_SYMLINKS is too strict for.
func Open(path string) (*Dir, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return nil, &fs.PathError{Op: "open directory", Path: path, Err: errUnclean}
	}
	root, err := openRoot()
	if err != nil {
		return nil, err
	}
	at := root
	links := 0
	for todo := components(path); len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		next, err := at.enter(name)
		if err == nil {
			at.Close()
			at = next
			continue
		}
		target, linkErr := at.follow(path, name)
		if linkErr == nil && links == maxLinks {
			linkErr = &LinkError{path, filepath.Join(at.path, name), fmt.Sprintf("more than %d links on the way", maxLinks)}
		}
		if errors.Is(linkErr, errNoLink) {
			linkErr = err
		}
		if linkErr != nil {
			at.Close()
			return nil, linkErr
		}
		links++
		todo = append(components(target), todo...)
		if filepath.IsAbs(target) {
			at.Close()
			if at, err = openRoot(); err != nil {
				return nil, err
			}
		}
	}
	at.path = path
	return at, nil
}

func openRoot() (*Dir, error) {
	d := &Dir{fd: unix.AT_FDCWD, path: "/"}
	return d.enter("/")
}

// components splits a path or the text of a link. Dot-dot stays: after a
// link it means the parent of where the walk has come to.
func components(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}

// enter opens a directory below d. It does not follow links.
func (d *Dir) enter(name string) (*Dir, error) {
	fd, err := openat(d.fd, name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, d.fail("open directory", name, err)
	}
	return &Dir{fd: fd, path: filepath.Join(d.path, name)}, nil
}

// errNoLink says that a name is not that of a symlink.
var errNoLink = errors.New("not a symlink")

// follow gives the text of a link below d, if it may be followed on the way
// to path. The link is judged and read through one descriptor.
func (d *Dir) follow(path, name string) (string, error) {
	fd, err := openat(d.fd, name, unix.O_PATH)
	if err != nil {
		return "", errNoLink
	}
	defer unix.Close(fd)
	var link, holder unix.Stat_t
	if err := unix.Fstat(fd, &link); err != nil {
		return "", d.fail("stat", name, err)
	}
	if link.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", errNoLink
	}
	if err := unix.Fstat(d.fd, &holder); err != nil {
		return "", d.fail("stat", "", err)
	}
	refuse := func(format string, args ...any) (string, error) {
		return "", &LinkError{path, filepath.Join(d.path, name), fmt.Sprintf(format, args...)}
	}
	switch {
	case !trusted(link.Uid):
		return refuse("it belongs to uid %d, not to root", link.Uid)
	case !trusted(holder.Uid):
		return refuse("its directory belongs to uid %d, not to root", holder.Uid)
	case holder.Mode&0o022 != 0:
		// Where an ACL lets somebody write, the group's bit shows it (acl(5)).
		return refuse("others than its owner may write to its directory (mode %04o)", holder.Mode&0o7777)
	}
	target, err := readlinkat(fd, "")
	return target, d.fail("readlink", name, err)
}

// trusted tells whether a link may belong to a user: root, or who runs this.
func trusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// openat never follows a link in the last component.
func openat(dir int, name string, flags int) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	return fd, err
}

func readlinkat(dir int, name string) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}

// retry repeats a system call that a signal interrupted, as package os does.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
