package engine

import (
	"reflect"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

// record notes what became of items: in the state, and in the history. Where
// nothing happened, nothing is written.
func (r *run) record(items []*item) error {
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
	if changed {
		if err := r.save(); err != nil {
			return err
		}
	}
	if len(entries) > 0 {
		if err := r.Store.Append(entries...); err != nil {
			return err
		}
	}
	for _, it := range items {
		if it.out.Result == Unchanged || it.out.Result == Held || it.recorded {
			continue
		}
		it.did(r.Log, Done{Step: Record, OK: true, Took: time.Since(began)})
	}
	return nil
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
			record.Proven = it.proof(record.Proven.Time)
		}
		return was.Pending != nil || !reflect.DeepEqual(was.Proven, record.Proven)
	case Deployed:
		record := r.state.Record(target, name)
		record.Pending = nil
		record.Proven = it.proof(now)
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

// proof is what is remembered of an item that was proven.
func (it *item) proof(now time.Time) *state.Proof {
	proof := &state.Proof{Leaf: it.leaf, Generation: it.generation, Time: now.UTC().Truncate(time.Second)}
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
		return r.mends(it)
	case it.out.Reason == crashedReason:
		return nil
	case it.out.Reason == outsideWindowReason:
		opens := it.target.Window.Opens(now)
		return &opens
	}
	next := record.Retry(it.leaf.Fingerprint, now).Add(time.Duration(it.turn) * state.FirstRetry)
	return &next
}

// unmark takes the marks of the run's lineages away, but for those that were
// left for another run. A run for single targets leaves the others to do. This
// comes last: until then a mark makes up for all that was not written.
func (r *run) unmark(left []*item) error {
	if len(r.req.Targets) > 0 || slices.ContainsFunc(r.items, func(it *item) bool { return it.rolling }) {
		return nil
	}
	for _, mark := range r.marks {
		is := func(it *item) bool { return it.lineage.String() == mark.Lineage }
		if !slices.ContainsFunc(r.items, is) || slices.ContainsFunc(left, is) {
			continue
		}
		if err := r.Store.Unmark(mark); err != nil {
			return err
		}
	}
	return nil
}

// mends gives the time at which a refused bundle may pass without a change of
// its files; nil: never.
func (r *run) mends(it *item) *time.Time {
	refused := slices.DeleteFunc(slices.Clone(it.out.Findings), func(f lineage.Finding) bool { return f.Severity != lineage.Refused })
	if len(refused) == 1 && refused[0].Code == "not-yet-valid" {
		return &it.leaf.NotBefore
	}
	return nil
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
