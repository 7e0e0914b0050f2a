package prepare

import (
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/state"
)

// NothingBefore reports whether a failed deployment of a pair would have no pair
// to go back to: none is installed, or the one that is was never seen to be
// served.
func NothingBefore(pair pairs.Pair, record state.Record) bool {
	if pair.Same() {
		return record.Proven == nil
	}
	waits := record.Pending != nil && outcome.Reason(record.Pending.Reason) == outcome.FirstInstall
	return !pair.Whole() || record.Proven == nil && waits
}
