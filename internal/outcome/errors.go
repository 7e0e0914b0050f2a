package outcome

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
	"github.com/certlatch/certlatch/templates"
)

// Explained is an error that knows its own reason and remedy.
type Explained interface {
	error
	Explain(Subject) (Reason, string)
}

// LineageReplacedError is a target that names a lineage which no client keeps any
// more, where another has its names.
type LineageReplacedError struct {
	Missing *LineageMissingError
	By      lineage.Lineage
	Issued  time.Time // the leaf of the other one
}

func (e *LineageReplacedError) Error() string {
	return fmt.Sprintf("%v, and %s has its names, with a leaf of %s", e.Missing, e.By, e.Issued.UTC().Format(time.DateOnly))
}

func (e *LineageReplacedError) Unwrap() error { return e.Missing }

// LineageMissingError is a target that names a lineage which no client keeps, or not
// as a whole: then it lacks a file.
type LineageMissingError struct{ Lineage, Config, Lacks string }

func (e *LineageMissingError) Error() string {
	if e.Lacks != "" {
		return fmt.Sprintf("of the lineage %s a file is missing: %s", e.Lineage, e.Lacks)
	}
	return "no client keeps a lineage " + e.Lineage
}

// AmbiguousError is a lineage that another client keeps under the same name:
// the target would get now the one and now the other.
type AmbiguousError struct{ Lineage, Twin lineage.Lineage }

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("both %s and %s match", e.Lineage, e.Twin)
}

// SharedPlaceError is a target whose files are those of another one, by a link, which
// brings another lineage there, or keeps its generations there.
type SharedPlaceError struct{ Other, Path, Lineage, Config string }

func (e *SharedPlaceError) Error() string {
	return fmt.Sprintf("what it would write are the files of target %s, which brings %s to %s: a link leads there", e.Other, e.Lineage, e.Path)
}

// RefusedError is a bundle that did not pass validation.
type RefusedError struct{ Findings []lineage.Finding }

func (e *RefusedError) Error() string { return e.Findings[0].Detail }

// Explain returns the first finding's code and remedy.
func (e *RefusedError) Explain(Subject) (Reason, string) {
	return Reason(e.Findings[0].Code), e.Findings[0].Remedy
}

// StuckError is a set that an earlier run, which was cut off, had begun to
// replace, and that could not be put back.
type StuckError struct{ Err error }

func (e *StuckError) Error() string {
	return "an earlier run was cut off, and the previous pair cannot be put back: " + e.Err.Error()
}

func (e *StuckError) Unwrap() error { return e.Err }

// Remedy returns what to do about a set of a target.
func (e *StuckError) Remedy(target string) string {
	if later, is := errors.AsType[*install.JournalError](e.Err); is {
		return fmt.Sprintf("let that version run certlatch recover, with the file under its old name; or look at what is installed and served, remove %s, then certlatch deploy --force --target %s", later.Path, target)
	}
	return "look at once: mend what keeps the files from being put back; every run tries it again first, and certlatch recover does nothing else"
}

// ConfigError is a configuration that shows to be wrong only on this host.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// NoNameError is a probe without a name where the leaf has none to offer.
type NoNameError struct {
	Probe  string
	OnlyCN bool // the leaf has a common name, and no subject alternative name
}

func (e *NoNameError) Error() string {
	if e.OnlyCN {
		return fmt.Sprintf("probe %s names no host, and the leaf has a common name (CN) and no subject alternative name, which alone TLS clients look at", e.Probe)
	}
	return fmt.Sprintf("probe %s names no host and every name of the leaf is a wildcard", e.Probe)
}

// NoProbeError is a target that nothing could prove.
type NoProbeError struct {
	Target string
	Away   error // why what listens there is not the service's; nil: nothing is known of that
	Taken  bool  // since another process of this host listens there, alone or beside the service

	Diverted bool // since a packet filter leads elsewhere what this host asks there

	// Unprobed is why the service has the files only where no probe can look, by its
	// own configuration; empty: that is not known.
	Unprobed string
}

func (e *NoProbeError) Error() string {
	what := "no TLS listener of the service completed a handshake, so nothing could prove that the new certificate is served"
	if e.Unprobed != "" {
		what = "nothing can prove that the new certificate is served, since the service has it only where no probe was found to reach: " + e.Unprobed
	}
	if e.Away != nil {
		what += "; " + e.Away.Error()
	}
	return what
}

// NoListenerError is a service with nothing left that could be probed.
type NoListenerError struct{}

func (NoListenerError) Error() string { return "the service has no TLS listener that could be probed" }

// OutOfTimeError is a deployment that was not begun, since it might not have
// ended in time.
type OutOfTimeError struct{}

func (*OutOfTimeError) Error() string {
	return "too little of the run's time was left to begin with this service"
}

// SystemdError is a systemd that runs this host and cannot be reached.
type SystemdError struct{ Err error }

func (e *SystemdError) Error() string { return e.Err.Error() }

// DatabaseError is a database that does not answer as it should.
type DatabaseError struct{ Err error }

