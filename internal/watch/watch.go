// Package watch notices when lineages of ACME clients have changed. It watches
// the directories where they are kept by inotify(7), waits until a lineage has
// come to rest, and then compares what its files hold with what they held
// before: an event is a hint, and the content decides.
//
// It does not promise to see every change as it happens. What another host
// changes on a network file system makes no event, and what happens while the
// kernel's queue is full is lost; so whoever uses a [Watcher] calls Rescan from
// time to time, which depends on no event. Where the kernel has no watches
// left, there are no events at all, and only Rescan sees anything.
package watch

import (
	"crypto/sha256"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
)

// Watcher watches the lineages below some roots. Its methods must not be called
// at the same time.
type Watcher struct {
	roots []lineage.Root
	wants func(lineage.Lineage) bool
	marks string
	pace  Pace

	inotify  *inotify // nil: without events, only Rescan and Poll see anything
	blind    error    // why
	seen     map[ref][sha256.Size]byte
	settling settling
}

// ref names what an event may be about.
type ref struct {
	root int    // index of the root
	name string // of the lineage
}

// Things other than one lineage that an event may be about.
var (
	everything = ref{-1, ""} // any lineage may have come, gone or changed
	marksDir   = ref{-2, ""}
)

// New returns a watcher of the lineages below roots for which wants reports
// true, and of a directory in which others leave marks. It sees nothing before
// its first Rescan. Changes are those since then.
func New(roots []lineage.Root, wants func(lineage.Lineage) bool, marks string, pace Pace) *Watcher {
	w := &Watcher{roots: roots, wants: wants, marks: marks, pace: pace, settling: settling{}}
	w.inotify, w.blind = newInotify()
	w.scan(func(r ref, now [sha256.Size]byte) { w.seen[r] = now })
	return w
}

// Events returns the channel of the kernel's events; each batch is for Note.
// Where it is closed, there will be no more events before the next Rescan;
// where it is nil, the watcher is blind.
func (w *Watcher) Events() <-chan []Event {
	if w.inotify == nil {
		return nil
	}
	return w.inotify.batches
}

// Blind returns the reason why the watcher gets no events; nil: it does.
func (w *Watcher) Blind() error { return w.blind }

// Lineages returns the number of wanted lineages.
func (w *Watcher) Lineages() int { return len(w.seen) }

// Knows reports whether some lineage that is there passes a test.
func (w *Watcher) Knows(test func(lineage.Lineage) bool) bool {
	for r := range w.seen {
		if test(lineage.Lineage{Client: w.roots[r.root].Client, Name: r.name}) {
			return true
		}
	}
	return false
}

// Close ends the watch.
func (w *Watcher) Close() {
	if w.inotify != nil {
		w.inotify.close()
		w.inotify = nil
	}
}

// Note takes events as hints, and reports whether some were lost because they
// came faster than they were noted. Then everything will be looked at.
func (w *Watcher) Note(batch []Event, now time.Time) (lost bool) {
	if w.inotify == nil {
		return false
	}
	for _, e := range batch {
		lost = lost || e.lost
		about, moved := w.inotify.concernedBy(e)
		for _, r := range about {
			w.settling.hint(r, now)
			if moved && r.root >= 0 {
				w.arm(r) // what is there now may be another directory
			}
		}
	}
	return lost
}

// Lost takes the end of the events as a hint about everything.
func (w *Watcher) Lost(now time.Time) {
	w.Close()
	w.settling.hint(everything, now)
}

// Rescan makes all watches anew, and looks at every lineage.
func (w *Watcher) Rescan(now time.Time) {
	w.Close()
	w.inotify, w.blind = newInotify()
	w.Poll(now)
}

// Poll looks at every lineage. What has changed since it was last looked at
// becomes a hint like those of events, so that half of a renewal is waited for.
func (w *Watcher) Poll(now time.Time) {
	delete(w.settling, everything)
	known := w.seen
	w.scan(func(r ref, digest [sha256.Size]byte) {
		was, ok := known[r]
		if !ok || was != digest {
			w.settling.hint(r, now)
		}
		w.seen[r] = was // Ready returns the change
	})
	if w.inotify == nil {
		w.settling.hint(marksDir, now)
	}
}

