package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/report"
	"github.com/certlatch/certlatch/internal/state"
)

func (p *program) historyCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "show what was deployed when, by what, and with which result", ArgsUsage: "[TARGET]",
		Description: "Shows the last deployments, oldest first. Needs root.\n\n" +
			"Example: certlatch history web\n\nExit codes: 0; 1 unexpected; 2 usage or configuration.",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := checkArguments(c, 0, 1); err != nil {
				return err
			}
			cfg, err := config.Load(c.String("config"))
			if err != nil {
				return err
			}
			entries, damage, err := state.View(cfg.State).History()
			if err != nil {
				return err
			}
			if damage != nil {
				fmt.Fprintf(p.stderr, "certlatch: %v; the next deployment sets it aside, and goes on with what can be read\n", damage)
			}
			if target := c.Args().First(); target != "" {
				entries = slices.DeleteFunc(entries, func(e state.Entry) bool { return e.Target != target })
				if len(entries) == 0 && !cfg.HasTarget(target) {
					return prepare.NoTarget(cfg, target)
				}
			}
			return p.print(c, report.History{Entries: entries, Damaged: damage != nil}, report.ExitOK)
		},
	}
}
