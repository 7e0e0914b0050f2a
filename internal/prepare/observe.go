package prepare

import (
	"context"
	"sync"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/probe"
)

// unreachable is a connection that was waited for in vain.
type unreachable struct {
	seen  probe.Observation
	since time.Time
}

// unreachableFor is how long an address that gave no connection in time counts as
// one that gives none. To look again, such as for the snapshot, would cost a whole
// timeout each time.
const unreachableFor = 20 * time.Second

// Observe makes one handshake at every endpoint, and tells done of each. Where an
// address gave no connection in time a moment ago, and no service was activated
// since, that is what was seen.
func (p *Preparer) Observe(ctx context.Context, at []endpoint.Endpoint, done func()) []probe.Observation {
	seen := make([]probe.Observation, len(at))
	var looked []int
	var going []endpoint.Endpoint
	for i, e := range at {
		if dead := p.unreachable(e); dead != nil {
			seen[i] = *dead
			done()
			continue
		}
		looked, going = append(looked, i), append(going, e)
	}
	if len(going) == 0 {
		return seen
	}
	for n, o := range p.network.Observe(ctx, going, done) {
		seen[looked[n]] = o
		if ctx.Err() == nil && o.At(o.Endpoint) != nil {
			p.noteUnreachable(o)
		}
	}
	return seen
}

// unreachable returns what was seen a moment ago at an address that gave no
// connection; nil: it has to be looked at.
func (p *Preparer) unreachable(e endpoint.Endpoint) *probe.Observation {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	dead, ok := p.dead[e.Address()]
	if !ok || time.Since(dead.since) > unreachableFor {
		return nil
	}
	return dead.seen.At(e)
}

func (p *Preparer) noteUnreachable(o probe.Observation) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.dead[o.Endpoint.Address()] = unreachable{o, time.Now()}
}

// ForgetUnit forgets what an activation of a unit may have changed.
func (p *Preparer) ForgetUnit(unit string) {
	p.Facts.Forget(unit)
	p.mutex.Lock()
	defer p.mutex.Unlock()
	clear(p.dead)
}

// mostHandshakes is how many handshakes go on at once: more would not be done
// sooner, and look like an attack.
const mostHandshakes = 32

// observe makes a handshake at every endpoint, those at one address once the first
// of them has had its answer: where there was no connection in time, the others
// would not get one either, and a server has hundreds of names.
func observe(ctx context.Context, at []endpoint.Endpoint, handshake func(context.Context, endpoint.Endpoint) probe.Observation, done func()) []probe.Observation {
	seen := make([]probe.Observation, len(at))
	byAddress := map[string][]int{}
	for i, e := range at {
		byAddress[e.Address()] = append(byAddress[e.Address()], i)
	}
	turns := make(chan struct{}, mostHandshakes)
	look := func(i int) {
		turns <- struct{}{}
		defer func() { <-turns }()
		seen[i] = handshake(ctx, at[i])
		done()
	}
	var all sync.WaitGroup
	for _, those := range byAddress {
		all.Go(func() {
			look(those[0])
			for _, i := range those[1:] {
				if dead := seen[those[0]].At(at[i]); dead != nil {
					seen[i] = *dead
					done()
				} else {
					all.Go(func() { look(i) })
				}
			}
		})
	}
	all.Wait()
	return seen
}
