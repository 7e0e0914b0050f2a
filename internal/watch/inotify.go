package watch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Event is what the kernel tells of one watched directory (inotify(7)).
type Event struct {
	watch int32
	mask  uint32
	name  string // in the directory; empty: the directory itself
}

const (
	// inside are the events of names in a directory. Attributes are none of
	// them: they change nothing that a lineage holds.
	inside = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_MODIFY | unix.IN_CLOSE_WRITE
	itself = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF

	// moves are those after which a name may be another file or directory.
	moves = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_UNMOUNT | itself
)

// errUnseen says that a directory is not there any more, or not for this user
// to look into.
var errUnseen = errors.New("it cannot be seen")

// eyes are one instance of inotify.
type eyes struct {
	fd      int
	file    *os.File // of fd
	dirs    map[int32]*directory
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
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("begin to watch: %w", explain(err))
	}
	e := &eyes{
		fd: fd, file: os.NewFile(uintptr(fd), "inotify"), dirs: map[int32]*directory{},
		batches: make(chan []Event), ended: make(chan struct{}),
	}
	go e.read()
	return e, nil
}

func (e *eyes) close() {
	close(e.ended)
	_ = e.file.Close() // there is nothing in it that could be lost
}

// add has a directory watched for events, beside those that it is watched for
// already. The path must not hold links.
func (e *eyes) add(path string, events uint32) (*directory, error) {
	watch, err := unix.InotifyAddWatch(e.fd, path, events|unix.IN_MASK_ADD|unix.IN_ONLYDIR|unix.IN_DONT_FOLLOW|unix.IN_EXCL_UNLINK)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EACCES):
		return nil, errUnseen
	case err != nil:
		return nil, fmt.Errorf("watch %s: %w", path, explain(err))
	}
	dir := e.dirs[int32(watch)]
	if dir == nil {
		dir = &directory{names: map[string][]ref{}}
		e.dirs[int32(watch)] = dir
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

// about tells what an event is about, and whether a name may be another file or
// directory since then.
func (e *eyes) about(event Event) (about []ref, moved bool) {
	if event.mask&unix.IN_Q_OVERFLOW != 0 {
		return []ref{everything}, false
	}
	dir := e.dirs[event.watch]
	switch {
	case dir == nil:
		return nil, false
	case event.mask&unix.IN_IGNORED != 0:
		delete(e.dirs, event.watch)
		return nil, false
	case event.mask&(itself|unix.IN_UNMOUNT) != 0:
		if event.mask&unix.IN_MOVE_SELF != 0 {
			_, _ = unix.InotifyRmWatch(e.fd, uint32(event.watch)) // fails where it has gone meanwhile
		}
		if dir.itself != nil {
			about = append(about, *dir.itself)
		}
		for _, of := range dir.names {
			about = append(about, of...)
		}
		return about, true
	}
	about, known := dir.names[event.name]
	if !known && dir.nameless != nil {
		about = dir.nameless(event.name)
	}
	return about, event.mask&moves != 0
}

// read reads events until the instance is closed.
func (e *eyes) read() {
	defer close(e.batches)
	buffer := make([]byte, 64<<10)
	for {
		n, err := e.file.Read(buffer)
		if err != nil {
			return
		}
		select {
		case e.batches <- parse(buffer[:n]):
		case <-e.ended:
			return
		}
	}
}

// parse takes the kernel's records apart: struct inotify_event of inotify(7),
// whose name is padded with zeros.
func parse(data []byte) (events []Event) {
	for len(data) >= unix.SizeofInotifyEvent {
		length := binary.NativeEndian.Uint32(data[12:])
		name := data[unix.SizeofInotifyEvent:][:length]
		events = append(events, Event{
			watch: int32(binary.NativeEndian.Uint32(data)),
			mask:  binary.NativeEndian.Uint32(data[4:]),
			name:  string(bytes.TrimRight(name, "\x00")),
		})
		data = data[unix.SizeofInotifyEvent+length:]
	}
	return events
}
