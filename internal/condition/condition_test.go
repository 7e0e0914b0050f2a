package condition

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/state"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// leafOf makes the description of a leaf of 90 days that is some days old.
func leafOf(fingerprint string, age int) *lineage.Leaf {
	return &lineage.Leaf{Fingerprint: fingerprint, NotBefore: noon.AddDate(0, 0, -age), NotAfter: noon.AddDate(0, 0, 90-age)}
}

func TestMargins(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for _, test := range []struct {
		name              string
		lifetime          time.Duration
		expiry            Expiry
		warning, critical time.Duration
	}{
		{"90 days", 90 * day, Expiry{}, 540 * hour, 270 * hour},
		{"10 days", 10 * day, Expiry{}, 60 * hour, 30 * hour},
		{"6 days", 6 * day, Expiry{}, 57*hour + 36*time.Minute, 28*hour + 48*time.Minute},
		{"2 days", 2 * day, Expiry{}, 19*hour + 12*time.Minute, 12 * hour},
		{"a day", day, Expiry{}, 12 * hour, 12 * hour},
		{"days that were asked for", 6 * day, Expiry{Margin{Left: 14 * day}, Margin{Left: 7 * day}}, 14 * day, 7 * day},
		{"a share that was asked for", day, Expiry{Margin{Share: 0.5}, Margin{Share: 0.25}}, 12 * hour, 6 * hour},
		{"one that was asked for", 90 * day, Expiry{Critical: Margin{Left: day}}, 540 * hour, day},
	} {
		leaf := lineage.Leaf{NotBefore: noon, NotAfter: noon.Add(test.lifetime)}
		if w, c := test.expiry.Margins(leaf); w != test.warning || c != test.critical {
			t.Errorf("%s: %s and %s instead of %s and %s", test.name, w, c, test.warning, test.critical)
		}
	}
}

