package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/state"
)

// The line of a monitoring plugin follows the Monitoring Plugins Development
// Guidelines ("Plugin Output for Nagios", "Performance data").

// Check is an inventory, and what check judges it by.
type Check struct {
	Inventory Inventory
	Now       time.Time
	Expiry    condition.Expiry
	MaxAge    time.Duration // of a snapshot
}

// PluginFailure returns the line of a plugin that was kept from looking.
func PluginFailure(err error, remedy string) string {
	text := err.Error()
	if remedy != "" {
		text += "; " + remedy
	}
	return pluginLine(SeverityUnknown, text)
}

// pluginLine returns a plugin's line without performance data.
func pluginLine(s Severity, text string) string {
	// What is behind a bar would be taken for performance data.
	return fmt.Sprintf("CERTLATCH %s - %s", s, strings.ReplaceAll(Printable(text), "|", "/"))
}

// mostSaid is how many certificates the line names.
const mostSaid = 5

// subject is an alarm, and what it is about.
type subject struct {
	alarm
	name string
}

// Line returns the line of the plugin, and the gravest severity.
func (c Check) Line() (string, Severity) {
	said := append(c.certificateAlarms(), c.overallAlarms()...)
	slices.SortStableFunc(said, func(a, b subject) int { return cmp.Compare(b.level, a.level) })
	result, text := SeverityOK, c.summary()
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
	line := pluginLine(result, text)
	if data := c.performance(); len(data) > 0 {
		line += " | " + strings.Join(data, " ")
	}
	return line, result
}

// LongOutput returns the lines below that of the plugin: lineages that no target takes.
func (c Check) LongOutput() []string {
	var lines []string
	for _, line := range c.Inventory.unclaimed() {
		lines = append(lines, strings.ReplaceAll(Printable(line), "|", "/"))
	}
	return lines
}

// certificateAlarms returns the alarms about single certificates.
func (c Check) certificateAlarms() []subject {
	var said []subject
	for _, s := range c.Inventory.Seen {
		name := nameOf(s)
		if s.Contact != nil {
			name += " (" + *s.Contact + ")"
		}
		for _, a := range alarms(s, c.Now, c.Expiry) {
			said = append(said, subject{a, name})
		}
	}
	return said
}

// overallAlarms returns the alarms about the inventory as a whole.
func (c Check) overallAlarms() []subject {
	var said []subject
	say := func(level Severity, name, format string, args ...any) {
		said = append(said, subject{alarm{level, fmt.Sprintf(format, args...)}, name})
	}
	i := c.Inventory
	if age := i.age(c.Now); i.Snapshot != "" && age > c.MaxAge {
		say(SeverityUnknown, "the snapshot", "is %s old: nothing refreshes it", roughly(age))
	}
	if at, ahead := i.ahead(c.Now); ahead {
		say(SeverityUnknown, "the snapshot", "is of %s, which has yet to come: nothing refreshes it", at.UTC().Format(time.RFC3339))
	}
	if i.Unread != nil {
		say(SeverityCritical, "nothing", "is deployed (%v): %s", i.Unread, i.Remedy)
	}
	for _, u := range i.Unclaimed {
		if u.Served != nil {
			say(SeverityWarning, i.unclaimedName(u), "is served (%s), and no target takes it", *u.Served)
		}
	}
	if len(i.Seen) == 0 {
		say(SeverityUnknown, "there is", "no certificate")
	}
	return said
}

// performance returns performance data: the days that each certificate and its chain
// are still valid for, with the thresholds of warning and critical.
func (c Check) performance() []string {
	var data []string
	for _, s := range c.Inventory.Seen {
		if leaf := condition.Presented(s.Certificate); leaf != nil {
			warning, critical := c.Expiry.Margins(*leaf)
			ends, _ := condition.Ends(s.Certificate)
			data = append(data, fmt.Sprintf("'%s'=%.2f;%.2f:;%.2f:", label(s.Target+"/"+s.Lineage), days(ends.Sub(c.Now)), days(warning), days(critical)))
		}
	}
	return data
}

// label returns a text as the label of performance data, between quotes: one that it
// holds is doubled, and it must hold no equals sign (Monitoring Plugins guidelines,
// "Performance data"). A bar would begin the data anew.
func label(text string) string {
	return strings.NewReplacer("'", "''", "=", "_", "|", "/").Replace(Printable(text))
}

// nameOf returns what a plugin's line calls a certificate: TARGET/LINEAGE.
func nameOf(s state.Sighting) string { return s.Target + "/" + quotedName(s.Lineage) }

func days(d time.Duration) float64 { return d.Hours() / 24 }

// summary returns how many certificates there are, and which is the first to
// expire.
func (c Check) summary() string {
	var first *state.Sighting
	soonest := time.Duration(math.MaxInt64)
	for i, s := range c.Inventory.Seen {
		if ends, _ := condition.Ends(s.Certificate); !ends.IsZero() && ends.Sub(c.Now) < soonest {
			soonest, first = ends.Sub(c.Now), &c.Inventory.Seen[i]
		}
	}
	text := Count(len(c.Inventory.Seen), "certificate", "certificates")
	if first != nil {
		text += fmt.Sprintf(", %s is the first to expire, in %s", nameOf(*first), roughly(soonest))
	}
	return text
}
