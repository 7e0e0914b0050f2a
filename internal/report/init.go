package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/internal/proposal"
)

// examples is how many are shown of targets that are not few.
const examples = 3

// NextSteps returns the text on what init has found, and what is left to do.
// hooks are the clients that there is a hook to be installed for. Of many targets it
// says what is to be decided, and for a few what is to be done.
func NextSteps(found proposal.Proposal, hooks []string) string {
	var text strings.Builder
	left, toDo := 0, 0
	for i, t := range found.Targets {
		if len(found.Targets) > few && i >= examples && !t.Idle {
			left++
			toDo += min(len(t.Steps), 1)
			continue
		}
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
	if left > 0 {
		fmt.Fprintf(&text, "\n%d more targets, with something to do for %d of them, stand in the file\n", left, toDo)
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
	if slices.ContainsFunc(found.Targets, func(t proposal.Target) bool { return !t.Idle }) {
		text.WriteString("    certlatch deploy --force\n")
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
