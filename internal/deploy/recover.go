package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/outcome"
)

// Recover only puts back what a run that was cut off had begun to replace, as
// every run does first. What that was is logged, and due again. It fails with an
// *install.RestoreError where something cannot be put back.
func (e *Engine) Recover(ctx context.Context, req Request) error {
	_, err := e.run(ctx, req, func(_ context.Context, r *run) ([]ended, error) {
		lost := &install.RestoreError{}
		var all []error
		for ref, err := range r.stuck {
			lost.Sets = append(lost.Sets, ref)
			all = append(all, fmt.Errorf("target %s, lineage %s: %w", ref.Target, ref.Lineage, err))
		}
		if lost.Err = errors.Join(all...); lost.Err != nil {
			return nil, lost
		}
		return nil, nil
	})
	return err
}

// recover puts back what runs that were cut off had begun to replace, and makes
// what they were about due. It returns why what is stuck cannot be put back:
// that keeps its own target out.
func (e *Engine) recover(m *memory, now time.Time) (stuck map[install.Ref]error, err error) {
	log := e.Site.Log
	if err := e.Site.Store.Sweep(e.Site.Config.Run); err != nil {
		log.Warn("a generation that a crash left half written cannot be removed; every run tries again", "error", err)
	}
	found, err := install.New(e.Site.Store.JournalDir()).Recover()
	if err != nil {
		return nil, e.Site.Store.Failed("repair what an interrupted run left", err)
	}
	for _, path := range found.Left {
		log.Warn("a file of an earlier run cannot be removed; every run tries again", "file", path)
	}
	for _, path := range found.NotOurs {
		log.Warn("somebody has put something else in the place of a file of an earlier run; it is left to them", "path", path)
	}
	for _, d := range found.Damaged { // what it was about is not known, and looking again at everything finds it
		log.Error("a journal of an earlier run cannot be read, so it is set aside, and every target is looked at anew", "error", d, "aside", d.Aside)
		m.interruptAll(now)
	}
	for _, i := range found.Interrupted {
		if len(i.Changed) > 0 {
			log.Warn("an earlier run was cut off, and somebody changed files since, which are left as they are", "target", i.Target, "lineage", i.Lineage, "files", i.Changed)
		} else {
			log.Warn("an earlier run was cut off; the previous pair is back in place", "target", i.Target, "lineage", i.Lineage)
		}
		m.interrupt(install.Ref{Target: i.Target, Lineage: i.Lineage}, now)
	}
	stuck = map[install.Ref]error{}
	for _, s := range found.Stuck {
		log.Error("an earlier run was cut off, and the previous pair cannot be put back: this target is left alone until it can", "target", s.Target, "lineage", s.Lineage, "error", s.Err)
		ref := install.Ref{Target: s.Target, Lineage: s.Lineage}
		stuck[ref] = &outcome.StuckError{Err: s.Err}
		m.stuck(ref, stuck[ref], now)
	}
	if len(found.Interrupted)+len(found.Stuck)+len(found.Damaged) > 0 {
		m.flush()
	}
	return stuck, nil
}
