package inspect

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"sync/atomic"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/beside"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/prepare"
)

// Verdict is what is to be said about a bundle for one target.
type Verdict struct {
	Target   string // empty: whichever
	Leaf     *lineage.Leaf
	Findings []lineage.Finding
}

// Refused reports whether the target would not get the bundle.
func (v Verdict) Refused() bool { return policy.Refused(v.Findings) }

// Validated is what is to be said about one of several lineages.
type Validated struct {
	Lineage  lineage.Lineage
	Verdicts []Verdict // one a target, or one for none in particular
}

// Validate returns every finding about lineages' bundles, each for every target
// that would get it, or for none in particular where no target wants it. It touches
// nothing.
func (in Inspector) Validate(ctx context.Context, all ...lineage.Lineage) ([]Validated, error) {
	prep := prepare.NewPreparer(in.Site.World)
	defer prep.Close()
	i, err := in.begin(prep)
	if err != nil {
		return nil, err
	}
	validated, failed := make([]Validated, len(all)), make([]error, len(all))
	var done atomic.Int64
	tasks := make([]func(), len(all))
	for n, l := range all {
		tasks[n] = func() {
			validated[n].Lineage = l
			validated[n].Verdicts, failed[n] = i.verdicts(ctx, l)
			in.Site.Tell("validating: %d of %d lineages", done.Add(1), len(all))
		}
	}
	beside.Goroutines(tasks)
	return validated, cmp.Or(failed...)
}

// verdicts returns what is to be said about a bundle.
func (i inspection) verdicts(ctx context.Context, l lineage.Lineage) ([]Verdict, error) {
	var verdicts []Verdict
	for _, t := range i.site.Config.Targets {
		if !t.Wants(l) {
			continue
		}
		verdict, err := i.verdict(ctx, prepare.Assignment{Target: t, Lineage: l})
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", t.Name, err)
		}
		verdicts = append(verdicts, verdict)
	}
	if verdicts == nil {
		verdict, err := i.verdict(ctx, prepare.Assignment{Target: config.Target{Policy: i.site.Config.Policy}, Lineage: l})
		return []Verdict{verdict}, err
	}
	return verdicts, nil
}

// verdict reads an assignment's bundle and judges it. Being refused is a
// verdict, no error. A service that is not there yet leaves less to compare
// with.
func (i inspection) verdict(ctx context.Context, a prepare.Assignment) (Verdict, error) {
	bundle, findings := i.prep.Bundle(a.Lineage)
	verdict := Verdict{Target: a.Target.Name, Findings: findings}
	if bundle == nil {
		return verdict, nil
	}
	verdict.Leaf = describe(bundle.Leaf)
	var plan deployers.Plan
	var installed []*x509.Certificate
	if a.Target.Name != "" {
		var err error
		if plan, installed, err = i.counterpart(ctx, a, bundle); err != nil {
			i.site.Log.Warn("the new leaf cannot be compared with an installed one", "target", a.Target.Name, "error", err)
		}
	}
	judged := prepare.CaseOf(a.Target, bundle, findings, plan, installed)
	judged.Kept = i.site.Config
	var err error
	verdict.Findings, err = i.prep.Judge(ctx, judged)
	return verdict, err
}

// counterpart returns the plan for a bundle, and the leaf that it would replace, with
// what is beside that; nil: there is none, or an error says why it is not known.
func (i inspection) counterpart(ctx context.Context, a prepare.Assignment, bundle *lineage.Bundle) (deployers.Plan, []*x509.Certificate, error) {
	plan, err := i.plan(ctx, a, bundle)
	if err != nil {
		return plan, nil, err
	}
	if _, err := prepare.NameProbes(plan.Probes, bundle.Leaf); err != nil {
		return plan, nil, err
	}
	pair, err := i.site.Storage().Look(ctx, pairs.At(a.Target.Target, a.Lineage.Name, plan), bundle, "")
	if err != nil {
		return plan, nil, err
	}
	return plan, pair.Chain(), nil
}