func TestConditions(t *testing.T) {
	const issued, other = "aa", "bb"
	hour := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
	at := func(n int) *time.Time { then := hour(n); return &then }
	serves := func(leaves ...*lineage.Leaf) []state.Served {
		var all []state.Served
		for _, leaf := range leaves {
			served := state.Served{Leaf: leaf}
			if leaf == nil {
				served.Error, served.Probe = new(string), new(string)
			}
			all = append(all, served)
		}
		return all
	}
	pending := func(result outcome.Result, reason string, next *time.Time) state.Record {
		return state.Record{Pending: &state.Pending{Since: hour(-3), Attempts: 2, Failure: state.Failure{Result: string(result), Reason: reason, Next: next}}}
	}
	proven := func(fingerprint string, when int) state.Record {
		return state.Record{Proven: &state.Proof{Leaf: *leafOf(fingerprint, 1), Time: hour(when)}}
	}
	both := func(fingerprint string, result outcome.Result, reason string, next *time.Time) state.Record {
		return state.Record{Proven: proven(fingerprint, -5).Proven, Pending: pending(result, reason, next).Pending}
	}
	before := func(c Condition, since, looked int, fingerprint string, differs *time.Time) *state.Sighting {
		return &state.Sighting{
			Certificate: state.Certificate{Issued: leafOf(fingerprint, 1), State: string(c), Since: at(since)},
			Looked:      hour(looked), Differs: differs,
		}
	}
	heldBefore := func(since int) *state.Sighting {
		s := before(HeldBack, since, -1, issued, nil)
		s.Hold = new(string)
		return s
	}
	const hours2100, hours1970 = 24 * 365 * 74, -24 * 365 * 56
	out := func(since int) *state.Sighting {
		sighting := before(Stale, since, -1, issued, nil)
		sighting.Outage = &state.Outage{Since: hour(since)}
		return sighting
	}
	fresh, old := leafOf(issued, 1), leafOf(other, 60)
	gone, unseen, elsewhere := string(outcome.Outage), "unit-not-found", string(outcome.AddressNotHere)

	for _, test := range []struct {
		name              string
		issued, installed *lineage.Leaf
		served            []state.Served
		known             Known
		state             Condition
		since             time.Time
	}{
		{"proven", fresh, fresh, serves(fresh, fresh), Known{Record: proven(issued, -5)}, InSync, hour(-5)},
		{"in sync by chance", fresh, fresh, serves(fresh), Known{}, InSync, noon},
		{"another leaf was proven, and the issued one was put there by hand", fresh, fresh, serves(fresh), Known{Record: proven(other, -5), ByOthers: true}, InSync, noon},
		{"seen so before", fresh, fresh, serves(fresh), Known{Record: proven(issued, -5), Before: before(InSync, -4, -1, issued, nil)}, InSync, hour(-4)},
		{"mended since the last look", fresh, fresh, serves(fresh), Known{Record: proven(issued, -5), Before: before(Stale, -2, -1, issued, at(-2))}, InSync, noon},
		{"proven since the last look", fresh, fresh, serves(fresh), Known{Record: proven(issued, -1), Before: before(Waiting, -3, -2, issued, at(-3))}, InSync, hour(-1)},
		{"nothing is to be proven", fresh, fresh, nil, Known{ProveNothing: true}, InSync, noon},

		{"an old pair is served", fresh, fresh, serves(fresh, old), Known{Issued: hour(-2)}, Stale, hour(-2)},
		{"an old pair is installed", fresh, old, serves(fresh), Known{Issued: hour(-2)}, Stale, hour(-2)},
		{"nothing is installed", fresh, nil, serves(fresh), Known{Issued: hour(-2)}, Stale, hour(-2)},
		{"stale for as long as is known", fresh, old, serves(old), Known{Issued: hour(-2), Before: before(Stale, -9, -1, other, at(-9))}, Stale, hour(-9)},
		{"in sync at the last look", fresh, old, serves(old), Known{Issued: hour(-2), Before: before(InSync, -9, -1, issued, nil)}, Stale, noon},
		{"issued since the last look", fresh, old, serves(old), Known{Issued: hour(-1), Before: before(InSync, -9, -2, other, nil)}, Stale, hour(-1)},
		{"issued since the last look, with its old times", fresh, old, serves(old), Known{Issued: hour(-20), Before: before(InSync, -9, -2, other, nil)}, Stale, hour(-2)},
		{"not so when it was proven", fresh, fresh, serves(old), Known{Record: proven(issued, -5), Issued: hour(-5)}, Stale, noon},
		{"the last look saw nothing", fresh, fresh, serves(old), Known{Issued: hour(-5), Before: before(Unknown, -2, -1, issued, nil)}, Stale, hour(-5)},
		{"stale at a look that saw nothing else", fresh, old, serves(old), Known{Issued: hour(-2), Before: before(Unknown, -2, -1, issued, at(-9))}, Stale, hour(-9)},
		{"written in the future", fresh, old, serves(old), Known{Issued: hour(5)}, Stale, noon},

		{"written long ago", fresh, old, serves(old), Known{Issued: time.Unix(0, 0)}, Stale, hour(-24)},
		{"stale since 2100", fresh, old, serves(old), Known{Issued: hour(-2), Before: before(Stale, hours2100, hours2100, other, at(hours2100))}, Stale, noon},
		{"stale since 1970", fresh, old, serves(old), Known{Issued: hour(-2), Before: before(Stale, hours1970, hours1970, other, at(hours1970))}, Stale, noon},
		{"in sync at a look in 2100", fresh, old, serves(old), Known{Issued: hour(-2), Before: before(InSync, hours2100, hours2100, other, nil)}, Stale, noon},
		{"in sync since 2100", fresh, fresh, serves(fresh), Known{Before: before(InSync, hours2100, -1, issued, nil)}, InSync, noon},
		{"proven in 2100", fresh, fresh, serves(fresh), Known{Record: proven(issued, hours2100)}, InSync, noon},
		{"marked in 2100", fresh, old, serves(old), Known{Marked: at(hours2100)}, Waiting, noon},

		{"another pair than the proven one is installed", fresh, old, serves(fresh), Known{Record: proven(issued, -5), ByOthers: true}, Changed, noon},
		{"another pair goes on being installed", fresh, old, serves(old), Known{Record: proven(issued, -5), ByOthers: true, Before: before(Changed, -3, -1, issued, at(-3))}, Changed, hour(-3)},
		{"another pair is installed, and a hook has marked it", fresh, old, serves(old), Known{Record: proven(issued, -5), ByOthers: true, Marked: at(-1)}, Waiting, hour(-1)},
		{"another pair is installed, and another one is tried again", fresh, old, serves(old), Known{Record: both(issued, outcome.RolledBack, "not-proven", at(1)), ByOthers: true}, Changed, noon},
		{"the issued pair is copied and not loaded", fresh, fresh, serves(old), Known{Record: proven(other, -5), ByOthers: true}, Changed, noon},
		{"the issued pair was refused, and is installed and served", fresh, fresh, serves(fresh), Known{Record: both(other, outcome.Refused, "staging-issuer", nil), ByOthers: true}, Changed, noon},
		{"the issued pair was taken away, and is installed and served", fresh, fresh, serves(fresh), Known{Record: both(other, outcome.RolledBack, "not-proven", at(1)), ByOthers: true}, Changed, noon},
		{"the issued pair was refused, and that is marked again", fresh, fresh, serves(old), Known{Record: both(other, outcome.Refused, "staging-issuer", nil), ByOthers: true, Marked: at(-1)}, Changed, noon},
		{"the issued pair was refused, and the proven one is there", fresh, old, serves(old), Known{Record: both(other, outcome.Refused, "staging-issuer", nil)}, Broken, hour(-3)},
		{"another pair was never proven", fresh, old, serves(old), Known{ByOthers: true, Issued: hour(-2)}, Stale, hour(-2)},
		{"another pair is installed where the target is held", fresh, old, serves(old), Known{Record: proven(issued, -5), ByOthers: true, Hold: &state.Hold{Since: hour(-1)}}, HeldBack, hour(-1)},

		{"tried again", fresh, old, serves(old), Known{Record: pending(outcome.RolledBack, "not-proven", at(1))}, Waiting, hour(-3)},
		{"waits for a restart", fresh, fresh, serves(old), Known{Record: pending(outcome.WaitingRestart, "restart-not-allowed", nil)}, Waiting, hour(-3)},
		{"a hook has marked it", fresh, old, serves(old), Known{Marked: at(-1)}, Waiting, hour(-1)},
		{"marked without need", fresh, fresh, serves(fresh), Known{Marked: at(-1)}, InSync, noon},
		{"refused", fresh, old, serves(old), Known{Record: pending(outcome.Refused, "expired", nil)}, Broken, hour(-3)},
		{"could not be undone", fresh, old, serves(old), Known{Record: pending(outcome.RollbackFailed, "not-proven", at(1))}, Broken, hour(-3)},
		{"held elsewhere on the globe, in the middle of a second", fresh, fresh, serves(fresh), Known{Hold: &state.Hold{Since: hour(-7).Add(500 * time.Millisecond).In(time.FixedZone("", 3600)), Reason: "by-hand"}}, HeldBack, hour(-7)},
		{"held", fresh, old, serves(old), Known{Record: pending(outcome.RolledBack, "not-proven", at(1)), Hold: &state.Hold{Since: hour(-7), Reason: "by-hand"}}, HeldBack, hour(-7)},

		{"held as it was seen last", fresh, old, serves(old), Known{Unread: true, Before: heldBefore(-4)}, HeldBack, hour(-4)},
		{"held no more", fresh, fresh, serves(fresh), Known{Before: heldBefore(-4)}, InSync, noon},
		{"not held at the last look", fresh, fresh, serves(fresh), Known{Unread: true, Before: before(InSync, -4, -1, issued, nil)}, InSync, hour(-4)},

		{"nothing is issued any more", nil, fresh, serves(fresh), Known{Record: proven(issued, -5)}, Unknown, noon},
		{"nothing is issued any more, and another is served", nil, fresh, serves(old), Known{Record: proven(issued, -5)}, Stale, noon},
		{"nothing is issued any more, and another goes on being served", nil, fresh, serves(old), Known{Record: proven(issued, -5), Before: before(Stale, -3, -1, issued, at(-3))}, Stale, hour(-3)},
		{"nothing is issued any more, and what is installed was never proven", nil, fresh, serves(old), Known{Record: proven(other, -5), ByOthers: true}, Changed, noon},
		{"nothing is issued any more, nor installed", nil, nil, serves(old), Known{Record: proven(issued, -5)}, Unknown, noon},
		{"a probe fails", fresh, fresh, serves(fresh, nil), Known{}, Unknown, noon},
		{"a probe goes on failing", fresh, fresh, serves(nil), Known{Before: before(Unknown, -2, -1, issued, nil)}, Unknown, hour(-2)},
		{"a probe fails, and another shows enough", fresh, fresh, serves(nil, old), Known{Issued: hour(-2)}, Stale, hour(-2)},
		{"no probe", fresh, fresh, nil, Known{}, Unknown, noon},
		{"it was proven, and a probe fails", fresh, fresh, serves(fresh, nil), Known{Record: proven(issued, -5)}, Stale, noon},
		{"it was proven, and its address is another host's", fresh, fresh, []state.Served{{Probe: new(string), Error: &elsewhere}}, Known{Record: proven(issued, -5)}, Unknown, noon},
		{"it was proven, and somebody has stopped it", fresh, fresh, serves(nil), Known{Record: proven(issued, -5), Stopped: true}, Unknown, noon},
		{"it was proven, and goes on failing", fresh, fresh, serves(nil), Known{Record: proven(issued, -5), Before: out(-3)}, Stale, hour(-3)},
		{"it was proven, and fails since a time to come", fresh, fresh, serves(nil), Known{Record: proven(issued, -5), Before: out(3)}, Stale, noon},
		{"it was proven, and nothing is left to be probed", fresh, fresh, []state.Served{{Error: &gone}}, Known{Record: proven(issued, -5)}, Stale, noon},
		{"it was proven, and cannot be looked at", fresh, fresh, []state.Served{{Error: &unseen}}, Known{Record: proven(issued, -5)}, Unknown, noon},
		{"the lineage cannot be read", nil, old, serves(old), Known{}, Unknown, noon},
		{"the lineage of what was proven cannot be read", nil, old, serves(old), Known{Record: proven(other, -5)}, Unknown, noon},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := state.Sighting{Certificate: state.Certificate{Issued: test.issued, Installed: test.installed, Served: test.served}, Looked: noon}
			test.known.Looked = true
			s = test.known.Conclude(s)
			if s.State != string(test.state) || *s.Since != test.since {
				t.Errorf("%s since %s instead of %s since %s", s.State, s.Since, test.state, test.since)
			}
			outage := strings.HasPrefix(test.name, "it was proven") && test.state == Stale
			if outage != (s.Outage != nil) || outage && !s.Outage.Since.Equal(test.since) {
				t.Errorf("the outage is %v", s.Outage)
			}
			shown := append([]state.Served{{Leaf: test.installed}}, test.served...)
			other := func(p state.Served) bool { return p.Error == nil && p.Leaf != fresh }
			if differs := (test.issued != nil || strings.HasPrefix(test.name, "nothing is issued") && test.state == Stale) && slices.ContainsFunc(shown, other); differs != (s.Differs != nil) {
				t.Errorf("it differs since %v", s.Differs)
			}
			if held := test.state == HeldBack; held != (s.Hold != nil) || held && test.known.Hold != nil && *s.Hold != test.known.Hold.Reason {
				t.Errorf("the hold is %v", s.Hold)
			}
			if (s.Pending != nil) != (test.known.Record.Pending != nil || test.known.Marked != nil && test.state == Waiting) {
				t.Errorf("pending is %v", s.Pending)
			}
		})
	}

	for _, test := range []struct {
		name   string
		served []state.Served
		known  Known
		state  Condition
		since  time.Time
	}{
		{"proven, and served from elsewhere", serves(fresh), Known{Record: proven(issued, -5)}, NotOurs, noon},
		{"goes on being served from elsewhere", serves(fresh), Known{Record: proven(issued, -5), Before: before(NotOurs, -3, -1, issued, nil)}, NotOurs, hour(-3)},
		{"served from elsewhere, and an old leaf", serves(old), Known{Issued: hour(-2)}, Stale, hour(-2)},
		{"served from elsewhere, and pending", serves(fresh), Known{Record: pending(outcome.Deferred, "first-install", nil)}, Waiting, hour(-3)},
		{"served from elsewhere, and nothing is seen", serves(nil), Known{}, NotOurs, noon},
	} {
		s := state.Sighting{Certificate: state.Certificate{Issued: fresh, Installed: fresh, Served: test.served, NotOurs: &deployers.NotOurs{}}, Looked: noon}
		test.known.Looked = true
		if s = test.known.Conclude(s); s.State != string(test.state) || *s.Since != test.since {
			t.Errorf("%s: %s since %s instead of %s since %s", test.name, s.State, s.Since, test.state, test.since)
		}
	}

	t.Run("what is installed cannot be looked at", func(t *testing.T) {
		s := state.Sighting{Certificate: state.Certificate{Issued: fresh}, Looked: noon}
		s = Known{}.Conclude(s)
		if s.State != string(Unknown) || s.Differs != nil {
			t.Errorf("%s, differs since %v", s.State, s.Differs)
		}
	})
}

