package deploy

import (
	"context"
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/owntest"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
)

// This file finds out what services say of themselves, before and after their
// files were replaced.

// baseline notes what the service's own test, its probes and its processes say
// before anything is touched. A member that nothing can prove ends here.
func (r *run) baseline(ctx context.Context, a attempt) (attempt, error) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < leastWork {
		return a, &outcome.OutOfTimeError{}
	}
	var tested []error
	var seen [][]probe.Observation
	var running identity
	var err error
	r.beside([]func(){
		func() { running, _, err = r.identify(ctx, a.activation()) },
		func() {
			tested = r.ownTests(ctx, a, (*owntest.Runner).Baseline, func(m member) bool { return m.activate.Way == deployers.RestartUnit })
		},
		func() {
			seen = r.observeAll(ctx, a, func(m member) []endpoint.Endpoint { return m.prepared.plan.Probes })
		},
	})
	if err != nil {
		return a, err
	}
	a.running = running
	members := slices.Clone(a.members)
	for i := range members {
		members[i].testedBefore, members[i].counting = tested[i], seen[i]
	}
	a.members = members
	a = r.chooseProbes(ctx, a)
	var going []member
	for _, m := range a.members {
		if m.fault != nil {
			a.early = append(a.early, m.end(outcome.Failure{At: outcome.Baseline, Err: m.fault}))
			continue
		}
		going = append(going, m)
	}
	a.members = going
	return a, nil
}

// observeAll makes one handshake at some endpoints of every member, all at once.
func (r *run) observeAll(ctx context.Context, a attempt, of func(member) []endpoint.Endpoint) [][]probe.Observation {
	return r.prep.Look(ctx, a.looks(of), func() {})
}

// looks returns the look at some endpoints of every member.
func (a attempt) looks(of func(member) []endpoint.Endpoint) []prepare.Look {
	var looks []prepare.Look
	for _, m := range a.members {
		looks = append(looks, prepare.LookFor(m.prepared.plan, of(m)))
	}
	return looks
}

// ownTests runs the services' own tests, each once, and returns what that of each
// member says. One that is about a start is run for those who start.
func (r *run) ownTests(ctx context.Context, a attempt, run func(*owntest.Runner, context.Context, deployers.Test) error, starts func(member) bool) []error {
	said := make([]error, len(a.members))
	tests := owntest.NewRunner(r.site.World.Programs)
	for i, m := range a.members {
		test := m.prepared.plan.Test
		if len(test.Command) > 0 && (!test.Start || starts(m)) {
			said[i] = run(tests, ctx, test)
		}
	}
	return said
}

// test runs the service's own test with the new files in place.
func (r *run) test(ctx context.Context, a attempt) (attempt, error) {
	said := r.ownTests(ctx, a, (*owntest.Runner).Run, func(member) bool { return false }) // see mayRestart
	a.members = slices.Clone(a.members)
	for i := range said {
		a.members[i].tested = said[i]
	}
	for _, m := range a.members {
		test := m.prepared.plan.Test
		err, before := owntest.Against(test, m.testedBefore, m.tested)
		if err == nil {
			continue
		}
		failed := &outcome.TestError{Program: test.Command[0], Err: err, Before: before}
		if before && a.first() {
			return a, &outcome.WaitError{Reason: outcome.FirstInstall, Detail: failed.Error()}
		}
		return a.attribute(failed), failed
	}
	return a, nil
}
