// Package disk is the one home of writing to the file system. Files and
// directories appear complete: with their owner, mode and extended attributes
// before the first byte of content, durable before they get their name.
// Directories are opened once, component by component, and everything below
// them happens relative to a descriptor, so that nobody who may write to a
// directory on the way can turn a write elsewhere.
//
// It knows nothing of certificates, and makes nothing atomic beyond one name:
// package install does. It does not promise that a directory whose owner is
// hostile holds what was put there; only that nothing outside of it is touched.
// Durability is that of fsync(2) on the file system in question.
package disk

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// errUnclean is the cause of a refused path or name.
var errUnclean = errors.New("not an absolute, clean path")

// Open opens a directory. It follows a symlink on the way only where root or
// the effective user owns both the link and the directory that it is in, and
// nobody else may write to that directory; otherwise the error is a *LinkError.
// The path must be absolute and clean.
func Open(path string) (*Dir, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return nil, &fs.PathError{Op: "open directory", Path: path, Err: errUnclean}
	}
	w := walk{mayFollow: rootsLink}
	if err := w.goTo(path); err != nil {
		w.close()
		if link, ok := errors.AsType[*LinkError](err); ok {
			link.Path = path
		}
		return nil, err
	}
	at := w.leave()
	d := &Dir{fd: at.fd, path: path, custody: w.custody.inside(at)}
	w.close()
	return d, nil
}
