package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/state"
)

// A Severity is how bad something is, in the words of monitoring. Unknown is
// less grave than what is known to be wrong.
type Severity int

const (
	SeverityOK Severity = iota
	SeverityUnknown
	SeverityWarning
	SeverityCritical
)

func (s Severity) String() string { return [...]string{"OK", "UNKNOWN", "WARNING", "CRITICAL"}[s] }

// An alarm is something to be said about a certificate.
type alarm struct {
	level Severity
	says  string
}

// settles is how long a renewed certificate may take to be served.
const settles = 15 * time.Minute

// fewReloads is the number of reloads left, of those that a service can bear,
// at which a warning begins.
const fewReloads = 10

// alarms returns the alarms about a certificate, the gravest first.
func alarms(s state.Sighting, now time.Time, expiry condition.Expiry) []alarm {
	var all []alarm
	say := func(l Severity, format string, args ...any) {
		all = append(all, alarm{l, fmt.Sprintf(format, args...)})
	}
	if leaf := condition.Presented(s.Certificate); leaf != nil {
		if begins := leaf.NotBefore; now.Before(begins) {
			say(SeverityCritical, "is valid in %s only: clients refuse it, or the clock of this host is wrong", roughly(begins.Sub(now)))
		}
		warningLeft, criticalLeft := expiry.Margins(*leaf)
		ends, byChain := condition.Ends(s.Certificate)
		expired, expires := "expired", "expires"
		if byChain {
			expired, expires = "has a chain that ended", "has a chain that ends"
		}
		switch left := ends.Sub(now); {
		case left <= 0:
			say(SeverityCritical, "%s %s ago", expired, roughly(-left))
		case left < criticalLeft:
			say(SeverityCritical, "%s in %s", expires, roughly(left))
		case left < warningLeft:
			say(SeverityWarning, "%s in %s", expires, roughly(left))
		}
	}
	if s.Outage != nil {
		say(SeverityCritical, "has completed no handshake for %s: %s", roughly(now.Sub(s.Outage.Since)), blindness(s))
	}
	late := s.Differs != nil && (now.Sub(*s.Differs) > settles || state.Ahead(*s.Differs, now))
	switch condition.Condition(s.State) {
	case condition.HeldBack:
		level := SeverityWarning
		if condition.Crashed(s.Hold) {
			level = SeverityCritical
		}
		say(level, "held (%s)", orDash(s.Hold))
	case condition.Broken:
		say(SeverityCritical, "failed (%s)%s%s", s.Pending.Reason, servedAnyway(s), onceOf(s))
	case condition.Waiting:
		switch {
		case outcome.Reason(s.Pending.Reason).WaitsForSomebody():
			say(SeverityWarning, "waits (%s)%s", s.Pending.Reason, onceOf(s))
		case late:
			say(SeverityCritical, "pending (%s), and %s", s.Pending.Reason, difference(s, now))
		default:
			say(SeverityWarning, "pending (%s)", s.Pending.Reason)
		}
	case condition.Changed:
		level := SeverityWarning
		if s.Pending != nil && s.Pending.Next == nil || late || now.Sub(*s.Since) > settles || state.Ahead(*s.Since, now) {
			level = SeverityCritical
		}
		say(level, "%s", changed(s))
		if s.Pending != nil {
			say(level, "pending (%s)%s", s.Pending.Reason, onceOf(s))
		}
	case condition.Stale:
		if late {
			say(SeverityCritical, "%s", difference(s, now))
		}
	case condition.Unknown:
		say(SeverityUnknown, "%s", blindness(s))
	}
	if says := notOurs(s); says != "" {
		say(SeverityWarning, "%s", says)
	}
	if left := s.ReloadsLeft; left != nil && *left <= fewReloads {
		say(SeverityWarning, "has %s left until it has to be restarted", Count(*left, "reload", "reloads"))
	}
	if s.Endangers != nil {
		say(SeverityWarning, "its next reload could not load %s", *s.Endangers)
	}
	slices.SortStableFunc(all, func(a, b alarm) int { return cmp.Compare(b.level, a.level) })
	return all
}

