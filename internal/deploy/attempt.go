package deploy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
)

// attempt is prepared jobs that share an activation, on their way from the
// baseline to the proof, or back. Each step makes another of it.
type attempt struct {
	members   []member
	early     []ended      // jobs that nothing can prove
	staged    pairs.Staged // nil: nothing is to be written
	running   identity     // who ran before the activation
	before    predecessors // of those who serve what the last activation brought; none where it failed
	activated bool         // the service was told, with whatever success
}

// member is one job of an attempt.
type member struct {
	prepared prepared
	activate deployers.Activation // as planned last; alike for all members
	previous *x509.Certificate    // of the pair to go back to; nil: there is none

	counting []probe.Observation // what the probes that count saw before anything was touched
	silent   []probe.Observation // and the found ones that completed no handshake
	away     []probe.Observation // found ones that do not reach the service, now

	testedBefore error // what the service's own test said before anything was touched
	tested       error // what it says with the new files in place

	fault error              // what failed because of this job, as far as that can be told
	wait  *outcome.WaitError // why its files stay without being served yet

	findings []lineage.Finding // of the bundle, and of the way
	notes    []string
	steps    []outcome.StepTaken
}

func newAttempt(group []prepared) attempt {
	var a attempt
	for _, p := range group {
		a.members = append(a.members, member{prepared: p, activate: p.plan.Activate, previous: p.pair.Leaf(), findings: p.findings, steps: p.steps})
	}
	return a
}

// isSpent reports whether the service was restarted for all members already.
func (a attempt) isSpent() bool {
	return !slices.ContainsFunc(a.members, func(m member) bool { return !m.prepared.spent })
}

// restartedFor reports whether the service was restarted for a member, by this
// attempt, unless that failed before it was, or by an earlier one.
func (a attempt) restartedFor(m member, failed error) bool {
	return m.prepared.spent || a.activated && a.activation().Restarts() && !notTold(failed)
}

// each returns the attempt with its members changed.
func (a attempt) each(change func(member) member) attempt {
	members := make([]member, len(a.members))
	for i, m := range a.members {
		members[i] = change(m)
	}
	a.members = members
	return a
}

// first reports whether there is nothing to go back to for any of the members.
func (a attempt) first() bool {
	return !slices.ContainsFunc(a.members, func(m member) bool { return !m.prepared.first })
}

// fault returns the fault of the first member that has one.
func (a attempt) fault() error {
	for _, m := range a.members {
		if m.fault != nil {
			return m.fault
		}
	}
	return nil
}

// activation is how the service is activated.
func (a attempt) activation() deployers.Activation { return a.members[0].activate }

// service is the key under which activations of the service are remembered.
func (a attempt) service() string { return a.members[0].prepared.service() }

// unit is the service's unit; empty: none.
func (a attempt) unit() string { return a.members[0].prepared.job.target.Unit }

// probes returns those that count.
func (m member) probes() []endpoint.Endpoint { return prepare.Endpoints(m.counting) }

// end returns how a member ends.
func (m member) end(ending outcome.Ending) ended {
	about := m.prepared.about()
	about.Plan.Activate = m.activate
	about.Findings = m.findings
	about.Notes = slices.Concat(about.Notes, m.notes)
	about.Steps = m.steps
	return ended{
		job: m.prepared.job, outcome: outcome.Of(about, ending), fingerprint: m.prepared.leaf.Fingerprint, attributed: m.fault != nil,
	}
}

// leastWork is the time that must be left to begin an attempt.
const leastWork = 8 * time.Second

// try is the way of a deployment, step by step. It reports whether the service
// was activated.
func (r *run) try(ctx context.Context, group []prepared) (became []ended, activated bool) {
	a := newAttempt(group)
	for _, next := range []struct {
		step outcome.Step
		take func(context.Context, attempt) (attempt, error)
	}{
		{outcome.Baseline, r.baseline},
		{outcome.Stage, r.stage},
		{outcome.Commit, r.commit},
		{outcome.Test, r.test},
		{outcome.Activate, r.activate},
		{outcome.Prove, r.prove},
	} {
		var err error
		a, err = r.take(ctx, next.step, a, next.take)
		switch {
		case len(a.members) == 0:
			return a.early, false
		case err != nil:
			return append(a.early, r.finish(ctx, a, next.step, err)...), a.activated
		}
	}
	return append(a.early, r.keepOrUndo(ctx, a, outcome.Record, nil)...), a.activated
}

// take takes a step and notes how it went for each member.
func (r *run) take(ctx context.Context, step outcome.Step, a attempt, do func(context.Context, attempt) (attempt, error)) (attempt, error) {
	r.site.Tell("%s: %s", step, a.about())
	began := time.Now()
	var err error
	if interrupted(ctx) {
		err = ctx.Err()
	} else {
		a, err = do(ctx, a)
	}
	_, waits := errors.AsType[*outcome.WaitError](err)
	return r.took(a, outcome.StepTaken{Step: step, OK: err == nil || waits, Took: time.Since(began)}), err
}

// took returns the attempt with a step noted for each member.
func (r *run) took(a attempt, step outcome.StepTaken) attempt {
	return a.each(func(m member) member {
		m.steps = r.log(m.prepared.job, m.steps, step)
		return m
	})
}

// log logs a step of a job, and returns its steps with that one.
func (r *run) log(j job, steps []outcome.StepTaken, step outcome.StepTaken) []outcome.StepTaken {
	logStep(r.site, j, step)
	return append(slices.Clip(steps), step)
}

func logStep(site prepare.Site, j job, step outcome.StepTaken) {
	site.Log.Debug("step", "target", j.target.Name, "lineage", j.lineage.Name, "step", string(step.Step), "ok", step.OK, "took", step.Took)
}

// about names what an attempt is about, for somebody who watches.
func (a attempt) about() string {
	first := a.members[0].prepared.job
	name := first.target.Name + " " + first.lineage.Name
	if others := len(a.members) - 1; others > 0 {
		return fmt.Sprintf("%s and %d more", name, others)
	}
	return name
}
