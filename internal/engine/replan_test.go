package engine

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/state"
)

// A unit is never restarted so often that systemd would refuse to start it again.
func TestStartLimit(t *testing.T) {
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		way      deployers.Way
		burst    uint32
		interval time.Duration
		gap      time.Duration // that is between two activations
	}{
		{"the usual limit", deployers.RestartUnit, 5, 10 * time.Second, 2 * time.Second},
		{"none", deployers.RestartUnit, 0, 10 * time.Second, 0},
		{"another way", deployers.ReloadUnit, 5, 10 * time.Second, 0},
		{"longer than the run", deployers.RestartUnit, 3, time.Hour, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				unit := deployers.Unit{ActiveState: "active", StartLimitBurst: test.burst, StartLimitInterval: test.interval}
				r := &run{
					Engine: &Engine{Store: store, Log: slog.New(slog.DiscardHandler), Units: func(context.Context) (Units, error) { return &unitStates{states: []deployers.Unit{unit}}, nil }},
					state:  &state.State{}, req: Request{Limits: quick}, seen: newLookups(),
				}
				tx := &transaction{run: r, items: []*item{{plan: deployers.Plan{Activate: deployers.Activation{Way: test.way, Unit: "x.service"}}}}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := tx.act(ctx); err != nil {
					t.Fatal(err)
				}
				first := time.Now()
				err := tx.act(ctx)
				if took := time.Since(first); test.gap >= 0 && (took != test.gap || err != nil) {
					t.Errorf("the second comes after %s: %v", took, err)
				}
				if test.gap < 0 && (!errors.Is(err, context.DeadlineExceeded) || !time.Now().Equal(first)) {
					t.Errorf("it was waited for in vain, for %s: %v", time.Since(first), err)
				}
			})
		})
	}
}
