package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/report"
)

// usualWidth is that of a terminal which does not tell, and of what is none.
const usualWidth = 80

// columns returns the width of the terminal that w is. Where it is none, COLUMNS
// may say how wide the output is to be.
func columns(w io.Writer) (width int, terminal bool) {
	width = usualWidth
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		width = n
	}
	file, ok := w.(*os.File)
	if !ok {
		return width, false
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return width, false
	case size.Col == 0:
		return width, true
	}
	return int(size.Col), true
}

// wantsColours reports whether the environment lets a terminal have colours
// (no-color.org: a NO_COLOR that is not empty asks for none).
func wantsColours() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }

// progressAfter is how long work may take without a word.
const progressAfter = time.Second

// progress tells a terminal what long work is about, in one line that is gone
// when the work is done.
type progress struct {
	w     io.Writer
	begin *time.Timer // shows what was told first
	mutex sync.Mutex
	doing string
	shown bool
}

// newProgress returns a progress for standard error; nil where that is no
// terminal.
func newProgress(stderr io.Writer) *progress {
	if _, terminal := columns(stderr); !terminal {
		return nil
	}
	p := &progress{w: stderr}
	p.begin = time.AfterFunc(progressAfter, func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		p.shown = true
		p.show()
	})
	return p
}

func (p *progress) tell(doing string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.doing = doing; p.shown {
		p.show()
	}
}

func (p *progress) show() { fmt.Fprintf(p.w, "\r\x1b[K%s", report.Printable(p.doing)) }

func (p *progress) end() {
	p.begin.Stop()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// watched lets somebody at a terminal see what an engine is about, until the
// function that it gives is called.
func (p *program) watched(e *engine.Engine) (end func()) {
	progress := newProgress(p.stderr)
	if progress == nil {
		return func() {}
	}
	e.Progress = progress.tell
	return progress.end
}
