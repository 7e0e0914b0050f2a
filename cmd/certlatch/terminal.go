package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/engine"
)

// usualWidth is that of a terminal which does not tell, and of what is none.
const usualWidth = 80

// columns gives the width of the terminal that w is. Where it is none, COLUMNS
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

// A colour is the number of an ANSI foreground colour; 0: none.
type colour int

const (
	red     colour = 31
	green   colour = 32
	yellow  colour = 33
	magenta colour = 35
	grey    colour = 90
)

// pen writes in colours where that is wanted.
type pen struct{ coloured bool }

// penFor colours on a terminal, unless the environment asks for none
// (no-color.org: a NO_COLOR that is not empty).
func penFor(terminal bool) pen {
	return pen{terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (p pen) paint(c colour, text string) string {
	if !p.coloured || c == 0 || text == "" {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, text)
}

// printable replaces what a terminal might take for a command.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

// inLine is printable text of one line: what a program has printed, and names
// that others gave to files, make no lines of their own.
func inLine(text string) string {
	return printable(strings.ReplaceAll(strings.TrimSpace(text), "\n", " "))
}

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

// newProgress makes a progress for standard error; nil where that is no
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

func (p *progress) show() { fmt.Fprintf(p.w, "\r\x1b[K%s", printable(p.doing)) }

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
