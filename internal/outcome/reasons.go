package outcome

import (
	"slices"

	"github.com/certlatch/certlatch/internal/state"
)

// Reason is a stable code for why an outcome is what it is. Reasons are part of
// the JSON contract; they are only ever added. Beside those of [Reasons] there
// are the codes of findings (package policy), and what deployers call their
// services' faults and waits.
type Reason string

const (
	// What keeps a deployment from being begun.
	LineageNotFound   Reason = "lineage-not-found"
	LineageAmbiguous  Reason = "lineage-ambiguous"
	PlaceShared       Reason = "place-shared"
	NotRecovered      Reason = "not-recovered"
	Configuration     Reason = "configuration"
	UnitNotFound      Reason = "unit-not-found"
	UnitUnusable      Reason = "unit-unusable"
	NoActivationWay   Reason = "no-activation-way"
	NoProbe           Reason = "no-probe"
	NoProbeName       Reason = "no-probe-name"
	PathRefused       Reason = "path-refused"
	AccountUnknown    Reason = "account-unknown"
	AccountTransient  Reason = "account-transient"
	SystemdDown       Reason = "systemd-unreachable"
	DatabaseDown      Reason = "database-unreachable"
	DatabaseRefused   Reason = "database-refused"
	DatabaseLocked    Reason = "database-locked"
	RowNotFound       Reason = "row-not-found"
	OutOfTime         Reason = "out-of-time"
	CommandNotStarted Reason = "command-not-started"

	// What installing ends with.
	Unreadable    Reason = "unreadable"
	RowChanged    Reason = "row-changed"
	RowTooLong    Reason = "row-too-long"
	InstallFailed Reason = "install-failed"

	// What the service makes of the new files.
	TestFailed         Reason = "test-failed"
	TestFailedBefore   Reason = "test-failed-before"
	ReloadFailed       Reason = "reload-failed"
	ReloadTimeout      Reason = "reload-timeout"
	ReloadRefused      Reason = "reload-refused"
	JobNeverEnded      Reason = "job-never-ended"
	CommandFailed      Reason = "command-failed"
	CommandTimeout     Reason = "command-timeout"
	ServiceGone        Reason = "service-gone"
	ControlFault       Reason = "control-fault"
	ControlNoAnswer    Reason = "control-no-answer"
	ControlUnreachable Reason = "control-unreachable"
	ActivationFailed   Reason = "activation-failed"
	NotProven          Reason = "not-proven"
	Outage             Reason = "outage"
	ServiceCrashed     Reason = "service-crashed"

	// What is waited for, beside the waits that deployers name.
	FirstInstall   Reason = "first-install"
	AddressNotHere Reason = "address-not-here"  // the service listens where another host answers now
	NetworkApart   Reason = "network-apart"     // the service has a network namespace of its own
	OutsideWindow  Reason = state.OutsideWindow // such a retry may be far away, so the state knows the word
	OtherHost      Reason = "other-host-endangered"

	// What is noted of runs that did not come to an end.
	Interrupted Reason = "interrupted"
	Marked      Reason = "marked" // a hook has asked for it, and nobody has tried it yet

	// Why targets are held, beside ServiceCrashed.
	HeldByHand     Reason = "by-hand"
	HeldByRollback Reason = "rollback"

	// NotOurs is of a pair that is served, and does not come from the target's files.
	NotOurs Reason = "not-ours"

	Unexpected Reason = "unexpected"

	// NotCarried is the code of a finding of deployments: attributes of the
	// installed files that the new ones have not got.
	NotCarried Reason = "attributes-not-carried"
)

// Class is how grave an outcome is for whoever called, in the contract's words
// for exit codes.
type Class int

const (
	// ByStep is the class of reasons that are as grave as the step at which they
	// showed.
	ByStep Class = iota

	ClassOK
	ClassUnexpected // certlatch, systemd or a database could not do its part
	ClassUsage      // the configuration or the host is not in order
	ClassRefused
	ClassInstall
	ClassActivation
	ClassNotProven
	ClassUndoFailed // what is served now is not known to be well
	ClassWaiting
)

// Row is one reason of the table.
type Row struct {
	Reason Reason
	Class  Class
}

// Reasons returns the table of the reasons that are certlatch's own, each once.
func Reasons() []Row {
	var rows []Row
	for _, k := range kinds() {
		if row := (Row{k.reason, k.class}); !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
	}
	for _, reason := range []Reason{FirstInstall, AddressNotHere, NetworkApart, OutsideWindow, OtherHost, Marked} {
		rows = append(rows, Row{reason, ClassWaiting})
	}
	for _, reason := range []Reason{HeldByHand, HeldByRollback, NotOurs, NotCarried} {
		rows = append(rows, Row{reason, ClassOK})
	}
	return rows
}

// Class returns how grave the outcome is.
func (o Outcome) Class() Class {
	switch o.Result {
	case Deployed, Unchanged, Held, Planned:
		return ClassOK
	case Refused:
		return ClassRefused
	case Deferred, WaitingRestart:
		return ClassWaiting
	case RollbackFailed:
		return ClassUndoFailed
	}
	class := o.Reason.class()
	if class == ByStep || class == ClassUnexpected && o.Result != Failed {
		return o.At.class()
	}
	return class
}

func (r Reason) class() Class {
	table := kinds()
	if at := slices.IndexFunc(table, func(k kind) bool { return k.reason == r }); at >= 0 {
		return table[at].class
	}
	return ByStep
}

// class returns how grave a failure at the step is.
func (s Step) class() Class {
	switch s {
	case Stage, Commit:
		return ClassInstall
	case Test, Activate:
		return ClassActivation
	case Prove:
		return ClassNotProven
	}
	return ClassUsage
}
