package engine

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/certlatch/certlatch/internal/state"
)

// This file copes with what is remembered: with a state, a history and marks
// that are damaged, and with those that cannot be written. What only informs
// ends no run.

// load reads the state. Where it cannot be read at all, unread says why, and
// the state is an empty one to look with. Who may not read it is told so: err.
func (e *Engine) load() (st *state.State, unread, err error) {
	st, err = e.Store.Load()
	switch {
	case err == nil:
		return st, nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, err
	}
	return new(state.State), err, nil
}

// readMarks returns the marks that there are, and none where they cannot be read:
// what is pending is tried all the same.
func (e *Engine) readMarks() []state.Mark {
	marks, err := e.Store.Marks()
	if err != nil {
		e.Log.Error("what hooks have asked for cannot be read", "error", err)
	}
	return marks
}

// save writes the state. One that was not read is never written over.
func (r *run) save() error {
	if r.unread != nil {
		return r.unread
	}
	return r.Store.Save(r.state)
}

// saveOrSay writes the state, or says that it cannot, and reports which.
func (r *run) saveOrSay() bool {
	err := r.save()
	if err == nil {
		return true
	}
	r.Log.Error("what was done cannot be noted; it is looked at again", "error", err, "remedy", remedyOf(err))
	return false
}

// mend puts the state in order that was read from its copy, or holds times that
// cannot be true.
func (r *run) mend() {
	damage := r.state.Damage
	if damage == nil && !r.state.Corrected || r.unread != nil {
		return
	}
	if r.state.SetBack != nil && r.state.Corrected {
		r.Log.Warn("the clock was set back: times were noted that have yet to come, and count as now", "from", r.state.SetBack.From, "of", r.state.SetBack.Where)
	}
	r.saveOrSay()
	if damage != nil {
		r.Log.Error("the state was damaged; its copy is used", "damage", damage.Error(), "copied", r.state.Copied, "kept", damage.Aside)
	}
}

// append writes to the history.
func (r *run) append(entries []state.Entry) {
	damage, err := r.Store.Append(entries...)
	if damage != nil {
		r.Log.Error("the history was damaged; it goes on with what can be read", "damage", damage.Error(), "kept", damage.Aside)
	}
	if err != nil {
		r.Log.Error("the history cannot be written; deployments go on without", "error", err, "remedy", remedyOf(err))
	}
}

// forgets says of items that what became of them could not be noted. The marks
// of their lineages stay, so that a later run looks again; but not that of a
// service that crashed, which is better left alone.
func (r *run) forgets(items []*item) {
	for _, it := range items {
		switch {
		case it.recorded || it.out.Result == Unchanged || it.out.Result == Held:
		case it.out.Reason == crashedReason:
			it.out.Detail += "; that the target is held could not be noted"
			it.out.Remedy = fmt.Sprintf("certlatch hold %s, as soon as the state directory can be written to; %s", it.target.Name, it.out.Remedy)
		default:
			r.forgotten = append(r.forgotten, it)
			it.out.Notes = append(it.out.Notes, "this could not be noted in the state directory; it is looked at again")
		}
	}
}

// remedyOf returns what to do about an error of the state; empty: that is not
// known.
func remedyOf(err error) string {
	directory, unreadable := new(state.DirectoryError), new(state.UnreadableError)
	switch {
	case errors.As(err, &directory):
		return directory.Remedy()
	case errors.As(err, &unreadable):
		return unreadable.Remedy()
	}
	return ""
}
