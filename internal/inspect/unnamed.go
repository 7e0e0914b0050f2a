package inspect

import (
	"fmt"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
)

// This file tells of what lies among lineages and cannot be one because of its name.

// unnamedShown is how many are named of each place: who may write there decides how
// many there are.
const unnamedShown = 5

// anotherName is what to do about it.
const anotherName = "let the client keep it under another name, such as certbot's --cert-name"

// unnamed names what is passed over below a root. What is hidden is meant to be.
func unnamed(root lineage.Root) (checks []deployers.Check) {
	flaws, more := root.Unnamed(unnamedShown)
	for _, flaw := range flaws {
		says := fmt.Sprintf("what %s keeps below %s is passed over: %v", root.Client, root.Dir, flaw)
		if flaw.Hidden() {
			checks = append(checks, fine(deployers.Lineages, "%s", says))
			continue
		}
		checks = append(checks, warned(deployers.Lineages, anotherName, "%s", says))
	}
	if more > 0 {
		checks = append(checks, warned(deployers.Lineages, "see what writes such names there", "below %s %d more are passed over because of their names", root.Dir, more))
	}
	return checks
}

// Unnamed says, in a line for each place of the configuration, what of it is no
// lineage because of its name.
func Unnamed(cfg *config.Config) (lines []string) {
	for _, root := range cfg.Roots {
		flaws, more := root.Unnamed(1)
		if len(flaws) == 0 {
			continue
		}
		line := fmt.Sprintf("below %s is passed over: %v", root.Dir, flaws[0])
		if more > 0 {
			line += fmt.Sprintf("; and %d more (certlatch doctor)", more)
		}
		lines = append(lines, line)
	}
	return lines
}
