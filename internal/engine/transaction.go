package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/control"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/process"
	"github.com/certlatch/certlatch/internal/state"
)

// transaction takes the items that share an activation from the baseline to
// the proof, or back.
type transaction struct {
	*run
	items     []*item
	tx        *install.Transaction // nil: nothing is to be written
	running   identity             // who ran before the activation
	activated bool                 // the service was told, with whatever success
	back      bool                 // an undo has put a previous pair back
}

// inARow is how many fresh connections in a row must show the new leaf.
// Several, since workers that go on with the old one may share the listener.
const inARow = 4

// leastWork is the time that must be left to begin a transaction.
const leastWork = 8 * time.Second

// transact is the way of a deployment, step by step.
func (r *run) transact(ctx context.Context, items []*item) {
	t := &transaction{run: r, items: slices.Clone(items)} // those that end early leave it
	for _, next := range []struct {
		step Step
		do   func(context.Context) error
	}{
		{Baseline, t.takeBaseline},
		{Stage, t.stage},
		{Commit, t.commit},
		{Test, t.test},
		{Activate, t.activate},
		{Prove, t.prove},
	} {
		err := t.timed(next.step, func() error { return next.do(ctx) })
		if len(t.items) == 0 {
			return
		}
		if err != nil {
			t.end(ctx, next.step, err)
			return
		}
	}
	t.keep(nil)
}

// end brings a transaction that stopped at a step to its end.
func (t *transaction) end(ctx context.Context, step Step, err error) {
	var wait *waitError
	var crash *crashedError
	switch {
	case errors.As(err, &wait):
		t.keep(wait)
	case errors.As(err, &crash):
		t.crashed(crash)
	case (step == Activate || step == Prove) && t.first():
		t.keep(&waitError{reason: firstInstallReason, detail: err.Error()})
	case step == Baseline || step == Stage:
		t.abandon(step, err)
	default:
		t.undo(ctx, step, err)
	}
}

// first tells whether there is nothing to go back to for any of the items.
func (t *transaction) first() bool {
	return !slices.ContainsFunc(t.items, func(it *item) bool { return !it.first })
}

// takeBaseline notes what the service's own test, its probes and its processes
// say before anything is touched. An item that nothing can prove ends here.
func (t *transaction) takeBaseline(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < leastWork {
		return &outOfTimeError{}
	}
	var err error
	if t.running, err = t.identify(ctx); err != nil {
		return err
	}
	before := t.ownTests(ctx)
	t.items = slices.DeleteFunc(t.items, func(it *item) bool {
		it.testedBefore = before[it]
		it.baseline = observe(ctx, it.plan)
		if it.plan.Found {
			it.keepAnswering()
		}
		if it.plan.Found && len(it.plan.Probes) == 0 && it.plan.Activate.Wait != deployers.ServiceInactive {
			it.fail(Baseline, &noProbeError{it.target.Name})
			return true
		}
		return false
	})
	return nil
}

// keepAnswering drops the found probes that completed no handshake.
func (it *item) keepAnswering() {
	var probes = it.plan.Probes[:0:0]
	var seen []probe.Observation
	for i, o := range it.baseline {
		if o.Leaf() != nil {
			probes, seen = append(probes, it.plan.Probes[i]), append(seen, o)
		}
	}
	it.plan.Probes, it.baseline = probes, seen
}

// stage keeps the installed pairs as generations, writes the new ones beside
// them, and tries whether the service will be able to read them.
func (t *transaction) stage(ctx context.Context) error {
	var sets []install.Set
	for _, it := range t.items {
		if it.same {
			continue
		}
		if err := t.keepPrevious(it); err != nil {
			return err
		}
		sets = append(sets, it.set)
	}
	if len(sets) > 0 {
		var err error
		if t.tx, err = t.installer.Stage(sets); err != nil {
			return err
		}
	}
	for _, it := range t.items {
		if err := t.tryToRead(ctx, it); err != nil {
			return err
		}
	}
	return nil
}

