package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/hookfiles"
	"github.com/certlatch/certlatch/internal/host"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/process"
	"github.com/certlatch/certlatch/internal/report"
	"github.com/certlatch/certlatch/internal/state"
)

// This file is the one home of what is said about errors. The rules for what the
// terminal shows are these:
//   - Results go to standard output, as package report shows them.
//   - Errors go to standard error, with a "certlatch:" before them and the
//     remedy on the next line.
//   - A check says everything, errors too, in the one line that its guidelines
//     want on standard output.
//   - An error is one sentence without a period, and names what it is about.

// exitsHelp documents the exit codes in the help of the commands that deploy.
const exitsHelp = `Exit codes: 0 all deployed or nothing to do; 1 unexpected; 2 usage or configuration,
nothing touched; 3 the new bundle was refused, nothing touched; 4 installing failed,
previous pair back; 5 activation failed or the service's own test rejected it, previous
pair back; 6 not proven within the deadline, previous pair back; 7 the previous state
could not be restored or proven, look at once; 8 another run held the lock too long;
9 it waits: installed and not yet served, or told to end and put back.`

// exitStatus is an error that only carries the exit code: whatever there was to
// print is printed.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// endingError is an error that ends certlatch with a given exit code.
type endingError struct {
	error
	code int
}

func (e *endingError) Unwrap() error { return e.error }

// advisedError is an error with advice of its own.
type advisedError struct {
	error
	hint string
}

func (e *advisedError) Unwrap() error { return e.error }

// usageError says that a command line is wrong, and how it should be.
type usageError struct{ what, hint string }

func (e *usageError) Error() string { return e.what }

// printError prints an error with the advice about it, and returns the exit code.
func (p *program) printError(err error) int {
	if err == nil {
		return report.ExitOK
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	code, hint := adviceFor(err)
	if ending := new(endingError); errors.As(err, &ending) {
		code = ending.code
	}
	if p.plugin {
		fmt.Fprintln(p.stdout, report.PluginFailure(err, hint))
		return report.ExitCheckUnknown
	}
	p.complain(err.Error())
	if hint != "" {
		p.complain(hint)
	}
	return code
}

// complain prints a line on standard error. It is UTF-8, whatever it quotes:
// certbot takes a hook for failed that prints anything else (seen with certbot
// 5.5.0).
func (p *program) complain(line string) {
	fmt.Fprintf(p.stderr, "certlatch: %s\n", report.InUTF8(line))
}

// adviceFor returns the exit code for an error, and advice; empty: there is none.
func adviceFor(err error) (code int, hint string) {
	var (
		advised   *advisedError
		usage     *usageError
		rootless  *prepare.RootError
		request   *prepare.RequestError
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
	case errors.As(err, &advised):
		code, _ = adviceFor(advised.error)
		return code, advised.hint
	case errors.As(err, &rootless):
		return report.ExitUsage, rootless.Remedy()
	case errors.As(err, &usage):
		return report.ExitUsage, usage.hint
	case errors.As(err, &request):
		return report.ExitUsage, request.Remedy
	case errors.As(err, &refused):
		return report.ExitUsage, refused.Remedy
	case errors.As(err, &missing):
		return report.ExitUsage, "certlatch init looks at this host and writes one"
	case errors.As(err, &bad):
		return report.ExitUsage, ""
	case errors.As(err, &locked):
		return report.ExitLocked, "see which certlatch still runs: pgrep -a certlatch"
	case errors.As(err, &notCalled):
		return report.ExitUsage, "hook is for ACME clients to call; by hand it is certlatch deploy NAME"
	case errors.As(err, &ambiguous):
		return report.ExitUsage, "name the client: certlatch hook " + strings.Join(ambiguous.Clients, ", or certlatch hook ")
	case errors.As(err, &lost):
		return report.ExitUndoFailed, "look at once: see why those files cannot be put back; every run of certlatch tries it again first"
	case errors.As(err, &unseen):
		return report.ExitUsage, "root's certlatch writes it: certlatch status as root does, and every run that deploys"
	case errors.As(err, &input):
		return report.ExitUsage, "see what calls certlatch, and with which environment"
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return report.ExitUsage, "this needs root: run it with sudo"
	case errors.As(err, &unread):
		return report.ExitUnexpected, unread.Remedy()
	case errors.As(err, &directory) && directory.ReadOnly() && sandboxRemedy(directory.Dir) != "":
		return report.ExitInstall, sandboxRemedy(directory.Dir)
	case errors.As(err, &directory) && directory.Remedy() != "":
		return report.ExitInstall, directory.Remedy()
	}
	return report.ExitUnexpected, ""
}

// sandboxRemedy returns what to do where a directory is read-only to the unit that
// called certlatch, and to nobody else; empty: it is not. certlatch's own units have
// a remedy of their own.
func sandboxRemedy(dir string) string {
	unit := process.Unit()
	if unit == "" || strings.HasPrefix(unit, "certlatch-") || !host.SandboxHolds(dir) {
		return ""
	}
	return fmt.Sprintf("%[1]s is in a sandbox: systemctl edit %[1]s, and below [Service] ReadWritePaths=%[2]s and the directories of the targets; "+
		"or let its hook only leave a mark (certlatch hook --defer), for which the marks in the state directory are enough: certlatch-retry.timer deploys outside of the sandbox", unit, dir)
}
