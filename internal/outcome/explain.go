package outcome

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/process"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
	"github.com/certlatch/certlatch/internal/systemd"
)

// Subject is what an error is about, as far as its remedy needs it.
type Subject struct {
	Target string
	Step   Step
	Plan   deployers.Plan
}

// firstFile returns the path of the first file that is installed, or the column
// that stands for it.
func (s Subject) firstFile() string {
	if s.Plan.Row != nil || len(s.Plan.Files) == 0 {
		return "certificate"
	}
	return s.Plan.Files[0].Path
}

// letDynamicRead returns how a user can read files that exists only while its unit
// runs (DynamicUser=).
func (s Subject) letDynamicRead() string {
	return fmt.Sprintf("let systemd hand the files over (LoadCredential= in the unit), or give the unit a group of this host by SupplementaryGroups= or Group=, and write that as group: of target %s", s.Target)
}

// Explain returns the reason of an error and what to do about it.
func Explain(err error, of Subject) (Reason, string) {
	for _, k := range particular() {
		if remedy, is := k.match(err, of); is {
			return k.reason, remedy
		}
	}
	if explained, is := errors.AsType[Explained](err); is {
		return explained.Explain(of)
	}
	for _, k := range general() {
		if remedy, is := k.match(err, of); is {
			return k.reason, remedy
		}
	}
	return Unexpected, "this may be a fault of certlatch's; the log has the details"
}

// kind is one reason: how grave it is, and the errors that have it, in the order
// in which they are asked for. A reason has two kinds where something else of an
// error counts more than the second.
type kind struct {
	reason Reason
	class  Class
	errors []match
}

// match returns the remedy for an error, if it is one of a kind.
type match func(err error, of Subject) (remedy string, is bool)

func (k kind) match(err error, of Subject) (string, bool) {
	for _, m := range k.errors {
		if remedy, is := m(err, of); is {
			return remedy, true
		}
	}
	return "", false
}

// when returns the match of errors of one type, or that wrap one.
func when[E error](remedy func(E, Subject) string) match {
	return func(err error, of Subject) (string, bool) {
		is, ok := errors.AsType[E](err)
		if !ok {
			return "", false
		}
		return remedy(is, of), true
	}
}

// whenever is like when, for a remedy that is alike for all of them.
func whenever[E error](remedy string) match { return when(func(E, Subject) string { return remedy }) }

// whenSome is like when, for some of them only.
func whenSome[E error](some func(E) bool, remedy func(E, Subject) string) match {
	return func(err error, of Subject) (string, bool) {
		is, ok := errors.AsType[E](err)
		if !ok || !some(is) {
			return "", false
		}
		return remedy(is, of), true
	}
}

// whenIs returns the match of one error, or of those that wrap it.
func whenIs(target error, remedy func(error) string) match {
	return func(err error, _ Subject) (string, bool) {
		if !errors.Is(err, target) {
			return "", false
		}
		return remedy(err), true
	}
}

// at returns the match of whatever went wrong at a step.
func at(step Step, remedy func(error) string) match {
	return func(err error, of Subject) (string, bool) {
		if of.Step != step {
			return "", false
		}
		return remedy(err), true
	}
}

func kinds() []kind { return append(particular(), general()...) }

// particular returns the kinds of errors that are known by their types.
func particular() []kind { return slices.Concat(beforehand(), ofServices(), ofRows(), ofPrograms()) }

