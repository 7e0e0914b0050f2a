package inspect

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/beside"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/owntest"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// This file looks, without changing anything, at all that a deployment to a
// target depends on.

// Examination is what was found out about one lineage at one target, or about
// the host.
type Examination struct {
	Target, Lineage, Service string            // empty: the host
	Checks                   []deployers.Check // in the order of deployers.Aspects
}

// Examine looks at the lineages, targets and services of a scope: the bundle,
// the service's own configuration and control channel, whether it can be made to
// take new files, its own test, whether its user can read what is installed, and
// what is served. What is wrong is a check; the error is for what kept it from
// looking, such as a *prepare.RequestError.
func (in Inspector) Examine(ctx context.Context, scope prepare.Scope) ([]Examination, error) {
	prep := prepare.NewPreparer(in.Site.World)
	defer prep.Close()
	i, err := in.begin(prep)
	if err != nil {
		return nil, err
	}
	all, err := prepare.Lineages(in.Site.Config)
	if err != nil {
		return nil, err
	}
	if err := scope.Check(in.Site.Config, all); err != nil {
		return nil, err
	}
	assigned := slices.DeleteFunc(prepare.Assign(in.Site.Config, all), func(a prepare.Assignment) bool {
		return !scope.Names(a.Target.Name, a.Lineage)
	})
	return i.examineAll(ctx, assigned), nil
}

// examineAll looks at assignments side by side, and then at all that they serve at
// once, so that one that is silent does not hold up the others.
func (i inspection) examineAll(ctx context.Context, assigned []prepare.Assignment) []Examination {
	i.gather(ctx, assigned, true)
	found := beside.Each(beside.Goroutines, assigned, func(a prepare.Assignment) examined {
		i.site.Tell("looking at %s for %s", a.Target.Name, a.Lineage.Name)
		return i.examine(ctx, a)
	})
	var trials []prepare.Trial
	var looks []prepare.Look
	for _, e := range found {
		if e.isReadByUser() {
			trials = append(trials, e.trials()...)
		}
		looks = append(looks, prepare.LookFor(e.plan, e.probes))
	}
	tried := prepare.TryToRead(ctx, i.site.World.Programs, trials)
	observed := i.prep.Look(ctx, looks, func() {})
	elsewhere, taken := i.writtenElsewhere(found, observed), i.writtenTaken(ctx, found)
	var all []Examination
	for n, e := range found {
		checks := e.checks
		if e.isReadByUser() {
			n := len(e.trials())
			checks = append([]deployers.Check{e.readBy(tried[:n]...)}, checks...)
			tried = tried[n:]
		}
		if e.left != nil {
			checks = append(checks, e.leftBehind(observed[n])...)
		}
		if e.looks {
			checks = append(checks, e.served(observed[n])...)
			checks = append(checks, e.pointsAway(observed[n], elsewhere)...)
			checks = append(checks, taken[n]...)
		}
		deployers.SortChecks(checks)
		a := e.assigned
		all = append(all, Examination{a.Target.Name, a.Lineage.Name, a.Target.Service, checks})
	}
	return all
}

func fine(about deployers.Aspect, says string, args ...any) deployers.Check {
	return deployers.NewCheck(about, deployers.Fine, "", says, args...)
}

func warned(about deployers.Aspect, remedy, says string, args ...any) deployers.Check {
	return deployers.NewCheck(about, deployers.Warned, remedy, says, args...)
}

func wrong(about deployers.Aspect, remedy, says string, args ...any) deployers.Check {
	return deployers.NewCheck(about, deployers.Wrong, remedy, says, args...)
}

// fails returns the check of what would make a deployment fail, in the words
// that the deployment would have for it.
func fails(about deployers.Aspect, err error, of outcome.Subject) deployers.Check {
	_, remedy := outcome.Explain(err, of)
	return wrong(about, remedy, "%v", err)
}

// examined is what was found out about an assignment, but for what is served.
type examined struct {
	evidence
	checks []deployers.Check
	probes []endpoint.Endpoint // to be looked at
	looks  bool                // at what is served, of which there is something to say without probes too
	left   *glance             // at what a lineage has left behind that is not kept any more; nil: it is kept
}

