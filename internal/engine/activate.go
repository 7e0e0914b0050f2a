package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/control"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/process"
)

// This file makes services take what was committed.

// activate makes the service take the new files, once for all items.
func (t *transaction) activate(ctx context.Context) error {
	a := t.items[0].plan.Activate
	switch {
	case a.Wait == deployers.NothingToDo:
		return nil
	case t.servedAlready():
		return nil // somebody reloaded the service since the files were installed
	case a.Way == deployers.NoWay && a.Spends: // it may have been restarted since this was planned
		if err := t.replan(ctx); err != nil {
			return err
		}
	case a.Way == deployers.NoWay:
		return waitFor(a)
	}
	for _, it := range t.items {
		if w := it.target.Window; w != nil && !w.Contains(time.Now()) {
			return &waitError{reason: outsideWindowReason, detail: "it is activated between " + w.String()}
		}
	}
	for _, it := range t.items {
		if err := it.spareOthers(ctx); err != nil {
			return err
		}
	}
	err := t.act(ctx)
	if wait := new(waitError); errors.As(err, &wait) {
		return wait
	}
	if isInactive(err) {
		return &waitError{reason: string(deployers.ServiceInactive), detail: err.Error()}
	}
	if err == nil {
		return nil
	}
	switch now, crash := t.died(ctx, err); {
	case crash != nil && t.activated:
		return &crashedError{what: crash.Error(), proven: t.proof(ctx, t.wanted()) == nil}
	case now == another:
		return nil // it has taken what is installed, as the proof will show
	case now == between:
		return t.restarting()
	}
	return err
}

// Where one process of a service dies of a call, the others take a moment to
// follow, and systemd one to notice.
const (
	dying     = 3 * time.Second
	dyingTick = 50 * time.Millisecond
)

// died reports what became of the service in a failed activation. One that took a
// call and did not answer is watched for a while.
func (t *transaction) died(ctx context.Context, failed error) (life, error) {
	now, crash := t.life(ctx)
	for end := time.Now().Add(dying); crash == nil && now == same && unanswered(failed) && time.Now().Before(end); {
		time.Sleep(dyingTick)
		now, crash = t.life(ctx)
	}
	return now, crash
}

// act is the activation itself, within its limit and not too soon after the
// last one. It fails with a *waitError where the service cannot bear one now.
func (t *transaction) act(ctx context.Context) error {
	if err := t.keepGap(ctx); err != nil {
		return err
	}
	defer t.seen.forget(t.items[0].target.Unit)
	if err := t.replan(ctx); err != nil {
		return err
	}
	if err := t.keepGap(ctx); err != nil { // of a restart in place of a reload
		return err
	}
	if err := t.noteActivation(ctx); err != nil {
		return err
	}
	a := t.items[0].plan.Activate
	t.activated = true
	ctx, cancel := context.WithTimeout(ctx, t.req.Limits.Activation)
	defer cancel()
	switch a.Way {
	case deployers.ReloadUnit, deployers.RestartUnit:
		units, err := t.manager(ctx)
		if err != nil {
			return err
		}
		if a.Way == deployers.RestartUnit {
			return units.Restart(ctx, a.Unit)
		}
		return units.Reload(ctx, a.Unit)
	case deployers.RunCommand:
		_, err := command.Run(ctx, a.Command)
		return err
	case deployers.SignalPID:
		return process.Signal(a.PID, t.running.started, a.Signal)
	case deployers.CallControl:
		if err := call(ctx, a); err != nil {
			return err
		}
		return t.expected(ctx)
	}
	return fmt.Errorf("no way to activate by %q", a.Way)
}

// replan asks again how the service is activated, where the last activation or
// anything else may have left it unable to bear another. It fails with a
// *waitError where it is.
func (t *transaction) replan(ctx context.Context) error {
	if !t.items[0].plan.Activate.Spends {
		return nil
	}
	t.seen.forget(t.items[0].target.Unit)
	for _, it := range t.items {
		now := *it
		if err := t.ask(ctx, &now); err != nil {
			return err
		}
		it.plan.Activate = now.plan.Activate
	}
	for _, it := range t.items { // of those that share a service, one may not restart it
		if a := it.plan.Activate; a.Way == deployers.NoWay {
			return waitFor(a)
		}
	}
	return nil
}

// waitFor is the wait of an activation that is none.
func waitFor(a deployers.Activation) *waitError {
	return &waitError{reason: string(a.Wait), detail: a.Why, cure: a.Remedy}
}

