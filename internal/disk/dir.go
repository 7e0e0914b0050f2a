package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is an open directory. Its methods take names of entries, never paths, and
// follow no links. Errors are *fs.PathError unless said otherwise.
type Dir struct {
	fd      int
	path    string
	custody custody
}

// Path returns the path by which the directory was opened, for messages.
func (d *Dir) Path() string { return d.path }

// KeptBy reports whether nobody but root, the effective user and the user uid
// can have put what is in the directory there: they own it and every directory
// on the way to it, and nobody else may write to any of these.
func (d *Dir) KeptBy(uid int) bool { return d.custody.onlyBy(uid) }

// Close closes the directory, which cannot be used afterwards.
func (d *Dir) Close() error {
	fd := d.fd
	d.fd = -1
	return d.fail("close", "", unix.Close(fd))
}

// Info describes what has a name, as lstat(2) does.
type Info struct {
	Mode     fs.FileMode // with the type; the group's bits are the mask where there is an ACL
	UID, GID int
	Size     int64
	Inode    uint64
}

// IrregularError says that something else than a regular file was found.
type IrregularError struct {
	Path string
	Mode fs.FileMode // only the type
}

func (e *IrregularError) Error() string {
	kind := "not a regular file"
	switch e.Mode {
	case fs.ModeSymlink:
		kind = "a symlink"
	case fs.ModeDir:
		kind = "a directory"
	}
	return fmt.Sprintf("%s is %s", e.Path, kind)
}

// SizeError says that a file is larger than its reader's limit.
type SizeError struct {
	Path  string
	Limit int64 // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s is larger than %d KiB", e.Path, e.Limit>>10)
}

// Sub opens a directory in this one.
func (d *Dir) Sub(name string) (*Dir, error) {
	if err := d.checkName("open directory", name); err != nil {
		return nil, err
	}
	fd, err := openat(d.fd, name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, d.fail("open directory", name, err)
	}
	at, err := stationOf(fd, d.path, name)
	if err != nil {
		return nil, err
	}
	return &Dir{fd: fd, path: at.path, custody: d.custody.inside(at)}, nil
}

// Stat returns the Info for a name.
func (d *Dir) Stat(name string) (Info, error) {
	if err := d.checkName("stat", name); err != nil {
		return Info{}, err
	}
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return Info{}, d.fail("stat", name, err)
	}
	return Info{Mode: fs.FileMode(st.Mode&0o777) | typeOf(st), UID: int(st.Uid), GID: int(st.Gid), Size: st.Size, Inode: st.Ino}, nil
}

