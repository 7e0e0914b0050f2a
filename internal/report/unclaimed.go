package report

import (
	"fmt"
	"slices"

	"github.com/certlatch/certlatch/internal/state"
)

// mostUnclaimed is how many lineages that no target takes are named.
const mostUnclaimed = 5

// unclaimed returns lines about lineages that no target takes, some of them where there
// are many: those that are served first.
func (i Inventory) unclaimed() []string {
	if len(i.Unclaimed) == 0 {
		return nil
	}
	isServed := func(u state.Unclaimed) bool { return u.Served != nil }
	ordered := slices.DeleteFunc(slices.Clone(i.Unclaimed), func(u state.Unclaimed) bool { return !isServed(u) })
	ordered = append(ordered, slices.DeleteFunc(slices.Clone(i.Unclaimed), isServed)...)
	var lines []string
	for _, u := range ordered[:min(len(ordered), mostUnclaimed)] {
		line := i.unclaimedName(u) + ": no target takes it"
		if isServed(u) {
			line += fmt.Sprintf(", and it is served (%s)", *u.Served)
		}
		lines = append(lines, line)
	}
	if more := len(ordered) - mostUnclaimed; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more that no target takes", more))
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
