package install

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/certlatch/certlatch/internal/disk"
)

// Transaction is a number of sets that are installed together. It ends with
// Undo or Keep; a Commit that fails has undone itself.
type Transaction struct {
	dir       *disk.Dir // where the journal is
	journal   journal
	open      map[string]*disk.Dir // by path; opened once, held to the end
	staged    []Staged
	committed bool
	over      bool
}

// ChangedError says that somebody else replaced or removed something while
// the transaction ran. It was left alone.
type ChangedError struct{ Path string }

func (e *ChangedError) Error() string {
	return e.Path + " was changed by somebody else meanwhile, and is left as it is"
}

// RestoreError says that not everything of the previous state is back in its
// place.
type RestoreError struct{ Err error }

func (e *RestoreError) Error() string {
	return "the previous files are not all back in place: " + e.Err.Error()
}

func (e *RestoreError) Unwrap() error { return e.Err }

// Staged gives the new files, so that it can be tried whether the service may
// read them.
func (t *Transaction) Staged() []Staged { return t.staged }

// Commit gives the new files their names: one rename a managed set; in place
// one a file, those with the key first. If one fails, what was renamed is put
// back before Commit returns, and the transaction is over; if that fails too,
// there is a *RestoreError in the error.
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
			d, err := t.at(s.Dir)
			if err != nil {
				return err
			}
			if err := d.Rename(s.Temp, s.Name); err != nil {
				return fmt.Errorf("install %s for %s: %w", e.Lineage, e.Target, err)
			}
		}
	}
	return t.sync()
}

// Undo puts the previous state back and removes what was made for the new
// one. Of a transaction that is over it does nothing. Where something could
// not be put back the error is a *RestoreError; unless that is because
// somebody else changed it (*ChangedError), the journal stays for Recover. Any
// other error means that the old files are back and something is left beside
// them.
func (t *Transaction) Undo() error {
	if t.over {
		return nil
	}
	t.over = true
	defer t.close()
	changed, err := t.restore()
	if err != nil {
		return err
	}
	var left []error
	for _, path := range slices.Concat(changed...) {
		left = append(left, &ChangedError{path})
	}
	if len(left) > 0 {
		return &RestoreError{errors.Join(left...)}
	}
	return nil
}

// Keep makes the commit final: from here on a crash does not undo it. The
// second names of the old files are removed, and of each managed directory's
// generations all but three: the current one, the previous one, and the
// newest of the others. Where clearing away fails, the transaction is kept all
// the same, and Recover or the next Keep will do the rest.
func (t *Transaction) Keep() error {
	if t.over || !t.committed {
		return errors.New("only a committed transaction can be kept")
	}
	if err := moveJournal(t.dir, intentFile, keptFile); err != nil {
		return err
	}
	t.over = true
	defer t.close()
	if err := t.clearKept(); err != nil {
		return err
	}
	for _, e := range t.journal.Sets {
		if e.Directory == "" {
			continue
		}
		if err := t.prune(e); err != nil {
			return err
		}
	}
	return nil
}

// restore puts everything back in reverse order and ends the journal. It says
// of each set which paths somebody else has changed.
func (t *Transaction) restore() (changed [][]string, err error) {
	changed = make([][]string, len(t.journal.Sets))
	var failed []error
	for i, e := range slices.Backward(t.journal.Sets) {
		for _, s := range slices.Backward(e.Swaps) {
			err := t.putBack(s)
			if _, ok := errors.AsType[*ChangedError](err); ok {
				changed[i] = append(changed[i], s.path())
			} else if err != nil {
				failed = append(failed, err)
			}
		}
	}
	if len(failed) > 0 {
		return nil, &RestoreError{errors.Join(failed...)}
	}
	if err := t.clear(changed); err != nil {
		return nil, fmt.Errorf("the previous files are back in place, but something is left beside them: %w", err)
	}
	return changed, t.forget(intentFile)
}

