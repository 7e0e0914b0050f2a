package engine

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// This file looks at what every target has and serves, and keeps what was seen
// in a snapshot that everybody may read.

// place is a lineage at a target.
type place struct{ target, lineage string }

func (it *item) place() place { return place{it.target.Name, it.lineage.Name} }

// Inventory looks at the lineages and targets that the request names: what was
// issued, what is installed, and what every probe sees. It changes nothing on
// the way but the snapshot. A certificate that cannot be looked at is one of
// unknown condition; the error is for what kept it from looking at any, such
// as a *RequestError. Where the state cannot be read, what was seen is returned
// beside the error that says why.
func (e *Engine) Inventory(ctx context.Context, req Request) ([]state.Sighting, error) {
	return e.inventory(ctx, req, newLookups(), func(p place, l lineage.Lineage) bool {
		return (req.Targets == nil || slices.Contains(req.Targets, p.target)) &&
			(req.Lineages == nil || slices.ContainsFunc(req.Lineages, l.Is))
	})
}

func (e *Engine) inventory(ctx context.Context, req Request, seen *lookups, asked func(place, lineage.Lineage) bool) ([]state.Sighting, error) {
	r, err := e.view(req, time.Now())
	if err != nil {
		return nil, err
	}
	defer r.close()
	r.seen = seen
	all, err := r.lineages()
	if err != nil {
		return nil, err
	}
	if err := r.checkNames(all); err != nil {
		return nil, err
	}
	r.req = Request{}
	items := r.chooseFrom(all)
	var views []*view
	for _, it := range items {
		if asked(it.place(), it.lineage) {
			views = append(views, &view{run: r, it: it})
		}
	}
	sightings := r.sight(ctx, views)
	if r.unread != nil {
		return sightings, r.unread // and the snapshot stays, which knows what was held
	}
	if err := r.remember(sightings, items); err != nil {
		r.Log.Warn("status and check of other users will not see this", "error", err)
	}
	return sightings, nil
}

// sight looks at everything, and judges what it sees.
func (r *run) sight(ctx context.Context, views []*view) []state.Sighting {
	var probes []endpoint.Endpoint
	for i, v := range views {
		v.survey(ctx)
		probes = append(probes, v.probes...)
		r.tell("looking: %d of %d targets", i+1, len(views))
	}
	var done atomic.Int64
	observed := observeTelling(ctx, probes, func() { r.tell("looking: %d of %d handshakes", done.Add(1), len(probes)) })

	before, err := state.ReadSnapshot(r.Config.Run)
	if err != nil {
		before = new(state.Snapshot) // one that is not there or damaged is made anew
	}
	var seen []state.Sighting
	for _, v := range views {
		v.serve(observed[:len(v.probes)])
		observed = observed[len(v.probes):]
		v.judge(before)
		seen = append(seen, v.seen)
	}
	return seen
}

// view is what is being found out about an item.
type view struct {
	*run
	it      *item
	lost    []endpoint.Endpoint // probes that were remembered, of listeners that are gone
	seen    state.Sighting
	looked  bool // at what is installed
	stopped bool // somebody has stopped the service
	probes  []endpoint.Endpoint
	blind   string // the reason why not everything can be looked at
}

