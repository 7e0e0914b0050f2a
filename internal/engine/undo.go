package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// This file is how a deployment that stopped at a step comes to its end: kept,
// abandoned, or undone and proven against the baseline.

// end brings a transaction that stopped at a step to its end.
func (t *transaction) end(ctx context.Context, step Step, err error) {
	var wait *waitError
	var crash *crashedError
	switch {
	case errors.As(err, &wait):
		if err := t.keep(wait); err != nil {
			t.undo(ctx, step, err)
		}
	case errors.As(err, &crash):
		t.crashed(ctx, crash)
	case step == Activate && t.first():
		if err := t.keep(&waitError{reason: firstInstallReason, detail: err.Error()}); err != nil {
			t.undo(ctx, step, err)
		}
	case step == Baseline || step == Stage:
		t.abandon(ctx, step, err)
	default:
		t.undo(ctx, step, err)
	}
}

func (t *transaction) provenGeneration(it *item) string {
	if proven := t.state.Get(it.target.Name, it.lineage.Name).Proven; proven != nil {
		return proven.Generation
	}
	return ""
}

// crashed ends a transaction whose service died of the activation. What it
// serves since then stays; nothing is activated for its targets until
// somebody says so.
func (t *transaction) crashed(ctx context.Context, crash *crashedError) {
	var err error
	if crash.proven {
		err = t.keep(nil)
	} else {
		err = t.putBack(context.WithoutCancel(ctx))
	}
	if err != nil {
		crash.what += "; " + err.Error()
	}
	for _, it := range t.items {
		it.fail(Prove, crash)
		t.state.Hold(it.target.Name, crashedReason, t.began)
	}
}

// abandon ends a transaction that changed nothing under a final name.
func (t *transaction) abandon(ctx context.Context, step Step, err error) {
	if t.wrote() {
		err = errors.Join(err, t.putBack(context.WithoutCancel(ctx)))
	}
	for _, it := range t.items {
		it.fail(step, it.cause(err))
	}
}

// cause is why an item failed, in a transaction that did for the given reason.
func (it *item) cause(common error) error {
	if it.fault != nil {
		return it.fault
	}
	return common
}

// undo puts the previous pairs back, makes the service take them where the
// failed activation may have had an effect, and proves that it does. An item
// whose own pair could not be put back does not count against the others.
func (t *transaction) undo(ctx context.Context, step Step, cause error) {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), t.began.Add(t.req.Limits.Total))
	defer cancel()
	var lost, err error
	_ = t.timed(Undo, func() error {
		lost, err = t.restore(ctx, step, cause)
		return errors.Join(lost, err)
	})
	for _, it := range t.items {
		it.fail(step, it.cause(cause))
		if !t.back {
			it.out.Result = Failed // the pair that was installed before this run is the one that fails
		}
		failed, short := errors.Join(it.share(lost), err), new(waitError)
		switch {
		case it.share(lost) == nil && errors.As(err, &short): // the previous pair is back, and cannot be activated
			it.out.Result, it.out.Reason, it.out.Remedy = RollbackFailed, short.reason, short.remedy(it)
			it.out.Detail += "; the previous pair is in place again and not reloaded: " + err.Error()
		case failed != nil:
			it.out.Result = RollbackFailed
			it.out.Detail += "; going back failed: " + failed.Error()
			it.out.Remedy = "look at once: compare what is installed and served (certlatch probe), then certlatch rollback " + it.target.Name
		}
	}
}

// share returns an error about sets that could not be put back, if the item's
// is one of them, or if it does not say which.
func (it *item) share(lost error) error {
	var restore *install.RestoreError
	if errors.As(lost, &restore) && len(restore.Sets) > 0 && !slices.Contains(restore.Sets, install.Ref{Target: it.target.Name, Lineage: it.lineage.Name}) {
		return nil
	}
	return lost
}

