// Package deploy brings lineages to targets. It is the one place where a
// deployment happens: validate, baseline, stage, commit, test, activate, prove,
// record, or undo. What those words promise is written in the contract's
// invariants.
//
// A [job] is a lineage for a target. It becomes a [prepared] job, or ends. Prepared
// jobs that one activation serves become an [attempt], which goes from step to
// step and ends in outcomes. Each of these is a value that is complete when it is
// made; what a run remembers is written by its [memory] alone.
//
// It decides nothing about a kind of service (package deployers does) and
// nothing about exit codes (the command does). It does not promise that a
// service keeps serving what was proven once the run has ended.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/beside"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

// Engine deploys bundles to the targets of one configuration.
type Engine struct {
	Site prepare.Site

	beside beside.Way // nil: goroutines
}

// Request says what to deploy.
type Request struct {
	Lineages []string // NAME or CLIENT:NAME; nil: all
	Targets  []string // nil: all that want them
	Pending  bool     // only what is pending and due
	All      bool     // with Pending: whether due or not
	Force    bool     // accept a downgrade, and take every step
	Now      bool     // outside of windows too
	Look     bool     // a proven leaf is looked for again before it counts as unchanged
	Coalesce bool     // with Lineages: whoever has the lock may take them along, and so does this run with those of others
	By       string   // who asks, for the history
	Limits   Limits
}

// byHand reports whether somebody asks for just what is to be deployed, and not
// whatever is due.
func (r Request) byHand() bool { return r.Force || r.Look && (!r.Pending || r.All) }

// Limits bounds the waits of a run.
type Limits struct {
	Lock       time.Duration // for the lock of all runs
	Work       time.Duration // from the beginning of the run to the last forward step
	Total      time.Duration // from the beginning of the run to the end of the last undo
	Activation time.Duration // of one activation
	Proof      time.Duration // of one proof
}

// HookLimits keep a hook within the 100 seconds of the contract: ACME clients
// wait for their hooks, certbot without any limit of its own.
// What is left after Work is enough for an undo: one activation and one proof.
var HookLimits = Limits{Lock: 30 * time.Second, Work: 55 * time.Second, Total: 95 * time.Second, Activation: 25 * time.Second, Proof: 12 * time.Second}

// HandLimits are for runs that somebody watches. An activation may take as
// long as systemd's own default limit of a job, 90 seconds
// (systemd-system.conf(5), DefaultTimeoutStartSec=).
var HandLimits = Limits{Lock: 60 * time.Second, Work: 10 * time.Minute, Total: 15 * time.Minute, Activation: 100 * time.Second, Proof: 15 * time.Second}

// Deploy does what the request asks. Failures of single targets are outcomes;
// the error is for what kept the run from happening at all, such as a
// *disk.LockedError or a *prepare.RequestError.
func (e *Engine) Deploy(ctx context.Context, req Request) (outcome.Report, error) {
	if req.Coalesce {
		report, nothingToDo, err := e.skipOrMark(req)
		if marked := new(state.DirectoryError); errors.As(err, &marked) {
			e.Site.Log.Warn("another run cannot take this along", "error", err, "remedy", marked.Remedy())
			err, req.Coalesce = nil, false
		}
		if err != nil || nothingToDo {
			return report, err
		}
	}
	return e.run(ctx, req, func(ctx context.Context, r *run) ([]ended, error) {
		r.memory.mend()
		all, every, err := r.lineages()
		if err != nil {
			return nil, err
		}
		jobs, err := r.choose(all)
		if err != nil {
			return nil, err
		}
		if every {
			r.memory.forgetGone(r.site.Config, all, r.stuck)
			r.unmarkUnwanted()
		}
		return r.renew(ctx, jobs), nil
	})
}

