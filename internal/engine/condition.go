package engine

import (
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

// This file tells in what condition a certificate is, from what was found out
// about it. It looks at nothing itself.

// Condition is how a lineage is doing at a target. The words are fixed by the
// contract.
type Condition string

const (
	InSync   Condition = "in-sync"
	Stale    Condition = "stale"
	Waiting  Condition = "pending"
	HeldBack Condition = "held"
	Broken   Condition = "failed"
	Expiring Condition = "expiring"
	Expired  Condition = "expired"
	Unknown  Condition = "unknown"
)

// Conditions gives all of them, the gravest first. Of two that apply, the
// graver one is said.
func Conditions() []Condition {
	return []Condition{Expired, HeldBack, Broken, Expiring, Waiting, Stale, Unknown, InSync}
}

// Margin is how much must be left of a lifetime: a share of it, or a time. The
// zero Margin is the usual one.
type Margin struct {
	Share float64 // of the lifetime, above 0 and below 1
	Left  time.Duration
}

// Expiry says when a certificate is about to expire. The zero Expiry leaves
// each lifetime the usual share: 25 % before a warning and 12.5 % before it is
// critical. Clients renew with a third left, or half of lifetimes below 10 days
// (certbot 4.0), for which the shares are 40 % and 20 %. The usual margins are
// never below 12 hours.
type Expiry struct{ Warning, Critical Margin }

const (
	shortLifetime = 10 * 24 * time.Hour
	leastMargin   = 12 * time.Hour
)

// Margins gives what must be left of a leaf's lifetime.
func (e Expiry) Margins(leaf lineage.Leaf) (warning, critical time.Duration) {
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	if lifetime < shortLifetime {
		return e.Warning.of(lifetime, 0.40), e.Critical.of(lifetime, 0.20)
	}
	return e.Warning.of(lifetime, 0.25), e.Critical.of(lifetime, 0.125)
}

func (m Margin) of(lifetime time.Duration, usual float64) time.Duration {
	switch {
	case m.Left > 0:
		return m.Left
	case m.Share > 0:
		return time.Duration(m.Share * float64(lifetime))
	}
	return max(time.Duration(usual*float64(lifetime)), leastMargin)
}

// Presented is the leaf that counts for expiry: of those served the first to
// expire; where none is seen, the one installed, or else issued. nil: nothing
// is known.
func Presented(c state.Certificate) *lineage.Leaf {
	var first *lineage.Leaf
	for _, s := range c.Served {
		if s.Leaf != nil && (first == nil || s.Leaf.NotAfter.Before(first.NotAfter)) {
			first = s.Leaf
		}
	}
	switch {
	case first != nil:
		return first
	case c.Installed != nil:
		return c.Installed
	}
	return c.Issued
}

// At gives a certificate in the condition that it is in at a time, which alone
// lets it expire.
func At(c state.Certificate, now time.Time, expiry Expiry) state.Certificate {
	leaf := Presented(c)
	if leaf == nil {
		return c
	}
	warning, _ := expiry.Margins(*leaf)
	begins := leaf.NotAfter.Add(-warning)
	switch {
	case !now.Before(leaf.NotAfter):
		c.State, c.Since = string(Expired), &leaf.NotAfter
	case now.After(begins) && !slices.Contains([]Condition{HeldBack, Broken}, Condition(c.State)):
		c.State, c.Since = string(Expiring), &begins
	}
	return c
}

// Crashed reports whether a target is held because its service died of a
// deployment.
func Crashed(hold *string) bool { return hold != nil && *hold == crashedReason }

// WaitsForSomebody tells whether a pending deployment is installed and waits
// for what somebody has yet to do or has asked to be waited for. Another
// attempt would not help it along.
func WaitsForSomebody(reason string) bool { return waits(reason) || reason == outsideWindowReason }

// markedReason is that of a lineage that a hook has only marked.
const markedReason = "marked"

// known is what a sighting is judged by, beside what was seen.
type known struct {
	state.Record
	hold         *state.Hold
	marked       *time.Time      // when a hook has asked for a deployment that has not come about
	issued       time.Time       // when the client wrote the files
	before       *state.Sighting // the last one; nil: there was none
	unread       bool            // the state cannot be read, so only the last sighting knows of holds
	looked       bool            // at what is installed
	proveNothing bool
	stopped      bool   // somebody has stopped the service, and it did not fail
	unit         string // of the service; empty: none
}

// conclude says in what condition a sighting shows the certificate to be, and
// since when. Expiry is not looked at.
func (k known) conclude(s *state.Sighting) {
	if k.before != nil {
		believed := k.before.Believe(s.Looked)
		k.before = &believed
	}
	s.Differs, s.Outage = k.differs(s), k.outage(s)
	condition, since := InSync, k.synced(s)
	switch {
	case k.Pending != nil:
		s.Pending = &state.Waiting{Reason: k.Pending.Reason, Attempts: k.Pending.Attempts, Next: k.Pending.Next}
		condition, since = Waiting, k.Pending.Since
		if k.Pending.Result == string(RollbackFailed) || k.Pending.Next == nil && !waits(k.Pending.Reason) {
			condition = Broken
		}
	case k.marked != nil && s.Differs != nil:
		s.Pending = &state.Waiting{Reason: markedReason}
		condition, since = Waiting, *k.marked
	case s.Differs != nil:
		condition, since = Stale, *s.Differs
	case s.Outage != nil:
		condition, since = Stale, s.Outage.Since
	case k.blind(s):
		condition, since = Unknown, k.lasting(Unknown, s.Looked)
	}
	if k.hold == nil {
		k.hold = k.lostHold()
	}
	if k.hold != nil {
		s.Hold = &k.hold.Reason
		condition, since = HeldBack, k.hold.Since
	}
	if since.After(s.Looked) {
		since = s.Looked
	}
	since = since.UTC().Truncate(time.Second)
	s.State, s.Since = string(condition), &since
}

// lostHold returns the hold that was seen last, where the state that would
// know cannot be read; nil: there was none.
func (k known) lostHold() *state.Hold {
	if !k.unread || k.before == nil || k.before.Hold == nil {
		return nil
	}
	return &state.Hold{Reason: *k.before.Hold, Since: k.lasting(HeldBack, k.before.Looked)}
}

// blind tells whether something could not be seen that should be.
func (k known) blind(s *state.Sighting) bool {
	return s.Issued == nil || !k.looked || len(s.Served) == 0 && !k.proveNothing ||
		slices.ContainsFunc(s.Served, func(p state.Served) bool { return p.Error != nil })
}

// outage reports what was proven to be served and completes no handshake now;
// nil: nothing is missing.
func (k known) outage(s *state.Sighting) *state.Outage {
	silent := func(p state.Served) bool { return p.Error != nil && (p.Probe != nil || *p.Error == outageReason) }
	if k.Proven == nil || k.proveNothing || k.stopped || !slices.ContainsFunc(s.Served, silent) {
		return nil
	}
	outage := &state.Outage{Since: s.Looked.Truncate(time.Second), Remedy: lookAtService(k.unit, *k.Proven)}
	if k.before != nil && k.before.Outage != nil && k.before.Outage.Since.Before(outage.Since) {
		outage.Since = k.before.Outage.Since
	}
	return outage
}

// differs tells since when what is installed or served is not what was issued;
// nil: nothing else was seen.
func (k known) differs(s *state.Sighting) *time.Time {
	if s.Issued == nil {
		return nil
	}
	other := func(leaf *lineage.Leaf) bool { return leaf == nil || leaf.Fingerprint != s.Issued.Fingerprint }
	if !(k.looked && other(s.Installed)) &&
		!slices.ContainsFunc(s.Served, func(p state.Served) bool { return p.Leaf != nil && other(p.Leaf) }) {
		return nil
	}
	before := k.before
	if before != nil && before.Differs == nil && (before.State == string(Unknown) || before.Issued == nil) {
		before = nil // it tells neither way
	}
	since := s.Looked.Truncate(time.Second)
	issued := k.issued
	if s.Issued.NotBefore.After(issued) {
		issued = s.Issued.NotBefore // files may have been copied with a time of their own
	}
	switch {
	case before != nil && before.Differs != nil:
		return before.Differs
	case before != nil && !other(before.Issued), before == nil && k.proved(s):
		return &since // it was in sync with this very leaf, so that began but now
	case before != nil && before.Looked.After(issued):
		since = before.Looked.Truncate(time.Second)
	case issued.Before(since):
		since = issued
	}
	return &since
}

// proved tells whether the last proof was of the leaf that is issued.
func (k known) proved(s *state.Sighting) bool {
	return k.Proven != nil && s.Issued != nil && k.Proven.Leaf.Fingerprint == s.Issued.Fingerprint
}

// synced tells since when a certificate is in sync that is so now.
func (k known) synced(s *state.Sighting) time.Time {
	if k.proved(s) && (k.before == nil || k.Proven.Time.After(k.before.Looked)) {
		return k.Proven.Time
	}
	return k.lasting(InSync, s.Looked)
}

// lasting tells since when a condition lasts that is seen at a time.
func (k known) lasting(c Condition, seen time.Time) time.Time {
	if k.before != nil && k.before.State == string(c) && k.before.Since != nil {
		return *k.before.Since
	}
	return seen
}

// waits tells whether a reason is about something that somebody else does, so
// that looking again is worth it at any time.
func waits(reason string) bool {
	return slices.Contains([]string{firstInstallReason, otherHostReason, string(deployers.ServiceInactive), string(deployers.RestartNotAllowed), string(deployers.SharedMemoryLow)}, reason)
}
