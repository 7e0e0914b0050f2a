package deploy

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// keep ends an attempt whose files stay: proven, or waiting for what wait says.
// Where that cannot be noted the next run would take them back, so that is an
// error, and they are to be undone.
func (r *run) keep(a attempt, wait *outcome.WaitError) ([]ended, error) {
	if a.staged != nil {
		if err := r.tidyUp(a.staged.Keep()); err != nil {
			return nil, err
		}
	}
	var became []ended
	for _, m := range a.members {
		ref := m.prepared.job.ref()
		if err := r.site.Store.Keep(ref.Target, ref.Lineage, m.prepared.generation, m.prepared.bundle, m.prepared.provenGeneration()); err != nil {
			r.site.Log.Error("cannot keep the generation for a rollback", "target", ref.Target, "lineage", ref.Lineage, "error", err)
		}
		if waits := cmp.Or(m.wait, wait); waits != nil {
			end := m.end(outcome.Waits{For: waits, Restarted: a.restartedFor(m, nil)})
			end.again = m.prepared.spent && !a.activated
			became = append(became, end)
			continue
		}
		end := m.end(outcome.Served{})
		end.proof = m.proof(time.Now())
		end.seen = r.seen(m.prepared, m.probes(), m.silent)
		became = append(became, end)
	}
	return became, nil
}

// tidyUp returns an error of keeping an installation, if it is not kept, and says
// otherwise what is left.
func (r *run) tidyUp(err error) error {
	if _, notKept := errors.AsType[*install.NotKeptError](err); notKept {
		return err
	}
	if err != nil {
		r.site.Log.Warn("something of certlatch's is left after the installation, which is well; see whether it can be removed by hand", "error", err)
	}
	return nil
}

// proof returns what is remembered of a member that was proven.
func (m member) proof(now time.Time) *state.Proof {
	return m.prepared.proof(now, m.probes(), slices.Concat(m.silent, m.away))
}

// proof returns what is remembered of a job that was proven by some probes, while
// others were silent. A found one that proved the target before, and listens and
// completes no handshake, is not forgotten for that.
func (p prepared) proof(now time.Time, showed []endpoint.Endpoint, silent []probe.Observation) *state.Proof {
	proof := &state.Proof{Leaf: p.leaf, Generation: p.generation, Time: now.UTC().Truncate(time.Second)}
	if p.plan.Found {
		before := prepare.Proved(p.known.Proven, p.plan)
		expected := slices.DeleteFunc(prepare.Endpoints(silent), func(e endpoint.Endpoint) bool { return !prepare.Among(e, before) })
		for _, e := range slices.Concat(showed, expected) {
			proof.Probes = append(proof.Probes, e.String())
		}
	}
	if proof.Directory, proof.Files = p.pair.Proof(); proof.Files != nil {
		proof.Target = configured(p.job.target)
	}
	return proof
}

// stillProven returns what is remembered of a job that was proven before, and was
// looked at again: the target may be configured in another way than it was then.
func (p prepared) stillProven(seen sight) *state.Proof {
	proof := p.proof(p.known.Proven.Time, prepare.Endpoints(seen.counting), seen.silent)
	if len(seen.counting) == 0 {
		proof.Probes = p.known.Proven.Probes
	}
	return proof
}