// renew is a renewal from end to end: each job is prepared, jobs that one
// activation serves are deployed together or put back together, and what became of
// them is recorded. Services are renewed side by side, so that none waits for
// another. What is left for another run is in no outcome.
func (r *run) renew(ctx context.Context, jobs []job) []ended {
	all := beside.Each(r.beside, byUnit(jobs), func(jobs []job) gone {
		ready, early := r.prepareAll(ctx, jobs) // read, plan, look, judge
		was := gone{became: r.memory.record(early)}
		return was.and(beside.Each(r.beside, byService(r.groups(ready)), func(groups [][]prepared) (was gone) {
			lone := newLoners(r)
			var silent *outcome.Outcome // of a group whose service did not answer
			for _, group := range groups {
				if silent != nil {
					was.became = append(was.became, r.memory.record(leftAlone(group, *silent))...)
					continue
				}
				if r.tooLittleTime(ctx, group) || lone.postpones(group) {
					was.left = append(was.left, jobsOf(group)...)
					continue
				}
				deployed := r.deployGroup(ctx, group) // baseline, stage, commit, test, activate, prove; or undo
				lone.note(group, deployed)
				silent = unansweredBy(deployed)
				was.became = append(was.became, r.memory.record(deployed)...)
			}
			lone.save()
			was.became = r.askLeft(ctx, was.became)
			return was
		})...)
	})
	was := gone{}.and(all...)
	r.unmark(jobs, was.left)
	return inOrder(jobs, was.became)
}

// unansweredBy returns the outcome of a job whose service gave no answer when it was
// told; nil: there is none.
func unansweredBy(deployed []ended) *outcome.Outcome {
	at := slices.IndexFunc(deployed, func(e ended) bool {
		return e.outcome.At == outcome.Activate && slices.Contains([]outcome.Reason{outcome.ControlNoAnswer, outcome.ControlUnreachable}, e.outcome.Reason)
	})
	if at < 0 {
		return nil
	}
	return &deployed[at].outcome
}

// leftAlone returns how jobs end whose service did not answer a moment ago, when it
// was told of others: to wait for each of them would take as long again, and tell as
// little.
func leftAlone(group []prepared, before outcome.Outcome) []ended {
	var became []ended
	for _, p := range group {
		silent := &deployers.NoWayError{Target: p.job.target.Name, About: deployers.Control, Why: "it did not answer for " + before.Target + ": " + before.Detail, Remedy: before.Remedy}
		var err error = &deployers.SilentError{NoWayError: silent}
		if before.Reason == outcome.ControlUnreachable {
			err = &deployers.UnreachableError{NoWayError: silent}
		}
		became = append(became, *p.end(outcome.Failure{At: outcome.Baseline, Err: err}))
	}
	return became
}

// gone is how it went with some jobs.
type gone struct {
	became []ended
	left   []job // for another run
}

// and returns how it went with those of others too.
func (g gone) and(others ...gone) gone {
	for _, other := range others {
		g.became, g.left = append(g.became, other.became...), append(g.left, other.left...)
	}
	return g
}

// Plan says what Deploy would do, and changes nothing.
func (e *Engine) Plan(ctx context.Context, req Request) (outcome.Report, error) {
	r, err := e.look(req, time.Now())
	if err != nil {
		return outcome.Report{}, err
	}
	defer r.close()
	jobs, err := r.chooseAll()
	if err != nil {
		return outcome.Report{}, err
	}
	all := beside.Each(r.beside, byUnit(jobs), func(jobs []job) gone {
		ready, became := r.prepareAll(ctx, jobs)
		for _, p := range ready {
			for _, o := range r.prep.Away(ctx, []prepare.Look{prepare.LookFor(p.plan, p.plan.Probes)})[0] {
				p.notes = append(slices.Clip(p.notes), o.Err.Error())
			}
			became = append(became, ended{job: p.job, outcome: outcome.Of(p.about(), outcome.DryRun{Plan: p.plan})})
		}
		return gone{became: became}
	})
	return r.report(inOrder(jobs, gone{}.and(all...).became)), nil
}

// Rollback puts an earlier generation of a lineage back at a target, proves
// it, and holds the target.
func (e *Engine) Rollback(ctx context.Context, target, name, generation string, req Request) (outcome.Report, error) {
	return e.run(ctx, req, func(ctx context.Context, r *run) ([]ended, error) {
		r.memory.mend()
		j, err := r.chooseGeneration(target, name, generation)
		if err != nil {
			return nil, err
		}
		became := r.renew(ctx, []job{j})
		if len(became) == 0 || !became[0].outcome.Installed() {
			return became, nil
		}
		if err := r.memory.hold(target, string(outcome.HeldByRollback), r.began); err != nil {
			return became, fmt.Errorf("hold target %s after the rollback: %w", target, err)
		}
		became[0].outcome = became[0].outcome.Noting(fmt.Sprintf("target %s is held now; certlatch release %s ends that", target, target))
		return became, nil
	})
}

