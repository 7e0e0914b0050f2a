package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/hookfiles"
	"github.com/certlatch/certlatch/internal/report"
	"github.com/certlatch/certlatch/internal/spelling"
)

// hookFileCommand returns a command that calls do with a client's hooks, and
// prints what do returns.
func (p *program) hookFileCommand(name, use string, do func(hookfiles.Place) (string, error)) *cli.Command {
	return &cli.Command{
		Name: name, Usage: use, ArgsUsage: "CLIENT",
		Description: "CLIENT is one of " + strings.Join(hooks.CallerNames(), ", ") + ".\n\n" +
			"Example: certlatch hook " + name + " certbot\n\n" +
			"Exit codes: 0 done; 1 unexpected; 2 usage, or something that is not certlatch's is in the way.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "the client's hook `DIRECTORY`, where it is not the usual one"}},
		Action: func(c *cli.Context) error {
			place, err := hookPlace(c)
			if err != nil {
				return err
			}
			done, err := do(place)
			fmt.Fprint(p.stdout, done)
			if name == "install" && err == nil {
				if cfg, err := config.Load(c.String("config")); err == nil { // there may be none yet
					tellBeside(p.stdout, cfg)
				}
			}
			return err
		},
	}
}

// tellBeside says who else writes the targets' files or reloads their services.
func tellBeside(w io.Writer, cfg *config.Config) {
	for _, check := range hookfiles.Beside(cfg.Roots, interests(cfg)) {
		fmt.Fprintln(w, report.Printable("beside certlatch: "+check.String()))
	}
}

func hookPlace(c *cli.Context) (hookfiles.Place, error) {
	if err := checkArguments(c, 1, 1); err != nil {
		return hookfiles.Place{}, err
	}
	client, ok := hooks.CallerFor(c.Args().First())
	if !ok {
		return hookfiles.Place{}, noClient(c.Args().First(), hooks.CallerNames())
	}
	self, err := ownPath()
	switch dir := c.String("dir"); {
	case err != nil:
		return hookfiles.Place{}, err
	case dir != "":
		return hookfiles.In(dir, client, self)
	}
	return hookfiles.Usual(client, self), nil
}

// noClient returns the error for a client's name that is none of those known.
func noClient(name string, known []string, commands ...string) error {
	return &usageError{fmt.Sprintf("there is no client %q", name), spelling.Advice(name, append(slices.Clip(known), commands...), "known are "+strings.Join(known, ", "))}
}

// printHook returns the instructions for installing the hook by hand.
func printHook(place hookfiles.Place) (string, error) { return place.Instructions(), nil }

// ownPath returns the path of the running program.
func ownPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find out where certlatch is: %w", err)
	}
	return self, nil
}
