package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/lineage"
)

// This file looks, without changing anything, at all that a deployment
// depends on.

// Examination is what was found out about one lineage at one target, or about
// the host.
type Examination struct {
	Target, Lineage, Service string            // empty: the host
	Checks                   []deployers.Check // in the order of deployers.Aspects
}

// Examine looks at the lineages, targets and services that the request names:
// the bundle, the service's own configuration and control channel, whether it
// can be made to take new files, its own test, whether its user can read what
// is installed, and what is served. What is wrong is a check; the error is for
// what kept it from looking, such as a *RequestError.
func (e *Engine) Examine(ctx context.Context, req Request) ([]Examination, error) {
	r, err := e.view(req, time.Now())
	if err != nil {
		return nil, err
	}
	defer r.close()
	items, err := r.choose()
	if err != nil {
		return nil, err
	}
	var all []Examination
	for _, it := range items {
		r.tell("looking at %s for %s", it.target.Name, it.lineage.Name)
		x := examiner{run: r, it: it}
		x.examine(ctx)
		deployers.SortChecks(x.checks)
		all = append(all, Examination{it.target.Name, it.lineage.Name, it.target.Service, x.checks})
	}
	return all, nil
}

// examiner collects the checks of one item.
type examiner struct {
	*run
	it     *item
	checks []deployers.Check
}

// examine looks as far as it can: what is installed and served cannot be
// compared without a bundle, nor found without a plan.
func (x *examiner) examine(ctx context.Context) {
	if x.it.out.Result != "" { // there is no lineage, or more than one
		x.say(deployers.Issued, deployers.Wrong, x.it.out.Remedy, "%s", x.it.out.Detail)
		return
	}
	if x.unread != nil {
		x.say(deployers.State, deployers.Wrong, remedyOf(x.unread), "nothing is deployed to the target: %v", x.unread)
	}
	if hold := x.state.Held(x.it.target.Name); hold != nil {
		x.say(deployers.Reload, deployers.Warned, "certlatch release "+x.it.target.Name+" lets it be deployed to again",
			"the target is held since %s (%s)", hold.Since.Format(time.RFC3339), hold.Reason)
	}
	unread := x.open(x.it)
	planned := x.ask(ctx, x.it)
	x.checks = append(x.checks, x.it.plan.Checks...)
	x.reload(planned)
	switch {
	case unread != nil:
		x.bundle()
	case planned == nil, errors.As(planned, new(*deployers.NoWayError)): // what cannot be reloaded may be served all the same
		x.rest(ctx)
	default:
		x.judgement(ctx)
	}
}

// rest is what needs both a bundle and a plan.
func (x *examiner) rest(ctx context.Context) {
	if err := x.look(ctx, x.it); err != nil {
		x.wrong(deployers.Reading, err)
	} else {
		x.installed(ctx)
		x.attributes()
	}
	x.ownTest(ctx)
	if err := x.it.nameProbes(); err != nil {
		x.wrong(deployers.Serving, err)
	} else {
		x.served(ctx)
	}
	x.judgement(ctx)
}

// attributes looks for rights that somebody else than root and the target's own
// user could have given himself.
func (x *examiner) attributes() {
	if x.it.plan.Row != nil {
		return
	}
	found, err := x.installer.NotCarried(x.it.set)
	if err != nil {
		x.wrong(deployers.Reading, err)
	}
	for _, n := range found {
		finding := notCarried(n)
		x.say(deployers.Reading, deployers.Warned, finding.Remedy, "%s", finding)
	}
}

func (x *examiner) say(about deployers.Aspect, level deployers.Level, remedy, says string, args ...any) {
	x.checks = append(x.checks, deployers.NewCheck(about, level, remedy, says, args...))
}

// wrong notes what would make a deployment fail, in the words that the
// deployment would have for it.
func (x *examiner) wrong(about deployers.Aspect, err error) {
	failed := *x.it
	failed.fail(Validate, err)
	x.say(about, deployers.Wrong, failed.out.Remedy, "%s", failed.out.Detail)
}

// judgement holds the bundle against the target's policy.
func (x *examiner) judgement(ctx context.Context) {
	if err := x.judge(ctx, x.it); err != nil && !errors.As(err, new(*refusedError)) {
		x.wrong(deployers.Issued, err)
	}
	x.bundle()
}

// bundle tells what was found about the bundle.
func (x *examiner) bundle() {
	for _, f := range x.it.out.Findings {
		level := deployers.Warned
		if f.Severity == lineage.Refused {
			level = deployers.Wrong
		}
		x.say(deployers.Issued, level, f.Remedy, "%s", f)
	}
	if len(x.it.out.Findings) == 0 {
		x.say(deployers.Issued, deployers.Fine, "", "%s is good, until %s", x.it.leaf.Short(), x.it.leaf.NotAfter.Format("2006-01-02 15:04 MST"))
	}
}

