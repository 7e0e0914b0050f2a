package deploy

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/process"
)

// A restart by somebody else is no crash, and a crash is none by somebody else.
func TestLife(t *testing.T) {
	change := func(u deployers.Unit, with func(*deployers.Unit)) deployers.Unit {
		with(&u)
		return u
	}
	state := func(active, sub, result string, main int) func(*deployers.Unit) {
		return func(u *deployers.Unit) { u.ActiveState, u.SubState, u.Result, u.MainPID = active, sub, result, main }
	}
	before := deployers.Unit{ActiveState: "active", SubState: "running", Result: "success", MainPID: 100, InvocationID: "a", NRestarts: 2}
	anew := change(before, func(u *deployers.Unit) { u.MainPID, u.InvocationID, u.NRestarts = 200, "b", 0 })
	stopping := change(before, state("deactivating", "stop-sigterm", "success", 100))
	ended := change(stopping, func(u *deployers.Unit) { u.MainPID = 0 })
	starting := change(anew, state("activating", "start", "success", 0))
	restarted := change(anew, func(u *deployers.Unit) { u.NRestarts = 3 })
	for _, test := range []struct {
		name  string
		seen  []deployers.Unit
		want  life
		crash string // in its words
	}{
		{"nothing happens", []deployers.Unit{before}, same, ""},
		{"it is reloading", []deployers.Unit{change(before, state("reloading", "reload", "success", 100))}, same, ""},
		{"its end has been asked for", []deployers.Unit{stopping}, same, ""},
		{"it was restarted", []deployers.Unit{anew}, another, ""},
		{"it is being restarted", []deployers.Unit{ended, starting, anew}, another, ""},
		{"a job is about to start it", []deployers.Unit{change(ended, func(u *deployers.Unit) { u.ActiveState, u.Job = "inactive", true }), anew}, another, ""},
		{"it goes on starting", []deployers.Unit{ended, starting}, between, ""},
		{"it never counted restarts", []deployers.Unit{change(anew, func(u *deployers.Unit) { u.NRestarts = before.NRestarts })}, another, ""},

		{"it restarted by itself", []deployers.Unit{restarted}, same, "restarted by itself"},
		{"by itself, after ending well", []deployers.Unit{ended, starting, restarted}, same, "restarted by itself"},
		{"it is about to", []deployers.Unit{change(ended, state("activating", "auto-restart", "signal", 0))}, same, "restarted by itself"},
		{"it is about to, after ending well", []deployers.Unit{change(ended, state("activating", "auto-restart", "success", 0))}, same, "restarted by itself"},
		{"it failed", []deployers.Unit{change(before, state("failed", "failed", "core-dump", 0))}, same, "restarted by itself"},
		{"it is dying", []deployers.Unit{change(before, state("deactivating", "final-sigterm", "signal", 0))}, same, "restarted by itself"},
		{"it ended", []deployers.Unit{change(before, state("inactive", "dead", "success", 0))}, same, "restarted by itself"},
		{"it goes on with another main process", []deployers.Unit{change(before, func(u *deployers.Unit) { u.MainPID = 200 })}, same, "restarted by itself"},
		{"its number is another's now", []deployers.Unit{change(before, func(u *deployers.Unit) { u.MainPID = 300 })}, same, "restarted by itself"},
		{"its process is another", []deployers.Unit{change(before, func(u *deployers.Unit) { u.Name = "again" })}, same, "main process 100 of x.service ended"},
		{"its process is gone", []deployers.Unit{change(before, func(u *deployers.Unit) { u.Name = "gone" })}, same, "main process 100 of x.service ended"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, issued{}, 0, func(w *world) {
				w.unit, w.started = before, map[int]uint64{100: 1, 200: 2, 300: 1}
				w.group()
				a := newAttempt([]prepared{{plan: deployers.Plan{Activate: deployers.Activation{Way: deployers.CallControl, Unit: "x.service"}}}})
				var err error
				if a.running, _, err = w.run.identify(w.t.Context(), a.activation()); err != nil {
					t.Fatal(err)
				}
				seen := test.seen
				w.on = on{"unit": func(context.Context, *world) error {
					w.unit = seen[0]
					seen = seen[min(1, len(seen)-1):]
					return nil
				}, "started": func(context.Context, *world) error {
					switch w.unit.Name {
					case "again":
						w.started[100] = 2
					case "gone":
						return &process.GoneError{PID: 100}
					}
					return nil
				}}
				began := time.Now()
				a, got, crash := w.run.life(w.t.Context(), a)
				if got != test.want || (crash != nil) != (test.crash != "") || crash != nil && !strings.Contains(crash.Error(), test.crash) {
					t.Errorf("%d (%v) instead of %d", got, crash, test.want)
				}
				if waited := time.Since(began); test.want == between && waited != restartLimit || waited > restartLimit {
					t.Errorf("it was waited for %s", waited)
				}
				if _, again, crash := w.run.life(w.t.Context(), a); test.want == another && (again != same || crash != nil) {
					t.Errorf("a moment later it is %d (%v)", again, crash)
				}
				w.run.close()
			})
		})
	}
}
