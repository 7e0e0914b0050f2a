package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Store is an open directory in which a program keeps files, perhaps through
// links into directories beside it. It is for reading them as root while others
// own the directory or parts of it: they cannot have a file read that is not
// theirs to hand out.
type Store struct {
	way    walk
	beside []station // the directories beside it in which its files may be
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

// OwnerError says that a file belongs to somebody else than those who could
// have put it, or a link to it, where it was found. They may have no right to
// read it, so it is not read for them.
type OwnerError struct {
	Path  string
	Owner uint32 // of the file
	By    string // who could have put it there, for people
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s belongs to uid %d, and %s could have put it, or a link to it, there", e.Path, e.Owner, e.By)
}

// OpenStore opens a directory as a store, with those of the directories beside
// it that exist.
func OpenStore(dir string, beside ...string) (*Store, error) {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return nil, &fs.PathError{Op: "open directory", Path: dir, Err: errUnclean}
	}
	s := &Store{}
	s.way.mayFollow = s.way.custody.followAny
	if err := s.way.goTo(dir); err != nil {
		s.Close()
		return nil, err
	}
	for _, name := range beside {
		other := walk{mayFollow: rootsLink}
		if err := other.goTo(filepath.Join(filepath.Dir(s.way.current().path), name)); err == nil {
			s.beside = append(s.beside, other.leave())
		}
		other.close()
	}
	return s, nil
}

// Again returns a store that is the same open directory, as if it had been opened
// now: who owns the directories on the way to it, and who may write to them, is
// looked at anew. It can be used until the first one is closed.
func (s *Store) Again() (*Store, error) {
	again := &Store{beside: slices.Clone(s.beside)}
	for i := range again.beside {
		again.beside[i].borrowed = true
	}
	way := s.walkFrom()
	for i := range way.passed {
		at := &way.passed[i]
		if err := unix.Fstat(at.fd, &at.stat); err != nil {
			return nil, &fs.PathError{Op: "stat", Path: at.path, Err: err}
		}
		if i < len(way.passed)-1 {
			way.custody.addPassed(*at)
		}
	}
	again.way = *way
	return again, nil
}

// followAny allows every link to be followed, and adds its owner to the custody.
func (c *custody) followAny(_, link station) error {
	c.add(link.stat.Uid, false)
	return nil
}

// Close closes the directory, and those beside it.
func (s *Store) Close() {
	s.way.close()
	closeAll(s.beside)
}

// Read returns the content, or its first limit bytes, and the permission bits
// of a regular file, whose path is relative to the store. Links are followed
// within the store only, and the file is judged and read through one
// descriptor. Errors are *fs.PathError, *IrregularError, *LinkError,
// *OutsideError and *OwnerError.
func (s *Store) Read(path string, limit int64) ([]byte, fs.FileMode, error) {
	w := s.walkFrom()
	defer w.close()
	found, err := w.reach(path)
	if err != nil && !s.within(w) {
		to := w.path()
		if missing, is := errors.AsType[*fs.PathError](err); is {
			to = missing.Path
		}
		return nil, 0, &OutsideError{filepath.Join(s.way.current().path, path), to}
	}
	if err != nil {
		return nil, 0, err
	}
	if found != nil {
		defer unix.Close(found.fd)
	}
	if err := s.checkReadable(w, path, found); err != nil {
		return nil, 0, err
	}
	data, err := found.read(w.current().fd, limit)
	return data, fs.FileMode(found.stat.Mode & 0o777), err
}

// Holds reports whether a path, absolute or relative to the store, is that of
// something in it.
func (s *Store) Holds(path string) bool {
	w := s.walkFrom()
	defer w.close()
	found, err := w.reach(path)
	if found != nil {
		unix.Close(found.fd)
	}
	return err == nil && s.within(w)
}

// LeadsOut reports whether a path that is relative to the store leads out of it,
// whether there is anything or not.
func (s *Store) LeadsOut(path string) bool {
	w := s.walkFrom()
	defer w.close()
	if found, _ := w.reach(path); found != nil {
		unix.Close(found.fd)
	}
	return !s.within(w)
}

// walkFrom returns a walk that begins in the store.
func (s *Store) walkFrom() *walk {
	passed := append(make([]station, 0, len(s.way.passed)+usualDepth), s.way.passed...)
	w := &walk{passed: passed, custody: s.way.custody.clone()}
	w.mayFollow = w.custody.followAny
	for i := range w.passed {
		w.passed[i].borrowed = true
	}
	return w
}

// within reports whether a walk has come to a directory of the store, or of a
// directory beside it that is the store's.
func (s *Store) within(w *walk) bool {
	return slices.ContainsFunc(w.passed, func(at station) bool {
		return sameInode(s.way.current().stat, at.stat) ||
			slices.ContainsFunc(s.beside, func(kept station) bool { return sameInode(kept.stat, at.stat) })
	})
}

// checkReadable fails where what a walk found at a path may not be read; found
// is nil where it is a directory.
func (s *Store) checkReadable(w *walk, path string, found *station) error {
	path = filepath.Join(s.way.current().path, path)
	to := w.current().path
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
	return w.custody.inside(w.current()).checkHandOut(*found)
}

// ReadFile returns the content, or its first limit bytes, and the permission
// bits of a regular file, wherever links on the way lead. It is for files that
// were named by somebody who may read them, and for content that is not handed
// out. Like [Store.Read] it opens no device, and waits for nobody.
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
	data, err := found.read(unix.AT_FDCWD, limit)
	return data, fs.FileMode(found.stat.Mode & 0o777), err
}

// checkHandOut fails where somebody who may not read a file could have put it
// where it is: a link, symbolic or hard, can be made to any file.
func (c custody) checkHandOut(file station) error {
	owner := file.stat.Uid
	for _, could := range c.owners {
		if !isTrusted(could) && could != owner {
			return &OwnerError{file.path, owner, fmt.Sprintf("uid %d", could)}
		}
	}
	if c.others && isTrusted(owner) {
		return &OwnerError{file.path, owner, "whoever may write to its directory"}
	}
	return nil
}

func (c custody) clone() custody {
	c.owners = slices.Clone(c.owners)
	return c
}
