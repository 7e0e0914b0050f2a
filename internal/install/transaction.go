package install

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
)

// Transaction is the installation of sets together. It ends with Undo or Keep;
// a Commit that fails has been undone.
type Transaction struct {
	in        *Installer
	dir       *disk.Dir // where the journal is,
	names     []string  // and the names that it has, or will have
	journal   journal
	open      map[string]*disk.Dir // by path; opened once, held to the end
	fresh     []fresh
	staged    []Staged
	dropped   []NotCarried
	committed bool
	over      bool
}

// ChangedError says that somebody else replaced or removed something while
// the transaction ran. It was left alone.
type ChangedError struct{ Path string }

func (e *ChangedError) Error() string {
	return e.Path + " was changed by somebody else meanwhile, and is left as it is"
}

// RestoreError says that not everything of the previous state could be put
// back.
type RestoreError struct {
	Err  error
	Sets []Ref // the sets that are not back in whole
}

func (e *RestoreError) Error() string {
	return "the previous files are not all back in place: " + e.Err.Error()
}

func (e *RestoreError) Unwrap() error { return e.Err }

// Staged returns the new files, so that the caller can try whether the service
// may read them.
func (t *Transaction) Staged() []Staged { return t.staged }

// Commit renames the new files to their names: with one rename for a managed
// set, and in place with one for each file, those with the key first. If one
// fails, Commit puts back what was renamed, and the transaction is over; if
// that fails too, there is a *RestoreError in the error.
func (t *Transaction) Commit() error {
	if err := t.commit(); err != nil {
		return errors.Join(err, t.Undo())
	}
	t.committed = true
	return nil
}

func (t *Transaction) commit() error {
	for _, e := range t.journal.Sets {
		for _, s := range e.Swaps {
			d, err := t.openDir(s.Dir)
			if err == nil {
				err = d.Rename(s.Temp, s.Name)
			}
			if err != nil {
				return &SetError{Ref{e.Target, e.Lineage}, err}
			}
		}
	}
	return t.sync()
}

// LeftError says that names of certlatch's own could not be removed, and that
// nothing else is wrong. Recover tries again.
type LeftError struct{ Paths []string }

func (e *LeftError) Error() string { return "cannot remove " + strings.Join(e.Paths, ", ") }

// NotKeptError says that a commit could not be made final: Recover would undo
// it.
type NotKeptError struct{ Err error }

func (e *NotKeptError) Error() string {
	return "cannot note that the installation stays: " + e.Err.Error()
}
func (e *NotKeptError) Unwrap() error { return e.Err }

// Undo puts the previous state back and removes what was made for the new one.
// For a transaction that is over it does nothing. Where something could not be
// put back the error is a *RestoreError; unless that is because somebody else
// changed it (*ChangedError), Recover will try again. Where only something is
// left beside the old files, it is a *LeftError.
func (t *Transaction) Undo() error {
	if t.over {
		return nil
	}
	t.in.mutex.Lock()
	defer t.in.mutex.Unlock()
	return t.undo()
}

// undo is Undo with the journals locked.
func (t *Transaction) undo() error {
	t.over = true
	defer t.close()
	s := t.putBackAll(t.journal)
	lost := &RestoreError{}
	var errs []error
	for _, failed := range s.stuck {
		errs = append(errs, failed.err)
		lost.Sets = append(lost.Sets, Ref{failed.entry.Target, failed.entry.Lineage})
	}
	for _, done := range s.back {
		for _, path := range done.changed {
			errs = append(errs, &ChangedError{path})
		}
		if len(done.changed) > 0 {
			lost.Sets = append(lost.Sets, Ref{done.entry.Target, done.entry.Lineage})
		}
	}
	err := t.writeUnsettled(s)
	if lost.Err = errors.Join(errs...); lost.Err != nil {
		lost.Err = errors.Join(lost.Err, err)
		return lost
	}
	return cmp.Or(err, leftError(s.left))
}

// writeUnsettled writes the journals of what a transaction could not undo,
// beside what is left from others.
func (t *Transaction) writeUnsettled(s settlement) error {
	stuck, left, err := t.pending(new(Recovery))
	if err != nil {
		return err
	}
	s.made = slices.Concat(stuck.Made, s.made)
	return t.writeRest(s, slices.Concat(left, s.left), stuck.Sets)
}

func leftError(left []leftover) error {
	if len(left) == 0 {
		return nil
	}
	e := &LeftError{}
	for _, l := range left {
		e.Paths = append(e.Paths, l.path())
	}
	return e
}

