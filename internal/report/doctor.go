package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/internal/inspect"
)

// Examined is what doctor has to show.
type Examined []inspect.Examination

// doctorJSON is the schema certlatch.doctor/1: what a deployment depends on.
type doctorJSON struct {
	Schema string            `json:"schema"`
	Exit   int               `json:"exit"` // the exit code of the program
	Checks []doctorCheckJSON `json:"checks"`
}

// doctorCheckJSON is one thing that was looked at.
type doctorCheckJSON struct {
	Target  *string `json:"target"`  // null: the host
	Lineage *string `json:"lineage"` // null: no lineage in particular
	Service *string `json:"service"` // of the target; null: the host
	About   string  `json:"about"`   // a deployers.Aspect
	Level   string  `json:"level"`   // ok, warning or error
	Says    string  `json:"says"`
	Remedy  *string `json:"remedy"` // null: there is nothing to do
}

// JSON returns the checks in the schema certlatch.doctor/1.
func (e Examined) JSON() any {
	view := doctorJSON{Schema: "certlatch.doctor/1", Exit: e.Exit(), Checks: []doctorCheckJSON{}}
	for _, x := range e {
		for _, c := range x.Checks {
			view.Checks = append(view.Checks, doctorCheckJSON{orNull(x.Target), orNull(x.Lineage), orNull(x.Service), string(c.About), string(c.Level), c.Says, orNull(c.Remedy)})
		}
	}
	return view
}

// Text returns a line a check.
func (e Examined) Text() string {
	var text strings.Builder
	for _, x := range e {
		if x.Target == "" {
			text.WriteString("this host\n")
		} else {
			fmt.Fprintf(&text, "%s: %s (%s)\n", x.Target, quotedName(x.Lineage), x.Service)
		}
		for _, c := range x.Checks {
			fmt.Fprintf(&text, "  %-8s %-14s %s\n", c.Level, c.About, inLine(c.String()))
		}
	}
	if !slices.ContainsFunc(e, func(x inspect.Examination) bool { return x.Target != "" }) {
		text.WriteString("no target, so nothing to look at\n")
	}
	return text.String()
}
