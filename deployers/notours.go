package deployers

import (
	"fmt"
	"slices"
	"strings"
)

// NotOurs says that nothing in a service's configuration takes a plan's files, so that
// whatever it serves comes from elsewhere: neither a refusal nor an undo reaches it. A
// deployer that cannot be sure of that says nothing.
type NotOurs struct {
	File   string  `json:"file"`  // of the plan: its first one
	Takes  []Taken `json:"takes"` // what is taken in its place, what is for the lineage's names first
	Says   string  `json:"says"`  // a clause for people
	Remedy string  `json:"remedy"`
}

// Taken is a file that a service's configuration takes its certificate from.
type Taken struct {
	Where string `json:"where"` // for people
	File  string `json:"file"`
	Key   string `json:"key"` // empty: it is in the same file, or not known
}

func (t Taken) String() string { return t.Where + " takes " + t.File }

// IsFixed reports whether the paths say which files are taken: they hold no variable or glob,
// and do not lead to what systemd has handed over.
func (t Taken) IsFixed() bool {
	fixed := func(path string) bool {
		return strings.HasPrefix(path, "/") && !strings.ContainsAny(path, "$%*?[\x00\n") && !strings.HasPrefix(path, handedOver+"/")
	}
	return fixed(t.File) && (t.Key == "" || fixed(t.Key))
}

// Check returns what doctor and notes say of it.
func (n NotOurs) Check() Check { return NewCheck(Configuration, Warned, n.Remedy, "%s", n.Says) }

// MostTaken is how many files that are taken people are told of.
const MostTaken = 5

// TakesElsewhere notes that nothing takes the plan's files, with what is known to be taken,
// as a check and, where sure, as a condition. Where nothing is taken, nothing is served from
// elsewhere. A service that finds a file in a way that is not known here may find the plan's:
// so what is taken has to have fixed paths.
func (p *Plan) TakesElsewhere(sure bool, remedy, says string, takes ...Taken) {
	if takes = Distinct(takes); takes != nil {
		says += ": " + named(takes)
	}
	n := NotOurs{Takes: takes, Says: says, Remedy: remedy}
	p.check(n.Check())
	if unfixed := func(t Taken) bool { return !t.IsFixed() }; sure && takes != nil && len(p.Files) > 0 && !slices.ContainsFunc(takes, unfixed) {
		n.File = p.Files[0].Path
		p.NotOurs = &n
	}
}

// named returns what is taken, for people, and not more than they read.
func named(takes []Taken) string {
	var parts []string
	for _, t := range takes[:min(len(takes), MostTaken)] {
		parts = append(parts, t.String())
	}
	if more := len(takes) - MostTaken; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}
