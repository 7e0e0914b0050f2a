// Package condition concludes in what condition certificates are, from what was
// found out about them and what was known before.
//
// It looks at nothing itself, and asks no clock: a sighting carries the time at
// which it was made, and whoever reads one says what time it is.
package condition

import (
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/state"
)

// Condition is how a lineage is doing at a target. The words are fixed by the
// contract.
type Condition string

const (
	InSync   Condition = "in-sync"
	Changed  Condition = "changed-by-others"
	Stale    Condition = "stale"
	NotOurs  Condition = Condition(outcome.NotOurs)
	Waiting  Condition = "pending"
	HeldBack Condition = "held"
	Broken   Condition = "failed"
	Expiring Condition = "expiring"
	Expired  Condition = "expired"
	Unknown  Condition = "unknown"
)

// Conditions returns all of them, the gravest first. Of two that apply, the
// graver one is said.
func Conditions() []Condition {
	return []Condition{Expired, HeldBack, Changed, Broken, Expiring, Waiting, Stale, NotOurs, Unknown, InSync}
}

// Presented returns the leaf that counts for expiry: of those served the first
// to expire; where none is seen, the one installed, or else issued. nil:
// nothing is known.
func Presented(c state.Certificate) *lineage.Leaf {
	var first *lineage.Leaf
	for _, s := range c.Served {
		if s.Leaf != nil && (first == nil || s.Leaf.NotAfter.Before(first.NotAfter)) {
			first = s.Leaf
		}
	}
	switch {
	case first != nil:
		return first
	case c.Installed != nil:
		return c.Installed
	}
	return c.Issued
}

// Ends returns when what is presented ends: the leaf, or its chain before it, which
// byChain reports. It is zero where nothing is known.
func Ends(c state.Certificate) (at time.Time, byChain bool) {
	leaf := Presented(c)
	switch {
	case leaf == nil:
		return time.Time{}, false
	case c.ChainEnds != nil && c.ChainEnds.Before(leaf.NotAfter):
		return *c.ChainEnds, true
	}
	return leaf.NotAfter, false
}

// At returns a certificate in the condition that it is in at a time, which alone
// lets it expire.
func At(c state.Certificate, now time.Time, expiry Expiry) state.Certificate {
	leaf := Presented(c)
	if leaf == nil {
		return c
	}
	warning, _ := expiry.Margins(*leaf)
	ends, _ := Ends(c)
	begins := ends.Add(-warning)
	switch {
	case !now.Before(ends):
		c.State, c.Since = string(Expired), &ends
	case now.After(begins) && !slices.Contains([]Condition{HeldBack, Changed, Broken}, Condition(c.State)):
		c.State, c.Since = string(Expiring), &begins
	}
	return c
}

// Crashed reports whether a target is held because its service died of a
// deployment.
func Crashed(hold *string) bool { return hold != nil && *hold == string(outcome.ServiceCrashed) }
