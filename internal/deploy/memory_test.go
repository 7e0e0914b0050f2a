package deploy

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

// A service is waited for no longer than the gap, whenever it was activated
// last by a clock that was wrong.
func TestGapAfterTheClockWasSetBack(t *testing.T) {
	const gap = 10 * time.Second
	for name, last := range map[string]time.Time{"in 2100": time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), "in 1970": time.Unix(0, 0)} {
		t.Run(name, func(t *testing.T) {
			store, err := state.Open(filepath.Join(t.TempDir(), "state"))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				began := time.Now() // in 2000, as this time goes
				if last.Before(began) {
					last = began.Add(-gap)
				}
				site := prepare.Site{Store: store, Log: slog.New(slog.DiscardHandler)}
				r := &run{site: site, memory: &memory{site: site, state: &state.State{Activations: map[string]time.Time{"unit a": last}}}}
				how := deployers.Activation{Unit: "a", Gap: gap}
				a := newAttempt([]prepared{{plan: deployers.Plan{Activate: how}}})
				for n, want := range []time.Duration{min(max(last.Add(gap).Sub(began), 0), gap), gap} {
					before := time.Now()
					if err := r.waitMinInterval(t.Context(), a); err != nil {
						t.Fatal(err)
					}
					waited := time.Since(before)
					if err := r.noteActivation(t.Context(), a); err != nil {
						t.Fatal(err)
					}
					if waited != want {
						t.Errorf("the wait before activation %d is %s instead of %s", n+1, waited, want)
					}
				}
			})
		})
	}
}

// What is not valid yet is looked at again, and not in a hundred years alone:
// this clock may be the one that is wrong.
func TestNextAttemptsAreNear(t *testing.T) {
	soon, far := noon.Add(time.Hour), noon.AddDate(74, 0, 0)
	notYet := []lineage.Finding{{Code: "not-yet-valid", Severity: lineage.Refused}}
	refused := func(from time.Time) ended {
		return ended{outcome: outcome.Outcome{Result: outcome.Refused, Findings: notYet, New: &lineage.Leaf{NotBefore: from}}}
	}
	for _, test := range []struct {
		name string
		end  ended
		want time.Duration
	}{
		{"valid soon", refused(soon), time.Hour},
		{"valid in 2100", refused(far), state.LongestRetry},
		{"the last of a thousand", ended{turn: 1000, outcome: outcome.Outcome{Result: outcome.RolledBack}}, state.LongestRetry},
	} {
		next := nextAttempt(test.end, new(state.Record), noon)
		if next == nil || next.Sub(noon) != test.want {
			t.Errorf("%s: the next attempt is at %v", test.name, next)
		}
	}
	for _, code := range []string{"key-weak", "not-yet-valid"} {
		end := refused(soon)
		end.outcome.Findings = append([]lineage.Finding{{Code: "not-yet-valid", Severity: lineage.Refused}}, lineage.Finding{Code: code, Severity: lineage.Refused})
		if next := nextAttempt(end, new(state.Record), noon); next != nil {
			t.Errorf("of two findings, the next attempt is at %s", next)
		}
	}
	if state.OutsideWindow != string(outcome.OutsideWindow) {
		t.Errorf("the state takes %s for the word of what waits for its window", state.OutsideWindow)
	}
}

// TestNoFailureIsForgotten wants whatever did not end well to stay pending with its reason,
// whoever asked and however far it came, and a run of what is pending to say so.
func TestNoFailureIsForgotten(t *testing.T) {
	target := config.Target{Target: deployers.Target{Name: "web", Window: new(deployers.Window)}}
	cfg := &config.Config{Targets: []config.Target{target}}
	for _, row := range outcome.Reasons() {
		if row.Class == outcome.ClassOK {
			continue
		}
		for _, result := range []outcome.Result{outcome.Refused, outcome.RolledBack, outcome.RollbackFailed, outcome.WaitingRestart, outcome.Deferred, outcome.Failed} {
			m := &memory{state: new(state.State)}
			end := ended{job: job{target: target}, outcome: outcome.Outcome{Target: "web", Lineage: "a", Result: result, Reason: row.Reason}}
			changed := m.note(end, noon)
			left := (&run{site: prepare.Site{Config: cfg}, memory: m, req: Request{Pending: true}}).report(nil).NotDue
			if held := row.Reason == outcome.ServiceCrashed; !changed || (len(left) == 0) != held || !held && left[0].Reason != string(row.Reason) {
				t.Errorf("%s, %s: left is %+v", result, row.Reason, left)
			}
			if pending := m.get(install.Ref{Target: "web", Lineage: "a"}).Pending; pending == nil || pending.Reason != string(row.Reason) {
				t.Errorf("%s, %s: pending is %+v", result, row.Reason, pending)
			}
		}
	}
}

// What a run that was cut off had begun to replace is put back, even where
// nobody knows what is held; and the state that cannot be read stays.
func TestRecoveryNeedsNoState(t *testing.T) {
	s := newStage(t, "true")
	tx, err := install.New(s.Site.Store.JournalDir()).Stage([]install.Set{{Target: "web", Lineage: "web.example", Files: []install.File{
		{Path: filepath.Join(s.dir, "cert.pem"), Data: []byte("new"), UID: os.Getuid(), GID: os.Getgid(), Mode: 0o600},
	}}})
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Site.Config.State, "state.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Recover(t.Context(), Request{Limits: quick}); !errors.As(err, new(*state.UnreadableError)) {
		t.Errorf("got %v", err)
	}
	s.hasPrevious(t)
	if data, err := os.ReadFile(file); err != nil || string(data) != "{" {
		t.Errorf("the state became %q, %v", data, err)
	}
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Nothing that deploys goes on without knowing what is held, and whoever only
// looks does.
func TestNothingIsDeployedWithoutTheState(t *testing.T) {
	s := newStage(t, "true")
	if _, _, err := s.inspector().Inventory(t.Context(), prepare.Scope{}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(state.SnapshotFile(s.Site.Config.Run))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Site.Config.State, "state.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := prepare.Lineage(s.Site.Config, "web.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"deploy": func() error { _, err := s.Deploy(t.Context(), Request{Limits: quick}); return err },
		"hook": func() error {
			_, err := s.Deploy(t.Context(), Request{Coalesce: true, Lineages: []string{"web.example"}, Limits: quick})
			return err
		},
		"dry run":     func() error { _, err := s.Plan(t.Context(), Request{}); return err },
		"rollback":    func() error { _, err := s.Rollback(t.Context(), "web", "", "", Request{Limits: quick}); return err },
		"mark behind": func() error { _, err := s.MarkOutdated(nil); return err },
	} {
		if err := do(); !errors.As(err, new(*state.UnreadableError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.hasPrevious(t)
	for name, do := range map[string]func() error{
		"doctor":   func() error { _, err := s.inspector().Examine(t.Context(), prepare.Scope{}); return err },
		"validate": func() error { _, err := s.inspector().Validate(t.Context(), l); return err },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if seen, _, err := s.inspector().Inventory(t.Context(), prepare.Scope{}); !errors.As(err, new(*state.UnreadableError)) || len(seen) != 1 || seen[0].State != string(condition.Stale) {
		t.Errorf("status: %v, %v", seen, err)
	}
	if after, err := os.ReadFile(state.SnapshotFile(s.Site.Config.Run)); err != nil || string(after) != string(before) {
		t.Errorf("the snapshot, which knows what was held, was written over (%v)", err)
	}
}
