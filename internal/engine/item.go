package engine

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// item is one lineage on its way to one target.
type item struct {
	target  config.Target
	lineage lineage.Lineage
	rolling bool // it is an earlier generation, asked for by name: its findings only warn

	bundle     *lineage.Bundle
	leaf       lineage.Leaf
	generation string
	plan       deployers.Plan
	set        install.Set

	before   []install.File // what is installed
	previous *x509.Certificate
	same     bool // what is installed is the bundle already, owner and mode too
	first    bool // there is no pair to go back to that was ever whole or proven

	testedBefore error // what the service's own test said at the baseline
	tested       error // what it says with the new files in place
	baseline     []probe.Observation
	silent       []probe.Observation // of found probes that completed no handshake at the baseline
	wait         *waitError          // why its files stay without being served yet
	fault        error               // what failed because of this item, as far as that can be told
	alone        bool                // to be tried without the others from now on,
	turn         int                 // and when its turn is among them
	recorded     bool                // another run did that

	out Outcome
}

func newItem(t config.Target, l lineage.Lineage) *item {
	return &item{target: t, lineage: l, out: Outcome{Target: t.Name, Lineage: l.Name, Service: t.Service}}
}

// activationKey is alike for items of one service.
func (it *item) activationKey() string {
	a := it.plan.Activate
	switch {
	case a.Unit != "":
		return unitKey(a.Unit)
	case a.PID != 0:
		return "process " + strconv.Itoa(a.PID)
	case len(a.Calls) > 0:
		return "channel " + a.Calls[0].Channel.Address
	case a.Command != nil:
		return "command " + strings.Join(a.Command, "\x00")
	default:
		return "target " + it.target.Name + " " + it.lineage.Name
	}
}

// unitKey is the activationKey of items whose service is a unit.
func unitKey(name string) string { return "unit " + name }

// did notes a step.
func (it *item) did(log *slog.Logger, step Done) {
	it.out.Steps = append(it.out.Steps, step)
	log.Debug("step", "target", it.target.Name, "lineage", it.lineage.Name, "step", string(step.Step), "ok", step.OK, "took", step.Took)
}

// choose finds the items that the request asks for, those that an interrupted
// run left behind, and after them those that are taken along.
func (r *run) choose() ([]*item, error) {
	all, err := r.lineages()
	if err != nil {
		return nil, err
	}
	if err := r.checkNames(all); err != nil {
		return nil, err
	}
	return r.chooseFrom(all), nil
}

func (r *run) chooseFrom(all []lineage.Lineage) []*item {
	var items []*item
	for _, t := range r.Config.Targets {
		wanted := slices.DeleteFunc(slices.Clone(all), func(l lineage.Lineage) bool { return !t.Wants(l) })
		asked := len(r.req.Targets) == 0 || slices.Contains(r.req.Targets, t.Name)
		if it := r.missing(t); asked && len(wanted) == 0 && !t.IsGlob() && len(r.req.Lineages) == 0 && r.asks(t, it.lineage) {
			items = append(items, it)
		}
		for _, l := range wanted {
			it := newItem(t, l)
			switch {
			case asked && r.asks(t, l), len(r.req.Targets) == 0 && r.interrupted(t, l):
				it.refuseTwins(wanted)
				items = append(items, it)
			}
		}
	}
	slices.SortStableFunc(items, func(a, b *item) int {
		switch own := r.own(a); {
		case own == r.own(b):
			return 0
		case own:
			return -1
		}
		return 1
	})
	return items
}