// Time alone lets a certificate expire, in whatever condition it was seen.
func TestExpiryComesWithTime(t *testing.T) {
	for _, test := range []struct {
		seen Condition
		age  int // of the leaf, in days
		want Condition
	}{
		{InSync, 67, InSync}, {InSync, 68, Expiring}, {InSync, 90, Expired},
		{Stale, 68, Expiring}, {Waiting, 68, Expiring}, {Unknown, 68, Expiring},
		{HeldBack, 68, HeldBack}, {Broken, 68, Broken}, {HeldBack, 90, Expired}, {Broken, 91, Expired},
	} {
		leaf := leafOf("aa", test.age)
		got := At(state.Certificate{Issued: leafOf("bb", 0), Installed: leaf, State: string(test.seen), Since: &noon}, noon, Expiry{})
		if got.State != string(test.want) {
			t.Errorf("%s with a leaf of %d days is %s instead of %s", test.seen, test.age, got.State, test.want)
		}
		since := map[Condition]time.Time{Expiring: leaf.NotAfter.Add(-540 * time.Hour), Expired: leaf.NotAfter}[test.want]
		if !since.IsZero() && !got.Since.Equal(since) {
			t.Errorf("%s since %s instead of %s", got.State, got.Since, since)
		}
	}
	if got := At(state.Certificate{State: string(Unknown)}, noon, Expiry{}); got.State != string(Unknown) {
		t.Errorf("nothing is known, and it is %s", got.State)
	}
}

