package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

// This file lets hooks that run into each other share one run, lets those that
// have nothing to do end without one, and leaves word of what there is to do
// for the next run.

// skipOrMark looks, without the lock, whether the request needs a run at all. If
// it does, its lineages are marked, so that a run for which this one has to
// wait, or which waits longer, takes them along. It fails with a
// *prepare.RequestError where one of them leads out of its client's directories.
func (e *Engine) skipOrMark(req Request) (report outcome.Report, nothingToDo bool, err error) {
	r, err := e.lookWith(req, time.Now(), func() (*state.State, error, error) { return e.stateFor(req) })
	if err != nil {
		return outcome.Report{}, false, err
	}
	defer r.close()
	jobs, err := r.chooseAll()
	if err != nil {
		return outcome.Report{}, false, err
	}
	jobs = slices.DeleteFunc(jobs, func(j job) bool { return !j.requested })
	for _, j := range jobs {
		if j.lineage.Client == "" {
			continue // there is none
		}
		_, findings := r.prep.Bundle(j.lineage)
		if err := prepare.LeadsOut(findings); err != nil {
			return outcome.Report{}, false, err
		}
	}
	var became []ended
	for _, j := range jobs {
		end := r.held(j)
		if end == nil && j.fault == nil {
			end = r.unchangedOnDisk(j)
		}
		if end == nil {
			return outcome.Report{}, false, e.mark(jobs)
		}
		became = append(became, *end)
	}
	return r.report(became), true, nil
}

// stateFor reads as much of the state as tells whether a request needs a run: of
// one that names lineages their records, and not those of thousands of others.
func (e *Engine) stateFor(req Request) (st *state.State, unread, err error) {
	if len(req.Lineages) == 0 {
		return e.Site.State()
	}
	named, err := prepare.LineagesNamed(e.Site.Config, req.Lineages)
	if err != nil {
		return nil, nil, err
	}
	var keys []state.Key
	for _, a := range prepare.Assign(e.Site.Config, named) {
		if !a.Missing() {
			keys = append(keys, state.Key{Target: a.Target.Name, Lineage: a.Lineage.Name})
		}
	}
	return e.Site.StateOf(keys)
}

// mark marks the lineages of jobs.
func (e *Engine) mark(jobs []job) error {
	var names []string
	for _, j := range jobs {
		names = append(names, j.lineage.String())
	}
	slices.Sort(names)
	return e.Site.Store.MarkAll(slices.Compact(names))
}

// MarkOutdated marks, for the next run, lineages that some target has not got as
// they are now, and returns their number. It looks at those whose files have
// changed; nil: at all that are not pending. What it says is from files alone:
// it takes no lock and talks to no service. What is held is left out, and what
// another run has tried already: that has its own time.
func (e *Engine) MarkOutdated(changed []lineage.Lineage) (int, error) {
	r, err := e.look(Request{}, time.Now())
	if err != nil {
		return 0, err
	}
	defer r.close()
	jobs, err := r.chooseAll()
	if err != nil {
		return 0, err
	}
	isChanged := map[lineage.Lineage]bool{}
	for _, l := range changed {
		isChanged[l] = true
	}
	var outdated []job
	for _, j := range jobs {
		if j.lineage.Client != "" && (changed == nil || isChanged[j.lineage]) && r.outdated(j, changed != nil) {
			outdated = append(outdated, j)
		}
		r.prep.ForgetBundles()
	}
	return len(outdated), e.mark(outdated)
}

// outdated reports whether a job's target has not got its lineage, and nobody
// has tried that yet.
func (r *run) outdated(j job, changed bool) bool {
	if r.held(j) != nil {
		return false
	}
	known := r.memory.get(j.ref())
	if p := known.Pending; p != nil {
		return changed && (p.Result == string(outcome.Refused) || p.Fingerprint != r.prep.Fingerprint(j.lineage))
	}
	if j.fault == nil && r.unchangedOnDisk(j) != nil {
		return false
	}
	// Of a pair in a database files do not tell.
	inDatabase := known.Proven != nil && known.Proven.Files == nil
	return !inDatabase || known.Proven.Leaf.Fingerprint != r.prep.Fingerprint(j.lineage)
}

