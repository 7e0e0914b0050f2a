package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// snapshot returns the one certificate of the snapshot.
func (s *scene) snapshot() state.Sighting {
	s.t.Helper()
	snapshot, err := state.ReadSnapshot(s.Site.Config.Run)
	if err != nil || len(snapshot.Certificates) != 1 {
		s.t.Fatalf("%v, %v", snapshot, err)
	}
	return snapshot.Certificates[0]
}

func (s *scene) setSnapshot(all ...state.Sighting) {
	s.t.Helper()
	if err := state.WriteSnapshot(s.Site.Config.Run, all, nil); err != nil {
		s.t.Fatal(err)
	}
}

// A run that looked later is believed, and what is no longer configured is
// forgotten.
func TestSnapshotKeepsTheLatest(t *testing.T) {
	s := newScene(t, "")
	first := s.look()
	if diff := cmp.Diff(first, s.snapshot()); diff != "" {
		t.Errorf("in the snapshot is something else: %s", diff)
	}
	now := time.Now().UTC()
	for _, test := range []struct {
		name   string
		looked time.Time // by another run, while one looked that began a minute ago
		stays  bool
	}{
		{"later", now.Add(-time.Second), true},
		{"at the same time", now.Add(-time.Minute), false},
		{"earlier", now.Add(-time.Hour), false},
		{"in a time that has yet to come", time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), false},
		{"before the clock was set", time.Unix(0, 0).UTC(), false},
	} {
		other, gone, seen := first, first, first
		other.Looked, other.State = test.looked, "of another run"
		gone.Target = "gone"
		seen.Looked = now.Add(-time.Minute)
		s.setSnapshot(gone, other)
		all, err := prepare.Lineages(s.Site.Config)
		if err != nil {
			t.Fatal(err)
		}
		assigned := prepare.Assign(s.Site.Config, all)
		if err := remember(s.Site.Config.Run, []state.Sighting{seen}, assigned, nil); err != nil {
			t.Fatal(err)
		}
		if got := s.snapshot(); (got.State == other.State) != test.stays {
			t.Errorf("what was seen %s by another run became %s", test.name, got.State)
		}
		if err := remember(s.Site.Config.Run, nil, assigned, nil); err != nil {
			t.Fatal(err)
		}
		if got := s.snapshot(); (got.State == other.State) != test.stays {
			t.Errorf("what nobody looked at since became %s", got.State)
		}
	}
	if err := os.WriteFile(state.SnapshotFile(s.Site.Config.Run), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.look()
	if diff := cmp.Diff(first.Served, s.snapshot().Served); diff != "" {
		t.Errorf("a damaged snapshot is not made anew: %s", diff)
	}
}

// What only informs ends nothing: without a place for the snapshot there is
// none.
func TestSnapshotThatCannotBeWritten(t *testing.T) {
	s := newScene(t, "")
	s.write("state/run", nil)
	s.look()
	has(t, s.logged.String(), "level=WARN", "status and check of other users will not see this")

	s.logged.Reset()
	s.remove("state")
	s.look()
	if got := s.logged.String(); got != "" {
		t.Errorf("before the first deployment it says %s", got)
	}
	if _, err := os.Stat(s.path("state")); err == nil {
		t.Error("who looks has made a state directory")
	}
}

var webRef = install.Ref{Target: "web", Lineage: "web.example"}