// beforehand returns the kinds of what keeps a deployment from being begun, or its
// files from being read.
func beforehand() []kind {
	return []kind{
		{Interrupted, ClassWaiting, []match{whenever[*InterruptedError]("certlatch deploy --pending goes on with it")}},
		{NotRecovered, ByStep, []match{
			when(func(e *StuckError, of Subject) string { return e.Remedy(of.Target) }),
			when(func(e *install.StuckError, of Subject) string { return (&StuckError{e}).Remedy(of.Target) }),
		}},
		{LineageNotFound, ByStep, []match{
			when(func(e *LineageReplacedError, of Subject) string {
				return "write lineage: " + Selector(e.By) + " for target " + of.Target + " in " + e.Missing.Config
			}),
			when(func(e *LineageMissingError, _ Subject) string {
				if e.Lacks != "" {
					return "put it back, or have the client issue the certificate anew (certbot renew --force-renewal --cert-name NAME)"
				}
				return "issue it, or correct the target's lineage in " + e.Config
			}),
		}},
		{LineageAmbiguous, ByStep, []match{when(func(e *AmbiguousError, of Subject) string {
			return fmt.Sprintf("write lineage: %s for target %s", Selector(e.Lineage), of.Target)
		})}},
		{PlaceShared, ByStep, []match{when(func(e *SharedPlaceError, of Subject) string {
			return fmt.Sprintf("give target %s a path of its own in %s, and let the service's configuration name that; or let one of the two targets go", of.Target, e.Config)
		})}},
		{UnitNotFound, ByStep, []match{whenSome(
			func(e *deployers.UnitError) bool { return e.LoadState == "not-found" },
			func(_ *deployers.UnitError, of Subject) string {
				return "install the service, or correct unit: of target " + of.Target
			},
		)}},
		{UnitUnusable, ByStep, []match{when(func(e *deployers.UnitError, _ Subject) string {
			return "systemctl status " + e.Unit + " tells why"
		})}},
		{ControlNoAnswer, ByStep, []match{when(func(e *deployers.SilentError, _ Subject) string { return e.Remedy })}},
		{ControlUnreachable, ByStep, []match{when(func(e *deployers.UnreachableError, _ Subject) string { return e.Remedy })}},
		{NoActivationWay, ByStep, []match{when(func(e *deployers.NoWayError, _ Subject) string { return e.Remedy })}},
		{Configuration, ByStep, []match{whenever[*ConfigError]("correct the configuration; certlatch config check looks at it")}},
		{NoProbe, ByStep, []match{when(func(e *NoProbeError, of Subject) string {
			if e.Taken {
				return "see who else listens there (ss -tlnp), and end it: certlatch deploy --pending then proves the renewal; or write probe: for target " + of.Target + ", at an address that only the service has"
			}
			if e.Diverted {
				return "let the rule (nft list ruleset) leave alone what this host itself asks there, or write probe: for target " + of.Target + ", at an address that no rule is about, or probe: [] to prove nothing"
			}
			return fmt.Sprintf("write probe: for target %s, for example probe: [%q], or probe: [] to prove nothing", of.Target, of.example())
		})}},
		{NoProbeName, ByStep, []match{
			whenSome(func(e *NoNameError) bool { return e.OnlyCN }, func(*NoNameError, Subject) string {
				return "have the client ask for a certificate with its names as subject alternative names"
			}),
			whenever[*NoNameError]("add ?name=NAME to the probe"),
		}},
		{PathRefused, ByStep, []match{
			when(func(e *install.PathError, _ Subject) string { return e.Remedy }),
			when(func(_ *disk.LinkError, of Subject) string {
				return "let root own the link and its directory, or name the real path in target " + of.Target
			}),
		}},
		{AccountUnknown, ByStep, []match{when(func(e *account.UnknownError, of Subject) string {
			if reader := of.Plan.Reader; reader.Dynamic && e.Name == reader.User {
				return of.letDynamicRead()
			}
			return "create it, or correct user: and group: of target " + of.Target
		})}},
		{AccountTransient, ByStep, []match{when(func(_ *account.TransientError, of Subject) string { return of.letDynamicRead() })}},
		{Unreadable, ByStep, []match{when(func(e *command.UnreadableError, of Subject) string {
			if reader := of.Plan.Reader; reader.Dynamic && reader.Group == "" && len(reader.SupplementaryGroups) == 0 {
				return of.letDynamicRead()
			}
			if e.At == e.Path {
				return fmt.Sprintf("set group: and mode: of target %s so that %s can read it", of.Target, e.User)
			}
			return fmt.Sprintf("let %s pass %s, or set group: and mode: of target %s", e.User, e.At, of.Target)
		})}},
	}
}

