package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/rows"
)

// transaction takes the items that share an activation from the baseline to
// the proof, or back.
type transaction struct {
	*run
	items     []*item
	tx        *install.Transaction // nil: no files are to be written
	rows      []*rows.Change       // of databases that are to be written to
	running   identity             // who ran before the activation
	activated bool                 // the service was told, with whatever success
	back      bool                 // an undo has put a previous pair back
}

// leastWork is the time that must be left to begin a transaction.
const leastWork = 8 * time.Second

// transact is the way of a deployment, step by step. It tells whether the
// service was activated.
func (r *run) transact(ctx context.Context, items []*item) (activated bool) {
	t := &transaction{run: r, items: slices.Clone(items)} // those that end early leave it
	for _, it := range items {
		it.begin()
	}
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
			return false
		}
		if err != nil {
			t.end(ctx, next.step, err)
			return t.activated
		}
	}
	if err := t.keep(nil); err != nil {
		t.undo(ctx, Record, err)
	}
	return t.activated
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
	if t.running, _, err = t.identify(ctx); err != nil {
		return err
	}
	before := t.ownTests(ctx)
	t.items = slices.DeleteFunc(t.items, func(it *item) bool {
		it.testedBefore = before[it]
		it.baseline = observe(ctx, it.plan.Probes)
		if !it.plan.Found || t.chooseProbes(ctx, it) {
			return false
		}
		it.fault = t.unserved(it, noListenerError{}, &noProbeError{it.target.Name})
		it.fail(Baseline, it.fault)
		return true
	})
	return nil
}

// chooseProbes settles which of the found probes of an item count, and reports
// whether there are any, or need be none.
func (t *transaction) chooseProbes(ctx context.Context, it *item) bool {
	it.keepAnswering()
	switch {
	case len(it.plan.Probes) > 0:
		t.tellSilent(it)
		return true
	case it.plan.Activate.Wait == deployers.ServiceInactive:
		return true
	}
	t.expectProved(ctx, it)
	return len(it.plan.Probes) > 0
}

// keepAnswering leaves the found probes aside that completed no handshake. If
// none did, all of them count for a first installation: it may be what brings
// TLS about.
func (it *item) keepAnswering() {
	observed := it.baseline
	none := !slices.ContainsFunc(observed, func(o probe.Observation) bool { return o.Leaf() != nil })
	if none && it.first {
		return
	}
	it.plan.Probes, it.baseline = nil, nil
	for _, o := range observed {
		if o.Leaf() != nil {
			it.count(o)
		} else {
			it.silent = append(it.silent, o)
		}
	}
}

// count lets a probe count that was observed at the baseline.
func (it *item) count(o probe.Observation) {
	it.plan.Probes, it.baseline = append(it.plan.Probes, o.Endpoint), append(it.baseline, o)
}

// stage keeps the installed pairs as generations, writes the new ones beside
// them, and tries whether the service will be able to read them.
func (t *transaction) stage(ctx context.Context) error {
	var sets []install.Set
	for _, it := range t.items {
		switch {
		case it.same:
		case it.plan.Row != nil:
			it.fault = t.stageRow(ctx, it, it.bundle)
		default:
			it.fault = t.keepPrevious(it)
			sets = append(sets, it.set)
		}
	}
	if err := t.faulty(); err != nil {
		return err
	}
	if len(sets) > 0 {
		var err error
		if t.tx, err = t.installer.Stage(sets); err != nil {
			t.blame(err)
			return err
		}
		t.tellNotCarried()
	}
	t.tryToRead(ctx)
	return t.faulty()
}

// tellNotCarried says which attributes of the installed files the new ones have
// not got.
func (t *transaction) tellNotCarried() {
	for _, n := range t.tx.NotCarried() {
		for _, it := range t.items {
			if it.target.Name != n.Target || it.lineage.Name != n.Lineage {
				continue
			}
			finding := notCarried(n)
			it.out.Findings = append(it.out.Findings, finding)
			t.Log.Warn(finding.Detail, "target", n.Target, "lineage", n.Lineage, "reason", finding.Code, "remedy", finding.Remedy)
		}
	}
}

