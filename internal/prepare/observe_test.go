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