// TestRefresh is about what lets a run's end look again.
func TestRefresh(t *testing.T) {
	installed := func(leaf *lineage.Leaf) map[install.Ref]string {
		return map[install.Ref]string{webRef: leaf.Fingerprint}
	}
	for _, test := range []struct {
		name    string
		prepare func(*scene, state.Sighting)
		run     func(seen state.Sighting) RunResult
		looks   bool
	}{
		{"nothing was done", nil, func(state.Sighting) RunResult { return RunResult{} }, false},
		{"it was touched", nil, func(state.Sighting) RunResult { return RunResult{Touched: []install.Ref{webRef}} }, true},
		{"another was touched", nil, func(state.Sighting) RunResult {
			return RunResult{Touched: []install.Ref{{Target: "web", Lineage: "gone.example"}}}
		}, false},
		{"it is as it was seen", nil, func(seen state.Sighting) RunResult { return RunResult{Unchanged: installed(seen.Installed)} }, false},
		{"another leaf is installed", nil, func(seen state.Sighting) RunResult { return RunResult{Unchanged: installed(seen.Issued)} }, true},
		{"none was seen", func(s *scene, seen state.Sighting) { seen.Installed = nil; s.setSnapshot(seen) },
			func(seen state.Sighting) RunResult { return RunResult{Unchanged: installed(seen.Installed)} }, true},
		{"it was never seen", func(s *scene, seen state.Sighting) { s.setSnapshot() },
			func(seen state.Sighting) RunResult { return RunResult{Unchanged: installed(seen.Issued)} }, false},
		{"it was seen stale, and the run did not look", nil, func(seen state.Sighting) RunResult { return RunResult{Unchanged: installed(seen.Installed)} }, false},
		{"it was seen stale, and the run looked", nil, func(seen state.Sighting) RunResult {
			return RunResult{Unchanged: installed(seen.Installed), Look: true}
		}, true},
		{"it was seen in sync, and the run looked", func(s *scene, seen state.Sighting) {
			seen.State = string(condition.InSync)
			s.setSnapshot(seen)
		}, func(seen state.Sighting) RunResult {
			return RunResult{Unchanged: installed(seen.Installed), Look: true}
		}, false},
		{"the run looked, and the snapshot is fresh", nil, func(state.Sighting) RunResult { return RunResult{Look: true} }, false},
		{"the run looked, and there is no snapshot", func(s *scene, _ state.Sighting) { s.remove("state/run/status.json") },
			func(state.Sighting) RunResult { return RunResult{Look: true} }, true},
		{"the run did not look, and there is no snapshot", func(s *scene, _ state.Sighting) { s.remove("state/run/status.json") },
			func(state.Sighting) RunResult { return RunResult{} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, "")
			seen := s.look()
			if test.prepare != nil {
				test.prepare(s, seen)
			}
			s.world.asked = 0
			run := test.run(seen)
			run.Until = time.Now().Add(time.Minute)
			cancelled, cancel := context.WithCancel(t.Context())
			cancel()
			prep := prepare.NewPreparer(s.Site.World)
			defer prep.Close()
			s.Refresh(cancelled, prep, run)
			if looks := s.world.asked > 0; looks != test.looks {
				t.Errorf("it looks: %t", looks)
			}
			if test.looks && !s.snapshot().Looked.After(seen.Looked) {
				t.Error("the snapshot is as it was")
			}
			if got := s.logged.String(); got != "" {
				t.Errorf("it says %s", got)
			}
		})
	}
}

// What the run knows of services is not asked again; what a client has issued
// since is read.
func TestRefreshKnowsWhatTheRunKnows(t *testing.T) {
	s := newScene(t, "")
	prep := prepare.NewPreparer(s.Site.World)
	defer prep.Close()
	i, err := s.begin(prep)
	if err != nil {
		t.Fatal(err)
	}
	all, err := prepare.Lineages(s.Site.Config)
	if err != nil {
		t.Fatal(err)
	}
	i.glance(t.Context(), prepare.Assign(s.Site.Config, all)[0])
	s.world.units = map[string]deployers.Unit{}
	s.renewed = s.renew("web.example")
	s.Refresh(t.Context(), prep, RunResult{Touched: []install.Ref{webRef}, Until: time.Now()})
	if got, want := summary(s, s.snapshot()), "issued renewed, installed first, tls://127.0.0.1:443?name=web.example first, stale"; got != want {
		t.Errorf("%s instead of %s", got, want)
	}
	if !s.world.open {
		t.Error("the run's connection to systemd is closed")
	}
}

