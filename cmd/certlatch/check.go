package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/state"
)

// checkLimit ends a check before a monitoring system loses patience: Nagios
// waits 60 seconds (service_check_timeout).
const checkLimit = 50 * time.Second

func (p *program) checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "a monitoring plugin: is what is served what was issued, and does it last?",
		Description: "One line and performance data, as the guidelines of the Monitoring Plugins want it. It\n" +
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
			&cli.DurationFlag{Name: "max-age", Value: usualAge, Usage: "unknown where the snapshot is older than `DURATION`"},
		),
		Action: p.check,
	}
}

func (p *program) check(c *cli.Context) error {
	expiry, err := expiryOf(c.String("warning"), c.String("critical"))
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
	line, worst := checkLine(inventory, time.Now(), expiry, c.Duration("max-age"))
	if _, err := fmt.Fprintln(p.stdout, line); err != nil {
		return err
	}
	return status(exitOfSeverity(worst))
}

// expiryOf reads the margins of the command line.
func expiryOf(warning, critical string) (engine.Expiry, error) {
	var expiry engine.Expiry
	var err error
	if expiry.Warning, err = margin(warning); err != nil {
		return expiry, err
	}
	if expiry.Critical, err = margin(critical); err != nil {
		return expiry, err
	}
	if w, c := expiry.Warning, expiry.Critical; w.Share > 0 && w.Share < c.Share || w.Left > 0 && w.Left < c.Left {
		return expiry, &usageError{"a warning comes before it is critical, and " + warning + " is less than " + critical, "for example: --warning 14 --critical 7"}
	}
	return expiry, nil
}

// margin reads a share of the lifetime, or days. A plain number means "less
// than", as with check_http --certificate; so does a range that begins with it.
func margin(text string) (engine.Margin, error) {
	if text == "" {
		return engine.Margin{}, nil
	}
	share, isShare := strings.CutSuffix(text, "%")
	number, err := strconv.ParseFloat(strings.TrimSuffix(share, ":"), 64)
	switch {
	case err != nil || math.IsNaN(number) || number <= 0 || isShare && number >= 100 || number > 36500:
		return engine.Margin{}, &usageError{fmt.Sprintf("%.80q is no margin", text), "write days (14) or a share of the lifetime (25%)"}
	case isShare:
		return engine.Margin{Share: number / 100}, nil
	}
	return engine.Margin{Left: time.Duration(number * float64(day))}, nil
}

const day = 24 * time.Hour

// A severity is how bad something is, in the words of monitoring. That nothing is
// known is less than what is known to be wrong.
type severity int

const (
	levelOK severity = iota
	levelUnknown
	levelWarning
	levelCritical
)

func (s severity) String() string { return [...]string{"OK", "UNKNOWN", "WARNING", "CRITICAL"}[s] }

// An alarm is something to be said about a certificate.
type alarm struct {
	level severity
	says  string
}

// settles is how long a renewed certificate may take to be served.
const settles = 15 * time.Minute

// fewReloads is from how many on those that a service can still bear are warned
// about.
const fewReloads = 10

// alarms gives all that is to be said about a certificate, the gravest first.
func alarms(s state.Sighting, now time.Time, expiry engine.Expiry) []alarm {
	var all []alarm
	say := func(l severity, format string, args ...any) {
		all = append(all, alarm{l, fmt.Sprintf(format, args...)})
	}
	if leaf := engine.Presented(s.Certificate); leaf != nil {
		warningLeft, criticalLeft := expiry.Margins(*leaf)
		switch left := leaf.NotAfter.Sub(now); {
		case left <= 0:
			say(levelCritical, "expired %s ago", roughly(-left))
		case left < criticalLeft:
			say(levelCritical, "expires in %s", roughly(left))
		case left < warningLeft:
			say(levelWarning, "expires in %s", roughly(left))
		}
	}
	if s.Outage != nil {
		say(levelCritical, "has completed no handshake for %s: %s", roughly(now.Sub(s.Outage.Since)), blindness(s))
	}
	late := s.Differs != nil && (now.Sub(*s.Differs) > settles || state.Ahead(*s.Differs, now))
	switch engine.Condition(s.State) {
	case engine.HeldBack:
		level := levelWarning
		if engine.Crashed(s.Hold) {
			level = levelCritical
		}
		say(level, "held (%s)", orDash(s.Hold))
	case engine.Broken:
		say(levelCritical, "failed (%s)", s.Pending.Reason)
	case engine.Waiting:
		switch {
		case engine.WaitsForSomebody(s.Pending.Reason):
			say(levelWarning, "waits (%s)", s.Pending.Reason)
		case late:
			say(levelCritical, "pending (%s), and %s", s.Pending.Reason, difference(s, now))
		default:
			say(levelWarning, "pending (%s)", s.Pending.Reason)
		}
	case engine.Stale:
		if late {
			say(levelCritical, "%s", difference(s, now))
		}
	case engine.Unknown:
		say(levelUnknown, "%s", blindness(s))
	}
	if left := s.ReloadsLeft; left != nil && *left <= fewReloads {
		say(levelWarning, "has %s left until it has to be restarted", plural(*left, "reload", "reloads"))
	}
	slices.SortStableFunc(all, func(a, b alarm) int { return cmp.Compare(b.level, a.level) })
	return all
}