// putBack makes a name mean the old one again. It is decided by what is there,
// so it does not matter how far a commit, or an earlier putBack, had come.
func (t *Transaction) putBack(s swap) error {
	d, err := t.at(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not made yet
	}
	if err != nil {
		return err
	}
	if _, err := d.Stat(s.Temp); !errors.Is(err, fs.ErrNotExist) {
		return err // the new one has not been renamed
	}
	now, err := identify(d, s.Name)
	if err != nil {
		return notOurs(s, err)
	}
	undo, err := identify(d, s.Undo)
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

// notOurs tells what was never certlatch's from a failure to look.
func notOurs(s swap, err error) error {
	_, irregular := errors.AsType[*disk.IrregularError](err)
	_, large := errors.AsType[*disk.SizeError](err)
	if irregular || large {
		return &ChangedError{s.path()}
	}
	return err
}

// clear removes what was made for the new state, once the old one is back.
// Second names go before new ones, so that putBack stays right if this is cut
// off. Where somebody has changed the link to a generation it may still be in
// use: it stays.
func (t *Transaction) clear(changed [][]string) error {
	for i, e := range t.journal.Sets {
		for _, s := range e.Swaps {
			if err := t.discard(s.Dir, s.Undo, s.Temp); err != nil {
				return err
			}
		}
		if e.Generation == "" || len(changed[i]) > 0 {
			continue
		}
		d, err := t.at(e.Directory)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := d.RemoveAll(e.Generation); err != nil {
			return err
		}
	}
	if err := t.sync(); err != nil {
		return err
	}
	for _, path := range slices.Backward(t.journal.Made) {
		if err := removeEmpty(path); err != nil {
			return err
		}
	}
	return nil
}

// clearKept removes the second names of what a kept transaction replaced, and
// ends the journal.
func (t *Transaction) clearKept() error {
	for _, e := range t.journal.Sets {
		for _, s := range e.Swaps {
			if err := t.discard(s.Dir, s.Undo); err != nil {
				return err
			}
		}
	}
	if err := t.sync(); err != nil {
		return err
	}
	return t.forget(keptFile)
}

// generationsKept is how many generations stay in a managed directory.
const generationsKept = 3

// prune removes a managed set's oldest generations. Their names sort by time;
// what has another kind of name is not certlatch's. What a crash leaves is
// pruned the next time.
func (t *Transaction) prune(e entry) error {
	d, err := t.at(e.Directory)
	if err != nil {
		return err
	}
	now, err := identify(d, current)
	if err != nil {
		return err
	}
	names, err := d.List()
	if err != nil {
		return err
	}
	generations := slices.DeleteFunc(names, func(name string) bool { return !isGeneration(name) })
	excess := len(generations) - generationsKept
	spared := []string{now.target(), e.Generation, e.Swaps[0].Old.target()}
	for _, name := range generations {
		if excess <= 0 {
			break
		}
		if slices.Contains(spared, name) {
			continue
		}
		if err := d.RemoveAll(name); err != nil {
			return fmt.Errorf("remove an old generation: %w", err)
		}
		excess--
	}
	return nil
}

// forget ends the journal, which is the last trace of a transaction.
func (t *Transaction) forget(name string) error {
	if err := t.dir.Remove(name); err != nil {
		return err
	}
	return t.dir.Sync()
}

// at gives a directory that the transaction works in.
func (t *Transaction) at(path string) (*disk.Dir, error) {
	if d, ok := t.open[path]; ok {
		return d, nil
	}
	d, err := disk.Open(path)
	if err == nil {
		t.open[path] = d
	}
	return d, err
}

// discard removes names from a directory, where they are there.
func (t *Transaction) discard(dir string, names ...string) error {
	d, err := t.at(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := discard(d, name); err != nil {
			return err
		}
	}
	return nil
}

// sync makes all names durable.
func (t *Transaction) sync() error {
	for _, path := range slices.Sorted(maps.Keys(t.open)) {
		if err := t.open[path].Sync(); err != nil {
			return err
		}
	}
	return nil
}

func (t *Transaction) close() {
	for _, d := range t.open {
		d.Close()
	}
	t.dir.Close()
}

// removeEmpty removes a directory that nobody has put anything into.
func removeEmpty(path string) error {
	err := disk.Remove(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) { // ENOTEMPTY counts as the latter
		return nil
	}
	return err
}
