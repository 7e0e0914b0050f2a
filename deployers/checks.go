package deployers

import (
	"cmp"
	"fmt"
	"slices"
)

// Check is something that was looked at because a deployment depends on it.
type Check struct {
	About  Aspect
	Level  Level
	Says   string // what was found
	Remedy string // what to do about it; empty where nothing needs doing
}

// String gives a line for people.
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

	// Those of the host as a whole.
	Lineages    Aspect = "lineages"    // whether clients keep any where they are looked for
	Hook        Aspect = "hook"        // whether the client calls certlatch
	Retries     Aspect = "retries"     // whether something tries again what is pending
	State       Aspect = "state"       // certlatch's own directory
	Space       Aspect = "space"       // of the file systems that are written to
	Clock       Aspect = "clock"       // whether it is synchronised
	Watches     Aspect = "watches"     // whether the kernel lets all lineages be watched
	Confinement Aspect = "confinement" // SELinux and AppArmor
)

// Aspects lists them in the order in which an operator thinks of them.
func Aspects() []Aspect {
	return []Aspect{
		Issued, Configuration, Domains, Control, Reload, OwnTest, Reading, Serving,
		Lineages, Hook, Retries, State, Space, Clock, Watches, Confinement,
	}
}

// SortChecks puts checks into the order of Aspects, those of one aspect as they
// were.
func SortChecks(checks []Check) {
	aspects := Aspects()
	slices.SortStableFunc(checks, func(a, b Check) int {
		return cmp.Compare(slices.Index(aspects, a.About), slices.Index(aspects, b.About))
	})
}

// Level is how much a check matters.
type Level string

const (
	Fine   Level = "ok"
	Warned Level = "warning" // a deployment may succeed all the same
	Wrong  Level = "error"   // a deployment would fail
)

// NewCheck makes a check.
func NewCheck(about Aspect, level Level, remedy, says string, args ...any) Check {
	return Check{About: about, Level: level, Says: fmt.Sprintf(says, args...), Remedy: remedy}
}

// Fine notes something that is as it should be.
func (p *Plan) Fine(about Aspect, format string, args ...any) {
	p.check(NewCheck(about, Fine, "", format, args...))
}

// Warn notes something that the operator should know, and what to do.
func (p *Plan) Warn(about Aspect, remedy, format string, args ...any) {
	p.check(NewCheck(about, Warned, remedy, format, args...))
}

func (p *Plan) check(c Check) {
	if !slices.Contains(p.Checks, c) {
		p.Checks = append(p.Checks, c)
	}
}

// Notes gives what an operator should know of a plan that is carried out: what
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
