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

// seen returns what the snapshot can show of a job whose leaf some probes showed,
// while others were silent; nil: somebody must look again, since there were none,
// or an activation has left the service fewer reloads.
func (r *run) seen(p prepared, showed []endpoint.Endpoint, silent []probe.Observation) *inspect.Seen {
	if len(showed) == 0 || p.plan.Activate.Left != nil {
		return nil
	}
	return &inspect.Seen{Began: r.began, Leaf: p.bundle.Leaf, Plan: p.plan, Showed: showed, Silent: silent}
}