func (e *DatabaseError) Error() string { return e.Err.Error() }
func (e *DatabaseError) Unwrap() error { return e.Err }

// TestError is a failure of the service's own test with the new files in place.
type TestError struct {
	Program string
	Err     error
	Before  bool // it failed at the baseline too
	Start   bool // it is about what the service reads when it starts
}

func (e *TestError) Error() string {
	if e.Before {
		return fmt.Sprintf("the service's own test (%s) fails, and did so before anything was touched: %v", e.Program, e.Err)
	}
	if e.Start {
		return fmt.Sprintf("the service's own test (%s) fails, so it is not restarted: %v", e.Program, e.Err)
	}
	return fmt.Sprintf("the service's own test (%s) rejected the new files: %v", e.Program, e.Err)
}

// LookAtStart returns the remedy where a service could not be started as it is
// configured.
func LookAtStart(test deployers.Test, unit string) string {
	return fmt.Sprintf("correct its configuration: %s tells what is wrong, journalctl -u %s more; it goes on as before until it is restarted", strings.Join(test.Command, " "), unit)
}

// FaultError is a service that answered a control call with a fault.
type FaultError struct {
	Query      deployers.Query
	Text       string
	Activation deployers.Activation
}

func (e *FaultError) Error() string {
	return fmt.Sprintf("%s at %s: %s", e.Query.Method, e.Query.Channel.Address, e.Text)
}

// Explain returns what is known about the fault.
func (e *FaultError) Explain(Subject) (Reason, string) {
	for _, f := range e.Activation.Faults {
		if strings.Contains(e.Text, f.Says) && f.Reason != "" {
			return Reason(f.Reason), f.Remedy
		}
	}
	return ControlFault, "the service's log tells more; it goes on as before"
}

// AnswerError is a control call that was sent and not answered with success.
type AnswerError struct {
	Query  deployers.Query
	Answer deployers.Answer
}

func (e *AnswerError) Error() string {
	what := e.Answer.Err
	if what == "" {
		what = fmt.Sprintf("the answer is %.200q", e.Answer.Reply)
	}
	return fmt.Sprintf("%s at %s: %s", e.Query.Method, e.Query.Channel.Address, what)
}

// ExpectError is a service that took a call and does not say afterwards what it
// should.
type ExpectError struct {
	Expect deployers.Expect
	Answer deployers.Answer
}

func (e *ExpectError) Error() string {
	what := e.Answer.Err + e.Answer.Fault
	if what == "" {
		what = e.Expect.Says
	}
	return fmt.Sprintf("%s at %s: %s", e.Expect.Query.Method, e.Expect.Query.Channel.Address, what)
}

// Explain returns what the deployer says of such a service.
func (e *ExpectError) Explain(Subject) (Reason, string) {
	return Reason(e.Expect.Reason), e.Expect.Remedy
}

// UnreachableError is a service none of whose control channels can be reached.
type UnreachableError struct{ Errs []string }

func (e *UnreachableError) Error() string { return strings.Join(e.Errs, "; ") }

// UnprovenError is new files that are not served.
type UnprovenError struct {
	What string
	Cure string // what to do, where something tells; empty: nothing does
}

func (e *UnprovenError) Error() string { return e.What }

// OutageError is a service that was proven once and completed no handshake
// before anything was touched, nor since then.
type OutageError struct {
	Err    error  // what was seen
	Unit   string // of the service; empty: none
	Proven state.Proof
}

func (e *OutageError) Error() string { return e.Err.Error() }
func (e *OutageError) Unwrap() error { return e.Err }

// Remedy returns where to look.
func (e *OutageError) Remedy() string { return LookAtService(e.Unit, e.Proven) }

// LookAtService returns the remedy where a service is out of order that was
// proven once.
func LookAtService(unit string, proven state.Proof) string {
	log := "its log"
	if unit != "" {
		log = "journalctl -u " + unit
	}
	return fmt.Sprintf("see why the service completes no TLS handshake (%s); it served %s when it was proven at %s",
		log, proven.Leaf.Short(), proven.Time.Format(time.RFC3339))
}

// CrashedError is a service that did not survive its activation.
type CrashedError struct {
	What   string
	Proven bool // what came up since then serves the new leaf
}

func (e *CrashedError) Error() string {
	if e.Proven {
		return e.What + "; it serves the new certificate now, but sessions were lost"
	}
	return e.What + "; it does not serve the new certificate"
}

// WaitError is a deployment whose files stay without being served yet.
type WaitError struct {
	Reason Reason
	Detail string
	Cure   string // what to do; empty: what the reason is enough to tell
}

// WaitFor returns the wait of an activation that is none.
func WaitFor(a deployers.Activation) *WaitError {
	return &WaitError{Reason: Reason(a.Wait), Detail: a.Why, Cure: a.Remedy}
}

func (e *WaitError) Error() string { return e.Detail }

func (e *WaitError) result() Result {
	if e.Reason == Reason(deployers.RestartNotAllowed) || e.Reason == Reason(deployers.SharedMemoryLow) {
		return WaitingRestart
	}
	return Deferred
}