// examine looks as far as it can: what is installed and served cannot be
// compared without a bundle, nor found without a plan.
func (i inspection) examine(ctx context.Context, a prepare.Assignment) examined {
	if a.Err != nil {
		var proven *lineage.Leaf
		if known := i.record(a).Proven; known != nil {
			proven = &known.Leaf
		}
		fault := i.prep.Explained(i.site.Config, a, proven)
		g := i.glance(ctx, a)
		return examined{
			evidence: evidence{assigned: a, record: i.record(a), plan: deployers.Plan{Found: g.areFound, Of: g.of}},
			checks:   []deployers.Check{fails(deployers.Issued, fault, subjectOf(a, deployers.Plan{}))},
			probes:   g.probes(), left: &g,
		}
	}
	e := examined{evidence: i.open(ctx, a)}
	e.checks = slices.Concat(i.kept(a), i.replaced(e.evidence), e.plan.Checks, []deployers.Check{e.activation()}, i.issued(ctx, e.evidence))
	if !e.isComparable() {
		return e
	}
	e.checks = slices.Concat(e.checks, i.reading(ctx, e.evidence), i.ownTest(ctx, e.evidence), i.endangered(ctx, e.evidence))
	named, err := prepare.NameProbes(e.plan.Probes, e.bundle.Leaf)
	if err != nil {
		e.checks = append(e.checks, e.fails(deployers.Serving, err))
		return e
	}
	e.probes, e.looks = named, true
	return e
}

// leftBehind says what of an assignment whose lineage is not kept any more is installed
// and served all the same, and until when: nobody renews it.
func (e examined) leftBehind(observed []probe.Observation) (checks []deployers.Check) {
	until := func(about deployers.Aspect, what string, leaf lineage.Leaf) {
		ends := leaf.NotAfter.Format("2006-01-02 15:04 MST")
		if leaf.NotAfter.Before(time.Now()) {
			checks = append(checks, wrong(about, "let the target have a lineage that is renewed", "%s %s, which expired at %s", what, leaf.Short(), ends))
			return
		}
		checks = append(checks, fine(about, "%s %s, until %s", what, leaf.Short(), ends))
	}
	if e.left.installed != nil {
		until(deployers.Reading, "what is installed is", *e.left.installed)
	}
	for _, o := range observed {
		switch leaf := o.Leaf(); {
		case leaf != nil:
			until(deployers.Serving, o.Endpoint.String()+" serves", lineage.Describe(leaf))
		case !e.plan.Found || prepare.Among(o.Endpoint, e.left.proved):
			checks = append(checks, e.silent(o.Err))
		}
	}
	return checks
}

// replaced says that another lineage has taken the place of an assignment's, which
// its client does not renew any more then.
func (i inspection) replaced(ev evidence) []deployers.Check {
	if ev.bundle == nil {
		return nil
	}
	leaf := ev.bundle.Leaf
	by := prepare.Successor(i.spares(), lineage.Names(leaf), leaf.NotBefore, i.began)
	if by == nil {
		return nil
	}
	t, l := ev.assigned.Target.Name, ev.assigned.Lineage
	return []deployers.Check{warned(deployers.Issued, "write lineage: "+outcome.Selector(by.Lineage)+" for target "+t+", unless both are meant to be kept",
		"%s has the names of %s and a newer leaf, of %s, and no target takes it", by.Lineage, l, by.Leaf.NotBefore.UTC().Format(time.DateOnly))}
}

// evidence is what there is to know of an assignment, before it is looked at what
// its service makes of that.
type evidence struct {
	assigned prepare.Assignment
	record   state.Record
	bundle   *lineage.Bundle // nil: it cannot be read
	findings []lineage.Finding
	plan     deployers.Plan
	planErr  error

	// What is installed; only with both a bundle and a plan.
	pair    pairs.Pair
	pairErr error
}

