package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/owntest"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/systemd"
)

// This file makes services take what was committed.

// activate makes the service take the new pairs, once for all members.
func (r *run) activate(ctx context.Context, a attempt) (attempt, error) {
	how := a.activation()
	var err error
	switch {
	case how.Wait == deployers.NothingToDo:
		return a, r.renewCopies(ctx, a)
	case r.servedAlready(a):
		return a, nil // somebody reloaded the service since the files were installed
	case how.Way == deployers.NoWay && how.Spends: // it may have been restarted since this was planned
		if a, err = r.replan(ctx, a); err != nil {
			return a, err
		}
	case how.Way == deployers.NoWay: // its next start takes them
		if err := r.renewCopies(ctx, a); err != nil {
			return a, err
		}
		return a, outcome.WaitFor(how)
	}
	if err := r.mayActivate(ctx, a); err != nil {
		return a, err
	}
	if how := a.activation(); how.Restarts() && a.isSpent() {
		spent := a.members[0].prepared.known.Pending
		return a, &outcome.WaitError{Reason: outcome.Reason(spent.Reason), Detail: "the service was restarted for this certificate already: " + spent.Detail}
	}
	a, err = r.act(ctx, a)
	if wait, is := errors.AsType[*outcome.WaitError](err); is {
		return a, wait
	}
	if isInactive(err) {
		return a, &outcome.WaitError{Reason: outcome.Reason(deployers.ServiceInactive), Detail: err.Error()}
	}
	if err == nil {
		return a, nil
	}
	a, now, crash := r.died(ctx, a, err)
	switch {
	case crash != nil && a.activated:
		a, err = r.proof(ctx, a, attempt.wanted)
		return a, &outcome.CrashedError{What: crash.Error(), Proven: err == nil && !a.isUnreached()}
	case now == another:
		return a, nil // it has taken what is installed, as the proof will show
	case now == between:
		return a, a.restarting()
	}
	return a, err
}

// servedAlready reports whether no content was written and every probe saw the
// new leaf at the baseline.
func (r *run) servedAlready(a attempt) bool {
	if r.req.Force || a.unanswered() && a.activation().Twice {
		return false
	}
	return !slices.ContainsFunc(a.members, func(m member) bool {
		other := func(o probe.Observation) bool { return !prepare.Shows(o, m.prepared.leaf.Fingerprint) }
		return !m.prepared.pair.SameContent() || len(m.counting) == 0 || slices.ContainsFunc(m.counting, other)
	})
}

// mayActivate fails with an *outcome.WaitError outside of a member's window, and
// where an activation would end what the service serves besides: its own test
// says that it could not be loaded again, or its row does.
func (r *run) mayActivate(ctx context.Context, a attempt) error {
	for _, m := range a.members {
		t := m.prepared.job.target
		w := t.Window
		if w == nil || w.Contains(time.Now()) {
			continue
		}
		if !r.req.Now {
			return &outcome.WaitError{Reason: outcome.OutsideWindow, Detail: "it is activated between " + w.String()}
		}
		r.site.Log.Warn("activated outside of its window, so clients may notice", "target", t.Name, "window", w.String(), "activation", m.activate.String())
	}
	for _, m := range a.members {
		other, about, err := owntest.Endangered(ctx, m.prepared.plan.Test, m.tested, m.serves(r.prep))
		if err != nil {
			return err
		}
		if other != nil {
			return outcome.EndangersError(other.Name, about, m.activate)
		}
	}
	return r.endangers(ctx, a)
}

// endangers fails with an *outcome.WaitError where an activation would end what the
// service has in memory besides.
func (r *run) endangers(ctx context.Context, a attempt) error {
	besides := r.prep.Besides(r.site.World)
	for _, m := range a.members {
		_, wait, err := besides.Endangered(ctx, m.prepared.plan.Beside, m.activate)
		if err != nil {
			return err
		}
		if wait != nil {
			return wait
		}
	}
	return nil
}

// mayRestart fails where a restart would not be survived, as far as that can be
// known: by the test of what the service reads when it starts, which must have passed
// at the baseline too.
func (r *run) mayRestart(ctx context.Context, a attempt) error {
	if a.activation().Way != deployers.RestartUnit {
		return nil
	}
	tests := owntest.NewRunner(r.site.World.Programs)
	for _, m := range a.members {
		test := m.prepared.plan.Test
		if !test.Start {
			continue
		}
		failed := m.testedBefore
		if now := tests.Run(ctx, test); now != nil {
			failed = now
		}
		if failed != nil {
			return &outcome.TestError{Program: test.Command[0], Err: failed, Before: m.testedBefore != nil, Start: true}
		}
	}
	return r.endangers(ctx, a)
}

// serves returns a function that reports whether one handshake with the member's
// service shows a leaf of something else.
func (m member) serves(prep *prepare.Preparer) func(context.Context, deployers.Other) bool {
	return func(ctx context.Context, other deployers.Other) bool { return prep.Serves(ctx, m.prepared.plan, other) }
}

