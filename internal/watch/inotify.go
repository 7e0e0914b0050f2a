package watch

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Event is an event of inotify(7) about a path.
type Event struct {
	path string
	op   fsnotify.Op
	lost bool // events were lost, which came faster than they were read
}

// moves are the operations after which a path may be another file or directory.
const moves = fsnotify.Create | fsnotify.Remove | fsnotify.Rename

// errUnseen says that a directory does not exist any more, or that this user
// may not read it.
var errUnseen = errors.New("it cannot be seen")

// inotify is an instance of inotify(7).
type inotify struct {
	watcher *fsnotify.Watcher
	dirs    map[string]*directory // by path
	batches chan []Event
	ended   chan struct{}
}

// directory is a directory that is watched, and what its events are about.
type directory struct {
	names    map[string][]ref        // what an event of a name in it is about
	itself   *ref                    // what is about the directory itself, where that is removed or renamed
	nameless func(name string) []ref // what an event of another name is about; nil: nothing
}

// leadsTo notes what is to be looked at again if the directory is removed or
// renamed. Where that is more than one thing, it is everything.
func (d *directory) leadsTo(about ref) {
	if d.itself != nil && *d.itself != about {
		about = everything
	}
	d.itself = &about
}

// newInotify returns a new instance. One must be closed before the next is
// made, since users may have only a few.
func newInotify() (*inotify, error) {
	watcher, err := fsnotify.NewBufferedWatcher(mostAtOnce)
	if err != nil {
		return nil, fmt.Errorf("begin to watch: %w", explain(err))
	}
	in := &inotify{watcher: watcher, dirs: map[string]*directory{}, batches: make(chan []Event), ended: make(chan struct{})}
	go in.read()
	return in, nil
}

func (in *inotify) close() {
	close(in.ended)
	_ = in.watcher.Close() // nothing is watched yet, so nothing is lost
}

// add watches a directory, if it is not watched yet. The path must not hold
// links.
func (in *inotify) add(path string) (*directory, error) {
	err := in.watcher.Add(path)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EACCES):
		return nil, errUnseen
	case err != nil:
		return nil, fmt.Errorf("watch %s: %w", path, explain(err))
	}
	dir := in.dirs[path]
	if dir == nil {
		dir = &directory{names: map[string][]ref{}}
		in.dirs[path] = dir
	}
	return dir, nil
}

// explain returns an error with what it means here (inotify_init(2),
// inotify_add_watch(2)).
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("the kernel has no watches left, see fs.inotify.max_user_watches: %w", err)
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("there are too many watchers, see fs.inotify.max_user_instances: %w", err)
	}
	return err
}

// concernedBy returns what an event concerns, and reports whether its path may
// be that of another file or directory since then.
func (in *inotify) concernedBy(event Event) (about []ref, moved bool) {
	if event.lost {
		return []ref{everything}, false
	}
	if dir := in.dirs[event.path]; dir != nil && event.op&(fsnotify.Remove|fsnotify.Rename) != 0 {
		delete(in.dirs, event.path)
		if dir.itself != nil {
			about = append(about, *dir.itself)
		}
		for _, of := range dir.names {
			about = append(about, of...)
		}
	}
	if dir := in.dirs[filepath.Dir(event.path)]; dir != nil {
		name := filepath.Base(event.path)
		of, known := dir.names[name]
		if !known && dir.nameless != nil {
			of = dir.nameless(name)
		}
		about = append(about, of...)
	}
	return about, event.op&moves != 0
}

// mostAtOnce is the largest number of events in a batch.
const mostAtOnce = 4096

// read sends events on in batches until the instance is closed. An error about
// them means that some may be lost.
func (in *inotify) read() {
	defer close(in.batches)
	for {
		batch, ok := in.next(nil)
		for ok && len(in.watcher.Events) > 0 && len(batch) < mostAtOnce {
			batch, ok = in.next(batch)
		}
		if !ok {
			return
		}
		if len(batch) == 0 {
			continue
		}
		select {
		case in.batches <- batch:
		case <-in.ended:
			return
		}
	}
}

// next waits for an event and adds it to a batch.
func (in *inotify) next(batch []Event) ([]Event, bool) {
	select {
	case event, ok := <-in.watcher.Events:
		if event.Op != fsnotify.Chmod { // a change of permissions changes nothing that a lineage holds
			batch = append(batch, Event{path: event.Name, op: event.Op})
		}
		return batch, ok
	case _, ok := <-in.watcher.Errors:
		return append(batch, Event{lost: true}), ok
	}
}
