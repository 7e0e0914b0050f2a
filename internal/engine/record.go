package engine

import (
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

// record notes what became of items: in the state, and in the history. Where
// nothing happened, nothing is written.
func (r *run) record(items []*item) error {
	began := time.Now()
	marks, err := r.Store.Marks()
	if err != nil {
		return err
	}
	var entries []state.Entry
	changed := false
	for _, it := range items {
		changed = r.note(it, began) || changed
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
	for _, it := range items { // a mark goes last: until then it would make up for all that was not written
		if slices.Contains(marks, it.lineage.String()) {
			if err := r.Store.Unmark(it.lineage.Client, it.lineage.Name); err != nil {
				return err
			}
		}
	}
	for _, it := range items {
		if it.out.Result == Unchanged || it.out.Result == Held {
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
		if r.state.Get(target, name).Pending == nil {
			return false
		}
		r.state.Record(target, name).Pending = nil
	case Deployed:
		record := r.state.Record(target, name)
		record.Pending = nil
		record.Proven = &state.Proof{Leaf: it.leaf, Generation: it.generation, Time: now.UTC().Truncate(time.Second)}
	case Refused:
		r.state.Record(target, name).Fail(it.out.Reason, it.leaf.Fingerprint, now, r.mends(it))
	default:
		record := r.state.Record(target, name)
		next := record.Retry(it.leaf.Fingerprint, now)
		switch it.out.Reason {
		case crashedReason:
			next = nil
		case outsideWindowReason:
			opens := it.target.Window.Opens(now)
			next = &opens
		}
		record.Fail(it.out.Reason, it.leaf.Fingerprint, now, next)
	}
	return true
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
