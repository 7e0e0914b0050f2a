package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// This file is about services that were proven to serve a leaf once and
// complete no handshake now. Where their probes are found and not written
// down, nothing may be left to be found, so those that proved the target are
// remembered.

const outageReason = "outage"

// outageError is a service that was proven once and completed no handshake
// before anything was touched, nor since then.
type outageError struct {
	err    error // what was seen
	unit   string
	proven state.Proof
}

func (e *outageError) Error() string  { return e.err.Error() }
func (e *outageError) Unwrap() error  { return e.err }
func (e *outageError) remedy() string { return lookAtService(e.unit, e.proven) }

// unserved is an outage, or where the item was never proven what it is then.
func (r *run) unserved(it *item, seen, unproven error) error {
	if outage := r.outage(it, seen); outage != nil {
		return outage
	}
	return unproven
}

// noListenerError is a service with nothing left that could be probed.
type noListenerError struct{}

func (noListenerError) Error() string { return "the service has no TLS listener that could be probed" }

// lookAtService is the remedy where a service is out of order.
func lookAtService(unit string, proven state.Proof) string {
	log := "its log"
	if unit != "" {
		log = "journalctl -u " + unit
	}
	return fmt.Sprintf("see why the service completes no TLS handshake (%s); it served %s when it was proven at %s",
		log, proven.Leaf.Short(), proven.Time.Format(time.RFC3339))
}

// outage returns an error that reports an item's service to be out of order,
// because of what was seen; nil: it was never proven.
func (r *run) outage(it *item, seen error) *outageError {
	if proven := r.state.Get(it.target.Name, it.lineage.Name).Proven; proven != nil {
		return &outageError{seen, it.target.Unit, *proven}
	}
	return nil
}

// proved returns the probes that were remembered when the item was proven.
func (r *run) proved(it *item) []endpoint.Endpoint {
	proven := r.state.Get(it.target.Name, it.lineage.Name).Proven
	if proven == nil || !it.plan.Found {
		return nil
	}
	var all []endpoint.Endpoint
	for _, text := range proven.Probes {
		if e, err := endpoint.Parse(text); err == nil {
			all = append(all, e)
		}
	}
	return all
}

// among reports whether an endpoint is at the listener of one of the others,
// by whatever name.
func among(e endpoint.Endpoint, others []endpoint.Endpoint) bool {
	return slices.ContainsFunc(others, func(o endpoint.Endpoint) bool {
		return o.Scheme == e.Scheme && o.Host == e.Host && o.Port == e.Port
	})
}

// lost returns the remembered probes of listeners that the service has not got
// any more.
func (r *run) lost(it *item) []endpoint.Endpoint {
	return slices.DeleteFunc(r.proved(it), func(e endpoint.Endpoint) bool { return among(e, it.plan.Probes) })
}

// expectProved lets the probes count that proved the item before, where none
// of those that were found completes a handshake; where none is remembered,
// all that were found. What answers where the service does not listen is
// another service, and does not count.
func (r *run) expectProved(ctx context.Context, it *item) {
	proved := r.proved(it)
	var lost []endpoint.Endpoint
	for _, e := range proved {
		if !among(e, endpoints(it.silent)) {
			lost = append(lost, e)
		}
	}
	for _, o := range observe(ctx, lost) {
		if o.Leaf() == nil {
			it.silent = append(it.silent, o)
		}
	}
	silent := it.silent
	it.silent = nil
	for _, o := range silent {
		if proved == nil || among(o.Endpoint, proved) {
			it.count(o)
		} else {
			it.silent = append(it.silent, o)
		}
	}
}

// tellSilent notes which found probes proved the item before and complete no
// handshake now, while others do and count.
func (r *run) tellSilent(it *item) {
	proved := r.proved(it)
	for _, o := range it.silent {
		outage := r.outage(it, o.Err)
		if outage == nil || !among(o.Endpoint, proved) {
			continue
		}
		if note := outage.Error() + "; " + outage.remedy(); !slices.Contains(it.out.Notes, note) {
			it.out.Notes = append(it.out.Notes, note)
		}
	}
}

// remembered returns what is to be remembered of the found probes that showed
// the leaf. One that proved the target before, and listens and completes no
// handshake, is not forgotten for that.
func (it *item) remembered(showed []endpoint.Endpoint, before []endpoint.Endpoint) []string {
	if !it.plan.Found {
		return nil
	}
	var all []string
	for _, e := range slices.Concat(showed, slices.DeleteFunc(endpoints(it.silent), func(e endpoint.Endpoint) bool { return !among(e, before) })) {
		all = append(all, e.String())
	}
	return all
}

// silentThroughout reports whether none of the probes has completed a
// handshake, at the baseline nor since.
func (it *item) silentThroughout(seen []probe.Seen) bool {
	return !slices.ContainsFunc(seen, func(s probe.Seen) bool {
		at := slices.Index(it.plan.Probes, s.Endpoint)
		return at < 0 || at >= len(it.baseline) || it.baseline[at].Leaf() != nil || s.Last.Leaf() != nil
	})
}