// gap is the least time between two activations. systemd starts a unit no more
// than so often, and leaves it stopped where a restart is one too many (systemd.unit(5),
// StartLimitIntervalSec=). How many were counted it does not tell, so certlatch
// spreads its own, that of an undo and of further tries, over the interval.
func (t *transaction) gap(ctx context.Context) (time.Duration, error) {
	a := t.items[0].plan.Activate
	if a.Way != deployers.RestartUnit {
		return a.Gap, nil
	}
	unit, err := t.unit(ctx, a.Unit)
	if err != nil || unit.StartLimitBurst == 0 {
		return a.Gap, err
	}
	return max(a.Gap, unit.StartLimitInterval/time.Duration(unit.StartLimitBurst)), nil
}

// keepGap waits until the service may be activated again, unless the run is over
// by then.
func (t *transaction) keepGap(ctx context.Context) error {
	gap, err := t.gap(ctx)
	if gap == 0 || err != nil {
		return err
	}
	pause := t.state.Pause(t.items[0].activationKey(), gap, time.Now())
	if deadline, ok := ctx.Deadline(); ok && pause > time.Until(deadline) {
		return context.DeadlineExceeded
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// noteActivation notes that the service is activated now, where that matters for
// the next time.
func (t *transaction) noteActivation(ctx context.Context) error {
	gap, err := t.gap(ctx)
	if gap == 0 || err != nil {
		return err
	}
	t.state.NoteActivation(t.items[0].activationKey(), time.Now())
	t.saveOrSay()
	return nil
}

// call makes the activation's call at the first channel that can be reached.
// Only the reply of success counts.
func call(ctx context.Context, a deployers.Activation) error {
	var unreachable []string
	for _, query := range a.Calls {
		answer := control.Call(ctx, query)
		switch {
		case answer.Fault != "":
			return &faultError{query, answer.Fault, a}
		case answer.Err != "" && !answer.Sent:
			unreachable = append(unreachable, answer.Err)
		case answer.Err != "" || answer.Reply != a.Success:
			return &answerError{query, answer}
		default:
			return nil
		}
	}
	return &unreachableError{unreachable}
}

// expected asks whether the service says of itself what it should, for each of
// the items.
func (t *transaction) expected(ctx context.Context) error {
	answers := map[deployers.Query]deployers.Answer{}
	for _, it := range t.items {
		for _, expect := range it.plan.Activate.After {
			answer, asked := answers[expect.Query]
			if !asked {
				answer = control.Call(ctx, expect.Query)
				answers[expect.Query] = answer
			}
			holds := strings.Contains(answer.Reply, expect.Contains)
			switch {
			case expect.Warn:
				t.warn(it, expect, !holds)
			case !holds:
				return &expectError{expect, answer}
			}
		}
	}
	return nil
}

// warn tells what an activation has done beside its target, or takes it back
// where the next one has mended it.
func (t *transaction) warn(it *item, expect deployers.Expect, happened bool) {
	finding := lineage.Finding{Code: expect.Reason, Severity: lineage.Warned, Detail: expect.Says, Remedy: expect.Remedy}
	it.out.Findings = slices.DeleteFunc(it.out.Findings, func(f lineage.Finding) bool { return f == finding })
	if happened {
		it.out.Findings = append(it.out.Findings, finding)
		t.Log.Warn(finding.Detail, "target", it.target.Name, "lineage", it.lineage.Name, "reason", finding.Code, "remedy", finding.Remedy)
	}
}

// servedAlready tells whether no content was written and every probe saw the
// new leaf at the baseline.
func (t *transaction) servedAlready() bool {
	if t.req.Force || t.silent() && t.items[0].plan.Activate.Twice {
		return false
	}
	for _, it := range t.items {
		seen := func(o probe.Observation) bool { return shows(o, it.leaf.Fingerprint) }
		if !it.sameContent() || len(it.baseline) == 0 || slices.ContainsFunc(it.baseline, func(o probe.Observation) bool { return !seen(o) }) {
			return false
		}
	}
	return true
}

// spareOthers puts an activation off that would end what the service serves
// besides: its own test says that it could not be loaded again.
func (it *item) spareOthers(ctx context.Context) error {
	failed, _ := it.tested.(failures)
	for _, other := range it.plan.Test.Others {
		about, err := failed.about(other)
		if err != nil {
			return err
		}
		if about != nil && serves(ctx, other) {
			return &waitError{reason: otherHostReason, detail: fmt.Sprintf(
				"%s is served now and could not be loaded again (%v); to %s would take its TLS away", other.Name, about, it.plan.Activate)}
		}
	}
	return nil
}

// serves tells whether one handshake shows a leaf.
func serves(ctx context.Context, other deployers.Other) bool {
	return slices.ContainsFunc(observe(ctx, other.Probes), func(o probe.Observation) bool { return o.Leaf() != nil })
}
