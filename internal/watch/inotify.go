package watch

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Event is what the kernel tells of a path.
type Event struct {
	path string
	op   fsnotify.Op
	lost bool // of others: they came faster than they were read
}

// moves are the operations after which a path may be another file or directory.
const moves = fsnotify.Create | fsnotify.Remove | fsnotify.Rename

// errUnseen says that a directory is not there any more, or not for this user
// to look into.
var errUnseen = errors.New("it cannot be seen")

// eyes are one instance of inotify(7).
type eyes struct {
	watcher *fsnotify.Watcher
	dirs    map[string]*directory // by path
	batches chan []Event
	ended   chan struct{}
}

// directory is one that is watched.
type directory struct {
	names    map[string][]ref        // what an event of a name in it is about
	itself   *ref                    // what is concerned where it goes away
	nameless func(name string) []ref // what an event of another name is about; nil: nothing
}

// leadsTo notes what would be concerned if a directory went away. Where that is
// more than one thing, it is everything.
func (d *directory) leadsTo(about ref) {
	if d.itself != nil && *d.itself != about {
		about = everything
	}
	d.itself = &about
}

// open makes an instance. One must be closed before the next is made, since
// users may have only a few.
func open() (*eyes, error) {
	watcher, err := fsnotify.NewBufferedWatcher(mostAtOnce)
	if err != nil {
		return nil, fmt.Errorf("begin to watch: %w", explain(err))
	}
	e := &eyes{watcher: watcher, dirs: map[string]*directory{}, batches: make(chan []Event), ended: make(chan struct{})}
	go e.read()
	return e, nil
}

func (e *eyes) close() {
	close(e.ended)
	_ = e.watcher.Close() // there is nothing in it that could be lost
}

// add has a directory watched, if it is not yet. The path must not hold links.
func (e *eyes) add(path string) (*directory, error) {
	err := e.watcher.Add(path)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EACCES):
		return nil, errUnseen
	case err != nil:
		return nil, fmt.Errorf("watch %s: %w", path, explain(err))
	}
	dir := e.dirs[path]
	if dir == nil {
		dir = &directory{names: map[string][]ref{}}
		e.dirs[path] = dir
	}
	return dir, nil
}

// explain says what errors mean here (inotify_init(2), inotify_add_watch(2)).
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("the kernel has no watches left, see fs.inotify.max_user_watches: %w", err)
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("there are too many watchers, see fs.inotify.max_user_instances: %w", err)
	}
	return err
}

// about tells what an event is about, and whether a path may be another file or
// directory since then.
func (e *eyes) about(event Event) (about []ref, moved bool) {
	if event.lost {
		return []ref{everything}, false
	}
	if dir := e.dirs[event.path]; dir != nil && event.op&(fsnotify.Remove|fsnotify.Rename) != 0 {
		delete(e.dirs, event.path)
		if dir.itself != nil {
			about = append(about, *dir.itself)
		}
		for _, of := range dir.names {
			about = append(about, of...)
		}
	}
	if dir := e.dirs[filepath.Dir(event.path)]; dir != nil {
		name := filepath.Base(event.path)
		of, known := dir.names[name]
		if !known && dir.nameless != nil {
			of = dir.nameless(name)
		}
		about = append(about, of...)
	}
	return about, event.op&moves != 0
}

// mostAtOnce bounds a batch.
const mostAtOnce = 4096

// read hands events on, those that are there together, until the instance is
// closed. Whatever goes wrong with them, some may be lost.
func (e *eyes) read() {
	defer close(e.batches)
	for {
		batch, ok := e.next(nil)
		for ok && len(e.watcher.Events) > 0 && len(batch) < mostAtOnce {
			batch, ok = e.next(batch)
		}
		if !ok {
			return
		}
		if len(batch) == 0 {
			continue
		}
		select {
		case e.batches <- batch:
		case <-e.ended:
			return
		}
	}
}

// next waits for an event and adds it to a batch.
func (e *eyes) next(batch []Event) ([]Event, bool) {
	select {
	case event, ok := <-e.watcher.Events:
		if event.Op != fsnotify.Chmod { // it changes nothing that a lineage holds
			batch = append(batch, Event{path: event.Name, op: event.Op})
		}
		return batch, ok
	case _, ok := <-e.watcher.Errors:
		return append(batch, Event{lost: true}), ok
	}
}