// keepPrevious stores what is installed as a generation to go back to, where
// certlatch does not have it yet. A pair that somebody else could have put there
// is not kept, unless it is the one that was proven: it may be one that he may
// not read, and a rollback would give it the target's owner and mode.
func (t *transaction) keepPrevious(it *item) error {
	var pair, key []byte
	kept := true
	for _, f := range it.plan.Files {
		at := slices.IndexFunc(it.before, func(have install.File) bool { return have.Path == f.Path })
		if at >= 0 && f.Content.HoldsKey() && it.plan.Row == nil {
			kept = kept && it.before[at].Kept
		}
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
	if proven := t.state.Get(it.target.Name, it.lineage.Name).Proven; !kept && (proven == nil || proven.Leaf.Fingerprint != leaf.Fingerprint) {
		t.Log.Warn("the installed pair is not kept for a rollback: another user could have put it there, and certlatch has not proven it",
			"target", it.target.Name, "lineage", it.lineage.Name, "leaf", leaf.Short())
		return nil
	}
	before := &item{target: it.target, lineage: it.lineage, leaf: leaf}
	generation := t.generationOf(before, t.began.Add(-time.Millisecond)) // it sorts before the new one
	return t.Store.Keep(it.target.Name, it.lineage.Name, generation, previous, it.generation)
}

// tryToRead tries to open the files as the services' own users: those of many
// items at once, since each trial is a process.
func (t *transaction) tryToRead(ctx context.Context) {
	byReader := map[string][]*item{}
	for _, it := range t.items {
		if it.plan.Row == nil {
			reader := fmt.Sprintf("%q", it.plan.Reader)
			byReader[reader] = append(byReader[reader], it)
		}
	}
	for _, items := range byReader {
		credential, err := account.CredentialOf(items[0].plan.Reader)
		if err != nil {
			blameAll(items, err)
			continue
		}
		for some := range slices.Chunk(items, mostRead) {
			t.tryToReadAs(ctx, credential, some)
		}
	}
}

// mostRead keeps the paths of one trial far below what an argument list may
// hold (execve(2), at least 128 KiB).
const mostRead = 100

// tryToReadAs tries the files of items as one user. Those that it cannot read
// are at fault.
func (t *transaction) tryToReadAs(ctx context.Context, credential command.Credential, items []*item) {
	for items = slices.Clone(items); len(items) > 0; {
		of := map[string]*item{}
		var paths []string
		for _, it := range items {
			for _, f := range it.set.Files {
				path := t.staged(f.Path)
				of[path], paths = it, append(paths, path)
			}
		}
		err := command.CanRead(ctx, credential, paths)
		unreadable, is := errors.AsType[*command.UnreadableError](err)
		switch {
		case err == nil:
			return
		case !is || of[unreadable.Path] == nil:
			blameAll(items, err)
			return
		}
		it := of[unreadable.Path]
		it.fault = err
		items = slices.DeleteFunc(items, func(other *item) bool { return other == it })
	}
}

func blameAll(items []*item, err error) {
	for _, it := range items {
		it.fault = err
	}
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

func (t *transaction) commit(ctx context.Context) error {
	if t.tx != nil {
		if err := t.tx.Commit(); err != nil {
			t.blame(err)
			return err
		}
	}
	return t.commitRows(ctx)
}

// test runs the service's own test with the new files in place.
func (t *transaction) test(ctx context.Context) error {
	now := t.ownTests(ctx)
	for _, it := range t.items {
		it.tested = now[it]
		err, before := it.against(it.tested)
		if err == nil {
			continue
		}
		failed := &testError{program: it.plan.Test.Command[0], err: err, before: before}
		if failed.before && t.first() {
			return &waitError{reason: firstInstallReason, detail: failed.Error()}
		}
		t.blame(failed)
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

// keep ends a transaction whose files stay: proven, or waiting for what wait
// says. Where that cannot be noted the next run would take them back, so that is
// an error, and they are to be undone.
func (t *transaction) keep(wait *waitError) error {
	if t.tx != nil {
		if err := tidyUp(t.Log, t.tx.Keep()); err != nil {
			return err
		}
	}
	t.closeRows()
	for _, it := range t.items {
		it.out.Result, it.out.Generation = Deployed, it.generation
		if wait := cmp.Or(it.wait, wait); wait != nil {
			it.out.Result = wait.result()
			it.out.Reason, it.out.Detail, it.out.Remedy = wait.reason, wait.detail, wait.remedy(it)
		}
		if err := t.Store.Keep(it.target.Name, it.lineage.Name, it.generation, it.bundle, t.provenGeneration(it)); err != nil {
			t.Log.Error("cannot keep the generation for a rollback", "target", it.target.Name, "lineage", it.lineage.Name, "error", err)
		}
	}
	return nil
}

// tidyUp returns an error of keeping an installation, if it is not kept, and says
// otherwise what is left.
func tidyUp(log *slog.Logger, err error) error {
	if errors.As(err, new(*install.NotKeptError)) {
		return err
	}
	if err != nil {
		log.Warn("something of certlatch's is left after the installation, which is well; see whether it can be removed by hand", "error", err)
	}
	return nil
}

// about names what a transaction is about, for somebody who watches.
func (t *transaction) about() string {
	first := t.items[0].target.Name + " " + t.items[0].lineage.Name
	if others := len(t.items) - 1; others > 0 {
		return fmt.Sprintf("%s and %d more", first, others)
	}
	return first
}

// timed takes a step for all items and notes how it went for each.
func (t *transaction) timed(step Step, do func() error) error {
	t.tell("%s: %s", step, t.about())
	began := time.Now()
	err := do()
	var wait *waitError
	for _, it := range t.items {
		it.did(t.Log, Done{Step: step, OK: err == nil || errors.As(err, &wait), Took: time.Since(began)})
	}
	return err
}
