package prepare

import (
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// This file is about services that were proven to serve a leaf once and
// complete no handshake now. Where their probes are found and not written
// down, nothing may be left to be found, so those that proved the target are
// remembered.

// Shows reports whether a handshake showed a leaf.
func Shows(o probe.Observation, fingerprint string) bool {
	return o.Leaf() != nil && lineage.Fingerprint(o.Leaf()) == fingerprint
}

// Proved returns the probes that were remembered when a target was proven, where
// its probes are found.
func Proved(proven *state.Proof, plan deployers.Plan) []endpoint.Endpoint {
	if proven == nil || !plan.Found || plan.Unprobed != "" {
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

// Among reports whether an endpoint is at the listener of one of the others, by
// whatever name.
func Among(e endpoint.Endpoint, others []endpoint.Endpoint) bool {
	return slices.ContainsFunc(others, func(o endpoint.Endpoint) bool {
		return o.Scheme == e.Scheme && o.Host == e.Host && o.Port == e.Port
	})
}

// LostProbes returns the remembered probes of listeners that the service has
// not got any more.
func LostProbes(proven *state.Proof, plan deployers.Plan) []endpoint.Endpoint {
	return slices.DeleteFunc(Proved(proven, plan), func(e endpoint.Endpoint) bool { return Among(e, plan.Probes) })
}

// Outage returns an error that reports a target's service to be out of order,
// because of what was seen; nil: it was never proven.
func Outage(t config.Target, proven *state.Proof, seen error) *outcome.OutageError {
	if proven == nil {
		return nil
	}
	return &outcome.OutageError{Err: seen, Unit: t.Unit, Proven: *proven}
}

// Unserved returns the outage of a target. Where it was never proven, it returns what
// it is then; and where the service has gone to listeners that cannot be probed, as its
// own configuration says, that.
func Unserved(t config.Target, plan deployers.Plan, proven *state.Proof, seen, unproven error) error {
	if plan.Unprobed != "" {
		return &outcome.NoProbeError{Target: t.Name, Unprobed: plan.Unprobed}
	}
	if outage := Outage(t, proven, seen); outage != nil {
		return outage
	}
	return unproven
}

// Endpoints returns where observations were made.
func Endpoints(observed []probe.Observation) []endpoint.Endpoint {
	var all []endpoint.Endpoint
	for _, o := range observed {
		all = append(all, o.Endpoint)
	}
	return all
}