// ofServices returns the kinds of what services make of new files.
func ofServices() []kind {
	return []kind{
		{ServiceCrashed, ClassUndoFailed, []match{when(func(_ *CrashedError, of Subject) string {
			return fmt.Sprintf("find out why (journalctl), then certlatch release %s; nothing is deployed to it until then", of.Target)
		})}},
		{TestFailedBefore, ByStep, []match{whenSome(
			func(e *TestError) bool { return e.Before && e.Start },
			func(_ *TestError, of Subject) string { return LookAtStart(of.Plan.Test, of.Plan.Activate.Unit) },
		), whenSome(
			func(e *TestError) bool { return e.Before },
			func(*TestError, Subject) string {
				return "correct the service's configuration; the renewal did not break it"
			},
		)}},
		{TestFailed, ByStep, []match{when(func(e *TestError, of Subject) string {
			if e.Start {
				return LookAtStart(of.Plan.Test, of.Plan.Activate.Unit)
			}
			return "run " + strings.Join(of.Plan.Test.Command, " ") + " and look at what it says of these files"
		})}},
		{Outage, ClassNotProven, []match{when(func(e *OutageError, _ Subject) string { return e.Remedy() })}}, // at whichever step that showed
		{NotProven, ByStep, []match{when(func(e *UnprovenError, _ Subject) string {
			return cmp.Or(e.Cure, "see which files the service's configuration names, and whether the probe reaches that service")
		})}},
		{SystemdDown, ClassUnexpected, []match{
			whenever[*SystemdError]("see whether systemd answers: systemctl status"),
			whenever[*systemd.GoneError]("see whether systemd answers: systemctl status"),
		}},
		{JobNeverEnded, ByStep, []match{when(func(_ *systemd.NeverEndedError, of Subject) string {
			return "systemctl list-jobs shows the job that hangs; systemctl status " + of.Plan.Activate.Unit
		})}},
		{ReloadTimeout, ByStep, []match{whenSome((*systemd.JobError).TimedOut, func(e *systemd.JobError, _ Subject) string {
			return "journalctl -u " + e.Unit + " tells what it waited for"
		})}},
		{ReloadFailed, ByStep, []match{when(func(e *systemd.JobError, _ Subject) string { return "journalctl -u " + e.Unit + " tells why" })}},
		{ReloadRefused, ByStep, []match{when(func(e *systemd.RefusedError, _ Subject) string {
			return "systemctl " + e.Verb + " " + e.Unit + " shows whether it works by hand"
		})}},
		{CommandFailed, ByStep, []match{when(func(_ *command.ExitError, of Subject) string { return byHand(of) })}},
		{ControlFault, ByStep, nil}, // a FaultError explains itself
		{ControlNoAnswer, ByStep, []match{whenever[*AnswerError]("see whether the service still does its work, and what its log says")}},
		{ControlUnreachable, ByStep, []match{when(func(_ *UnreachableError, of Subject) string {
			return "see whether the service runs, and whether its control channel is the one configured for target " + of.Target
		})}},
	}
}

