package deploy

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/owntest"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// attempt is prepared jobs that share an activation, on their way from the
// baseline to the proof, or back. Each step makes another of it.
type attempt struct {
	members   []member
	early     []ended      // jobs that nothing can prove
	staged    pairs.Staged // nil: nothing is to be written
	running   identity     // who ran before the activation
	activated bool         // the service was told, with whatever success
}

// member is one job of an attempt.
type member struct {
	prepared prepared
	activate deployers.Activation // as planned last; alike for all members
	previous *x509.Certificate    // of the pair to go back to; nil: there is none

	counting []probe.Observation // what the probes that count saw before anything was touched
	silent   []probe.Observation // and the found ones that completed no handshake

	testedBefore error // what the service's own test said before anything was touched
	tested       error // what it says with the new files in place

	fault error              // what failed because of this job, as far as that can be told
	wait  *outcome.WaitError // why its files stay without being served yet

	findings []lineage.Finding // of the way
	notes    []string
	steps    []outcome.StepTaken
}

func newAttempt(group []prepared) attempt {
	var a attempt
	for _, p := range group {
		a.members = append(a.members, member{prepared: p, activate: p.plan.Activate, previous: p.pair.Leaf(), steps: p.steps})
	}
	return a
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
	about.Findings = slices.Concat(about.Findings, m.findings)
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
	a, err := do(ctx, a)
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

// baseline notes what the service's own test, its probes and its processes say
// before anything is touched. A member that nothing can prove ends here.
func (r *run) baseline(ctx context.Context, a attempt) (attempt, error) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < leastWork {
		return a, &outcome.OutOfTimeError{}
	}
	var err error
	if a.running, _, err = r.identify(ctx, a.activation()); err != nil {
		return a, err
	}
	tested := r.ownTests(ctx, a)
	seen := r.observeAll(ctx, a, func(m member) []endpoint.Endpoint { return m.prepared.plan.Probes })
	var going []member
	for i, m := range a.members {
		m.testedBefore, m.counting = tested[i], seen[i]
		if m.prepared.plan.Found {
			if m = r.chooseProbes(ctx, m); m.fault != nil {
				a.early = append(a.early, m.end(outcome.Failure{At: outcome.Baseline, Err: m.fault}))
				continue
			}
		}
		going = append(going, m)
	}
	a.members = going
	return a, nil
}

// observe makes one handshake at every endpoint.
func (r *run) observe(ctx context.Context, at []endpoint.Endpoint) []probe.Observation {
	if len(at) == 0 {
		return nil
	}
	return r.site.World.Network.Observe(ctx, at, func() {})
}

// observeAll makes one handshake at some endpoints of every member, all at once.
func (r *run) observeAll(ctx context.Context, a attempt, of func(member) []endpoint.Endpoint) [][]probe.Observation {
	var all []endpoint.Endpoint
	for _, m := range a.members {
		all = append(all, of(m)...)
	}
	observed := r.observe(ctx, all)
	var seen [][]probe.Observation
	for _, m := range a.members {
		n := len(of(m))
		seen = append(seen, observed[:n:n])
		observed = observed[n:]
	}
	return seen
}

// ownTests runs the services' own tests, each once, and returns what that of each
// member says.
func (r *run) ownTests(ctx context.Context, a attempt) []error {
	said := make([]error, len(a.members))
	results := map[string]error{}
	for i, m := range a.members {
		argv := m.prepared.plan.Test.Command
		if len(argv) == 0 {
			continue
		}
		test := strings.Join(argv, "\x00")
		err, ran := results[test]
		if !ran {
			err = owntest.Run(ctx, r.site.World.Programs, m.prepared.plan.Test)
			results[test] = err
		}
		said[i] = err
	}
	return said
}

// stage keeps the installed pairs as generations, makes the new ones ready, and
// tries whether the service will be able to read them.
func (r *run) stage(ctx context.Context, a attempt) (attempt, error) {
	var written []pairs.Pair
	a = a.each(func(m member) member {
		if !m.prepared.pair.Same() {
			m.fault = r.keepPrevious(m.prepared)
			written = append(written, m.prepared.pair)
		}
		return m
	})
	if err := a.fault(); err != nil {
		return a, err
	}
	if len(written) > 0 {
		staged, err := r.storage.Stage(ctx, written)
		if err != nil {
			return a.attribute(err), err
		}
		a.staged = staged
		a = r.noteNotCarried(a)
	}
	a = r.tryToRead(ctx, a)
	return a, a.fault()
}

