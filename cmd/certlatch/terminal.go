package main

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/progress"
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

// watched lets somebody at a terminal see what an engine is about, until the
// function that it returns is called.
func (p *program) watched(e *engine.Engine) (end func()) {
	if _, terminal := columns(p.stderr); !terminal {
		return func() {}
	}
	line := progress.Begin(p.stderr)
	e.Progress = func(doing string) { line.Tell(report.Printable(doing)) }
	return line.End
}
