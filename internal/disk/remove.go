package disk

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// RemoveFiles removes the files and links in a directory for which may reports
// true, and then the directory. It is an error where something else is in it,
// such as a directory: both stay. Where name is no directory, it is removed
// itself; where it does not exist, RemoveFiles returns nil.
func (d *Dir) RemoveFiles(name string, may func(file string) bool) error {
	err := d.Remove(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
		return err
	}
	sub, err := d.Sub(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	names, err := sub.List()
	if err != nil {
		return err
	}
	for _, file := range names {
		if !may(file) {
			continue
		}
		if err := sub.unlink(file); err != nil && !errors.Is(err, unix.EISDIR) {
			return sub.fail("remove", file, err)
		}
	}
	return d.Remove(name)
}

func (d *Dir) unlink(name string) error {
	return retry(func() error { return unix.Unlinkat(d.fd, name, 0) })
}

// anyFile lets [Dir.RemoveFiles] remove every file.
func anyFile(string) bool { return true }
