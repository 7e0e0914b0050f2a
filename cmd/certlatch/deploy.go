package main

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/deploy"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/report"
	"github.com/certlatch/certlatch/internal/revocation"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
	"github.com/certlatch/certlatch/internal/systemd"
)

func (p *program) deployCommand() *cli.Command {
	return &cli.Command{
		Name:      "deploy",
		Usage:     "deploy lineages by hand",
		ArgsUsage: "[LINEAGE...]",
		Description: "Deploys the named lineages to every target that wants them; none named: all that\n" +
			"differ from what is installed or served. Needs root.\n\n" +
			"Example: certlatch deploy --dry-run api.example\n\n" + exitsHelp,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "target", Usage: "only to the target `NAME`; may be repeated"},
			&cli.BoolFlag{Name: "pending", Usage: "only what is pending and due"},
			&cli.BoolFlag{Name: "all", Usage: "with --pending: whether due or not"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show the plan and change nothing"},
			&cli.BoolFlag{Name: "force", Usage: "accept a downgrade, and take every step even if nothing changed"},
			&cli.BoolFlag{Name: "now", Usage: "outside of a target's window too"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.Bool("all") && !c.Bool("pending") {
				return &usageError{"--all goes with --pending", "to deploy everything that differs, name nothing: certlatch deploy"}
			}
			open := p.engine
			if c.Bool("dry-run") {
				open = p.planner
			}
			e, err := open(c)
			if err != nil {
				return p.fail(c, err)
			}
			if !c.Bool("pending") {
				p.tellEmpty(e.Site.Config)
			}
			req := deploy.Request{
				Lineages: c.Args().Slice(), Targets: c.StringSlice("target"),
				Pending: c.Bool("pending"), All: c.Bool("all"), Force: c.Bool("force"), Now: c.Bool("now"),
				Look: true, By: "deploy", Limits: deploy.HandLimits,
			}
			do := e.Deploy
			if c.Bool("dry-run") {
				do = e.Plan
			}
			tell, done := p.showProgress()
			e.Site.Progress = tell
			became, err := do(c.Context, req)
			done()
			if err != nil {
				return p.fail(c, err)
			}
			if len(became.Outcomes) == 0 && len(req.Lineages) > 0 && !req.Pending {
				return p.fail(c, &prepare.RequestError{What: "no target wants " + req.Lineages[0], Remedy: "give a target that lineage in " + e.Site.Config.Path})
			}
			return p.show(c, became)
		},
	}
}

func (p *program) rollbackCommand() *cli.Command {
	return &cli.Command{
		Name:      "rollback",
		Usage:     "activate and prove an earlier generation, then hold the target",
		ArgsUsage: "TARGET [LINEAGE]",
		Description: "Puts an earlier generation back at a target, proves that it is served, and holds the\n" +
			"target, so that the next renewal does not undo it. Needs root.\n\n" +
			"Example: certlatch rollback web --to 20261123T021300Z-1a2b3c4d\n\n" + exitsHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "the `GENERATION`, as history shows it; default: the one before"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := checkArguments(c, 1, 2); err != nil {
				return err
			}
			e, err := p.engine(c)
			if err != nil {
				return p.fail(c, err)
			}
			tell, done := p.showProgress()
			e.Site.Progress = tell
			became, err := e.Rollback(c.Context, c.Args().Get(0), c.Args().Get(1), c.String("to"),
				deploy.Request{By: "rollback", Limits: deploy.HandLimits})
			done()
			if err != nil && len(became.Outcomes) > 0 && !c.Bool("json") {
				if printed := report.Write(p.stdout, report.Deployment{Outcomes: became.Outcomes}, false); printed != nil {
					return printed
				}
			}
			if err != nil {
				return p.fail(c, err)
			}
			return p.show(c, became)
		},
	}
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print the result as JSON"} }

// engine returns the engine for the configuration that the command line names,
// and makes the state directory where it is missing.
func (p *program) engine(c *cli.Context) (*deploy.Engine, error) {
	site, err := p.site(c)
	if err != nil {
		return nil, err
	}
	if site.Store, err = state.Open(site.Config.State); err == nil {
		site.Store.Sandbox = sandboxRemedy
	}
	return &deploy.Engine{Site: site}, err
}

