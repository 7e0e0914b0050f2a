package inspect

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/beside"
	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// Inventory looks at the lineages and targets of a scope: what was issued, what
// is installed, and what every probe sees; and with a scope of everything at the
// lineages that no target takes. It changes nothing on the way but the snapshot. A certificate that cannot be looked at is one of unknown
// condition; the error is for what kept it from looking at any, such as a
// *prepare.RequestError. Where the state cannot be read, what was seen is
// returned beside the error that says why.
func (in Inspector) Inventory(ctx context.Context, scope prepare.Scope) ([]state.Sighting, []state.Unclaimed, error) {
	prep := prepare.NewPreparer(in.Site.World)
	defer prep.Close()
	everything := len(scope.Targets)+len(scope.Lineages) == 0
	seen, unclaimed, err := in.inventory(ctx, prep, scope, func(a prepare.Assignment) bool { return scope.Names(a.Target.Name, a.Lineage) }, nil, everything)
	if !everything {
		unclaimed = nil
	}
	return seen, unclaimed, err
}

// inventory looks at those assignments of a scope that are wanted, but for what a
// run has seen of them already; and at where lineages that no target takes are served,
// where it looks at those.
func (in Inspector) inventory(ctx context.Context, prep *prepare.Preparer, scope prepare.Scope, wanted func(prepare.Assignment) bool, known map[install.Ref]Seen, looksAtUnclaimed bool) ([]state.Sighting, []state.Unclaimed, error) {
	i, err := in.begin(prep)
	if err != nil {
		return nil, nil, err
	}
	all, err := prepare.Lineages(in.Site.Config)
	if err != nil {
		return nil, nil, err
	}
	assigned := i.assigned(all)
	if err := scope.Check(in.Site.Config, slices.Concat(all, lineagesOf(assigned))); err != nil {
		return nil, nil, err
	}
	looked := eachOnce(slices.DeleteFunc(slices.Clone(assigned), func(a prepare.Assignment) bool { return !wanted(a) }))
	seen, whole := i.sight(ctx, looked, known)
	seen, whole, assigned = withoutLeft(looked, seen, whole, assigned)
	unclaimed, kept := unclaimedAmong(in.Site.Config, all, readSnapshot(in.Site.Config.Run).Unclaimed)
	if looksAtUnclaimed {
		unclaimed = i.serving(ctx, unclaimed, kept, seen)
	}
	if i.unread != nil {
		return seen, unclaimed, i.unread // and the snapshot stays, which knows what was held
	}
	if err := remember(in.Site.Config.Run, whole, eachOnce(assigned), unclaimed); err != nil {
		in.Site.Log.Warn("status and check of other users will not see this", "error", err)
	}
	return seen, unclaimed, nil
}

// sight looks at everything that is not known, and judges what it sees. Whole are
// those sightings that did not miss anything for want of time.
func (i inspection) sight(ctx context.Context, assigned []prepare.Assignment, known map[install.Ref]Seen) (seen, whole []state.Sighting) {
	marks := i.site.Marks()
	var unknown []prepare.Assignment
	glances := beside.Each(beside.Goroutines, assigned, func(a prepare.Assignment) glance { return i.seen(a, known) })
	for n, g := range glances {
		if g.known == nil {
			unknown = append(unknown, assigned[n])
		}
	}
	i.gather(ctx, unknown, false)
	var looked atomic.Int64
	glances = beside.Each(beside.Goroutines, glances, func(g glance) glance {
		if g.known == nil {
			g = i.glance(ctx, g.assigned)
		}
		i.site.Tell("looking: %d of %d targets", looked.Add(1), len(assigned))
		return g
	})
	var looks []prepare.Look
	probes := 0
	for _, g := range glances {
		looks = append(looks, prepare.Look{Found: g.areFound, Of: g.of, At: g.probes()})
		probes += len(g.probes())
	}
	var done atomic.Int64
	observed := i.prep.Look(ctx, looks, func() {
		i.site.Tell("looking: %d of %d handshakes", done.Add(1), probes)
	})
	over := ctx.Err() != nil
	before := readSnapshot(i.site.Config.Run).Lookup()
	for n, g := range glances {
		at := observed[n]
		if g.known != nil {
			at = g.known.observations()
		}
		concluded := i.conclude(g, at, before, marks)
		seen = append(seen, concluded)
		if !over || g.known != nil || !g.missed(at) {
			whole = append(whole, concluded)
		}
	}
	return seen, whole
}

// missed reports whether something could not be looked at, given what its probes
// saw.
func (g glance) missed(observed []probe.Observation) bool {
	return g.blind != "" || slices.ContainsFunc(observed, func(o probe.Observation) bool { return o.Leaf() == nil })
}