// restore puts back and activates. It returns what could not be put back, and
// what else went wrong.
func (t *transaction) restore(ctx context.Context, step Step, cause error) (lost, err error) {
	var commit *install.RestoreError
	if errors.As(cause, &commit) {
		lost = commit // the commit could not take back what it had begun
	} else {
		lost = t.putBack(ctx)
	}
	if len(t.items) > 0 && !slices.ContainsFunc(t.items, func(it *item) bool { return it.share(lost) == nil }) {
		return lost, nil
	}
	var activation error
	if t.activated && (mayHaveWorked(step, cause) || !t.asBefore(ctx)) {
		if err := t.act(ctx); err != nil {
			activation = fmt.Errorf("activate the previous pair: %w", err)
		}
	}
	wants := t.wantedBack()
	if err := t.proof(ctx, wants); err != nil {
		return lost, errors.Join(activation, err)
	}
	if len(wants) == 0 {
		return lost, activation // nothing was seen that could outweigh it
	}
	return lost, nil
}

// wrote tells whether anything was staged to be written.
func (t *transaction) wrote() bool { return t.tx != nil || len(t.rows) > 0 }

// putBack puts the previous pairs back.
func (t *transaction) putBack(ctx context.Context) error {
	if !t.wrote() {
		return t.reinstall(ctx)
	}
	t.back = true
	rowsErr := t.putRowsBack(ctx)
	var err error
	if t.tx != nil {
		err = t.tx.Undo()
	}
	if lost := new(install.RestoreError); rowsErr != nil || errors.As(err, &lost) {
		return fmt.Errorf("put the previous pair back: %w", errors.Join(rowsErr, err))
	}
	if err != nil {
		t.Log.Warn("the previous pair is back, but something is left beside it", "error", err)
	}
	return nil
}

// reinstall puts the last proven generations back where this run wrote
// nothing, because an earlier one had installed the pair that now fails.
func (t *transaction) reinstall(ctx context.Context) error {
	var sets []install.Set
	for _, it := range t.items {
		generation := t.provenGeneration(it)
		if generation == "" || generation == it.generation {
			continue
		}
		previous, findings := lineage.Read(t.Store.Generation(it.target.Name, it.lineage.Name, generation))
		if previous == nil {
			return &refusedError{findings}
		}
		it.previous = previous.Leaf
		if it.plan.Row != nil {
			if err := t.stageRow(ctx, it, previous); err != nil {
				return err
			}
			continue
		}
		set := it.set
		set.Generation = state.NewGeneration(time.Now(), lineage.Describe(previous.Leaf))
		set.Files = slices.Clone(set.Files)
		for i := range set.Files {
			set.Files[i].Data = it.plan.Files[i].Content.Of(previous)
		}
		sets = append(sets, set)
	}
	if len(t.rows) > 0 {
		defer t.closeRows()
		if err := t.commitRows(ctx); err != nil {
			return err
		}
		t.back = true
	}
	if len(sets) == 0 {
		return nil
	}
	tx, err := t.installer.Stage(sets)
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if err := tidyUp(t.Log, tx.Keep()); err != nil {
		return errors.Join(err, tx.Undo())
	}
	t.back = true
	return nil
}

// wantedBack is what the probes must see after an undo: what they saw at the
// baseline, or the pair that is back in place, where the service had not taken
// that yet. A probe without a handshake at the baseline wants nothing.
func (t *transaction) wantedBack() []probe.Want {
	var wants []probe.Want
	for _, it := range t.items {
		for i, o := range it.baseline {
			if o.Leaf() == nil {
				continue
			}
			fingerprints := []string{lineage.Fingerprint(o.Leaf())}
			if it.previous != nil {
				fingerprints = append(fingerprints, lineage.Fingerprint(it.previous))
			}
			wants = append(wants, probe.Want{Endpoint: it.plan.Probes[i], Fingerprints: fingerprints})
		}
	}
	return wants
}

// asBefore looks once whether every probe sees what it saw at the baseline.
func (t *transaction) asBefore(ctx context.Context) bool {
	for _, it := range t.items {
		for i, o := range observe(ctx, it.plan.Probes) {
			if was := it.baseline[i].Leaf(); was != nil && !shows(o, lineage.Fingerprint(was)) {
				return false
			}
		}
	}
	return true
}
