package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/lineage"
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
	pending := func(result Result, reason string, next *time.Time) state.Record {
		return state.Record{Pending: &state.Pending{Since: hour(-3), Attempts: 2, Failure: state.Failure{Result: string(result), Reason: reason, Next: next}}}
	}
	proven := func(fingerprint string, when int) state.Record {
		return state.Record{Proven: &state.Proof{Leaf: *leafOf(fingerprint, 1), Time: hour(when)}}
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
	gone, unseen := outageReason, "unit-not-found"

	for _, test := range []struct {
		name              string
		issued, installed *lineage.Leaf
		served            []state.Served
		known             known
		state             Condition
		since             time.Time
	}{
		{"proven", fresh, fresh, serves(fresh, fresh), known{Record: proven(issued, -5)}, InSync, hour(-5)},
		{"in sync by chance", fresh, fresh, serves(fresh), known{}, InSync, noon},
		{"seen so before", fresh, fresh, serves(fresh), known{Record: proven(issued, -5), before: before(InSync, -4, -1, issued, nil)}, InSync, hour(-4)},
		{"mended since the last look", fresh, fresh, serves(fresh), known{Record: proven(issued, -5), before: before(Stale, -2, -1, issued, at(-2))}, InSync, noon},
		{"proven since the last look", fresh, fresh, serves(fresh), known{Record: proven(issued, -1), before: before(Waiting, -3, -2, issued, at(-3))}, InSync, hour(-1)},
		{"nothing is to be proven", fresh, fresh, nil, known{proveNothing: true}, InSync, noon},

		{"an old pair is served", fresh, fresh, serves(fresh, old), known{issued: hour(-2)}, Stale, hour(-2)},
		{"an old pair is installed", fresh, old, serves(fresh), known{issued: hour(-2)}, Stale, hour(-2)},
		{"nothing is installed", fresh, nil, serves(fresh), known{issued: hour(-2)}, Stale, hour(-2)},
		{"stale for as long as is known", fresh, old, serves(old), known{issued: hour(-2), before: before(Stale, -9, -1, other, at(-9))}, Stale, hour(-9)},
		{"in sync at the last look", fresh, old, serves(old), known{issued: hour(-2), before: before(InSync, -9, -1, issued, nil)}, Stale, noon},
		{"issued since the last look", fresh, old, serves(old), known{issued: hour(-1), before: before(InSync, -9, -2, other, nil)}, Stale, hour(-1)},
		{"issued since the last look, with its old times", fresh, old, serves(old), known{issued: hour(-20), before: before(InSync, -9, -2, other, nil)}, Stale, hour(-2)},
		{"not so when it was proven", fresh, fresh, serves(old), known{Record: proven(issued, -5), issued: hour(-5)}, Stale, noon},
		{"the last look saw nothing", fresh, fresh, serves(old), known{issued: hour(-5), before: before(Unknown, -2, -1, issued, nil)}, Stale, hour(-5)},
		{"written in the future", fresh, old, serves(old), known{issued: hour(5)}, Stale, noon},

		{"written long ago", fresh, old, serves(old), known{issued: time.Unix(0, 0)}, Stale, hour(-24)},
		{"stale since 2100", fresh, old, serves(old), known{issued: hour(-2), before: before(Stale, hours2100, hours2100, other, at(hours2100))}, Stale, noon},
		{"stale since 1970", fresh, old, serves(old), known{issued: hour(-2), before: before(Stale, hours1970, hours1970, other, at(hours1970))}, Stale, noon},
		{"in sync at a look in 2100", fresh, old, serves(old), known{issued: hour(-2), before: before(InSync, hours2100, hours2100, other, nil)}, Stale, noon},
		{"in sync since 2100", fresh, fresh, serves(fresh), known{before: before(InSync, hours2100, -1, issued, nil)}, InSync, noon},
		{"proven in 2100", fresh, fresh, serves(fresh), known{Record: proven(issued, hours2100)}, InSync, noon},
		{"marked in 2100", fresh, old, serves(old), known{marked: at(hours2100)}, Waiting, noon},

		{"tried again", fresh, old, serves(old), known{Record: pending(RolledBack, "not-proven", at(1))}, Waiting, hour(-3)},
		{"waits for a restart", fresh, fresh, serves(old), known{Record: pending(WaitingRestart, "restart-not-allowed", nil)}, Waiting, hour(-3)},
		{"a hook has marked it", fresh, old, serves(old), known{marked: at(-1)}, Waiting, hour(-1)},
		{"marked without need", fresh, fresh, serves(fresh), known{marked: at(-1)}, InSync, noon},
		{"refused", fresh, old, serves(old), known{Record: pending(Refused, "expired", nil)}, Broken, hour(-3)},
		{"could not be undone", fresh, old, serves(old), known{Record: pending(RollbackFailed, "not-proven", at(1))}, Broken, hour(-3)},
		{"held", fresh, old, serves(old), known{Record: pending(RolledBack, "not-proven", at(1)), hold: &state.Hold{Since: hour(-7), Reason: "by-hand"}}, HeldBack, hour(-7)},

		{"held as it was seen last", fresh, old, serves(old), known{unread: true, before: heldBefore(-4)}, HeldBack, hour(-4)},
		{"held no more", fresh, fresh, serves(fresh), known{before: heldBefore(-4)}, InSync, noon},
		{"not held at the last look", fresh, fresh, serves(fresh), known{unread: true, before: before(InSync, -4, -1, issued, nil)}, InSync, hour(-4)},

		{"a probe fails", fresh, fresh, serves(fresh, nil), known{}, Unknown, noon},
		{"a probe goes on failing", fresh, fresh, serves(nil), known{before: before(Unknown, -2, -1, issued, nil)}, Unknown, hour(-2)},
		{"a probe fails, and another shows enough", fresh, fresh, serves(nil, old), known{issued: hour(-2)}, Stale, hour(-2)},
		{"no probe", fresh, fresh, nil, known{}, Unknown, noon},
		{"it was proven, and a probe fails", fresh, fresh, serves(fresh, nil), known{Record: proven(issued, -5)}, Stale, noon},
		{"it was proven, and somebody has stopped it", fresh, fresh, serves(nil), known{Record: proven(issued, -5), stopped: true}, Unknown, noon},
		{"it was proven, and goes on failing", fresh, fresh, serves(nil), known{Record: proven(issued, -5), before: out(-3)}, Stale, hour(-3)},
		{"it was proven, and fails since a time to come", fresh, fresh, serves(nil), known{Record: proven(issued, -5), before: out(3)}, Stale, noon},
		{"it was proven, and nothing is left to be probed", fresh, fresh, []state.Served{{Error: &gone}}, known{Record: proven(issued, -5)}, Stale, noon},
		{"it was proven, and cannot be looked at", fresh, fresh, []state.Served{{Error: &unseen}}, known{Record: proven(issued, -5)}, Unknown, noon},
		{"the lineage cannot be read", nil, old, serves(old), known{}, Unknown, noon},
		{"the lineage of what was proven cannot be read", nil, old, serves(old), known{Record: proven(other, -5)}, Unknown, noon},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := state.Sighting{Certificate: state.Certificate{Issued: test.issued, Installed: test.installed, Served: test.served}, Looked: noon}
			test.known.looked = true
			test.known.conclude(&s)
			if s.State != string(test.state) || !s.Since.Equal(test.since) {
				t.Errorf("%s since %s instead of %s since %s", s.State, s.Since, test.state, test.since)
			}
			outage := strings.HasPrefix(test.name, "it was proven") && test.state == Stale
			if outage != (s.Outage != nil) {
				t.Errorf("the outage is %v", s.Outage)
			}
			if differs := slices.Contains([]Condition{Stale, Waiting, Broken, HeldBack}, test.state) && !outage; differs != (s.Differs != nil) {
				t.Errorf("it differs since %v", s.Differs)
			}
			if (s.Pending != nil) != (test.known.Pending != nil || test.known.marked != nil && test.state == Waiting) {
				t.Errorf("pending is %v", s.Pending)
			}
		})
	}

	t.Run("what is installed cannot be looked at", func(t *testing.T) {
		s := state.Sighting{Certificate: state.Certificate{Issued: fresh}, Looked: noon}
		known{}.conclude(&s)
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
		t.Errorf("of one that is only issued: %v", got)
	}
	c.Installed = old
	if got := Presented(c); got != old {
		t.Errorf("of one that is installed: %v", got)
	}
	c.Served = []state.Served{{Leaf: young}, {}, {Leaf: old}, {Leaf: young}}
	if got := Presented(c); got != old {
		t.Errorf("of several: %v", got)
	}
}