// glance is what was found out about an assignment before any handshake.
type glance struct {
	assigned    prepare.Assignment
	issued      *lineage.Leaf // nil: it cannot be read
	issuedEnds  time.Time     // when its chain ends, where that is before it does
	installed   *lineage.Leaf // nil: there is none that can be read
	looked      bool          // at what is installed
	place       pairs.Place   // where that is
	reloadsLeft *int
	notOurs     *deployers.NotOurs // what the service takes in place of the target's files; nil: nothing that is known
	endangers   *string            // what an activation would take from the service beside the target; nil: nothing that is known
	stopped     bool               // somebody has stopped the service

	areFound bool                // the plan's probes were found, not written down
	of       deployers.Processes // of the service
	planned  []endpoint.Endpoint // probes of the plan
	lost     []endpoint.Endpoint // probes that were remembered, of listeners that are gone
	proved   []endpoint.Endpoint // probes that were remembered
	blind    outcome.Reason      // why not everything can be looked at; empty: it can

	known *Seen // what a run has seen of it already; nil: it has not
}

// probes returns the probes that have yet to be looked at.
func (g glance) probes() []endpoint.Endpoint {
	if g.known != nil {
		return nil
	}
	return slices.Concat(g.planned, g.lost)
}

// glance finds out everything but what is served, as far as it can.
func (i inspection) glance(ctx context.Context, a prepare.Assignment) glance {
	bundle, unread := i.bundle(a)
	plan, err := i.plan(ctx, a, bundle)
	if err != nil && !isNoWay(err) {
		plan = unplanned(plan, a.Target)
	}
	proven := i.record(a).Proven
	g := glance{
		assigned: a, reloadsLeft: plan.Activate.Left, notOurs: plan.NotOurs, stopped: i.stopped(ctx, a),
		areFound: plan.Found, of: plan.Of, proved: prepare.Proved(proven, plan),
	}
	var leaf *x509.Certificate
	if bundle != nil {
		leaf = bundle.Leaf
		g.issuedEnds = i.prep.ChainEnds(bundle, a.Target.Policy.Trust)
		g.issued = describe(leaf)
	}
	var installed *x509.Certificate
	if len(plan.Files) > 0 || plan.Row != nil {
		var unseen error
		g.place = pairs.At(a.Target.Target, a.Lineage.Name, plan)
		installed, unseen = i.site.Storage().Leaf(ctx, g.place, bundle)
		g.looked, g.installed = unseen == nil, describe(installed)
		if other, _, failed := i.beside.Endangered(ctx, plan.Beside, plan.Activate); failed == nil && other != nil {
			g.endangers = &other.Name
		}
		err = cmp.Or(unseen, err)
	}
	var unnamed error
	g.planned, unnamed = prepare.NameProbes(plan.Probes, cmp.Or(leaf, installed))
	g.lost = prepare.LostProbes(proven, plan)
	err = cmp.Or(err, unnamed)
	g.blind = blindness(a, plan, proven, len(g.probes()), cmp.Or(unread, err))
	return g
}

// bundle reads the lineage of an assignment, and returns why it cannot: it is
// malformed, or gone, or there are two. What is installed and served does not depend
// on that.
func (i inspection) bundle(a prepare.Assignment) (*lineage.Bundle, error) {
	if a.Err != nil {
		return nil, a.Err
	}
	bundle, findings := i.prep.Bundle(a.Lineage)
	if bundle == nil {
		return nil, &outcome.RefusedError{Findings: findings}
	}
	return bundle, nil
}

// unplanned returns what can be looked at where a deployer could make no plan: the
// files that it may have told of, and probes that were written down, or are
// remembered.
func unplanned(plan deployers.Plan, t config.Target) deployers.Plan {
	plan.Probes, plan.Found = t.Probes, t.Probes == nil && !t.ProveNothing
	return plan
}

// assigned returns which lineages each target takes, and of targets that take
// whatever there is those too that are gone and were proven there: their files may be
// served yet.
func (i inspection) assigned(all []lineage.Lineage) []prepare.Assignment {
	assigned := prepare.Assign(i.site.Config, all)
	there := map[install.Ref]bool{}
	for _, a := range assigned {
		there[refOf(a)] = true
	}
	globs := slices.DeleteFunc(slices.Clone(i.site.Config.Targets), func(t config.Target) bool { return !t.IsGlob() })
	for _, t := range globs {
		for _, r := range i.state.Records {
			if ref := (install.Ref{Target: r.Target, Lineage: r.Lineage}); r.Target != t.Name || r.Proven == nil || there[ref] || !i.mayTake(t, r.Lineage) {
				continue
			}
			assigned = append(assigned, prepare.Assignment{
				Target: t, Lineage: lineage.Lineage{Name: r.Lineage},
				Err: &outcome.LineageMissingError{Lineage: r.Lineage, Config: i.site.Config.Path},
			})
		}
	}
	return assigned
}