// open finds out what there is to know of an assignment.
func (i inspection) open(ctx context.Context, a prepare.Assignment) evidence {
	ev := evidence{assigned: a, record: i.record(a)}
	ev.bundle, ev.findings = i.prep.Bundle(a.Lineage)
	ev.plan, ev.planErr = i.plan(ctx, a, ev.bundle)
	if ev.isComparable() {
		ev.pair, ev.pairErr = i.site.Storage().Look(ctx, pairs.At(a.Target.Target, a.Lineage.Name, ev.plan), ev.bundle, "")
		if ev.pairErr == nil {
			ev.plan, ev.planErr = prepare.FilesFirst(ev.plan, ev.planErr, ev.pair, ev.record)
		}
	}
	return ev
}

// isComparable reports whether there are both a bundle and a plan.
func (ev evidence) isComparable() bool {
	return ev.bundle != nil && (ev.planErr == nil || isNoWay(ev.planErr))
}

// installed returns the leaf that is installed, with what is beside it; nil: none is
// known.
func (ev evidence) installed() []*x509.Certificate {
	if ev.pairErr != nil {
		return nil
	}
	return ev.pair.Chain()
}

func (ev evidence) fails(about deployers.Aspect, err error) deployers.Check {
	return fails(about, err, subjectOf(ev.assigned, ev.plan))
}

// deploy returns the command that deploys the lineage.
func (ev evidence) deploy() string { return "certlatch deploy " + ev.assigned.Lineage.Argument() }

// isInactive reports whether the service waits to be started.
func (ev evidence) isInactive() bool { return ev.plan.Activate.Wait == deployers.ServiceInactive }

// kept returns what keeps every deployment from an assignment's target.
func (i inspection) kept(a prepare.Assignment) (checks []deployers.Check) {
	if i.unread != nil {
		checks = append(checks, wrong(deployers.State, state.RemedyOf(i.unread), "nothing is deployed to the target: %v", i.unread))
	}
	if hold := i.state.Held(a.Target.Name); hold != nil {
		checks = append(checks, warned(deployers.Reload, "certlatch release "+a.Target.Name+" lets it be deployed to again",
			"the target is held since %s (%s)", hold.Since.Format(time.RFC3339), hold.Reason))
	}
	return checks
}

// activation says how the service will be made to take new files, or why it will
// not.
func (ev evidence) activation() deployers.Check {
	a := ev.plan.Activate
	noWay, isNoWay := errors.AsType[*deployers.NoWayError](ev.planErr)
	switch {
	case isNoWay:
		return wrong(noWay.About, noWay.Remedy, "%s", noWay.Why)
	case ev.planErr != nil:
		return ev.fails(deployers.Reload, ev.planErr)
	case a.Way == deployers.NoWay && a.Wait != deployers.NothingToDo:
		remedy := outcome.WaitFor(a).Remedy(subjectOf(ev.assigned, ev.plan))
		return warned(deployers.Reload, remedy, "%s", cmp.Or(a.Why, a.Unit+" does not run"))
	case a.Why != "":
		return fine(deployers.Reload, "%s: %s", a, a.Why)
	}
	return fine(deployers.Reload, "%s", a)
}

// issued returns what there is to say about the bundle, held against the
// target's policy where it is whole.
func (i inspection) issued(ctx context.Context, ev evidence) (checks []deployers.Check) {
	findings := ev.findings
	if ev.bundle != nil {
		var err error
		judged := prepare.CaseOf(ev.assigned.Target, ev.bundle, ev.findings, ev.plan, ev.installed())
		judged.Kept = i.site.Config
		findings, err = i.prep.Judge(ctx, judged)
		if err != nil {
			checks = append(checks, ev.fails(deployers.Issued, err))
		}
	}
	for _, f := range findings {
		level := deployers.Warned
		if f.Severity == lineage.Refused {
			level = deployers.Wrong
		}
		checks = append(checks, deployers.NewCheck(deployers.Issued, level, f.Remedy, "%s", f))
	}
	if len(findings) == 0 {
		leaf := lineage.Describe(ev.bundle.Leaf)
		checks = append(checks, fine(deployers.Issued, "%s is good, until %s", leaf.Short(), leaf.NotAfter.Format("2006-01-02 15:04 MST")))
	}
	return checks
}

