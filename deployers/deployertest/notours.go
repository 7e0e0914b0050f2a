package deployertest

import (
	"path/filepath"
	"slices"

	"github.com/certlatch/certlatch/deployers"
)

// checkNotOurs wants it to be said completely what is taken in place of the target's files,
// and only where there was something to read of it.
func (s *suite) checkNotOurs(plan deployers.Plan, h host, wrong complaint) {
	n := plan.NotOurs
	if n == nil {
		return
	}
	s.tells = true
	own := func(f deployers.File) bool { return f.Path == n.File }
	taken := func(t deployers.Taken) bool { return t.Where == "" || !filepath.IsAbs(t.File) }
	ours := func(t deployers.Taken) bool {
		return slices.ContainsFunc(plan.Files, func(f deployers.File) bool { return f.IsAt(t.File) })
	}
	switch {
	case h.mute || h.plain:
		wrong("say that the service takes other files only where its configuration could be read, and is known to be all", "nothing is known of what it takes, and it is said to be %+v", *n)
	case !slices.ContainsFunc(plan.Files, own), n.Says == "", n.Remedy == "", slices.ContainsFunc(n.Takes, taken):
		wrong("note what is taken in place of the target's files by Plan.TakesElsewhere, with a remedy", "it is said to be %+v", *n)
	case slices.ContainsFunc(n.Takes, ours):
		wrong("say that the service takes other files only where it takes none of the plan's", "it is said to be %+v", *n)
	}
}
