// Package engine acts on plans. It is the one place where a deployment
// happens: validate, baseline, stage, commit, test, activate, prove, record,
// or undo. What those words promise is written in the contract's invariants;
// the steps stand in transaction.go in their order.
//
// It decides nothing about a kind of service (package deployers does) and
// nothing about exit codes (the command does). It does not promise that a
// service keeps serving what was proven once the run has ended.
package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// Units is what the engine asks of systemd.
type Units interface {
	// Unit looks at a unit. One that does not exist has the LoadState
	// not-found; that is no error.
	Unit(ctx context.Context, name string) (deployers.Unit, error)
	// Reload and Restart return when the job has ended well, and with a
	// typed error of package systemd otherwise.
	Reload(ctx context.Context, name string) error
	Restart(ctx context.Context, name string) error
	Close()
}

// Engine deploys bundles to the targets of one configuration.
type Engine struct {
	Config  *config.Config
	Store   *state.Store
	Rows    rows.Databases
	Units   func(context.Context) (Units, error)                                    // nil: systemd does not run this host
	Revoked func(ctx context.Context, leaf, issuer *x509.Certificate) (bool, error) // nil: nobody is asked
	Log     *slog.Logger

	// Progress is told what is being done, for somebody who watches; nil: nobody
	// does.
	Progress func(doing string)
}

// Request says what to deploy.
type Request struct {
	Lineages []string // NAME or CLIENT:NAME; nil: all
	Targets  []string // nil: all that want them
	Pending  bool     // only what is pending and due
	All      bool     // with Pending: whether due or not
	Force    bool     // accept a downgrade, and take every step
	Look     bool     // a proven leaf is looked for again before it counts as unchanged
	Share    bool     // with Lineages: whoever has the lock may take them along, and so does this run with those of others
	By       string   // who asks, for the history
	Limits   Limits
}

// Limits bounds the waits of a run.
type Limits struct {
	Lock       time.Duration // for the lock of all runs
	Work       time.Duration // from the beginning of the run to the last forward step
	Total      time.Duration // from the beginning of the run to the end of the last undo
	Activation time.Duration // of one activation
	Proof      time.Duration // of one proof
}

// HookLimits keep a hook within the 100 seconds of the contract: ACME clients
// wait for their hooks, certbot without any limit of its own.
// What is left after Work is enough for an undo: one activation and one proof.
var HookLimits = Limits{Lock: 30 * time.Second, Work: 55 * time.Second, Total: 95 * time.Second, Activation: 25 * time.Second, Proof: 12 * time.Second}

// HandLimits are for runs that somebody watches. An activation may take as
// long as systemd's own default limit of a job, 90 seconds
// (systemd-system.conf(5), DefaultTimeoutStartSec=).
var HandLimits = Limits{Lock: 60 * time.Second, Work: 10 * time.Minute, Total: 15 * time.Minute, Activation: 100 * time.Second, Proof: 15 * time.Second}

// RequestError says that a request names what does not exist.
type RequestError struct{ What, Remedy string }

func (e *RequestError) Error() string { return e.What }

// Deploy does what the request asks. Failures of single targets are outcomes;
// the error is for what kept the run from happening at all, such as a
// *disk.LockedError or a *RequestError.
func (e *Engine) Deploy(ctx context.Context, req Request) (Report, error) {
	if req.Share {
		report, settled, err := e.announce(req)
		if marked := new(state.DirectoryError); errors.As(err, &marked) {
			e.Log.Warn("another run cannot take this along", "error", err, "remedy", marked.Remedy())
			err, req.Share = nil, false
		}
		if err != nil || settled {
			return report, err
		}
	}
	return e.run(ctx, req, func(ctx context.Context, r *run) error {
		r.mend()
		all, err := r.lineages()
		if err != nil {
			return err
		}
		if err := r.checkNames(all); err != nil {
			return err
		}
		r.forgetGone(all)
		return r.deploy(ctx, r.chooseFrom(all))
	})
}

// Plan says what Deploy would do, and changes nothing.
func (e *Engine) Plan(ctx context.Context, req Request) (Report, error) {
	r, err := e.begin(req, time.Now())
	if err != nil {
		return Report{}, err
	}
	defer r.close()
	items, err := r.choose()
	if err != nil {
		return Report{}, err
	}
	for _, it := range items {
		if r.prepare(ctx, it) {
			it.out.Result, it.out.Plan = Planned, &it.plan
			if it.plan.Activate.Way == deployers.NoWay {
				it.out.Detail = it.plan.Activate.Why
			}
		}
	}
	r.items = items
	return r.report(), nil
}

