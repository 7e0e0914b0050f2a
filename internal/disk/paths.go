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

// TempName gives a new name for something that is not finished or soon to be
// removed. It never looks like a certificate: services that load all of a
// directory's *.crt and *.pem files pass it over.
func TempName() string { return tempPrefix + rand.Text() }

const tempPrefix = ".certlatch-"

// isTempName reports whether a name is one of TempName: rand.Text returns at
// least 26 characters of the base32 alphabet.
func isTempName(name string) bool {
	text, ok := strings.CutPrefix(name, tempPrefix)
	return ok && len(text) >= 26 && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// Replace puts a file in the place of what is at path, or of nothing,
// atomically and durably. It belongs to who runs this, whatever was there
// before.
func Replace(path string, data []byte, mode fs.FileMode) error {
	return within(path, func(d *Dir, name string) error {
		temp, file, err := d.draft(data, mode)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := d.Rename(temp, name); err != nil {
			return errors.Join(err, d.Remove(temp))
		}
		return d.Sync()
	})
}

// Put is like Replace where there is nothing yet. What is there stays, and the
// error is then fs.ErrExist.
func Put(path string, data []byte, mode fs.FileMode) error {
	return within(path, func(d *Dir, name string) error {
		temp, file, err := d.draft(data, mode)
		if err != nil {
			return err
		}
		defer file.Close()
		// A link is not made over what is there, as a rename is.
		if err := errors.Join(d.Link(temp, name), d.Remove(temp)); err != nil {
			return err
		}
		return d.Sync()
	})
}

// ReplaceLink is like Replace for a symlink with the text target.
func ReplaceLink(target, path string) error {
	return within(path, func(d *Dir, name string) error {
		d.sweepDrafts()
		err := fs.ErrNotExist
		for range 3 { // a link cannot be locked, so another's sweep may take it away
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

// draftPrefix is that of files which are not complete yet and of which no
// journal knows. Who writes one holds a lock on it (flock(2)), so what a crash
// has left is told from it.
const draftPrefix = ".certlatch-draft-"

// draft makes a file under a name that is not its last one, and returns it open,
// which keeps others from taking it away. It takes away what crashes have left.
func (d *Dir) draft(data []byte, mode fs.FileMode) (temp string, file *os.File, err error) {
	d.sweepDrafts()
	for file == nil {
		temp = draftPrefix + rand.Text()
		if file, err = d.openLocked(temp); err != nil {
			return "", nil, err
		}
	}
	if err := complete(file, data, Own(mode)); err != nil {
		return "", nil, errors.Join(err, file.Close(), d.Remove(temp))
	}
	return temp, file, nil
}

// openLocked makes an empty draft and locks it. It returns nil where somebody
// has swept it away between the two.
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

// sweepDrafts takes away the drafts that nobody is writing any more. What cannot
// be removed is for the next time.
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

// SweepDrafts takes away what crashes have left in a directory of the files that
// Replace, ReplaceLink and Put were writing. What cannot be removed is for the
// next time.
func SweepDrafts(path string) {
	if d, err := Open(path); err == nil {
		d.sweepDrafts()
		d.Close()
	}
}

// sweepDraft takes a draft away if its process has ended. It does so under the
// lock, so that who has just made it finds out (see openLocked).
func (d *Dir) sweepDraft(name string) {
	info, err := d.Stat(name)
	if err != nil || !trusted(uint32(info.UID)) {
		return
	}
	if info.Mode.Type() == fs.ModeSymlink { // it was there for an instant
		_ = d.Remove(name)
		return
	}
	file, _, err := d.look(name, 0)
	if err != nil {
		return
	}
	defer file.Close()
	if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = d.Remove(name)
	}
}

// SweepTemps takes away what bears a name of [TempName] in the directory and
// belongs to who runs this. What cannot be removed is for the next time.
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

// MakeDir makes one directory, durably. One that is there already stays as it
// is.
func MakeDir(path string, attr Attr) error {
	return within(path, func(d *Dir, name string) error {
		if err := d.Mkdir(name, attr); err != nil {
			if info, statErr := d.Stat(name); statErr == nil && info.Mode.IsDir() && errors.Is(err, fs.ErrExist) {
				return nil
			}
			return err
		}
		return d.Sync()
	})
}

// MakeAll is like MakeDir, and makes the directories above in the same way
// where they are missing.
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

// MakeWhole makes a directory that does not exist yet together with its
// files, so that it is there with all of them or not at all. The files have
// the directory's attributes without the right to search. Until it is whole it
// is at draft, a path of the same file system that nobody else uses: what a
// crash has left there is removed first.
func MakeWhole(path, draft string, attr Attr, files map[string][]byte) error {
	return within(draft, func(from *Dir, temp string) error {
		return within(path, func(d *Dir, name string) error {
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

// Remove takes away a file, a link or an empty directory, durably.
func Remove(path string) error {
	return within(path, func(d *Dir, name string) error {
		if err := d.Remove(name); err != nil {
			return err
		}
		return d.Sync()
	})
}

// RemoveFiles takes away a directory with the files in it, durably. That it does
// not exist is no error.
func RemoveFiles(path string) error {
	err := within(path, func(d *Dir, name string) error {
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

// within opens the directory that path is in.
func within(path string, act func(d *Dir, name string) error) error {
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
