package deploy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

// job is a lineage that is to be brought to a target.
type job struct {
	target  config.Target
	lineage lineage.Lineage
	fault   error // why there is nothing to bring; nil: there is

	requested  bool   // the request is about it; else it is only taken along
	generation string // an earlier one, that was asked for by name; empty: what the client keeps
}

func (j job) ref() install.Ref { return install.Ref{Target: j.target.Name, Lineage: j.lineage.Name} }

// key identifies a job within a run.
type key struct{ target, lineage string }

func (j job) key() key { return key{j.target.Name, j.lineage.String()} }

func (j job) byName() bool { return j.generation != "" }

func (j job) assignment() prepare.Assignment {
	return prepare.Assignment{Target: j.target, Lineage: j.lineage, Err: j.fault}
}

// about returns what is known of a job before it is prepared.
func (j job) about() outcome.About {
	return outcome.About{Target: j.target.Name, Lineage: j.lineage.Name, Service: j.target.Service}
}

// ended is a job that has come to its end, and what is to be remembered of it.
type ended struct {
	job         job
	outcome     outcome.Outcome
	fingerprint string       // of the leaf that was tried; empty: it could not be read
	proof       *state.Proof // what was proven; nil: nothing was, or it is remembered already
	attributed  bool         // the failure was put down to this job
	alone       bool         // it is to be tried without others from now on,
	turn        int          // and when its turn is among them
	recorded    bool         // another run has recorded it
	again       bool         // it waits as it did before, which is nothing for the history

	seen  *inspect.Seen // for the snapshot; nil: it is to be looked at again
	noted time.Time     // when that became what the state says; zero: it could not be noted
}

// choose returns the jobs that the request asks for, those that an interrupted
// run left behind, and after them those that are taken along. It fails with a
// *prepare.RequestError where the request names what there is not.
func (r *run) choose(all []lineage.Lineage) ([]job, error) {
	if err := (prepare.Scope{Lineages: r.req.Lineages, Targets: r.req.Targets}).Check(r.site.Config, all); err != nil {
		return nil, err
	}
	var jobs []job
	for _, a := range prepare.Assign(r.site.Config, all) {
		if r.wants(a) {
			jobs = append(jobs, job{target: a.Target, lineage: a.Lineage, fault: a.Err, requested: r.requests(a.Lineage)})
		}
	}
	slices.SortStableFunc(jobs, func(a, b job) int {
		switch {
		case a.requested == b.requested:
			return 0
		case a.requested:
			return -1
		}
		return 1
	})
	return jobs, nil
}

// chooseAll is choose for all that the request may be about.
func (r *run) chooseAll() ([]job, error) {
	all, _, err := r.lineages()
	if err != nil {
		return nil, err
	}
	return r.choose(all)
}

// lineages returns the lineages that the request may be about, and reports whether
// that is every one that clients keep. Where some are named it looks at no others,
// however many there are, but for those that are taken along.
func (r *run) lineages() (all []lineage.Lineage, every bool, err error) {
	if len(r.req.Lineages) > 0 {
		all, err = prepare.LineagesNamed(r.site.Config, slices.Concat(r.req.Lineages, r.memory.takenAlong()))
		return all, false, err
	}
	all, err = prepare.Lineages(r.site.Config)
	return all, true, err
}

// wants reports whether this run is to do something about a lineage at a target.
func (r *run) wants(a prepare.Assignment) bool {
	asked := len(r.req.Targets) == 0 || slices.Contains(r.req.Targets, a.Target.Name)
	if a.Missing() {
		return asked && len(r.req.Lineages) == 0 && r.asks(a)
	}
	return asked && r.asks(a) || len(r.req.Targets) == 0 && r.interrupted(a)
}

// requests reports whether the request is about a lineage, which is not only
// taken along.
func (r *run) requests(l lineage.Lineage) bool {
	return !r.req.Coalesce || slices.ContainsFunc(r.req.Lineages, l.Is)
}

// asks reports whether the request, or the mark of another, is about a lineage
// at a target.
func (r *run) asks(a prepare.Assignment) bool {
	marked := r.memory.marked(a.Lineage)
	switch {
	case r.req.Coalesce && marked:
		return true
	case len(r.req.Lineages) > 0 && !slices.ContainsFunc(r.req.Lineages, a.Lineage.Is):
		return false
	case !r.req.Pending || marked:
		return true
	}
	pending := r.memory.get(install.Ref{Target: a.Target.Name, Lineage: a.Lineage.Name}).Pending
	return pending != nil && (r.req.All || outcome.Reason(pending.Reason).WaitsForService() || pending.Due(r.began, r.prep.Fingerprint(a.Lineage)))
}

// interrupted reports whether a run was cut off that deployed a lineage to a
// target.
func (r *run) interrupted(a prepare.Assignment) bool {
	pending := r.memory.get(install.Ref{Target: a.Target.Name, Lineage: a.Lineage.Name}).Pending
	return pending != nil && pending.Reason == string(outcome.Interrupted)
}

// chooseGeneration returns the job of going back to a generation: the one
// named, or the newest that is not installed.
func (r *run) chooseGeneration(target, name, generation string) (job, error) {
	at := slices.IndexFunc(r.site.Config.Targets, func(t config.Target) bool { return t.Name == target })
	if at < 0 {
		return job{}, prepare.NoTarget(r.site.Config, target)
	}
	t := r.site.Config.Targets[at]
	if name == "" {
		if t.IsGlob() {
			return job{}, &prepare.RequestError{What: "target " + target + " takes several lineages", Remedy: "say which: certlatch rollback " + target + " LINEAGE"}
		}
		name = t.LineageName()
	}
	if err := lineage.CheckName(name); err != nil {
		return job{}, &prepare.RequestError{What: err.Error(), Remedy: "name a lineage as certlatch history shows it"}
	}
	kept, err := r.site.Store.Generations(target, name)
	if err != nil {
		return job{}, err
	}
	if generation == "" {
		generation = r.lastButProven(install.Ref{Target: target, Lineage: name}, kept)
	}
	if !slices.Contains(kept, generation) {
		remedy := "there is nothing to go back to"
		if len(kept) > 0 {
			remedy = "kept are " + strings.Join(kept, ", ")
		}
		return job{}, &prepare.RequestError{
			What:   fmt.Sprintf("no generation %s of %s is kept for target %s", cmp.Or(generation, "but the proven one"), name, target),
			Remedy: remedy,
		}
	}
	return job{target: t, lineage: r.site.Store.Generation(target, name, generation), requested: true, generation: generation}, nil
}

// lastButProven returns the newest generation that is not the proven one; empty:
// there is none.
func (r *run) lastButProven(ref install.Ref, kept []string) string {
	proven := r.memory.get(ref).Proven
	for _, g := range slices.Backward(kept) {
		if proven == nil || g != proven.Generation {
			return g
		}
	}
	return ""
}
