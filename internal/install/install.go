// Package install puts pairs of certificate and key on disk, and takes them
// back. A transaction is staged beside the files that it replaces, committed by
// renames, and then kept or undone. An intent journal, written before anything
// else, makes a crash at any instant recoverable.
//
// In a managed directory one rename commits a pair. In place there is one
// rename a file, so for an instant the names hold a mixed pair: whoever opens
// them by path in that instant sees it, and a crash in it shows until
// [Installer.Recover] runs. It does not promise anything about readers that
// open one file, wait, and open the other. It does not parse what it installs,
// and it does not lock: only one Installer may install at a time. Transactions of
// one may be open side by side, each with a journal of its own.
package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
)

// MaxSize is the most that a file may hold, in bytes.
const MaxSize = 256 << 10

// current is the symlink in a managed directory to the generation in use.
const current = "current"

// File is a file of a set: as it is to be, or as it is.
type File struct {
	Path     string // absolute and clean
	Data     lineage.Secret
	UID, GID int
	Mode     fs.FileMode // permission bits; where there is an ACL, without what it adds
	HoldsKey bool        // in place, files that do are renamed first

	// Grants are who may read it by its ACL. nil: those whom the ACL of the
	// file that it replaces names, as far as that can be trusted.
	Grants []disk.Grant

	// Of a file as it is:
	ACL  []byte // the raw attribute; empty: it has none
	Kept bool   // nobody who may not read it can have put it there
}

// Set is the files of one target and one lineage, which are only installed
// together.
type Set struct {
	Target, Lineage string
	Directory       string // managed layout: the files are DIRECTORY/current/NAME; empty: in place
	Generation      string // managed: the name of the new generation's directory, TIME-WORD (20060102T150405Z-...)
	Group           int    // managed: the group that may traverse the directories, beside who may read the files
	Files           []File
}

// PathError says why nothing can be installed at a path.
type PathError struct {
	Path   string
	Why    string
	Remedy string // imperative
}

func (e *PathError) Error() string { return e.Path + " " + e.Why }

// Installer installs sets, and keeps its journals in a directory of its own. It
// may be used by several goroutines, a transaction by one.
type Installer struct {
	journalDir string

	mutex sync.Mutex              // held while journals are read or written
	open  map[string]*Transaction // by the names of their intents
}

// New returns an installer with a directory for its journals, which it makes
// when it needs it.
func New(journalDir string) *Installer {
	return &Installer{journalDir: journalDir, open: map[string]*Transaction{}}
}

