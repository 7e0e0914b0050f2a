package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// This file is how an attempt that stopped at a step comes to its end: kept,
// abandoned, or undone and proven against the baseline.

// finish brings an attempt that stopped at a step to its end.
func (r *run) finish(ctx context.Context, a attempt, step outcome.Step, err error) []ended {
	if interrupted(ctx) {
		err = &outcome.InterruptedError{Err: err}
		a = a.each(func(m member) member {
			m.fault = nil // what was cut short says nothing of single members
			return m
		})
	}
	if wait, is := errors.AsType[*outcome.WaitError](err); is {
		return r.keepOrUndo(ctx, a, step, wait)
	}
	if crash, is := errors.AsType[*outcome.CrashedError](err); is {
		return r.crashed(ctx, a, crash)
	}
	switch {
	case step == outcome.Activate && a.first():
		return r.keepOrUndo(ctx, a, step, &outcome.WaitError{Reason: outcome.FirstInstall, Detail: err.Error()})
	case step == outcome.Baseline || step == outcome.Stage:
		return r.abandon(ctx, a, step, err)
	}
	return r.undo(ctx, a, step, err)
}

// interrupted reports whether certlatch was told to end, by a signal.
func interrupted(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// keepOrUndo ends an attempt whose files stay, or undoes it at a step where they
// cannot.
func (r *run) keepOrUndo(ctx context.Context, a attempt, step outcome.Step, wait *outcome.WaitError) []ended {
	became, err := r.keep(a, wait)
	if err != nil {
		return r.undo(ctx, a, step, err)
	}
	return became
}

// crashed ends an attempt whose service died of the activation. What it serves
// since then stays; nothing is activated for its targets until somebody says so.
func (r *run) crashed(ctx context.Context, a attempt, crash *outcome.CrashedError) []ended {
	var err error
	if crash.Proven {
		_, err = r.keep(a, nil)
	} else {
		_, _, err = r.putBack(context.WithoutCancel(ctx), a)
	}
	ending := outcome.Crashed{Err: crash, Stays: crash.Proven && err == nil}
	if err != nil {
		ending.Err = &outcome.CrashedError{What: crash.What + "; " + err.Error(), Proven: crash.Proven}
	}
	return a.end(func(member) outcome.Ending { return ending })
}

// abandon ends an attempt that changed nothing under a final name.
func (r *run) abandon(ctx context.Context, a attempt, step outcome.Step, err error) []ended {
	if a.staged != nil {
		_, _, lost := r.putBack(context.WithoutCancel(ctx), a)
		err = errors.Join(err, lost)
	}
	return a.end(func(m member) outcome.Ending { return outcome.Failure{At: step, Err: m.cause(err)} })
}

// end returns how each member ends.
func (a attempt) end(how func(member) outcome.Ending) []ended {
	var became []ended
	for _, m := range a.members {
		became = append(became, m.end(how(m)))
	}
	return became
}

// cause returns why a member failed, in an attempt that did for a given reason.
func (m member) cause(common error) error {
	if m.fault != nil {
		return m.fault
	}
	return common
}

// undo puts the previous pairs back, makes the service take them where the
// failed activation may have had an effect, and proves that it does. A member
// whose own pair could not be put back does not count against the others.
func (r *run) undo(ctx context.Context, a attempt, step outcome.Step, cause error) []ended {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), r.began.Add(r.req.Limits.Total))
	defer cancel()
	r.site.Tell("%s: %s", outcome.Undo, a.about())
	began, tried := time.Now(), a
	a, back, lost, err := r.restore(ctx, a, step, cause)
	a = r.took(a, outcome.StepTaken{Step: outcome.Undo, OK: lost == nil && err == nil, Took: time.Since(began)})
	return a.end(func(m member) outcome.Ending {
		return outcome.Undone{At: step, Cause: m.cause(cause), Back: back, Lost: m.share(lost), Err: err, Restarted: tried.restartedFor(m, cause)}
	})
}

// share returns an error about sets that could not be put back, if the member's
// is one of them, or if it does not say which.
func (m member) share(lost error) error {
	var sets []install.Ref
	if undo, is := errors.AsType[*pairs.LostError](lost); is {
		sets = undo.Sets
	} else if commit, is := errors.AsType[*install.RestoreError](lost); is {
		sets = commit.Sets
	}
	if len(sets) > 0 && !slices.Contains(sets, m.prepared.job.ref()) {
		return nil
	}
	return lost
}

