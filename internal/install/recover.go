package install

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/paths"
)

// Interrupted is a set whose transaction was cut off, and whose previous state
// is back.
type Interrupted struct {
	Target, Lineage string
	Changed         []string // names that somebody else has given to something else since: left as they are
}

// Stuck is a set whose previous state could not be put back. Its files may be
// old and new ones mixed.
type Stuck struct {
	Target, Lineage string
	Err             error
}

// Recovery is what came of recovering transactions that were cut off.
type Recovery struct {
	Interrupted []Interrupted
	Stuck       []Stuck
	Left        []string        // paths of certlatch's own that could not be removed
	NotOurs     []string        // such paths that somebody has given to something else: left alone from now on
	Damaged     []*JournalError // journals that could not be understood; which sets they were about is not known
}

// Recover reads the journals of transactions that were cut off, and puts back
// the previous state of their sets, or, where a transaction had been kept,
// removes what it left. Each set is recovered on its own: one that cannot be
// put back stays for the next call, and so do names that cannot be removed.
// Recover may be cut off itself, and called again. It sets a damaged journal
// aside. It fails where the directory of the journals cannot be used.
func (in *Installer) Recover() (Recovery, error) {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	var r Recovery
	dir, err := in.openJournal()
	if err != nil {
		return r, err
	}
	t := &Transaction{in: in, dir: dir, open: map[string]*disk.Dir{}}
	defer t.close()
	if t.names, err = unfinished(dir); err != nil {
		return r, err
	}
	stuck, left, err := t.pending(&r)
	if err != nil {
		return r, err
	}
	was := len(stuck.Sets) + len(left)
	for _, name := range t.names {
		j, err := r.read(dir, name)
		if err != nil {
			return r, err
		}
		switch {
		case j == nil:
			continue
		case phaseOf(name) == keptFile:
			left = append(left, t.removeOld(j.Sets)...)
		default:
			stuck.Sets = append(stuck.Sets, j.Sets...)
			stuck.Made = append(stuck.Made, j.Made...)
		}
		was++
	}
	if err := t.addLater(&r); err != nil || was == 0 {
		return r, err
	}
	s := t.putBackAll(stuck)
	for _, done := range s.back {
		r.Interrupted = append(r.Interrupted, Interrupted{done.entry.Target, done.entry.Lineage, done.changed})
	}
	for _, failed := range s.stuck {
		r.Stuck = append(r.Stuck, Stuck{failed.entry.Target, failed.entry.Lineage, failed.err})
	}
	left = t.removeLeft(slices.Concat(left, s.left), &r)
	for _, l := range left {
		r.Left = append(r.Left, l.path())
	}
	return r, t.writeRest(s, left, nil)
}

// Unfinished returns what [Installer.Recover] would find, without changing
// anything: Interrupted are the sets that it has yet to put back.
func (in *Installer) Unfinished() (Recovery, error) {
	var r Recovery
	dir, err := disk.Open(in.journalDir)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer dir.Close()
	names, err := dir.List()
	if err != nil {
		return r, err
	}
	for _, name := range names {
		isIntent := phaseOf(name) == intentFile
		if !isIntent && name != stuckFile && name != leftFile && !strings.HasPrefix(name, laterPrefix) {
			continue
		}
		j, err := readJournal(dir, name)
		if damaged := new(JournalError); errors.As(err, &damaged) {
			if len(damaged.Sets) == 0 {
				r.Damaged = append(r.Damaged, damaged)
			}
			for _, set := range damaged.Sets {
				r.Stuck = append(r.Stuck, Stuck{set.Target, set.Lineage, damaged})
			}
			continue
		}
		if err != nil {
			return r, err
		}
		if j == nil {
			continue
		}
		for _, e := range j.Sets {
			if isIntent {
				r.Interrupted = append(r.Interrupted, Interrupted{Target: e.Target, Lineage: e.Lineage})
			} else {
				r.Stuck = append(r.Stuck, Stuck{e.Target, e.Lineage, errors.New(e.Why)})
			}
		}
		for _, l := range j.Left {
			r.Left = append(r.Left, l.path())
		}
	}
	return r, nil
}

// pending returns the sets that earlier recoveries could not put back, and the
// names that they could not remove.
func (t *Transaction) pending(r *Recovery) (stuck journal, left []leftover, err error) {
	if j, err := r.read(t.dir, stuckFile); err != nil {
		return stuck, nil, err
	} else if j != nil {
		stuck = *j
	}
	if j, err := r.read(t.dir, leftFile); err != nil {
		return stuck, nil, err
	} else if j != nil {
		left = j.Left
	}
	return stuck, left, nil
}

