package deployers

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Way is a way of making a service take new files.
type Way string

const (
	NoWay       Way = "none"         // nothing can or need be done now; see Activation.Wait
	ReloadUnit  Way = "reload-unit"  // a systemd reload job
	RestartUnit Way = "restart-unit" // a systemd restart job
	RunCommand  Way = "run-command"  // an argument list; success is exit status 0
	SignalPID   Way = "signal"       // a signal to one process
	CallControl Way = "call-control" // a call at the service's control channel
)

// Activation is how a service is made to take new files.
type Activation struct {
	Way     Way
	Unit    string
	Command []string
	Written bool // the command is the operator's own
	PID     int
	Started uint64  // of the process: in clock ticks since boot; 0: whichever has the PID now
	Signal  string  // HUP, USR1, USR2
	Calls   []Query // at the first channel that answers, the others are not asked
	Success string  // the reply that alone counts as success
	Faults  []Fault // what faults of a call, or of a command that says so, mean

	// Copies are argument lists of programs that renew what the service keeps as
	// copies of the files. They run before the service is told, after an undo too,
	// and where it is not told: its next start takes them, or it does so by itself.
	Copies [][]string

	// After is what the service must say of itself after a call that it
	// answered with success, or after a restart, once it serves. Otherwise the
	// activation has failed, and may have had an effect.
	After []Expect

	// FaultKeepsOld is set where a service that answers with a fault has taken
	// nothing, so an undo need not activate again.
	FaultKeepsOld bool
	// Twice is set where the service may need a second activation to take all of
	// the new files. It is made where the first leaves something unproven.
	Twice bool
	// Gap is the least time between two activations of the service.
	Gap time.Duration

	// Spends is set where the activation uses up what may be scarce, so that the
	// deployer is asked again right before each: what was planned may have
	// become a restart, or a wait.
	Spends bool
	// Left is how many more such activations the service can bear before it has
	// to be restarted; nil: there is no end to them that is known.
	Left *int

	Wait   Wait   // why nothing is activated, where Way is NoWay
	Why    string // said to the operator where the way is not the obvious one
	Remedy string // what to do, where Wait alone does not say it
}

// String says what is done, for people.
func (a Activation) String() string {
	var steps []string
	for _, argv := range a.Copies {
		steps = append(steps, "run "+strings.Join(argv, " "))
	}
	return strings.Join(append(steps, a.way()), ", then ")
}

func (a Activation) way() string {
	switch a.Way {
	case ReloadUnit:
		return "reload " + a.Unit
	case RestartUnit:
		return "restart " + a.Unit
	case RunCommand:
		return "run " + strings.Join(a.Command, " ")
	case SignalPID:
		return fmt.Sprintf("send %s to process %d", a.Signal, a.PID)
	case CallControl:
		return fmt.Sprintf("call %s at %s", a.Calls[0].Method, a.Calls[0].Channel.Address)
	}
	return "not now: " + string(a.Wait)
}

// Restarts reports whether the activation ends what the service has under way: a
// restart, by systemd or by a command that says so.
func (a Activation) Restarts() bool {
	return a.Way == RestartUnit || a.Way == RunCommand && slices.ContainsFunc(a.Command[1:], func(word string) bool {
		return word == "restart" || word == "try-restart"
	})
}

// Expect is what the reply to a query must hold.
type Expect struct {
	Query          Query
	Contains       string
	Reason, Remedy string // where it does not: a stable code, and what to do
	Says           string // and what has happened, in a sentence

	// Warn is set where this is about something beside the target: the operator
	// learns of it, and the activation has not failed.
	Warn bool
}

// Fault is what one of a service's faults means.
type Fault struct {
	Says           string // part of the service's words
	Reason, Remedy string // a stable code, and what to do
}

// Wait is a reason for installing files without activating them. The texts
// are reason codes of the JSON output.
type Wait string

const (
	ServiceInactive   Wait = "service-inactive"    // its next start takes them
	OutsideUnit       Wait = "outside-unit"        // it runs, not in its unit, and cannot be told safely
	RestartNotAllowed Wait = "restart-not-allowed" // only a restart would do
	SharedMemoryLow   Wait = "shared-memory-low"   // a reload would take from the service what it needs to serve
	NothingToDo       Wait = "no-activation"       // the service takes them by itself
)

// AwaitStart is the way of a service whose unit does not run: its next start takes the
// files. Where somebody else listens on its ports, a start may fail, and that may be the
// service itself, started in another way.
func AwaitStart(t Target, f Facts) Activation {
	a := Activation{Way: NoWay, Unit: t.Unit, Wait: ServiceInactive}
	if len(f.Holders) == 0 {
		return a
	}
	var who, pids []string
	for _, p := range f.Holders {
		pids = append(pids, strconv.Itoa(p.PID))
		who = append(who, fmt.Sprintf("process %d (%.60q)", p.PID, p.Title))
	}
	a.Why = fmt.Sprintf("%s does not run, and on its usual ports listens %s", t.Unit, strings.Join(who, " and "))
	a.Remedy = fmt.Sprintf("see whether that is the service, started by hand (ps %s): beside it a start may fail, so end it before systemctl start %s; certlatch deploy --pending then proves it", strings.Join(pids, " "), t.Unit)
	return a
}

// UnitActivation is the way of a service that systemd manages: a reload job
// where the unit has one, else a restart where that is allowed.
func UnitActivation(t Target, f Facts) (Activation, error) {
	switch u := f.Unit; {
	case !f.Systemd:
		return Activation{}, &NoWayError{
			Target: t.Name, About: Reload,
			Why:    "systemd does not run here, so " + t.Unit + " cannot be reloaded",
			Remedy: "use service: generic with generic: {activate: [program, argument]} for this target",
		}
	case u.LoadState != "loaded":
		return Activation{}, &UnitError{Unit: t.Unit, LoadState: u.LoadState}
	case !u.Running():
		return AwaitStart(t, f), nil
	case u.CanReload:
		return Activation{Way: ReloadUnit, Unit: t.Unit}, nil
	case t.AllowRestart:
		return Activation{Way: RestartUnit, Unit: t.Unit, Why: t.Unit + " has no reload; allow_restart is set, so it is restarted"}, nil
	default:
		return Activation{Way: NoWay, Unit: t.Unit, Wait: RestartNotAllowed, Why: t.Unit + " has no reload"}, nil
	}
}
