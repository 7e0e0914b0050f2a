package prepare

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/probe"
)

// TestObserveTheDead wants endpoints that do not answer to cost one timeout, however
// many names are looked for at each.
func TestObserveTheDead(t *testing.T) {
	for _, test := range []struct {
		kind       probe.Kind
		handshakes int64
		took       time.Duration
	}{
		{probe.ConnectTimeout, 5, 5 * time.Second},
		{probe.Refused, 200, 0},
		{probe.HandshakeTimeout, 200, 40 * time.Second}, // one of several processes may hang: the first of each address, and then 32 at once
	} {
		synctest.Test(t, func(t *testing.T) {
			var at []endpoint.Endpoint
			for n := range 200 {
				for _, port := range []uint16{443, uint16(8000 + n%5)} { // the others are dead
					at = append(at, endpoint.Endpoint{Scheme: "tls", Host: "127.0.0.1", Port: port, Name: fmt.Sprintf("%d.example", n)})
				}
			}
			var dead, alive, done atomic.Int64
			handshake := func(_ context.Context, e endpoint.Endpoint) probe.Observation {
				if e.Port == 443 {
					alive.Add(1)
					return probe.Observation{Endpoint: e}
				}
				dead.Add(1)
				if test.kind != probe.Refused {
					time.Sleep(probe.Limit)
				}
				return probe.Observation{Endpoint: e, Err: &probe.Error{Endpoint: e, Kind: test.kind}}
			}
			began := time.Now()
			seen := observe(t.Context(), at, handshake, func() { done.Add(1) })
			if took := time.Since(began); took != test.took {
				t.Errorf("%s: it took %v", test.kind, took)
			}
			if alive.Load() != 200 || dead.Load() != test.handshakes || done.Load() != 400 {
				t.Errorf("%s: %d and %d handshakes, %d are done", test.kind, alive.Load(), dead.Load(), done.Load())
			}
			for i, o := range seen {
				if failed, _ := o.Err.(*probe.Error); o.Endpoint != at[i] || (failed != nil) != (at[i].Port != 443) || failed != nil && (failed.Kind != test.kind || failed.Endpoint != at[i]) {
					t.Errorf("%s: of %v it is said: %+v", test.kind, at[i], o)
				}
			}
		})
	}
}

// lookout is a network in which one address gives no connection.
type lookout struct {
	Network
	looked int
	dead   bool
}

func (l *lookout) Observe(_ context.Context, at []endpoint.Endpoint, done func()) (seen []probe.Observation) {
	for _, e := range at {
		l.looked++
		o := probe.Observation{Endpoint: e}
		if e.Port == 444 && l.dead {
			o.Err = &probe.Error{Endpoint: e, Kind: probe.ConnectTimeout}
		}
		seen = append(seen, o)
		done()
	}
	return seen
}

// TestObserveAgain wants an address that gave no connection not to be tried again
// for a while, whatever the name, but after an activation.
func TestObserveAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &lookout{dead: true}
		p := NewPreparer(World{Network: network})
		look := func(name string, looked int, dead bool) {
			t.Helper()
			network.looked = 0
			done := 0
			at := []endpoint.Endpoint{{Host: "127.0.0.1", Port: 443, Name: name}, {Host: "127.0.0.1", Port: 444, Name: name}}
			seen := p.Observe(t.Context(), at, func() { done++ })
			if done != 2 || network.looked != looked || seen[0].Err != nil || (seen[1].Err != nil) != dead || seen[0].Endpoint != at[0] || seen[1].Endpoint != at[1] {
				t.Errorf("%d of 2 are done, %d handshakes, seen is %+v", done, network.looked, seen)
			}
		}
		look("a.example", 2, true)
		look("b.example", 1, true)
		time.Sleep(unreachableFor + 1)
		look("a.example", 2, true)
		p.ForgetUnit("web.service")
		network.dead = false
		look("a.example", 2, false)
		network.dead = true
		look("a.example", 2, true)
		if seen := p.Observe(t.Context(), []endpoint.Endpoint{{Host: "127.0.0.1", Port: 444}}, func() {}); len(seen) != 1 || network.looked != 2 {
			t.Errorf("%d handshakes, seen is %+v", network.looked, seen)
		}
	})
}

// TestCutShort does not take an address for dead whose look was cut short.
func TestCutShort(t *testing.T) {
	network := &lookout{dead: true}
	p := NewPreparer(World{Network: network})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		p.Observe(ctx, []endpoint.Endpoint{{Host: "127.0.0.1", Port: 444}}, func() {})
	}
	if network.looked != 2 {
		t.Errorf("%d looks", network.looked)
	}
}