// noteNotCarried says which attributes of the installed files the new ones have
// not got.
func (r *run) noteNotCarried(a attempt) attempt {
	dropped := map[install.Ref][]lineage.Finding{}
	for _, n := range a.staged.NotCarried() {
		ref := install.Ref{Target: n.Target, Lineage: n.Lineage}
		dropped[ref] = append(dropped[ref], outcome.NotCarriedFinding(n))
	}
	return a.each(func(m member) member {
		for _, finding := range dropped[m.prepared.job.ref()] {
			m = r.warn(m, finding)
		}
		return m
	})
}

// warn returns the member with a finding of the way.
func (r *run) warn(m member, finding lineage.Finding) member {
	m.findings = append(slices.Clip(m.findings), finding)
	r.site.Log.Warn(finding.Detail, "target", m.prepared.job.target.Name, "lineage", m.prepared.job.lineage.Name, "reason", finding.Code, "remedy", finding.Remedy)
	return m
}

// keepPrevious stores what is installed as a generation to go back to, where
// certlatch does not have it yet. A pair that somebody else could have put there
// is not kept, unless it is the one that was proven: it may be one that he may
// not read, and a rollback would give it the target's owner and mode.
func (r *run) keepPrevious(p prepared) error {
	ref := p.job.ref()
	previous, guarded := p.pair.Installed(p.job.lineage)
	if previous == nil {
		return nil // not a pair, so nothing to go back to by name; the undo copies hold it all the same
	}
	leaf := lineage.Describe(previous.Leaf)
	if proven := p.known.Proven; !guarded && (proven == nil || proven.Leaf.Fingerprint != leaf.Fingerprint) {
		r.site.Log.Warn("the installed pair is not kept for a rollback: another user could have put it there, and certlatch has not proven it",
			"target", ref.Target, "lineage", ref.Lineage, "leaf", leaf.Short())
		return nil
	}
	generation := r.generationOf(ref, leaf, r.began.Add(-time.Millisecond)) // it sorts before the new one
	return r.site.Store.Keep(ref.Target, ref.Lineage, generation, previous, p.generation)
}

// tryToRead tries to open the files as the services' own users: those of many
// members at once, since each trial is a process.
func (r *run) tryToRead(ctx context.Context, a attempt) attempt {
	faults := map[key]error{}
	byReader := map[string][]member{}
	for _, m := range a.members {
		if len(m.prepared.pair.Paths()) > 0 {
			reader := fmt.Sprintf("%q", m.prepared.plan.Reader)
			byReader[reader] = append(byReader[reader], m)
		}
	}
	for _, members := range byReader {
		credential, err := account.CredentialOf(members[0].prepared.plan.Reader)
		for some := range slices.Chunk(members, mostRead) {
			if err != nil {
				blameAll(faults, some, err)
				continue
			}
			r.tryToReadAs(ctx, credential, a.staged, some, faults)
		}
	}
	return a.each(func(m member) member {
		m.fault = cmp.Or(faults[m.prepared.job.key()], m.fault)
		return m
	})
}

// mostRead keeps the paths of one trial far below what an argument list may
// hold (execve(2), at least 128 KiB).
const mostRead = 100

// tryToReadAs tries the files of members as one user, and puts down to those that
// it cannot read that it cannot.
func (r *run) tryToReadAs(ctx context.Context, credential command.Credential, staged pairs.Staged, members []member, faults map[key]error) {
	for members = slices.Clone(members); len(members) > 0; {
		of := map[string]key{}
		var paths []string
		for _, m := range members {
			for _, path := range m.prepared.pair.Paths() {
				if staged != nil {
					path = staged.Path(path)
				}
				of[path], paths = m.prepared.job.key(), append(paths, path)
			}
		}
		err := r.site.World.Programs.CanRead(ctx, credential, paths)
		if err == nil {
			return
		}
		unreadable, is := errors.AsType[*command.UnreadableError](err)
		if !is || of[unreadable.Path] == (key{}) {
			blameAll(faults, members, err)
			return
		}
		culprit := of[unreadable.Path]
		faults[culprit] = err
		members = slices.DeleteFunc(members, func(m member) bool { return m.prepared.job.key() == culprit })
	}
}

func blameAll(faults map[key]error, members []member, err error) {
	for _, m := range members {
		faults[m.prepared.job.key()] = err
	}
}

// attribute puts a failure down to the members that it says it is of, or to those
// whose files its words name.
func (a attempt) attribute(err error) attempt {
	of := map[install.Ref]error{}
	if faults, is := errors.AsType[pairs.Faults](err); is {
		for _, f := range faults {
			of[f.Set] = f.Err
		}
	} else if one, is := errors.AsType[*install.SetError](err); is {
		of[one.Set] = err
	} else {
		for _, m := range a.members {
			if slices.ContainsFunc(m.prepared.pair.Paths(), func(path string) bool { return names(err.Error(), path) }) {
				of[m.prepared.job.ref()] = err
			}
		}
	}
	return a.each(func(m member) member {
		m.fault = cmp.Or(of[m.prepared.job.ref()], m.fault)
		return m
	})
}

