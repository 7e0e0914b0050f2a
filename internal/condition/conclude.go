package condition

import (
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/state"
)

// Known is what a sighting is judged by, beside what was seen.
type Known struct {
	Record state.Record
	Hold   *state.Hold     // of the target; nil: it is not held
	Marked *time.Time      // when a hook has asked for a deployment that has not come about
	Issued time.Time       // when the client wrote the files
	Before *state.Sighting // the last one; nil: there was none
	Unread bool            // the state cannot be read, so only the last sighting knows of holds

	Looked       bool // at what is installed
	ByOthers     bool // what is installed is neither what was proven there nor what certlatch has left there
	ProveNothing bool // by the target's configuration
	Stopped      bool // somebody has stopped the service, and it did not fail
	Unit         string
}

// Conclude returns a sighting with the condition that it shows the certificate
// to be in, and since when. Expiry is not looked at: [At] does that.
func (k Known) Conclude(s state.Sighting) state.Sighting {
	if k.Before != nil {
		believed := k.Before.Believe(s.Looked)
		k.Before = &believed
	}
	s.Differs, s.Outage = k.differs(s), k.outage(s)
	condition, since := InSync, k.synced(s)
	pending := k.Record.Pending
	if pending != nil {
		s.Pending = &state.Waiting{Reason: pending.Reason, Attempts: pending.Attempts, Next: pending.Next, Once: pending.Once}
	}
	switch {
	case pending == nil && k.Marked != nil && s.Differs != nil:
		s.Pending = &state.Waiting{Reason: string(outcome.Marked)}
		condition, since = Waiting, *k.Marked
	case k.changed(s):
		proven := k.Record.Proven
		s.Changed = &state.Changed{Proven: proven.Leaf, Generation: proven.Generation, Time: proven.Time}
		condition, since = Changed, k.lasting(Changed, s.Looked)
	case pending != nil:
		condition, since = ofPending(pending), pending.Since
	case s.Differs != nil:
		condition, since = Stale, *s.Differs
	case s.Outage != nil:
		condition, since = Stale, s.Outage.Since
	case s.NotOurs != nil:
		condition, since = NotOurs, k.lasting(NotOurs, s.Looked)
	case k.blind(s):
		condition, since = Unknown, k.lasting(Unknown, s.Looked)
	}
	if hold := k.hold(); hold != nil {
		s.Hold = &hold.Reason
		condition, since = HeldBack, hold.Since
	}
	if since.After(s.Looked) {
		since = s.Looked
	}
	since = since.UTC().Truncate(time.Second)
	s.State, s.Since = string(condition), &since
	return s
}

// ofPending returns the condition of what is pending: broken, unless time or
// somebody else mends it.
func ofPending(p *state.Pending) Condition {
	if p.Result == string(outcome.RollbackFailed) || p.Next == nil && !outcome.Reason(p.Reason).WaitsForService() {
		return Broken
	}
	return Waiting
}

// changed reports whether somebody has put another pair in place of the one that was
// proven. Where that is the one that is issued, and it is served, the next deployment has
// nothing to do but prove it, and no harm was done; unless certlatch has tried that pair,
// and has refused it or taken it away again.
func (k Known) changed(s state.Sighting) bool {
	return k.ByOthers && k.Record.Proven != nil && (k.Record.Pending != nil || s.Issued == nil || s.Differs != nil)
}

// hold returns the hold of the target. Where the state that would know cannot
// be read, that is the one that was seen last.
func (k Known) hold() *state.Hold {
	if k.Hold != nil || !k.Unread || k.Before == nil || k.Before.Hold == nil {
		return k.Hold
	}
	return &state.Hold{Reason: *k.Before.Hold, Since: k.lasting(HeldBack, k.Before.Looked)}
}

// blind reports whether something could not be seen that should be.
func (k Known) blind(s state.Sighting) bool {
	return s.Issued == nil || !k.Looked || len(s.Served) == 0 && !k.ProveNothing ||
		slices.ContainsFunc(s.Served, func(p state.Served) bool { return p.Error != nil })
}

// outage returns what was proven to be served and completes no handshake now;
// nil: nothing is missing.
func (k Known) outage(s state.Sighting) *state.Outage {
	silent := func(p state.Served) bool {
		return p.Error != nil && *p.Error != string(outcome.AddressNotHere) && *p.Error != string(outcome.NetworkApart) && (p.Probe != nil || *p.Error == string(outcome.Outage))
	}
	proven := k.Record.Proven
	if proven == nil || k.ProveNothing || k.Stopped || !slices.ContainsFunc(s.Served, silent) {
		return nil
	}
	outage := &state.Outage{Since: s.Looked.Truncate(time.Second), Remedy: outcome.LookAtService(k.Unit, *proven)}
	if k.Before != nil && k.Before.Outage != nil && k.Before.Outage.Since.Before(outage.Since) {
		outage.Since = k.Before.Outage.Since
	}
	return outage
}

// replaced returns since when something else is served than what is installed and was
// proven to be served, where nothing is issued that it could be held against; nil:
// nothing else was seen.
func (k Known) replaced(s state.Sighting) *time.Time {
	proven := k.Record.Proven
	if proven == nil || s.Installed == nil || proven.Leaf.Fingerprint != s.Installed.Fingerprint ||
		!slices.ContainsFunc(s.Served, func(p state.Served) bool {
			return p.Leaf != nil && p.Leaf.Fingerprint != s.Installed.Fingerprint
		}) {
		return nil
	}
	if k.Before != nil && k.Before.Differs != nil {
		return k.Before.Differs
	}
	since := s.Looked.Truncate(time.Second)
	return &since
}

// differs returns since when what is installed or served is not what was issued;
// nil: nothing else was seen.
func (k Known) differs(s state.Sighting) *time.Time {
	if s.Issued == nil {
		return k.replaced(s)
	}
	other := func(leaf *lineage.Leaf) bool { return leaf == nil || leaf.Fingerprint != s.Issued.Fingerprint }
	if !(k.Looked && other(s.Installed)) &&
		!slices.ContainsFunc(s.Served, func(p state.Served) bool { return p.Leaf != nil && other(p.Leaf) }) {
		return nil
	}
	before := k.Before
	if before != nil && before.Differs == nil && (before.State == string(Unknown) || before.Issued == nil) {
		before = nil // it tells neither way
	}
	since := s.Looked.Truncate(time.Second)
	issued := k.Issued
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

// proved reports whether the last proof was of the leaf that is issued.
func (k Known) proved(s state.Sighting) bool {
	proven := k.Record.Proven
	return proven != nil && s.Issued != nil && proven.Leaf.Fingerprint == s.Issued.Fingerprint
}

// synced returns since when a certificate is in sync that is so now.
func (k Known) synced(s state.Sighting) time.Time {
	if k.proved(s) && (k.Before == nil || k.Record.Proven.Time.After(k.Before.Looked)) {
		return k.Record.Proven.Time
	}
	return k.lasting(InSync, s.Looked)
}

// lasting returns since when a condition lasts that is seen at a time.
func (k Known) lasting(c Condition, seen time.Time) time.Time {
	if k.Before != nil && k.Before.State == string(c) && k.Before.Since != nil {
		return *k.Before.Since
	}
	return seen
}
