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

// OwnProgram returns the path of the program where that is a service's own, by its name, and
// else the name alone: a script or a shell that starts the service would make something
// else of the service's options, and may start it once more.
func (c CommandLine) OwnProgram(service string) string {
	if filepath.Base(c.Program) == service {
		return c.Program
	}
	return service
}

// File returns the absolute path that an option with one letter names last, as in -f
// FILE; empty: it names none.
func (c CommandLine) File(name string) (path string) {
	for _, value := range c.Options(name) {
		if filepath.IsAbs(value) {
			path = filepath.Clean(value)
		}
	}
	return path
}

// Options returns the values of an option with one letter, as in -A NAME or -ANAME,
// but for those that hold a variable of the environment.
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