// ofRows returns the kinds of what goes wrong with databases.
func ofRows() []kind {
	return []kind{
		{DatabaseRefused, ByStep, []match{when(func(e *rows.AddressError, _ Subject) string { return e.Remedy })}},
		{RowNotFound, ByStep, []match{
			whenever[*rows.NoRowError](oneRow),
			whenever[*rows.ManyRowsError](oneRow),
		}},
		{RowChanged, ByStep, []match{whenever[*rows.ChangedError]("see who else writes to the table; certlatch deploy --pending tries again")}},
		{RowTooLong, ByStep, []match{whenever[*rows.TooLongError]("let the column hold more, or have the client issue a shorter chain")}},
		{DatabaseLocked, ClassUnexpected, []match{whenever[*rows.LockedError]("see who holds the lock (fuser FILE), and end what has been left open; certlatch deploy --pending tries again")}},
		{CommandNotStarted, ByStep, []match{whenSome(
			func(e *DatabaseError) bool { _, is := errors.AsType[*command.NotStartedError](e.Err); return is },
			func(*DatabaseError, Subject) string {
				return "install sqlite3, SQLite's own shell (Debian: apt install sqlite3; Fedora: dnf install sqlite)"
			},
		)}},
		{DatabaseDown, ClassUnexpected, []match{whenever[*DatabaseError]("see whether the database runs, and whether certlatch may use it: SELECT and UPDATE on the table, and for SQLite the right to write to the directory of its file")}},
	}
}

// ofPrograms returns the kinds of what goes wrong with programs and processes.
func ofPrograms() []kind {
	return []kind{
		{CommandNotStarted, ByStep, []match{whenever[*command.NotStartedError]("see whether the program is there and may be executed")}},
		{ServiceGone, ByStep, []match{whenever[*process.GoneError]("start the service; certlatch deploy --pending then tries again")}},
		{CommandTimeout, ByStep, []match{when(func(_ *command.TimeoutError, of Subject) string { return byHand(of) })}},
	}
}

// general returns the kinds of whatever else goes wrong.
func general() []kind {
	return []kind{
		{OutOfTime, ClassUnexpected, []match{
			whenever[*OutOfTimeError](triedAgain),
			whenIs(context.DeadlineExceeded, func(error) string { return triedAgain }),
		}},
		{PathRefused, ByStep, []match{whenIs(disk.ErrLeased, func(error) string { return "see who holds it: grep LEASE /proc/locks" })}},
		{InstallFailed, ByStep, []match{
			whenSome(
				func(e *state.DirectoryError) bool { return e.Remedy() != "" },
				func(e *state.DirectoryError, _ Subject) string { return e.Remedy() },
			),
			whenIs(syscall.EBUSY, func(error) string {
				return "see whether the file is a mount of its own (findmnt): mount its directory in place of it"
			}),
			whenIs(syscall.EROFS, func(err error) string {
				return "in a unit of certlatch's own: certlatch config systemd; otherwise see how the file system is mounted (findmnt --target" + argument(err) + ")"
			}),
			when(func(e *install.ChangedError, _ Subject) string {
				return "see who else writes to " + filepath.Dir(e.Path) + "; certlatch deploy --pending tries again"
			}),
			at(Stage, fullOrProtected),
			at(Commit, fullOrProtected),
		}},
		{ActivationFailed, ByStep, []match{at(Activate, func(error) string {
			return "see how the service is doing, then certlatch deploy --pending"
		})}},
		{Unexpected, ClassUnexpected, nil},
	}
}

// Selector returns what stands in a configuration for one lineage alone, quoted where
// YAML needs it.
func Selector(l lineage.Lineage) string {
	selector := l.Client + ":" + lineage.Pattern(l.Name)
	if strings.ContainsAny(selector, " #'\"\\") {
		return strconv.Quote(selector)
	}
	return selector
}

const (
	oneRow     = "let exactly one row of the table have the target's domain and type"
	triedAgain = "certlatch deploy --pending tries again"
)

func byHand(of Subject) string {
	return "run it by hand: " + strings.Join(of.Plan.Activate.Command, " ")
}

func fullOrProtected(err error) string {
	return "see whether the file system is full or protected (df" + argument(err) + ", lsattr -d" + argument(err) + ")"
}

// argument returns the directory that an error of writing is about, as an
// argument of a command; empty: it names none.
func argument(err error) string {
	path, is := errors.AsType[*fs.PathError](err)
	if !is {
		return ""
	}
	return " " + filepath.Dir(path.Path)
}
