package disk

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"path/filepath"
)

// TempName gives a new name for something that is not finished or soon to be
// removed. It never looks like a certificate: services that load all of a
// directory's *.crt and *.pem files pass it over.
func TempName() string { return ".certlatch-" + rand.Text() }

// Replace puts a file in the place of what is at path, or of nothing,
// atomically and durably. It belongs to who runs this, whatever was there
// before.
func Replace(path string, data []byte, mode fs.FileMode) error {
	return replace(path, func(d *Dir, temp string) error { return d.Create(temp, data, Own(mode)) })
}

// Put is like Replace where there is nothing yet. What is there stays, and the
// error is then fs.ErrExist.
func Put(path string, data []byte, mode fs.FileMode) error {
	return within(path, func(d *Dir, name string) error {
		temp := TempName()
		if err := d.Create(temp, data, Own(mode)); err != nil {
			return err
		}
		// A link is not made over what is there, as a rename is.
		if err := errors.Join(d.Link(temp, name), d.Remove(temp)); err != nil {
			return err
		}
		return d.Sync()
	})
}

// ReplaceLink is like Replace for a symlink with the text target.
func ReplaceLink(target, path string) error {
	return replace(path, func(d *Dir, temp string) error { return d.Symlink(target, temp) })
}

func replace(path string, create func(d *Dir, temp string) error) error {
	return within(path, func(d *Dir, name string) error {
		temp := TempName()
		if err := create(d, temp); err != nil {
			return err
		}
		if err := d.Rename(temp, name); err != nil {
			return errors.Join(err, d.Remove(temp))
		}
		return d.Sync()
	})
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
// the directory's attributes without the right to search. Two must not make
// the same path at once.
func MakeWhole(path string, attr Attr, files map[string][]byte) error {
	return within(path, func(d *Dir, name string) error {
		// Not a random name, so that what a crash leaves is found again.
		temp := ".certlatch-" + name
		if err := d.RemoveAll(temp); err != nil {
			return err
		}
		err := d.fill(temp, attr, files)
		if err == nil {
			err = d.Rename(temp, name)
		}
		if err != nil {
			return errors.Join(err, d.RemoveAll(temp))
		}
		return d.Sync()
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

// RemoveAll takes away what is at path and below it, durably. That it does
// not exist is no error.
func RemoveAll(path string) error {
	err := within(path, func(d *Dir, name string) error {
		if err := d.RemoveAll(name); err != nil {
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
