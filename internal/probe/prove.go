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

// Want is an endpoint, the leaves of which it is to serve one, and how often that
// must be seen.
type Want struct {
	Endpoint     endpoint.Endpoint
	Fingerprints []string      // as of lineage.Fingerprint
	InARow       int           // handshakes, each on a fresh connection; at least one
	Pace         time.Duration // from one to the next
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
	Want  Want
	Last  Observation
	Hits  int // in a row, up to the last handshake
	Tries int
}

func (e *NotProvenError) Error() string {
	if e.Last.Err != nil {
		return e.Last.Err.Error()
	}
	served := lineage.Describe(e.Last.Leaf()).Short()
	if e.Hits > 0 {
		return fmt.Sprintf("%s: serves certificate %s as it should, but the time was over after %d of %d handshakes in a row (%d in all)",
			e.Want.Endpoint, served, e.Hits, e.Want.InARow, e.Tries)
	}
	return fmt.Sprintf("%s: serves certificate %s instead of %s, after %d handshakes", e.Want.Endpoint, served, e.Want.shortFingerprints(), e.Tries)
}

func (e *NotProvenError) Unwrap() error { return e.Last.Err }

// longestPause is how far apart handshakes with an endpoint that does not show a
// wanted leaf become.
const longestPause = 500 * time.Millisecond

// Prove makes handshakes with all endpoints side by side, each endpoint's one after
// another, until each has shown a wanted leaf as often in a row as is wanted. No
// more than atOnce go on at once. They are begun until a time, and a row that goes
// well then is brought to its end, unless ctx ends before. It makes at least one
// handshake with each, and no further one where that showed that the wanted type of
// key cannot be proven. The results are in the order of wants.
func Prove(ctx context.Context, until time.Time, wants []Want, atOnce int) []Seen {
	seen := make([]Seen, len(wants))
	turns := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, want := range wants {
		all.Go(func() { seen[i] = proof{want, until, turns}.make(ctx) })
	}
	all.Wait()
	return seen
}

// proof is that of one endpoint.
type proof struct {
	want  Want
	until time.Time
	turns chan struct{} // holds one for each handshake that goes on
}

func (p proof) make(ctx context.Context) Seen {
	seen := Seen{Endpoint: p.want.Endpoint}
	pause := p.want.Pace
	for seen.Tries == 0 || !p.over(ctx, seen) {
		now := p.handshake(ctx, seen)
		if now.Err != nil && p.over(ctx, seen) && seen.Tries > 0 {
			break // a handshake that was cut short says less than the one before it
		}
		seen.Last = now
		seen.Tries++
		if p.want.shownBy(now) {
			seen.Hits++
			pause = p.want.Pace
		} else {
			seen.Hits = 0
		}
		if seen.Hits == max(1, p.want.InARow) {
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
		if seen.Hits == 0 {
			pause = min(2*pause, longestPause)
		}
	}
	seen.Err = &NotProvenError{p.want, seen.Last, seen.Hits, seen.Tries}
	return seen
}

// handshake makes the next handshake when it is its turn. One that does not go on
// with a row is cut short when the time is over.
func (p proof) handshake(ctx context.Context, seen Seen) Observation {
	p.turns <- struct{}{}
	defer func() { <-p.turns }()
	if seen.Hits == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, p.until)
		defer cancel()
	}
	return Handshake(ctx, p.want.Endpoint)
}

// over reports whether no further handshake is made.
func (p proof) over(ctx context.Context, seen Seen) bool {
	return over(ctx) || seen.Hits == 0 && !time.Now().Before(p.until)
}

// over reports whether the time of a context is over. A connection may notice
// before the context itself does.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
