package deploy

import (
	"context"

	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/outcome"
)

// refreshSnapshot brings the snapshot up to date with what the run has done and
// seen.
func (r *run) refreshSnapshot(ctx context.Context, became []ended) {
	unchanged := map[install.Ref]string{}
	for _, e := range became {
		if e.outcome.Result == outcome.Unchanged && e.outcome.New != nil {
			unchanged[e.job.ref()] = e.outcome.New.Fingerprint
		}
	}
	inspect.Inspector{Site: r.site}.Refresh(ctx, r.prep, inspect.RunResult{
		Touched: r.memory.touchedRefs(), Unchanged: unchanged, Look: r.req.Look, Until: r.began.Add(r.req.Limits.Total),
	})
}
