package disk

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Store is an open directory in which a program keeps files, perhaps through
// links into directories beside it. It is for who reads them as root, while
// others may own the directory or parts of it: they cannot have a file read
// that is not theirs to hand out.
type Store struct {
	way  walk
	kept []unix.Stat_t // the directories in which its files are: itself, and those beside
}

// OutsideError says that a name in a store is, or lies behind, a link that
// leads out of it.
type OutsideError struct {
	Path string // in the store
	To   string // where it leads, without links
}

func (e *OutsideError) Error() string {
	return e.Path + " leads out of its directory, to " + e.To
}

// OwnerError says that a file belongs to somebody else than whoever could have
// put it, or a link to it, where it was found. They may have no right to read
// it, so they may not have it read.
type OwnerError struct {
	Path  string
	Owner uint32 // of the file
	By    string // who could have put it there, for people
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s belongs to uid %d, and %s could have put it, or a link to it, there", e.Path, e.Owner, e.By)
}

// OpenStore opens a directory as a store, with the directories of the given
// names beside it, as far as they are there.
func OpenStore(dir string, beside ...string) (*Store, error) {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return nil, &fs.PathError{Op: "open directory", Path: dir, Err: errUnclean}
	}
	s := &Store{}
	s.way.mayFollow = s.way.custody.follow
	if err := s.way.to(dir); err != nil {
		s.Close()
		return nil, err
	}
	s.kept = append(s.kept, s.way.here().stat)
	for _, name := range beside {
		other := walk{mayFollow: rootsLink}
		if err := other.to(filepath.Join(filepath.Dir(s.way.here().path), name)); err == nil {
			s.kept = append(s.kept, other.here().stat)
		}
		other.close()
	}
	return s, nil
}

// follow lets every link be followed, and remembers whose it is.
func (c *custody) follow(_, link station) error {
	c.add(link.stat.Uid, false)
	return nil
}

// Close lets go of the directory.
func (s *Store) Close() { s.way.close() }

// Read returns the content, or its first bytes up to the limit, and the
// permission bits of a regular file, whose path is relative to the store. Links
// are followed within the store only, and the file is judged and read through
// one descriptor. Errors are *fs.PathError, *IrregularError, *LinkError,
// *OutsideError and *OwnerError.
func (s *Store) Read(path string, limit int64) ([]byte, fs.FileMode, error) {
	w := s.enter()
	defer w.close()
	found, err := w.reach(path)
	if err != nil {
		return nil, 0, err
	}
	if found != nil {
		defer unix.Close(found.fd)
	}
	if err := s.judge(w, path, found); err != nil {
		return nil, 0, err
	}
	file, err := found.reopen(w.here().fd)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit))
	return data, fs.FileMode(found.stat.Mode & 0o777), err
}

// Holds reports whether a path, absolute or relative to the store, is that of
// something in it.
func (s *Store) Holds(path string) bool {
	w := s.enter()
	defer w.close()
	found, err := w.reach(path)
	if found != nil {
		unix.Close(found.fd)
	}
	return err == nil && s.within(w)
}

// enter begins a way in the store.
func (s *Store) enter() *walk {
	w := &walk{passed: slices.Clone(s.way.passed), custody: s.way.custody.clone()}
	w.mayFollow = w.custody.follow
	for i := range w.passed {
		w.passed[i].borrowed = true
	}
	return w
}

// within reports whether a way is in the store, or in a directory beside it
// that is its own.
func (s *Store) within(w *walk) bool {
	return slices.ContainsFunc(w.passed, func(at station) bool {
		return slices.ContainsFunc(s.kept, func(kept unix.Stat_t) bool { return same(kept, at.stat) })
	})
}

// judge fails where what was found may not be read; nil: a directory was.
func (s *Store) judge(w *walk, path string, found *station) error {
	path = filepath.Join(s.way.here().path, path)
	to := w.here().path
	if found != nil {
		to = found.path
	}
	if !s.within(w) {
		return &OutsideError{path, to}
	}
	if found == nil {
		return &IrregularError{to, fs.ModeDir}
	}
	if kind := typeOf(found.stat); kind != 0 {
		return &IrregularError{to, kind}
	}
	return w.custody.of(w.here()).mayHandOut(*found)
}

// ReadFile returns the content, or its first bytes up to the limit, and the
// permission bits of a regular file, wherever links on the way lead. It is for
// files that were named by somebody who may read them, and for what is looked at
// and not handed out. Like [Store.Read] it feels no device, and waits for nobody.
func ReadFile(path string, limit int64) ([]byte, fs.FileMode, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	found, err := stationOf(fd, "", path)
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(fd)
	if kind := typeOf(found.stat); kind != 0 {
		return nil, 0, &IrregularError{path, kind}
	}
	file, err := found.reopen(unix.AT_FDCWD)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit))
	return data, fs.FileMode(found.stat.Mode & 0o777), err
}

// mayHandOut fails where somebody could have put a file where it is who may
// not read it: a link, symbolic or hard, can be made to any file.
func (c custody) mayHandOut(file station) error {
	owner := file.stat.Uid
	for _, could := range c.owners {
		if !trusted(could) && could != owner {
			return &OwnerError{file.path, owner, fmt.Sprintf("uid %d", could)}
		}
	}
	if c.others && trusted(owner) {
		return &OwnerError{file.path, owner, "whoever may write to its directory"}
	}
	return nil
}

func (c custody) clone() custody {
	c.owners = slices.Clone(c.owners)
	return c
}
