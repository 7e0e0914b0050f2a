package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Want is an endpoint, and the leaves of which it is to serve one.
type Want struct {
	Endpoint     endpoint.Endpoint
	Fingerprints []string // as of lineage.Fingerprint
}

func (w Want) shownBy(o Observation) bool {
	return o.Err == nil && slices.Contains(w.Fingerprints, lineage.Fingerprint(o.Leaf()))
}

// shortFingerprints returns the beginnings of the wanted fingerprints, for
// people.
func (w Want) shortFingerprints() string {
	var all []string
	for _, fingerprint := range w.Fingerprints {
		all = append(all, lineage.Leaf{Fingerprint: fingerprint}.Short())
	}
	return strings.Join(all, " or ")
}

// Seen is how far a proof came.
type Seen struct {
	Endpoint endpoint.Endpoint
	Last     Observation // of the last handshake that came to its end
	Hits     int         // handshakes with a wanted leaf, in a row, up to the last
	Tries    int         // handshakes in all
	Proven   bool
	Err      error // nil where Proven; else a *NotProvenError
}

// NotProvenError says that an endpoint was not seen to serve a wanted leaf
// often enough before the time was over.
type NotProvenError struct {
	Want   Want
	Last   Observation
	Hits   int // in a row, up to the last handshake
	InARow int // that were needed
	Tries  int
}

func (e *NotProvenError) Error() string {
	if e.Last.Err != nil {
		return e.Last.Err.Error()
	}
	served := lineage.Describe(e.Last.Leaf()).Short()
	if e.Hits > 0 {
		return fmt.Sprintf("%s: serves certificate %s as it should, but the time was over after %d of %d handshakes in a row (%d in all)",
			e.Want.Endpoint, served, e.Hits, e.InARow, e.Tries)
	}
	return fmt.Sprintf("%s: serves certificate %s instead of %s, after %d handshakes", e.Want.Endpoint, served, e.Want.shortFingerprints(), e.Tries)
}

func (e *NotProvenError) Unwrap() error { return e.Last.Err }

// The pauses between two handshakes with one endpoint. nginx's old workers
// accepted connections for 55 to 106 ms after a reload job was done (measured),
// so the first answer is often the old leaf.
const (
	shortPause = 25 * time.Millisecond
	longPause  = 500 * time.Millisecond
)

// Prove makes handshakes with all endpoints at once, each on fresh connections
// one after another, until each has shown a wanted leaf inARow times in a row,
// or ctx ends. It makes at least one handshake with each, and no further one
// where that showed that the wanted type of key cannot be proven. The results
// are in the order of wants.
func Prove(ctx context.Context, wants []Want, inARow int) []Seen {
	seen := make([]Seen, len(wants))
	var all sync.WaitGroup
	for i, want := range wants {
		all.Go(func() { seen[i] = prove(ctx, want, max(1, inARow)) })
	}
	all.Wait()
	return seen
}

func prove(ctx context.Context, want Want, inARow int) Seen {
	seen := Seen{Endpoint: want.Endpoint}
	pause := shortPause
	for seen.Tries == 0 || !over(ctx) {
		now := Handshake(ctx, want.Endpoint)
		if now.Err != nil && over(ctx) && seen.Tries > 0 {
			break // a handshake that was cut short says less than the one before it
		}
		seen.Last = now
		seen.Tries++
		if want.shownBy(now) {
			seen.Hits++
			pause = shortPause
		} else {
			seen.Hits = 0
			pause = min(2*pause, longPause)
		}
		if seen.Hits == inARow {
			seen.Proven = true
			return seen
		}
		if failed, ok := errors.AsType[*Error](now.Err); ok && failed.Kind == KeyUnprovable {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	seen.Err = &NotProvenError{want, seen.Last, seen.Hits, inARow, seen.Tries}
	return seen
}

// over reports whether the time of a context is over. A connection may notice
// before the context itself does.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
