package proposal

import (
	"fmt"
	"slices"

	"github.com/certlatch/certlatch/deployers"
)

// This file is about uses that have names in common, of which a service prefers one.

// passedOver returns those uses of a service, by their places, that get no target: of
// two for the same names, one is left over from earlier and has a pair of its own, which
// is not to be overwritten. That is the one that the service ignores, unless it alone has
// a lineage's pair.
func (m *maker) passedOver(s Service) map[int]bool {
	passed := map[int]bool{}
	for n, use := range s.Uses {
		if use.Yields == nil {
			continue
		}
		loses := use.Ignored
		for _, yield := range use.Yields {
			w := slices.IndexFunc(s.Uses, func(u deployers.Use) bool { return yield.Certificate != "" && u.Certificate == yield.Certificate })
			if w < 0 || w == n || !m.isLineages(use) || m.isLineages(s.Uses[w]) {
				continue
			}
			loses = false
			if !passed[w] && onlyFor(s.Uses[w], use) {
				passed[w] = true
				m.out.Unknown = append(m.out.Unknown, fmt.Sprintf("%s: %s. It answers for %s in place of %s, which takes %s: take it away, or that one. No target is proposed for it.",
					s, describeUse(s.Uses[w]), yield.Name, use.Where, use.Certificate))
			}
		}
		if loses {
			passed[n] = true
			m.out.Unknown = append(m.out.Unknown, fmt.Sprintf("%s: %s. It is ignored: %s answers for %s in its place. Take it away, or that one. No target is proposed for it.",
				s, describeUse(use), use.Yields[0].Where, use.Yields[0].Name))
		}
	}
	return passed
}

// onlyFor reports whether a use is for nothing but names that another one yields.
func onlyFor(use, other deployers.Use) bool {
	yields := func(name string) bool {
		return slices.ContainsFunc(other.Yields, func(y deployers.Yield) bool { return y.Name == name })
	}
	return len(use.Names) > 0 && !slices.ContainsFunc(use.Names, func(name string) bool { return !yields(name) })
}

// isLineages reports whether a use takes a lineage's files, a copy of them, or what
// certlatch keeps.
func (m *maker) isLineages(use deployers.Use) bool {
	file := m.Files[use.Certificate]
	_, isManaged := managedDirectory(use)
	isCopy := file.Leaf != nil && slices.ContainsFunc(m.Lineages, func(l Lineage) bool { return l.Leaf.Fingerprint == file.Leaf.Fingerprint })
	return file.Kept != "" || file.KeptBy != "" || isManaged || isCopy
}
