package engine

import (
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

// This file leaves word of what there is to do for the next run.

// MarkBehind marks, for the next run, lineages that some target has not got as
// they are now, and gives their number. It looks at those whose files have
// changed; nil: at all that are not pending. What it says is from files alone:
// it takes no lock and talks to no service. What is held is left out, and what
// another run has tried already: that has its own time.
func (e *Engine) MarkBehind(changed []lineage.Lineage) (int, error) {
	r, err := e.begin(Request{}, time.Now())
	if err != nil {
		return 0, err
	}
	defer r.close()
	items, err := r.choose()
	if err != nil {
		return 0, err
	}
	var behind []*item
	for _, it := range items {
		isMissing := it.lineage.Client == ""
		if !isMissing && (changed == nil || slices.Contains(changed, it.lineage)) && r.behind(it, changed != nil) {
			behind = append(behind, it)
		}
		clear(r.bundles) // of thousands of lineages, one at a time is enough
	}
	return len(behind), e.mark(behind)
}

// behind tells whether an item's target has not got its lineage, and nobody
// has tried that yet.
func (r *run) behind(it *item, changed bool) bool {
	if r.held(it) {
		return false
	}
	known := r.state.Get(it.target.Name, it.lineage.Name)
	if p := known.Pending; p != nil {
		return changed && (p.Result == string(Refused) || p.Fingerprint != r.fingerprint(it.lineage))
	}
	return !r.settled(it) && !r.inDatabase(it, known)
}

// inDatabase tells whether an item was proven with this leaf, and its pair is
// in a database, of which files do not tell.
func (r *run) inDatabase(it *item, known state.Record) bool {
	return known.Proven != nil && known.Proven.Files == nil && known.Proven.Leaf.Fingerprint == r.fingerprint(it.lineage)
}
