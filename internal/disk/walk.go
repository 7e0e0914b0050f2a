package disk

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

// maxLinks is how many symlinks are followed on one way, as many as the
// kernel follows (path_resolution(7)).
const maxLinks = 40

// usualDepth is how many directories most ways pass.
const usualDepth = 8

// walk goes through directories, from / on, component by component. The
// directories that it has passed stay open: so .. is the one that was passed,
// wherever somebody moves it meanwhile, and what was judged is what is used.
//
// It does in user space what openat2(2) would need Linux 5.6 for, and what
// RESOLVE_NO_SYMLINKS is too strict for.
type walk struct {
	passed  []station
	links   int
	custody custody // of every directory in which a name was looked up

	// mayFollow fails where a symlink in a directory is not to be followed.
	mayFollow func(in, link station) error

	// looked is called for each name that was looked up, with what has it or
	// why that is not known; nil: nobody wants to know.
	looked func(name string, found station, err error)
}

// station is a file or directory on the way of a walk, open.
type station struct {
	fd       int
	name     string // in the directory above
	path     string // without links, for people: see printable
	stat     unix.Stat_t
	borrowed bool // the walk does not close it
}

// begin starts the walk at /.
func (w *walk) begin() error {
	w.retreat(0)
	if w.passed == nil {
		w.passed = make([]station, 0, usualDepth)
	}
	fd, err := openat(unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return &fs.PathError{Op: "open directory", Path: "/", Err: err}
	}
	top, err := stationOf(fd, "/", "")
	if err == nil {
		w.passed = append(w.passed, top)
	}
	return err
}

// retreat goes back to the n-th directory of the way, and closes those after
// it.
func (w *walk) retreat(n int) {
	n = min(n, len(w.passed))
	closeAll(w.passed[n:])
	w.passed = w.passed[:n]
}

func closeAll(stations []station) {
	for _, at := range stations {
		if !at.borrowed {
			unix.Close(at.fd)
		}
	}
}

func (w *walk) close() { w.retreat(0) }

// current returns the directory that the walk has come to.
func (w *walk) current() station { return w.passed[len(w.passed)-1] }

// leave returns the directory that the walk has come to, which is no longer the
// walk's to close.
func (w *walk) leave() station {
	at := w.current()
	w.passed = w.passed[:len(w.passed)-1]
	return at
}

// path returns the path of the directory that the walk has come to, without
// links.
func (w *walk) path() string {
	path := "/"
	for _, at := range w.passed {
		path = filepath.Join(path, at.name)
	}
	return path
}

// goTo goes to the directory at path, from the current one or, where path is
// absolute, from /.
func (w *walk) goTo(path string) error {
	found, err := w.reach(path)
	if err == nil && found != nil {
		unix.Close(found.fd)
		err = &fs.PathError{Op: "open directory", Path: found.path, Err: unix.ENOTDIR}
	}
	return err
}

// reach is like to, but the last name on the way may be that of something else
// than a directory. Then it returns that, opened with O_PATH, and the walk is
// at the directory that holds it; otherwise it returns nil.
func (w *walk) reach(path string) (*station, error) {
	if filepath.IsAbs(path) {
		if err := w.begin(); err != nil {
			return nil, err
		}
	}
	for todo := components(path); len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case ".":
			continue
		case "..":
			w.retreat(max(len(w.passed)-1, 1))
			continue
		}
		next, err := w.lookUp(name)
		if w.looked != nil {
			w.looked(name, next, err)
		}
		if err != nil {
			return nil, err
		}
		switch next.stat.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			w.passed = append(w.passed, next)
			continue
		case unix.S_IFLNK:
			target, err := w.follow(next)
			unix.Close(next.fd)
			if err != nil {
				return nil, err
			}
			todo = append(components(target), todo...)
			if filepath.IsAbs(target) {
				if err := w.begin(); err != nil {
					return nil, err
				}
			}
			continue
		}
		if len(todo) > 0 {
			unix.Close(next.fd)
			return nil, &fs.PathError{Op: "open directory", Path: next.path, Err: unix.ENOTDIR}
		}
		return &next, nil
	}
	return nil, nil
}

// lookUp opens a name in the current directory with O_PATH, which has no effect
// on a device, FIFO or socket.
func (w *walk) lookUp(name string) (station, error) {
	at := w.current()
	w.custody.addPassed(at)
	fd, err := openat(at.fd, name, unix.O_PATH)
	if err != nil {
		return station{}, &fs.PathError{Op: "open", Path: filepath.Join(at.path, printable(name)), Err: err}
	}
	return stationOf(fd, at.path, name)
}

// stationOf returns the station for an open descriptor of a name in a
// directory. On an error it closes the descriptor.
func stationOf(fd int, dir, name string) (station, error) {
	s := station{fd: fd, name: name, path: filepath.Join(dir, printable(name))}
	if err := unix.Fstat(fd, &s.stat); err != nil {
		unix.Close(fd)
		return station{}, &fs.PathError{Op: "stat", Path: s.path, Err: err}
	}
	return s, nil
}

// follow returns the target of a symlink that may be followed. The link is
// judged and read through one descriptor.
func (w *walk) follow(link station) (string, error) {
	if w.links++; w.links > maxLinks {
		return "", &LinkError{Link: link.path, Why: fmt.Sprintf("more than %d links on the way", maxLinks)}
	}
	if err := w.mayFollow(w.current(), link); err != nil {
		return "", err
	}
	target, err := readlinkat(link.fd, "")
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: link.path, Err: err}
	}
	return target, nil
}

