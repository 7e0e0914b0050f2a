package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/process"
)

// This file tells by a service's processes whether any of them still accepts
// connections with the files from before an activation.

// predecessors are the children that a service's main process had right before an
// activation. None: the processes of the service do not tell who accepts
// connections.
type predecessors struct {
	all       []process.ID
	accepting []string // the titles of those that accept connections, or are about to
}

// predecessors looks who is there. A child that has not named itself yet has the
// title of the main process.
func (r *run) predecessors(a attempt) predecessors {
	main := process.ID{PID: a.running.main, Started: a.running.started}
	at := slices.IndexFunc(a.members, func(m member) bool { return m.prepared.plan.Proof.Accepting != "" })
	if at < 0 || main.PID == 0 {
		return predecessors{}
	}
	accepting := a.members[at].prepared.plan.Proof.Accepting
	unnamed, err := r.site.World.Processes.Title(main)
	if err != nil || unnamed == "" {
		return predecessors{}
	}
	children, err := r.site.World.Processes.Children(main.PID)
	if err != nil {
		return predecessors{}
	}
	found := predecessors{children, []string{accepting}}
	if _, any, err := r.accepts(found); err != nil || !any {
		return predecessors{}
	}
	found.accepting = append(found.accepting, unnamed)
	return found
}

// accepts returns the first of the predecessors that accepts connections, if any
// does.
func (r *run) accepts(p predecessors) (_ process.ID, any bool, err error) {
	for _, id := range p.all {
		title, err := r.site.World.Processes.Title(id)
		if err != nil {
			return id, false, err
		}
		if slices.Contains(p.accepting, title) {
			return id, true, nil
		}
	}
	return process.ID{}, false, nil
}

// workerTick is the time from one look at a service's processes to the next.
const workerTick = 2 * time.Millisecond

// succeeded waits until none of the predecessors accepts connections any more, and
// reports whether that was seen before a time. A process that hangs may never say
// so.
func (r *run) succeeded(ctx context.Context, p predecessors, until time.Time) bool {
	for len(p.all) > 0 {
		_, any, err := r.accepts(p)
		switch {
		case err != nil:
			return false
		case !any:
			return true
		case !time.Now().Before(until):
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(workerTick):
		}
	}
	return false
}

// noteHanging notes a predecessor that goes on accepting connections although the
// proof is made: what it serves when it wakes up, no handshake has shown.
func (r *run) noteHanging(a attempt) attempt {
	id, any, err := r.accepts(a.before)
	if err != nil || !any {
		return a
	}
	r.site.Log.Warn("a process from before the activation has not stopped accepting connections", "unit", a.unit(), "pid", id.PID)
	note := fmt.Sprintf("process %d was there before the activation and has not stopped accepting connections: it hangs, and may serve the certificate from before when it goes on; see why (it may have been stopped), and end it", id.PID)
	return a.each(func(m member) member {
		m.notes = append(slices.Clip(m.notes), note)
		return m
	})
}