// leaveMarks marks lineages in the state directory of a configuration that may be
// wrong, and reports whether that is done. The directory is not made.
func leaveMarks(configuration string, lineages []string) bool {
	return len(lineages) > 0 && state.View(config.StateOf(configuration)).MarkAll(lineages) == nil
}

// inSandbox returns a report with the remedies for whoever called certlatch from a
// sandbox.
func inSandbox(became outcome.Report) outcome.Report {
	for i, o := range became.Outcomes {
		became.Outcomes[i] = o.InSandbox(sandboxRemedy)
	}
	return became
}

// planner returns an engine that makes no state directory.
func (p *program) planner(c *cli.Context) (*deploy.Engine, error) {
	site, err := p.site(c)
	return &deploy.Engine{Site: site}, err
}

// site returns the host that the configuration on the command line describes, to
// be looked at.
func (p *program) site(c *cli.Context) (prepare.Site, error) {
	cfg, err := config.Load(c.String("config"))
	if err != nil {
		return prepare.Site{}, err
	}
	return prepare.Site{Config: cfg, Store: state.View(cfg.State), World: p.world(), Log: p.log}, nil
}

// world returns what lies outside of certlatch on this host.
func (p *program) world() prepare.World {
	var connect func(context.Context) (prepare.Units, error)
	if systemd.Booted() {
		connect = func(ctx context.Context) (prepare.Units, error) { return systemd.Connect(ctx) }
	}
	world := prepare.RealWorld(connect, rows.Databases{SQLite: runSQLite})
	world.Revoked = p.isRevoked
	return world
}

// runSQLite runs SQLite's own shell, which is smaller than a driver.
func runSQLite(ctx context.Context, as rows.Keeper, argv []string, input []byte) (stdout, stderr string, err error) {
	output, err := command.Feed(ctx, command.Credential{UID: as.UID, GID: as.GID}, argv, input)
	return output.Stdout, output.Stderr, err
}

// revocationLimit bounds the wait for a CRL, which comes over the network.
const revocationLimit = 5 * time.Second

// isRevoked reports whether the CRL that a certificate names lists it. An error
// means that the list cannot be had, and says nothing against the certificate.
func (p *program) isRevoked(ctx context.Context, leaf, issuer *x509.Certificate) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, revocationLimit)
	defer cancel()
	is, err := revocation.Check(ctx, leaf, issuer)
	if err != nil {
		p.log.Debug("cannot tell whether the leaf is revoked", "error", err)
	}
	return is, err
}

// show prints a report, and returns its exit code as an error.
func (p *program) show(c *cli.Context, became outcome.Report) error {
	became = inSandbox(became)
	deployment := report.Deployment{Outcomes: became.Outcomes, NotDue: became.NotDue, Exit: report.ExitOf(became.Outcomes)}
	return p.print(c, deployment, deployment.Exit)
}

// fail returns the error that kept a run from happening, which it prints first
// where JSON was asked for.
func (p *program) fail(c *cli.Context, err error) error {
	code, _ := adviceFor(err)
	return p.failAs(c, err, code)
}

// failAs is like fail, for an error that ends certlatch with an exit code of its
// own.
func (p *program) failAs(c *cli.Context, err error, code int) error {
	err = &endingError{err, code}
	if !c.Bool("json") {
		return err
	}
	if printed := report.Write(p.stdout, report.Deployment{Failure: err, Exit: code}, true); printed != nil {
		return errors.Join(err, printed)
	}
	return err
}

// print prints a result as text, or as JSON where that was asked for, and
// returns an exit code as an error.
func (p *program) print(c *cli.Context, v report.View, code int) error {
	err := report.Write(p.stdout, v, c.Bool("json"))
	if err != nil && code != report.ExitOK { // which tells more than that it could not be said
		p.complain(err.Error())
		return exitStatus(code)
	}
	return errors.Join(err, exitError(code))
}

// tellEmpty says that a configuration names no target, to somebody who may wonder why
// nothing happens.
func (p *program) tellEmpty(cfg *config.Config) {
	if len(cfg.Targets) == 0 {
		p.complain(cfg.Path + " names no target, so nothing is deployed")
		p.complain("certlatch init --print shows what to put there")
	}
}

// exitError returns an exit code as an error; nil for 0.
func exitError(code int) error {
	if code == report.ExitOK {
		return nil
	}
	return exitStatus(code)
}
