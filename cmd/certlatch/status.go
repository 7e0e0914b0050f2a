package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/state"
)

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "the inventory: what was issued, installed and is served, and how long it lasts",
		Description: "Looks at every lineage at every target, and makes a handshake with every probe. Where the\n" +
			"state belongs to somebody else, as for a user of a monitoring system, it shows the\n" +
			"snapshot of the last look, and its age.\n\n" +
			"Example: certlatch status --target sip\n\n" +
			"Exit codes: 0, whatever the states are; 1 unexpected; 2 usage or configuration, or no\n" +
			"snapshot.",
		Flags: append(inventoryFlags(), jsonFlag()),
		Action: func(c *cli.Context) error {
			inventory, err := p.inventory(c)
			if err != nil {
				return err
			}
			now := time.Now()
			if age := inventory.age(now); inventory.snapshot != "" && age > usualAge {
				fmt.Fprintf(p.stderr, "certlatch: the snapshot %s is %s old; certlatch status as root, the daemon, or certlatch-retry.timer refreshes it\n", inventory.snapshot, roughly(age))
			}
			if at, ahead := inventory.ahead(now); ahead {
				fmt.Fprintf(p.stderr, "certlatch: the snapshot %s is of %s, which has yet to come: the clock was set back; certlatch status as root, the daemon, or certlatch-retry.timer refreshes it\n", inventory.snapshot, at.Format(time.RFC3339))
			}
			if inventory.unread != nil {
				_, hint := explain(inventory.unread)
				fmt.Fprintf(p.stderr, "certlatch: %v; what is pending is not known, and what is held only as it was seen last\ncertlatch: %s\n", inventory.unread, hint)
			}
			if c.Bool("json") {
				return printJSON(p.stdout, statusView(inventory.seen, now))
			}
			width, terminal := columns(p.stdout)
			return table{inventory, now, width, penFor(terminal)}.print(p.stdout)
		},
	}
}

// The JSON of status: certlatch.status/1.
type statusJSON struct {
	Schema       string              `json:"schema"`
	Certificates []state.Certificate `json:"certificates"`
}

func statusView(seen []state.Sighting, now time.Time) statusJSON {
	view := statusJSON{"certlatch.status/1", []state.Certificate{}}
	for _, s := range seen {
		view.Certificates = append(view.Certificates, engine.At(s.Certificate, now, engine.Expiry{}))
	}
	return view
}

// roughly says how long something is, for people.
func roughly(d time.Duration) string {
	switch {
	case d >= 10*day:
		return fmt.Sprintf("%d d", d/day)
	case d >= 2*day:
		return fmt.Sprintf("%.1f d", float64(10*d/day)/10)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", max(d, 0)/time.Second)
}