// read returns the journal under a name; nil: there is none that can be used.
// It sets a damaged one aside, and so one of a later version, under a name by
// which [Transaction.addLater] finds it.
func (r *Recovery) read(dir *disk.Dir, name string) (*journal, error) {
	j, err := readJournal(dir, name)
	damaged := new(JournalError)
	if !errors.As(err, &damaged) {
		return j, err
	}
	aside := damagedPrefix + time.Now().UTC().Format("20060102T150405.000000000") + "-" + name
	if damaged.Newer && len(damaged.Sets) > 0 {
		aside = laterPrefix + name
	}
	if err := dir.Rename(name, aside); err != nil {
		return nil, fmt.Errorf("set the damaged %s aside: %w", damaged.Path, err)
	}
	if err := dir.Sync(); err != nil {
		return nil, err
	}
	if !damaged.Newer || len(damaged.Sets) == 0 {
		keepNewest(dir, damagedPrefix)
		damaged.Aside = filepath.Join(dir.Path(), aside)
		r.Damaged = append(r.Damaged, damaged)
	}
	return nil, nil
}

// The names of journals that were set aside begin so.
const (
	damagedPrefix = "damaged-"
	laterPrefix   = "later-" // for a later version of certlatch to recover
)

// addLater adds the sets of journals that only a later version of certlatch can
// recover. They are stuck.
func (t *Transaction) addLater(r *Recovery) error {
	names, err := t.dir.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, laterPrefix) {
			continue
		}
		_, err := readJournal(t.dir, name)
		if newer, ok := errors.AsType[*JournalError](err); ok {
			for _, set := range newer.Sets {
				r.Stuck = append(r.Stuck, Stuck{set.Target, set.Lineage, newer})
			}
		}
	}
	return nil
}

// asideKept is how many damaged journals are kept for somebody to look at.
const asideKept = 3

// keepNewest removes all but the newest of the names that are a prefix and a
// time. What it cannot remove does no harm.
func keepNewest(dir *disk.Dir, prefix string) {
	names, err := dir.List()
	if err != nil {
		return
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) })
	for len(names) > asideKept {
		_ = dir.RemoveFiles(names[0], func(string) bool { return true })
		names = names[1:]
	}
}

// settlement is what came of putting sets back.
type settlement struct {
	back  []backSet
	stuck []stuckSet
	made  []string // directories that stay for now, since a set that is stuck may lie in them
	left  []leftover
}

type backSet struct {
	entry   entry
	changed []string // paths that somebody else has changed
}

type stuckSet struct {
	entry entry
	err   error
}

// putBackAll puts the previous state of each set back, in reverse order, and
// removes what was made for the new one.
func (t *Transaction) putBackAll(j journal) (s settlement) {
	for _, e := range slices.Backward(j.Sets) {
		changed, err := t.restore(e)
		if err != nil {
			s.stuck = append(s.stuck, stuckSet{e, err})
			continue
		}
		s.left = append(s.left, t.removeNew(e, len(changed) > 0)...)
		s.back = append(s.back, backSet{e, changed})
	}
	slices.Reverse(s.back)
	slices.Reverse(s.stuck)
	unsynced := t.syncAll()
	s.back = slices.DeleteFunc(s.back, func(done backSet) bool {
		err := done.entry.unsynced(unsynced)
		if err != nil {
			s.stuck = append(s.stuck, stuckSet{done.entry, err})
		}
		return err != nil
	})
	if len(s.stuck) > 0 {
		s.made = j.Made
		return s
	}
	for _, path := range slices.Backward(j.Made) {
		if t.in.usedByAnother(path, t) {
			continue
		}
		s.left = append(s.left, leftover{Dir: filepath.Dir(path), Name: filepath.Base(path), Empty: true})
	}
	if len(j.Made) > 0 {
		names := s.left
		s.left = append(t.remove(names...), unsyncedOf(names, t.syncAll())...)
	}
	return s
}

// usedByAnother reports whether another open transaction installs below a
// directory.
func (in *Installer) usedByAnother(directory string, t *Transaction) bool {
	for _, other := range in.open {
		if other == t {
			continue
		}
		for _, e := range other.journal.Sets {
			if slices.ContainsFunc(e.Swaps, func(s swap) bool { return paths.Within(s.Dir, directory) }) {
				return true
			}
		}
	}
	return false
}

// writeRest writes the journals of what is left to do, beside what is stuck from
// before, and removes the transaction's own.
func (t *Transaction) writeRest(s settlement, left []leftover, stuck []entry) error {
	for _, failed := range s.stuck {
		failed.entry.Why = failed.err.Error()
		stuck = append(stuck, failed.entry)
	}
	if err := t.replace(stuckFile, journal{Sets: stuck, Made: s.made}, len(stuck) > 0); err != nil {
		return err
	}
	if err := t.replace(leftFile, journal{Left: left[:min(len(left), mostLeft)]}, len(left) > 0); err != nil {
		return err
	}
	for _, name := range t.names {
		if err := t.replace(name, journal{}, false); err != nil {
			return err
		}
	}
	return nil
}

// mostLeft bounds the list of what could not be removed.
const mostLeft = 1000

// replace writes a journal under a name, or removes that where the journal
// holds nothing.
func (t *Transaction) replace(name string, j journal, full bool) error {
	if full {
		return writeJournal(t.dir, name, j)
	}
	if _, err := t.dir.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := t.dir.Remove(name); err != nil {
		return err
	}
	return t.dir.Sync()
}