// Current returns the files at the set's paths as they are; missing ones are
// left out. In a managed directory all files are read through one descriptor,
// so they belong together. Besides errors of reading it fails with a *PathError
// (where something else is in the place of a file, such as a symlink, or the
// file is too large) or a *disk.LinkError.
func (in *Installer) Current(set Set) ([]File, error) {
	if err := set.check(); err != nil {
		return nil, err
	}
	if set.Directory != "" {
		return set.currentGeneration()
	}
	var found []File
	for _, want := range set.Files {
		d, err := disk.Open(filepath.Dir(want.Path))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found, err = appendFile(found, d, want)
		d.Close()
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (s Set) currentGeneration() ([]File, error) {
	d, err := disk.Open(s.Directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	generation, err := generationOf(d)
	if err != nil || generation == "" {
		return nil, err
	}
	sub, err := d.Sub(generation)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	var found []File
	for _, want := range s.Files {
		if found, err = appendFile(found, sub, want); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// appendFile appends the file that d has under the name of the wanted one, if
// any.
func appendFile(found []File, d *disk.Dir, want File) ([]File, error) {
	data, attr, err := d.Read(filepath.Base(want.Path), MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return nil, pathError(want.Path, err)
	}
	if mounted, err := d.IsMount(filepath.Base(want.Path)); err != nil {
		return nil, err
	} else if mounted {
		return nil, &PathError{want.Path, "is a mount of its own (a single file that was bind-mounted), which no other file can take the place of", "mount the directory that it is in, or let the target write beside it and the service name that"}
	}
	return append(found, File{Path: want.Path, Data: data, UID: attr.UID, GID: attr.GID, Mode: attr.Mode, HoldsKey: want.HoldsKey, ACL: attr.ACL(), Kept: d.KeptBy(os.Geteuid()) || d.KeptBy(want.UID) && attr.UID == want.UID}), nil
}

// mayCarry reports whether a new file, which will belong to the user uid, may
// get the attributes of one in d: nobody but root and that user can have put
// that there, and it belongs to one of them.
func mayCarry(d *disk.Dir, attr disk.Attr, uid int) bool {
	return d.KeptBy(uid) && (attr.UID == uid || attr.UID == 0 || attr.UID == os.Geteuid())
}

// RightsOf returns owner and mode of an installed file, as [Installer.Current] would,
// without its content.
func RightsOf(path string) (File, error) {
	d, err := disk.Open(filepath.Dir(path))
	if err != nil {
		return File{}, err
	}
	defer d.Close()
	attr, err := d.Attributes(filepath.Base(path))
	return File{Path: path, UID: attr.UID, GID: attr.GID, Mode: attr.Mode}, err
}

// Same reports whether the set is installed already: every file of it is there
// with the same bytes, owner, group and mode, and the ACL that is wanted. Where
// no ACL is wanted, the mode of a file with one is compared without what the
// ACL adds (see [disk.Attr]), so rights that an operator granted on top make no
// difference.
func Same(want Set, have []File) bool { return len(Differences(want, have)) == 0 }

// Difference is how an installed file differs from the one that is wanted.
type Difference struct {
	Want, Have                File
	Missing                   bool // there is none
	Bytes, Owner, Mode, Grant bool
}

// Differences returns how the files that are installed differ from those of a set,
// as [Same] compares them.
func Differences(want Set, have []File) (all []Difference) {
	byPath := map[string]File{}
	for _, f := range have {
		byPath[f.Path] = f
	}
	for _, w := range want.Files {
		h, is := byPath[w.Path]
		d := Difference{Want: w, Have: h, Missing: !is}
		if is {
			d.Bytes = !bytes.Equal(w.Data, h.Data)
			d.Owner = w.UID != h.UID || w.GID != h.GID
			d.Mode = w.Mode.Perm() != h.Mode.Perm()
			d.Grant = w.Grants != nil && !bytes.Equal(disk.ACL(w.Mode, w.Grants, mayRead), h.ACL)
		}
		if d.Missing || d.Bytes || d.Owner || d.Mode || d.Grant {
			all = append(all, d)
		}
	}
	return all
}

// The rights that an ACL grants, as the bits of a mode.
const (
	mayRead uint16 = 4
	mayPass uint16 = 1 // a directory
)

// check fails where a set contradicts itself.
func (s Set) check() error {
	for _, f := range s.Files {
		switch {
		case len(f.Data) > MaxSize:
			return &PathError{f.Path, fmt.Sprintf("would hold more than %d KiB", MaxSize>>10), "look at what the lineage's files hold"}
		case s.Directory != "" && filepath.Dir(f.Path) != filepath.Join(s.Directory, current):
			return &PathError{f.Path, "is not in " + filepath.Join(s.Directory, current), "name files of a managed directory by its current link"}
		}
	}
	return nil
}

// generationOf returns the generation that the link in a managed directory
// leads to; "" where there is no link.
func generationOf(d *disk.Dir) (string, error) {
	path := filepath.Join(d.Path(), current)
	info, err := d.Stat(current)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	const remedy = "move it away, or choose another directory for this target"
	if info.Mode.Type() != fs.ModeSymlink {
		return "", &PathError{path, "is not a symlink, so certlatch did not make it", remedy}
	}
	target, err := d.Readlink(current)
	if err != nil {
		return "", err
	}
	unprintable := func(c rune) bool { return !unicode.IsPrint(c) }
	if target == "." || target == ".." || strings.Contains(target, "/") || strings.ContainsFunc(target, unprintable) {
		return "", &PathError{path, "does not name a generation in its own directory, so certlatch did not make it", remedy}
	}
	return target, nil
}

// stampLayout is the layout of the time with which the names of generations
// begin. Fractions of a second may follow the seconds.
const stampLayout = "20060102T150405Z"

// isGeneration reports whether a name is that of a generation, and not one that
// an operator has given to something in a managed directory.
func isGeneration(name string) bool {
	stamp, word, ok := strings.Cut(name, "-")
	_, err := time.Parse(stampLayout, stamp)
	return ok && err == nil && word != "" && !strings.Contains(word, "/")
}

// pathError returns a *PathError, with a remedy, for errors about what is at a
// path, and other errors as they are.
func pathError(path string, err error) error {
	if e := new(disk.IrregularError); errors.As(err, &e) {
		if e.Mode == fs.ModeSymlink {
			return &PathError{path, "is a symlink", "set the target to the path that it points to, or remove the link"}
		}
		return &PathError{path, "is not a regular file", "move it away, or correct the path"}
	}
	if e := new(disk.SizeError); errors.As(err, &e) {
		return &PathError{path, fmt.Sprintf("holds more than %d KiB, so it is no certificate or key", e.Limit>>10), "move it away, or correct the path"}
	}
	return err
}
