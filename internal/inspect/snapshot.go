package inspect

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

// This file keeps what was seen in the snapshot.

// readSnapshot reads the snapshot in a directory. One that is not there or
// damaged is made anew.
func readSnapshot(dir string) *state.Snapshot {
	snapshot, err := state.ReadSnapshot(dir)
	if err != nil {
		return new(state.Snapshot)
	}
	return snapshot
}

// remember puts what was seen into the snapshot, beside what was seen before
// of all else that is assigned. Whoever has looked later is believed.
func remember(dir string, seen []state.Sighting, assigned []prepare.Assignment) error {
	before, now := readSnapshot(dir).Lookup(), (&state.Snapshot{Certificates: seen}).Lookup()
	all := []state.Sighting{}
	for _, a := range assigned {
		old, new := before(a.Target.Name, a.Lineage.Name), now(a.Target.Name, a.Lineage.Name)
		switch {
		case new != nil && (old == nil || !old.Looked.After(new.Looked) || old.Looked.After(time.Now())):
			all = append(all, *new)
		case old != nil:
			all = append(all, *old)
		}
	}
	err := state.WriteSnapshot(dir, all)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was deployed yet, so there is no state directory
	}
	return err
}

// RunResult is what a run of deployments has come to, as far as the snapshot is
// to show it.
type RunResult struct {
	Touched   []install.Ref          // what the snapshot says of these may be no longer so
	Unchanged map[install.Ref]string // what was found to be installed and to need nothing: the leaf's fingerprint
	Look      bool                   // the run has looked at services, where it might have done without
	Until     time.Time              // its last moment
}

const (
	snapshotFresh = 5 * time.Minute  // a run that looks at services anyway lets it grow no older
	snapshotLimit = 10 * time.Second // for looking at what a run has changed,
	lastMoment    = 3 * time.Second  // which may go beyond the run's last moment by this
)

// Refresh brings the snapshot up to date with what a run has done and seen,
// after the run has released the lock. Where that is nothing new, and the
// snapshot is fresh, nothing is written. That ctx has ended does not keep it
// from that.
//
// It asks no service again that the run's Preparer knows the answer of, such as
// one that gave none, but reads lineages again. The Preparer stays open. That
// something cannot be refreshed is logged.
func (in Inspector) Refresh(ctx context.Context, prep *prepare.Preparer, run RunResult) {
	snapshot, err := state.ReadSnapshot(in.Site.Config.Run)
	if err != nil {
		snapshot = new(state.Snapshot)
	}
	outdated := append(run.outdated(snapshot), run.Touched...)
	all := run.Look && (err != nil || !fresh(snapshot, time.Now()))
	if !all && len(outdated) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(snapshotLimit, time.Until(run.Until.Add(lastMoment))))
	defer cancel()
	prep.ForgetBundles()
	if _, err := in.inventory(ctx, prep, prepare.Scope{}, func(a prepare.Assignment) bool {
		return all || slices.Contains(outdated, install.Ref{Target: a.Target.Name, Lineage: a.Lineage.Name})
	}); err != nil {
		in.Site.Log.Warn("status and check of other users will not see this", "error", err)
	}
}

// outdated returns what the run has found to be in sync and the snapshot shows
// otherwise, such as after a run that ended before it could show it.
func (run RunResult) outdated(snapshot *state.Snapshot) []install.Ref {
	var all []install.Ref
	before := snapshot.Lookup()
	for ref, fingerprint := range run.Unchanged {
		was := before(ref.Target, ref.Lineage)
		if was == nil {
			continue
		}
		other := was.Installed == nil || was.Installed.Fingerprint != fingerprint
		if other || run.Look && was.State != string(condition.InSync) {
			all = append(all, ref)
		}
	}
	return all
}

// fresh reports whether a run that looks at services anyway may leave a
// snapshot as it is. One from a time that has yet to come is no fresher than
// one of long ago.
func fresh(snapshot *state.Snapshot, now time.Time) bool {
	return !slices.ContainsFunc(snapshot.Certificates, func(s state.Sighting) bool {
		return now.Sub(s.Looked) > snapshotFresh || state.Ahead(s.Looked, now)
	})
}