// What the run has seen is not looked at again, unless the lineage was renewed
// since the run began.
func TestRefreshTakesWhatTheRunSaw(t *testing.T) {
	for _, test := range []struct {
		name  string
		began time.Time
		asked int
		want  string
	}{
		{"renewed before", time.Now().Add(time.Hour), 0, "issued renewed, installed renewed, tls://127.0.0.1:443?name=web.example renewed, in-sync"},
		{"renewed since", time.Now().Add(-time.Hour), 1, "issued renewed, installed first, tls://127.0.0.1:443?name=web.example first, stale"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, "")
			noted := time.Now().Add(-time.Minute).UTC()
			silent := probe.Observation{Endpoint: endpoints(t, "tls://127.0.0.1:444")[0], Err: errors.New("nothing listens there")}
			prep := prepare.NewPreparer(s.Site.World)
			defer prep.Close()
			s.Refresh(t.Context(), prep, RunResult{
				Touched: []install.Ref{webRef}, Until: time.Now().Add(time.Minute),
				Seen: map[install.Ref]Seen{webRef: {
					Began: test.began, Noted: noted, Leaf: s.renewed.Cert, Plan: deployers.Plan{Found: true},
					Showed: endpoints(t, "tls://127.0.0.1:443?name=web.example"), Silent: []probe.Observation{silent},
				}},
			})
			got := s.snapshot()
			if summary(s, got) != test.want || s.world.asked != test.asked || got.Looked.Equal(noted) != (test.asked == 0) {
				t.Errorf("%s, looked at %s, after %d handshakes", summary(s, got), got.Looked, s.world.asked)
			}
		})
	}
}

// What there was no time left to look at stays as it was seen before: that a
// handshake was cut short is no news of the service.
func TestRefreshForgetsWhatWasCutShort(t *testing.T) {
	for name, left := range map[string]time.Duration{"handshakes": time.Minute, "facts": -time.Minute} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "")
			before := s.look()
			s.world.hangs = true
			clear(s.world.shown)
			synctest.Test(t, func(t *testing.T) {
				prep := prepare.NewPreparer(s.Site.World)
				defer prep.Close()
				s.Refresh(t.Context(), prep, RunResult{Touched: []install.Ref{webRef}, Until: time.Now().Add(left)})
			})
			if diff := cmp.Diff(before, s.snapshot()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// That something cannot be refreshed is said, and no more than that.
func TestRefreshFails(t *testing.T) {
	s := newScene(t, "")
	s.remove("live")
	s.write("live", nil)
	prep := prepare.NewPreparer(s.Site.World)
	defer prep.Close()
	s.Refresh(t.Context(), prep, RunResult{Touched: []install.Ref{webRef}})
	has(t, s.logged.String(), "level=WARN", "status and check of other users will not see this", "list lineages")
}

// A look after the run is not waited for without end.
func TestRefreshLimit(t *testing.T) {
	for until, want := range map[time.Duration]time.Duration{time.Minute: snapshotLimit, 2 * time.Second: 2*time.Second + lastMoment, -time.Minute: 0} {
		t.Run(fmt.Sprint(until), func(t *testing.T) {
			s := newScene(t, "")
			s.world.hangs = true
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				prep := prepare.NewPreparer(s.Site.World)
				defer prep.Close()
				s.Refresh(t.Context(), prep, RunResult{Touched: []install.Ref{webRef}, Until: began.Add(until)})
				if took := time.Since(began); took != want {
					t.Errorf("it took %s instead of %s", took, want)
				}
			})
		})
	}
}

// A snapshot grows as old as it may, and is believed by no clock that was wrong.
func TestFresh(t *testing.T) {
	now := time.Now()
	for age, want := range map[time.Duration]bool{0: true, snapshotFresh: true, snapshotFresh + time.Second: false, -time.Second: true, -2 * time.Minute: false} {
		one := state.Sighting{Looked: now}
		other := state.Sighting{Looked: now.Add(-age)}
		if got := fresh(&state.Snapshot{Certificates: []state.Sighting{one, other}}, now); got != want {
			t.Errorf("at an age of %s it is fresh: %t", age, got)
		}
	}
}
