package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/process"
)

// This file looks at what services really serve, and at whether they are still
// the same processes.

// inARow is how many fresh connections in a row must show the new leaf.
// Several, since workers that go on with the old one may share the listener.
const inARow = 4

// prove looks at what is served until every probe saw the new leaf often
// enough, and at whether the service is still the same process.
func (t *transaction) prove(ctx context.Context) error {
	proof := t.proveTwice(ctx)
	now, crash := t.life(ctx)
	if now == another { // and what was seen may have been of either
		proof = t.proveAll(ctx)
		now, crash = t.life(ctx)
	}
	switch {
	case crash != nil && t.activated:
		return &crashedError{what: crash.Error(), proven: proof == nil}
	case now == between && proof != nil:
		return t.restarting()
	}
	var failed *unprovenError
	if !errors.As(proof, &failed) {
		return proof
	}
	for _, it := range t.items {
		t.missed(it, failed.seen)
	}
	return t.faulty()
}

// missed notes what an item's probes did not see. A first installation waits
// for it: the service may not name the files yet.
func (t *transaction) missed(it *item, seen []probe.Seen) {
	seen = slices.DeleteFunc(slices.Clone(seen), func(s probe.Seen) bool { return !slices.Contains(it.plan.Probes, s.Endpoint) })
	if len(seen) == 0 {
		return
	}
	err := &unprovenError{seen: seen, items: []*item{it}}
	switch {
	case it.first:
		it.wait = &waitError{reason: firstInstallReason, detail: err.Error()}
	case it.silentThroughout(seen):
		it.fault = t.unserved(it, err, err)
	default:
		it.fault = err
	}
}

// secondAfter is how long a first activation has to bring everything about,
// where a second one may have to help.
const secondAfter = 2 * time.Second

// proveTwice proves, after a second activation where that may be what it takes.
func (t *transaction) proveTwice(ctx context.Context) error {
	if a := t.items[0].plan.Activate; a.Twice && t.activated {
		soon, cancel := context.WithTimeout(ctx, secondAfter)
		defer cancel()
		if err := t.proveAll(soon); err == nil && !t.silent() {
			return nil
		}
		if err := t.act(ctx); err != nil {
			return err
		}
	}
	return t.proveAll(ctx)
}

// proveAll proves what is wanted, and what answers only since the activation.
func (t *transaction) proveAll(ctx context.Context) error {
	err := t.proof(ctx, t.wanted())
	if err == nil && t.hear(ctx) {
		err = t.proof(ctx, t.wanted())
	}
	return err
}

// hear lets those found probes count too that answer only since the activation,
// as for a host that had no certificate, and tells whether there are any.
func (t *transaction) hear(ctx context.Context) bool {
	heard := false
	for _, it := range t.items {
		before := it.silent
		it.silent = nil
		for i, now := range observe(ctx, endpoints(before)) {
			if now.Leaf() == nil {
				it.silent = append(it.silent, before[i])
				continue
			}
			it.count(before[i])
			heard = true
		}
	}
	return heard
}

// silent tells whether some found probes still complete no handshake.
func (t *transaction) silent() bool {
	return slices.ContainsFunc(t.items, func(it *item) bool { return len(it.silent) > 0 })
}

func endpoints(observed []probe.Observation) []endpoint.Endpoint {
	var all []endpoint.Endpoint
	for _, o := range observed {
		all = append(all, o.Endpoint)
	}
	return all
}

// wanted is what the probes must see: the new leaves.
func (t *transaction) wanted() []probe.Want {
	var wants []probe.Want
	for _, it := range t.items {
		for _, e := range it.plan.Probes {
			wants = append(wants, probe.Want{Endpoint: e, Fingerprints: []string{it.leaf.Fingerprint}})
		}
	}
	return wants
}

// firstProof is how long a first installation is looked for, where the usual
// outcome is that the service does not name the files yet.
const firstProof = 5 * time.Second