// lineages gives everything that the clients keep.
func (r *run) lineages() ([]lineage.Lineage, error) {
	var all []lineage.Lineage
	for _, root := range r.Config.Roots {
		found, err := root.List()
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// forgetGone lets go of what failed for lineages that are gone, of targets that
// take whatever there is: who may write to a client's directory can give it as
// many names as he likes.
func (r *run) forgetGone(all []lineage.Lineage) {
	there := map[string]bool{}
	for _, l := range all {
		there[l.Name] = true
	}
	globs := map[string]bool{}
	for _, t := range r.Config.Targets {
		globs[t.Name] = t.IsGlob()
	}
	r.state.Records = slices.DeleteFunc(r.state.Records, func(record state.Record) bool {
		return globs[record.Target] && !there[record.Lineage] && record.Proven == nil && r.stuck[place{record.Target, record.Lineage}] == nil
	})
}

// checkNames refuses names in the request that nothing has.
func (r *run) checkNames(all []lineage.Lineage) error {
	for _, name := range r.req.Targets {
		if !slices.ContainsFunc(r.Config.Targets, func(t config.Target) bool { return t.Name == name }) {
			return &RequestError{"there is no target " + name, "certlatch config show lists the targets"}
		}
	}
	for _, name := range r.req.Lineages {
		if !slices.ContainsFunc(all, func(l lineage.Lineage) bool { return l.Is(name) }) {
			var roots []string
			for _, root := range r.Config.Roots {
				roots = append(roots, root.Dir)
			}
			return &RequestError{
				fmt.Sprintf("there is no lineage %s below %s", name, strings.Join(roots, ", ")),
				"name one that is there, or add the client's directory to lineages in " + r.Config.Path,
			}
		}
	}
	return nil
}

// missing is the outcome of a target that names a lineage which is not there.
func (r *run) missing(t config.Target) *item {
	it := newItem(t, lineage.Lineage{Name: t.Lineage[strings.Index(t.Lineage, ":")+1:]})
	it.out.At, it.out.Result, it.out.Reason = Validate, Failed, "lineage-not-found"
	it.out.Detail = "no client keeps a lineage " + t.Lineage
	it.out.Remedy = "issue it, or correct the target's lineage in " + r.Config.Path
	return it
}

// refuseTwins ends an item whose lineage another client keeps under the same
// name: the target would get now the one and now the other.
func (it *item) refuseTwins(wanted []lineage.Lineage) {
	for _, twin := range wanted {
		if twin.Name == it.lineage.Name && twin.Client != it.lineage.Client {
			it.out.At, it.out.Result, it.out.Reason = Validate, Failed, "lineage-ambiguous"
			it.out.Detail = fmt.Sprintf("both %s and %s match", it.lineage, twin)
			it.out.Remedy = fmt.Sprintf("write lineage: %s for target %s", it.lineage, it.target.Name)
		}
	}
}

// asks tells whether the request is about a lineage at a target.
func (r *run) asks(t config.Target, l lineage.Lineage) bool {
	switch {
	case r.req.Share && r.marked(l):
		return true
	case len(r.req.Lineages) > 0 && !slices.ContainsFunc(r.req.Lineages, l.Is):
		return false
	case !r.req.Pending || r.marked(l):
		return true
	}
	pending := r.state.Get(t.Name, l.Name).Pending
	return pending != nil && (r.req.All || waits(pending.Reason) || pending.Due(r.began, r.fingerprint(l)))
}

const interruptedReason = "interrupted"

func (r *run) interrupted(t config.Target, l lineage.Lineage) bool {
	pending := r.state.Get(t.Name, l.Name).Pending
	return pending != nil && pending.Reason == interruptedReason
}

// chooseGeneration finds the generation to roll back to: the one named, or
// the newest that is not installed.
func (r *run) chooseGeneration(target, name, generation string) (*item, error) {
	at := slices.IndexFunc(r.Config.Targets, func(t config.Target) bool { return t.Name == target })
	if at < 0 {
		return nil, &RequestError{"there is no target " + target, "certlatch config show lists the targets"}
	}
	t := r.Config.Targets[at]
	if name == "" {
		if t.IsGlob() {
			return nil, &RequestError{"target " + target + " takes several lineages", "say which: certlatch rollback " + target + " LINEAGE"}
		}
		name = t.Lineage[strings.Index(t.Lineage, ":")+1:]
	}
	if err := lineage.CheckName(name); err != nil {
		return nil, &RequestError{err.Error(), "name a lineage as certlatch history shows it"}
	}
	kept, err := r.Store.Generations(target, name)
	if err != nil {
		return nil, err
	}
	if generation == "" {
		generation = r.lastButProven(target, name, kept)
	}
	if !slices.Contains(kept, generation) {
		remedy := "there is nothing to go back to"
		if len(kept) > 0 {
			remedy = "kept are " + strings.Join(kept, ", ")
		}
		return nil, &RequestError{fmt.Sprintf("no generation %s of %s is kept for target %s", cmp.Or(generation, "but the proven one"), name, target), remedy}
	}
	it := newItem(t, r.Store.Generation(target, name, generation))
	it.rolling, it.generation = true, generation
	return it, nil
}

// lastButProven is the newest generation that is not the proven one.
func (r *run) lastButProven(target, name string, kept []string) string {
	proven := r.state.Get(target, name).Proven
	for _, g := range slices.Backward(kept) {
		if proven == nil || g != proven.Generation {
			return g
		}
	}
	return ""
}

// prepare takes an item as far as it goes without touching anything, and
// tells whether there is more to do. Where not, the outcome is complete.
func (r *run) prepare(ctx context.Context, it *item) bool {
	if it.out.Result != "" {
		return false
	}
	if err := r.stuck[it.place()]; err != nil {
		it.fail(Commit, err)
		return false
	}
	if r.held(it) || r.toldAlready(it) || !r.req.Look && !r.req.Force && !it.rolling && r.settled(it) {
		return false
	}
	began := time.Now()
	err := r.validate(ctx, it)
	it.did(r.Log, Done{Step: Validate, OK: err == nil, Took: time.Since(began)})
	if err != nil {
		it.fail(Validate, err)
		return false
	}
	if !r.req.Force && !it.rolling && it.same && r.provenBefore(it) && !(r.req.Look && !r.served(ctx, it)) {
		it.out.Result, it.out.Generation = Unchanged, r.state.Get(it.target.Name, it.lineage.Name).Proven.Generation
		return false
	}
	return true
}

// validate reads the bundle, makes the plan, looks at what is installed, and
// judges the bundle by the target's policy.
func (r *run) validate(ctx context.Context, it *item) error {
	if err := r.open(it); err != nil {
		return err
	}
	if err := r.plan(ctx, it); err != nil {
		return err
	}
	if err := r.look(ctx, it); err != nil {
		return err
	}
	return r.judge(ctx, it)
}

// open reads the bundle.
func (r *run) open(it *item) error {
	got := r.read(it.lineage)
	it.out.Findings = got.findings
	if got.bundle == nil {
		return &refusedError{got.findings}
	}
	it.bundle, it.leaf = got.bundle, lineage.Describe(got.bundle.Leaf)
	it.out.New = &it.leaf
	return nil
}

// plan says what is to be done for an item whose bundle was read.
func (r *run) plan(ctx context.Context, it *item) error {
	err := r.ask(ctx, it)
	it.out.Notes = it.plan.Notes()
	if err != nil {
		return err
	}
	if a := it.plan.Activate; a.Why != "" && a.Way != deployers.NoWay {
		it.out.Notes = append(it.out.Notes, a.Why)
	}
	return it.nameProbes()
}

// ask asks the deployer what is to be done, given the facts it wants.
func (r *run) ask(ctx context.Context, it *item) error {
	deployer, _ := deployers.For(it.target.Service) // the configuration was checked
	facts, err := r.facts(ctx, deployer, it.target.Target)
	if err != nil {
		return err
	}
	if it.bundle != nil {
		facts.Names = lineage.Names(it.bundle.Leaf)
	}
	it.plan, err = deployer.Plan(it.target.Target, it.lineage, facts)
	return err
}

// nameProbes gives the probes that name no host the leaf's first name. Where
// none can be read, that of the installed one does.
func (it *item) nameProbes() error {
	leaf := it.previous
	if it.bundle != nil {
		leaf = it.bundle.Leaf
	}
	it.plan.Probes = slices.Clone(it.plan.Probes)
	for i, p := range it.plan.Probes {
		if p.Name != "" {
			continue
		}
		if it.plan.Probes[i].Name = firstName(leaf); it.plan.Probes[i].Name == "" {
			return &noNameError{p.String()}
		}
	}
	return nil
}

// firstName is the leaf's first name that is one of a host, and no wildcard.
func firstName(leaf *x509.Certificate) string {
	if leaf == nil {
		return ""
	}
	for _, name := range lineage.Names(leaf) {
		if endpoint.IsHost(name) {
			return name
		}
	}
	return ""
}

// look finds out what is installed, and whether it is the bundle already.
func (r *run) look(ctx context.Context, it *item) error {
	if it.generation == "" {
		it.generation = r.generationOf(it, r.began)
	}
	find := r.lookAtFiles
	if it.plan.Row != nil {
		find = r.lookAtRow
	}
	if err := find(ctx, it); err != nil {
		return err
	}
	it.same = install.Same(it.set, it.before)
	it.first = r.nothingBefore(it)
	if it.previous = certificateIn(it.plan, it.before); it.previous != nil {
		leaf := lineage.Describe(it.previous)
		it.out.Previous = &leaf
	}
	return nil
}

func (r *run) lookAtFiles(_ context.Context, it *item) error {
	it.set = install.Set{
		Target: it.target.Name, Lineage: it.lineage.Name, Directory: it.plan.Directory,
		Generation: state.NewGeneration(time.Now(), it.leaf),
	}
	grants, err := account.Grants(it.target.ACL)
	if err != nil {
		return err
	}
	for _, f := range it.plan.Files {
		uid, gid, err := account.Owner(f.User, f.Group)
		if err != nil {
			return err
		}
		it.set.Files = append(it.set.Files, install.File{Path: f.Path, Data: f.Content.Of(it.bundle), UID: uid, GID: gid, Mode: f.Mode, HoldsKey: f.Content.HoldsKey(), Grants: grants})
		it.set.Group = gid
	}
	it.before, err = r.installer.Current(it.set)
	return err
}

// nothingBefore tells whether a failed deployment would have no pair to go
// back to: none is installed, or the one that is was never seen to be served.
func (r *run) nothingBefore(it *item) bool {
	known := r.state.Get(it.target.Name, it.lineage.Name)
	if it.same {
		return known.Proven == nil
	}
	complete := len(it.before) == len(it.set.Files)
	return !complete || known.Proven == nil && known.Pending != nil && known.Pending.Reason == firstInstallReason
}

// certificateIn finds the leaf among installed files; nil: there is none, or
// none that can be read.
func certificateIn(plan deployers.Plan, files []install.File) *x509.Certificate {
	for _, f := range plan.Files {
		if f.Content == deployers.Chain || f.Content == deployers.Key {
			continue
		}
		at := slices.IndexFunc(files, func(have install.File) bool { return have.Path == f.Path })
		if at < 0 {
			continue
		}
		if certs, err := lineage.ParseCertificates(files[at].Data); err == nil && len(certs) > 0 {
			return certs[0]
		}
	}
	return nil
}

// generationOf names the generation of an item's leaf: the kept one of this
// leaf, or a new one as of a time.
func (r *run) generationOf(it *item, since time.Time) string {
	kept, err := r.Store.Generations(it.target.Name, it.lineage.Name)
	if err == nil {
		for _, g := range slices.Backward(kept) {
			if strings.HasSuffix(g, "-"+it.leaf.Short()) {
				return g
			}
		}
	}
	return state.NewGeneration(since, it.leaf, kept...)
}

// judge looks for what the target's policy says against the bundle.
func (r *run) judge(ctx context.Context, it *item) error {
	trust, err := r.trustOf(it.target.Policy.Trust)
	if err != nil {
		return err
	}
	names := slices.Clone(it.target.Names)
	for _, p := range it.target.Probes {
		if p.Name != "" {
			names = append(names, p.Name)
		}
	}
	rules := policy.Rules{
		Trust: trust, Accept: it.target.Policy.Accept,
		Names: names, ServiceNames: it.plan.Names, SIPDomains: it.plan.SIPDomains,
		Installed: it.previous, Force: r.req.Force || it.rolling, Now: time.Now(),
	}
	if r.Revoked != nil && !it.rolling {
		rules.Revoked = func(leaf, issuer *x509.Certificate) (bool, error) { return r.Revoked(ctx, leaf, issuer) }
	}
	findings := slices.Concat(it.out.Findings, policy.Check(it.bundle, rules))
	if it.rolling { // asked for by name: its flaws are known, or soon will be
		for i := range findings {
			findings[i].Severity = lineage.Warned
		}
	}
	slices.SortStableFunc(findings, func(a, b lineage.Finding) int {
		return strings.Compare(string(a.Severity), string(b.Severity)) // refused before warned
	})
	it.out.Findings = findings
	if policy.Refused(findings) {
		return &refusedError{findings}
	}
	return nil
}

// trustOf loads the roots of a trust setting, once a run.
func (r *run) trustOf(setting string) (policy.Trust, error) {
	trust, ok := r.trust[setting]
	if ok {
		return trust, nil
	}
	trust, err := policy.LoadTrust(setting)
	if err != nil {
		return trust, &configError{err}
	}
	r.trust[setting] = trust
	return trust, nil
}

// sameContent tells whether what is installed is the bundle already, whoever
// may read it.
func (it *item) sameContent() bool {
	return len(it.before) == len(it.set.Files) && !slices.ContainsFunc(it.set.Files, func(want install.File) bool {
		return !slices.ContainsFunc(it.before, func(have install.File) bool {
			return have.Path == want.Path && slices.Equal(have.Data, want.Data)
		})
	})
}

// provenBefore tells whether the last proof at this target was of this leaf.
func (r *run) provenBefore(it *item) bool {
	proven := r.state.Get(it.target.Name, it.lineage.Name).Proven
	return proven != nil && proven.Leaf.Fingerprint == it.leaf.Fingerprint
}

// served looks once whether every probe that counts sees the new leaf.
func (r *run) served(ctx context.Context, it *item) bool {
	if it.target.ProveNothing {
		return true
	}
	seen := observe(ctx, it.plan.Probes)
	var silent []probe.Observation
	if it.plan.Found {
		silent = slices.DeleteFunc(slices.Clone(seen), func(o probe.Observation) bool { return o.Leaf() != nil })
		seen = slices.DeleteFunc(seen, func(o probe.Observation) bool { return o.Leaf() == nil })
	}
	if len(seen) == 0 || slices.ContainsFunc(seen, func(o probe.Observation) bool { return !shows(o, it.leaf.Fingerprint) }) {
		return false
	}
	it.baseline, it.silent = seen, silent
	return true
}

// read reads a lineage, once a run.
func (r *run) read(l lineage.Lineage) read {
	key := l.Client + ":" + l.Fullchain
	got, ok := r.bundles[key]
	if !ok {
		got.bundle, got.findings = lineage.Read(l)
		r.bundles[key] = got
	}
	return got
}

// fingerprint is that of a lineage's leaf; empty where it cannot be read.
func (r *run) fingerprint(l lineage.Lineage) string {
	if got := r.read(l); got.bundle != nil {
		return lineage.Fingerprint(got.bundle.Leaf)
	}
	return ""
}
