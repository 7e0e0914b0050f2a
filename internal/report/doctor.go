package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/inspect"
)

// Examined is what doctor has to show.
type Examined struct {
	Of     []inspect.Examination
	Screen Screen
}

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
	for _, x := range e.Of {
		for _, c := range x.Checks {
			view.Checks = append(view.Checks, doctorCheckJSON{orNull(x.Target), orNull(x.Lineage), orNull(x.Service), string(c.About), string(c.Level), c.Says, orNull(c.Remedy)})
		}
	}
	return view
}

// The columns of a check, and the least that is left for what it says.
const (
	levelWidth = len("warning") + 1
	aboutWidth = 14
	saysAt     = 2 + levelWidth + 1 + aboutWidth + 1
	leastSays  = 30
)

// Text returns a line a check, broken where the screen has a width; the gravest of
// each thing that was looked at first, and of these the one that is worst off.
func (e Examined) Text() string {
	var text strings.Builder
	for _, x := range e.gravestFirst() {
		if x.Target == "" {
			text.WriteString("this host\n")
		} else {
			fmt.Fprintf(&text, "%s: %s (%s)\n", x.Target, quotedName(x.Lineage), x.Service)
		}
		for _, c := range x.Checks {
			level := e.Screen.paint(colourOfLevel(c.Level), fmt.Sprintf("%-*s", levelWidth, c.Level))
			says := strings.Join(e.lines(c), "\n"+strings.Repeat(" ", saysAt))
			fmt.Fprintf(&text, "  %s %-*s %s\n", level, aboutWidth, c.About, says)
		}
	}
	if !slices.ContainsFunc(e.Of, func(x inspect.Examination) bool { return x.Target != "" }) {
		text.WriteString("no target, so nothing to look at\n")
	}
	return text.String()
}

// lines returns what a check says. Where that is broken into lines, its remedy begins
// one, to be copied.
func (e Examined) lines(c deployers.Check) []string {
	if e.Screen.Width == 0 {
		return []string{inLine(c.String())}
	}
	width := max(e.Screen.Width-saysAt, leastSays)
	lines := wrap(inLine(c.Says), width)
	if c.Remedy != "" {
		lines = append(lines, wrap("-> "+inLine(c.Remedy), width)...)
	}
	return lines
}

// gravestFirst returns the examinations, and the checks of each, in the order in which
// people read them; what is equally grave stays in its order.
func (e Examined) gravestFirst() []inspect.Examination {
	sorted := slices.Clone(e.Of)
	for i := range sorted {
		sorted[i].Checks = slices.SortedStableFunc(slices.Values(sorted[i].Checks), func(a, b deployers.Check) int {
			return cmp.Compare(gravityOf(b.Level), gravityOf(a.Level))
		})
	}
	slices.SortStableFunc(sorted, func(a, b inspect.Examination) int { return cmp.Compare(worstOf(b), worstOf(a)) })
	return sorted
}

// worstOf returns the gravity of the gravest check, which is the first.
func worstOf(x inspect.Examination) int {
	if len(x.Checks) == 0 {
		return 0
	}
	return gravityOf(x.Checks[0].Level)
}

// gravityOf returns a number that is greater for graver levels.
func gravityOf(l deployers.Level) int {
	return slices.Index([]deployers.Level{deployers.Fine, deployers.Warned, deployers.Wrong}, l)
}

func colourOfLevel(l deployers.Level) colour {
	return map[deployers.Level]colour{deployers.Fine: green, deployers.Warned: yellow, deployers.Wrong: red}[l]
}
