package config

import (
	"slices"

	"github.com/certlatch/certlatch/internal/lineage"
)

// Demand is which lineages the targets of a configuration take: of thousands of
// lineages, each is looked for among a few selectors.
type Demand struct {
	named map[string][]selector // those for one lineage, by its name
	globs []selector
}

// Demand returns what the targets take.
func (c *Config) Demand() Demand {
	d := Demand{named: map[string][]selector{}}
	for _, t := range c.Targets {
		chosen := selector(t.Lineage)
		if t.IsGlob() {
			d.globs = append(d.globs, chosen)
			continue
		}
		d.named[t.LineageName()] = append(d.named[t.LineageName()], chosen)
	}
	return d
}

// Takes reports whether some target takes a lineage, as [Target.Wants] does.
func (d Demand) Takes(l lineage.Lineage) bool {
	takes := func(s selector) bool { return s.takes(l) }
	return slices.ContainsFunc(d.named[l.Name], takes) || slices.ContainsFunc(d.globs, takes)
}
