package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/beside"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// prepared is a job of which all is known that can be known before anything is
// touched.
type prepared struct {
	job   job
	known state.Record // what is remembered of it

	bundle     *lineage.Bundle
	leaf       lineage.Leaf
	generation string // under which the bundle is kept for a rollback
	plan       deployers.Plan
	pair       pairs.Pair
	looked     bool // the pair was compared with what is installed
	first      bool // there is no pair to go back to that was ever whole or proven
	spent      bool // the service was restarted for the leaf already, in vain, and nobody wants that again

	findings []lineage.Finding
	notes    []string
	steps    []outcome.StepTaken
}

// about returns what an outcome says of the job, whatever becomes of it.
func (p prepared) about() outcome.About {
	about := p.job.about()
	about.Plan, about.Generation, about.Findings, about.Notes, about.Steps = p.plan, p.generation, p.findings, p.notes, p.steps
	if p.bundle != nil {
		about.New = &p.leaf
	}
	if previous := p.previous(); previous != nil {
		about.Previous = previous
	}
	return about
}

// previous describes the leaf that is installed; nil: none is known.
func (p prepared) previous() *lineage.Leaf {
	if !p.looked || p.pair.Leaf() == nil {
		return nil
	}
	leaf := lineage.Describe(p.pair.Leaf())
	return &leaf
}

// provenGeneration returns the generation that was proven last; empty: none was.
func (p prepared) provenGeneration() string {
	if p.known.Proven == nil {
		return ""
	}
	return p.known.Proven.Generation
}

// end returns the job as it ends before it is tried.
func (p prepared) end(ending outcome.Ending) *ended {
	return &ended{job: p.job, outcome: outcome.Of(p.about(), ending), fingerprint: p.leaf.Fingerprint}
}

// prepareAll prepares jobs of one unit side by side, and returns those for which there is
// something to do, and how the others ended. Those that may need nothing are looked
// at all at once.
func (r *run) prepareAll(ctx context.Context, jobs []job) (ready []prepared, early []ended) {
	ends := beside.Each(r.beside, jobs, r.endsAtOnce)
	var open []prepare.Assignment
	var going []job
	for i, end := range ends {
		if end != nil {
			early = append(early, *end)
			continue
		}
		open, going = append(open, jobs[i].assignment()), append(going, jobs[i])
	}
	r.prep.Gather(ctx, r.beside, open, true, r.memory.lastActivation)
	type result struct {
		as  prepared
		end *ended // nil: it goes on
	}
	all := beside.Each(r.beside, going, func(j job) result {
		p, end := r.prepare(ctx, j)
		return result{p, end}
	})
	var looks []prepare.Look
	for _, job := range all {
		if job.end == nil && r.isLookedAt(job.as) {
			looks = append(looks, prepare.LookFor(job.as.plan, job.as.plan.Probes))
		}
	}
	observed := r.prep.Look(ctx, looks, func() {})
	for _, job := range all {
		p, end := job.as, job.end
		if end == nil && r.isLookedAt(p) {
			end = r.endAsSeen(p, observed[0])
			observed = observed[1:]
		}
		if end != nil {
			early = append(early, *end)
		} else {
			ready = append(ready, p)
		}
	}
	return ready, early
}

// isLookedAt reports whether what is served may tell that nothing is to be done for a
// job now.
func (r *run) isLookedAt(p prepared) bool { return r.settled(p) || r.wasUnreached(p) }

// wasUnreached reports whether a job was done but for its proof, as its service listens
// where it could not be reached from here.
func (r *run) wasUnreached(p prepared) bool {
	pending := p.known.Pending
	return pending != nil && slices.Contains([]outcome.Reason{outcome.AddressNotHere, outcome.NetworkApart}, outcome.Reason(pending.Reason)) && pending.Fingerprint == p.leaf.Fingerprint &&
		!r.req.Force && !p.job.byName() && p.pair.Same()
}

// endAsSeen returns how a job ends, given what its probes saw; nil: it goes on.
func (r *run) endAsSeen(p prepared, observed []probe.Observation) *ended {
	seen, served := p.served(observed)
	unreached := prepare.Unreached(p.plan, observed)
	nowhere := p.plan.Found && len(seen.counting) == 0 && unreached != nil
	switch {
	case r.settled(p) && served:
		return r.unchanged(p, seen)
	case r.settled(p) && nowhere:
		end := r.unchanged(p, seen)
		end.outcome = end.outcome.Noting(unreached.Error() + ", and nothing else can be looked at")
		return end
	case r.wasUnreached(p) && nowhere:
		end := p.end(outcome.Waits{For: unreached})
		end.again = true
		return end
	}
	return nil
}

