package deploy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/prepare"
)

// This file makes new pairs ready and lets them take the place of the old ones.

// stage keeps the installed pairs as generations, makes the new ones ready, and
// tries whether the service will be able to read them.
func (r *run) stage(ctx context.Context, a attempt) (attempt, error) {
	var written []pairs.Pair
	a = a.each(func(m member) member {
		if !m.prepared.pair.Same() {
			m.fault = r.keepPrevious(m.prepared)
			written = append(written, m.prepared.pair)
		}
		return m
	})
	if err := a.fault(); err != nil {
		return a, err
	}
	if len(written) > 0 {
		staged, err := r.storage.Stage(ctx, written)
		if err != nil {
			return a.attribute(err), err
		}
		a.staged = staged
		a = r.noteNotCarried(a)
	}
	a = r.tryToRead(ctx, a)
	return a, a.fault()
}

// noteNotCarried says which attributes of the installed files the new ones have
// not got.
func (r *run) noteNotCarried(a attempt) attempt {
	dropped := map[install.Ref][]lineage.Finding{}
	for _, n := range a.staged.NotCarried() {
		ref := install.Ref{Target: n.Target, Lineage: n.Lineage}
		dropped[ref] = append(dropped[ref], outcome.NotCarriedFinding(n))
	}
	return a.each(func(m member) member {
		for _, finding := range dropped[m.prepared.job.ref()] {
			m = r.warn(m, finding)
		}
		return m
	})
}

// warn returns the member with a finding of the way.
func (r *run) warn(m member, finding lineage.Finding) member {
	m.findings = append(slices.Clip(m.findings), finding)
	r.site.Log.Warn(finding.Detail, "target", m.prepared.job.target.Name, "lineage", m.prepared.job.lineage.Name, "reason", finding.Code, "remedy", finding.Remedy)
	return m
}

// keepPrevious stores what is installed as a generation to go back to, where
// certlatch does not have it yet. A pair that somebody else could have put there
// is not kept, unless it is the one that was proven: it may be one that he may
// not read, and a rollback would give it the target's owner and mode.
func (r *run) keepPrevious(p prepared) error {
	ref := p.job.ref()
	previous, guarded := p.pair.Installed(p.job.lineage)
	if previous == nil {
		return nil // not a pair, so nothing to go back to by name; the undo copies hold it all the same
	}
	leaf := lineage.Describe(previous.Leaf)
	if proven := p.known.Proven; !guarded && (proven == nil || proven.Leaf.Fingerprint != leaf.Fingerprint) {
		r.site.Log.Warn("the installed pair is not kept for a rollback: another user could have put it there, and certlatch has not proven it",
			"target", ref.Target, "lineage", ref.Lineage, "leaf", leaf.Short())
		return nil
	}
	generation := r.generationOf(ref, leaf, r.began.Add(-time.Millisecond)) // it sorts before the new one
	return r.site.Store.Keep(ref.Target, ref.Lineage, generation, previous, p.generation)
}

// tryToRead tries to open the files as the services' own users.
func (r *run) tryToRead(ctx context.Context, a attempt) attempt {
	now := func(path string) string { return path }
	if a.staged != nil {
		now = a.staged.Path
	}
	var trials []prepare.Trial
	var of []key
	for _, m := range a.members {
		some := prepare.Trials(m.prepared.plan, now)
		trials = append(trials, some...)
		of = append(of, slices.Repeat([]key{m.prepared.job.key()}, len(some))...)
	}
	failed := map[key]error{}
	for i, tried := range prepare.TryToRead(ctx, r.site.World.Programs, trials) {
		failed[of[i]] = cmp.Or(failed[of[i]], tried.Err)
	}
	return a.each(func(m member) member {
		m.fault = cmp.Or(failed[m.prepared.job.key()], m.fault)
		return m
	})
}

// attribute puts a failure down to the members that it says it is of, or to those
// whose files its words name.
func (a attempt) attribute(err error) attempt {
	of := map[install.Ref]error{}
	if faults, is := errors.AsType[pairs.Faults](err); is {
		for _, f := range faults {
			of[f.Set] = f.Err
		}
	} else if one, is := errors.AsType[*install.SetError](err); is {
		of[one.Set] = err
	} else {
		for _, m := range a.members {
			if slices.ContainsFunc(m.prepared.pair.Paths(), func(path string) bool { return names(err.Error(), path) }) {
				of[m.prepared.job.ref()] = err
			}
		}
	}
	return a.each(func(m member) member {
		m.fault = cmp.Or(of[m.prepared.job.ref()], m.fault)
		return m
	})
}

// names reports whether a text names a path, and not one that goes on.
func names(text, path string) bool {
	for {
		at := strings.Index(text, path)
		if at < 0 {
			return false
		}
		text = text[at+len(path):]
		if text == "" || !strings.ContainsRune("-._/", rune(text[0])) && !isWord(text[0]) {
			return true
		}
	}
}

func isWord(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// commit lets the new pairs take the place of the old ones.
func (r *run) commit(ctx context.Context, a attempt) (attempt, error) {
	if a.staged == nil {
		return a, nil
	}
	if err := a.staged.Commit(ctx); err != nil {
		return a.attribute(err), err
	}
	return a, nil
}
