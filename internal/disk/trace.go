package disk

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Step is a name that was looked up on the way to a path.
type Step struct {
	Dir  string      // the directory, without links
	Name string      // in it
	Type fs.FileMode // of what has the name, which may be a link
	Err  error       // why that is not known; nil: it is
}

// Path returns the path of the name.
func (s Step) Path() string { return filepath.Join(s.Dir, s.Name) }

// Trace returns the names that are looked up on the way to an absolute path,
// with links followed as the kernel does (path_resolution(7)), wherever they
// lead. It also returns where the path leads, without links. Where it leads
// nowhere, end is empty, and the last step is as far as it leads. Nothing is
// held open: once Trace has returned, the names may refer to something else.
func Trace(path string) (steps []Step, end string, err error) {
	if !filepath.IsAbs(path) {
		return nil, "", &fs.PathError{Op: "look up", Path: path, Err: errUnclean}
	}
	w := walk{mayFollow: func(_, _ station) error { return nil }}
	defer w.close()
	w.looked = func(name string, found station, err error) {
		s := Step{Dir: w.path(), Name: name, Err: err}
		if err == nil {
			s.Type = typeOf(found.stat)
		}
		steps = append(steps, s)
	}
	found, err := w.reach(path)
	switch {
	case err != nil:
		return steps, "", err
	case found != nil:
		defer unix.Close(found.fd)
		return steps, filepath.Join(w.path(), found.name), nil
	}
	return steps, w.path(), nil
}
