// Package progress shows what long work is about, in one line that is gone when
// the work is done. Short work is not shown.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// after is how long work may take before it is shown.
const after = time.Second

// Line is the line of a terminal on which the cursor is.
type Line struct {
	w     io.Writer
	begin *time.Timer // shows the line for the first time
	mutex sync.Mutex
	doing string
	shown bool
	ended bool // a timer that fires now comes too late
}

// Begin returns the line of a terminal for work that begins now.
func Begin(w io.Writer) *Line {
	l := &Line{w: w}
	l.begin = time.AfterFunc(after, func() {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		if !l.ended {
			l.shown = true
			l.show()
		}
	})
	return l
}

// Tell sets what the line shows from now on, in printable text.
func (l *Line) Tell(doing string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.doing = doing; l.shown {
		l.show()
	}
}

func (l *Line) show() { fmt.Fprintf(l.w, "\r\x1b[K%s", l.doing) }

// End removes the line.
func (l *Line) End() {
	l.begin.Stop()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.ended = true
	if l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}