// reading says what is wrong with what is installed, but for what it takes a trial
// to know, and looks for rights that somebody else than root and the target's own
// user could have given himself.
func (i inspection) reading(ctx context.Context, ev evidence) (checks []deployers.Check) {
	switch {
	case ev.pairErr != nil:
		return []deployers.Check{ev.fails(deployers.Reading, ev.pairErr)}
	case !ev.pair.Whole():
		checks = append(checks, warned(deployers.Reading, ev.deploy(), "nothing is installed yet, or not all of it"))
		for _, made := range ev.pair.Missing() {
			checks = append(checks, fine(deployers.Reading, "%s", made))
		}
	case ev.plan.Row != nil:
		checks = append(checks, ev.readBy(prepare.Tried{User: ev.assigned.Target.Service}))
	}
	if ev.plan.Row != nil {
		if err := i.site.World.Databases.Try(ctx, *ev.plan.Row); err != nil {
			checks = append(checks, ev.fails(deployers.Reading, &outcome.DatabaseError{Err: err}))
		}
	}
	found, err := i.site.Storage().NotCarried(ev.pair)
	if err != nil {
		checks = append(checks, ev.fails(deployers.Reading, err))
	}
	for _, n := range found {
		finding := outcome.NotCarriedFinding(n)
		checks = append(checks, warned(deployers.Reading, finding.Remedy, "%s", finding))
	}
	return checks
}

// isReadByUser reports whether there is a whole pair in files, which it takes a
// trial to know whether the service's user can read.
func (ev evidence) isReadByUser() bool {
	return ev.isComparable() && ev.pairErr == nil && ev.pair.Whole() && ev.plan.Row == nil
}

// trials returns those of what is installed.
func (ev evidence) trials() []prepare.Trial {
	return prepare.Trials(ev.plan, func(path string) string { return path })
}

// readBy holds what is installed against the bundle, given who reads it, or cannot.
func (ev evidence) readBy(tried ...prepare.Tried) deployers.Check {
	var readers []string
	for _, by := range tried {
		if by.Err != nil {
			return ev.fails(deployers.Reading, by.Err)
		}
		readers = append(readers, by.User)
	}
	if !ev.pair.Same() {
		return ev.differs()
	}
	return fine(deployers.Reading, "what was issued is installed, and %s can read it", strings.Join(readers, " and "))
}

// differs says how what is installed differs from what was issued. Rights alone may
// be as somebody wants them.
func (ev evidence) differs() deployers.Check {
	words, onlyRights := ev.pair.Differences()
	remedy := ev.deploy()
	if onlyRights {
		remedy += fmt.Sprintf(", or write user:, group: and mode: of target %s as they are to stay", ev.assigned.Target.Name)
	}
	return warned(deployers.Reading, remedy, "what is installed differs from what was issued: %s", strings.Join(words, "; "))
}

// ownTest runs the service's own test. What it says of others than the target
// does not keep a deployment from succeeding, unless that would harm them.
func (i inspection) ownTest(ctx context.Context, ev evidence) []deployers.Check {
	test := ev.plan.Test
	if len(test.Command) == 0 {
		return nil
	}
	return []deployers.Check{i.judgeOwnTest(ctx, ev, i.tests.Baseline(ctx, test))}
}

