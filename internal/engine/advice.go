package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/process"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
	"github.com/certlatch/certlatch/internal/systemd"
)

// This file turns errors into outcomes: a stable reason, what happened, and
// what to do. Reasons are part of the JSON contract; they are only ever added.

const (
	firstInstallReason     = "first-install"
	outsideWindowReason    = "outside-window"
	crashedReason          = "service-crashed"
	outOfTimeReason        = "out-of-time"
	testFailedBeforeReason = "test-failed-before"
	otherHostReason        = "other-host-endangered"
	stuckReason            = "not-recovered"

	notCarriedReason = "attributes-not-carried"
)

// refusedError is a bundle that did not pass validation.
type refusedError struct{ findings []lineage.Finding }

func (e *refusedError) Error() string { return e.findings[0].Detail }

// stuckError is a set that an earlier run, which was cut off, had begun to
// replace, and that could not be put back.
type stuckError struct{ error }

func (e *stuckError) Error() string {
	return "an earlier run was cut off, and the previous pair cannot be put back: " + e.error.Error()
}

func (e *stuckError) Unwrap() error { return e.error }

// remedy says what to do about a set of a target.
func (e *stuckError) remedy(target string) string {
	if later, is := errors.AsType[*install.JournalError](e.error); is {
		return fmt.Sprintf("let that version run certlatch recover, with the file under its old name; or look at what is installed and served, remove %s, then certlatch deploy --force --target %s", later.Path, target)
	}
	return "look at once: mend what keeps the files from being put back; every run tries it again first, and certlatch recover does nothing else"
}

// notCarried is the finding about attributes that a new file has not got from
// the one that it replaces.
func notCarried(n install.NotCarried) lineage.Finding {
	var what []string
	for _, name := range n.Names {
		if name == disk.ACLName {
			name = "an ACL"
		}
		what = append(what, name)
	}
	return lineage.Finding{
		Code: notCarriedReason, Severity: lineage.Warned,
		Detail: fmt.Sprintf("%s: %s could have been set by another user, who owns, or may write to, a directory on the way; it is not carried over to new files", n.Path, strings.Join(what, ", ")),
		Remedy: fmt.Sprintf("write who else may read the files into acl: of target %s, or let root own the directories and the file", n.Target),
	}
}

// configError is a configuration that shows to be wrong only on this host.
type configError struct{ error }

// noNameError is a probe without a name where the leaf has none to offer.
type noNameError struct{ probe string }

func (e *noNameError) Error() string {
	return fmt.Sprintf("probe %s names no host and every name of the leaf is a wildcard", e.probe)
}

// noProbeError is a target that nothing could prove.
type noProbeError struct{ target string }

func (e *noProbeError) Error() string {
	return "no TLS listener of the service completed a handshake, so nothing could prove that the new certificate is served"
}

// outOfTimeError is a deployment that was not begun, since it might not have
// ended in time.
type outOfTimeError struct{}

func (*outOfTimeError) Error() string {
	return "too little of the run's time was left to begin with this service"
}

// systemdError is a systemd that runs this host and cannot be reached.
type systemdError struct{ error }

// failures is what a test whose output is read says against the service.
type failures []failure

// failure is one line of it.
type failure struct {
	line  string
	tells string // the part by which it is known again
}

func (f failures) Error() string {
	var all []string
	for _, failure := range f {
		all = append(all, failure.line)
	}
	return strings.Join(all, "; ")
}

// about gives the failures that concern something else that is served.
func (f failures) about(other deployers.Other) (failures, error) {
	says, err := regexp.Compile(other.Says)
	if err != nil {
		return nil, err
	}
	var found failures
	for _, failure := range f {
		if says.MatchString(failure.line) {
			found = append(found, failure)
		}
	}
	return found, nil
}

// against gives what a service's own test says now that counts against the new
// files, and whether it said all of that before anything was touched.
func (it *item) against(now error) (counts error, before bool) {
	lines, isNow := now.(failures)
	known, was := it.testedBefore.(failures)
	if !isNow || !was {
		return now, it.testedBefore != nil
	}
	own, err := regexp.Compile(it.plan.Test.Own)
	if err != nil {
		return err, false
	}
	known = slices.Clone(known)
	var found failures
	before = true
	for _, now := range lines {
		at := slices.IndexFunc(known, func(then failure) bool { return then.tells == now.tells })
		if at >= 0 {
			known = slices.Delete(known, at, at+1) // the same words may be about two hosts
		}
		if at < 0 || it.plan.Test.Own != "" && own.MatchString(now.line) {
			found = append(found, now)
			before = before && at >= 0
		}
	}
	if found == nil {
		return nil, false
	}
	return found, before
}