// run is what one run works with. It is not changed; what changes is in its
// memory. It may be used by several goroutines.
type run struct {
	beside  beside.Way
	site    prepare.Site
	prep    *prepare.Preparer
	storage pairs.Storage
	memory  *memory
	req     Request
	began   time.Time
	stuck   map[install.Ref]error // why the previous pair of an earlier run is not back
}

// look makes a run that has not locked anything. It fails where the state
// cannot be read.
func (e *Engine) look(req Request, now time.Time) (*run, error) {
	return e.lookWith(req, now, e.Site.State)
}

func (e *Engine) lookWith(req Request, now time.Time, read func() (st *state.State, unread, err error)) (*run, error) {
	m, err := rememberWith(e.Site, req.By, read)
	if err == nil {
		err = m.unread
	}
	if err != nil {
		return nil, err
	}
	return e.with(req, now, m, nil), nil
}

func (e *Engine) with(req Request, now time.Time, m *memory, stuck map[install.Ref]error) *run {
	way := e.beside
	if way == nil {
		way = beside.Goroutines
	}
	return &run{way, e.Site, prepare.NewPreparer(e.Site.World), e.Site.Storage(), m, req, now, stuck}
}

// close ends the connection to systemd, if there is one.
func (r *run) close() { r.prep.Close() }

// run is a run of the engine from the lock to the snapshot, which is brought up to
// date when others may run again.
func (e *Engine) run(ctx context.Context, req Request, work func(context.Context, *run) ([]ended, error)) (outcome.Report, error) {
	r, became, err := e.locked(ctx, req, work)
	if r == nil {
		return outcome.Report{}, err
	}
	defer r.close()
	r.refreshSnapshot(ctx, became)
	return r.report(became), err
}

// locked takes the lock, repairs what an interrupted run left, and does the work
// within the limits of the request. A run that was made is returned in any case,
// since what it has touched is to be looked at.
func (e *Engine) locked(ctx context.Context, req Request, work func(context.Context, *run) ([]ended, error)) (*run, []ended, error) {
	began := time.Now()
	lockCtx, cancel := context.WithTimeout(ctx, req.Limits.Lock)
	defer cancel()
	release, err := e.Site.Store.Lock(lockCtx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	m, err := remember(e.Site, req.By)
	if err != nil {
		return nil, nil, err
	}
	stuck, err := e.recover(m, began)
	r := e.with(req, began, m, stuck)
	if err == nil {
		err = m.unread
	}
	if err != nil {
		return r, nil, err
	}
	defer context.AfterFunc(ctx, func() {
		if interrupted(ctx) {
			e.Site.Log.Warn("told to end: what was begun is put back, and goes on with the next run")
		}
	})()
	ctx, cancelWork := context.WithDeadline(ctx, began.Add(req.Limits.Work))
	defer cancelWork()
	became, err := work(ctx, r)
	return r, became, err
}

// report returns what was done. Of lineages that were only taken along, their
// own callers are told.
func (r *run) report(became []ended) outcome.Report {
	report := outcome.Report{NotDue: r.notDue(became)}
	for _, e := range became {
		if e.job.requested {
			report.Outcomes = append(report.Outcomes, e.outcome)
		} else {
			r.site.Log.Info("taken along", "target", e.job.target.Name, "lineage", e.job.lineage.Name, "result", string(e.outcome.Result))
		}
	}
	return report
}

// notDue returns what is pending and was not tried, since a run of what is due leaves it.
func (r *run) notDue(became []ended) []state.Pending {
	if !r.req.Pending || r.req.All {
		return nil
	}
	scope := prepare.Scope{Lineages: r.req.Lineages, Targets: r.req.Targets}
	return r.memory.pending(func(ref install.Ref) bool {
		was := func(e ended) bool { return e.job.ref() == ref }
		return r.site.Config.HasTarget(ref.Target) && scope.Names(ref.Target, lineage.Lineage{Name: ref.Lineage}) && !slices.ContainsFunc(became, was)
	})
}

// inOrder returns what became of jobs in their order.
func inOrder(jobs []job, became []ended) []ended {
	order := map[key]int{}
	for i, j := range jobs {
		order[j.key()] = i
	}
	slices.SortStableFunc(became, func(a, b ended) int { return order[a.job.key()] - order[b.job.key()] })
	return became
}
