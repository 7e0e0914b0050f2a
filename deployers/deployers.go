// Package deployers holds the types by which the rest of certlatch deals with
// services. A [Deployer] turns a bundle, a target and what was found out about
// the service into a [Plan], which is data: the files to write, the service's
// own test, how to activate, what to probe.
//
// It knows no service: each has a room below this one, and package all has the
// table of them. Nothing here or there reads, writes, runs or connects to
// anything, so a plan can be made, printed and compared without a service. Acting
// on plans is the engine's part.
package deployers

import "github.com/certlatch/certlatch/internal/lineage"

// Deployer plans deployments to one kind of service.
type Deployer interface {
	// Name returns the service's name in the configuration.
	Name() string

	// Options returns a new value for the block named after the service, a
	// pointer to a struct with yaml tags and the defaults set.
	Options() any

	// Defaults sets what the configuration left out of a target.
	Defaults(*Target)

	// Wants returns what must be known before a plan can be made. It is called
	// again with what was found out, until it wants nothing more.
	Wants(Target, Facts) Wants

	// Plan returns what is to be done. It fails with a *UnitError or a
	// *NoWayError; the plan then holds its Checks, and nothing to act on.
	Plan(Target, lineage.Lineage, Facts) (Plan, error)
}
