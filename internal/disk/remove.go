package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mostRemoved bounds what RemoveAll takes away at once: far more than certlatch
// ever puts into a directory, and done within a moment.
const mostRemoved = 10_000

// RemoveAll takes away a name and what is below it, up to 10,000 names. That it
// does not exist is no error.
func (d *Dir) RemoveAll(name string) error {
	err := d.Remove(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
		return err
	}
	if err := d.empty(name); err != nil {
		return err
	}
	return d.Remove(name)
}

// level is a directory that is being emptied.
type level struct {
	name string      // in the one above
	is   unix.Stat_t // to know it again
}

// empty takes away what is in a directory. However deep that is, it needs two
// descriptors: it goes back by .., and looks whether that is where it came from.
func (d *Dir) empty(name string) error {
	at, err := d.Sub(name)
	if err != nil {
		return err
	}
	defer func() { at.Close() }()
	down := []level{{name: name}}
	if err := unix.Fstat(at.fd, &down[0].is); err != nil {
		return d.fail("stat", name, err)
	}
	for removed := 0; ; {
		full, n, err := at.clear(mostRemoved - removed)
		if removed += n; err != nil {
			return err
		}
		if full != "" {
			next, err := at.Sub(full)
			if err != nil {
				return err
			}
			below := level{name: full}
			if err := unix.Fstat(next.fd, &below.is); err != nil {
				next.Close()
				return at.fail("stat", full, err)
			}
			at.Close()
			at, down = next, append(down, below)
			continue
		}
		if len(down) == 1 {
			return nil
		}
		above, err := at.above(down[len(down)-2].is)
		if err != nil {
			return err
		}
		at.Close()
		at = above
		if err := at.Remove(down[len(down)-1].name); err != nil {
			return err
		}
		down = down[:len(down)-1]
		removed++
	}
}

// clear removes the names in a directory, at most so many, and returns how many
// there were, and the first that is a directory which is not empty.
func (d *Dir) clear(most int) (full string, removed int, err error) {
	names, err := d.List()
	if err != nil {
		return "", 0, err
	}
	for _, name := range names {
		if removed == most {
			return "", removed, d.fail("remove", "", fmt.Errorf("there are more than %d names below it", mostRemoved))
		}
		switch err := d.Remove(name); {
		case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
			return name, removed, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", removed, err
		}
		removed++
	}
	return "", removed, nil
}

// above opens the directory above, which must be the one that is meant.
func (d *Dir) above(want unix.Stat_t) (*Dir, error) {
	fd, err := openat(d.fd, "..", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, d.fail("open directory", "..", err)
	}
	at, err := stationOf(fd, filepath.Dir(d.path))
	if err != nil {
		return nil, err
	}
	if !same(at.stat, want) {
		unix.Close(fd)
		return nil, d.fail("open directory", "..", errNotSame)
	}
	return &Dir{fd: fd, path: at.path}, nil
}