// difference says what is not what was issued.
func difference(s state.Sighting, now time.Time) string {
	for _, served := range s.Served {
		if served.Leaf != nil && served.Leaf.Fingerprint != s.Issued.Fingerprint {
			return fmt.Sprintf("serves %s in place of %s for %s", served.Leaf.Short(), s.Issued.Short(), roughly(now.Sub(*s.Differs)))
		}
	}
	return fmt.Sprintf("%s is not installed for %s", s.Issued.Short(), roughly(now.Sub(*s.Differs)))
}

// blindness says why it is not known what is served.
func blindness(s state.Sighting) string {
	for _, served := range s.Served {
		if served.Error != nil {
			return *served.Error
		}
	}
	return "nothing could be looked at"
}

// worst is the level of the gravest alarm.
func worst(all []alarm) severity {
	if len(all) == 0 {
		return levelOK
	}
	return all[0].level
}

// mostSaid is how many certificates a check speaks of by name.
const mostSaid = 5

// checkLine makes the one line of a check (Monitoring Plugins Development
// Guidelines, "Plugin Output for Nagios" and "Performance data"), and gives the
// gravest level.
func checkLine(inventory inventory, now time.Time, expiry engine.Expiry, maxAge time.Duration) (string, severity) {
	type subject struct {
		alarm
		name string
	}
	var said []subject
	var data []string
	var first *state.Sighting
	soonest := time.Duration(math.MaxInt64)
	for i, s := range inventory.seen {
		name := s.Target + "/" + s.Lineage // neither can hold a quote or an equals sign
		if leaf := engine.Presented(s.Certificate); leaf != nil {
			left := leaf.NotAfter.Sub(now)
			w, c := expiry.Margins(*leaf)
			data = append(data, fmt.Sprintf("'%s'=%.2f;%.2f:;%.2f:", name, left.Hours()/24, w.Hours()/24, c.Hours()/24))
			if left < soonest {
				soonest, first = left, &inventory.seen[i]
			}
		}
		if s.Contact != nil {
			name += " (" + *s.Contact + ")"
		}
		for _, a := range alarms(s, now, expiry) {
			said = append(said, subject{a, name})
		}
	}
	if age := inventory.age(now); inventory.snapshot != "" && age > maxAge {
		said = append(said, subject{alarm{levelUnknown, "is " + roughly(age) + " old: nothing refreshes it"}, "the snapshot"})
	}
	if at, ahead := inventory.ahead(now); ahead {
		said = append(said, subject{alarm{levelUnknown, "is of " + at.UTC().Format(time.RFC3339) + ", which has yet to come: nothing refreshes it"}, "the snapshot"})
	}
	if inventory.unread != nil {
		_, hint := explain(inventory.unread)
		said = append(said, subject{alarm{levelCritical, fmt.Sprintf("is deployed (%v): %s", inventory.unread, hint)}, "nothing"})
	}
	if len(inventory.seen) == 0 {
		said = append(said, subject{alarm{levelUnknown, "no certificate"}, "there is"})
	}
	slices.SortStableFunc(said, func(a, b subject) int { return cmp.Compare(b.level, a.level) })

	result := levelOK
	text := plural(len(inventory.seen), "certificate", "certificates")
	if first != nil {
		text += fmt.Sprintf(", %s/%s is the first to expire, in %s", first.Target, first.Lineage, roughly(soonest))
	}
	if len(said) > 0 {
		result = said[0].level
		var parts []string
		for _, s := range said[:min(len(said), mostSaid)] {
			parts = append(parts, s.name+" "+s.says)
		}
		if more := len(said) - len(parts); more > 0 {
			parts = append(parts, fmt.Sprintf("and %d more", more))
		}
		text = strings.Join(parts, "; ")
	}
	line := fmt.Sprintf("CERTLATCH %s - %s", result, forLine(text))
	if len(data) > 0 {
		line += " | " + strings.Join(data, " ")
	}
	return line, result
}

// forLine takes out what would end the text of a plugin's line.
func forLine(text string) string { return strings.ReplaceAll(printable(text), "|", "/") }
