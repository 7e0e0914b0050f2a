package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/process"
)

// This file looks whether services are still the same processes.

// identity is one life of a service, different from the next.
type identity struct {
	unit       string
	main       int
	invocation string
	restarts   uint32
	started    uint64
}

// identify returns who runs now, and where that is a unit its state.
func (r *run) identify(ctx context.Context, a deployers.Activation) (identity, deployers.Unit, error) {
	switch {
	case a.Unit != "" && r.prep.Units != nil:
		u, err := r.prep.Units.Unit(ctx, a.Unit)
		if err != nil {
			return identity{}, u, err
		}
		started, err := r.site.World.Processes.Started(u.MainPID)
		if _, gone := errors.AsType[*process.GoneError](err); gone {
			err = nil // the unit has no main process now
		}
		return identity{a.Unit, u.MainPID, u.InvocationID, u.NRestarts, started}, u, err
	case a.PID != 0:
		started, err := r.site.World.Processes.Started(a.PID)
		if err == nil && a.Started != 0 && started != a.Started {
			err = &process.GoneError{PID: a.PID}
		}
		return identity{main: a.PID, started: started}, deployers.Unit{}, err
	}
	return identity{}, deployers.Unit{}, nil
}

// life is how a service's processes compare with those from before.
type life int

const (
	same    life = iota
	another      // somebody else has restarted the service
	between      // somebody else is stopping or starting it
)

// How long a restart by somebody else is waited for. systemd leaves each service
// 90 seconds to stop (systemd-system.conf(5), DefaultTimeoutStopSec=), but hooks
// have no more than 100 in all.
const (
	restartLimit = 8 * time.Second
	restartTick  = 100 * time.Millisecond
)

// life returns what became of the service's processes. It fails where they ended,
// although nobody asked for that. From a restart by somebody else on, the
// service is compared with what that has brought.
func (r *run) life(ctx context.Context, a attempt) (attempt, life, error) {
	if a.activation().Way == deployers.RestartUnit {
		return a, same, nil
	}
	ctx = context.WithoutCancel(ctx)
	now, unit, err := r.identify(ctx, a.activation())
	for end := time.Now().Add(restartLimit); err == nil && now != a.running && underWay(unit) && time.Now().Before(end); {
		time.Sleep(restartTick)
		now, unit, err = r.identify(ctx, a.activation())
	}
	was := a.running
	switch {
	case err != nil && was.unit == "":
		return a, same, fmt.Errorf("process %d is gone", was.main)
	case err != nil:
		r.site.Log.Warn("cannot tell whether the service restarted", "unit", was.unit, "error", err)
		return a, same, nil
	case now == was:
		return a, same, nil
	case now.unit != "" && underWay(unit):
		return a, between, nil
	case now.unit != "" && unit.ActiveState == "active" && now.invocation != was.invocation && now.restarts <= was.restarts:
		r.site.Log.Info("somebody else has restarted the service", "unit", now.unit)
		a.running = now
		return a, another, nil
	case now.unit != "" && now.main == was.main && now.restarts == was.restarts:
		return a, same, fmt.Errorf("the main process %d of %s ended", now.main, now.unit)
	case now.unit != "":
		return a, same, fmt.Errorf("%s restarted by itself: main process %d became %d, restarts %d became %d", now.unit, was.main, now.main, was.restarts, now.restarts)
	default:
		return a, same, fmt.Errorf("process %d was replaced by another", now.main)
	}
}

// underWay reports whether systemd is stopping or starting a unit, as far as can be
// told for somebody: a service that failed has a result that says so until it is
// started again, and one that ended in another way may be about to restart.
func underWay(u deployers.Unit) bool {
	return u.Result == "success" && !strings.HasPrefix(u.SubState, "auto-restart") && (u.Job || u.ActiveState == "deactivating" || u.ActiveState == "activating")
}
