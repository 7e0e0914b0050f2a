package daemon

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/certlatch/certlatch/internal/deploy"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
)

// task is what there is to do for a run.
type task struct {
	changed []lineage.Lineage // whose files have changed
	since   time.Time         // when the first of them did
	compare bool              // look for lineages that some target has not got, whatever the events said
	pending bool              // somebody left marks, or something is due
	all     bool              // try what is pending whether due or not
}

func (t task) empty() bool { return len(t.changed) == 0 && !t.compare && !t.pending }

// merge returns a task of both; u is the younger.
func (t task) merge(u task) task {
	if len(t.changed) == 0 {
		t.since = u.since
	}
	t.changed = append(t.changed, u.changed...)
	t.compare, t.pending, t.all = t.compare || u.compare, t.pending || u.pending, t.all || u.all
	return t
}

// finishedRun is a run that has ended.
type finishedRun struct {
	task   task
	report outcome.Report
	err    error
}

// run marks what has changed and has not been deployed, and has the engine
// deploy what is pending. It waits for other runs first: a hook may be about to
// deploy what has changed, and what it has tried in vain must not be tried at
// once again.
func (t task) run(ctx context.Context, e *deploy.Engine) finishedRun {
	wait, cancel := context.WithTimeout(ctx, limits.Lock)
	defer cancel()
	release, err := e.Site.Store.Lock(wait)
	if err != nil {
		return finishedRun{task: t, err: err}
	}
	release()
	if t.compare {
		err = t.markOutdated(e, nil)
	}
	if err == nil && len(t.changed) > 0 {
		err = t.markOutdated(e, t.changed)
	}
	if err != nil {
		return finishedRun{task: t, err: err}
	}
	var report outcome.Report
	if t.pending {
		report, err = e.Deploy(ctx, deploy.Request{Pending: true, All: t.all, By: "watch", Limits: limits})
	}
	if err == nil && t.compare { // for those who may run status and check, and not look themselves
		_, _, err = (inspect.Inspector{Site: e.Site}).Inventory(ctx, prepare.Scope{})
		debug.FreeOSMemory() // of a look at thousands of lineages, much is not needed for minutes
	}
	return finishedRun{t, report, err}
}

// markOutdated marks those of some lineages that a target has not got.
func (t *task) markOutdated(e *deploy.Engine, changed []lineage.Lineage) error {
	behind, err := e.MarkOutdated(changed)
	t.pending = t.pending || behind > 0
	return err
}
