package disk

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// TempName returns a new name for something that is not finished, or is soon to
// be removed. It does not look like that of a certificate: services that load
// all of a directory's *.crt and *.pem files pass it over.
func TempName() string { return tempPrefix + rand.Text() }

const tempPrefix = ".certlatch-"

// isTempName reports whether TempName may have returned a name: rand.Text
// returns at least 26 characters of the base32 alphabet.
func isTempName(name string) bool {
	text, ok := strings.CutPrefix(name, tempPrefix)
	return ok && len(text) >= 26 && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// Replace writes a file in place of what is at path, if anything, atomically
// and durably. The file belongs to the effective user, whoever owned what was
// there.
func Replace(path string, data []byte, mode fs.FileMode) error {
	return inParent(path, func(d *Dir, name string) error {
		d.sweepDrafts()
		if err := d.replace(name, data, mode); err != nil {
			return err
		}
		return d.Sync()
	})
}

// ReplaceAll is like Replace for several files of one directory that hold the same.
// Where it fails, some of them may have been replaced.
func ReplaceAll(dir string, names []string, data []byte, mode fs.FileMode) error {
	d, err := Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	d.sweepDrafts()
	for _, name := range names {
		if err := d.replace(name, data, mode); err != nil {
			return err
		}
	}
	return d.Sync()
}

// replace writes a file in place of what has its name, if anything. Its directory is
// to be synced.
func (d *Dir) replace(name string, data []byte, mode fs.FileMode) error {
	temp, file, err := d.newDraft(data, mode)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := d.Rename(temp, name); err != nil {
		return errors.Join(err, d.Remove(temp))
	}
	return nil
}

// Put is like Replace where there is nothing at path yet. Otherwise the error
// is fs.ErrExist, and what is there stays.
func Put(path string, data []byte, mode fs.FileMode) error {
	return inParent(path, func(d *Dir, name string) error {
		temp, file, err := d.draft(data, mode)
		if err != nil {
			return err
		}
		defer file.Close()
		// A link, unlike a rename, does not replace what is there.
		if err := errors.Join(d.Link(temp, name), d.Remove(temp)); err != nil {
			return err
		}
		return d.Sync()
	})
}

// ReplaceLink is like Replace for a symlink to target.
func ReplaceLink(target, path string) error {
	return inParent(path, func(d *Dir, name string) error {
		d.sweepDrafts()
		err := fs.ErrNotExist
		for range 3 { // a symlink cannot be locked, so another's sweep may remove it
			temp := draftPrefix + rand.Text()
			if err := d.Symlink(target, temp); err != nil {
				return err
			}
			if err = d.Rename(temp, name); !errors.Is(err, fs.ErrNotExist) {
				if err != nil {
					return errors.Join(err, d.Remove(temp))
				}
				return d.Sync()
			}
		}
		return err
	})
}

// draftPrefix begins the names of files that are not complete yet and stand in
// no journal. Their writer holds a lock on them (flock(2)), which those that a
// crash has left lack.
const draftPrefix = ".certlatch-draft-"

// draft makes a file under a temporary name, and returns it open and so locked
// against sweeps. It removes the drafts that crashes have left.
func (d *Dir) draft(data []byte, mode fs.FileMode) (temp string, file *os.File, err error) {
	d.sweepDrafts()
	return d.newDraft(data, mode)
}

// newDraft does what draft does, where those of crashes were removed already.
func (d *Dir) newDraft(data []byte, mode fs.FileMode) (temp string, file *os.File, err error) {
	for file == nil {
		temp = draftPrefix + rand.Text()
		if file, err = d.openLocked(temp); err != nil {
			return "", nil, err
		}
	}
	if err = writeComplete(file, data, Own(mode)); err == nil {
		err = file.Sync()
	}
	if err != nil {
		return "", nil, errors.Join(err, file.Close(), d.Remove(temp))
	}
	return temp, file, nil
}

// openLocked makes an empty draft and locks it. It returns nil where somebody's
// sweep has removed it between the two.
func (d *Dir) openLocked(temp string) (*os.File, error) {
	file, err := d.open("create", temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = retry(func() error { return unix.Flock(int(file.Fd()), unix.LOCK_EX) })
	if err == nil {
		err = unix.Fstat(int(file.Fd()), &st)
	}
	if err != nil {
		return nil, errors.Join(d.fail("lock", temp, err), file.Close(), d.Remove(temp))
	}
	if st.Nlink == 0 {
		return nil, file.Close()
	}
	return file, nil
}

// sweepDrafts removes the drafts that nobody is writing any more. What it
// cannot remove is for the next time.
func (d *Dir) sweepDrafts() {
	names, err := d.List()
	if err != nil {
		return
	}
	for _, name := range names {
		if strings.HasPrefix(name, draftPrefix) {
			d.sweepDraft(name)
		}
	}
}

// SweepDrafts removes what crashes have left in a directory of the files that
// Replace, ReplaceLink and Put were writing. What it cannot remove is for the
// next time.
func SweepDrafts(path string) {
	if d, err := Open(path); err == nil {
		d.sweepDrafts()
		d.Close()
	}
}

// sweepDraft removes a draft if its process has ended. It does so under the
// lock, so that a process that has just made the draft finds out (see
// openLocked).
func (d *Dir) sweepDraft(name string) {
	info, err := d.Stat(name)
	if err != nil || !isTrusted(uint32(info.UID)) {
		return
	}
	if info.Mode.Type() == fs.ModeSymlink { // a symlink is there for an instant only
		_ = d.Remove(name)
		return
	}
	fd, _, _, err := d.openForReading(name, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = d.Remove(name)
	}
}

// SweepTemps removes what has a name of [TempName] in the directory and belongs
// to the effective user. What it cannot remove is for the next time.
func (d *Dir) SweepTemps() {
	names, err := d.List()
	if err != nil {
		return
	}
	for _, name := range names {
		if !isTempName(name) {
			continue
		}
		info, err := d.Stat(name)
		if err == nil && info.UID == os.Geteuid() && !info.Mode.IsDir() {
			_ = d.Remove(name)
		}
	}
}

// MakeDir makes a directory, durably. One that is there already stays as it is.
func MakeDir(path string, attr Attr) error {
	return inParent(path, func(d *Dir, name string) error {
		if err := d.Mkdir(name, attr); err != nil {
			if info, statErr := d.Stat(name); statErr == nil && info.Mode.IsDir() && errors.Is(err, fs.ErrExist) {
				return nil
			}
			return err
		}
		return d.Sync()
	})
}

// MakeAll is like MakeDir, and makes missing directories above it in the same
// way.
func MakeAll(path string, attr Attr) error {
	d, err := Open(path)
	if err == nil {
		return d.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := MakeAll(filepath.Dir(path), attr); err != nil {
		return err
	}
	return MakeDir(path, attr)
}

// MakeWhole makes a directory that does not exist yet together with its files,
// so that it is there with all of them or not at all. The files have the
// directory's attributes without the right to search. Until it is complete, the
// directory is at draft, a path of the same file system that nobody else uses;
// what a crash has left there is removed first.
func MakeWhole(path, draft string, attr Attr, files map[string][]byte) error {
	return inParent(draft, func(from *Dir, temp string) error {
		return inParent(path, func(d *Dir, name string) error {
			if err := from.RemoveFiles(temp, anyFile); err != nil {
				return err
			}
			err := from.fill(temp, attr, files)
			if err == nil {
				err = from.MoveTo(temp, d, name)
			}
			if err != nil {
				return errors.Join(err, from.RemoveFiles(temp, anyFile))
			}
			return errors.Join(d.Sync(), from.Sync())
		})
	})
}

func (d *Dir) fill(name string, attr Attr, files map[string][]byte) error {
	if err := d.Mkdir(name, attr); err != nil {
		return err
	}
	sub, err := d.Sub(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	attr.Mode &^= 0o111
	for name, data := range files {
		if err := sub.Create(name, data, attr); err != nil {
			return err
		}
	}
	return sub.Sync()
}

// Remove removes a file, a link or an empty directory, durably.
func Remove(path string) error {
	return inParent(path, func(d *Dir, name string) error {
		if err := d.Remove(name); err != nil {
			return err
		}
		return d.Sync()
	})
}

// RemoveFiles removes a directory with the files in it, durably. It is no error
// where that does not exist.
func RemoveFiles(path string) error {
	err := inParent(path, func(d *Dir, name string) error {
		if _, err := d.Stat(name); err != nil {
			return err
		}
		if err := d.RemoveFiles(name, anyFile); err != nil {
			return err
		}
		return d.Sync()
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// inParent opens the directory that path is in, and calls act with it and the
// name that path has there.
func inParent(path string, act func(d *Dir, name string) error) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return &fs.PathError{Op: "open", Path: path, Err: errUnclean}
	}
	d, err := Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return act(d, filepath.Base(path))
}
