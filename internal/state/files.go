package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/certlatch/certlatch/internal/disk"
)

// Here files are read that may be damaged, and set aside where they are.

// Damage is a file that does not hold what it should.
type Damage struct {
	Path  string
	What  string // what is wrong with it: "is empty"
	Aside string // where it was put; empty: it is still in its place

	later bool // a later version wrote it: it is not damaged, but cannot be read
}

func (d *Damage) Error() string { return d.Path + " " + d.What }

// read reads a regular file. It waits for no FIFO, follows no link, and reads
// no more than the limit. A file that is not there is fs.ErrNotExist, and one
// that cannot hold what it should is a *Damage.
func read(path string, limit int64) ([]byte, error) {
	d, err := disk.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	data, err := readIn(d, filepath.Base(path), limit)
	irregular := new(disk.IrregularError)
	switch {
	case errors.As(err, &irregular):
		return nil, &Damage{Path: path, What: strings.TrimPrefix(irregular.Error(), path+" ")}
	case errors.As(err, new(*disk.SizeError)):
		return nil, &Damage{Path: path, What: fmt.Sprintf("is larger than %d MiB", limit>>20)}
	case errors.Is(err, syscall.EIO):
		return nil, &Damage{Path: path, What: "cannot be read: " + syscall.EIO.Error()}
	case err == nil && len(data) == 0:
		return nil, &Damage{Path: path, What: "is empty"}
	}
	return data, err
}

// readIn reads a file after it has checked its size, so that no memory is spent
// on one that is too large.
func readIn(d *disk.Dir, name string, limit int64) ([]byte, error) {
	info, err := d.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size > limit {
		return nil, &disk.SizeError{Path: name, Limit: limit}
	}
	data, _, err := d.Read(name, limit)
	return data, err
}

// decode decodes the JSON of a file, and returns what is wrong with it; nil:
// nothing is.
func decode(path string, data []byte, into any) *Damage {
	err := json.Unmarshal(data, into)
	syntax, form := new(json.SyntaxError), new(json.UnmarshalTypeError)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax) && syntax.Offset >= int64(len(data)):
		return &Damage{Path: path, What: "ends in the middle"}
	case errors.As(err, &syntax):
		return &Damage{Path: path, What: fmt.Sprintf("is no JSON from byte %d on", syntax.Offset)}
	case errors.As(err, &form):
		return &Damage{Path: path, What: fmt.Sprintf("is JSON of another form: %q cannot be a %s", form.Field, form.Value)}
	}
	return &Damage{Path: path, What: fmt.Sprintf("is JSON of another form: %v", err)}
}

// asideKept is how many damaged files of one name are kept.
const asideKept = 3

const asideMark = ".damaged-"

// setAside keeps a damaged file under a name of its own and returns its path;
// empty: there was nothing to keep. A regular file also stays in its place,
// until it is replaced there. The oldest of those set aside beyond asideKept
// are removed.
func setAside(path string) (string, error) {
	d, err := disk.Open(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	defer d.Close()
	name := filepath.Base(path)
	info, err := d.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	names, err := d.List()
	if err != nil {
		return "", err
	}
	last := 0
	kept := map[int]string{}
	for _, n := range names {
		if number, ok := asideNumber(n, name); ok {
			kept[number], last = n, max(last, number)
		}
	}
	aside := name + asideMark + strconv.Itoa(last+1)
	if !info.Mode.IsRegular() || d.Link(name, aside) != nil {
		if err := d.Rename(name, aside); err != nil {
			return "", err
		}
	}
	for number, n := range kept {
		if number <= last+1-asideKept {
			_ = d.RemoveFiles(n, func(string) bool { return true }) // a directory of directories is only one more
		}
	}
	return filepath.Join(filepath.Dir(path), aside), d.Sync()
}

// asideNumber returns the number in the name of a file that was set aside.
func asideNumber(aside, name string) (int, bool) {
	text, is := strings.CutPrefix(aside, name+asideMark)
	number, err := strconv.Atoi(text)
	return number, is && err == nil && number > 0
}

// Aside returns the paths of damaged files that were set aside.
func (s *Store) Aside() ([]string, error) {
	d, err := disk.Open(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the state directory: %w", err)
	}
	defer d.Close()
	names, err := d.List()
	var aside []string
	for _, name := range names {
		of, _, _ := strings.Cut(name, asideMark)
		if _, is := asideNumber(name, of); is {
			aside = append(aside, filepath.Join(s.dir, name))
		}
	}
	return aside, err
}

// replaceFile replaces a file. Where a directory is in its place, put sets that
// aside.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	err := disk.Replace(path, data, mode)
	if !errors.Is(err, syscall.EISDIR) && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, asideErr := setAside(path); asideErr != nil {
		return errors.Join(err, asideErr)
	}
	return disk.Replace(path, data, mode)
}

// DirectoryError says that the state directory could not be written to.
type DirectoryError struct {
	Dir string
	Err error

	sandbox func(dir string) string // as of the store
}

func (e *DirectoryError) Error() string { return e.Err.Error() }
func (e *DirectoryError) Unwrap() error { return e.Err }

// Remedy returns what to do about it; empty: that is not known.
func (e *DirectoryError) Remedy() string {
	if e.ReadOnly() && e.sandbox != nil {
		if remedy := e.sandbox(e.Dir); remedy != "" {
			return remedy
		}
	}
	for _, known := range []struct {
		cause  error
		remedy string
	}{
		{syscall.EROFS, "mount the file system of %[1]s writable (findmnt --target %[1]s); in a unit of certlatch's own, certlatch config systemd lets it write there"},
		{syscall.ENOSPC, "make room on the file system of %[1]s (df -h %[1]s; df -i %[1]s)"},
		{syscall.EDQUOT, "raise the quota on the file system of %[1]s, or make room (quota; df -h %[1]s)"},
		{syscall.EACCES, "let root write to %[1]s (ls -ld %[1]s)"},
		{syscall.EPERM, "let root change what is in %[1]s (lsattr %[1]s)"},
		{syscall.EBUSY, "unmount what is mounted on a file of %s (findmnt)"},
		{syscall.ENOTDIR, "move away what is in the place of a directory of %[1]s; it is made anew"},
		{syscall.EISDIR, "move away the directory that is in the place of a file of %[1]s; it is made anew"},
		{syscall.ELOOP, "move away the link that is in the place of a file of %[1]s; it is made anew"},
	} {
		if errors.Is(e.Err, known.cause) {
			return fmt.Sprintf(known.remedy, e.Dir)
		}
	}
	return ""
}

// ReadOnly reports whether the directory's file system is read-only.
func (e *DirectoryError) ReadOnly() bool { return errors.Is(e.Err, syscall.EROFS) }

// Failed returns an error of writing as a *DirectoryError; nil for nil.
func (s *Store) Failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &DirectoryError{s.dir, fmt.Errorf("%s: %w", doing, err), s.Sandbox}
}