// Verdict is what is to be said about a bundle for one target.
type Verdict struct {
	Target   string // empty: whichever
	Leaf     *lineage.Leaf
	Findings []lineage.Finding
}

// Refused tells whether the target would not get the bundle.
func (v Verdict) Refused() bool { return policy.Refused(v.Findings) }

// Validate gives every finding about a bundle, for every target that would get
// it, or for none in particular where no target wants it. It touches nothing.
func (e *Engine) Validate(ctx context.Context, l lineage.Lineage) ([]Verdict, error) {
	r, err := e.view(Request{}, time.Now())
	if err != nil {
		return nil, err
	}
	defer r.close()
	var verdicts []Verdict
	for _, t := range e.Config.Targets {
		if !t.Wants(l) {
			continue
		}
		verdict, err := r.verdict(ctx, newItem(t, l))
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", t.Name, err)
		}
		verdicts = append(verdicts, verdict)
	}
	if verdicts == nil {
		verdict, err := r.verdict(ctx, newItem(config.Target{Policy: e.Config.Policy}, l))
		return []Verdict{verdict}, err
	}
	return verdicts, nil
}

// verdict reads an item's bundle and judges it. Being refused is a verdict, no
// error. A service that is not there yet leaves less to compare with.
func (r *run) verdict(ctx context.Context, it *item) (Verdict, error) {
	err := r.open(it)
	if err == nil && it.target.Name != "" {
		planned := r.plan(ctx, it)
		if planned == nil {
			planned = r.look(ctx, it)
		}
		if planned != nil {
			r.Log.Warn("the new leaf cannot be compared with an installed one", "target", it.target.Name, "error", planned)
		}
	}
	if err == nil {
		err = r.judge(ctx, it)
	}
	var refused *refusedError
	if errors.As(err, &refused) {
		err = nil
	}
	return Verdict{Target: it.target.Name, Leaf: it.out.New, Findings: it.out.Findings}, err
}

// Lineage finds a lineage by NAME or CLIENT:NAME. It fails with a
// *RequestError.
func (e *Engine) Lineage(name string) (lineage.Lineage, error) {
	r := &run{Engine: e, req: Request{Lineages: []string{name}}}
	all, err := r.lineages()
	if err != nil {
		return lineage.Lineage{}, err
	}
	if err := r.checkNames(all); err != nil {
		return lineage.Lineage{}, err
	}
	return all[slices.IndexFunc(all, func(l lineage.Lineage) bool { return l.Is(name) })], nil
}

// Rollback puts an earlier generation of a lineage back at a target, proves
// it, and holds the target.
func (e *Engine) Rollback(ctx context.Context, target, name, generation string, req Request) (Report, error) {
	return e.run(ctx, req, func(ctx context.Context, r *run) error {
		r.mend()
		it, err := r.chooseGeneration(target, name, generation)
		if err != nil {
			return err
		}
		if err := r.deploy(ctx, []*item{it}); err != nil {
			return err
		}
		if !slices.Contains([]Result{Deployed, Deferred, WaitingRestart}, it.out.Result) {
			return nil
		}
		r.state.Hold(target, "rollback", r.began)
		if err := r.save(); err != nil {
			return fmt.Errorf("hold target %s after the rollback: %w", target, err)
		}
		it.out.Notes = append(it.out.Notes, fmt.Sprintf("target %s is held now; certlatch release %s ends that", target, target))
		return nil
	})
}

// Recover only puts back what a run that was cut off had begun to replace, as
// every run does first. What that was is logged, and due again. It fails with an
// *install.RestoreError where something cannot be put back.
func (e *Engine) Recover(ctx context.Context, req Request) error {
	_, err := e.run(ctx, req, func(_ context.Context, r *run) error {
		lost := &install.RestoreError{}
		var all []error
		for p, err := range r.stuck {
			lost.Sets = append(lost.Sets, install.Ref{Target: p.target, Lineage: p.lineage})
			all = append(all, fmt.Errorf("target %s, lineage %s: %w", p.target, p.lineage, err))
		}
		if lost.Err = errors.Join(all...); lost.Err != nil {
			return lost
		}
		return nil
	})
	return err
}

