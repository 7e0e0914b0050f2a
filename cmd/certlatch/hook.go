package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
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
			"dehydrated and lego 5 would renew nothing else after a hook that failed, so theirs\n" +
			"ends with 0 whatever happened; the others' does where it waits (9).\n\n" +
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

// hook answers a client's call, and ends as the client bears it. Where the call is
// about no lineage, nothing is printed: dehydrated may take it for an answer.
func (p *program) hook(c *cli.Context) error {
	name, call := hookCall(c.Args().Slice())
	telling := hooks.TellingOf(name, call)
	events, err := hookEvents(name, call)
	if unsupported := new(hooks.UnsupportedError); errors.As(err, &unsupported) {
		return exitStatus(report.ExitUnsupported) // acmetool has many such events, so nothing is printed
	}
	if notCalled := new(hooks.NotCalledError); errors.As(err, &notCalled) {
		if how := hooks.Stripped(name, p.calledAs, call); how != "" {
			err = &advisedError{err, how}
		}
	}
	var became *outcome.Report
	if err == nil && len(events) > 0 {
		became, err = p.answer(c, events)
	}
	switch {
	case err != nil:
		p.rememberFailure(c, events, err)
		code, _ := adviceFor(err)
		return p.failAs(c, err, hookStatus(code, telling))
	case became == nil:
		return nil
	}
	*became = inSandbox(*became)
	journalOutcomes(*became)
	if telling == hooks.TellFailures && slices.ContainsFunc(became.Outcomes, func(o outcome.Outcome) bool { return o.Reason == outcome.Interrupted }) {
		telling = hooks.TellAll // this is no wait that anybody has set up
	}
	code := hookStatus(report.ExitOf(became.Outcomes), telling)
	if err := report.Write(p.stdout, report.Brief{Outcomes: became.Outcomes, Exit: code}, c.Bool("json")); err != nil {
		p.log.Warn("what became of the hook's lineages could not be printed", "error", err) // which is no failure that a client should bear
	}
	return exitError(code)
}

// hookStatus returns the status with which a hook ends that has come to an exit
// code, where that is what its client may be told.
func hookStatus(code int, telling hooks.Telling) int {
	if telling == hooks.TellNothing || telling == hooks.TellFailures && code == report.ExitWaiting {
		return report.ExitOK
	}
	return code
}

// rememberFailure sees to it that a hook is not forgotten that failed before anything
// became of its lineages: the journal has it with its remedy, and what was renewed is
// marked where that can be done. What leads out of a client's directories is not, nor
// what is renewed before there is a configuration.
func (p *program) rememberFailure(c *cli.Context, events []hooks.Event, err error) {
	failed := report.HookFailure{Lineages: prepare.Renewed(events), Err: err}
	_, failed.Remedy = adviceFor(err)
	input, request, none := new(hooks.InputError), new(prepare.RequestError), new(config.MissingError)
	if !errors.As(err, &input) && !errors.As(err, &request) && !errors.As(err, &none) {
		failed.Marked = leaveMarks(c.String("config"), failed.Lineages)
	}
	if wrong := new(config.Error); errors.As(err, &wrong) {
		failed.Remedy = "correct " + wrong.Path + "; certlatch config check looks at it"
	}
	journalHookFailure(failed)
}

// answer deploys, or marks, what a client has said, and returns what became of it;
// nil: nothing is to be said, since the client says so at every run.
func (p *program) answer(c *cli.Context, events []hooks.Event) (*outcome.Report, error) {
	e, err := p.engine(c)
	if err != nil {
		return nil, err
	}
	wanted, err := prepare.Wanted(e.Site.Config, events)
	if err != nil {
		return nil, err
	}
	req := deploy.Request{Lineages: lineageNames(wanted), By: "hook " + events[0].Client, Coalesce: true, Limits: deploy.HookLimits}
	switch {
	case len(wanted) == 0 && events[0].Unchanged:
		return nil, nil
	case len(wanted) == 0:
		p.tellUnwanted(e.Site.Config, events)
		return &outcome.Report{}, nil
	case events[0].Unchanged:
		if err := prepare.Inside(wanted); err != nil || c.Bool("defer") {
			return nil, err
		}
		return retryPending(c.Context, e, req)
	case c.Bool("defer"):
		if err := prepare.Inside(wanted); err != nil {
			return nil, err
		}
		return &outcome.Report{}, markPending(e, wanted)
	}
	became, err := e.Deploy(c.Context, req)
	return &became, err
}

// tellUnwanted says that no target takes what a client has renewed, and which takes
// its twin.
func (p *program) tellUnwanted(cfg *config.Config, events []hooks.Event) {
	for _, event := range events {
		l := lineage.Lineage{Client: event.Client, Name: event.LineageName()}
		if t, is := prepare.TakesTwin(cfg, l); is {
			p.log.Warn("no target wants this lineage, but one of its twins", "path", event.Path, "target", t.Name,
				"remedy", "write lineage: "+outcome.Selector(l)+" for target "+t.Name+", unless both are meant to be kept")
			return
		}
	}
	p.log.Info("no target wants this lineage", "path", events[0].Path)
}

// retryPending tries what is pending and due of lineages that were not renewed.
// Where another run is at work, that is left to it.
func retryPending(ctx context.Context, e *deploy.Engine, req deploy.Request) (*outcome.Report, error) {
	req.Pending, req.Coalesce = true, false
	became, err := e.Deploy(ctx, req)
	if locked := new(disk.LockedError); errors.As(err, &locked) || err == nil && len(became.Outcomes) == 0 {
		return nil, nil
	}
	return &became, err
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

// hookCall returns a client's call from certlatch's own arguments: the client's
// name, or empty for auto, and its own arguments without a "--" before them.
func hookCall(args []string) (name string, call hooks.Call) {
	call = hooks.Call{Env: os.Getenv, Input: os.Stdin}
	if len(args) > 0 {
		name, call.Args = args[0], args[1:]
	}
	if len(call.Args) > 0 && call.Args[0] == "--" {
		call.Args = call.Args[1:]
	}
	if name == "auto" {
		name = ""
	}
	return name, call
}

// hookEvents returns the events of a client's call. Without a name, the client is
// told from the call.
func hookEvents(name string, call hooks.Call) ([]hooks.Event, error) {
	client, err := hooks.Detect(call)
	if name != "" {
		client, err = clientNamed(name)
	}
	if err != nil {
		return nil, err
	}
	return client.Events(call)
}

func clientNamed(name string) (hooks.Client, error) {
	client, ok := hooks.For(name)
	if !ok {
		return nil, noClient(name, hooks.Names(), "install", "remove", "print")
	}
	return client, nil
}