// scan watches every lineage that is wanted, and then looks at it.
func (w *Watcher) scan(found func(ref, [sha256.Size]byte)) {
	w.seen = map[ref][sha256.Size]byte{}
	w.armDir(w.marks, marksDir)
	for i, root := range w.roots {
		w.armRoot(i)
		lineages, _ := root.List() // a root that cannot be read holds nothing that could be deployed
		for _, l := range lineages {
			if !w.wants(l) {
				continue
			}
			r := ref{i, l.Name}
			w.arm(r)
			found(r, lineage.Digest(l))
		}
	}
}

// Changes are changes that have come to rest.
type Changes struct {
	Lineages []lineage.Lineage // those whose files have changed
	Marks    bool              // somebody may have left a mark
}

// Ready returns the changes that have come to rest by now, each once. A lineage
// whose certificate and key do not belong together is left alone for a while:
// its client may not have written all of it yet.
func (w *Watcher) Ready(now time.Time) (changes Changes) {
	for _, r := range w.settling.due(now, w.pace) {
		rest := w.settling[r]
		delete(w.settling, r)
		switch r {
		case marksDir:
			changes.Marks = true
		case everything:
			w.Rescan(now)
		default:
			if l, changed := w.compare(r, rest, now); changed {
				changes.Lineages = append(changes.Lineages, l)
			}
		}
	}
	return changes
}

// compare returns a lineage, and reports whether it has changed since Ready
// returned it last.
func (w *Watcher) compare(r ref, rest hints, now time.Time) (lineage.Lineage, bool) {
	w.arm(r) // first, so that what changes after the look is seen
	l, err := w.roots[r.root].Find(r.name)
	if err != nil || !w.wants(l) {
		delete(w.seen, r)
		return l, false
	}
	digest := lineage.Digest(l)
	if was, ok := w.seen[r]; ok && was == digest {
		return l, false
	}
	if bundle, _ := lineage.Read(l); bundle == nil && w.settling.putOff(r, rest, now, w.pace) {
		return l, false
	}
	w.seen[r] = digest
	return l, true
}

// Next returns the time at which there is something for Ready; zero: not before
// another event.
func (w *Watcher) Next() time.Time { return w.settling.next(w.pace) }

// armRoot watches for lineages that are made below a root, or for the root
// itself.
func (w *Watcher) armRoot(i int) {
	if dir := w.armDir(w.roots[i].Dir, everything); dir != nil {
		dir.nameless = func(name string) []ref {
			lineageName := w.roots[i].NameAt(filepath.Join(w.roots[i].Dir, name))
			if lineageName == "" || !w.wants(lineage.Lineage{Client: w.roots[i].Client, Name: lineageName}) {
				return nil
			}
			return []ref{{i, lineageName}}
		}
	}
}

// armDir watches what leads to a directory, and the directory, which it
// returns; nil: it does not exist.
func (w *Watcher) armDir(path string, about ref) *directory {
	points, end := watchPoints(path)
	w.armAll(points, about)
	if end == "" || w.inotify == nil {
		return nil
	}
	dir := w.watch(end)
	if dir != nil {
		dir.leadsTo(about)
		dir.nameless = func(string) []ref { return []ref{about} }
	}
	return dir
}

// arm watches every point whose change may change what a lineage's files are.
func (w *Watcher) arm(r ref) {
	if w.inotify == nil {
		return
	}
	l, err := w.roots[r.root].Lineage(r.name)
	if err != nil {
		return
	}
	for _, path := range []string{l.Fullchain, l.Chain, l.Key} {
		if path != "" {
			points, _ := watchPoints(path)
			w.armAll(points, r)
		}
	}
}

// armAll watches points.
func (w *Watcher) armAll(points []watchPoint, about ref) {
	for _, p := range points {
		if p.name == "" {
			if dir := w.watch(p.dir); dir != nil {
				dir.leadsTo(about)
			}
		} else if dir := w.watch(p.dir); dir != nil && !slices.Contains(dir.names[p.name], about) {
			dir.names[p.name] = append(dir.names[p.name], about)
		}
	}
}

// watch watches a directory and returns it; nil: it cannot be watched. Of one
// that has vanished, the directory above has an event. Where the kernel has no
// watches left, the watcher gives up all of its own: half of them would look
// like all, and others may need them.
func (w *Watcher) watch(path string) *directory {
	if w.inotify == nil {
		return nil
	}
	dir, err := w.inotify.add(path)
	if err != nil && !errors.Is(err, errUnseen) {
		w.Close()
		w.blind = err
		return nil
	}
	return dir
}