// restore gives the names of a set back to the old files, and returns those
// that somebody else has changed.
func (t *Transaction) restore(e entry) (changed []string, err error) {
	var failed []error
	for _, s := range slices.Backward(e.Swaps) {
		err := t.putBack(s)
		if _, ok := errors.AsType[*ChangedError](err); ok {
			changed = append(changed, s.path())
		} else if err != nil {
			failed = append(failed, err)
		}
	}
	return changed, errors.Join(failed...)
}

// removeNew removes what was made for the new state of a set, once the old one is
// back, and returns what it could not remove. It removes second names before
// new ones, so that putBack still works if this is cut off. Where somebody has
// changed the link to a generation, that generation may be in use, and stays.
func (t *Transaction) removeNew(e entry, changed bool) (left []leftover) {
	for _, s := range e.Swaps {
		left = append(left, t.remove(leftover{Dir: s.Dir, Name: s.Undo}, leftover{Dir: s.Dir, Name: s.Temp})...)
	}
	if e.Generation != "" && !changed {
		left = append(left, t.remove(leftover{Dir: e.Directory, Name: e.Generation, Tree: true})...)
	}
	return left
}

// removeOld removes the second names of what kept transactions replaced, and
// returns what it could not remove.
func (t *Transaction) removeOld(sets []entry) (left []leftover) {
	var names []leftover
	for _, e := range sets {
		for _, s := range e.Swaps {
			names = append(names, leftover{Dir: s.Dir, Name: s.Undo})
		}
	}
	left = t.remove(names...)
	return append(left, unsyncedOf(names, t.syncAll())...)
}

// remove removes names of certlatch's own, and returns those that it could not
// remove.
func (t *Transaction) remove(names ...leftover) (left []leftover) {
	for _, l := range names {
		d, err := t.openDir(l.Dir)
		switch {
		case err != nil:
		case l.Tree:
			err = removeGeneration(d, l.Name)
		case l.Empty:
			err = removeEmpty(d, l.Name)
		default:
			err = discard(d, l.Name)
		}
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
		case l.Empty && errors.Is(err, fs.ErrExist) && !slices.ContainsFunc(left, l.holds):
			// ENOTEMPTY: somebody has put something into it since.
		default:
			left = append(left, l)
		}
	}
	return left
}

// removeGeneration removes a generation, but nothing that certlatch does not
// put into one: in somebody else's directory a directory of theirs may have the
// name.
func removeGeneration(d *disk.Dir, name string) error {
	if err := ownDirectory(d, name); err != nil {
		return err
	}
	return d.RemoveFiles(name, func(file string) bool { return slices.Contains(inGeneration, file) })
}

// removeEmpty removes an empty directory.
func removeEmpty(d *disk.Dir, name string) error {
	if err := ownDirectory(d, name); err != nil {
		return err
	}
	return d.Remove(name)
}

// ownDirectory fails where a name is not that of a directory that certlatch can
// have made.
func ownDirectory(d *disk.Dir, name string) error {
	info, err := d.Stat(name)
	if err == nil && (!info.Mode.IsDir() || info.UID != os.Geteuid()) {
		err = fmt.Errorf("%s is not a directory of certlatch's", filepath.Join(d.Path(), name))
	}
	return err
}

// inGeneration are the names of the files in a generation.
var inGeneration = []string{"fullchain.pem", "chain.pem", "privkey.pem"}

// removeLeft tries again to remove what was left, and returns what still cannot
// be removed. What somebody has put in the place of it, such as a directory, is
// not certlatch's, and goes from the list.
func (t *Transaction) removeLeft(left []leftover, r *Recovery) (still []leftover) {
	again := t.remove(left...)
	if len(left) > 0 {
		again = append(again, unsyncedOf(left, t.syncAll())...)
	}
	for _, l := range again {
		if slices.Contains(still, l) {
			continue
		}
		d, err := t.openDir(l.Dir)
		if err == nil {
			if info, err := d.Stat(l.Name); err == nil && (info.Mode.IsDir() != (l.Tree || l.Empty) || info.UID != os.Geteuid()) {
				r.NotOurs = append(r.NotOurs, l.path())
				continue
			}
		}
		still = append(still, l)
	}
	return still
}

// unsyncedOf returns those of the names whose removal may not be durable, since
// syncing their directory failed.
func unsyncedOf(names []leftover, failed map[string]error) []leftover {
	return slices.DeleteFunc(slices.Clone(names), func(l leftover) bool { return failed[l.Dir] == nil })
}

// syncAll makes the names in all directories durable, and returns the errors by
// directory.
func (t *Transaction) syncAll() map[string]error {
	failed := map[string]error{}
	dirs := slices.Sorted(maps.Keys(t.open))
	all := make([]disk.Unsynced, len(dirs))
	for i, path := range dirs {
		all[i] = t.open[path]
	}
	for i, err := range disk.SyncTogether(all) {
		if err != nil {
			failed[dirs[i]] = err
		}
	}
	return failed
}

// unsynced returns an error because of which names of the set may not be
// durable; nil: they are.
func (e entry) unsynced(failed map[string]error) error {
	for _, s := range e.Swaps {
		if err := failed[s.Dir]; err != nil {
			return err
		}
	}
	return nil
}
