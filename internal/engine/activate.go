package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/control"
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
	case a.Way == deployers.NoWay:
		return &waitError{reason: string(a.Wait), detail: a.Why}
	}
	for _, it := range t.items {
		if w := it.target.Window; w != nil && !w.Contains(time.Now()) {
			return &waitError{reason: outsideWindowReason, detail: "it is activated between " + w.String()}
		}
	}
	t.activated = true
	err := t.act(ctx, a)
	if isInactive(err) {
		return &waitError{reason: string(deployers.ServiceInactive), detail: err.Error()}
	}
	if err != nil {
		if crash := t.sameProcess(ctx); crash != nil {
			return &crashedError{what: crash.Error(), proven: t.proof(ctx, t.wanted()) == nil}
		}
	}
	return err
}

// act is the activation itself, within its limit and not too soon after the
// last one.
func (t *transaction) act(ctx context.Context, a deployers.Activation) error {
	if err := t.keepGap(ctx, a); err != nil {
		return err
	}
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
		return call(ctx, a)
	}
	return fmt.Errorf("no way to activate by %q", a.Way)
}

// keepGap waits until the service may be activated again, and notes that it
// is.
func (t *transaction) keepGap(ctx context.Context, a deployers.Activation) error {
	if a.Gap == 0 {
		return nil
	}
	key := t.items[0].activationKey()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(t.state.Activated(key).Add(a.Gap))):
	}
	t.state.NoteActivation(key, time.Now())
	return t.save()
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
			return expected(ctx, a.After)
		}
	}
	return &unreachableError{unreachable}
}

// expected asks whether the service says of itself what it should.
func expected(ctx context.Context, after []deployers.Expect) error {
	for _, expect := range after {
		if answer := control.Call(ctx, expect.Query); !strings.Contains(answer.Reply, expect.Contains) {
			return &expectError{expect, answer}
		}
	}
	return nil
}

// servedAlready tells whether no content was written and every probe saw the
// new leaf at the baseline.
func (t *transaction) servedAlready() bool {
	if t.req.Force {
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
