package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/report"
)

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "the inventory: what was issued, installed and is served, and how long it lasts",
		Description: "Looks at every lineage at every target, and makes a handshake with every probe. Where the\n" +
			"state belongs to somebody else, as for a user of a monitoring system, it shows the\n" +
			"snapshot of the last look, and its age. Of more than 20 certificates it shows those that are\n" +
			"not well, and with -v all.\n\n" +
			"Example: certlatch status --target sip\n\n" +
			"Exit codes: 0, whatever the states are; 1 unexpected; 2 usage or configuration, or no\n" +
			"snapshot.",
		Flags: append(inventoryFlags(), jsonFlag()),
		Action: func(c *cli.Context) error {
			inventory, err := p.inventory(c)
			if err != nil {
				return err
			}
			width, terminal := terminalWidth(p.stdout)
			status := report.Status{
				Inventory: inventory, Now: time.Now(), Every: c.Bool("verbose"),
				Screen: report.Screen{Width: width, Coloured: terminal && wantsColours()},
			}
			for _, notice := range status.Notices() {
				fmt.Fprintf(p.stderr, "certlatch: %s\n", notice)
			}
			return p.print(c, status, report.ExitOK)
		},
	}
}
