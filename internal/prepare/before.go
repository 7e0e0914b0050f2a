package prepare

import (
	"errors"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/state"
)

// NothingBefore reports whether a failed deployment of a pair would have no pair
// to go back to: none is installed, or the one that is was never seen to be
// served.
func NothingBefore(pair pairs.Pair, record state.Record) bool {
	return pair.Same() && record.Proven == nil || isFirst(pair, record)
}

// isFirst reports whether a pair is the first at its place: none was there that
// somebody else has put there and a service could have taken.
func isFirst(pair pairs.Pair, record state.Record) bool {
	waits := record.Pending != nil && outcome.Reason(record.Pending.Reason) == outcome.FirstInstall
	return !pair.Whole() || record.Proven == nil && waits
}

// FilesFirst returns the plan of a first pair that is installed before anything of its
// service could take it: a service may not start with the name of a file that is not
// there, so the files come first, and wait. Any other plan is returned as it is, with
// what it failed with.
func FilesFirst(plan deployers.Plan, failed error, pair pairs.Pair, record state.Record) (deployers.Plan, error) {
	if plan.Row != nil || record.Proven != nil || !isFirst(pair, record) {
		return plan, failed
	}
	first := deployers.Activation{Way: deployers.NoWay, Unit: plan.Activate.Unit, Wait: deployers.Wait(outcome.FirstInstall)}
	switch {
	case HasNoTLS(failed):
		noWay, _ := errors.AsType[*deployers.NoWayError](failed)
		first.Why, first.Remedy = noWay.Why, noWay.Remedy
	case failed == nil && plan.Found && len(plan.Probes) == 0 && plan.Unprobed == "" && plan.Activate.Way != deployers.NoWay && Unreached(plan, nil) == nil:
		first.Why = "no TLS listener of the service is known that could take the files yet"
	default:
		return plan, failed
	}
	plan.Activate = first
	return plan, nil
}

// HasNoTLS reports whether a plan failed since its service does no TLS yet.
func HasNoTLS(failed error) bool {
	noWay, is := errors.AsType[*deployers.NoWayError](failed)
	return is && noWay.NoTLS
}

// IsFilesFirst reports whether a plan is one of those that [FilesFirst] makes.
func IsFilesFirst(plan deployers.Plan) bool {
	return plan.Activate.Wait == deployers.Wait(outcome.FirstInstall)
}