// judgeOwnTest judges what the service's own test says.
func (i inspection) judgeOwnTest(ctx context.Context, ev evidence, failed error) deployers.Check {
	test, program := ev.plan.Test, ev.plan.Test.Command[0]
	if failed == nil {
		return fine(deployers.OwnTest, "%s finds nothing wrong", program)
	}
	if test.Start && ev.plan.Activate.Way != deployers.RestartUnit {
		return warned(deployers.OwnTest, outcome.LookAtStart(test, ev.assigned.Target.Unit), "%s fails, so the next start would: %v", program, failed)
	}
	if test.Start {
		return wrong(deployers.OwnTest, outcome.LookAtStart(test, ev.assigned.Target.Unit), "%s fails, so it is not restarted: %v", program, failed)
	}
	counts, _ := owntest.Against(test, failed, failed)
	if counts != nil && ev.pair.Whole() {
		return wrong(deployers.OwnTest, "correct the service's configuration", "%s fails: %v", program, counts)
	}
	other, about, err := owntest.Endangered(ctx, test, failed, func(ctx context.Context, other deployers.Other) bool {
		return i.prep.Serves(ctx, ev.plan, other)
	})
	switch {
	case err != nil:
		return ev.fails(deployers.OwnTest, err)
	case other != nil:
		wait := outcome.EndangersError(other.Name, about, ev.plan.Activate)
		return warned(deployers.OwnTest, wait.Remedy(subjectOf(ev.assigned, ev.plan)), "%v", wait)
	case counts != nil:
		return warned(deployers.OwnTest, ev.deploy(), "%s fails, perhaps for want of the first deployment: %v", program, counts)
	}
	return warned(deployers.OwnTest, "", "%s finds fault with what is not the target's: %v", program, failed)
}

// endangered says what an activation would take from the service beside the target.
func (i inspection) endangered(ctx context.Context, ev evidence) []deployers.Check {
	_, wait, err := i.beside.Endangered(ctx, ev.plan.Beside, ev.plan.Activate)
	switch {
	case err != nil && ev.pairErr == nil:
		return []deployers.Check{ev.fails(deployers.Reload, err)}
	case wait != nil:
		return []deployers.Check{warned(deployers.Reload, wait.Remedy(subjectOf(ev.assigned, ev.plan)), "%v", wait)}
	}
	return nil
}

// served returns what there is to say about what the probes saw. Of the
// listeners that were found, some may be for something else.
func (ev evidence) served(observed []probe.Observation) (checks []deployers.Check) {
	issued := lineage.Fingerprint(ev.bundle.Leaf)
	proved := prepare.Proved(ev.record.Proven, ev.plan)
	counted := 0
	answers := slices.ContainsFunc(observed, func(o probe.Observation) bool { return o.Leaf() != nil })
	var unanswered []error // of the probes that proved the target before
	for _, o := range observed {
		leaf := o.Leaf()
		switch {
		case prepare.IsAway(o):
			checks = append(checks, ev.away(o, answers))
			counted++
			continue
		case leaf == nil && ev.plan.Found && prepare.Among(o.Endpoint, proved):
			unanswered = append(unanswered, o.Err)
			continue
		case leaf == nil && ev.plan.Found:
			continue
		case leaf == nil:
			checks = append(checks, ev.silent(o.Err))
		case prepare.Shows(o, issued):
			checks = append(checks, fine(deployers.Serving, "%s serves what was issued", o.Endpoint))
		default:
			checks = append(checks, warned(deployers.Serving, ev.deploy(), "%s serves %s, not what was issued", o.Endpoint, lineage.Describe(leaf).Short()))
		}
		counted++
	}
	if counted == 0 && !ev.isInactive() && prepare.Unreached(ev.plan, nil) == nil {
		for _, e := range prepare.LostProbes(ev.record.Proven, ev.plan) {
			unanswered = append(unanswered, fmt.Errorf("%s: the service does not listen there any more", e))
		}
	}
	for _, err := range unanswered {
		checks = append(checks, ev.silent(err))
	}
	if ev.plan.Found && len(checks) == 0 && !ev.isInactive() && !prepare.IsFilesFirst(ev.plan) {
		checks = append(checks, ev.unseen())
	}
	return checks
}

// away returns the check of a found probe that does not reach the service, where
// others do or not.
func (ev evidence) away(o probe.Observation, others bool) deployers.Check {
	switch {
	case prepare.WhyUnreached(o) != "" && others:
		return fine(deployers.Serving, "%v, and it is not proven there", o.Err)
	case prepare.IsNotHere(o):
		return warned(deployers.Serving, "write a probe at an address that this host always has; or else certlatch deploy --pending proves a renewal when the address has come", "%v", o.Err)
	case prepare.WhyUnreached(o) != "":
		return ev.unreached(prepare.Unreached(ev.plan, []probe.Observation{o}))
	case prepare.IsDiverted(o):
		return warned(deployers.Serving, "let the rule (nft list ruleset) leave alone what this host itself asks there, or write a probe at an address that no rule is about", "%v", o.Err)
	}
	return warned(deployers.Serving, "see who else listens there (ss -tlnp), or write a probe that reaches only the service", "%v", o.Err)
}