// restore puts back and activates. It reports whether previous pairs are back,
// what could not be put back, and what else went wrong.
func (r *run) restore(ctx context.Context, a attempt, step outcome.Step, cause error) (_ attempt, back bool, lost, err error) {
	if commit, is := errors.AsType[*install.RestoreError](cause); is {
		lost = commit // the commit could not take back what it had begun
	} else {
		a, back, lost = r.putBack(ctx, a)
	}
	if !slices.ContainsFunc(a.members, func(m member) bool { return m.share(lost) == nil }) {
		return a, back, lost, nil
	}
	a = r.leaveAway(ctx, a)
	var activation error
	if a.activated && (mayHaveWorked(step, cause) || a.keepsCopies() || !r.asBefore(ctx, a)) {
		if a, err = r.act(ctx, a); err != nil {
			activation = fmt.Errorf("activate the previous pair: %w", err)
		}
	} else if !a.activated && (step == outcome.Activate || step == outcome.Prove) {
		if err = r.renewCopies(ctx, a); err != nil {
			activation = fmt.Errorf("renew copies of the previous pair: %w", err)
		}
	}
	if a, err = r.proof(ctx, a, attempt.wantedBack); err != nil {
		return a, back, lost, errors.Join(activation, err)
	}
	if len(a.wantedBack()) == 0 {
		return a, back, lost, activation // nothing was seen that could outweigh it
	}
	return a, back, lost, nil
}

// putBack puts the previous pairs back, and reports whether there were any. It
// fails where one could not be.
func (r *run) putBack(ctx context.Context, a attempt) (_ attempt, back bool, lost error) {
	if a.staged == nil {
		return r.reinstall(ctx, a)
	}
	err := a.staged.Undo(ctx)
	if _, is := errors.AsType[*pairs.LostError](err); is {
		return a, true, err
	}
	if err != nil {
		r.site.Log.Warn("the previous pair is back, but something is left beside it", "error", err)
	}
	return a, true, nil
}

// reinstall puts the last proven generations back where this run wrote
// nothing, because an earlier one had installed the pair that now fails.
func (r *run) reinstall(ctx context.Context, a attempt) (_ attempt, back bool, err error) {
	var written []pairs.Pair
	members := slices.Clone(a.members)
	for i, m := range members {
		generation := m.prepared.provenGeneration()
		if generation == "" || generation == m.prepared.generation {
			continue
		}
		ref := m.prepared.job.ref()
		previous, findings := lineage.Read(r.site.Store.Generation(ref.Target, ref.Lineage, generation))
		if previous == nil {
			return a, false, &outcome.RefusedError{Findings: findings}
		}
		members[i].previous = previous.Leaf
		written = append(written, m.prepared.pair.Holding(previous, state.NewGeneration(time.Now(), lineage.Describe(previous.Leaf))))
	}
	a.members = members
	if len(written) == 0 {
		return a, false, nil
	}
	staged, err := r.storage.Stage(ctx, written)
	if err != nil {
		return a, false, err
	}
	if err := staged.Commit(ctx); err != nil {
		// Not wrapped: what it says of single sets is about the pair that fails.
		return a, false, fmt.Errorf("put the last proven pair back: %v", errors.Join(err, staged.Undo(ctx)))
	}
	if err := r.tidyUp(staged.Keep()); err != nil {
		return a, false, errors.Join(err, staged.Undo(ctx))
	}
	return a, true, nil
}

// wantedBack is what the probes must see after an undo: what they saw at the
// baseline, or the pair that is back in place, where the service had not taken
// that yet. A probe without a handshake at the baseline wants nothing.
func (a attempt) wantedBack() []probe.Want {
	var wants []probe.Want
	for _, m := range a.members {
		for _, o := range m.counting {
			if o.Leaf() == nil {
				continue
			}
			fingerprints := []string{lineage.Fingerprint(o.Leaf())}
			if m.previous != nil {
				fingerprints = append(fingerprints, lineage.Fingerprint(m.previous))
			}
			wants = append(wants, m.want(o.Endpoint, fingerprints...))
		}
	}
	return wants
}

// asBefore looks once whether every probe sees what it saw at the baseline.
func (r *run) asBefore(ctx context.Context, a attempt) bool {
	seen := r.observeAll(ctx, a, func(m member) []endpoint.Endpoint { return m.probes() })
	for i, m := range a.members {
		for k, o := range seen[i] {
			if was := m.counting[k].Leaf(); was != nil && !prepare.Shows(o, lineage.Fingerprint(was)) {
				return false
			}
		}
	}
	return true
}
