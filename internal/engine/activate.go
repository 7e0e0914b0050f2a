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
	case a.Way == deployers.NoWay:
		return &waitError{reason: string(a.Wait), detail: a.Why}
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
	t.activated = true
	err := t.act(ctx, a)
	if isInactive(err) {
		return &waitError{reason: string(deployers.ServiceInactive), detail: err.Error()}
	}
	if err != nil {
		if crash := t.died(ctx, err); crash != nil {
			return &crashedError{what: crash.Error(), proven: t.proof(ctx, t.wanted()) == nil}
		}
	}
	return err
}

// Where one process of a service dies of a call, the others take a moment to
// follow, and systemd one to notice.
const (
	dying     = 3 * time.Second
	dyingTick = 50 * time.Millisecond
)

// died tells whether the service is another than before a failed activation. One
// that took a call and did not answer is watched for a while.
func (t *transaction) died(ctx context.Context, failed error) error {
	crash := t.sameProcess(ctx)
	for end := time.Now().Add(dying); crash == nil && unanswered(failed) && time.Now().Before(end); {
		time.Sleep(dyingTick)
		crash = t.sameProcess(ctx)
	}
	return crash
}

// act is the activation itself, within its limit and not too soon after the
// last one.
func (t *transaction) act(ctx context.Context, a deployers.Activation) error {
	if err := t.keepGap(ctx, a); err != nil {
		return err
	}
	defer t.seen.forget(t.items[0].target.Unit)
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
	case <-time.After(t.state.Pause(key, a.Gap, time.Now())):
	}
	t.state.NoteActivation(key, time.Now())
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
