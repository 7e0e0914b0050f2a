package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/state"
)

// This file puts items that one activation serves together, and takes them
// apart again where some of them fail.

// groups puts the items that share an activation together, in their order, and
// then those that are to be tried alone.
func (r *run) groups(items []*item) [][]*item {
	var found, alone [][]*item
	index := map[string]int{}
	for _, it := range items {
		key := it.groupKey()
		at, ok := index[key]
		switch {
		case isAlone(r.state.Get(it.target.Name, it.lineage.Name), it.leaf.Fingerprint):
			alone = append(alone, []*item{it})
		case ok:
			found[at] = append(found[at], it)
		default:
			index[key] = len(found)
			found = append(found, []*item{it})
		}
	}
	return slices.Concat(found, alone)
}

// groupKey is alike for items that one activation takes along. Two targets of
// one unit may be activated in different ways.
func (it *item) groupKey() string {
	a := it.plan.Activate
	return strings.Join(append([]string{it.activationKey(), string(a.Way)}, a.Command...), "\x00")
}

// isAlone tells whether a leaf is to be tried without others.
func isAlone(record state.Record, fingerprint string) bool {
	return record.Pending != nil && record.Pending.Alone && record.Pending.Fingerprint == fingerprint
}

// leaves tells whether a group is not for this run: one of those that are
// tried alone after another has failed, so that a service which takes nothing
// is not activated again and again; or lineages that would only be taken
// along, where too little time is left.
func (r *run) leaves(ctx context.Context, group []*item) bool {
	if deadline, ok := ctx.Deadline(); ok && r.req.Share && !slices.ContainsFunc(group, r.own) && time.Until(deadline) < 3*leastWork {
		return true
	}
	it, key := group[0], group[0].activationKey()
	record := r.state.Get(it.target.Name, it.lineage.Name)
	if !r.req.Pending || r.req.All || !isAlone(record, it.leaf.Fingerprint) || !r.failedAlone[key] {
		return false
	}
	r.turns[key]++
	next := r.began.Add(time.Duration(r.turns[key]) * state.FirstRetry)
	record.Pending.Next = notAfter(next, r.began.Add(state.LongestRetry))
	return true
}

// mostActivations is how often a service is activated for what is left of a
// group, undoing not counted.
const mostActivations = 3

// together deploys a group of items that cost their service one activation.
// Items to which a failure can be put down are left out, and the others tried
// again. Where it cannot, or again and again, the others are tried alone, one
// after the other, in later runs.
func (r *run) together(ctx context.Context, group []*item) {
	alone := len(group) == 1
	for activations := 0; activations < mostActivations; {
		if r.transact(ctx, group) {
			activations++
		}
		failed := slices.DeleteFunc(slices.Clone(group), func(it *item) bool { return !it.out.retriable() })
		others := slices.DeleteFunc(slices.Clone(failed), func(it *item) bool { return it.fault != nil })
		if alone && len(failed) > 0 {
			r.failedAlone[group[0].activationKey()] = true
		}
		if alone || len(others) == 0 {
			return
		}
		group = others
		if len(others) == len(failed) {
			break
		}
	}
	for i, it := range group {
		if slices.Contains([]Step{Test, Activate, Prove}, it.out.At) && it.out.Reason != testFailedBeforeReason {
			it.alone, it.turn = true, i
		}
	}
}

// retriable tells whether an outcome is a failure after which the previous
// state is back, so that another attempt may do better.
func (o *Outcome) retriable() bool {
	return (o.Result == RolledBack || o.Result == Failed) && o.Reason != crashedReason
}

// begin forgets what an earlier attempt came to.
func (it *item) begin() {
	it.wait, it.fault = nil, nil
	o := it.out
	it.out = Outcome{Target: o.Target, Lineage: o.Lineage, Service: o.Service, Previous: o.Previous, New: o.New, Findings: o.Findings, Notes: o.Notes, Steps: o.Steps}
}

// blame puts a failure down to the item that it says it is of, or to those whose
// files its words name.
func (t *transaction) blame(err error) {
	of := new(install.SetError)
	isOf := errors.As(err, &of)
	for _, it := range t.items {
		if isOf {
			if it.place() == (place{of.Set.Target, of.Set.Lineage}) {
				it.fault = err
			}
			continue
		}
		for _, f := range it.set.Files {
			if names(err.Error(), f.Path) {
				it.fault = err
			}
		}
	}
}

// names tells whether a text names a path, and not one that goes on.
func names(text, path string) bool {
	for {
		at := strings.Index(text, path)
		if at < 0 {
			return false
		}
		text = text[at+len(path):]
		if text == "" || !strings.ContainsRune("-._/", rune(text[0])) && !isWord(text[0]) {
			return true
		}
	}
}

func isWord(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// faulty gives the fault of the first item that has one.
func (t *transaction) faulty() error {
	for _, it := range t.items {
		if it.fault != nil {
			return it.fault
		}
	}
	return nil
}