// writtenElsewhere returns the addresses of other hosts that probes which were
// written down lead to.
func (i inspection) writtenElsewhere(found []examined, observed [][]probe.Observation) []netip.Addr {
	var met []netip.Addr
	for n, e := range found {
		for _, o := range observed[n] {
			if at := prepare.AddressOf(o); !e.plan.Found && at.IsValid() && !slices.Contains(met, at) {
				met = append(met, at)
			}
		}
	}
	return i.prep.Elsewhere(met)
}

// writtenTaken returns, for each of what was found out, checks of written probes at which
// another process of this host listens, alone or beside the service.
func (i inspection) writtenTaken(ctx context.Context, found []examined) [][]deployers.Check {
	looks := make([]prepare.Look, len(found))
	for n, e := range found {
		if e.looks && !e.plan.Found && e.plan.Of != (deployers.Processes{}) {
			looks[n] = prepare.Look{Found: true, Of: e.plan.Of, At: e.probes}
		}
	}
	checks := make([][]deployers.Check, len(found))
	for n, away := range i.prep.Away(ctx, looks) {
		for _, o := range away {
			if prepare.IsTaken(o) {
				checks[n] = append(checks[n], fine(deployers.Serving, "%v; the probe is written down, so what answers there counts as the service (ss -tlnp tells who else listens)", o.Err))
			}
		}
	}
	return checks
}

// pointsAway returns checks of written probes that have led to other hosts.
func (ev evidence) pointsAway(observed []probe.Observation, elsewhere []netip.Addr) (checks []deployers.Check) {
	for _, o := range observed {
		if at := prepare.AddressOf(o); !ev.plan.Found && slices.Contains(elsewhere, at) {
			checks = append(checks, fine(deployers.Serving, "%s is written down: %s is no address of this host, and what answers there counts as the service", o.Endpoint, at))
		}
	}
	return checks
}

// unreached returns the check of a service that cannot be reached from here.
func (ev evidence) unreached(wait *outcome.WaitError) deployers.Check {
	return warned(deployers.Serving, wait.Remedy(subjectOf(ev.assigned, ev.plan)), "%v", wait)
}

// silent returns the check of a probe that completes no handshake.
func (ev evidence) silent(err error) deployers.Check {
	if outage := prepare.Outage(ev.assigned.Target, ev.record.Proven, err); outage != nil {
		return ev.fails(deployers.Serving, outage)
	}
	if ev.isFirst() {
		remedy := "let the service serve the files there; certlatch deploy --pending then proves it"
		if !ev.pair.Whole() {
			remedy = ev.deploy() + " first; then " + remedy
		}
		return warned(deployers.Serving, remedy, "%v", err)
	}
	return wrong(deployers.Serving, "see whether the service runs, and whether the probe reaches it", "%v", err)
}

// isFirst reports whether a deployment would have no pair to go back to.
func (ev evidence) isFirst() bool {
	return ev.isComparable() && ev.pairErr == nil && prepare.NothingBefore(ev.pair, ev.record)
}

// unseen returns the check of a service none of whose listeners says anything
// of the target.
func (ev evidence) unseen() deployers.Check {
	if wait := prepare.Unreached(ev.plan, nil); wait != nil {
		return ev.unreached(wait)
	}
	if ev.isFirst() && len(ev.plan.Probes) > 0 {
		return warned(deployers.Serving, ev.deploy(), "no listener of the service completes a TLS handshake yet")
	}
	return ev.fails(deployers.Serving, prepare.Unserved(ev.assigned.Target, ev.plan, ev.record.Proven, outcome.NoListenerError{}, &outcome.NoProbeError{Target: ev.assigned.Target.Name}))
}
