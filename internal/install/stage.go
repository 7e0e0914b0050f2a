package install

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/paths"
)

// Staged is a new file before the commit.
type Staged struct {
	Target, Lineage string
	Final           string // where the commit will put it
	Path            string // where it is now, with the owner and mode that it will have
	HoldsKey        bool
}

// SetError says which set of a transaction an error is about. The transaction
// failed as a whole.
type SetError struct {
	Set Ref
	Err error
}

func (e *SetError) Error() string {
	return fmt.Sprintf("install %s for %s: %v", e.Set.Lineage, e.Set.Target, e.Err)
}

func (e *SetError) Unwrap() error { return e.Err }

// Stage makes everything that the commit needs: the new files beside the old
// ones or in a new generation, and second names for the old ones. Nothing gets
// its final name, and if anything fails, nothing stays. Besides errors of
// writing it fails with a *PathError or a *disk.LinkError, both before anything
// is touched. An error about one set is in a *SetError.
func (in *Installer) Stage(sets []Set) (*Transaction, error) {
	t, err := in.begin(sets)
	if err != nil {
		return nil, err
	}
	for i, set := range sets {
		if err := t.makeNames(set, t.journal.Sets[i]); err != nil {
			return nil, errors.Join(&SetError{Ref{set.Target, set.Lineage}, err}, t.Undo())
		}
		if len(t.fresh) < mostFresh && i < len(sets)-1 {
			continue
		}
		if err := t.syncFresh(); err != nil {
			return nil, errors.Join(err, t.Undo())
		}
	}
	if err := t.sync(); err != nil {
		return nil, errors.Join(err, t.Undo())
	}
	return t, nil
}

// begin returns a transaction of which the journal is written and the missing
// directories are made: from here on no other can do without them.
func (in *Installer) begin(sets []Set) (*Transaction, error) {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	dir, err := in.openJournal()
	if err != nil {
		return nil, err
	}
	t := &Transaction{in: in, dir: dir, open: map[string]*disk.Dir{}}
	if err := t.plan(sets); err != nil {
		t.close()
		return nil, err
	}
	number := 1
	for in.open[numbered(intentFile, number)] != nil {
		number++
	}
	t.names = []string{numbered(intentFile, number), numbered(keptFile, number)}
	if err := writeJournal(dir, t.names[0], t.journal); err != nil {
		t.close()
		return nil, err
	}
	in.open[t.names[0]] = t
	for _, set := range sets {
		if err := t.makeDirectories(set); err != nil {
			return nil, errors.Join(&SetError{Ref{set.Target, set.Lineage}, err}, t.undo())
		}
	}
	return t, nil
}

// fresh is something new of a set that is not durable yet, and open.
type fresh struct {
	set  Ref
	what disk.Unsynced
}

// mostFresh bounds how much is open at once.
const mostFresh = 256

// syncFresh makes durable what is fresh. What it is does not matter before the
// commit: until then a recovery removes it.
func (t *Transaction) syncFresh() (err error) {
	defer t.closeFresh()
	all := make([]disk.Unsynced, len(t.fresh))
	for i, f := range t.fresh {
		all[i] = f.what
	}
	for i, failed := range disk.SyncTogether(all) {
		if failed != nil && err == nil {
			err = &SetError{t.fresh[i].set, failed}
		}
	}
	return err
}

func (t *Transaction) closeFresh() {
	for _, f := range t.fresh {
		f.what.Close()
	}
	t.fresh = nil
}

// StuckError says that an earlier transaction could not put back what was at a
// path, so that nothing else is installed there.
type StuckError struct{ Path, Why string }

func (e *StuckError) Error() string {
	return e.Path + " has not got back what an earlier run had begun to replace: " + e.Why
}

