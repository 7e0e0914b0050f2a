package inspect

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
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
// of all else that is assigned. Whoever has looked later is believed. Unclaimed are
// the lineages that no target takes.
func remember(dir string, seen []state.Sighting, assigned []prepare.Assignment, unclaimed []state.Unclaimed) error {
	before, now := readSnapshot(dir).Lookup(), (&state.Snapshot{Certificates: seen}).Lookup()
	all := []state.Sighting{}
	for _, a := range assigned {
		old, new := before(a.Target.Name, a.Lineage.Name), now(a.Target.Name, a.Lineage.Name)
		switch {
		case new != nil && (old == nil || !old.Looked.After(new.Looked) || old.Looked.After(time.Now())):
			all = append(all, forEverybody(*new))
		case old != nil:
			all = append(all, *old)
		}
	}
	err := state.WriteSnapshot(dir, all, unclaimed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was deployed yet, so there is no state directory
	}
	return err
}

// forEverybody returns a sighting without what stands in the configuration of services,
// which is for its readers alone.
func forEverybody(s state.Sighting) state.Sighting {
	s.NotOurs = nil
	return s
}

// RunResult is what a run of deployments has come to, as far as the snapshot is
// to show it.
type RunResult struct {
	Touched   []install.Ref          // what the snapshot says of these may be no longer so
	Seen      map[install.Ref]Seen   // what it has seen of some, so that nobody need look again
	Unchanged map[install.Ref]string // what was found to be installed and to need nothing: the leaf's fingerprint
	Look      bool                   // the run has looked at services, where it might have done without
	Until     time.Time              // its last moment
}

const (
	snapshotFresh = 5 * time.Minute  // a run that looks at services anyway lets it grow no older
	snapshotLimit = 10 * time.Second // for looking at what a run has changed,
	lastMoment    = 3 * time.Second  // which may go beyond the run's last moment by this
)

// Seen is what a run has seen of a lineage at a target: one leaf is issued,
// installed, and shown by every probe that counts.
type Seen struct {
	Began  time.Time // when the run did, which has read the lineage since
	Noted  time.Time // when it had seen all this, and the state said so
	Leaf   *x509.Certificate
	Plan   deployers.Plan
	Showed []endpoint.Endpoint
	Silent []probe.Observation // of found probes, which completed no handshake
}

// observations returns what the probes saw.
func (s Seen) observations() []probe.Observation {
	var all []probe.Observation
	for _, e := range s.Showed {
		all = append(all, probe.Observation{Endpoint: e, Chain: []*x509.Certificate{s.Leaf}})
	}
	return append(all, s.Silent...)
}

// seen returns what is known of an assignment, whose lineage was not renewed since;
// nothing but the assignment where that is not so.
func (i inspection) seen(a prepare.Assignment, known map[install.Ref]Seen) glance {
	seen, is := known[install.Ref{Target: a.Target.Name, Lineage: a.Lineage.Name}]
	if !is || a.Err != nil {
		return glance{assigned: a}
	}
	if info, err := os.Stat(a.Lineage.Fullchain); err != nil || !info.ModTime().Before(seen.Began) {
		return glance{assigned: a}
	}
	leaf := describe(seen.Leaf)
	return glance{
		assigned: a, issued: leaf, installed: leaf, looked: true, areFound: seen.Plan.Found, reloadsLeft: seen.Plan.Activate.Left, notOurs: seen.Plan.NotOurs,
		planned: prepare.Endpoints(seen.observations()), proved: prepare.Proved(i.record(a).Proven, seen.Plan), known: &seen,
	}
}

// Refresh brings the snapshot up to date with what a run has done and seen,
// after the run has released the lock. Where that is nothing new, and the
// snapshot is fresh, nothing is written. That ctx has ended does not keep it
// from that. It looks again at what the run has not seen itself, or whose
// lineage was renewed since; what it has no time left for stays as it was.
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
	wanted := map[install.Ref]bool{}
	for _, ref := range outdated {
		wanted[ref] = true
	}
	if _, _, err := in.inventory(ctx, prep, prepare.Scope{}, func(a prepare.Assignment) bool {
		return all || wanted[install.Ref{Target: a.Target.Name, Lineage: a.Lineage.Name}]
	}, run.Seen, false); err != nil {
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
