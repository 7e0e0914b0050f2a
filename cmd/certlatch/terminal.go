package main

import (
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/progress"
	"github.com/certlatch/certlatch/internal/report"
)

// output is standard output whose reader may go away before its end, as head does.
// What is not read then is no error: neither of what was done, nor of what is to be
// done yet.
type output struct{ file *os.File }

func (o output) Write(text []byte) (int, error) {
	n, err := o.file.Write(text)
	if errors.Is(err, syscall.EPIPE) {
		return len(text), nil
	}
	return n, err
}

// Fd returns the file descriptor, which may be a terminal.
func (o output) Fd() uintptr { return o.file.Fd() }

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
	file, ok := w.(interface{ Fd() uintptr })
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