// keepPrevious stores what is installed as a generation to go back to, where
// certlatch does not have it yet.
func (t *transaction) keepPrevious(it *item) error {
	var pair, key []byte
	for _, f := range it.plan.Files {
		at := slices.IndexFunc(it.before, func(have install.File) bool { return have.Path == f.Path })
		switch {
		case at < 0:
		case f.Content == deployers.Fullchain || f.Content == deployers.Combined && pair == nil:
			pair = it.before[at].Data
		case f.Content == deployers.Key:
			key = it.before[at].Data
		}
	}
	previous, _ := lineage.Parse(it.lineage, pair, nil, key)
	if previous == nil {
		return nil // not a pair, so nothing to go back to by name; the undo copies hold it all the same
	}
	leaf := lineage.Describe(previous.Leaf)
	before := &item{target: it.target, lineage: it.lineage, leaf: leaf}
	return t.Store.Keep(it.target.Name, it.lineage.Name, t.generationOf(before), previous, it.generation)
}

// tryToRead tries to open the files as the service's own user.
func (t *transaction) tryToRead(ctx context.Context, it *item) error {
	credential, err := account.CredentialOf(it.plan.Reader)
	if err != nil {
		return err
	}
	var paths []string
	for _, f := range it.set.Files {
		paths = append(paths, t.staged(f.Path))
	}
	return command.CanRead(ctx, credential, paths)
}

// staged is where the file that will appear at path is now.
func (t *transaction) staged(path string) string {
	if t.tx != nil {
		for _, s := range t.tx.Staged() {
			if s.Final == path {
				return s.Path
			}
		}
	}
	return path
}

func (t *transaction) commit(context.Context) error {
	if t.tx == nil {
		return nil
	}
	return t.tx.Commit()
}

// test runs the service's own test with the new files in place.
func (t *transaction) test(ctx context.Context) error {
	now := t.ownTests(ctx)
	for _, it := range t.items {
		err, before := it.against(now[it])
		if err == nil {
			continue
		}
		failed := &testError{program: it.plan.Test.Command[0], err: err, before: before}
		if failed.before && t.first() {
			return &waitError{reason: firstInstallReason, detail: failed.Error()}
		}
		return failed
	}
	return nil
}

// ownTests runs the services' own tests, each once, and gives the items whose
// test fails, and how.
func (t *transaction) ownTests(ctx context.Context) map[*item]error {
	failed := map[*item]error{}
	results := map[string]error{}
	for _, it := range t.items {
		if len(it.plan.Test.Command) == 0 {
			continue
		}
		key := strings.Join(it.plan.Test.Command, "\x00")
		err, ran := results[key]
		if !ran {
			err = runTest(ctx, it.plan.Test)
			results[key] = err
		}
		if err != nil {
			failed[it] = err
		}
	}
	return failed
}

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
			return nil
		}
	}
	return &unreachableError{unreachable}
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

// prove looks at what is served until every probe saw the new leaf often
// enough, and at whether the service is still the same process.
func (t *transaction) prove(ctx context.Context) error {
	proof := t.proof(ctx, t.wanted())
	t.markProven(proof)
	if err := t.sameProcess(ctx); err != nil {
		return &crashedError{what: err.Error(), proven: proof == nil}
	}
	return proof
}

// markProven notes which items a proof was about in vain, and which not.
func (t *transaction) markProven(proof error) {
	var failed *unprovenError
	errors.As(proof, &failed)
	for _, it := range t.items {
		it.proven = proof == nil || failed != nil && !slices.ContainsFunc(failed.seen, func(s probe.Seen) bool {
			return slices.Contains(it.plan.Probes, s.Endpoint)
		})
	}
}