// held returns how a job ends whose target is held; nil: it is not.
func (r *run) held(j job) *ended {
	hold := r.memory.held(j.target.Name)
	if hold == nil || j.byName() {
		return nil
	}
	return &ended{job: j, outcome: outcome.Of(j.about(), outcome.OnHold{Hold: *hold})}
}

// handledByOtherRun returns what another run that took a job along meanwhile has
// recorded; nil: none did. A run that had no time left does not count.
func (r *run) handledByOtherRun(j job) *ended {
	if !r.req.Coalesce || !j.requested || r.memory.marked(j.lineage) {
		return nil
	}
	p := r.memory.get(j.ref()).Pending
	if p == nil || p.Fingerprint == "" || p.Fingerprint != r.prep.Fingerprint(j.lineage) ||
		p.Reason == string(outcome.OutOfTime) || p.Reason == string(outcome.Interrupted) {
		return nil
	}
	return &ended{job: j, outcome: outcome.Of(j.about(), outcome.ByAnother{Failure: p.Failure}), recorded: true}
}

// unchangedOnDisk returns, from files alone, how a job ends whose leaf was
// proven, as the target is configured, and is still installed as it was then; nil:
// that cannot be told. Where a pair is in a database, files do not tell.
func (r *run) unchangedOnDisk(j job) *ended {
	known := r.memory.get(j.ref())
	proven := known.Proven
	if known.Pending != nil || proven == nil || proven.Files == nil || proven.Target != configured(j.target) {
		return nil
	}
	bundle, _ := r.prep.Bundle(j.lineage)
	if bundle == nil || proven.Leaf.Fingerprint != lineage.Fingerprint(bundle.Leaf) {
		return nil
	}
	set := install.Set{Directory: proven.Directory}
	for _, f := range proven.Files {
		content := deployers.Content(f.Content)
		if !content.Known() {
			return nil
		}
		set.Files = append(set.Files, install.File{Path: f.Path, Data: content.Of(bundle), UID: f.UID, GID: f.GID, Mode: f.Mode})
	}
	have, err := install.New(r.site.Store.JournalDir()).Current(set)
	if err != nil || !install.Same(set, have) {
		return nil
	}
	about := j.about()
	about.Generation, about.New, about.Previous = proven.Generation, &proven.Leaf, &proven.Leaf
	return &ended{job: j, outcome: outcome.Of(about, outcome.NothingToDo{})}
}

// configured identifies the configuration of a target.
func configured(t config.Target) string {
	text, err := json.Marshal(t.Target)
	if err != nil { // there is nothing in it that JSON cannot say
		panic("deploy: encode target: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// unmarkUnwanted takes away the marks of lineages that no target takes: a hook leaves
// one where it cannot know that.
func (r *run) unmarkUnwanted() {
	demand := r.site.Config.Demand()
	for _, name := range slices.Sorted(maps.Keys(r.memory.marks)) {
		l := lineage.Lineage{}
		l.Client, l.Name, _ = strings.Cut(name, ":")
		if demand.Takes(l) {
			continue
		}
		if err := r.site.Store.Unmark(r.memory.marks[name]); err != nil {
			r.site.Log.Warn("the mark of a lineage that no target takes stays", "lineage", name, "error", err)
		}
	}
}

// unmark takes the marks of the run's lineages away, but for those that were
// left for another run, or could not be noted. A run for single targets leaves
// the others to do. This comes last: until then a mark makes up for all that was
// not written.
func (r *run) unmark(jobs, left []job) {
	if len(r.req.Targets) > 0 || slices.ContainsFunc(jobs, job.byName) {
		return
	}
	done := map[string]bool{}
	for _, j := range jobs {
		done[j.lineage.String()] = true
	}
	for _, j := range left {
		done[j.lineage.String()] = false
	}
	for _, k := range r.memory.notNoted() {
		done[k.lineage] = false
	}
	for _, name := range slices.Sorted(maps.Keys(r.memory.marks)) {
		mark := r.memory.marks[name]
		if !done[name] {
			continue
		}
		if err := r.site.Store.Unmark(mark); err != nil {
			r.site.Log.Warn("a mark stays, so this lineage is looked at again", "lineage", mark.Lineage, "error", err)
		}
	}
}