// runTest runs a service's own test.
func runTest(ctx context.Context, test deployers.Test) error {
	output, err := command.Ask(ctx, test.Command)
	if test.Failures == "" || err == nil {
		return err
	}
	counts, bad := regexp.Compile(test.Failures)
	if bad != nil {
		return bad
	}
	beside, bad := regexp.Compile(test.Beside)
	if bad != nil {
		return bad
	}
	var found failures
	explained := false
	for line := range strings.Lines(output.Stdout + "\n" + output.Stderr) {
		if tells := counts.FindString(line); tells != "" {
			found = append(found, failure{strings.TrimSpace(line), strings.TrimSpace(tells)})
		}
		explained = explained || test.Beside != "" && beside.MatchString(line)
	}
	switch {
	case found != nil:
		return found
	case explained:
		return nil
	}
	return err // it fails, and not in a way that could be compared
}

// faultError is a service that answered a control call with a fault.
type faultError struct {
	query      deployers.Query
	text       string
	activation deployers.Activation
}

func (e *faultError) Error() string {
	return fmt.Sprintf("%s at %s: %s", e.query.Method, e.query.Channel.Address, e.text)
}

// meaning is what is known about the fault; the zero Fault where nothing is.
func (e *faultError) meaning() deployers.Fault {
	for _, f := range e.activation.Faults {
		if strings.Contains(e.text, f.Says) {
			return f
		}
	}
	return deployers.Fault{}
}

// answerError is a control call that was sent and not answered with success.
type answerError struct {
	query  deployers.Query
	answer deployers.Answer
}

func (e *answerError) Error() string {
	what := e.answer.Err
	if what == "" {
		what = fmt.Sprintf("the answer is %.200q", e.answer.Reply)
	}
	return fmt.Sprintf("%s at %s: %s", e.query.Method, e.query.Channel.Address, what)
}

// expectError is a service that took a call and does not say afterwards what it
// should.
type expectError struct {
	expect deployers.Expect
	answer deployers.Answer
}

func (e *expectError) Error() string {
	what := e.answer.Err + e.answer.Fault
	if what == "" {
		what = e.expect.Says
	}
	return fmt.Sprintf("%s at %s: %s", e.expect.Query.Method, e.expect.Query.Channel.Address, what)
}

// unanswered tells whether a service that had been reached gave no answer.
func unanswered(err error) bool {
	var call *answerError
	var after *expectError
	return errors.As(err, &call) && call.answer.Err != "" || errors.As(err, &after) && after.answer.Err != ""
}

// unreachableError is a service none of whose control channels can be reached.
type unreachableError struct{ errs []string }

func (e *unreachableError) Error() string { return strings.Join(e.errs, "; ") }

// testError is a failure of the service's own test with the new files in place.
type testError struct {
	program string
	err     error
	before  bool // it failed at the baseline too
}

func (e *testError) Error() string {
	if e.before {
		return fmt.Sprintf("the service's own test (%s) fails, and did so before anything was touched: %v", e.program, e.err)
	}
	return fmt.Sprintf("the service's own test (%s) rejected the new files: %v", e.program, e.err)
}

// waitError is a deployment whose files stay without being served yet.
type waitError struct {
	reason, detail string
	cure           string // what to do; empty: what the reason is enough to tell
}

func (e *waitError) Error() string { return e.detail }

func (e *waitError) result() Result {
	if e.reason == string(deployers.RestartNotAllowed) || e.reason == string(deployers.SharedMemoryLow) {
		return WaitingRestart
	}
	return Deferred
}

func (e *waitError) remedy(it *item) string {
	unit := it.plan.Activate.Unit
	if e.cure != "" {
		return e.cure
	}
	switch e.reason {
	case string(deployers.ServiceInactive):
		if unit == "" {
			return "start the service; certlatch deploy --pending then proves it"
		}
		return "systemctl start " + unit + "; certlatch deploy --pending then proves it"
	case string(deployers.RestartNotAllowed):
		return "restart " + unit + " when it suits, or set allow_restart: true for target " + it.target.Name
	case otherHostReason:
		return "correct what is named, then certlatch deploy --pending; any other reload of " + unit + " takes the new pair too, at that price"
	case firstInstallReason:
		return "let the service's configuration name " + it.set.Files[0].Path + "; certlatch deploy --pending then proves it"
	default:
		return "certlatch deploy --pending activates it then"
	}
}

// unprovenError is new files that are not served.
type unprovenError struct {
	seen  []probe.Seen
	items []*item
}

