package main

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/progress"
	"github.com/certlatch/certlatch/internal/report"
)

// usualWidth is the width, in columns, of a terminal that does not know its own
// and of output that is no terminal.
const usualWidth = 80

// terminalWidth returns the width of w in columns, and reports whether w is a
// terminal. Where it is none, the width is that in COLUMNS, or usualWidth.
func terminalWidth(w io.Writer) (width int, terminal bool) {
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

// showProgress returns a function that shows at a terminal what is being done,
// until end is called. Where there is no terminal, the function is nil.
func (p *program) showProgress() (tell func(doing string), end func()) {
	if _, terminal := terminalWidth(p.stderr); !terminal {
		return nil, func() {}
	}
	line := progress.Begin(p.stderr)
	return func(doing string) { line.Tell(report.Printable(doing)) }, line.End
}