// Remedy returns what to do about the wait.
func (e *WaitError) Remedy(of Subject) string {
	unit := of.Plan.Activate.Unit
	if e.Reason == FirstInstall {
		return of.letBeNamed(cmp.Or(e.Cure, "and reload it"))
	}
	if e.Cure != "" {
		return e.Cure
	}
	switch e.Reason {
	case Reason(deployers.ServiceInactive):
		if unit == "" {
			return "start the service; certlatch deploy --pending then proves it"
		}
		return "systemctl start " + unit + "; certlatch deploy --pending then proves it"
	case Reason(deployers.RestartNotAllowed):
		return "restart " + unit + " when it suits, or set allow_restart: true for target " + of.Target
	case OtherHost:
		return "correct what is named, then certlatch deploy --pending; any other reload of " + unit + " takes the new pair too, at that price"
	case AddressNotHere:
		return "certlatch deploy --pending proves it when the address has come; or write probe: for target " + of.Target + ", at an address that this host always has"
	case NetworkApart:
		return of.letBeReached()
	case OutsideWindow:
		return "certlatch deploy --pending activates it then, and with --now at once"
	default:
		return "certlatch deploy --pending activates it then"
	}
}

// letBeNamed returns what to do where a service does not name the files yet, and how it
// is made to read its configuration then.
func (of Subject) letBeNamed(reload string) string {
	lines := ""
	if of.Plan.Row == nil && templates.Has(of.Plan.Service) {
		lines = fmt.Sprintf(" (certlatch template %s --target %s prints the lines)", of.Plan.Service, of.Target)
	}
	remedy := fmt.Sprintf("let the service's configuration name %s%s, %s; certlatch deploy --pending then proves it", of.firstFile(), lines, reload)
	if of.Plan.Found && len(of.Plan.Probes) == 0 {
		remedy += fmt.Sprintf(", with probe: [%q] in the target where it does not find the listener by itself", of.example())
	}
	return remedy
}

// example returns a probe as the service's could be.
func (of Subject) example() string { return cmp.Or(of.Plan.Example, "https://127.0.0.1:443") }

// letBeReached returns the remedy where a service has a network namespace of its own.
func (of Subject) letBeReached() string {
	return fmt.Sprintf("write probe: for target %s, at an address at which this host reaches the service, as in probe: [%q]; or probe: [] to prove nothing",
		of.Target, strings.Replace(cmp.Or(of.Plan.Example, "tls://127.0.0.1:443"), "127.0.0.1", "ADDRESS", 1))
}

// WaitsForService reports whether a reason is about something that somebody
// else does at the service, so that looking again is worth it at any time.
func (r Reason) WaitsForService() bool {
	switch r {
	case FirstInstall, AddressNotHere, NetworkApart, OtherHost, Reason(deployers.ServiceInactive), Reason(deployers.OutsideUnit), Reason(deployers.RestartNotAllowed), Reason(deployers.SharedMemoryLow):
		return true
	}
	return false
}

// WaitsForSomebody reports whether a pending deployment is installed and waits
// for what somebody has yet to do or has asked to be waited for. Another
// attempt would not help it along.
func (r Reason) WaitsForSomebody() bool { return r.WaitsForService() || r == OutsideWindow }

// EndangersError returns the wait of an activation that would take the TLS of
// something else away.
func EndangersError(name string, about error, a deployers.Activation) *WaitError {
	return &WaitError{Reason: OtherHost, Detail: fmt.Sprintf(
		"%s is served now and could not be loaded again (%v); to %s would take its TLS away", name, about, a)}
}

// RefusedLoadError returns the wait of an activation that the service would refuse, since
// it could not load something else.
func RefusedLoadError(name string, about error, a deployers.Activation) *WaitError {
	return &WaitError{
		Reason: OtherHost,
		Detail: fmt.Sprintf("%s could not be loaded (%v): to %s would fail for that, and the service go on with what it has", name, about, a),
		Cure:   fmt.Sprintf("correct %s: %v; then certlatch deploy --pending", name, about),
	}
}

// NotCarriedFinding returns the finding about attributes that a new file has
// not got from the one that it replaces.
func NotCarriedFinding(n install.NotCarried) lineage.Finding {
	var what []string
	for _, name := range n.Names {
		if name == disk.ACLName {
			name = "an ACL"
		}
		what = append(what, name)
	}
	return lineage.Finding{
		Code: string(NotCarried), Severity: lineage.Warned,
		Detail: fmt.Sprintf("%s: %s could have been set by another user, who owns, or may write to, a directory on the way; it is not carried over to new files", n.Path, strings.Join(what, ", ")),
		Remedy: fmt.Sprintf("write who else may read the files into acl: of target %s, or let root own the directories and the file", n.Target),
	}
}

// InterruptedError says that certlatch was told to end before a step was done.
type InterruptedError struct{ Err error }

func (e *InterruptedError) Error() string { return "certlatch was told to end: " + e.Err.Error() }

func (e *InterruptedError) Unwrap() error { return e.Err }