// wanted is what the probes must see: the new leaves.
func (t *transaction) wanted() []probe.Want {
	var wants []probe.Want
	for _, it := range t.items {
		for _, e := range it.plan.Probes {
			wants = append(wants, probe.Want{Endpoint: e, Fingerprints: []string{it.leaf.Fingerprint}})
		}
	}
	return wants
}

// firstProof is how long a first installation is looked for, where the usual
// outcome is that the service does not name the files yet.
const firstProof = 5 * time.Second

// proof waits until everything wanted was seen, or until the limit.
func (t *transaction) proof(ctx context.Context, wants []probe.Want) error {
	limit := t.req.Limits.Proof
	if t.first() {
		limit = min(limit, firstProof)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	unproven := slices.DeleteFunc(probe.Prove(ctx, wants, inARow), func(s probe.Seen) bool { return s.Proven })
	if len(unproven) > 0 {
		return &unprovenError{seen: unproven, items: t.items}
	}
	return nil
}

// keep ends a transaction whose files stay: proven, or waiting for what wait
// says.
func (t *transaction) keep(wait *waitError) {
	if t.tx != nil {
		if err := t.tx.Keep(); err != nil {
			t.Log.Error("cannot tidy up after the installation; the next run will", "error", err)
		}
	}
	for _, it := range t.items {
		it.out.Result, it.out.Generation = Deployed, it.generation
		if wait != nil && !(wait.reason == firstInstallReason && it.proven) {
			it.out.Result = wait.result()
			it.out.Reason, it.out.Detail, it.out.Remedy = wait.reason, wait.detail, wait.remedy(it)
		}
		if err := t.Store.Keep(it.target.Name, it.lineage.Name, it.generation, it.bundle, t.provenGeneration(it)); err != nil {
			t.Log.Error("cannot keep the generation for a rollback", "target", it.target.Name, "lineage", it.lineage.Name, "error", err)
		}
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
func (t *transaction) crashed(crash *crashedError) {
	if crash.proven {
		t.keep(nil)
	} else if err := t.putBack(); err != nil {
		crash.what += "; " + err.Error()
	}
	for _, it := range t.items {
		it.fail(Prove, crash)
		t.state.Hold(it.target.Name, crashedReason, t.began)
	}
}

// abandon ends a transaction that changed nothing under a final name.
func (t *transaction) abandon(step Step, err error) {
	if t.tx != nil {
		err = errors.Join(err, t.putBack())
	}
	for _, it := range t.items {
		it.fail(step, err)
	}
}

// undo puts the previous pairs back, makes the service take them where the
// failed activation may have had an effect, and proves that it does.
func (t *transaction) undo(ctx context.Context, step Step, cause error) {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), t.began.Add(t.req.Limits.Total))
	defer cancel()
	err := t.timed(Undo, func() error { return t.restore(ctx, step, cause) })
	for _, it := range t.items {
		it.fail(step, cause)
		if !t.back {
			it.out.Result = Failed // the pair that was installed before this run is the one that fails
		}
		if err != nil {
			it.out.Result = RollbackFailed
			it.out.Detail += "; going back failed: " + err.Error()
			it.out.Remedy = "look at once: compare what is installed and served (certlatch probe), then certlatch rollback " + it.target.Name
		}
	}
}

func (t *transaction) restore(ctx context.Context, step Step, cause error) error {
	if lost := new(install.RestoreError); errors.As(cause, &lost) {
		return lost // the commit could not take back what it had begun
	}
	if err := t.putBack(); err != nil {
		return err
	}
	var activation error
	if t.activated && (mayHaveWorked(step, cause) || !t.asBefore(ctx)) {
		if err := t.act(ctx, t.items[0].plan.Activate); err != nil {
			activation = fmt.Errorf("activate the previous pair: %w", err)
		}
	}
	wants := t.wantedBack()
	if err := t.proof(ctx, wants); err != nil {
		return errors.Join(activation, err)
	}
	if len(wants) == 0 {
		return activation // nothing was seen that could outweigh it
	}
	return nil
}

// putBack puts the previous files back.
func (t *transaction) putBack() error {
	if t.tx == nil {
		return t.reinstall()
	}
	t.back = true
	err := t.tx.Undo()
	if lost := new(install.RestoreError); errors.As(err, &lost) {
		return fmt.Errorf("put the previous pair back: %w", err)
	}
	if err != nil {
		t.Log.Warn("the previous pair is back, but something is left beside it", "error", err)
	}
	return nil
}

// reinstall puts the last proven generations back where this run wrote
// nothing, because an earlier one had installed the pair that now fails.
func (t *transaction) reinstall() error {
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
		set := it.set
		set.Generation = state.NewGeneration(time.Now(), lineage.Describe(previous.Leaf))
		set.Files = slices.Clone(set.Files)
		for i := range set.Files {
			set.Files[i].Data = it.plan.Files[i].Content.Of(previous)
		}
		it.previous = previous.Leaf
		sets = append(sets, set)
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
	t.back = true
	return tx.Keep()
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
		for i, o := range observe(ctx, it.plan) {
			if was := it.baseline[i].Leaf(); was != nil && !shows(o, lineage.Fingerprint(was)) {
				return false
			}
		}
	}
	return true
}