// run is one run of the engine: what it knows, and what it has done.
type run struct {
	*Engine
	req       Request
	began     time.Time
	state     *state.State
	unread    error        // why the state cannot be read; nil: it was
	marks     []state.Mark // at the beginning
	installer *install.Installer
	items     []*item

	// What was looked up, once a run.
	units   Units
	bundles map[string]read
	trust   map[string]policy.Trust
	seen    *lookups

	// Of items that are tried alone, by what they activate: whether one has
	// failed, and how many were put off since then.
	failedAlone map[string]bool
	turns       map[string]int

	touched   []place         // what the snapshot tells about is no longer so
	stuck     map[place]error // why the previous pair of an earlier run is not back
	forgotten []*item         // what became of them could not be noted
}

// read is what came of reading a lineage.
type read struct {
	bundle   *lineage.Bundle
	findings []lineage.Finding
}

// begin makes a run that has not locked anything.
func (e *Engine) begin(req Request, now time.Time) (*run, error) {
	r, err := e.view(req, now)
	if err == nil && r.unread != nil {
		return nil, r.unread
	}
	return r, err
}

// view is like begin, for who only looks: the state may be one that cannot be
// read.
func (e *Engine) view(req Request, now time.Time) (*run, error) {
	st, unread, err := e.load()
	if err != nil {
		return nil, err
	}
	return &run{
		Engine: e, req: req, began: now, state: st, unread: unread, marks: e.readMarks(),
		installer: install.New(e.Store.JournalDir()),
		bundles:   map[string]read{}, trust: map[string]policy.Trust{},
		seen:        newLookups(),
		failedAlone: map[string]bool{}, turns: map[string]int{}, stuck: map[place]error{},
	}, nil
}

// run takes the lock, repairs what an interrupted run left, and does the work
// within the limits of the request.
func (e *Engine) run(ctx context.Context, req Request, work func(context.Context, *run) error) (Report, error) {
	began := time.Now()
	lockCtx, cancel := context.WithTimeout(ctx, req.Limits.Lock)
	defer cancel()
	release, err := e.Store.Lock(lockCtx)
	if err != nil {
		return Report{}, err
	}
	var r *run
	defer func() { r.refresh(ctx) }() // when others may run again
	defer release()

	if r, err = e.view(req, began); err != nil {
		return Report{}, err
	}
	defer r.close()
	if err := r.recover(); err != nil {
		return Report{}, err
	}
	if r.unread != nil {
		return Report{}, r.unread
	}
	ctx, cancel = context.WithDeadline(ctx, began.Add(req.Limits.Work))
	defer cancel()
	err = work(ctx, r)
	return r.report(), err
}

// recover puts back what runs that were cut off had begun to replace, and makes
// what they were about due. What cannot be put back keeps its own target out.
func (r *run) recover() error {
	if err := r.Store.Sweep(r.Config.Run); err != nil {
		r.Log.Warn("a generation that a crash left half written cannot be removed; every run tries again", "error", err)
	}
	found, err := r.installer.Recover()
	if err != nil {
		return r.Store.Failed("repair what an interrupted run left", err)
	}
	for _, path := range found.Left {
		r.Log.Warn("a file of an earlier run cannot be removed; every run tries again", "file", path)
	}
	for _, path := range found.NotOurs {
		r.Log.Warn("somebody has put something else in the place of a file of an earlier run; it is left to them", "path", path)
	}
	r.forgetDamaged(found.Damaged)
	for _, i := range found.Interrupted {
		if len(i.Changed) > 0 {
			r.Log.Warn("an earlier run was cut off, and somebody changed files since, which are left as they are", "target", i.Target, "lineage", i.Lineage, "files", i.Changed)
		} else {
			r.Log.Warn("an earlier run was cut off; the previous pair is back in place", "target", i.Target, "lineage", i.Lineage)
		}
		r.interrupt(i.Target, i.Lineage)
	}
	for _, s := range found.Stuck {
		r.Log.Error("an earlier run was cut off, and the previous pair cannot be put back: this target is left alone until it can", "target", s.Target, "lineage", s.Lineage, "error", s.Err)
		r.keepOut(s)
	}
	if len(found.Interrupted)+len(found.Stuck)+len(found.Damaged) == 0 {
		return nil
	}
	r.saveOrSay()
	return nil
}

