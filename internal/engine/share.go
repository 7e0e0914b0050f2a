package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

// This file lets hooks that run into each other share one run, and those that
// have nothing to do end without one.

// announce looks, without the lock, whether the request needs a run at all. If
// it does, its lineages are marked, so that a run for which this one has to
// wait, or which waits longer, takes them along.
func (e *Engine) announce(req Request) (report Report, settled bool, err error) {
	r, err := e.begin(req, time.Now())
	if err != nil {
		return Report{}, false, err
	}
	r.marks = nil // those of others are for the run
	items, err := r.choose()
	if err != nil {
		return Report{}, false, err
	}
	r.items = slices.DeleteFunc(items, func(it *item) bool { return !r.own(it) })
	for _, it := range r.items {
		if !r.held(it) && !r.settled(it) {
			return Report{}, false, e.mark(r.items)
		}
	}
	return r.report(), true, nil
}

// mark marks the lineages of items.
func (e *Engine) mark(items []*item) error {
	var marked []lineage.Lineage
	for _, it := range items {
		if slices.Contains(marked, it.lineage) {
			continue
		}
		if err := e.Store.Mark(it.lineage.Client, it.lineage.Name); err != nil {
			return err
		}
		marked = append(marked, it.lineage)
	}
	return nil
}

// marked tells whether somebody has asked for a lineage before the run began.
func (r *run) marked(l lineage.Lineage) bool {
	return slices.ContainsFunc(r.marks, func(m state.Mark) bool { return m.Lineage == l.String() })
}

// own tells whether the request is about an item, which is not only taken
// along.
func (r *run) own(it *item) bool {
	return !r.req.Share || slices.ContainsFunc(r.req.Lineages, it.lineage.Is)
}

// toldAlready tells whether another run has taken an item along meanwhile, and
// makes what came of that the outcome. A run that had no time left does not
// count.
func (r *run) toldAlready(it *item) bool {
	if !r.req.Share || !r.own(it) || r.marked(it.lineage) {
		return false
	}
	p := r.state.Get(it.target.Name, it.lineage.Name).Pending
	if p == nil || p.Fingerprint == "" || p.Fingerprint != r.fingerprint(it.lineage) || p.Reason == outOfTimeReason || p.Reason == interruptedReason {
		return false
	}
	it.out.Result, it.out.Reason, it.out.At, it.out.Detail, it.out.Remedy = Result(p.Result), p.Reason, Step(p.Step), p.Detail, p.Remedy
	it.recorded = true
	return true
}

// held tells whether an item's target is held, and makes that its outcome.
func (r *run) held(it *item) bool {
	hold := r.state.Held(it.target.Name)
	if hold == nil || it.rolling {
		return false
	}
	it.out.Result, it.out.Reason = Held, hold.Reason
	it.out.Detail = "held since " + hold.Since.Format(time.RFC3339)
	it.out.Remedy = "certlatch release " + it.target.Name + " lets it be deployed to again"
	return true
}

// settled tells from files alone whether an item was proven, with this leaf,
// as the target is configured, and is still installed as it was then; it makes
// that the outcome. Where a pair is in a database, files do not tell.
func (r *run) settled(it *item) bool {
	known := r.state.Get(it.target.Name, it.lineage.Name)
	got := r.read(it.lineage)
	if it.out.Result != "" || known.Pending != nil || known.Proven == nil || known.Proven.Files == nil ||
		known.Proven.Target != it.configured() || got.bundle == nil || known.Proven.Leaf.Fingerprint != lineage.Fingerprint(got.bundle.Leaf) {
		return false
	}
	set := install.Set{Directory: known.Proven.Directory}
	for _, f := range known.Proven.Files {
		content := deployers.Content(f.Content)
		if !content.Known() {
			return false
		}
		set.Files = append(set.Files, install.File{Path: f.Path, Data: content.Of(got.bundle), UID: f.UID, GID: f.GID, Mode: f.Mode})
	}
	have, err := r.installer.Current(set)
	if err != nil || !install.Same(set, have) {
		return false
	}
	it.out.Result, it.out.Generation = Unchanged, known.Proven.Generation
	leaf := known.Proven.Leaf
	it.out.New, it.out.Previous = &leaf, &leaf
	return true
}

// configured identifies the configuration of an item's target.
func (it *item) configured() string {
	text, err := json.Marshal(it.target.Target)
	if err != nil { // there is nothing in it that JSON cannot say
		panic("engine: encode target: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
