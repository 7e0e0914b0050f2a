package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/hookfiles"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/state"
)

// This file is the one home of exit codes. The rules for what the terminal
// shows are these:
//   - Results go to standard output, in the form of report.go or as JSON.
//   - Errors go to standard error, with a "certlatch:" before them and the
//     remedy on the next line.
//   - A check says everything, errors too, in the one line that its guidelines
//     want on standard output.
//   - An error is one sentence without a period, and names what it is about.

// The exit codes of hook, deploy and rollback. They are fixed by the contract.
const (
	exitOK         = 0
	exitUnexpected = 1
	exitUsage      = 2
	exitRefused    = 3
	exitInstall    = 4
	exitActivation = 5
	exitNotProven  = 6
	exitUndoFailed = 7
	exitLocked     = 8
	exitWaiting    = 9

	exitUnsupported = 42 // of hook: acmetool's word for an event that a hook does not handle

	exitProbeFindings  = 1 // of probe
	exitNoHandshake    = 3 // of probe
	exitDoctorWarnings = 1 // of doctor
	exitDoctorErrors   = 2 // of doctor

	exitCheckWarning  = 1 // of check, by the guidelines of the Monitoring Plugins
	exitCheckCritical = 2 // of check
	exitCheckUnknown  = 3 // of check, and whatever keeps it from looking
)

// exitsHelp is for the help of the commands that deploy.
const exitsHelp = `Exit codes: 0 all deployed or nothing to do; 1 unexpected; 2 usage or configuration,
nothing touched; 3 the new bundle was refused, nothing touched; 4 installing failed,
previous pair back; 5 activation failed or the service's own test rejected it, previous
pair back; 6 not proven within the deadline, previous pair back; 7 the previous state
could not be restored or proven, look at once; 8 another run held the lock too long;
9 installed, not yet served.`

// gravity is the order in which one code stands for several targets.
var gravity = []int{exitUndoFailed, exitNotProven, exitActivation, exitInstall, exitUnexpected, exitUsage, exitRefused, exitLocked, exitWaiting, exitOK}

// exitOf gives the code for a report.
func exitOf(report engine.Report) int {
	worst := exitOK
	for _, o := range report.Outcomes {
		if code := exitOfOutcome(o); slices.Index(gravity, code) < slices.Index(gravity, worst) {
			worst = code
		}
	}
	return worst
}

func exitOfOutcome(o engine.Outcome) int {
	switch o.Result {
	case engine.Deployed, engine.Unchanged, engine.Held, engine.Planned:
		return exitOK
	case engine.Refused:
		return exitRefused
	case engine.Deferred, engine.WaitingRestart:
		return exitWaiting
	case engine.RollbackFailed:
		return exitUndoFailed
	}
	switch {
	case o.Reason == "service-crashed":
		return exitUndoFailed
	case o.Reason == "outage": // at whichever step that showed
		return exitNotProven
	case slices.Contains([]string{"unexpected", "systemd-unreachable", "database-unreachable", "out-of-time"}, o.Reason) && o.Result == engine.Failed:
		return exitUnexpected
	}
	switch o.At {
	case engine.Stage, engine.Commit:
		return exitInstall
	case engine.Test, engine.Activate:
		return exitActivation
	case engine.Prove:
		return exitNotProven
	}
	return exitUsage
}

// exitOfExaminations gives the code for the gravest check.
func exitOfExaminations(found []engine.Examination) int {
	code := exitOK
	for _, x := range found {
		for _, c := range x.Checks {
			switch {
			case c.Level == deployers.Wrong:
				return exitDoctorErrors
			case c.Level == deployers.Warned:
				code = exitDoctorWarnings
			}
		}
	}
	return code
}

// exitOfSeverity gives the code of a check.
func exitOfSeverity(s severity) int {
	return map[severity]int{levelOK: exitOK, levelUnknown: exitCheckUnknown, levelWarning: exitCheckWarning, levelCritical: exitCheckCritical}[s]
}

// exitStatus ends the program with a code; everything was said already.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is a command line that cannot be meant.
type usageError struct{ what, hint string }

func (e *usageError) Error() string { return e.what }

// finish says what is wrong, and gives the exit code.
func (p *program) finish(err error) int {
	if err == nil {
		return exitOK
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	code, hint := explain(err)
	if p.plugin {
		line := fmt.Sprintf("CERTLATCH %s - %v", levelUnknown, err)
		if hint != "" {
			line += "; " + hint
		}
		fmt.Fprintln(p.stdout, forLine(line))
		return exitCheckUnknown
	}
	fmt.Fprintf(p.stderr, "certlatch: %v\n", err)
	if hint != "" {
		fmt.Fprintf(p.stderr, "certlatch: %s\n", hint)
	}
	return code
}

// explain gives an error's exit code and the advice that goes with it.
func explain(err error) (code int, hint string) {
	var (
		usage     *usageError
		request   *engine.RequestError
		bad       *config.Error
		missing   *config.MissingError
		locked    *disk.LockedError
		notCalled *hooks.NotCalledError
		ambiguous *hooks.AmbiguousError
		input     *hooks.InputError
		refused   *hookfiles.RefusedError
		lost      *install.RestoreError
		unseen    *snapshotError
		unread    *state.UnreadableError
		directory *state.DirectoryError
	)
	switch {
	case errors.As(err, &usage):
		return exitUsage, usage.hint
	case errors.As(err, &request):
		return exitUsage, request.Remedy
	case errors.As(err, &refused):
		return exitUsage, refused.Remedy
	case errors.As(err, &missing):
		return exitUsage, "certlatch init looks at this host and writes one"
	case errors.As(err, &bad):
		return exitUsage, ""
	case errors.As(err, &locked):
		return exitLocked, "see which certlatch still runs: pgrep -a certlatch"
	case errors.As(err, &notCalled):
		return exitUsage, "hook is for ACME clients to call; by hand it is certlatch deploy NAME"
	case errors.As(err, &ambiguous):
		return exitUsage, "name the client: certlatch hook " + strings.Join(ambiguous.Clients, ", or certlatch hook ")
	case errors.As(err, &lost):
		return exitUndoFailed, "look at once: see why those files cannot be put back; every run of certlatch tries it again first"
	case errors.As(err, &unseen):
		return exitUsage, "root's certlatch writes it: certlatch status as root does, and every run that deploys"
	case errors.As(err, &input):
		return exitUsage, "see what calls certlatch, and with which environment"
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return exitUsage, "this needs root: run it with sudo"
	case errors.As(err, &unread):
		return exitUnexpected, unread.Remedy()
	case errors.As(err, &directory) && directory.Remedy() != "":
		return exitInstall, directory.Remedy()
	}
	return exitUnexpected, ""
}