// survey finds out everything but what is served, as far as it can.
func (v *view) survey(ctx context.Context) {
	it := v.it
	v.seen.Looked = v.began.UTC() // and not now: the state was read then
	v.seen.Lineage, v.seen.Target, v.seen.Service = it.lineage.Name, it.target.Name, it.target.Service
	if it.target.Contact != "" {
		v.seen.Contact = &it.target.Contact
	}
	if it.out.Result != "" { // there is no lineage, or more than one
		v.blind = it.out.Reason
		return
	}
	unread := v.open(it)
	v.seen.Issued = it.out.New
	err := v.ask(ctx, it)
	v.seen.ReloadsLeft = it.plan.Activate.Left
	if v.Units != nil && it.target.Unit != "" {
		unit, err := v.unit(ctx, it.target.Unit)
		v.stopped = err == nil && unit.ActiveState == "inactive"
	}
	if err == nil || errors.As(err, new(*deployers.NoWayError)) { // what cannot be reloaded may be served all the same
		err = cmp.Or(v.find(ctx), it.nameProbes(), err)
		v.lost = v.run.lost(it)
		v.probes = slices.Concat(it.plan.Probes, v.lost)
	}
	switch err = cmp.Or(unread, err); {
	case err == nil && len(v.probes) == 0 && it.plan.Activate.Wait == deployers.ServiceInactive:
		v.blind = string(deployers.ServiceInactive)
		return
	case err == nil && len(v.probes) == 0 && !it.target.ProveNothing:
		err = v.unserved(it, noListenerError{}, &noProbeError{it.target.Name})
	}
	if err != nil {
		failed := *it
		failed.fail(Validate, err)
		v.blind = failed.out.Reason
	}
}

// find finds the leaf that is installed.
func (v *view) find(ctx context.Context) error {
	it := v.it
	var err error
	if it.previous, err = v.installedLeaf(ctx, it); err != nil {
		return err
	}
	v.looked = true
	if it.previous != nil {
		leaf := lineage.Describe(it.previous)
		v.seen.Installed = &leaf
	}
	return nil
}

func (r *run) installedLeaf(ctx context.Context, it *item) (*x509.Certificate, error) {
	if it.plan.Row != nil {
		certificate, _, err := r.Rows.Read(ctx, *it.plan.Row)
		if err != nil {
			return nil, &databaseError{err}
		}
		return leafIn(certificate), nil
	}
	set := install.Set{Directory: it.plan.Directory}
	for _, f := range it.plan.Files {
		if f.Content == deployers.Fullchain || f.Content == deployers.Combined { // the others' bytes are not needed
			set.Files = append(set.Files, install.File{Path: f.Path})
		}
	}
	files, err := r.installer.Current(set)
	if err != nil {
		return nil, err
	}
	return certificateIn(it.plan, files), nil
}

// leafIn reads the first certificate of a text; nil: there is none.
func leafIn(text []byte) *x509.Certificate {
	certs, err := lineage.ParseCertificates(text)
	if err != nil || len(certs) == 0 {
		return nil
	}
	return certs[0]
}

// serve notes what the item's probes saw, those of listeners that are gone last.
func (v *view) serve(observed []probe.Observation) {
	v.seen.Served = []state.Served{}
	found, lost := observed[:len(observed)-len(v.lost)], observed[len(observed)-len(v.lost):]
	answers := slices.ContainsFunc(found, func(o probe.Observation) bool { return o.Leaf() != nil })
	proved := v.proved(v.it)
	for _, o := range found {
		if o.Leaf() == nil && v.it.plan.Found && answers && !among(o.Endpoint, proved) {
			continue // it is for something else
		}
		v.note(o.Endpoint, o.Leaf(), o.Err)
	}
	for _, o := range lost {
		switch {
		case answers: // the service was told to listen elsewhere
		case o.Leaf() != nil:
			v.note(o.Endpoint, nil, fmt.Errorf("%s: another service answers there", o.Endpoint))
		default:
			v.note(o.Endpoint, nil, o.Err)
		}
	}
	if v.blind != "" {
		v.seen.Served = append(v.seen.Served, state.Served{Error: &v.blind})
	}
}

// note notes what one probe saw: a leaf, or why there is none.
func (v *view) note(e endpoint.Endpoint, leaf *x509.Certificate, err error) {
	url := e.String()
	served := state.Served{Probe: &url}
	if leaf != nil {
		described := lineage.Describe(leaf)
		served.Leaf = &described
	} else {
		text := err.Error()
		served.Error = &text
	}
	v.seen.Served = append(v.seen.Served, served)
}

