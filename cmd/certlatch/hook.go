package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/deploy"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/hookfiles"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/report"
)

func (p *program) hookCommand() *cli.Command {
	return &cli.Command{
		Name:      "hook",
		Usage:     "run by an ACME client after a renewal; install, remove or print the hook",
		ArgsUsage: "[CLIENT [-- ARGUMENT...]]",
		Description: "Deploys the lineages that the calling client names. CLIENT is " + strings.Join(hooks.Names(), ", ") + "\n" +
			"or auto (the default: told from the call). A lineage that no target wants is none of\n" +
			"its business: exit 0. Ends within 100 seconds. Needs root.\n\n" +
			"Example: certbot renew --deploy-hook \"certlatch hook certbot\"\n\n" + exitsHelp + "\n" +
			"For acmetool 42 says that an event is none of the hook's business.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "defer", Usage: "only mark the lineages pending"},
			jsonFlag(),
		},
		Action: p.hook,
		Subcommands: []*cli.Command{
			p.hookFileCommand("install", "put certlatch into a client's hooks", hookfiles.Place.Install),
			p.hookFileCommand("remove", "take certlatch out of a client's hooks", hookfiles.Place.Remove),
			p.hookFileCommand("print", "print what to add by hand", printHook),
		},
	}
}

func (p *program) hook(c *cli.Context) error {
	events, err := hookEvents(c.Args().Slice())
	if unsupported := new(hooks.UnsupportedError); errors.As(err, &unsupported) {
		return exitStatus(report.ExitUnsupported) // acmetool has many such events, so nothing is printed
	}
	if err != nil {
		return p.fail(c, err)
	}
	if len(events) == 0 {
		return nil // dehydrated may take output for an answer, so nothing is printed
	}
	e, err := p.engine(c)
	if err != nil {
		return p.fail(c, err)
	}
	wanted, err := prepare.Wanted(e.Site.Config, events)
	if err != nil {
		return p.fail(c, err)
	}
	req := deploy.Request{Lineages: lineageNames(wanted), By: "hook " + events[0].Client, Coalesce: true, Limits: deploy.HookLimits}
	switch {
	case len(wanted) == 0 && events[0].Unchanged:
		return nil
	case len(wanted) == 0:
		p.log.Info("no target wants this lineage", "path", events[0].Path)
		return p.showBriefly(c, outcome.Report{})
	case events[0].Unchanged:
		if err := prepare.Inside(wanted); err != nil {
			return p.fail(c, err)
		}
		return p.retryPending(c, e, req)
	case c.Bool("defer"):
		if err := prepare.Inside(wanted); err != nil {
			return p.fail(c, err)
		}
		if err := markPending(e, wanted); err != nil {
			return p.fail(c, err)
		}
		return p.showBriefly(c, outcome.Report{})
	}
	became, err := e.Deploy(c.Context, req)
	if err != nil {
		return p.fail(c, err)
	}
	journalFailures(became)
	return p.showBriefly(c, became)
}

// showBriefly is like show, with one line a target for ACME clients.
func (p *program) showBriefly(c *cli.Context, became outcome.Report) error {
	code := report.ExitOf(became.Outcomes)
	return p.print(c, report.Brief{Outcomes: became.Outcomes, Exit: code}, code)
}

// retryPending tries what is pending and due of lineages that were not renewed.
// What fails again is printed, but does not fail the hook: dehydrated would
// stop there, before the renewals that are still to come.
func (p *program) retryPending(c *cli.Context, e *deploy.Engine, req deploy.Request) error {
	if c.Bool("defer") {
		return nil
	}
	req.Pending, req.Coalesce = true, false
	became, err := e.Deploy(c.Context, req)
	switch locked := new(disk.LockedError); {
	case errors.As(err, &locked):
		return nil
	case err != nil:
		return p.fail(c, err)
	case len(became.Outcomes) == 0:
		return nil
	}
	journalFailures(became)
	var status exitStatus
	if err := p.showBriefly(c, became); !errors.As(err, &status) {
		return err
	}
	return nil
}

// markPending leaves a pending mark for each lineage.
func markPending(e *deploy.Engine, lineages []lineage.Lineage) error {
	for _, l := range lineages {
		if err := e.Site.Store.Mark(l.Client, l.Name); err != nil {
			return err
		}
	}
	return nil
}

func lineageNames(lineages []lineage.Lineage) []string {
	var names []string
	for _, l := range lineages {
		names = append(names, l.String())
	}
	return names
}

// hookEvents returns the events of the client's call. The first argument is the
// client's name, or auto; a "--" before the client's own arguments is dropped.
func hookEvents(args []string) ([]hooks.Event, error) {
	call := hooks.Call{Env: os.Getenv, Input: os.Stdin}
	name := "auto"
	if len(args) > 0 {
		name, call.Args = args[0], args[1:]
	}
	if len(call.Args) > 0 && call.Args[0] == "--" {
		call.Args = call.Args[1:]
	}
	find := clientNamed
	if name == "auto" {
		find = func(string) (hooks.Client, error) { return hooks.Detect(call) }
	}
	client, err := find(name)
	if err != nil {
		return nil, err
	}
	return client.Events(call)
}

func clientNamed(name string) (hooks.Client, error) {
	client, ok := hooks.For(name)
	if !ok {
		return nil, &usageError{fmt.Sprintf("there is no client %q", name), "known are " + strings.Join(hooks.Names(), ", ")}
	}
	return client, nil
}
