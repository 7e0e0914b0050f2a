package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/deploy"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

func (p *program) holdCommand() *cli.Command {
	return &cli.Command{
		Name: "hold", Usage: "let nothing be deployed to a target", ArgsUsage: "TARGET",
		Description: "Renewals of a held target's lineages end with the result held, exit 0. Needs root.\n\n" +
			"Example: certlatch hold web\n\n" +
			"Exit codes: 0 held; 1 unexpected; 2 usage or configuration; 8 another run held the lock too long.",
		Action: func(c *cli.Context) error {
			return p.changeHold(c, func(st *state.State, target string) string {
				st.Hold(target, string(outcome.HeldByHand), time.Now())
				return "target " + target + " is held"
			})
		},
	}
}

func (p *program) releaseCommand() *cli.Command {
	return &cli.Command{
		Name: "release", Usage: "end a target's hold", ArgsUsage: "TARGET",
		Description: "Lets a held target be deployed to again; certlatch deploy then does what was missed. Needs root.\n\n" +
			"Example: certlatch release web\n\n" +
			"Exit codes: 0 not held any more; 1 unexpected; 2 usage or configuration; 8 another run held the lock too long.",
		Action: func(c *cli.Context) error {
			return p.changeHold(c, func(st *state.State, target string) string {
				switch held, again := st.Release(target), st.Allow(target, time.Now()); {
				case !held && again:
					return "target " + target + " was not held; its service may be restarted again for what is pending: certlatch deploy --pending does that"
				case !held:
					return "target " + target + " was not held"
				}
				return "target " + target + " is released; certlatch deploy --target " + target + " does what was missed"
			})
		},
	}
}

func (p *program) changeHold(c *cli.Context, change func(*state.State, string) string) error {
	if err := checkArguments(c, 1, 1); err != nil {
		return err
	}
	e, err := p.engine(c)
	if err != nil {
		return err
	}
	target := c.Args().First()
	if !e.Site.Config.HasTarget(target) {
		return prepare.NoTarget(e.Site.Config, target)
	}
	ctx, cancel := context.WithTimeout(c.Context, deploy.HandLimits.Lock)
	defer cancel()
	release, err := e.Site.Store.Lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	st, err := e.Site.Store.Load()
	if err != nil {
		return err
	}
	said, damage := change(st, target), st.Damage
	if err := e.Site.Store.Save(st); err != nil {
		return err
	}
	if damage != nil {
		p.log.Error("the state was damaged; its copy is used", "damage", damage.Error(), "copied", st.Copied, "kept", damage.Aside)
	}
	if _, _, err := (inspect.Inspector{Site: e.Site}).Inventory(ctx, prepare.Scope{Targets: []string{target}}); err != nil {
		p.log.Warn("status and check of other users will not see this", "error", err)
	}
	fmt.Fprintln(p.stdout, said)
	return nil
}
