package deployers

import (
	"cmp"
	"fmt"
	"slices"
)

// Check is something that a deployment depends on, and what was found about it.
type Check struct {
	About  Aspect
	Level  Level
	Says   string // what was found
	Remedy string // what to do about it; empty where nothing needs doing
}

// String returns a line for people.
func (c Check) String() string {
	if c.Remedy == "" {
		return c.Says
	}
	return c.Says + "; " + c.Remedy
}

// Aspect is what a check is about. The words are part of the JSON output.
type Aspect string

const (
	Issued        Aspect = "lineage"       // the client's bundle, judged by the target's policy
	Configuration Aspect = "configuration" // whether the service's own configuration names the target's files
	Domains       Aspect = "domains"       // where the service's TLS domains or profiles are defined
	Control       Aspect = "control"       // its control channel
	Reload        Aspect = "reload"        // whether it can be made to take new files, and how
	OwnTest       Aspect = "test"          // its own test of its configuration
	Reading       Aspect = "reading"       // whether its user can read what is installed
	Serving       Aspect = "probes"        // what is served, and whether that can be looked at

	// These are about the host as a whole.
	Lineages    Aspect = "lineages"    // whether clients keep any where they are looked for
	Hook        Aspect = "hook"        // whether the client calls certlatch
	Retries     Aspect = "retries"     // whether something tries again what is pending
	State       Aspect = "state"       // certlatch's own directory
	Space       Aspect = "space"       // room on the file systems that are written to
	Clock       Aspect = "clock"       // whether it is synchronised
	Watches     Aspect = "watches"     // whether the kernel lets all lineages be watched
	Confinement Aspect = "confinement" // SELinux and AppArmor
)

// Aspects returns all aspects in the order in which they are printed.
func Aspects() []Aspect {
	return []Aspect{
		Issued, Configuration, Domains, Control, Reload, OwnTest, Reading, Serving,
		Lineages, Hook, Retries, State, Space, Clock, Watches, Confinement,
	}
}

// SortChecks sorts checks by the order of Aspects; those of one aspect stay in
// theirs.
func SortChecks(checks []Check) {
	aspects := Aspects()
	slices.SortStableFunc(checks, func(a, b Check) int {
		return cmp.Compare(slices.Index(aspects, a.About), slices.Index(aspects, b.About))
	})
}

// Level is how grave what a check found is.
type Level string

const (
	Fine   Level = "ok"
	Warned Level = "warning" // a deployment may succeed all the same
	Wrong  Level = "error"   // a deployment would fail
)

// NewCheck returns a check.
func NewCheck(about Aspect, level Level, remedy, says string, args ...any) Check {
	return Check{About: about, Level: level, Says: fmt.Sprintf(says, args...), Remedy: remedy}
}

// Fine adds a check of something that is as it should be.
func (p *Plan) Fine(about Aspect, format string, args ...any) {
	p.check(NewCheck(about, Fine, "", format, args...))
}

// Warn adds a check of something that the operator should know, with what to
// do.
func (p *Plan) Warn(about Aspect, remedy, format string, args ...any) {
	p.check(NewCheck(about, Warned, remedy, format, args...))
}

func (p *Plan) check(c Check) {
	if !slices.Contains(p.Checks, c) {
		p.Checks = append(p.Checks, c)
	}
}

// Notes returns what an operator should know of a plan that is carried out: what
// is not as it should be.
func (p Plan) Notes() []string {
	var notes []string
	for _, c := range p.Checks {
		if c.Level != Fine {
			notes = append(notes, c.String())
		}
	}
	return notes
}
