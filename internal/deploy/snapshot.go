package deploy

import (
	"context"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/probe"
)

// refreshSnapshot brings the snapshot up to date with what the run has done and
// seen.
func (r *run) refreshSnapshot(ctx context.Context, became []ended) {
	unchanged, seen := map[install.Ref]string{}, map[install.Ref]inspect.Seen{}
	for _, e := range became {
		if e.seen != nil && !e.noted.IsZero() {
			noted := *e.seen
			noted.Noted = e.noted
			seen[e.job.ref()] = noted
		}
		if e.outcome.Result == outcome.Unchanged && e.outcome.New != nil {
			unchanged[e.job.ref()] = e.outcome.New.Fingerprint
		}
	}
	inspect.Inspector{Site: r.site}.Refresh(ctx, r.prep, inspect.RunResult{
		Touched: r.memory.touchedRefs(), Seen: seen, Unchanged: unchanged, Look: r.req.Look, Until: r.began.Add(r.req.Limits.Total),
	})
}

// askLeft returns how jobs of a service ended, with what is left of the activations
// that it bears after those of the run: the snapshot shows that.
func (r *run) askLeft(ctx context.Context, became []ended) []ended {
	for i, e := range became {
		if e.seen == nil || e.seen.Plan.Activate.Left == nil {
			continue
		}
		bundle, _ := r.prep.Bundle(e.job.lineage)
		plan, err := r.plan(ctx, e.job, bundle)
		if err != nil {
			became[i].seen = nil // and whoever looks again says so
			continue
		}
		seen := *e.seen
		seen.Plan = plan
		became[i].seen = &seen
	}
	return became
}

// seen returns what the snapshot can show of a job whose leaf some probes showed,
// while others were silent; nil: somebody must look again, since there were none.
func (r *run) seen(p prepared, showed []endpoint.Endpoint, silent []probe.Observation) *inspect.Seen {
	if len(showed) == 0 {
		return nil
	}
	return &inspect.Seen{Began: r.began, Leaf: p.bundle.Leaf, Plan: p.plan, Showed: showed, Silent: silent}
}
