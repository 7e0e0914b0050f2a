package engine

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"

	"github.com/certlatch/certlatch/deployers"
)

// unitStates is a systemd in which one unit takes one state after the other, each
// time that somebody looks, and stays in the last.
type unitStates struct {
	Units
	states []deployers.Unit
}

func (u *unitStates) Unit(context.Context, string) (deployers.Unit, error) {
	state := u.states[0]
	if len(u.states) > 1 {
		u.states = u.states[1:]
	}
	return state, nil
}

func (*unitStates) Reload(context.Context, string) error  { return nil }
func (*unitStates) Restart(context.Context, string) error { return nil }

// A restart by somebody else is no crash, and a crash is none by somebody else.
func TestLife(t *testing.T) {
	change := func(u deployers.Unit, with func(*deployers.Unit)) deployers.Unit {
		with(&u)
		return u
	}
	state := func(active, sub, result string, main int) func(*deployers.Unit) {
		return func(u *deployers.Unit) { u.ActiveState, u.SubState, u.Result, u.MainPID = active, sub, result, main }
	}
	// Main processes are real ones, since their beginning is looked at.
	before := deployers.Unit{ActiveState: "active", SubState: "running", Result: "success", MainPID: os.Getpid(), InvocationID: "a", NRestarts: 2}
	anew := change(before, func(u *deployers.Unit) { u.MainPID, u.InvocationID, u.NRestarts = os.Getppid(), "b", 0 })
	stopping := change(before, state("deactivating", "stop-sigterm", "success", os.Getpid()))
	ended := change(stopping, func(u *deployers.Unit) { u.MainPID = 0 })
	starting := change(anew, state("activating", "start", "success", 0))
	restarted := change(anew, func(u *deployers.Unit) { u.NRestarts = 3 })
	for _, test := range []struct {
		name    string
		seen    []deployers.Unit
		want    life
		crashed bool
	}{
		{"nothing happens", []deployers.Unit{before}, same, false},
		{"it is reloading", []deployers.Unit{change(before, state("reloading", "reload", "success", os.Getpid()))}, same, false},
		{"its end has been asked for", []deployers.Unit{stopping}, same, false},
		{"it was restarted", []deployers.Unit{anew}, another, false},
		{"it is being restarted", []deployers.Unit{ended, starting, anew}, another, false},
		{"a job is about to start it", []deployers.Unit{change(ended, func(u *deployers.Unit) { u.ActiveState, u.Job = "inactive", true }), anew}, another, false},
		{"it goes on starting", []deployers.Unit{ended, starting}, between, false},
		{"it never counted restarts", []deployers.Unit{change(anew, func(u *deployers.Unit) { u.NRestarts = before.NRestarts })}, another, false},

		{"it restarted by itself", []deployers.Unit{restarted}, same, true},
		{"by itself, after ending well", []deployers.Unit{ended, starting, restarted}, same, true},
		{"it is about to", []deployers.Unit{change(ended, state("activating", "auto-restart", "signal", 0))}, same, true},
		{"it is about to, after ending well", []deployers.Unit{change(ended, state("activating", "auto-restart", "success", 0))}, same, true},
		{"it failed", []deployers.Unit{change(before, state("failed", "failed", "core-dump", 0))}, same, true},
		{"it is dying", []deployers.Unit{change(before, state("deactivating", "final-sigterm", "signal", 0))}, same, true},
		{"it ended", []deployers.Unit{change(before, state("inactive", "dead", "success", 0))}, same, true},
		{"it goes on with another main process", []deployers.Unit{change(before, func(u *deployers.Unit) { u.MainPID = os.Getppid() })}, same, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				systemd := &unitStates{states: []deployers.Unit{before}}
				r := &run{Engine: &Engine{Log: slog.New(slog.DiscardHandler), Units: func(context.Context) (Units, error) { return systemd, nil }}}
				tx := &transaction{run: r, items: []*item{{plan: deployers.Plan{Activate: deployers.Activation{Way: deployers.CallControl, Unit: "x.service"}}}}}
				var err error
				if tx.running, _, err = tx.identify(t.Context()); err != nil {
					t.Fatal(err)
				}
				systemd.states = test.seen
				got, crash := tx.life(t.Context())
				if got != test.want || (crash != nil) != test.crashed {
					t.Errorf("%d (%v) instead of %d", got, crash, test.want)
				}
				if again, crash := tx.life(t.Context()); test.want == another && (again != same || crash != nil) {
					t.Errorf("a moment later it is %d (%v)", again, crash)
				}
			})
		})
	}
}