// interrupt makes a lineage at a target due, whose service may hold either pair.
func (r *run) interrupt(target, name string) {
	due := r.began.UTC()
	record := r.state.Record(target, name)
	record.Proven = nil
	record.Fail(state.Failure{Result: string(Failed), Reason: interruptedReason, Next: &due}, r.began)
	r.touched = append(r.touched, place{target, name})
}

// keepOut lets nothing be deployed to a set that is stuck, and notes it for
// status and check where no run has yet.
func (r *run) keepOut(s install.Stuck) {
	p := place{s.Target, s.Lineage}
	r.stuck[p] = &stuckError{s.Err}
	record := r.state.Record(s.Target, s.Lineage)
	if record.Pending != nil && record.Pending.Reason == stuckReason {
		return
	}
	it := newItem(config.Target{Target: deployers.Target{Name: s.Target}}, lineage.Lineage{Name: s.Lineage})
	it.fail(Commit, r.stuck[p])
	record.Proven = nil
	record.Fail(state.Failure{
		Result: string(it.out.Result), Reason: it.out.Reason, Step: string(it.out.At), Detail: it.out.Detail, Remedy: it.out.Remedy,
		Next: record.Retry("", r.began),
	}, r.began)
	r.touched = append(r.touched, p)
}

// forgetDamaged takes nothing for proven any more where a journal is damaged:
// what it was about is not known, and looking again at everything finds it.
func (r *run) forgetDamaged(damaged []*install.JournalError) {
	for _, d := range damaged {
		r.Log.Error("a journal of an earlier run cannot be read, so it is set aside, and every target is looked at anew", "error", d, "aside", d.Aside)
		for i := range r.state.Records {
			if record := r.state.Records[i]; record.Proven != nil {
				r.interrupt(record.Target, record.Lineage)
			}
		}
	}
}

// deploy takes the items through the whole way, those of one service together.
func (r *run) deploy(ctx context.Context, items []*item) error {
	var left []*item
	for _, some := range r.inTurn(items) {
		left = append(left, r.deploySome(ctx, some)...)
	}
	r.items = slices.DeleteFunc(items, func(it *item) bool { return slices.Contains(left, it) })
	if len(r.turns) > 0 {
		r.saveOrSay()
	}
	r.unmark(left)
	return nil
}

// inTurn divides the items, those of one service together, into what is
// prepared and deployed before the next is looked at. Services that the request
// is about come before those that are only taken along, and of each those that
// are asked nothing before those whose answer may have to be waited for.
func (r *run) inTurn(items []*item) [][]*item {
	own, asked := map[string]bool{}, map[string]bool{} // by unit
	for _, it := range items {
		own[it.target.Unit] = own[it.target.Unit] || r.own(it)
		asked[it.target.Unit] = asked[it.target.Unit] || it.asks()
	}
	turns := make([][]*item, 4)
	for _, it := range items {
		turn := 0
		if !own[it.target.Unit] {
			turn += 2
		}
		if asked[it.target.Unit] {
			turn++
		}
		turns[turn] = append(turns[turn], it)
	}
	return turns
}

// asks reports whether an item's deployer has to ask the service something.
func (it *item) asks() bool {
	deployer, _ := deployers.For(it.target.Service) // the configuration was checked
	return len(deployer.Wants(it.target.Target, deployers.Facts{}).Queries) > 0
}

// deploySome deploys items, and returns those that are left for another run.
func (r *run) deploySome(ctx context.Context, items []*item) (left []*item) {
	var ready, ended []*item
	for _, it := range items {
		if r.prepare(ctx, it) {
			ready = append(ready, it)
		} else {
			ended = append(ended, it)
		}
	}
	r.record(ended)
	for _, group := range r.groups(ready) {
		if r.leaves(ctx, group) {
			left = append(left, group...)
			continue
		}
		r.together(ctx, group)
		r.record(group)
	}
	return left
}

// tell says what is being done.
func (e *Engine) tell(format string, args ...any) {
	if e.Progress != nil {
		e.Progress(fmt.Sprintf(format, args...))
	}
}

// close ends the connection to systemd, if there is one.
func (r *run) close() {
	if r.units != nil {
		r.units.Close()
	}
}

// report tells what was done. Of lineages that were only taken along, their
// own callers are told.
func (r *run) report() Report {
	var report Report
	for _, it := range r.items {
		if r.own(it) {
			report.Outcomes = append(report.Outcomes, it.out)
		} else {
			r.Log.Info("taken along", "target", it.target.Name, "lineage", it.lineage.Name, "result", string(it.out.Result))
		}
	}
	return report
}