// mayTake reports whether a target would take a lineage of some client with a name.
func (i inspection) mayTake(t config.Target, name string) bool {
	return slices.ContainsFunc(i.site.Config.Roots, func(r lineage.Root) bool {
		return t.Wants(lineage.Lineage{Client: r.Client, Name: name})
	})
}

func refOf(a prepare.Assignment) install.Ref {
	return install.Ref{Target: a.Target.Name, Lineage: a.Lineage.Name}
}

func lineagesOf(assigned []prepare.Assignment) (all []lineage.Lineage) {
	for _, a := range assigned {
		all = append(all, a.Lineage)
	}
	return all
}

// eachOnce returns assignments with each name once a target, though two clients may
// keep it.
func eachOnce(assigned []prepare.Assignment) []prepare.Assignment {
	met := map[install.Ref]bool{}
	return slices.DeleteFunc(slices.Clone(assigned), func(a prepare.Assignment) bool {
		again := met[refOf(a)]
		met[refOf(a)] = true
		return again
	})
}

// withoutLeft leaves out what was looked at of targets that take whatever there is,
// and is neither kept by a client nor installed any more.
func withoutLeft(looked []prepare.Assignment, seen, whole []state.Sighting, assigned []prepare.Assignment) (_, _ []state.Sighting, _ []prepare.Assignment) {
	left := map[install.Ref]bool{}
	for n, a := range looked {
		left[refOf(a)] = a.Missing() && a.Target.IsGlob() && seen[n].Installed == nil
	}
	isLeft := func(s state.Sighting) bool { return left[install.Ref{Target: s.Target, Lineage: s.Lineage}] }
	return slices.DeleteFunc(seen, isLeft), slices.DeleteFunc(whole, isLeft), slices.DeleteFunc(assigned, func(a prepare.Assignment) bool { return left[refOf(a)] })
}

func describe(cert *x509.Certificate) *lineage.Leaf {
	if cert == nil {
		return nil
	}
	leaf := lineage.Describe(cert)
	return &leaf
}

// stopped reports whether somebody has stopped a target's service, and it did
// not fail.
func (i inspection) stopped(ctx context.Context, a prepare.Assignment) bool {
	if !i.prep.Facts.Systemd() || a.Target.Unit == "" {
		return false
	}
	unit, err := i.prep.Facts.Unit(ctx, a.Target.Unit)
	return err == nil && unit.ActiveState == "inactive"
}

// blindness returns why not everything can be looked at of an assignment, for
// which there are so many probes: an error, or that there is none. Empty: it
// can.
func blindness(a prepare.Assignment, plan deployers.Plan, proven *state.Proof, probes int, err error) outcome.Reason {
	switch {
	case err == nil && probes == 0 && plan.Activate.Wait == deployers.ServiceInactive:
		return outcome.Reason(deployers.ServiceInactive)
	case err == nil && probes == 0 && prepare.Unreached(plan, nil) != nil:
		return outcome.NetworkApart
	case err == nil && probes == 0 && !a.Target.ProveNothing:
		err = prepare.Unserved(a.Target, plan, proven, outcome.NoListenerError{}, &outcome.NoProbeError{Target: a.Target.Name})
	}
	if err == nil {
		return ""
	}
	reason, _ := outcome.Explain(err, subjectOf(a, plan))
	return reason
}

// conclude makes a sighting of a glance and of what its probes saw, given what was
// seen before and what is marked.
func (i inspection) conclude(g glance, observed []probe.Observation, before func(target, lineage string) *state.Sighting, marks map[string]state.Mark) state.Sighting {
	t, l := g.assigned.Target, g.assigned.Lineage
	known := condition.Known{
		Record: i.record(g.assigned), Hold: i.state.Held(t.Name), Before: before(t.Name, l.Name), Unread: i.unread != nil,
		Looked: g.looked, ByOthers: i.isChanged(g), ProveNothing: t.ProveNothing, Stopped: g.stopped, Unit: t.Unit,
	}
	if mark, is := markOf(g.assigned, marks); is {
		since := mark.Since()
		known.Marked = &since
	}
	if info, err := os.Stat(l.Fullchain); err == nil {
		known.Issued = info.ModTime().UTC().Truncate(time.Second)
	}
	seen := state.Sighting{
		Certificate: state.Certificate{
			Lineage: l.Name, Target: t.Name, Service: t.Service,
			Issued: g.issued, Installed: g.installed, Served: g.served(observed), ReloadsLeft: g.reloadsLeft, NotOurs: g.notOurs,
		},
		Looked:    i.began.UTC(), // and not now: the state was read then
		Endangers: g.endangers,
	}
	if g.known != nil {
		seen.Looked = g.known.Noted.UTC()
	}
	if ends := i.chainEnds(g, observed); !ends.IsZero() {
		ends = ends.UTC()
		seen.ChainEnds = &ends
	}
	if t.Contact != "" {
		seen.Contact = &t.Contact
	}
	return known.Conclude(seen)
}