// plan fills in the journal with what is going to be done. It changes nothing,
// except that it removes what crashes have left in the directories of the sets.
func (t *Transaction) plan(sets []Set) error {
	if err := t.in.allRecovered(t.dir); err != nil {
		return err
	}
	stuck, left, err := t.pending(new(Recovery))
	if err != nil {
		return err
	}
	taken := t.in.taken()
	for i := range sets {
		ref := Ref{sets[i].Target, sets[i].Lineage}
		e, err := t.planSet(sets[i])
		if err != nil {
			return &SetError{ref, err}
		}
		for _, s := range e.Swaps {
			if _, twice := taken[s.path()]; twice {
				return &PathError{s.path(), "is to be installed twice", "give each lineage and target paths of its own"}
			}
			taken[s.path()] = ref
		}
		t.journal.Sets = append(t.journal.Sets, e)
	}
	for _, e := range stuck.Sets {
		for _, s := range e.Swaps {
			if ref, waits := taken[s.path()]; waits {
				return &SetError{ref, &StuckError{s.path(), e.Why}}
			}
		}
	}
	if len(stuck.Sets)+len(left)+len(t.in.open) == 0 { // otherwise some of these names are needed
		for _, d := range t.open {
			d.SweepTemps()
		}
	}
	return nil
}

// allRecovered fails where there is the journal of a transaction that is not open.
func (in *Installer) allRecovered(dir *disk.Dir) error {
	names, err := unfinished(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if in.open[name] == nil {
			return fmt.Errorf("an earlier transaction has not been recovered (%s): %w", filepath.Join(dir.Path(), name), fs.ErrExist)
		}
	}
	return nil
}

// hasMade reports whether an open transaction has made a directory.
func (in *Installer) hasMade(directory string) bool {
	for _, other := range in.open {
		if slices.Contains(other.journal.Made, directory) {
			return true
		}
	}
	return false
}

// taken returns the sets of the open transactions, by the paths that they install.
func (in *Installer) taken() map[string]Ref {
	taken := map[string]Ref{}
	for _, other := range in.open {
		for _, e := range other.journal.Sets {
			for _, s := range e.Swaps {
				taken[s.path()] = Ref{e.Target, e.Lineage}
			}
		}
	}
	return taken
}

func (t *Transaction) planSet(set Set) (entry, error) {
	e := entry{Target: set.Target, Lineage: set.Lineage}
	if err := set.check(); err != nil {
		return e, err
	}
	if set.Directory != "" {
		return t.planManaged(set, e)
	}
	for _, f := range set.inCommitOrder() {
		s := newSwap(filepath.Dir(f.Path), filepath.Base(f.Path), fileIdentity(f.Data))
		d, err := t.openDir(s.Dir)
		if missing := errors.Is(err, fs.ErrNotExist); missing || err == nil && t.in.hasMade(s.Dir) {
			if _, err := missingOn(s.Dir, true); err != nil {
				return e, err
			}
			if err := t.planDirectories(s.Dir); err != nil {
				return e, err
			}
			if missing {
				e.Swaps = append(e.Swaps, s)
				continue
			}
		}
		if err != nil {
			return e, err
		}
		old, _, err := d.Read(s.Name, MaxSize)
		switch {
		case err == nil:
			s.Old = fileIdentity(old)
		case !errors.Is(err, fs.ErrNotExist):
			return e, pathError(f.Path, err)
		}
		e.Swaps = append(e.Swaps, s)
	}
	return e, nil
}

func (t *Transaction) planManaged(set Set, e entry) (entry, error) {
	if !isGeneration(set.Generation) {
		return e, fmt.Errorf("%q is not the name of a generation", set.Generation)
	}
	e.Directory, e.Generation = set.Directory, set.Generation
	s := newSwap(set.Directory, current, linkIdentity(set.Generation))
	d, err := t.openDir(set.Directory)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := t.planDirectories(set.Directory); err != nil {
			return e, err
		}
	case err != nil:
		return e, err
	default:
		previous, err := generationOf(d)
		if err != nil {
			return e, err
		}
		if previous != "" {
			s.Old = linkIdentity(previous)
		}
		if _, err := d.Stat(set.Generation); !errors.Is(err, fs.ErrNotExist) {
			return e, fmt.Errorf("generation %s cannot be made anew: %w", set.Generation, cmp.Or(err, fs.ErrExist))
		}
	}
	e.Swaps = []swap{s}
	return e, nil
}

