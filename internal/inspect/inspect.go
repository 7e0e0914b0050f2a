// Package inspect looks at what there is: what clients have issued, what is
// installed and served, what a deployment would meet, and what the host is
// like.
//
// It changes nothing but the snapshot that everybody may read. It takes no
// lock, so what it has seen may be otherwise a moment later; and it decides
// nothing: what is worth a deployment is for those who ask.
package inspect

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/beside"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/owntest"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

// Inspector looks at a host.
type Inspector struct{ Site prepare.Site }

// inspection is one look at the host, and what was remembered of it when that
// began.
type inspection struct {
	site   prepare.Site
	prep   *prepare.Preparer
	tests  *owntest.Runner
	beside *prepare.Besides
	began  time.Time
	state  *state.State
	unread error // why the state cannot be read, so that it is an empty one; nil: it was

	later  func() (map[install.Ref]bool, *state.State) // when first asked for; see [Inspector.later]
	spares func() []prepare.Spare                      // lineages that no target takes, read when first asked for
}

// begin begins to look, with what a Preparer has found out already.
func (in Inspector) begin(prep *prepare.Preparer) (inspection, error) {
	began := time.Now()
	st, unread, err := in.Site.State()
	spares := sync.OnceValue(func() []prepare.Spare { return prep.Spares(in.Site.Config) })
	return inspection{
		site: in.Site, prep: prep, tests: owntest.NewRunner(in.Site.World.Programs), beside: prep.Besides(in.Site.World),
		began: began, state: st, unread: unread, later: sync.OnceValues(in.later), spares: spares,
	}, err
}

// record returns what is remembered of an assignment.
func (i inspection) record(a prepare.Assignment) state.Record {
	return i.state.Get(a.Target.Name, a.Lineage.Name)
}

// plan asks a target's deployer what is to be done; see [prepare.Preparer.Plan].
func (i inspection) plan(ctx context.Context, a prepare.Assignment, bundle *lineage.Bundle) (deployers.Plan, error) {
	return i.prep.Plan(ctx, a, bundle, prepare.LastActivation(i.state, a.Target))
}

// gather finds out side by side what is to be known of assignments, which are to be
// judged or not; see [prepare.Preparer.Gather].
func (i inspection) gather(ctx context.Context, assigned []prepare.Assignment, judged bool) {
	i.prep.Gather(ctx, beside.Goroutines, assigned, judged, func(t config.Target) time.Time { return prepare.LastActivation(i.state, t) })
}

// subjectOf returns what an error is about that would make a deployment fail
// before anything is touched.
func subjectOf(a prepare.Assignment, plan deployers.Plan) outcome.Subject {
	return outcome.Subject{Target: a.Target.Name, Step: outcome.Validate, Plan: plan}
}

// isNoWay reports whether a deployer knows no way to make a service take new
// files. What cannot be reloaded may be served all the same.
func isNoWay(err error) bool {
	_, is := errors.AsType[*deployers.NoWayError](err)
	return is
}
