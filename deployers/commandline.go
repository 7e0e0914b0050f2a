package deployers

import (
	"path/filepath"
	"slices"
	"strings"
)

// CommandLine is what a service runs with, or would be started with.
type CommandLine struct {
	Program string   // its path; empty: it is not known
	Argv    []string // without the program
}

// CommandLine returns that of a service's main process, and where there is none
// that of its unit.
func (f Facts) CommandLine() CommandLine {
	argv := f.Argv
	if len(argv) == 0 {
		argv = f.Unit.ExecStart
	}
	if len(argv) == 0 {
		return CommandLine{}
	}
	line := CommandLine{Argv: argv[1:]}
	for _, program := range slices.Concat(argv[:1], f.Unit.ExecStart[:min(1, len(f.Unit.ExecStart))]) {
		if line.Program == "" && filepath.IsAbs(program) {
			line.Program = program
		}
	}
	return line
}

// Option returns the value of an option with one letter, as in -f FILE or -fFILE;
// empty: it is not there, or a variable of the environment.
func (c CommandLine) Option(name string) (value string) {
	for _, v := range c.Options(name) {
		value = v
	}
	return value
}

// Options returns the values of an option that may stand there more than once.
func (c CommandLine) Options(name string) (values []string) {
	for i, argument := range c.Argv {
		value, is := strings.CutPrefix(argument, name)
		if is && value == "" && i+1 < len(c.Argv) {
			value = c.Argv[i+1]
		}
		if is && value != "" && !strings.Contains(value, "$") {
			values = append(values, value)
		}
	}
	return values
}

// File returns the absolute path that an option names; empty: it names none.
func (c CommandLine) File(name string) string {
	if value := c.Option(name); filepath.IsAbs(value) {
		return filepath.Clean(value)
	}
	return ""
}