// judge draws the conclusion.
func (v *view) judge(snapshot *state.Snapshot) {
	target, name := v.seen.Target, v.seen.Lineage
	k := known{
		Record: v.state.Get(target, name), hold: v.state.Held(target),
		before: snapshot.Of(target, name), looked: v.looked, proveNothing: v.it.target.ProveNothing,
		unread: v.unread != nil, unit: v.it.target.Unit, stopped: v.stopped,
	}
	for _, m := range v.marks {
		if m.Lineage == v.it.lineage.String() {
			since := m.Since()
			k.marked = &since
		}
	}
	if info, err := os.Stat(v.it.lineage.Fullchain); err == nil {
		k.issued = info.ModTime().UTC().Truncate(time.Second)
	}
	k.conclude(&v.seen)
}

// remember puts what was seen into the snapshot, beside what was seen before
// of all else that is configured. Whoever has looked later is believed.
func (r *run) remember(seen []state.Sighting, configured []*item) error {
	before, err := state.ReadSnapshot(r.Config.Run)
	if err != nil {
		before = new(state.Snapshot)
	}
	now := state.Snapshot{Certificates: seen}
	all := []state.Sighting{}
	for _, it := range configured {
		p := it.place()
		old, new := before.Of(p.target, p.lineage), now.Of(p.target, p.lineage)
		switch {
		case new != nil && (old == nil || !old.Looked.After(new.Looked) || old.Looked.After(time.Now())):
			all = append(all, *new)
		case old != nil:
			all = append(all, *old)
		}
	}
	err = state.WriteSnapshot(r.Config.Run, all)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was deployed yet, so there is no state directory
	}
	return err
}

const (
	snapshotFresh = 5 * time.Minute  // a run that looks at services anyway lets it grow no older
	snapshotLimit = 10 * time.Second // for looking at what a run has changed,
	lastMoment    = 3 * time.Second  // which may go beyond the run's last moment by this
)

// refresh brings the snapshot up to date with what the run has done and seen.
// Where that is nothing new, and the snapshot is fresh, nothing is written.
func (r *run) refresh(ctx context.Context) {
	if r == nil {
		return
	}
	snapshot, err := state.ReadSnapshot(r.Config.Run)
	if err != nil {
		snapshot = new(state.Snapshot)
	}
	places := append(r.repaired(snapshot), r.touched...)
	all := r.req.Look && (err != nil || !fresh(snapshot, time.Now()))
	if !all && len(places) == 0 {
		return
	}
	limit := min(snapshotLimit, time.Until(r.began.Add(r.req.Limits.Total+lastMoment)))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if _, err := r.inventory(ctx, Request{}, r.seen, func(p place, _ lineage.Lineage) bool { return all || slices.Contains(places, p) }); err != nil {
		r.Log.Warn("status and check of other users will not see this", "error", err)
	}
}

// repaired returns what the run has found to be in sync and the snapshot shows
// otherwise, such as after a run that ended before it could show it.
func (r *run) repaired(snapshot *state.Snapshot) []place {
	var places []place
	for _, it := range r.items {
		was := snapshot.Of(it.target.Name, it.lineage.Name)
		if it.out.Result != Unchanged || was == nil {
			continue
		}
		other := was.Installed == nil || was.Installed.Fingerprint != it.leaf.Fingerprint
		if other || r.req.Look && was.State != string(InSync) {
			places = append(places, it.place())
		}
	}
	return places
}

// fresh reports whether a run that looks at services anyway may leave a
// snapshot as it is. One from a time that has yet to come is no fresher than
// one of long ago.
func fresh(snapshot *state.Snapshot, now time.Time) bool {
	return !slices.ContainsFunc(snapshot.Certificates, func(s state.Sighting) bool {
		return now.Sub(s.Looked) > snapshotFresh || state.Ahead(s.Looked, now)
	})
}