// proof waits until everything wanted was seen, or until the limit.
func (t *transaction) proof(ctx context.Context, wants []probe.Want) error {
	limit := t.req.Limits.Proof
	if t.first() {
		limit = min(limit, firstProof)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	unproven := slices.DeleteFunc(probe.Prove(ctx, wants, inARow), func(s probe.Seen) bool { return s.Proven })
	if len(unproven) > 0 {
		return &unprovenError{seen: unproven, items: t.items}
	}
	return nil
}

// identity tells one life of a service from the next.
type identity struct {
	unit       string
	main       int
	invocation string
	restarts   uint32
	started    uint64
}

// identify returns who runs now, and where that is a unit its state.
func (t *transaction) identify(ctx context.Context) (identity, deployers.Unit, error) {
	a := t.items[0].plan.Activate
	switch {
	case a.Unit != "" && t.Units != nil:
		units, err := t.manager(ctx)
		if err != nil {
			return identity{}, deployers.Unit{}, err
		}
		u, err := units.Unit(ctx, a.Unit)
		if err != nil {
			return identity{}, u, err
		}
		started, err := process.Started(u.MainPID)
		if gone := new(process.GoneError); errors.As(err, &gone) {
			err = nil // the unit has no main process now
		}
		return identity{a.Unit, u.MainPID, u.InvocationID, u.NRestarts, started}, u, err
	case a.PID != 0:
		started, err := process.Started(a.PID)
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
func (t *transaction) life(ctx context.Context) (life, error) {
	if t.items[0].plan.Activate.Way == deployers.RestartUnit {
		return same, nil
	}
	ctx = context.WithoutCancel(ctx)
	now, unit, err := t.identify(ctx)
	for end := time.Now().Add(restartLimit); err == nil && now != t.running && underWay(unit) && time.Now().Before(end); {
		time.Sleep(restartTick)
		now, unit, err = t.identify(ctx)
	}
	switch {
	case err != nil && t.running.unit == "":
		return same, fmt.Errorf("process %d is gone", t.running.main)
	case err != nil:
		t.Log.Warn("cannot tell whether the service restarted", "unit", t.running.unit, "error", err)
		return same, nil
	case now == t.running:
		return same, nil
	case now.unit != "" && underWay(unit):
		return between, nil
	case now.unit != "" && unit.ActiveState == "active" && now.invocation != t.running.invocation && now.restarts <= t.running.restarts:
		t.Log.Info("somebody else has restarted the service", "unit", now.unit)
		t.running = now
		return another, nil
	case now.unit != "" && now.main == t.running.main && now.restarts == t.running.restarts:
		return same, fmt.Errorf("the main process %d of %s ended", now.main, now.unit)
	case now.unit != "":
		return same, fmt.Errorf("%s restarted by itself: main process %d became %d, restarts %d became %d", now.unit, t.running.main, now.main, t.running.restarts, now.restarts)
	default:
		return same, fmt.Errorf("process %d was replaced by another", now.main)
	}
}

// underWay reports whether systemd is stopping or starting a unit, as far as can be
// told for somebody: a service that failed has a result that says so until it is
// started again, and one that ended in another way may be about to restart.
func underWay(u deployers.Unit) bool {
	return u.Result == "success" && !strings.HasPrefix(u.SubState, "auto-restart") && (u.Job || u.ActiveState == "deactivating" || u.ActiveState == "activating")
}

// restarting is the wait for somebody else to end what has been begun.
func (t *transaction) restarting() *waitError {
	return &waitError{reason: string(deployers.ServiceInactive), detail: "somebody else is stopping or starting " + t.running.unit}
}

// mostHandshakes is how many handshakes go on at once: more would not be done
// sooner, and look like an attack.
const mostHandshakes = 32

// observe makes one handshake at every endpoint.
func observe(ctx context.Context, endpoints []endpoint.Endpoint) []probe.Observation {
	return observeTelling(ctx, endpoints, func() {})
}

// observeTelling is like observe, and tells of every handshake that is done.
func observeTelling(ctx context.Context, endpoints []endpoint.Endpoint, done func()) []probe.Observation {
	seen := make([]probe.Observation, len(endpoints))
	var all sync.WaitGroup
	turns := make(chan struct{}, mostHandshakes)
	for i, e := range endpoints {
		turns <- struct{}{}
		all.Go(func() {
			seen[i] = probe.Handshake(ctx, e)
			<-turns
			done()
		})
	}
	all.Wait()
	return seen
}

func shows(o probe.Observation, fingerprint string) bool {
	return o.Leaf() != nil && lineage.Fingerprint(o.Leaf()) == fingerprint
}