// names reports whether a text names a path, and not one that goes on.
func names(text, path string) bool {
	for {
		at := strings.Index(text, path)
		if at < 0 {
			return false
		}
		text = text[at+len(path):]
		if text == "" || !strings.ContainsRune("-._/", rune(text[0])) && !isWord(text[0]) {
			return true
		}
	}
}

func isWord(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// commit lets the new pairs take the place of the old ones.
func (r *run) commit(ctx context.Context, a attempt) (attempt, error) {
	if a.staged == nil {
		return a, nil
	}
	if err := a.staged.Commit(ctx); err != nil {
		return a.attribute(err), err
	}
	return a, nil
}

// test runs the service's own test with the new files in place.
func (r *run) test(ctx context.Context, a attempt) (attempt, error) {
	said := r.ownTests(ctx, a)
	for i := range said {
		a.members = slices.Clone(a.members)
		a.members[i].tested = said[i]
	}
	for _, m := range a.members {
		test := m.prepared.plan.Test
		err, before := owntest.Against(test, m.testedBefore, m.tested)
		if err == nil {
			continue
		}
		failed := &outcome.TestError{Program: test.Command[0], Err: err, Before: before}
		if before && a.first() {
			return a, &outcome.WaitError{Reason: outcome.FirstInstall, Detail: failed.Error()}
		}
		return a.attribute(failed), failed
	}
	return a, nil
}

// keep ends an attempt whose files stay: proven, or waiting for what wait says.
// Where that cannot be noted the next run would take them back, so that is an
// error, and they are to be undone.
func (r *run) keep(a attempt, wait *outcome.WaitError) ([]ended, error) {
	if a.staged != nil {
		if err := r.tidyUp(a.staged.Keep()); err != nil {
			return nil, err
		}
	}
	var became []ended
	for _, m := range a.members {
		ref := m.prepared.job.ref()
		if err := r.site.Store.Keep(ref.Target, ref.Lineage, m.prepared.generation, m.prepared.bundle, m.prepared.provenGeneration()); err != nil {
			r.site.Log.Error("cannot keep the generation for a rollback", "target", ref.Target, "lineage", ref.Lineage, "error", err)
		}
		if waits := cmp.Or(m.wait, wait); waits != nil {
			became = append(became, m.end(outcome.Waits{For: waits}))
			continue
		}
		end := m.end(outcome.Served{})
		end.proof = m.proof(time.Now())
		became = append(became, end)
	}
	return became, nil
}

// tidyUp returns an error of keeping an installation, if it is not kept, and says
// otherwise what is left.
func (r *run) tidyUp(err error) error {
	if _, notKept := errors.AsType[*install.NotKeptError](err); notKept {
		return err
	}
	if err != nil {
		r.site.Log.Warn("something of certlatch's is left after the installation, which is well; see whether it can be removed by hand", "error", err)
	}
	return nil
}

// proof returns what is remembered of a member that was proven.
func (m member) proof(now time.Time) *state.Proof {
	return m.prepared.proof(now, m.probes(), m.silent)
}

// proof returns what is remembered of a job that was proven by some probes, while
// others were silent. A found one that proved the target before, and listens and
// completes no handshake, is not forgotten for that.
func (p prepared) proof(now time.Time, showed []endpoint.Endpoint, silent []probe.Observation) *state.Proof {
	proof := &state.Proof{Leaf: p.leaf, Generation: p.generation, Time: now.UTC().Truncate(time.Second)}
	if p.plan.Found {
		before := prepare.Proved(p.known.Proven, p.plan)
		expected := slices.DeleteFunc(prepare.Endpoints(silent), func(e endpoint.Endpoint) bool { return !prepare.Among(e, before) })
		for _, e := range slices.Concat(showed, expected) {
			proof.Probes = append(proof.Probes, e.String())
		}
	}
	if proof.Directory, proof.Files = p.pair.Proof(); proof.Files != nil {
		proof.Target = configured(p.job.target)
	}
	return proof
}

// stillProven returns what is remembered of a job that was proven before, and was
// looked at again: the target may be configured in another way than it was then.
func (p prepared) stillProven(seen sight) *state.Proof {
	proof := p.proof(p.known.Proven.Time, prepare.Endpoints(seen.counting), seen.silent)
	if len(seen.counting) == 0 {
		proof.Probes = p.known.Proven.Probes
	}
	return proof
}
