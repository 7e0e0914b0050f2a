package report

import (
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/served"
	"github.com/certlatch/certlatch/internal/srv"
)

// The exit codes of hook, deploy and rollback. They are fixed by the contract.
const (
	ExitOK         = 0
	ExitUnexpected = 1
	ExitUsage      = 2
	ExitRefused    = 3
	ExitInstall    = 4
	ExitActivation = 5
	ExitNotProven  = 6
	ExitUndoFailed = 7
	ExitLocked     = 8
	ExitWaiting    = 9
)

// The exit codes of other commands.
const (
	ExitUnsupported = 42 // of hook: acmetool's word for an event that a hook does not handle

	ExitProbeFindings  = 1 // of probe
	ExitNoHandshake    = 3 // of probe
	ExitDoctorWarnings = 1 // of doctor
	ExitDoctorErrors   = 2 // of doctor

	ExitCheckWarning  = 1 // of check, by the guidelines of the Monitoring Plugins
	ExitCheckCritical = 2 // of check
	ExitCheckUnknown  = 3 // of check, and whatever keeps it from looking
)

// Gravity returns the exit codes of a deployment in the order in which one
// stands for several targets.
func Gravity() []int {
	return []int{ExitUndoFailed, ExitNotProven, ExitActivation, ExitInstall, ExitUnexpected, ExitUsage, ExitRefused, ExitLocked, ExitWaiting, ExitOK}
}

// ExitOf returns the exit code for what became of targets.
func ExitOf(outcomes []outcome.Outcome) int {
	worst, gravity := ExitOK, Gravity()
	for _, o := range outcomes {
		if code := exitOfOutcome(o); slices.Index(gravity, code) < slices.Index(gravity, worst) {
			worst = code
		}
	}
	return worst
}

func exitOfOutcome(o outcome.Outcome) int {
	return map[outcome.Class]int{
		outcome.ClassOK: ExitOK, outcome.ClassUnexpected: ExitUnexpected, outcome.ClassUsage: ExitUsage, outcome.ClassRefused: ExitRefused,
		outcome.ClassInstall: ExitInstall, outcome.ClassActivation: ExitActivation, outcome.ClassNotProven: ExitNotProven,
		outcome.ClassUndoFailed: ExitUndoFailed, outcome.ClassWaiting: ExitWaiting,
	}[o.Class()]
}

// Exit returns the code of doctor: that of the gravest check.
func (e Examined) Exit() int {
	code := ExitOK
	for _, x := range e.Of {
		for _, c := range x.Checks {
			switch {
			case c.Level == deployers.Wrong:
				return ExitDoctorErrors
			case c.Level == deployers.Warned:
				code = ExitDoctorWarnings
			}
		}
	}
	return code
}

// Exit returns the code of validate.
func (v Validation) Exit() int {
	if slices.ContainsFunc(v.Verdicts, inspect.Verdict.Refused) {
		return ExitRefused
	}
	return ExitOK
}

// Exit returns the code of validate for several lineages.
func (v Validations) Exit() int {
	if slices.ContainsFunc(v.Of, func(one Validation) bool { return one.Exit() == ExitRefused }) {
		return ExitRefused
	}
	return ExitOK
}

// Exit returns the code of check.
func (s Severity) Exit() int {
	return map[Severity]int{SeverityOK: ExitOK, SeverityUnknown: ExitCheckUnknown, SeverityWarning: ExitCheckWarning, SeverityCritical: ExitCheckCritical}[s]
}

// Exit returns the code of probe.
func (p Probe) Exit() int {
	switch {
	case p.Seen.Leaf() == nil:
		return ExitNoHandshake
	case len(p.Findings) > 0:
		return ExitProbeFindings
	}
	return ExitOK
}

// Exit returns the code of probe --dns.
func (d Domain) Exit() int {
	switch {
	case !slices.ContainsFunc(d.Probes, func(p served.Probe) bool { return Probe(p).Exit() != ExitNoHandshake }):
		return ExitNoHandshake
	case slices.ContainsFunc(d.Probes, func(p served.Probe) bool { return Probe(p).Exit() != ExitOK }),
		slices.ContainsFunc(d.Answers, func(a srv.Answer) bool { return a.Err != nil }):
		return ExitProbeFindings
	}
	return ExitOK
}