// Keep makes the commit final: from here on a crash does not undo it. The
// second names of the old files are removed, and of each managed directory's
// generations all but three: the current one, the previous one, and the newest
// of the others. If it cannot be made final, the error is a *NotKeptError, and
// the transaction is to be undone. Where only removing fails, it is kept all
// the same; Recover will do the rest.
func (t *Transaction) Keep() error {
	if t.over || !t.committed {
		return errors.New("only a committed transaction can be kept")
	}
	t.in.mutex.Lock()
	defer t.in.mutex.Unlock()
	if err := t.dir.Rename(t.names[0], t.names[1]); err != nil {
		return &NotKeptError{err}
	}
	t.over = true // from here on Recover would not finish an undo that was cut off
	defer t.close()
	if err := t.dir.Sync(); err != nil {
		return err
	}
	s := settlement{left: t.removeOld(t.journal.Sets)}
	if err := t.writeUnsettled(s); err != nil {
		return err
	}
	left := s.left
	for _, e := range t.journal.Sets {
		if e.Directory != "" {
			left = append(left, t.prune(e)...)
		}
	}
	return leftError(left)
}

// putBack gives a name back to the old file. It goes by what is there, so it
// does not matter how far a commit, or an earlier putBack, came.
func (t *Transaction) putBack(s swap) error {
	d, err := t.openDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the second name was not made yet
	}
	if err != nil {
		return err
	}
	if _, err := d.Stat(s.Temp); !errors.Is(err, fs.ErrNotExist) {
		return err // the new file was not renamed yet
	}
	now, err := identityOf(d, s.Name)
	if err != nil {
		return notOurs(s, err)
	}
	undo, err := identityOf(d, s.Undo)
	if err != nil {
		return notOurs(s, err)
	}
	switch {
	case undo != "" && undo == s.Old && (now == s.New || now == ""):
		return d.Rename(s.Undo, s.Name)
	case now == s.Old:
		return nil
	case now == s.New && s.Old == "":
		return d.Remove(s.Name)
	default:
		return &ChangedError{s.path()}
	}
}

// notOurs returns a *ChangedError for a name that is somebody else's by now,
// and err where it could not be looked at.
func notOurs(s swap, err error) error {
	_, irregular := errors.AsType[*disk.IrregularError](err)
	_, large := errors.AsType[*disk.SizeError](err)
	if irregular || large {
		return &ChangedError{s.path()}
	}
	return err
}

// generationsKept is how many generations stay in a managed directory.
const generationsKept = 3

// prune removes a managed set's oldest generations, and returns those that it
// could not remove. A directory whose name is no generation's, or which belongs
// to somebody else, stays. What a crash leaves is pruned the next time.
func (t *Transaction) prune(e entry) (left []leftover) {
	d, err := t.openDir(e.Directory)
	if err != nil {
		return nil
	}
	now, err := identityOf(d, current)
	if err != nil {
		return nil
	}
	names, err := d.List()
	if err != nil {
		return nil
	}
	generations := slices.DeleteFunc(names, func(name string) bool {
		info, err := d.Stat(name)
		return err != nil || !isGeneration(name) || !info.Mode.IsDir() || info.UID != os.Geteuid()
	})
	sortByAge(generations, time.Now())
	excess := len(generations) - generationsKept
	spared := []string{now.target(), e.Generation, e.Swaps[0].Old.target()}
	for _, name := range generations {
		if excess <= 0 {
			break
		}
		if slices.Contains(spared, name) {
			continue
		}
		failed := t.remove(leftover{Dir: e.Directory, Name: name, Tree: true})
		if left = append(left, failed...); failed == nil {
			excess--
		}
	}
	return left
}

// sortByAge sorts generations by the times that their names begin with, oldest
// first. One whose time is yet to come is from a clock that was wrong, and
// counts as old.
func sortByAge(generations []string, now time.Time) {
	limit := now.UTC().Add(24 * time.Hour).Format(stampLayout)
	slices.SortFunc(generations, func(a, b string) int {
		switch {
		case (a > limit) == (b > limit):
			return strings.Compare(a, b)
		case a > limit:
			return -1
		}
		return 1
	})
}

// openDir returns the open directory at a path.
func (t *Transaction) openDir(path string) (*disk.Dir, error) {
	if d, ok := t.open[path]; ok {
		return d, nil
	}
	d, err := disk.Open(path)
	if err == nil {
		t.open[path] = d
	}
	return d, err
}

// sync makes the names in all directories of the transaction durable.
func (t *Transaction) sync() error {
	return errors.Join(slices.Collect(maps.Values(t.syncAll()))...)
}

// close lets go of the directories, and of the transaction's place among those
// that are open.
func (t *Transaction) close() {
	if len(t.names) > 0 && t.in.open[t.names[0]] == t {
		delete(t.in.open, t.names[0])
	}
	t.closeFresh()
	for _, d := range t.open {
		d.Close()
	}
	if t.dir != nil {
		t.dir.Close()
	}
}