// Of the leaves that are served the first to expire counts, whatever else
// there is.
func TestPresented(t *testing.T) {
	young, old := leafOf("aa", 1), leafOf("bb", 60)
	c := state.Certificate{Issued: young}
	if got := Presented(c); got != young {
		t.Errorf("of one that is only Issued: %v", got)
	}
	c.Installed = leafOf("cc", 80)
	if got := Presented(c); got != c.Installed {
		t.Errorf("of one that is installed: %v", got)
	}
	c.Served = []state.Served{{Leaf: young}, {}, {Leaf: old}, {Leaf: young}}
	if got := Presented(c); got != old {
		t.Errorf("of several: %v", got)
	}
}

// The gravest come first, and each is there once.
func TestAllConditions(t *testing.T) {
	all := Conditions()
	for _, pair := range [][2]Condition{{Expired, HeldBack}, {HeldBack, Changed}, {Changed, Broken}, {Broken, Expiring}, {Expiring, Waiting}, {Waiting, Stale}, {Stale, NotOurs}, {NotOurs, Unknown}, {Unknown, InSync}} {
		if graver, other := slices.Index(all, pair[0]), slices.Index(all, pair[1]); graver < 0 || graver > other {
			t.Errorf("%s is not graver than %s in %v", pair[0], pair[1], all)
		}
	}
	if len(all) != 10 {
		t.Errorf("there are %v", all)
	}
}

func TestCrashed(t *testing.T) {
	crashed, byHand := "service-crashed", "by-hand"
	if !Crashed(&crashed) || Crashed(&byHand) || Crashed(nil) {
		t.Errorf("crashed: %t, held by hand: %t, not held: %t", Crashed(&crashed), Crashed(&byHand), Crashed(nil))
	}
}
