package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/report"
)

// checkLimit bounds a check: Nagios kills one after 60 seconds
// (service_check_timeout).
const checkLimit = 50 * time.Second

func (p *program) checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "a monitoring plugin: is what is served what was issued, and does it last?",
		Description: "One line and performance data, as the guidelines of the Monitoring Plugins want it, and below\n" +
			"it the lineages that no target takes, a warning where they are served all the same. It\n" +
			"looks where it may, and else reads the snapshot of the last look. A margin is a share of\n" +
			"the lifetime (25%) or a number of days (14, or 14: as the guidelines write it). Without\n" +
			"any it is 25% and 12.5%, for lifetimes below 10 days 40% and 20%, and at least 12 hours.\n\n" +
			"Critical is what has expired, has failed for good, is not served as issued for longer than\n" +
			"15 minutes, was proven once and completes no handshake now, or is held after a crash.\n" +
			"Held back otherwise, waiting for a restart, a window, a start or a first proof, or with\n" +
			"few reloads left is a warning.\n\n" +
			"Example: certlatch check --target sip --warning 14 --critical 7\n\n" +
			"Exit codes: 0 ok; 1 warning; 2 critical; 3 unknown, and everything that kept it from\n" +
			"looking: usage and configuration too.",
		Flags: append(inventoryFlags(),
			&cli.StringFlag{Name: "warning", Aliases: []string{"w"}, Usage: "warn where less than `MARGIN` is left"},
			&cli.StringFlag{Name: "critical", Aliases: []string{"c"}, Usage: "critical where less than `MARGIN` is left"},
			&cli.DurationFlag{Name: "max-age", Value: report.UsualAge, Usage: "unknown where the snapshot is older than `DURATION`"},
		),
		Action: p.check,
	}
}

func (p *program) check(c *cli.Context) error {
	expiry, err := parseExpiry(c.String("warning"), c.String("critical"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, checkLimit)
	defer cancel()
	c.Context = ctx
	inventory, err := p.inventory(c)
	if err != nil {
		return err
	}
	check := report.Check{Inventory: inventory, Now: time.Now(), Expiry: expiry, MaxAge: c.Duration("max-age")}
	line, worst := check.Line()
	if _, err := fmt.Fprintln(p.stdout, strings.Join(append([]string{line}, check.LongOutput()...), "\n")); err != nil {
		return err
	}
	return exitError(worst.Exit())
}

// parseExpiry parses the margins of the command line.
func parseExpiry(warning, critical string) (condition.Expiry, error) {
	var expiry condition.Expiry
	var err error
	if expiry.Warning, err = parseMargin(warning); err != nil {
		return expiry, err
	}
	if expiry.Critical, err = parseMargin(critical); err != nil {
		return expiry, err
	}
	if w, c := expiry.Warning, expiry.Critical; w.Share > 0 && w.Share < c.Share || w.Left > 0 && w.Left < c.Left {
		return expiry, &usageError{"a warning comes before it is critical, and " + warning + " is less than " + critical, "for example: --warning 14 --critical 7"}
	}
	return expiry, nil
}

// parseMargin parses a share of the lifetime (10%) or a number of days. A plain
// number means "less than", as with check_http --certificate; so does a range
// that begins with it.
func parseMargin(text string) (condition.Margin, error) {
	if text == "" {
		return condition.Margin{}, nil
	}
	share, isShare := strings.CutSuffix(text, "%")
	number, err := strconv.ParseFloat(strings.TrimSuffix(share, ":"), 64)
	switch {
	case err != nil || math.IsNaN(number) || number <= 0 || isShare && number >= 100 || number > 36500:
		return condition.Margin{}, &usageError{fmt.Sprintf("%.80q is no margin", text), "write days (14) or a share of the lifetime (25%)"}
	case isShare:
		return condition.Margin{Share: number / 100}, nil
	}
	return condition.Margin{Left: time.Duration(number * float64(day))}, nil
}

const day = 24 * time.Hour
