package report

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/certlatch/certlatch/internal/state"
)

// History is what history has to show.
type History struct {
	Entries []state.Entry // oldest first
	Damaged bool          // there may have been more
}

// historyJSON is the schema certlatch.history/1: what was done, oldest first.
// The entries are state.Entry, as they are stored.
type historyJSON struct {
	Schema  string        `json:"schema"`
	Entries []state.Entry `json:"entries"`
}

// JSON returns the entries in the schema certlatch.history/1.
func (h History) JSON() any {
	return historyJSON{Schema: "certlatch.history/1", Entries: append([]state.Entry{}, h.Entries...)}
}

// Text returns the entries as a table.
func (h History) Text() string {
	switch {
	case len(h.Entries) == 0 && h.Damaged:
		return "" // Damaged: there may have been entries
	case len(h.Entries) == 0:
		return "nothing was deployed yet\n"
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TIME\tTARGET\tLINEAGE\tRESULT\tREASON\tGENERATION\tLEAF UNTIL\tBY")
	for _, e := range h.Entries {
		until := "-"
		if e.Leaf != nil {
			until = e.Leaf.NotAfter.Format(time.DateOnly)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Time.Format(time.RFC3339), e.Target, quotedName(e.Lineage), e.Result, orDash(e.Reason), orDash(e.Generation), until, e.By)
	}
	table.Flush()
	return text.String()
}
