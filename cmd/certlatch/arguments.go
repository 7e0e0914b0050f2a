package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/spelling"
)

// This file makes of a command line, as people type it, one that urfave/cli v2
// understands as it is meant.

// commandLine is a command line, taken apart.
type commandLine struct {
	program   []string // flags of the program, with their values
	command   []string // the words of the command
	flags     []string // its flags, with their values
	arguments []string // all else, and "--" with what follows it
	help      bool     // asked for by the word help
	lacking   string   // the flag of the program that ends the line, and lacks its value; empty: none does
}

// name returns the name of the command; empty: there is none.
func (l commandLine) name() string {
	if len(l.command) == 0 {
		return ""
	}
	return l.command[0]
}

// config returns the path of the configuration that the command line names, or else
// another.
func (l commandLine) config(otherwise string) string {
	for i, arg := range l.program {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case name == "config" && joined:
			return value
		case name == "config" && i+1 < len(l.program):
			return l.program[i+1]
		}
	}
	return otherwise
}

// arranged returns the arguments with all flags before the others, those of the
// program before the command: urfave/cli v2 takes flags behind an argument for
// arguments, and would make a dry run a deployment. The word help before the
// command or directly behind it is --help, and --version, wherever it stands, the
// command version; so is -v where it is alone. What follows a "--" stays as it is.
func (l commandLine) arranged() []string {
	version, alone := asksVersion(l.program)
	nothing := len(l.command)+len(l.flags)+len(l.arguments) == 0 && !l.help
	switch flags := l.flags; {
	case l.lacking != "":
		return []string{l.lacking}
	case version, alone && nothing:
		return []string{"version"}
	case l.help && len(l.command) == 0 && len(l.arguments) > 0: // of a command that there is not
		return l.arguments
	default:
		if l.help {
			flags = append(flags, "--help")
		}
		return slices.Concat(l.program, l.command, flags, l.arguments)
	}
}

// asksVersion reports whether flags of the program ask for the version, or are -v
// alone.
func asksVersion(flags []string) (asks, alone bool) {
	asks = slices.ContainsFunc(flags, func(f string) bool { return slices.Contains([]string{"--version", "-version", "-V", "--V"}, f) })
	return asks, slices.Equal(flags, []string{"-v"})
}

// takeApart takes the arguments of the program apart.
func takeApart(app *cli.App, args []string) commandLine {
	var line commandLine
	commands, flags := app.Commands, []cli.Flag(nil)
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch next := findCommand(commands, arg); {
		case arg == "--":
			line.arguments = append(append(line.arguments, arg), args...)
			return line
		case strings.HasPrefix(arg, "-") && arg != "-":
			of, to := flags, &line.flags
			ofProgram := flagOf(flags, arg) == nil && flagOf(app.Flags, arg) != nil
			if ofProgram || len(line.command) == 0 {
				of, to = app.Flags, &line.program
			}
			*to = append(*to, arg)
			switch value := takesValue(of, arg); {
			case value && len(args) > 0:
				*to, args = append(*to, args[0]), args[1:]
			case value && ofProgram:
				line.lacking = arg
			}
		case len(line.arguments) > 0:
			line.arguments = append(line.arguments, arg)
		case arg == "help":
			line.help = true
		case next == nil:
			line.arguments = append(line.arguments, arg)
		default:
			line.command = append(line.command, arg)
			commands, flags = next.Subcommands, next.Flags
		}
	}
	return line
}

func findCommand(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// flagOf returns the flag that an argument names; nil: there is none.
func flagOf(flags []cli.Flag, arg string) cli.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	at := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if at < 0 {
		return nil
	}
	return flags[at]
}

// takesValue reports whether a flag takes the argument after it as its value.
func takesValue(flags []cli.Flag, arg string) bool {
	flag := flagOf(flags, arg)
	_, isBool := flag.(*cli.BoolFlag)
	return flag != nil && !isBool && !strings.Contains(arg, "=")
}

// noCommand returns the error of a command line that names a command, behind
// others, which there is not.
func noCommand(behind, name string, known []*cli.Command) error {
	var names []string
	for _, c := range known {
		names = append(names, c.Names()...)
	}
	return &usageError{fmt.Sprintf("there is no command %q", behind+name), spelling.Advice(name, names, strings.TrimSpace("certlatch "+behind)+" --help lists them")}
}

// usage returns the error of a command line that urfave/cli does not understand.
func usage(c *cli.Context, err error, _ bool) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return &usageError{err.Error(), "add --help to see the flags"}
	}
	known := flagsOf(c.App.Flags)
	if c.Command != nil {
		known = append(flagsOf(c.Command.Flags), known...)
	}
	return &usageError{"there is no flag " + dashed(name), spelling.Advice(dashed(name), known, "add --help to see the flags")}
}

// flagsOf returns the names of flags, with their dashes.
func flagsOf(flags []cli.Flag) []string {
	var names []string
	for _, f := range flags {
		for _, name := range f.Names() {
			names = append(names, dashed(name))
		}
	}
	return names
}

// dashed returns the name of a flag with its dashes.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
