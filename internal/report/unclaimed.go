package report

import (
	"fmt"

	"github.com/certlatch/certlatch/internal/state"
)

// mostUnclaimed is how many lineages that no target takes are named.
const mostUnclaimed = 5

// unclaimed returns lines about lineages that no target takes, some of them where there
// are many: those that are served first.
func (i Inventory) unclaimed() []string {
	var served, idle []string
	for _, u := range i.Unclaimed {
		if u.Served != nil {
			served = append(served, fmt.Sprintf("%s: no target takes it, and it is served (%s)", i.unclaimedName(u), *u.Served))
			continue
		}
		idle = append(idle, i.unclaimedName(u)+": no target takes it")
	}
	lines := append(served, idle...)
	if len(lines) == 0 {
		return nil
	}
	if more := len(lines) - mostUnclaimed; more > 0 {
		lines = append(lines[:mostUnclaimed:mostUnclaimed], fmt.Sprintf("and %d more that no target takes", more))
	}
	return append(lines, "certlatch init shows what targets they could have")
}

// unclaimedName returns the name of a lineage, with its client where another is called so.
func (i Inventory) unclaimedName(u state.Unclaimed) string {
	for _, s := range i.Seen {
		if s.Lineage == u.Lineage {
			return quotedName(u.Client + ":" + u.Lineage)
		}
	}
	for _, other := range i.Unclaimed {
		if other.Lineage == u.Lineage && other.Client != u.Client {
			return quotedName(u.Client + ":" + u.Lineage)
		}
	}
	return quotedName(u.Lineage)
}