// isInactive reports whether a job failed because its unit had stopped
// meanwhile: systemd then calls the job invalid.
func isInactive(err error) bool {
	job, is := errors.AsType[*systemd.JobError](err)
	return is && job.Result == "invalid"
}

// Where one process of a service dies of a call, the others take a moment to
// follow, and systemd one to notice.
const (
	dying     = 3 * time.Second
	dyingTick = 50 * time.Millisecond
)

// died returns what became of the service in a failed activation. One that took a
// call and did not answer is watched for a while.
func (r *run) died(ctx context.Context, a attempt, failed error) (attempt, life, error) {
	a, now, crash := r.life(ctx, a)
	for end := time.Now().Add(dying); crash == nil && now == same && unanswered(failed) && time.Now().Before(end); {
		time.Sleep(dyingTick)
		a, now, crash = r.life(ctx, a)
	}
	return a, now, crash
}

// unanswered reports whether a service that had been reached gave no answer.
func unanswered(err error) bool {
	if call, is := errors.AsType[*outcome.AnswerError](err); is && call.Answer.Err != "" {
		return true
	}
	after, is := errors.AsType[*outcome.ExpectError](err)
	return is && after.Answer.Err != ""
}

// act is the activation itself, within its limit and not too soon after the
// last one. It fails with an *outcome.WaitError where the service cannot bear one
// now.
func (r *run) act(ctx context.Context, a attempt) (attempt, error) {
	if err := r.waitMinInterval(ctx, a); err != nil {
		return a, err
	}
	defer r.prep.ForgetUnit(a.unit())
	a, err := r.replan(ctx, a)
	if err != nil {
		return a, err
	}
	if err := r.waitMinInterval(ctx, a); err != nil { // of a restart in place of a reload
		return a, err
	}
	if err := r.mayRestart(ctx, a); err != nil {
		return a, err
	}
	if err := r.noteActivation(ctx, a); err != nil {
		return a, err
	}
	a.activated, a.before = true, r.predecessors(a)
	ctx, cancel := context.WithTimeout(ctx, r.req.Limits.Activation)
	defer cancel()
	err = r.renewCopies(ctx, a)
	if err == nil {
		err = r.tellService(ctx, a)
	}
	if err != nil {
		a.before = predecessors{} // it is not known whether anybody follows them
		return a, err
	}
	if a.activation().Way != deployers.CallControl {
		return a, nil
	}
	return r.askAfterwards(ctx, a)
}