func (e *unprovenError) Error() string {
	var parts []string
	for _, s := range e.seen {
		part := s.Err.Error()
		for _, it := range e.items {
			for i, p := range it.plan.Probes {
				if p == s.Endpoint && i < len(it.baseline) && it.baseline[i].Leaf() == nil {
					part += ", and it answered no handshake before anything was touched either"
				}
			}
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// crashedError is a service that did not survive its activation.
type crashedError struct {
	what   string
	proven bool // what came up since then serves the new leaf
}

func (e *crashedError) Error() string {
	if e.proven {
		return e.what + "; it serves the new certificate now, but sessions were lost"
	}
	return e.what + "; it does not serve the new certificate"
}

// fail makes an error at a step the outcome of the item.
func (it *item) fail(step Step, err error) {
	it.out.At, it.out.Detail = step, err.Error()
	switch step {
	case Commit, Test, Activate, Prove:
		it.out.Result = RolledBack
	default:
		it.out.Result = Failed
	}

	var (
		refused    *refusedError
		unit       *deployers.UnitError
		noWay      *deployers.NoWayError
		mute       *deployers.SilentError
		path       *install.PathError
		link       *disk.LinkError
		unknown    *account.UnknownError
		unreadable *command.UnreadableError
		job        *systemd.JobError
		rejected   *systemd.RefusedError
		exit       *command.ExitError
		timeout    *command.TimeoutError
		idle       *command.NotStartedError
		ended      *process.GoneError
		crash      *crashedError
		config     *configError
		noProbe    *noProbeError
		noName     *noNameError
		test       *testError
		manager    *systemdError
		late       *outOfTimeError
		never      *systemd.NeverEndedError
		gone       *systemd.GoneError
		unproven   *unprovenError
		outage     *outageError
		fault      *faultError
		answer     *answerError
		silent     *unreachableError
		expect     *expectError
		address    *rows.AddressError
		noRow      *rows.NoRowError
		manyRows   *rows.ManyRowsError
		rowChanged *rows.ChangedError
		tooLong    *rows.TooLongError
		stuck      *stuckError
		waits      *install.StuckError
		changed    *install.ChangedError
		database   *databaseError
		directory  *state.DirectoryError
	)
	say := func(reason, remedy string) { it.out.Reason, it.out.Remedy = reason, remedy }
	name := it.target.Name
	switch {
	case errors.As(err, &stuck):
		it.out.Result = RollbackFailed
		say(stuckReason, stuck.remedy(name))
	case errors.As(err, &waits):
		say(stuckReason, (&stuckError{waits}).remedy(name))
	case errors.As(err, &refused):
		it.out.Result = Refused
		say(refused.findings[0].Code, refused.findings[0].Remedy)
	case errors.As(err, &unit) && unit.LoadState == "not-found":
		say("unit-not-found", "install the service, or correct unit: of target "+name)
	case errors.As(err, &unit):
		say("unit-unusable", "systemctl status "+unit.Unit+" tells why")
	case errors.As(err, &mute):
		say("control-no-answer", mute.Remedy)
	case errors.As(err, &noWay):
		say("no-activation-way", noWay.Remedy)
	case errors.As(err, &config):
		say("configuration", "correct the configuration; certlatch config check looks at it")
	case errors.As(err, &noProbe):
		say("no-probe", fmt.Sprintf("write probe: for target %s, for example probe: [\"https://127.0.0.1:443\"], or probe: [] to prove nothing", name))
	case errors.As(err, &noName):
		say("no-probe-name", "add ?name=NAME to the probe")
	case errors.As(err, &path):
		say("path-refused", path.Remedy)
	case errors.As(err, &link):
		say("path-refused", "let root own the link and its directory, or name the real path in target "+name)
	case errors.As(err, &unknown):
		say("account-unknown", "create it, or correct user: and group: of target "+name)
	case errors.As(err, &unreadable):
		say("unreadable", fmt.Sprintf("let %s pass %s, or set group: and mode: of target %s", unreadable.User, unreadable.At, name))
	case errors.As(err, &crash):
		it.out.Result = Failed
		say(crashedReason, fmt.Sprintf("find out why (journalctl), then certlatch release %s; nothing is deployed to it until then", name))
	case errors.As(err, &test) && test.before:
		say(testFailedBeforeReason, "correct the service's configuration; the renewal did not break it")
	case errors.As(err, &test):
		say("test-failed", "run "+strings.Join(it.plan.Test.Command, " ")+" and look at what it says of these files")
	case errors.As(err, &outage):
		say(outageReason, outage.remedy())
	case errors.As(err, &unproven):
		say("not-proven", "see which files the service's configuration names, and whether the probe reaches that service")
	case errors.As(err, &manager), errors.As(err, &gone):
		say("systemd-unreachable", "see whether systemd answers: systemctl status")
	case errors.As(err, &never):
		say("job-never-ended", "systemctl list-jobs shows the job that hangs; systemctl status "+it.plan.Activate.Unit)
	case errors.As(err, &job) && job.TimedOut():
		say("reload-timeout", "journalctl -u "+job.Unit+" tells what it waited for")
	case errors.As(err, &job):
		say("reload-failed", "journalctl -u "+job.Unit+" tells why")
	case errors.As(err, &rejected):
		say("reload-refused", "systemctl "+rejected.Verb+" "+rejected.Unit+" shows whether it works by hand")
	case errors.As(err, &exit):
		say("command-failed", "run it by hand: "+strings.Join(it.plan.Activate.Command, " "))
	case errors.As(err, &fault) && fault.meaning().Reason != "":
		say(fault.meaning().Reason, fault.meaning().Remedy)
	case errors.As(err, &fault):
		say("control-fault", "the service's log tells more; it goes on as before")
	case errors.As(err, &answer):
		say("control-no-answer", "see whether the service still does its work, and what its log says")
	case errors.As(err, &silent):
		say("control-unreachable", "see whether the service runs, and whether its control channel is the one configured for target "+name)
	case errors.As(err, &expect):
		say(expect.expect.Reason, expect.expect.Remedy)
	case errors.As(err, &address):
		say("database-refused", address.Remedy)
	case errors.As(err, &noRow), errors.As(err, &manyRows):
		say("row-not-found", "let exactly one row of the table have the target's domain and type")
	case errors.As(err, &rowChanged):
		say("row-changed", "see who else writes to the table; certlatch deploy --pending tries again")
	case errors.As(err, &tooLong):
		say("row-too-long", "let the column hold more, or have the client issue a shorter chain")
	case errors.As(err, &database):
		say("database-unreachable", "see whether the database runs, and whether certlatch may use it")
	case errors.As(err, &idle):
		say("command-not-started", "see whether the program is there and may be executed")
	case errors.As(err, &ended):
		say("service-gone", "start the service; certlatch deploy --pending then tries again")
	case errors.As(err, &timeout):
		say("command-timeout", "run it by hand: "+strings.Join(it.plan.Activate.Command, " "))
	case errors.As(err, &late), errors.Is(err, context.DeadlineExceeded):
		say(outOfTimeReason, "certlatch deploy --pending tries again")
	case errors.As(err, &directory) && directory.Remedy() != "":
		say("install-failed", directory.Remedy())
	case errors.Is(err, syscall.EROFS):
		say("install-failed", "in a unit of certlatch's own: certlatch config systemd; otherwise see how the file system is mounted (findmnt --target"+argument(err)+")")
	case errors.Is(err, disk.ErrLeased):
		say("path-refused", "see who holds it: grep LEASE /proc/locks")
	case errors.As(err, &changed):
		say("install-failed", "see who else writes to "+filepath.Dir(changed.Path)+"; certlatch deploy --pending tries again")
	case step == Stage || step == Commit:
		say("install-failed", "see whether the file system is full or protected (df"+argument(err)+", lsattr -d"+argument(err)+")")
	case step == Activate:
		say("activation-failed", "see how the service is doing, then certlatch deploy --pending")
	default:
		say("unexpected", "this may be a fault of certlatch's; the log has the details")
	}
}

// argument returns the directory that an error of writing is about, as an
// argument of a command; empty: it names none.
func argument(err error) string {
	path := new(fs.PathError)
	if !errors.As(err, &path) {
		return ""
	}
	return " " + filepath.Dir(path.Path)
}

// isInactive tells whether a job failed because its unit had stopped
// meanwhile: systemd then calls the job invalid.
func isInactive(err error) bool {
	var job *systemd.JobError
	return errors.As(err, &job) && job.Result == "invalid"
}

// mayHaveWorked tells whether a step that failed may have made the service
// take the new files all the same. A reload job that failed or was not accepted
// says that it did not, and a program that did not start did nothing; a wait
// that was given up says nothing.
func mayHaveWorked(step Step, err error) bool {
	var (
		job      *systemd.JobError
		rejected *systemd.RefusedError
		idle     *command.NotStartedError
		fault    *faultError
		silent   *unreachableError
	)
	switch {
	case step != Activate:
		return true
	case errors.As(err, &fault):
		return !fault.activation.FaultKeepsOld
	case errors.As(err, &job):
		return job.TimedOut()
	default:
		return !errors.As(err, &rejected) && !errors.As(err, &idle) && !errors.As(err, &silent)
	}
}
