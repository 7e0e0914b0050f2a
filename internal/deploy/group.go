package deploy

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

// This file puts jobs that one activation serves together, and takes them
// apart again where some of them fail.

// byUnit divides the jobs into those of one unit each, and those without one. Where
// there are more than can be worked on at once, those that the request is about come
// before those that are only taken along, and of each those that are asked nothing
// before those whose answer may have to be waited for.
func byUnit(jobs []job) [][]job {
	var units [][]job
	index := map[string]int{}
	for _, j := range jobs {
		at, ok := index[j.target.Unit]
		if !ok {
			at = len(units)
			index[j.target.Unit], units = at, append(units, nil)
		}
		units[at] = append(units[at], j)
	}
	turn := func(jobs []job) (turn int) {
		if !slices.ContainsFunc(jobs, func(j job) bool { return j.requested }) {
			turn += 2
		}
		if slices.ContainsFunc(jobs, func(j job) bool { return prepare.Asks(j.target) }) {
			turn++
		}
		return turn
	}
	slices.SortStableFunc(units, func(a, b []job) int { return turn(a) - turn(b) })
	return units
}

// service is alike for jobs of one service.
func (p prepared) service() string {
	a := p.plan.Activate
	switch {
	case a.Unit != "":
		return state.UnitKey(a.Unit)
	case a.PID != 0:
		return "process " + strconv.Itoa(a.PID)
	case len(a.Calls) > 0:
		return "channel " + a.Calls[0].Channel.Address
	case a.Command != nil:
		return "command " + strings.Join(a.Command, "\x00")
	default:
		return "target " + p.job.target.Name + " " + p.job.lineage.Name
	}
}

// groups puts the jobs that share an activation together, in their order, and
// then those that are to be tried alone. Two targets of one service may be
// activated in different ways.
func (r *run) groups(ready []prepared) [][]prepared {
	var found, alone [][]prepared
	index := map[string]int{}
	for _, p := range ready {
		shared := strings.Join(append([]string{p.service(), string(p.plan.Activate.Way)}, p.plan.Activate.Command...), "\x00")
		at, ok := index[shared]
		switch {
		case isAlone(p.known, p.leaf.Fingerprint):
			alone = append(alone, []prepared{p})
		case ok:
			found[at] = append(found[at], p)
		default:
			index[shared] = len(found)
			found = append(found, []prepared{p})
		}
	}
	return slices.Concat(found, alone)
}

// byService divides groups into those of one service each, which are activated one
// after the other.
func byService(groups [][]prepared) [][][]prepared {
	var services [][][]prepared
	index := map[string]int{}
	for _, group := range groups {
		service := group[0].service()
		at, ok := index[service]
		if !ok {
			at = len(services)
			index[service], services = at, append(services, nil)
		}
		services[at] = append(services[at], group)
	}
	return services
}

func jobsOf(group []prepared) []job {
	var jobs []job
	for _, p := range group {
		jobs = append(jobs, p.job)
	}
	return jobs
}

// isAlone reports whether a leaf is to be tried without others.
func isAlone(known state.Record, fingerprint string) bool {
	return known.Pending != nil && known.Pending.Alone && known.Pending.Fingerprint == fingerprint
}

// tooLittleTime reports whether a group would only be taken along, and too little
// time is left for that.
func (r *run) tooLittleTime(ctx context.Context, group []prepared) bool {
	deadline, ok := ctx.Deadline()
	requested := func(p prepared) bool { return p.job.requested }
	return ok && r.req.Coalesce && !slices.ContainsFunc(group, requested) && time.Until(deadline) < 3*leastWork
}

// loners puts off those jobs that are tried alone after another of their service
// has failed, so that a service which takes nothing is not activated again and
// again.
type loners struct {
	run    *run
	failed map[string]bool // by service: one that was tried alone
	turns  map[string]int  // how many were put off since then
}

func newLoners(r *run) loners { return loners{r, map[string]bool{}, map[string]int{}} }

// postpones reports whether a group is left for a later run, and gives it its
// turn there.
func (l loners) postpones(group []prepared) bool {
	p := group[0]
	service := p.service()
	if !l.run.req.Pending || l.run.req.All || !isAlone(p.known, p.leaf.Fingerprint) || !l.failed[service] {
		return false
	}
	l.turns[service]++
	next := l.run.began.Add(time.Duration(l.turns[service]) * state.FirstRetry)
	l.run.memory.postpone(p.job.ref(), *notAfter(next, l.run.began.Add(state.LongestRetry)))
	return true
}

// note notes what became of a group.
func (l loners) note(group []prepared, became []ended) {
	if len(group) == 1 && became[0].outcome.Retriable() {
		l.failed[group[0].service()] = true
	}
}

// save writes what was put off.
func (l loners) save() {
	if len(l.turns) > 0 {
		l.run.memory.flush()
	}
}

// mostActivations is how often a service is activated for what is left of a
// group, undoing not counted.
const mostActivations = 3

// deployGroup deploys jobs that cost their service one activation. Jobs to which
// a failure can be put down are left out, and the others tried again. Where it
// cannot, or again and again, the others are tried alone, one after the other,
// in later runs.
func (r *run) deployGroup(ctx context.Context, group []prepared) []ended {
	all := jobsOf(group)
	became := map[key]ended{}
	alone := len(group) == 1
	for activations := 0; activations < mostActivations; {
		ends, activated := r.try(ctx, group)
		if interrupted(ctx) {
			return ends // which tells nothing about the group
		}
		if activated {
			activations++
		}
		failed, unexplained := 0, []prepared(nil)
		for _, e := range ends {
			became[e.job.key()] = e
			if !e.outcome.Retriable() {
				continue
			}
			failed++
			if e.attributed {
				continue
			}
			if p, can := r.again(ctx, group, e); can {
				unexplained = append(unexplained, p)
			}
		}
		if alone || len(unexplained) == 0 {
			return ordered(all, became)
		}
		group = unexplained
		if len(unexplained) == failed {
			break
		}
	}
	for i, p := range group {
		e := became[p.job.key()]
		if slices.Contains([]outcome.Step{outcome.Test, outcome.Activate, outcome.Prove}, e.outcome.At) && e.outcome.Reason != outcome.TestFailedBefore {
			e.alone, e.turn = true, i
			became[p.job.key()] = e
		}
	}
	return ordered(all, became)
}

// again returns the prepared job that ended, with the steps that it took and what
// was found on the way, for another attempt. Where a pair that had been installed
// before was undone, there is something to be written now, and if it cannot be told
// what, no other attempt.
func (r *run) again(ctx context.Context, group []prepared, e ended) (p prepared, can bool) {
	at := slices.IndexFunc(group, func(p prepared) bool { return p.job.key() == e.job.key() })
	p = group[at]
	p.steps = e.outcome.Steps
	p.findings = slices.DeleteFunc(slices.Clone(e.outcome.Findings), isNotCarried) // the next attempt finds those again
	if !p.pair.Same() {
		return p, true
	}
	var err error
	p.pair, err = r.storage.Look(ctx, p.pair.Place, p.bundle, state.NewGeneration(time.Now(), p.leaf))
	return p, err == nil
}

func isNotCarried(f lineage.Finding) bool { return f.Code == string(outcome.NotCarried) }

func ordered(jobs []job, became map[key]ended) []ended {
	var all []ended
	for _, j := range jobs {
		all = append(all, became[j.key()])
	}
	return all
}