// IsMount reports whether a file system, or a single file of one, is mounted at a
// name, so that nothing can be renamed over it. Kernels before 5.8 do not say (statx(2)).
func (d *Dir) IsMount(name string) (bool, error) {
	if err := d.checkName("stat", name); err != nil {
		return false, err
	}
	var st unix.Statx_t
	err := retry(func() error {
		return unix.Statx(d.fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	})
	if errors.Is(err, unix.ENOSYS) {
		return false, nil
	}
	if err != nil {
		return false, d.fail("stat", name, err)
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// Read returns the content and the attributes of a regular file, both read
// through one descriptor. It fails with an *IrregularError too, and with a
// *SizeError where the file has more bytes than the limit.
func (d *Dir) Read(name string, limit int64) ([]byte, Attr, error) {
	fd, found, attr, err := d.openForReading(name, 0)
	if err != nil {
		return nil, Attr{}, err
	}
	defer unix.Close(fd)
	data, err := found.content(fd, limit+1)
	if err != nil {
		return nil, Attr{}, err
	}
	if int64(len(data)) > limit {
		return nil, Attr{}, &SizeError{found.path, limit}
	}
	return data, attr, nil
}

// OpenFile opens a regular file for reading, and fails as Read does. It must be
// closed.
func (d *Dir) OpenFile(name string) (*os.File, error) {
	fd, found, _, err := d.openForReading(name, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), found.path), nil
}

// Attributes returns the attributes of a regular file or a directory. For
// anything else it fails with an *IrregularError.
func (d *Dir) Attributes(name string) (Attr, error) {
	fd, found, attr, err := d.openForReading(name, fs.ModeDir)
	if err != nil {
		return Attr{}, err
	}
	if err := unix.Close(fd); err != nil {
		return Attr{}, &fs.PathError{Op: "close", Path: found.path, Err: err}
	}
	return attr, nil
}

// openForReading opens a regular file, or a file of the type accept, for
// reading. What it is, is found out before through a descriptor of O_PATH,
// whose making has no effect on a device, FIFO or socket; that very file is
// then opened. The station is that of the closed one.
func (d *Dir) openForReading(name string, accept fs.FileMode) (fd int, found station, attr Attr, err error) {
	if err := d.checkName("open", name); err != nil {
		return -1, station{}, Attr{}, err
	}
	way, err := openat(d.fd, name, unix.O_PATH)
	if err != nil {
		return -1, station{}, Attr{}, d.fail("open", name, err)
	}
	if found, err = stationOf(way, d.path, name); err != nil {
		return -1, station{}, Attr{}, err
	}
	defer unix.Close(way)
	if kind := typeOf(found.stat); kind != 0 && kind != accept {
		return -1, found, Attr{}, &IrregularError{found.path, kind}
	}
	if fd, err = found.reopen(d.fd); err != nil {
		return -1, found, Attr{}, err
	}
	if attr, err = attributesOf(fd, found.path); err != nil {
		unix.Close(fd)
		return -1, found, Attr{}, err
	}
	return fd, found, attr, nil
}

// typeOf returns the type bits of a file's mode.
func typeOf(st unix.Stat_t) fs.FileMode {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	}
	return fs.ModeIrregular
}

// Create makes a file that does not exist yet, complete and durable but for its
// name, which Sync makes durable. Owner, mode and extended attributes are set
// before the content is written, in an order in which at no instant anybody may
// open the file whom attr does not allow to. On an error no file stays.
func (d *Dir) Create(name string, data []byte, attr Attr) error {
	file, err := d.CreateUnsynced(name, data, attr)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return errors.Join(err, d.Remove(name))
	}
	return nil
}

// CreateUnsynced is like Create for a file that is to be made durable together
// with others, and closed then.
func (d *Dir) CreateUnsynced(name string, data []byte, attr Attr) (Unsynced, error) {
	file, err := d.open("create", name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, err
	}
	if err := writeComplete(file, data, attr); err != nil {
		return nil, errors.Join(err, file.Close(), d.Remove(name))
	}
	return file, nil
}

// writeComplete sets the attributes of a new file and then writes its content.
func writeComplete(file *os.File, data []byte, attr Attr) error {
	if err := attr.apply(file); err != nil {
		return err
	}
	_, err := file.Write(data)
	return err
}

// Mkdir makes a directory that does not exist yet. Sync makes its name
// durable.
func (d *Dir) Mkdir(name string, attr Attr) error {
	if err := d.checkName("mkdir", name); err != nil {
		return err
	}
	if err := retry(func() error { return unix.Mkdirat(d.fd, name, 0o700) }); err != nil {
		return d.fail("mkdir", name, err)
	}
	if err := d.setDirAttr(name, attr); err != nil {
		return errors.Join(err, d.Remove(name))
	}
	return nil
}

// setDirAttr sets the attributes of a new directory. It fails where that does not
// belong to the effective user, since whoever may write to d may put another in
// its place.
func (d *Dir) setDirAttr(name string, attr Attr) error {
	file, err := d.open("open directory", name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return d.fail("stat", name, err)
	}
	if int(st.Uid) != os.Geteuid() {
		return d.fail("mkdir", name, errors.New("somebody put another directory in its place"))
	}
	// What is made in it is not to inherit what this directory inherited.
	if err := removeACL(file, defaultName); err != nil {
		return err
	}
	if err := attr.apply(file); err != nil {
		return err
	}
	return file.Sync()
}

