package engine

import (
	"reflect"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

// record notes what became of items: in the state, and in the history. Where
// nothing happened, nothing is written. That it cannot be noted ends no run.
func (r *run) record(items []*item) {
	began := time.Now()
	var entries []state.Entry
	changed := false
	for _, it := range items {
		if it.recorded {
			continue
		}
		if r.note(it, began) {
			changed = true
			r.touched = append(r.touched, it.place())
		}
		if it.out.Result != Unchanged && it.out.Result != Held {
			entries = append(entries, r.entry(it, began))
		}
	}
	noted := true
	if changed {
		noted = r.saveOrSay()
	}
	if !noted {
		r.forgets(items)
	}
	if len(entries) > 0 {
		r.append(entries)
	}
	for _, it := range items {
		if it.out.Result == Unchanged || it.out.Result == Held || it.recorded {
			continue
		}
		it.did(r.Log, Done{Step: Record, OK: noted, Took: time.Since(began)})
	}
}

// note changes the state by one outcome, and tells whether it did.
func (r *run) note(it *item, now time.Time) bool {
	target, name := it.target.Name, it.lineage.Name
	switch it.out.Result {
	case Held:
		return false
	case Unchanged:
		record := r.state.Record(target, name)
		was := *record
		record.Pending = nil
		if it.plan.Target != "" { // the target may be configured in another way than it was at the proof
			record.Proven = it.proof(record.Proven.Time, endpoints(it.baseline), r.proved(it))
			if len(it.baseline) == 0 { // it was not looked at what is served
				record.Proven.Probes = was.Proven.Probes
			}
		}
		return was.Pending != nil || !reflect.DeepEqual(was.Proven, record.Proven)
	case Deployed:
		record := r.state.Record(target, name)
		record.Pending = nil
		record.Proven = it.proof(now, it.plan.Probes, r.proved(it))
	default:
		record := r.state.Record(target, name)
		record.Fail(state.Failure{
			Result: string(it.out.Result), Reason: it.out.Reason, Step: string(it.out.At),
			Detail: it.out.Detail, Remedy: it.out.Remedy, Fingerprint: it.leaf.Fingerprint,
			Next: r.next(it, record, now), Alone: it.alone || isAlone(*record, it.leaf.Fingerprint),
		}, now)
	}
	return true
}

// proof returns what is remembered of an item that was proven by some probes,
// and by others before.
func (it *item) proof(now time.Time, showed, before []endpoint.Endpoint) *state.Proof {
	proof := &state.Proof{Leaf: it.leaf, Generation: it.generation, Time: now.UTC().Truncate(time.Second), Probes: it.remembered(showed, before)}
	if it.plan.Row != nil {
		return proof
	}
	proof.Target, proof.Directory = it.configured(), it.set.Directory
	for i, f := range it.set.Files {
		proof.Files = append(proof.Files, state.File{Path: f.Path, Content: string(it.plan.Files[i].Content), UID: f.UID, GID: f.GID, Mode: f.Mode})
	}
	return proof
}

// next gives the time to try an item again that did not end well; nil: when
// its lineage changes, or when somebody says so.
func (r *run) next(it *item, record *state.Record, now time.Time) *time.Time {
	switch {
	case it.out.Result == Refused:
		return r.mends(it, now)
	case it.out.Reason == crashedReason:
		return nil
	case it.out.Reason == outsideWindowReason:
		opens := it.target.Window.Opens(now)
		return &opens
	}
	next := record.Retry(it.leaf.Fingerprint, now).Add(time.Duration(it.turn) * state.FirstRetry)
	return notAfter(next, now.Add(state.LongestRetry))
}

// unmark takes the marks of the run's lineages away, but for those that were
// left for another run, or could not be noted. A run for single targets leaves
// the others to do. This comes last: until then a mark makes up for all that was
// not written.
func (r *run) unmark(left []*item) {
	if len(r.req.Targets) > 0 || slices.ContainsFunc(r.items, func(it *item) bool { return it.rolling }) {
		return
	}
	for _, mark := range r.marks {
		is := func(it *item) bool { return it.lineage.String() == mark.Lineage }
		if !slices.ContainsFunc(r.items, is) || slices.ContainsFunc(left, is) || slices.ContainsFunc(r.forgotten, is) {
			continue
		}
		if err := r.Store.Unmark(mark); err != nil {
			r.Log.Warn("a mark stays, so this lineage is looked at again", "lineage", mark.Lineage, "error", err)
		}
	}
}

// mends returns the time at which a refused bundle may pass without a change of
// its files, or is looked at again because this clock may be the one that is
// wrong; nil: never.
func (r *run) mends(it *item, now time.Time) *time.Time {
	refused := slices.DeleteFunc(slices.Clone(it.out.Findings), func(f lineage.Finding) bool { return f.Severity != lineage.Refused })
	if len(refused) == 1 && refused[0].Code == "not-yet-valid" {
		return notAfter(it.leaf.NotBefore, now.Add(state.LongestRetry))
	}
	return nil
}

// notAfter returns the earlier of two times, as they are stored.
func notAfter(a, b time.Time) *time.Time {
	if b.Before(a) {
		a = b
	}
	a = a.UTC().Truncate(time.Second)
	return &a
}

func (r *run) entry(it *item, now time.Time) state.Entry {
	entry := state.Entry{
		Time: now.UTC().Truncate(time.Second), Target: it.target.Name, Lineage: it.lineage.Name,
		Result: string(it.out.Result), Leaf: it.out.New, By: r.req.By,
	}
	if it.out.Generation != "" {
		entry.Generation = &it.out.Generation
	}
	if it.out.Reason != "" {
		entry.Reason = &it.out.Reason
	}
	return entry
}