// components splits a path, or the target of a symlink, at its slashes.
func components(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}

// LinkError says that a symlink on the way to a directory was not followed.
type LinkError struct {
	Path string // the directory that was to be opened; empty: a file was to be
	Link string // the link, as a path
	Why  string
}

func (e *LinkError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("refuse to follow the link %s: %s", e.Link, e.Why)
	}
	return fmt.Sprintf("open directory %s: refuse to follow the link %s: %s", e.Path, e.Link, e.Why)
}

// rootsLink allows a symlink to be followed where root, or the effective user,
// owns both the link and the directory that it is in, and nobody else may write
// to that directory. Otherwise it fails with a *LinkError.
func rootsLink(in, link station) error {
	refuse := func(format string, args ...any) error {
		return &LinkError{Link: link.path, Why: fmt.Sprintf(format, args...)}
	}
	switch {
	case !isTrusted(link.stat.Uid):
		return refuse("it belongs to uid %d, not to root", link.stat.Uid)
	case !isTrusted(in.stat.Uid):
		return refuse("its directory belongs to uid %d, not to root", in.stat.Uid)
	case in.othersWrite():
		return refuse("others than its owner may write to its directory (mode %04o)", in.stat.Mode&0o7777)
	}
	return nil
}

// othersWrite reports whether others than its owner may write to the directory.
// Where an ACL lets somebody write, the group's bit shows it (acl(5)).
func (s station) othersWrite() bool { return s.stat.Mode&0o022 != 0 }

// sticky reports whether others than the owners of its entries may not rename
// or remove them (unlink(2)).
func (s station) sticky() bool { return s.stat.Mode&unix.S_ISVTX != 0 }

// isTrusted reports whether a user may decide what is used: root, or the
// effective user.
func isTrusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// custody is who could have decided what a name refers to: the owners of the
// directories on the way to it, and perhaps others.
type custody struct {
	owners []uint32
	others bool
}

// inside returns the custody of what is in a directory, c being that of the
// directory.
func (c custody) inside(d station) custody {
	c = c.clone()
	c.add(d.stat.Uid, d.othersWrite())
	return c
}

func (c *custody) add(owner uint32, others bool) {
	if !slices.Contains(c.owners, owner) {
		c.owners = append(c.owners, owner)
	}
	c.others = c.others || others
}

// addPassed adds who could have decided what a name in a directory refers to.
func (c *custody) addPassed(d station) { c.add(d.stat.Uid, d.othersWrite() && !d.sticky()) }

// onlyBy reports whether nobody but root, the effective user and a user could
// have decided it.
func (c custody) onlyBy(uid int) bool {
	return !c.others && !slices.ContainsFunc(c.owners, func(owner uint32) bool { return !isTrusted(owner) && int(owner) != uid })
}

// openat opens a name in a directory, as openat(2) with O_NOFOLLOW.
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

// errNotSame says that something else has a name by now.
var errNotSame = errors.New("somebody has put something else in its place")

// reopen opens for reading what was opened with O_PATH in the directory dir:
// that very file, whatever has its name by now. It does not wait for whoever
// holds a lease on the file (fcntl(2), F_SETLEASE), as its owner may.
func (s station) reopen(dir int) (fd int, err error) {
	err = retry(func() (err error) {
		fd, err = unix.Open("/proc/self/fd/"+strconv.Itoa(s.fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err == unix.ENOENT { // there is no /proc here, so the inode shows whether the name is that of another file by now
		fd, err = openat(dir, s.name, unix.O_RDONLY|unix.O_NONBLOCK)
		var got unix.Stat_t
		if err == nil && (unix.Fstat(fd, &got) != nil || !sameInode(got, s.stat)) {
			unix.Close(fd)
			err = errNotSame
		}
	}
	if err == unix.EAGAIN {
		err = ErrLeased
	}
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: s.path, Err: err}
	}
	return fd, nil
}

// read reopens a regular file and returns its content, or its first limit bytes.
func (s station) read(dir int, limit int64) ([]byte, error) {
	fd, err := s.reopen(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return s.content(fd, limit)
}

// content returns what a regular file holds, or its first limit bytes, through a
// descriptor for reading. As an *os.File the descriptor would be offered to the
// poller first, and the size of the file would be no help.
func (s station) content(fd int, limit int64) ([]byte, error) {
	data := make([]byte, 0, min(s.stat.Size+1, limit)) // one more, to see the end
	for int64(len(data)) < limit {
		data = slices.Grow(data, 1)
		var n int
		err := retry(func() (err error) {
			n, err = unix.Read(fd, data[len(data):min(int64(cap(data)), limit)])
			return err
		})
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: s.path, Err: err}
		}
		if n == 0 {
			break
		}
		data = data[:len(data)+n]
	}
	return data, nil
}

// ErrLeased says that a file cannot be opened without waiting for somebody.
var ErrLeased = errors.New("somebody holds a lease on it (see LEASE in /proc/locks)")

// printable returns a name in printable form: it may hold anything, as the target
// of a link may, so control characters and such are escaped.
func printable(name string) string {
	if !strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
		return name // as nearly all are
	}
	quoted := strconv.Quote(name)
	if quoted == `"`+name+`"` {
		return name
	}
	return quoted[1 : len(quoted)-1]
}

func sameInode(a, b unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }
