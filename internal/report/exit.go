package report

import (
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/engine"
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
func ExitOf(outcomes []engine.Outcome) int {
	worst, gravity := ExitOK, Gravity()
	for _, o := range outcomes {
		if code := exitOfOutcome(o); slices.Index(gravity, code) < slices.Index(gravity, worst) {
			worst = code
		}
	}
	return worst
}

func exitOfOutcome(o engine.Outcome) int {
	switch o.Result {
	case engine.Deployed, engine.Unchanged, engine.Held, engine.Planned:
		return ExitOK
	case engine.Refused:
		return ExitRefused
	case engine.Deferred, engine.WaitingRestart:
		return ExitWaiting
	case engine.RollbackFailed:
		return ExitUndoFailed
	}
	switch {
	case o.Reason == "service-crashed":
		return ExitUndoFailed
	case o.Reason == "outage": // at whichever step that showed
		return ExitNotProven
	case slices.Contains([]string{"unexpected", "systemd-unreachable", "database-unreachable", "out-of-time"}, o.Reason) && o.Result == engine.Failed:
		return ExitUnexpected
	}
	switch o.At {
	case engine.Stage, engine.Commit:
		return ExitInstall
	case engine.Test, engine.Activate:
		return ExitActivation
	case engine.Prove:
		return ExitNotProven
	}
	return ExitUsage
}

// Exit returns the code of doctor: that of the gravest check.
func (e Examined) Exit() int {
	code := ExitOK
	for _, x := range e {
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
	if slices.ContainsFunc(v.Verdicts, engine.Verdict.Refused) {
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