// prepare takes a job as far as it goes without touching anything, nor looking at
// what is served. Where there is nothing more to do, it returns how the job ends.
func (r *run) prepare(ctx context.Context, j job) (prepared, *ended) {
	began := time.Now()
	p, err := r.validate(ctx, j)
	p.steps = r.log(p.job, nil, outcome.StepTaken{Step: outcome.Validate, OK: err == nil, Took: time.Since(began)})
	if err != nil && interrupted(ctx) {
		err = &outcome.InterruptedError{Err: err}
	}
	if err != nil {
		return p, p.end(outcome.Failure{At: outcome.Validate, Err: err})
	}
	if r.settled(p) && (!r.req.Look || j.target.ProveNothing) {
		return p, r.unchanged(p, sight{})
	}
	return p, nil
}

// settled reports whether a job needs nothing, as long as its leaf is served.
func (r *run) settled(p prepared) bool {
	return !r.req.Force && !p.job.byName() && p.pair.Same() && p.provenBefore()
}

// unchanged returns how a job ends that needs nothing, given what its probes saw.
func (r *run) unchanged(p prepared, seen sight) *ended {
	p.generation = p.known.Proven.Generation
	end := p.end(outcome.NothingToDo{})
	end.proof = p.stillProven(seen)
	if p.plan.Activate.Left == nil { // else another may have its service activated yet
		end.seen = r.seen(p, prepare.Endpoints(seen.counting), seen.silent)
	}
	return end
}

// endsAtOnce returns how a job ends of which nothing need be read but files; nil:
// it does not.
func (r *run) endsAtOnce(j job) *ended {
	if j.fault != nil {
		var proven *lineage.Leaf
		if known := r.memory.get(j.ref()).Proven; known != nil {
			proven = &known.Leaf
		}
		fault := r.prep.Explained(r.site.Config, j.assignment(), proven)
		return &ended{job: j, outcome: outcome.Of(j.about(), outcome.Failure{At: outcome.Validate, Err: fault})}
	}
	if err := r.stuck[j.ref()]; err != nil {
		return &ended{job: j, outcome: outcome.Of(j.about(), outcome.Failure{At: outcome.Commit, Err: err})}
	}
	if end := r.held(j); end != nil {
		return end
	}
	if end := r.handledByOtherRun(j); end != nil {
		return end
	}
	if end := r.restartedInVain(j); end != nil {
		return end
	}
	if r.req.Look || r.req.Force || j.byName() {
		return nil
	}
	return r.unchangedOnDisk(j)
}

// restartedInVain returns how a job ends for whose leaf the service was restarted
// already, and the previous pair put back: as it did then. nil: it was not, or
// somebody wants it again.
func (r *run) restartedInVain(j job) *ended {
	if !r.isSpent(j) {
		return nil
	}
	failure := r.memory.get(j.ref()).Pending.Failure
	if result := outcome.Result(failure.Result); result == outcome.Deferred || result == outcome.WaitingRestart {
		return nil // it may be served by now
	}
	return &ended{job: j, outcome: outcome.Of(j.about(), outcome.ByAnother{Failure: failure}), recorded: true}
}

// isSpent reports whether a job's service was restarted for its leaf already, which
// was not proven, and nobody wants that again.
func (r *run) isSpent(j job) bool {
	p := r.memory.get(j.ref()).Pending
	return p != nil && p.Once && !r.req.byHand() && !j.byName() && p.Fingerprint == r.prep.Fingerprint(j.lineage)
}

