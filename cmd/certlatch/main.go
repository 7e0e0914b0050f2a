// Command certlatch latches renewed TLS certificates into running services.
//
// This package is thin: flags, a call, printing, an exit code. What happens in
// between is the engine's, and what is printed is package report's.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/command"
)

func main() {
	if code, is := command.TryReadMain(); is {
		os.Exit(code)
	}
	// A client that closes its end of a pipe must not end a deployment (nor make an
	// error of it, see output). The
	// signal is caught rather than ignored, since the programs that certlatch
	// runs would inherit that it is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	_ = stop // each signal that is given back before the end would take two changes of threads
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// program is the state that commands share: where they print, and how.
type program struct {
	stdout, stderr io.Writer
	log            *slog.Logger
	plugin         bool   // the command is check, which prints errors as a plugin's line
	calledAs       string // the path under which certlatch was started
}

// run runs the program with a command line, and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// Keys pass through this process: no core dump may hold them.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintf(stderr, "certlatch: cannot keep keys out of core dumps: %v\n", err)
	}
	if file, is := stdout.(*os.File); is {
		stdout = output{file}
	}
	p := &program{stdout: stdout, stderr: stderr, calledAs: args[0]}
	if client, ok := hooks.CalledAs(args[0]); ok {
		args = append([]string{"certlatch", "hook", client.Name(), "--"}, args[1:]...)
	}
	app := p.app()
	line := takeApart(app, args[1:])
	p.plugin = line.name() == "check"
	if line.name() != "watch" { // which stays
		collectLate()
	}
	return p.printError(app.RunContext(ctx, append([]string{"certlatch"}, line.arranged()...)))
}

// collectLate lets the first garbage collection wait for eight times as much garbage
// as usual, 32 MB: what is about a few lineages has ended by then, and what is about
// thousands collects as usual from there on. With four times as much, a renewal of
// two services took 2.5 % less CPU and 2 % less time (medians of 30).
func collectLate() {
	usual := debug.SetGCPercent(800)
	runtime.AddCleanup(&struct{ first *int }{}, func(usual int) { debug.SetGCPercent(usual) }, usual)
}

// defaultConfig is the path of the configuration where --config is not given,
// as in the packages' units.
const defaultConfig = "/etc/certlatch/config.yaml"

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:  "certlatch",
		Usage: "latch renewed TLS certificates into running services",
		UsageText: "certlatch [--config FILE] [--log-level LEVEL] [--log-format FORMAT] COMMAND\n" +
			"certlatch help [COMMAND]",
		Description: "Called by an ACME client's hook, certlatch validates the new certificate, installs it\n" +
			"where the service expects it, makes the service take it, proves by live handshakes\n" +
			"that it is served, and puts the previous one back where it is not.\n\n" +
			"Example: certlatch deploy --dry-run",
		Version:              version(),
		HideVersion:          true,
		HideHelpCommand:      true,
		EnableBashCompletion: false,
		Writer:               p.stdout,
		ErrWriter:            p.stderr,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError:         usage,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Value: defaultConfig, Usage: "the configuration `FILE`"},
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "debug, info, warn or error: `LEVEL`"},
			&cli.StringFlag{Name: "log-format", Value: "auto", Usage: "auto, text, json or journal: `FORMAT`"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "tell more: as --log-level debug, and status of every certificate; alone the version"},
			&cli.BoolFlag{Name: "version", Aliases: []string{"V"}, Usage: "print the version"},
		},
		Before: func(c *cli.Context) error {
			level := c.String("log-level")
			if c.Bool("verbose") && !c.IsSet("log-level") && c.Args().First() != "status" {
				level = "debug"
			}
			var err error
			p.log, err = newLog(p.stderr, c.String("log-format"), level)
			return err
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return noCommand("", c.Args().First(), c.App.Commands)
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			p.hookCommand(),
			p.deployCommand(),
			p.statusCommand(),
			p.checkCommand(),
			p.watchCommand(),
			p.validateCommand(),
			p.initCommand(),
			p.doctorCommand(),
			p.probeCommand(),
			p.rollbackCommand(),
			p.holdCommand(),
			p.releaseCommand(),
			p.historyCommand(),
			p.templateCommand(),
			p.recoverCommand(),
			p.configCommand(),
			p.completionCommand(),
			p.versionCommand(),
		},
	}
	hideDefaults(app.Flags)
	settle(app.Commands)
	return app
}

// settle sets what all commands have in common.
func settle(commands []*cli.Command) {
	for _, c := range commands {
		c.OnUsageError = usage
		c.HideHelpCommand = true
		hideDefaults(c.Flags)
		settle(c.Subcommands)
	}
}

// hideDefaults lets the help say nothing of the default of a flag that takes no value.
func hideDefaults(flags []cli.Flag) {
	for _, f := range flags {
		if is, ok := f.(*cli.BoolFlag); ok {
			is.DisableDefaultText = true
		}
	}
}

// checkArguments returns an error unless there are at least least and at most
// most positional arguments.
func checkArguments(c *cli.Context, least, most int) error {
	switch n := c.Args().Len(); {
	case n < least:
		return &usageError{"something is missing: " + c.Command.HelpName + " " + c.Command.ArgsUsage, "add --help to see an example"}
	case n > most:
		return &usageError{fmt.Sprintf("%q is one argument too many: %s %s", c.Args().Get(most), c.Command.HelpName, c.Command.ArgsUsage), "add --help to see an example"}
	}
	return nil
}