// identity tells one life of a service from the next.
type identity struct {
	unit       string
	main       int
	invocation string
	restarts   uint32
	started    uint64
}

func (t *transaction) identify(ctx context.Context) (identity, error) {
	a := t.items[0].plan.Activate
	switch {
	case a.Unit != "" && t.Units != nil:
		units, err := t.manager(ctx)
		if err != nil {
			return identity{}, err
		}
		u, err := units.Unit(ctx, a.Unit)
		if err != nil {
			return identity{}, err
		}
		started, err := process.Started(u.MainPID)
		if gone := new(process.GoneError); errors.As(err, &gone) {
			err = nil // the unit has no main process now
		}
		return identity{a.Unit, u.MainPID, u.InvocationID, u.NRestarts, started}, err
	case a.PID != 0:
		started, err := process.Started(a.PID)
		return identity{main: a.PID, started: started}, err
	}
	return identity{}, nil
}

// sameProcess fails where the service's processes are not those from before,
// although nobody asked for a restart.
func (t *transaction) sameProcess(ctx context.Context) error {
	if !t.activated || t.items[0].plan.Activate.Way == deployers.RestartUnit {
		return nil
	}
	now, err := t.identify(context.WithoutCancel(ctx))
	switch {
	case err != nil && t.running.unit == "":
		return fmt.Errorf("process %d is gone", t.running.main)
	case err != nil:
		t.Log.Warn("cannot tell whether the service restarted", "unit", t.running.unit, "error", err)
		return nil
	case now == t.running:
		return nil
	case now.unit != "":
		return fmt.Errorf("%s restarted by itself: main process %d became %d, restarts %d became %d", now.unit, t.running.main, now.main, t.running.restarts, now.restarts)
	default:
		return fmt.Errorf("process %d was replaced by another", now.main)
	}
}

// timed takes a step for all items and notes how it went for each.
func (t *transaction) timed(step Step, do func() error) error {
	began := time.Now()
	err := do()
	var wait *waitError
	for _, it := range t.items {
		it.did(t.Log, Done{Step: step, OK: err == nil || errors.As(err, &wait), Took: time.Since(began)})
	}
	return err
}

// observe makes one handshake at every endpoint of a plan, all at once.
func observe(ctx context.Context, plan deployers.Plan) []probe.Observation {
	seen := make([]probe.Observation, len(plan.Probes))
	var all sync.WaitGroup
	for i, e := range plan.Probes {
		all.Go(func() { seen[i] = probe.Handshake(ctx, e) })
	}
	all.Wait()
	return seen
}

func shows(o probe.Observation, fingerprint string) bool {
	return o.Leaf() != nil && lineage.Fingerprint(o.Leaf()) == fingerprint
}