// planDirectories adds the missing directories on the way to path to the
// journal, and those that another open transaction has made: the last one that is
// undone removes them.
func (t *Transaction) planDirectories(path string) error {
	d, err := disk.Open(path)
	if err == nil {
		d.Close()
		if !t.in.hasMade(path) {
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.planDirectories(filepath.Dir(path)); err != nil {
		return err
	}
	if !slices.Contains(t.journal.Made, path) {
		t.journal.Made = append(t.journal.Made, path)
	}
	return nil
}

func newSwap(dir, name string, content identity) swap {
	return swap{Dir: dir, Name: name, Temp: disk.TempName(), Undo: disk.TempName(), New: content}
}

// inCommitOrder returns the files in the order of the commit: those with the key
// first, so that a service that looks for new certificates finds their key in
// place; otherwise as they are listed.
func (s Set) inCommitOrder() []File {
	return slices.SortedStableFunc(slices.Values(s.Files), func(a, b File) int {
		switch {
		case a.HoldsKey == b.HoldsKey:
			return 0
		case a.HoldsKey:
			return -1
		}
		return 1
	})
}

// makeNames makes the files and second names that plan noted for a set.
func (t *Transaction) makeNames(set Set, e entry) error {
	makeNew := t.makeFiles
	if set.Directory != "" {
		makeNew = t.makeGeneration
	}
	if err := makeNew(set, e); err != nil {
		return err
	}
	// putBack relies on it that all new files are there before any second name
	// of an old one.
	for _, s := range e.Swaps {
		if err := t.linkOld(s); err != nil {
			return err
		}
	}
	return nil
}

func (t *Transaction) makeFiles(set Set, e entry) error {
	for i, f := range set.inCommitOrder() {
		s := e.Swaps[i]
		d, err := t.openDir(s.Dir)
		if err != nil {
			return err
		}
		left, err := t.create(set, d, s.Temp, f, d, s.Name)
		if err != nil {
			return err
		}
		t.notCarried(set, f.Path, left)
		t.stagedAt(set, f, filepath.Join(s.Dir, s.Temp))
	}
	return nil
}

// directoryAttr returns the attributes of a managed directory, and what the target
// says of who may read its files; nil: nothing.
func (s Set) directoryAttr() (attr disk.Attr, grants []disk.Grant) {
	attr = disk.Attr{UID: os.Geteuid(), GID: s.Group, Mode: 0o750}
	grants = s.Files[0].Grants
	if grants != nil {
		attr = attr.WithACL(grants, mayPass)
	}
	return attr, grants
}

// makeDirectories makes the missing directories of a set.
func (t *Transaction) makeDirectories(set Set) error {
	for _, path := range t.journal.Made {
		if !set.needs(path) {
			continue
		}
		attr := disk.Own(aroundMode)
		if path == set.Directory {
			attr, _ = set.directoryAttr()
		}
		if err := disk.MakeDir(path, attr); err != nil {
			return err
		}
	}
	return nil
}

// aroundMode is the mode of directories that are made for files in place, and above a
// managed one. Others than the target's may keep files there, and those files have
// modes of their own.
const aroundMode fs.FileMode = 0o755

// directories returns the directories in which the files of a set are, or of a managed
// one the generations.
func (s Set) directories() (all []string) {
	if s.Directory != "" {
		return []string{s.Directory}
	}
	for _, f := range s.Files {
		if dir := filepath.Dir(f.Path); !slices.Contains(all, dir) {
			all = append(all, dir)
		}
	}
	return all
}

// needs reports whether a directory is one of the set's, or on the way to it.
func (s Set) needs(directory string) bool {
	return slices.ContainsFunc(s.directories(), func(own string) bool { return paths.Within(own, directory) })
}

// Directory is one that a transaction would make. It belongs to whom certlatch runs as.
type Directory struct {
	Path string
	GID  int
	Mode fs.FileMode
}

func (d Directory) String() string {
	return fmt.Sprintf("directory %s is made (%s, %04o)", d.Path, account.OwnerName(os.Geteuid(), d.GID), d.Mode)
}

// Missing returns the directories that a transaction with the set would make, outer
// ones first. In place it fails with a *PathError where they are to be made by hand,
// since somebody else may write above them.
func (in *Installer) Missing(set Set) (missing []Directory, err error) {
	for _, own := range set.directories() {
		paths, err := missingOn(own, set.Directory == "")
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			made := Directory{path, os.Getegid(), aroundMode}
			if path == set.Directory {
				attr, _ := set.directoryAttr()
				made.GID, made.Mode = attr.GID, attr.Mode
			}
			if !slices.Contains(missing, made) {
				missing = append(missing, made)
			}
		}
	}
	return missing, nil
}

// missingOn returns the directories that are missing on the way to a path, outer ones
// first. Where only below those that root keeps any may be made, it fails with a
// *PathError otherwise.
func missingOn(path string, guarded bool) (missing []string, err error) {
	at := path
	for ; ; at = filepath.Dir(at) {
		d, err := disk.Open(at)
		if err == nil {
			kept := d.KeptBy(os.Geteuid())
			d.Close()
			if guarded && !kept && missing != nil {
				return nil, &PathError{path, "does not exist, and is not made below " + at + ", since another user owns a directory on the way there, or may write to it", "make it (install -d -m 0755 " + path + "), or correct the path"}
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing = append(missing, at)
	}
	slices.Reverse(missing)
	return missing, nil
}

func (t *Transaction) makeGeneration(set Set, e entry) error {
	attr, grants := set.directoryAttr()
	d, err := t.openDir(set.Directory)
	if err != nil {
		return err
	}
	link := e.Swaps[0]
	previous := link.Old.target()
	var left []string
	if attr.Extra, left, err = carriedAttributes(d, previous, attr.UID); err != nil {
		return err
	}
	if grants != nil {
		attr = attr.WithACL(grants, mayPass)
	} else {
		t.notCarried(set, filepath.Join(set.Directory, previous), left)
	}
	if err := d.Mkdir(e.Generation, attr); err != nil {
		return err
	}
	if err := t.fillGeneration(d, set, e.Generation, previous); err != nil {
		return err
	}
	return d.Symlink(e.Generation, link.Temp)
}

func (t *Transaction) fillGeneration(d *disk.Dir, set Set, generation, previous string) error {
	sub, err := d.Sub(generation)
	if err != nil {
		return err
	}
	defer func() { t.fresh = append(t.fresh, fresh{Ref{set.Target, set.Lineage}, sub}) }() // after its files
	var old *disk.Dir
	if previous != "" {
		if old, err = d.Sub(previous); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if old != nil {
			defer old.Close()
		}
	}
	for _, f := range set.inCommitOrder() {
		name := filepath.Base(f.Path)
		left, err := t.create(set, sub, name, f, old, name)
		if err != nil {
			return err
		}
		t.notCarried(set, f.Path, left)
		t.stagedAt(set, f, filepath.Join(set.Directory, generation, name))
	}
	return nil
}

func (t *Transaction) stagedAt(set Set, f File, path string) {
	t.staged = append(t.staged, Staged{set.Target, set.Lineage, f.Path, path, f.HoldsKey})
}

// create writes a file of a set that is to replace another, old in the directory
// from, and carries over the attributes of that which the configuration does not
// set, as far as they can be trusted: ACL, security label and user attributes. It
// returns the names of those that it did not carry over.
func (t *Transaction) create(set Set, d *disk.Dir, name string, f File, from *disk.Dir, old string) (left []string, err error) {
	extra, left, err := carriedAttributes(from, old, f.UID)
	if err != nil {
		return nil, pathError(f.Path, err)
	}
	attr := disk.Attr{UID: f.UID, GID: f.GID, Mode: f.Mode, Extra: extra}
	if f.Grants != nil {
		attr = attr.WithACL(f.Grants, mayRead)
	}
	file, err := d.CreateUnsynced(name, f.Data, attr)
	if err != nil {
		return nil, err
	}
	t.fresh = append(t.fresh, fresh{Ref{set.Target, set.Lineage}, file})
	return exceptChosenACL(f, left), nil
}

// exceptChosenACL returns the names of attributes that are not carried over,
// without that of the ACL where the configuration sets it.
func exceptChosenACL(f File, names []string) []string {
	if f.Grants == nil {
		return names
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == disk.ACLName })
}

// carriedAttributes returns the extended attributes of the file that is going
// to be replaced, if there is one: all of them where nobody but root and uid,
// the owner of the new file, can have put it there, and it belongs to one of
// them. Otherwise it returns their names alone: somebody may have chosen them
// to get at the new file.
func carriedAttributes(d *disk.Dir, name string, uid int) (extra map[string][]byte, left []string, err error) {
	if d == nil || name == "" {
		return nil, nil, nil
	}
	attr, err := d.Attributes(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil || mayCarry(d, attr, uid) {
		return attr.Extra, nil, err
	}
	return nil, slices.Sorted(maps.Keys(attr.Extra)), nil
}

// NotCarried are the extended attributes of a file or generation that the new
// one does not get, since somebody else than root and the file's owner could
// have chosen them.
type NotCarried struct {
	Target, Lineage string
	Path            string
	Names           []string
}

// NotCarried returns the attributes that the new files did not get from those
// that they replace.
func (t *Transaction) NotCarried() []NotCarried { return t.dropped }

func (t *Transaction) notCarried(set Set, path string, names []string) {
	if names = slices.DeleteFunc(names, isLabel); len(names) > 0 {
		t.dropped = append(t.dropped, NotCarried{set.Target, set.Lineage, path, names})
	}
}

// isLabel reports whether a name is that of a security label. Where that is not
// carried over, the security policy labels the new file by its directory.
func isLabel(name string) bool { return strings.HasPrefix(name, "security.") }

// NotCarried returns the attributes that a transaction with the set would not
// carry over.
func (in *Installer) NotCarried(set Set) ([]NotCarried, error) {
	t := &Transaction{open: map[string]*disk.Dir{}}
	defer t.close()
	for _, f := range set.Files {
		d, err := t.openHolder(set, f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		_, left, err := carriedAttributes(d, filepath.Base(f.Path), f.UID)
		if err != nil {
			return nil, pathError(f.Path, err)
		}
		t.notCarried(set, f.Path, exceptChosenACL(f, left))
	}
	return t.dropped, nil
}

// openHolder opens the directory in which a file of the set is now.
func (t *Transaction) openHolder(set Set, f File) (*disk.Dir, error) {
	if set.Directory == "" {
		return t.openDir(filepath.Dir(f.Path))
	}
	d, err := t.openDir(set.Directory)
	if err != nil {
		return nil, err
	}
	generation, err := generationOf(d)
	if err != nil || generation == "" {
		return nil, errors.Join(err, fs.ErrNotExist)
	}
	path := filepath.Join(set.Directory, generation)
	if _, ok := t.open[path]; !ok {
		sub, err := d.Sub(generation)
		if err != nil {
			return nil, err
		}
		t.open[path] = sub
	}
	return t.open[path], nil
}

// linkOld makes the second name of the old file, and fails where that is not the
// file of the plan any more.
func (t *Transaction) linkOld(s swap) error {
	if s.Old == "" {
		return nil
	}
	d, err := t.openDir(s.Dir)
	if err != nil {
		return err
	}
	if err := d.Link(s.Name, s.Undo); err != nil {
		return err
	}
	if saved, err := identityOf(d, s.Undo); err != nil {
		return err
	} else if saved != s.Old {
		return &ChangedError{s.path()}
	}
	return nil
}