// Symlink makes a symlink to target.
func (d *Dir) Symlink(target, name string) error {
	if err := d.checkName("symlink", name); err != nil {
		return err
	}
	return d.fail("symlink", name, retry(func() error { return unix.Symlinkat(target, d.fd, name) }))
}

// Readlink returns the target of a symlink, as it is written in it.
func (d *Dir) Readlink(name string) (string, error) {
	if err := d.checkName("readlink", name); err != nil {
		return "", err
	}
	target, err := readlinkat(d.fd, name)
	return target, d.fail("readlink", name, err)
}

// Rename renames something, in place of what has the new name.
func (d *Dir) Rename(from, to string) error {
	if err := errors.Join(d.checkName("rename", from), d.checkName("rename", to)); err != nil {
		return err
	}
	return d.fail("rename "+from+" to", to, retry(func() error { return unix.Renameat(d.fd, from, d.fd, to) }))
}

// MoveTo moves something into another directory of the same file system, in
// place of what has the name there.
func (d *Dir) MoveTo(from string, into *Dir, to string) error {
	if err := errors.Join(d.checkName("rename", from), into.checkName("rename", to)); err != nil {
		return err
	}
	return into.fail("rename "+filepath.Join(d.path, from)+" to", to, retry(func() error { return unix.Renameat(d.fd, from, into.fd, to) }))
}

// copyLimit bounds what Link copies where it cannot link, in bytes.
const copyLimit = 1 << 20

// Link makes a second name for a file or a symlink. Where the file system or
// the kernel's policy does not allow that (an immutable file, vfat,
// fs.protected_hardlinks), it makes a copy with the same rights and extended
// attributes.
func (d *Dir) Link(from, to string) error {
	if err := errors.Join(d.checkName("link", from), d.checkName("link", to)); err != nil {
		return err
	}
	err := retry(func() error { return unix.Linkat(d.fd, from, d.fd, to, 0) })
	switch err {
	case unix.EPERM, unix.EOPNOTSUPP, unix.EMLINK, unix.EXDEV:
		return d.copy(from, to)
	}
	return d.fail("link "+from+" to", to, err)
}

func (d *Dir) copy(from, to string) error {
	info, err := d.Stat(from)
	if err != nil {
		return err
	}
	if info.Mode.Type() == fs.ModeSymlink {
		target, err := d.Readlink(from)
		if err != nil {
			return err
		}
		return d.Symlink(target, to)
	}
	data, attr, err := d.Read(from, copyLimit)
	if err != nil {
		return err
	}
	return d.Create(to, data, attr)
}

// Remove removes a file, a link or an empty directory.
func (d *Dir) Remove(name string) error {
	if err := d.checkName("remove", name); err != nil {
		return err
	}
	err := retry(func() error { return unix.Unlinkat(d.fd, name, 0) })
	if err == unix.EISDIR {
		err = retry(func() error { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) })
	}
	return d.fail("remove", name, err)
}

// List returns the names in the directory, sorted.
func (d *Dir) List() ([]string, error) {
	file, err := d.reopen()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	names, err := file.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// Sync makes the names in the directory durable. Where the file system cannot
// do that (EINVAL, fsync(2)), it returns nil.
func (d *Dir) Sync() error {
	file, err := d.reopen()
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Sync(); !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// reopen returns the directory open for reading and syncing, which d's own
// descriptor (O_PATH) is not.
func (d *Dir) reopen() (*os.File, error) {
	fd, err := openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, d.fail("open directory", "", err)
	}
	return os.NewFile(uintptr(fd), d.path), nil
}

func (d *Dir) open(op, name string, flags int) (*os.File, error) {
	if err := d.checkName(op, name); err != nil {
		return nil, err
	}
	fd, err := openat(d.fd, name, flags)
	if err != nil {
		return nil, d.fail(op, name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

// checkName fails where a name would lead out of the directory.
func (d *Dir) checkName(op, name string) error {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return &fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: fmt.Errorf("%q is not a name", name)}
	}
	return nil
}

func (d *Dir) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
}
