package main

import (
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/state"
)

func (p *program) historyCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "show what was deployed when, by what, and with which result", ArgsUsage: "[TARGET]",
		Description: "Shows the last deployments, oldest first. Needs root.\n\n" +
			"Example: certlatch history web\n\nExit codes: 0; 1 unexpected; 2 usage or configuration.",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1); err != nil {
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
			}
			if c.Bool("json") {
				return printJSON(p.stdout, historyView{Schema: "certlatch.history/1", Entries: append([]state.Entry{}, entries...)})
			}
			return p.printHistory(entries, damage != nil)
		},
	}
}

type historyView struct {
	Schema  string        `json:"schema"`
	Entries []state.Entry `json:"entries"`
}

func (p *program) printHistory(entries []state.Entry, damaged bool) error {
	if len(entries) == 0 && damaged {
		return nil // something may have been
	}
	if len(entries) == 0 {
		_, err := fmt.Fprintln(p.stdout, "nothing was deployed yet")
		return err
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TIME\tTARGET\tLINEAGE\tRESULT\tREASON\tGENERATION\tLEAF UNTIL\tBY")
	for _, e := range entries {
		until := "-"
		if e.Leaf != nil {
			until = e.Leaf.NotAfter.Format(time.DateOnly)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Time.Format(time.RFC3339), e.Target, e.Lineage, e.Result, orDash(e.Reason), orDash(e.Generation), until, e.By)
	}
	return table.Flush()
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}