// difference returns what is installed or served in place of what was issued,
// in words.
func difference(s state.Sighting, now time.Time) string {
	wanted := s.Wanted()
	for _, served := range s.Served {
		if served.Leaf != nil && served.Leaf.Fingerprint != wanted.Fingerprint {
			return fmt.Sprintf("serves %s in place of %s for %s", served.Leaf.Short(), wanted.Short(), roughly(now.Sub(*s.Differs)))
		}
	}
	return fmt.Sprintf("%s is not installed for %s", wanted.Short(), roughly(now.Sub(*s.Differs)))
}

// mostBy is how many are named who write to a target's files.
const mostBy = 3

// changed says that somebody has put another pair in place of the proven one, what is
// served now, and who is known to do so.
func changed(s state.Sighting) string {
	by := "certlatch doctor names who is known to write there"
	if known := s.Changed.By; len(known) > 0 {
		by = "known to write there: " + strings.Join(known[:min(len(known), mostBy)], ", ")
		if more := len(known) - mostBy; more > 0 {
			by += fmt.Sprintf(" and %d more", more)
		}
	}
	return fmt.Sprintf("changed by others: installed is %s, proven was %s, served %s (%s)", short(s.Installed), s.Changed.Proven.Short(), servedLeaves(s), by)
}

// servedAnyway says that the leaf that was issued is served, though it is not installed;
// empty: it is not.
func servedAnyway(s state.Sighting) string {
	if s.Issued == nil || s.Installed == nil || s.Installed.Fingerprint == s.Issued.Fingerprint {
		return ""
	}
	for _, p := range s.Served {
		if p.Leaf != nil && p.Leaf.Fingerprint == s.Issued.Fingerprint {
			return fmt.Sprintf(", and serves %s for all that, which it has from elsewhere", s.Issued.Short())
		}
	}
	return ""
}

// notOurs says that a service takes its certificate from elsewhere than the target's
// files; empty: it is not known to. The snapshot does not tell from where.
func notOurs(s state.Sighting) string {
	switch {
	case s.NotOurs != nil:
		return "does not come from the target's files: " + s.NotOurs.Says + "; " + s.NotOurs.Remedy
	case condition.Condition(s.State) == condition.NotOurs:
		return "does not come from the target's files: certlatch doctor --target " + s.Target + " tells more"
	}
	return ""
}

// remedyOfChange says how the lineage's own pair comes back, or, where that was refused or
// failed, the proven one.
func remedyOfChange(s state.Sighting) string {
	if s.Pending == nil {
		return fmt.Sprintf("certlatch deploy --force --target %s puts the lineage's own pair back", s.Target)
	}
	return fmt.Sprintf("certlatch rollback %s %s --to %s puts the proven pair back and holds the target until certlatch release %s", s.Target, s.Lineage, s.Changed.Generation, s.Target)
}

// onceOf says that a service which was restarted in vain is not again by itself;
// empty: that is not so.
func onceOf(s state.Sighting) string {
	if s.Pending == nil || !s.Pending.Once {
		return ""
	}
	return fmt.Sprintf(", and is not restarted again until certlatch deploy --target %s says so", s.Target)
}

// blindness returns why it is not known what is served.
func blindness(s state.Sighting) string {
	for _, served := range s.Served {
		if served.Error != nil {
			return unseen(served.Probe, *served.Error)
		}
	}
	return "nothing could be looked at"
}

// unseen returns why a probe saw nothing, in words.
func unseen(probe *string, why string) string {
	switch {
	case probe != nil && why == string(outcome.AddressNotHere):
		return fmt.Sprintf("%s is at no address of this host now (%s)", *probe, why)
	case why == string(outcome.NetworkApart):
		return fmt.Sprintf("the service has a network namespace of its own (%s)", why)
	}
	return why
}

// worst returns the severity of the gravest alarm.
func worst(all []alarm) Severity {
	if len(all) == 0 {
		return SeverityOK
	}
	return all[0].level
}