// validate reads the bundle, makes the plan, looks at what is installed, and
// judges the bundle by the target's policy. Where it fails, what it returns goes
// as far as it came.
func (r *run) validate(ctx context.Context, j job) (prepared, error) {
	p := prepared{job: j, known: r.memory.get(j.ref()), generation: j.generation, spent: r.isSpent(j)}
	p.bundle, p.findings = r.prep.Bundle(j.lineage)
	if p.bundle == nil {
		return p, &outcome.RefusedError{Findings: p.findings}
	}
	p.leaf = lineage.Describe(p.bundle.Leaf)
	var failed error
	p.plan, failed = r.plan(ctx, j, p.bundle)
	p.notes = p.plan.Notes()
	if failed != nil && !prepare.HasNoTLS(failed) {
		return p, failed
	}
	if a := p.plan.Activate; a.Why != "" && a.Way != deployers.NoWay {
		p.notes = append(p.notes, a.Why)
	}
	var err error
	if p.plan.Probes, err = prepare.NameProbes(p.plan.Probes, p.bundle.Leaf); err != nil {
		return p, err
	}
	if p.generation == "" {
		p.generation = r.generationOf(j.ref(), p.leaf, r.began)
	}
	p.pair, err = r.storage.Look(ctx, pairs.At(j.target.Target, j.lineage.Name, p.plan), p.bundle, state.NewGeneration(time.Now(), p.leaf))
	if err != nil {
		return p, err
	}
	if note := p.changedByOthers(); note != "" {
		p.notes = append(p.notes, note)
	}
	p.looked, p.first = true, prepare.NothingBefore(p.pair, p.known)
	if p.plan, failed = prepare.FilesFirst(p.plan, failed, p.pair, p.known); failed != nil {
		return p, failed
	}
	for _, made := range p.pair.Missing() {
		p.notes = append(p.notes, made.String())
	}
	judged := prepare.CaseOf(j.target, p.bundle, p.findings, p.plan, p.pair.Chain())
	judged.Force, judged.ByName, judged.Kept = r.req.Force, j.byName(), r.site.Config
	if p.findings, err = r.prep.Judge(ctx, judged); err != nil {
		return p, err
	}
	if policy.Refused(p.findings) {
		return p, &outcome.RefusedError{Findings: p.findings}
	}
	return p, nil
}

// plan asks what is to be done for a job, as of now.
func (r *run) plan(ctx context.Context, j job, bundle *lineage.Bundle) (deployers.Plan, error) {
	return r.prep.Plan(ctx, j.assignment(), bundle, r.memory.lastActivation(j.target))
}

// generationOf returns the generation of a leaf: the kept one, or a new one as
// of a time.
func (r *run) generationOf(ref install.Ref, leaf lineage.Leaf, since time.Time) string {
	kept, err := r.site.Store.Generations(ref.Target, ref.Lineage)
	if err == nil {
		for _, g := range slices.Backward(kept) {
			if strings.HasSuffix(g, "-"+leaf.Short()) {
				return g
			}
		}
	}
	return state.NewGeneration(since, leaf, kept...)
}

// changedByOthers says that somebody has put another pair in place of the one that was
// proven last; empty: nobody is known to have.
func (p prepared) changedByOthers() string {
	leaf := p.pair.Leaf()
	if leaf == nil || !p.pair.Place.IsChanged(lineage.Fingerprint(leaf), p.known) {
		return ""
	}
	return fmt.Sprintf("somebody else has installed %s there since %s was proven; certlatch doctor names who is known to write there", lineage.Describe(leaf).Short(), p.known.Proven.Leaf.Short())
}

// provenBefore reports whether the last proof at the target was of this leaf.
func (p prepared) provenBefore() bool {
	return p.known.Proven != nil && p.known.Proven.Leaf.Fingerprint == p.leaf.Fingerprint
}

// sight is what the probes of a job saw: those that count, and of found ones
// those that completed no handshake.
type sight struct{ counting, silent []probe.Observation }

// served reports whether every probe that counts saw the new leaf, given what all
// of them saw.
func (p prepared) served(observed []probe.Observation) (sight, bool) {
	seen := sight{counting: observed}
	if p.plan.Found {
		seen = answering(seen.counting)
	}
	other := func(o probe.Observation) bool { return !prepare.Shows(o, p.leaf.Fingerprint) }
	return seen, len(seen.counting) > 0 && !slices.ContainsFunc(seen.counting, other)
}

// answering divides what found probes saw.
func answering(observed []probe.Observation) (seen sight) {
	for _, o := range observed {
		if o.Leaf() != nil {
			seen.counting = append(seen.counting, o)
		} else {
			seen.silent = append(seen.silent, o)
		}
	}
	return seen
}