// isChanged reports whether somebody else has installed what there is: it is not a run's
// that is under way, was cut off, or has ended since the state was read. A row has no
// journal that would tell of a run, so the issued pair counts as a run's there.
func (i inspection) isChanged(g glance) bool {
	if g.installed == nil || !g.place.IsChanged(g.installed.Fingerprint, i.record(g.assigned)) {
		return false
	}
	if g.place.Row != nil && g.issued != nil && g.issued.Fingerprint == g.installed.Fingerprint {
		return false
	}
	unfinished, st := i.later()
	return !unfinished[refOf(g.assigned)] && g.place.IsChanged(g.installed.Fingerprint, st.Get(g.assigned.Target.Name, g.assigned.Lineage.Name))
}

// later returns which sets have a transaction that is not over, and the state as it is by
// now.
func (in Inspector) later() (map[install.Ref]bool, *state.State) {
	unfinished := map[install.Ref]bool{}
	found, err := install.New(in.Site.Store.JournalDir()).Unfinished()
	if err != nil {
		in.Site.Log.Warn("it is not known whether a run is under way", "error", err)
	}
	for _, run := range found.Interrupted {
		unfinished[install.Ref{Target: run.Target, Lineage: run.Lineage}] = true
	}
	st, _, err := in.Site.State()
	if err != nil {
		st = &state.State{}
	}
	return unfinished, st
}

// markOf returns the mark of an assignment's lineage, and reports whether there is one.
// Where the lineage is missing, that of any which the target would take counts: a hook
// was called for it.
func markOf(a prepare.Assignment, marks map[string]state.Mark) (state.Mark, bool) {
	if !a.Missing() {
		mark, is := marks[a.Lineage.String()]
		return mark, is
	}
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		l := lineage.Lineage{}
		if l.Client, l.Name, _ = strings.Cut(name, ":"); a.Target.Wants(l) {
			return marks[name], true
		}
	}
	return state.Mark{}, false
}

// chainEnds returns when the first of the chains that are served ends before its
// leaf, or else that of what was issued; zero: none does.
func (i inspection) chainEnds(g glance, observed []probe.Observation) (first time.Time) {
	first = g.issuedEnds
	for n, o := range observed {
		if o.Leaf() == nil {
			continue
		}
		ends := i.prep.ChainEnds(&lineage.Bundle{Leaf: o.Leaf(), Intermediates: o.Chain[1:]}, g.assigned.Target.Policy.Trust)
		if n == 0 || first.IsZero() || !ends.IsZero() && ends.Before(first) {
			first = ends
		}
	}
	return first
}

// served returns what the probes saw, those of listeners that are gone last.
func (g glance) served(observed []probe.Observation) []state.Served {
	all := []state.Served{}
	planned, lost := observed[:len(g.planned)], observed[len(g.planned):]
	answers := slices.ContainsFunc(planned, func(o probe.Observation) bool { return o.Leaf() != nil })
	for _, o := range planned {
		if why := prepare.WhyUnreached(o); why != "" {
			if !answers { // else those show it
				all = append(all, unreached(o.Endpoint, why))
			}
			continue
		}
		if o.Leaf() == nil && g.areFound && answers && !prepare.Among(o.Endpoint, g.proved) {
			continue // it is for something else
		}
		all = append(all, shown(o.Endpoint, o.Leaf(), o.Err))
	}
	for _, o := range lost {
		switch {
		case answers: // the service was told to listen elsewhere
		case prepare.WhyUnreached(o) != "":
			all = append(all, unreached(o.Endpoint, prepare.WhyUnreached(o)))
		case o.Leaf() != nil:
			all = append(all, shown(o.Endpoint, nil, fmt.Errorf("%s: another service answers there", o.Endpoint)))
		default:
			all = append(all, shown(o.Endpoint, nil, o.Err))
		}
	}
	if g.blind != "" {
		why := string(g.blind)
		all = append(all, state.Served{Error: &why})
	}
	return all
}

// unreached returns what there is to say of a probe that cannot reach its service.
func unreached(e endpoint.Endpoint, reason outcome.Reason) state.Served {
	url, why := e.String(), string(reason)
	return state.Served{Probe: &url, Error: &why}
}

// shown returns what one probe saw: a leaf, or why there is none.
func shown(e endpoint.Endpoint, leaf *x509.Certificate, err error) state.Served {
	url := e.String()
	if leaf != nil {
		return state.Served{Probe: &url, Leaf: describe(leaf)}
	}
	text := err.Error()
	return state.Served{Probe: &url, Error: &text}
}