// renewCopies lets what the service keeps as copies of the members' files be renewed.
func (r *run) renewCopies(ctx context.Context, a attempt) error {
	done := map[string]bool{}
	for _, m := range a.members {
		for _, argv := range m.activate.Copies {
			key := strings.Join(argv, "\x00")
			if done[key] {
				continue
			}
			done[key] = true
			if _, err := r.site.World.Programs.Run(ctx, argv); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepsCopies reports whether the service keeps copies of a member's files.
func (a attempt) keepsCopies() bool {
	return slices.ContainsFunc(a.members, func(m member) bool { return len(m.activate.Copies) > 0 })
}

// tellService makes the activation itself: a job, a command, a signal or a call.
func (r *run) tellService(ctx context.Context, a attempt) error {
	switch how := a.activation(); how.Way {
	case deployers.ReloadUnit:
		return r.prep.Units.Reload(ctx, how.Unit)
	case deployers.RestartUnit:
		return r.prep.Units.Restart(ctx, how.Unit)
	case deployers.RunCommand:
		_, err := r.site.World.Programs.Run(ctx, how.Command)
		return err
	case deployers.SignalPID:
		return r.site.World.Processes.Signal(how.PID, a.running.started, how.Signal)
	case deployers.CallControl:
		return r.call(ctx, how)
	default:
		return fmt.Errorf("no way to activate by %q", how.Way)
	}
}

// replan asks again how the service is activated, where the last activation or
// anything else may have left it unable to bear another. It fails with an
// *outcome.WaitError where it is.
func (r *run) replan(ctx context.Context, a attempt) (attempt, error) {
	if !a.activation().Spends {
		return a, nil
	}
	r.prep.ForgetUnit(a.unit())
	var failed error
	a = a.each(func(m member) member {
		if failed != nil {
			return m
		}
		var plan deployers.Plan
		if plan, failed = r.plan(ctx, m.prepared.job, m.prepared.bundle); failed == nil {
			m.activate = plan.Activate
		}
		return m
	})
	if failed != nil {
		return a, failed
	}
	for _, m := range a.members { // of those that share a service, one may not restart it
		if m.activate.Way == deployers.NoWay {
			return a, outcome.WaitFor(m.activate)
		}
	}
	return a, nil
}

// minInterval returns the least time between two activations. systemd starts a unit
// no more than so often, and leaves it stopped where a restart is one too many
// (systemd.unit(5), StartLimitIntervalSec=). How many were counted it does not
// tell, so certlatch spreads its own, that of an undo and of further tries, over
// the interval.
func (r *run) minInterval(ctx context.Context, a attempt) (time.Duration, error) {
	how := a.activation()
	if how.Way != deployers.RestartUnit {
		return how.Gap, nil
	}
	unit, err := r.prep.Facts.Unit(ctx, how.Unit)
	if err != nil || unit.StartLimitBurst == 0 {
		return how.Gap, err
	}
	return max(how.Gap, unit.StartLimitInterval/time.Duration(unit.StartLimitBurst)), nil
}

// waitMinInterval waits until the service may be activated again, unless the run
// is over by then.
func (r *run) waitMinInterval(ctx context.Context, a attempt) error {
	interval, err := r.minInterval(ctx, a)
	if interval == 0 || err != nil {
		return err
	}
	pause := r.memory.pause(a.service(), interval, time.Now())
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
func (r *run) noteActivation(ctx context.Context, a attempt) error {
	interval, err := r.minInterval(ctx, a)
	if interval == 0 || err != nil {
		return err
	}
	r.memory.noteActivation(a.service(), time.Now())
	return nil
}

// call makes an activation's call at the first channel that can be reached. Only
// the reply of success counts.
func (r *run) call(ctx context.Context, how deployers.Activation) error {
	var unreachable []string
	for _, query := range how.Calls {
		answer := r.site.World.Channels.Call(ctx, query)
		switch {
		case answer.Fault != "":
			return &outcome.FaultError{Query: query, Text: answer.Fault, Activation: how}
		case answer.Err != "" && !answer.Sent:
			unreachable = append(unreachable, answer.Err)
		case answer.Err != "" || answer.Reply != how.Success:
			return &outcome.AnswerError{Query: query, Answer: answer}
		default:
			return nil
		}
	}
	return &outcome.UnreachableError{Errs: unreachable}
}

// askAfterwards asks whether the service says of itself what it should, for each
// of the members.
func (r *run) askAfterwards(ctx context.Context, a attempt) (attempt, error) {
	answers := map[deployers.Query]deployers.Answer{}
	var failed error
	a = a.each(func(m member) member {
		for _, expect := range m.activate.After {
			if failed != nil {
				return m
			}
			answer, asked := answers[expect.Query]
			if !asked {
				answer = r.site.World.Channels.Call(ctx, expect.Query)
				answers[expect.Query] = answer
			}
			holds := strings.Contains(answer.Reply, expect.Contains)
			switch {
			case expect.Warn:
				m = r.warnUnless(m, expect, holds)
			case !holds:
				failed = &outcome.ExpectError{Expect: expect, Answer: answer}
			}
		}
		return m
	})
	return a, failed
}

// askRestarted is askAfterwards for a service that was restarted. One that does not answer
// within a moment is not known to lack anything.
func (r *run) askRestarted(ctx context.Context, a attempt) (attempt, error) {
	after := a.members[0].activate.After
	if !a.activated || a.activation().Way != deployers.RestartUnit || len(after) == 0 {
		return a, nil
	}
	for end := time.Now().Add(dying); ; time.Sleep(dyingTick) {
		switch answer := r.site.World.Channels.Call(ctx, after[0].Query); {
		case answer.Err == "":
			return r.askAfterwards(ctx, a)
		case answer.Sent || ctx.Err() != nil || time.Now().After(end):
			return a, nil
		}
	}
}

// warnUnless says what an activation has done beside its target, or takes it back
// where the next one has mended it.
func (r *run) warnUnless(m member, expect deployers.Expect, holds bool) member {
	finding := lineage.Finding{Code: expect.Reason, Severity: lineage.Warned, Detail: expect.Says, Remedy: expect.Remedy}
	m.findings = slices.DeleteFunc(slices.Clone(m.findings), func(f lineage.Finding) bool { return f == finding })
	if holds {
		return m
	}
	return r.warn(m, finding)
}

// mayHaveWorked reports whether a step that failed may have made the service
// take the new files all the same. A reload job that failed or was not accepted
// says that it did not, and a program that did not start did nothing; a wait
// that was given up says nothing.
func mayHaveWorked(step outcome.Step, err error) bool {
	if step != outcome.Activate {
		return true
	}
	if fault, is := errors.AsType[*outcome.FaultError](err); is {
		return !fault.Activation.FaultKeepsOld
	}
	if job, is := errors.AsType[*systemd.JobError](err); is {
		return job.TimedOut()
	}
	return !notTold(err)
}

// notTold reports whether a service was not told anything: a job that was not
// accepted, a program that did not start, a channel that was not there.
func notTold(err error) bool {
	return wraps[*systemd.RefusedError](err) || wraps[*command.NotStartedError](err) || wraps[*outcome.UnreachableError](err)
}

func wraps[E error](err error) bool {
	_, is := errors.AsType[E](err)
	return is
}