// reload tells how the service will be made to take new files, or why it will
// not.
func (x *examiner) reload(planned error) {
	a := x.it.plan.Activate
	noWay := new(deployers.NoWayError)
	switch {
	case errors.As(planned, &noWay):
		x.say(noWay.About, deployers.Wrong, noWay.Remedy, "%s", noWay.Why)
	case planned != nil:
		x.wrong(deployers.Reload, planned)
	case a.Way == deployers.NoWay && a.Wait != deployers.NothingToDo:
		wait := waitFor(a)
		x.say(deployers.Reload, deployers.Warned, wait.remedy(x.it), "%s", cmp.Or(a.Why, a.Unit+" does not run"))
	case a.Why != "":
		x.say(deployers.Reload, deployers.Fine, "", "%s: %s", a, a.Why)
	default:
		x.say(deployers.Reload, deployers.Fine, "", "%s", a)
	}
}

// ownTest runs the service's own test. What it says of others than the target
// does not keep a deployment from succeeding, unless that would harm them.
func (x *examiner) ownTest(ctx context.Context) {
	if len(x.it.plan.Test.Command) == 0 {
		return
	}
	program := x.it.plan.Test.Command[0]
	err := runTest(ctx, x.it.plan.Test)
	x.it.testedBefore, x.it.tested = err, err
	counts, _ := x.it.against(err)
	installed := len(x.it.before) == len(x.it.set.Files)
	wait := new(waitError)
	switch spare := x.it.spareOthers(ctx); {
	case err == nil:
		x.say(deployers.OwnTest, deployers.Fine, "", "%s finds nothing wrong", program)
	case counts != nil && installed:
		x.say(deployers.OwnTest, deployers.Wrong, "correct the service's configuration", "%s fails: %v", program, counts)
	case errors.As(spare, &wait):
		x.say(deployers.OwnTest, deployers.Warned, wait.remedy(x.it), "%s", wait.detail)
	case spare != nil:
		x.wrong(deployers.OwnTest, spare)
	case counts != nil:
		x.say(deployers.OwnTest, deployers.Warned, "certlatch deploy "+x.it.lineage.Name, "%s fails, perhaps for want of the first deployment: %v", program, counts)
	default:
		x.say(deployers.OwnTest, deployers.Warned, "", "%s finds fault with what is not the target's: %v", program, err)
	}
}

// installed holds what is installed against the bundle, and tries whether the
// service's user can read it.
func (x *examiner) installed(ctx context.Context) {
	deploy := "certlatch deploy " + x.it.lineage.Name
	if len(x.it.before) < len(x.it.set.Files) {
		x.say(deployers.Reading, deployers.Warned, deploy, "nothing is installed yet, or not all of it")
		return
	}
	reader, err := x.canRead(ctx)
	switch {
	case err != nil:
		x.wrong(deployers.Reading, err)
	case !x.it.same:
		x.say(deployers.Reading, deployers.Warned, deploy, "what is installed differs from what was issued")
	default:
		x.say(deployers.Reading, deployers.Fine, "", "what was issued is installed, and %s can read it", reader)
	}
}

// canRead tries whether the service can read what is installed, and says who
// that is.
func (x *examiner) canRead(ctx context.Context) (reader string, err error) {
	if x.it.plan.Row != nil {
		return x.it.target.Service, nil
	}
	credential, err := account.CredentialOf(x.it.plan.Reader)
	if err != nil {
		return "", err
	}
	var paths []string
	for _, f := range x.it.before {
		paths = append(paths, f.Path)
	}
	return credential.User, command.CanRead(ctx, credential, paths)
}

// served looks once at what every probe sees. Of the listeners that were
// found, some may be for something else.
func (x *examiner) served(ctx context.Context) {
	seen := 0
	proved := x.proved(x.it)
	var silent []error // of the probes that proved the target before
	for _, o := range observe(ctx, x.it.plan.Probes) {
		leaf := o.Leaf()
		switch {
		case leaf == nil && x.it.plan.Found && among(o.Endpoint, proved):
			silent = append(silent, o.Err)
			continue
		case leaf == nil && x.it.plan.Found:
			continue
		case leaf == nil:
			x.silent(o.Err)
		case shows(o, x.it.leaf.Fingerprint):
			x.say(deployers.Serving, deployers.Fine, "", "%s serves what was issued", o.Endpoint)
		default:
			x.say(deployers.Serving, deployers.Warned, "certlatch deploy "+x.it.lineage.Name, "%s serves %s, not what was issued", o.Endpoint, lineage.Describe(leaf).Short())
		}
		seen++
	}
	if seen == 0 && x.it.plan.Activate.Wait != deployers.ServiceInactive {
		for _, e := range x.lost(x.it) {
			silent = append(silent, fmt.Errorf("%s: the service does not listen there any more", e))
		}
	}
	for _, err := range silent {
		x.silent(err)
	}
	switch {
	case !x.it.plan.Found || seen > 0 || len(silent) > 0 || x.it.plan.Activate.Wait == deployers.ServiceInactive:
	case x.it.first && len(x.it.plan.Probes) > 0:
		x.say(deployers.Serving, deployers.Warned, "certlatch deploy "+x.it.lineage.Name, "no listener of the service completes a TLS handshake yet")
	default:
		x.wrong(deployers.Serving, x.unserved(x.it, noListenerError{}, &noProbeError{x.it.target.Name}))
	}
}

// silent reports a probe that completes no handshake.
func (x *examiner) silent(err error) {
	if outage := x.outage(x.it, err); outage != nil {
		x.wrong(deployers.Serving, outage)
		return
	}
	x.say(deployers.Serving, deployers.Wrong, "see whether the service runs, and whether the probe reaches it", "%v", err)
}
