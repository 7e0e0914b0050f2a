package report

import (
	"fmt"
	"strings"

	"github.com/certlatch/certlatch/internal/proposal"
)

// NextSteps returns the text on what init has found, and what is left to do.
// hooks are the clients that there is a hook to be installed for.
func NextSteps(found proposal.Proposal, hooks []string) string {
	var text strings.Builder
	for _, t := range found.Targets {
		fmt.Fprintf(&text, "\n%s: %s (%s)", t.Name, quotedName(t.Lineage), t.Called())
		if t.Idle {
			text.WriteString(", commented out")
		}
		text.WriteString("\n")
		for _, step := range t.Steps {
			fmt.Fprintf(&text, "  to do: %s\n", step.Says)
			for _, line := range step.Lines {
				fmt.Fprintf(&text, "      %s\n", line)
			}
		}
	}
	if len(found.Targets) == 0 {
		text.WriteString("\nno target was found; an example stands in the file\n")
	}
	for _, unknown := range found.Unknown {
		fmt.Fprintf(&text, "\n%s\n", unknown)
	}
	text.WriteString("\nread it, then\n\n")
	text.WriteString("    certlatch doctor\n")
	for _, client := range hooks {
		fmt.Fprintf(&text, "    certlatch hook install %s\n", client)
	}
	for _, t := range found.Targets {
		if !t.Idle {
			fmt.Fprintf(&text, "    certlatch deploy --force --target %s\n", t.Name)
			break
		}
	}
	return text.String()
}

// Added returns the lines that are to be added to a configuration behind one of its
// lines, as a diff shows them.
func Added(path string, behind int, entries string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "--- %s\n+++ %s\n@@ -%d,0 +%d,%d @@\n", path, path, behind, behind+1, strings.Count(entries, "\n"))
	for line := range strings.Lines(entries) {
		text.WriteString("+" + line)
	}
	return text.String()
}

// Undecided returns lines about the targets that are proposed once something was done
// first.
func Undecided(found proposal.Proposal) string {
	var text strings.Builder
	for _, t := range found.Targets {
		if !t.Idle {
			continue
		}
		fmt.Fprintf(&text, "\n%s (%s)\n", quotedName(t.Lineage), t.Called())
		for _, step := range t.Steps {
			fmt.Fprintf(&text, "  to do: %s\n", step.Says)
		}
	}
	return text.String()
}