// A run that looked later is believed, and what is no longer configured is
// forgotten.
func TestSnapshotKeepsTheLatest(t *testing.T) {
	s := newStage(t, "true")
	ctx := t.Context()
	if _, err := s.Inventory(ctx, Request{}); err != nil {
		t.Fatal(err)
	}
	read := func() state.Sighting {
		t.Helper()
		snapshot, err := state.ReadSnapshot(s.Config.Run)
		if err != nil {
			t.Fatal(err)
		}
		if len(snapshot.Certificates) != 1 {
			t.Fatalf("%d certificates", len(snapshot.Certificates))
		}
		return snapshot.Certificates[0]
	}
	first := read()
	if first.State != string(Stale) || first.Target != "web" || first.Lineage != "web.example" {
		t.Errorf("%s of %s at %s", first.State, first.Lineage, first.Target)
	}

	now := time.Now().UTC()
	for _, test := range []struct {
		name   string
		looked time.Time // by another run, while one looked that began a minute ago
		stays  bool
	}{
		{"later", now.Add(-time.Second), true},
		{"earlier", now.Add(-time.Hour), false},
		{"in a time that has yet to come", time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), false},
		{"before the clock was set", time.Unix(0, 0).UTC(), false},
	} {
		other, gone, seen := first, first, first
		other.Looked, other.State = test.looked, "of another run"
		gone.Target = "gone"
		seen.Looked = now.Add(-time.Minute)
		if err := state.WriteSnapshot(s.Config.Run, []state.Sighting{gone, other}); err != nil {
			t.Fatal(err)
		}
		r, err := s.begin(Request{}, seen.Looked)
		if err != nil {
			t.Fatal(err)
		}
		items, err := r.choose()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.remember([]state.Sighting{seen}, items); err != nil {
			t.Fatal(err)
		}
		if got := read(); (got.State == other.State) != test.stays {
			t.Errorf("what was seen %s by another run became %s", test.name, got.State)
		}
	}

	if err := os.WriteFile(state.SnapshotFile(s.Config.Run), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Inventory(ctx, Request{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first.Served, read().Served); diff != "" {
		t.Errorf("a damaged snapshot is not made anew: %s", diff)
	}
}

// What a run has changed is in the snapshot; a run that changes nothing writes
// none, unless it looks and the last one is not fresh.
func TestRunsRefreshTheSnapshot(t *testing.T) {
	s := newStage(t, "true")
	file := state.SnapshotFile(s.Config.Run)
	if out := s.deploy(t, t.Context(), quick); out.Result != RolledBack {
		t.Fatalf("%s (%s)", out.Result, out.Reason)
	}
	snapshot, err := state.ReadSnapshot(s.Config.Run)
	if err != nil {
		t.Fatal(err)
	}
	if c := snapshot.Certificates[0]; c.State != string(Waiting) || c.Pending.Reason != "not-proven" {
		t.Errorf("%s, %v", c.State, c.Pending)
	}

	nothing := Request{Pending: true, By: "test", Limits: quick}
	run := func(req Request) {
		t.Helper()
		if report, err := s.Deploy(t.Context(), req); err != nil || len(report.Outcomes) > 0 {
			t.Fatalf("%v, %v", report, err)
		}
	}
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	looks := nothing
	looks.Look = true
	run(looks)
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("a fresh snapshot was written again (%v)", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	run(looks)
	ahead := snapshot.Certificates[0]
	ahead.Looked = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := state.WriteSnapshot(s.Config.Run, []state.Sighting{ahead}); err != nil {
		t.Fatal(err)
	}
	run(looks)
	if snapshot, err := state.ReadSnapshot(s.Config.Run); err != nil || snapshot.Certificates[0].Looked.Equal(ahead.Looked) {
		t.Errorf("a snapshot of 2100 counts as fresh (%v)", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	run(nothing)
	if _, err := os.Stat(file); err == nil {
		t.Error("a run that does not look has looked")
	}
	run(looks)
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if names, err := filepath.Glob(filepath.Join(s.Config.Run, "*")); err != nil || len(names) != 1 {
		t.Errorf("there are %v, %v", names, err)
	}
}
