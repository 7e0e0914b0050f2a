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

// progressAfter is how long work may take without a word.
const progressAfter = time.Second

// progress tells a terminal how far long work is, in one line that is gone when
// the work is done.
type progress struct {
	w     io.Writer
	began time.Time
	mutex sync.Mutex
	shown bool
}

// newProgress makes a progress for standard error; nil where that is no
// terminal.
func newProgress(stderr io.Writer) *progress {
	if _, terminal := columns(stderr); !terminal {
		return nil
	}
	return &progress{w: stderr, began: time.Now()}
}

func (p *progress) tell(what string, done, total int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if time.Since(p.began) >= progressAfter {
		fmt.Fprintf(p.w, "\r\x1b[Klooking: %d of %d %s", done, total, what)
		p.shown = true
	}
}

func (p *progress) end() {
	if p != nil && p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
