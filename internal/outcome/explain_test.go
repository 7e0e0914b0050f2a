package outcome

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

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

// subject is what the errors of these tests are about.
func subject(step Step) Subject {
	return Subject{Target: "web", Step: step, Plan: deployers.Plan{
		Service:  "nginx",
		Test:     deployers.Test{Command: []string{"nginx", "-t"}},
		Activate: deployers.Activation{Unit: "nginx.service", Command: []string{"nginx", "-s", "reload"}},
		Files:    []deployers.File{{Path: "/etc/ssl/cert.pem"}, {Path: "/etc/ssl/key.pem"}},
	}}
}

var errPlain = errors.New("plain")

// explained is an error, and what is to be said about it at a step.
type explained struct {
	name   string
	err    error
	at     Step // empty: whichever
	reason Reason
	remedy string
}

func database(err error) error { return &DatabaseError{Err: err} }

func onFile(err error) error { return &fs.PathError{Op: "write", Path: "/etc/ssl/cert.pem", Err: err} }

func fault(text string) error {
	return &FaultError{Text: text, Activation: deployers.Activation{Faults: []deployers.Fault{
		{Says: "No TLS", Reason: "tls-config-missing", Remedy: "give the module a file"},
		{Says: "nameless"},
		{Says: "less", Reason: "tls-config-rejected", Remedy: "correct it"},
	}}}
}

// explanations is every kind of error, in the order in which they count where
// several are joined.
func explanations() []explained {
	const letDynamicRead = "let systemd hand the files over (LoadCredential= in the unit), or give the unit a group of this host by SupplementaryGroups= or Group=, and write that as group: of target web"
	const byHand = "run it by hand: nginx -s reload"
	const oneRow = "let exactly one row of the table have the target's domain and type"
	const later = "certlatch deploy --pending tries again"
	const full = "see whether the file system is full or protected (df /etc/ssl, lsattr -d /etc/ssl)"
	const systemctl = "see whether systemd answers: systemctl status"
	const journal = "look at once: mend what keeps the files from being put back; every run tries it again first, and certlatch recover does nothing else"
	return []explained{
		{"an earlier pair that is not back", &StuckError{errPlain}, "", "not-recovered", journal},
		{"an earlier pair of a later version", &StuckError{&install.JournalError{Path: "/journal/intent"}}, "", "not-recovered",
			"let that version run certlatch recover, with the file under its old name; or look at what is installed and served, remove /journal/intent, then certlatch deploy --force --target web"},
		{"a path of an earlier pair", &install.StuckError{}, "", "not-recovered", journal},
		{"no lineage", &LineageMissingError{Lineage: "web.example", Config: "/etc/certlatch.yaml"}, "", "lineage-not-found", "issue it, or correct the target's lineage in /etc/certlatch.yaml"},
		{"two lineages", &AmbiguousError{lineage.Lineage{Client: "certbot", Name: "web.example"}, lineage.Lineage{}}, "", "lineage-ambiguous", "write lineage: certbot:web.example for target web"},
		{"one place", &SharedPlaceError{"first", "/etc/ssl/web", "web.example", "config.yaml"}, "", "place-shared", "give target web a path of its own in config.yaml, and let the service's configuration name that; or let one of the two targets go"},
		{"no unit", &deployers.UnitError{Unit: "x.service", LoadState: "not-found"}, "", "unit-not-found", "install the service, or correct unit: of target web"},
		{"a masked unit", &deployers.UnitError{Unit: "x.service", LoadState: "masked"}, "", "unit-unusable", "systemctl status x.service tells why"},
		{"a service that does not answer", &deployers.SilentError{NoWayError: &deployers.NoWayError{Remedy: "wait"}}, "", "control-no-answer", "wait"},
		{"a service that has to be asked and cannot be", &deployers.UnreachableError{NoWayError: &deployers.NoWayError{Remedy: "set mi"}}, "", "control-unreachable", "set mi"},
		{"no way", &deployers.NoWayError{Remedy: "find one"}, "", "no-activation-way", "find one"},
		{"a configuration that is wrong here", &ConfigError{errPlain}, "", "configuration", "correct the configuration; certlatch config check looks at it"},
		{"no probe", &NoProbeError{Target: "web"}, "", "no-probe", `write probe: for target web, for example probe: ["https://127.0.0.1:443"], or probe: [] to prove nothing`},
		{"a CN alone", &NoNameError{Probe: "tls://127.0.0.1:443", OnlyCN: true}, "", "no-probe-name", "have the client ask for a certificate with its names as subject alternative names"},
		{"no name", &NoNameError{Probe: "tls://127.0.0.1:443"}, "", "no-probe-name", "add ?name=NAME to the probe"},
		{"a path", &install.PathError{Remedy: "move it away"}, "", "path-refused", "move it away"},
		{"a link", &disk.LinkError{}, "", "path-refused", "let root own the link and its directory, or name the real path in target web"},
		{"an account", &account.UnknownError{}, "", "account-unknown", "create it, or correct user: and group: of target web"},
		{"an account that goes with its unit", &account.TransientError{}, "", "account-transient", letDynamicRead},
		{"an unreadable file", &command.UnreadableError{User: "www-data", At: "/etc/ssl"}, "", "unreadable", "let www-data pass /etc/ssl, or set group: and mode: of target web"},
		{"a file itself", &command.UnreadableError{User: "www-data", Path: "/etc/a.key", At: "/etc/a.key"}, "", "unreadable", "set group: and mode: of target web so that www-data can read it"},
		{"a crash", &CrashedError{What: "it died"}, "", "service-crashed", "find out why (journalctl), then certlatch release web; nothing is deployed to it until then"},
		{"a test that failed before", &TestError{Before: true}, "", "test-failed-before", "correct the service's configuration; the renewal did not break it"},
		{"a test", &TestError{}, "", "test-failed", "run nginx -t and look at what it says of these files"},
		{"an outage", &OutageError{Err: &UnprovenError{}, Unit: "x.service", Proven: proof}, "", "outage",
			"see why the service completes no TLS handshake (journalctl -u x.service); it served 01234567 when it was proven at 2026-01-02T03:04:05Z"},
		{"no proof", &UnprovenError{}, "", "not-proven", "see which files the service's configuration names, and whether the probe reaches that service"},
		{"no proof, and why", &UnprovenError{What: "refused", Cure: "allow it"}, "", "not-proven", "allow it"},
		{"no systemd", &SystemdError{errPlain}, "", "systemd-unreachable", systemctl},
		{"a lost systemd", &systemd.GoneError{}, "", "systemd-unreachable", systemctl},
		{"an endless job", &systemd.NeverEndedError{}, "", "job-never-ended", "systemctl list-jobs shows the job that hangs; systemctl status nginx.service"},
		{"a slow reload", &systemd.JobError{Unit: "x.service", Result: "timeout"}, "", "reload-timeout", "journalctl -u x.service tells what it waited for"},
		{"a reload", &systemd.JobError{Unit: "x.service", Result: "failed"}, "", "reload-failed", "journalctl -u x.service tells why"},
		{"a reload that is not accepted", &systemd.RefusedError{Verb: "reload", Unit: "x.service"}, "", "reload-refused", "systemctl reload x.service shows whether it works by hand"},
		{"a command", &command.ExitError{}, "", "command-failed", byHand},
		{"another answer", &AnswerError{}, "", "control-no-answer", "see whether the service still does its work, and what its log says"},
		{"no channel", &UnreachableError{}, "", "control-unreachable", "see whether the service runs, and whether its control channel is the one configured for target web"},
		{"an address", database(&rows.AddressError{Remedy: "write another"}), "", "database-refused", "write another"},
		{"no row", database(&rows.NoRowError{}), "", "row-not-found", oneRow},
		{"two rows", database(&rows.ManyRowsError{}), "", "row-not-found", oneRow},
		{"another row", database(&rows.ChangedError{}), "", "row-changed", "see who else writes to the table; certlatch deploy --pending tries again"},
		{"a narrow row", database(&rows.TooLongError{}), "", "row-too-long", "let the column hold more, or have the client issue a shorter chain"},
		{"a database that somebody has locked", database(&rows.LockedError{Says: "database is locked"}), "", "database-locked", "see who holds the lock (fuser FILE), and end what has been left open; certlatch deploy --pending tries again"},
		{"a database and no shell", database(&command.NotStartedError{Program: "sqlite3", Err: errPlain}), "", "command-not-started", "install sqlite3, SQLite's own shell (Debian: apt install sqlite3; Fedora: dnf install sqlite)"},
		{"a database", database(context.DeadlineExceeded), "", "database-unreachable", "see whether the database runs, and whether certlatch may use it: SELECT and UPDATE on the table, and for SQLite the right to write to the directory of its file"},
		{"no program", &command.NotStartedError{Err: syscall.EROFS}, "", "command-not-started", "see whether the program is there and may be executed"},
		{"no process", &process.GoneError{}, "", "service-gone", "start the service; certlatch deploy --pending then tries again"},
		{"a slow command", &command.TimeoutError{Err: context.DeadlineExceeded}, "", "command-timeout", byHand},

		{"a bundle", &RefusedError{[]lineage.Finding{{Code: "key-mismatch", Remedy: "issue it again"}, {Code: "expired"}}}, "", "key-mismatch", "issue it again"},
		{"a known fault", fault("No TLS configuration"), "", "tls-config-missing", "give the module a file"},
		{"a fault that is known by a second part", fault("nameless"), "", "tls-config-rejected", "correct it"},
		{"a fault", fault("500"), "", "control-fault", "the service's log tells more; it goes on as before"},
		{"what is said afterwards", &ExpectError{Expect: deployers.Expect{Reason: "domain-dropped", Remedy: "look at the log"}}, "", "domain-dropped", "look at the log"},

		{"too little time", &OutOfTimeError{}, "", "out-of-time", later},
		{"no time", context.DeadlineExceeded, "", "out-of-time", later},
		{"a lease", disk.ErrLeased, "", "path-refused", "see who holds it: grep LEASE /proc/locks"},
		{"the state directory", &state.DirectoryError{Dir: "/state", Err: syscall.EROFS}, "", "install-failed",
			"mount the file system of /state writable (findmnt --target /state); in a unit of certlatch's own, certlatch config systemd lets it write there"},
		{"a file system that is not to be written to", onFile(syscall.EROFS), "", "install-failed",
			"in a unit of certlatch's own: certlatch config systemd; otherwise see how the file system is mounted (findmnt --target /etc/ssl)"},
		{"a file that is a mount", onFile(syscall.EBUSY), Commit, "install-failed", "see whether the file is a mount of its own (findmnt): mount its directory in place of it"},
		{"another file", &install.ChangedError{Path: "/etc/ssl/cert.pem"}, "", "install-failed", "see who else writes to /etc/ssl; certlatch deploy --pending tries again"},
		{"the state directory, for whatever reason", &state.DirectoryError{Dir: "/state", Err: onFile(errPlain)}, Stage, "install-failed", full},
		{"a full file system, before", onFile(syscall.ENOSPC), Stage, "install-failed", full},
		{"a full file system, then", onFile(syscall.ENOSPC), Commit, "install-failed", full},
		{"nobody knows where", errPlain, Commit, "install-failed", "see whether the file system is full or protected (df, lsattr -d)"},
		{"an activation", errPlain, Activate, "activation-failed", "see how the service is doing, then certlatch deploy --pending"},
		{"whatever else", errPlain, "", "unexpected", "this may be a fault of certlatch's; the log has the details"},
	}
}

var proof = state.Proof{Leaf: lineage.Leaf{Fingerprint: "0123456789abcdef"}, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}

func TestExplain(t *testing.T) {
	for _, e := range explanations() {
		steps := []Step{e.at}
		if e.at == "" {
			steps = []Step{Validate, Baseline, Test, Prove, Undo, Record}
		}
		if e.at == "" && e.reason != Unexpected { // what is known counts more than the step
			steps = append(steps, Stage, Commit, Activate)
		}
		for _, step := range steps {
			for _, err := range []error{e.err, fmt.Errorf("wrapped: %w", e.err)} {
				if reason, remedy := Explain(err, subject(step)); reason != e.reason || remedy != e.remedy {
					t.Errorf("%s at %s: %s: %s", e.name, step, reason, remedy)
				}
			}
		}
	}
}

// Where several things went wrong, what is first in the table is told, in
// whichever order they are joined. Of one type, and of those that explain
// themselves, it is the first of the error.
func TestExplainJoined(t *testing.T) {
	rank := func(e explained) string {
		if _, is := e.err.(Explained); is {
			return "explains itself"
		}
		return fmt.Sprintf("%T", e.err)
	}
	var all []explained
	for _, e := range explanations() {
		if e.at == "" {
			all = append(all, e)
		}
	}
	for i, first := range all {
		for _, second := range all[i+1:] {
			either := []error{errors.Join(first.err, second.err), errors.Join(second.err, first.err)}
			if rank(first) == rank(second) {
				either = either[:1]
			}
			for _, err := range either {
				if reason, remedy := Explain(err, subject(Prove)); reason != first.reason || remedy != first.remedy {
					t.Errorf("%s and %s: %s: %s", first.name, second.name, reason, remedy)
				}
			}
		}
	}
}

// TestExplainDynamic wants nobody to be told to make a user or group that systemd
// makes, nor to let one read that is somebody else later.
func TestExplainDynamic(t *testing.T) {
	reader := deployers.Account{User: "web", Dynamic: true}
	for _, err := range []error{&account.UnknownError{Kind: "group", Name: "web"}, &command.UnreadableError{User: "web", At: "/etc/ssl/key.pem"}} {
		_, remedy := Explain(err, Subject{Target: "web", Plan: deployers.Plan{Reader: reader}})
		if !strings.Contains(remedy, "LoadCredential=") || strings.Contains(remedy, "create it") {
			t.Errorf("%v: %s", err, remedy)
		}
	}
	reader.Group = "certs"
	for err, want := range map[error]string{
		&account.UnknownError{Kind: "group", Name: "other"}:           "create it",
		&command.UnreadableError{User: "web", At: "/etc/ssl/key.pem"}: "set group:",
	} {
		if _, remedy := Explain(err, Subject{Target: "web", Plan: deployers.Plan{Reader: reader}}); !strings.Contains(remedy, want) {
			t.Errorf("%v: %s", err, remedy)
		}
	}
}

// A table of reasons is of use only where each is in it once, and is reached.
func TestReasons(t *testing.T) {
	want := map[Reason]Class{ // of those that no error has
		FirstInstall: ClassWaiting, AddressNotHere: ClassWaiting, NetworkApart: ClassWaiting, OutsideWindow: ClassWaiting, OtherHost: ClassWaiting, Interrupted: ClassWaiting, Marked: ClassWaiting,
		HeldByHand: ClassOK, HeldByRollback: ClassOK, NotOurs: ClassOK, NotCarried: ClassOK,
	}
	for _, e := range explanations() {
		if _, explains := e.err.(Explained); !explains || e.reason == ControlFault {
			want[e.reason] = e.reason.class()
		}
	}
	got := map[Reason]Class{}
	for _, row := range Reasons() {
		if _, twice := got[row.Reason]; twice {
			t.Errorf("%s is there twice", row.Reason)
		}
		got[row.Reason] = row.Class
	}
	if !maps.Equal(got, want) {
		t.Errorf("the table is\n%v, and errors, waits and notes have\n%v", got, want)
	}
}

func TestErrors(t *testing.T) {
	query := deployers.Query{Channel: deployers.Channel{Address: "/run/ctl"}, Method: "tls.reload"}
	for _, test := range []struct {
		err  error
		want string
	}{
		{&LineageMissingError{Lineage: "web.example", Config: "/etc/certlatch.yaml"}, "no client keeps a lineage web.example"},
		{&AmbiguousError{lineage.Lineage{Client: "certbot", Name: "a"}, lineage.Lineage{Client: "lego", Name: "a"}}, "both certbot:a and lego:a match"},
		{&RefusedError{[]lineage.Finding{{Detail: "it is old"}, {Detail: "it is short"}}}, "it is old"},
		{&StuckError{errPlain}, "an earlier run was cut off, and the previous pair cannot be put back: plain"},
		{&ConfigError{errPlain}, "plain"},
		{&NoNameError{Probe: "tls://127.0.0.1:443"}, "probe tls://127.0.0.1:443 names no host and every name of the leaf is a wildcard"},
		{&NoProbeError{Target: "web"}, "no TLS listener of the service completed a handshake, so nothing could prove that the new certificate is served"},
		{&NoProbeError{Target: "web", Away: errPlain}, "no TLS listener of the service completed a handshake, so nothing could prove that the new certificate is served; plain"},
		{NoListenerError{}, "the service has no TLS listener that could be probed"},
		{&OutOfTimeError{}, "too little of the run's time was left to begin with this service"},
		{&SystemdError{errPlain}, "plain"},
		{&DatabaseError{errPlain}, "plain"},
		{&TestError{Program: "nginx", Err: errPlain, Before: true}, "the service's own test (nginx) fails, and did so before anything was touched: plain"},
		{&TestError{Program: "nginx", Err: errPlain}, "the service's own test (nginx) rejected the new files: plain"},
		{&FaultError{Query: query, Text: "500"}, "tls.reload at /run/ctl: 500"},
		{&AnswerError{query, deployers.Answer{Err: "no answer"}}, "tls.reload at /run/ctl: no answer"},
		{&AnswerError{query, deployers.Answer{Reply: strings.Repeat("x", 201)}}, "tls.reload at /run/ctl: the answer is \"" + strings.Repeat("x", 200) + `"`},
		{&ExpectError{deployers.Expect{Query: query, Says: "it is gone"}, deployers.Answer{}}, "tls.reload at /run/ctl: it is gone"},
		{&ExpectError{deployers.Expect{Query: query, Says: "it is gone"}, deployers.Answer{Err: "no answer"}}, "tls.reload at /run/ctl: no answer"},
		{&ExpectError{deployers.Expect{Query: query, Says: "it is gone"}, deployers.Answer{Fault: "500"}}, "tls.reload at /run/ctl: 500"},
		{&UnreachableError{[]string{"one", "two"}}, "one; two"},
		{&UnprovenError{What: "it is not served"}, "it is not served"},
		{&OutageError{Err: errPlain}, "plain"},
		{&CrashedError{"it died", true}, "it died; it serves the new certificate now, but sessions were lost"},
		{&CrashedError{"it died", false}, "it died; it does not serve the new certificate"},
		{&WaitError{Detail: "it waits"}, "it waits"},
		{EndangersError("mail.example", errPlain, deployers.Activation{Way: deployers.ReloadUnit, Unit: "x.service"}),
			"mail.example is served now and could not be loaded again (plain); to reload x.service would take its TLS away"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%T: %s", test.err, got)
		}
	}
	for _, wraps := range []error{&StuckError{errPlain}, &DatabaseError{errPlain}, &OutageError{Err: errPlain}} {
		if !errors.Is(wraps, errPlain) {
			t.Errorf("%T hides its cause", wraps)
		}
	}
}

func TestLookAtService(t *testing.T) {
	want := "see why the service completes no TLS handshake (its log); it served 01234567 when it was proven at 2026-01-02T03:04:05Z"
	if got := LookAtService("", proof); got != want {
		t.Errorf("got %s", got)
	}
}

func TestNotCarriedFinding(t *testing.T) {
	got := NotCarriedFinding(install.NotCarried{Target: "web", Lineage: "a", Path: "/ssl/key.pem", Names: []string{disk.ACLName, "user.x"}})
	want := lineage.Finding{
		Code: "attributes-not-carried", Severity: lineage.Warned,
		Detail: "/ssl/key.pem: an ACL, user.x could have been set by another user, who owns, or may write to, a directory on the way; it is not carried over to new files",
		Remedy: "write who else may read the files into acl: of target web, or let root own the directories and the file",
	}
	if got != want {
		t.Errorf("got %+v", got)
	}
}

// TestWaits is about what is to be done where files stay without being served.
func TestWaits(t *testing.T) {
	const later = "certlatch deploy --pending activates it then"
	for _, test := range []struct {
		reason      Reason
		result      Result
		remedy      string
		atAnyTime   bool // it is worth looking again at any time
		forSomebody bool
	}{
		{Reason(deployers.ServiceInactive), Deferred, "systemctl start nginx.service; certlatch deploy --pending then proves it", true, true},
		{Reason(deployers.RestartNotAllowed), WaitingRestart, "restart nginx.service when it suits, or set allow_restart: true for target web", true, true},
		{Reason(deployers.SharedMemoryLow), WaitingRestart, later, true, true},
		{Reason(deployers.NothingToDo), Deferred, later, false, false},
		{OtherHost, Deferred, "correct what is named, then certlatch deploy --pending; any other reload of nginx.service takes the new pair too, at that price", true, true},
		{FirstInstall, Deferred, "let the service's configuration name /etc/ssl/cert.pem (certlatch template nginx --target web prints the lines), and reload it; certlatch deploy --pending then proves it", true, true},
		{OutsideWindow, Deferred, "certlatch deploy --pending activates it then, and with --now at once", false, true},
	} {
		wait := &WaitError{Reason: test.reason, Detail: "it waits"}
		got := Of(About{Target: "web", Generation: "g1", Plan: subject(Prove).Plan}, Waits{For: wait})
		want := Outcome{Target: "web", Generation: "g1", Result: test.result, Reason: test.reason, Detail: "it waits", Remedy: test.remedy}
		if !equal(got, want) {
			t.Errorf("%s: %+v", test.reason, got)
		}
		if got := test.reason.WaitsForService(); got != test.atAnyTime {
			t.Errorf("%s is waited for: %v", test.reason, got)
		}
		if got := test.reason.WaitsForSomebody(); got != test.forSomebody {
			t.Errorf("%s is waited for: %v", test.reason, got)
		}
		if got := got.Class(); got != ClassWaiting {
			t.Errorf("%s is of class %d", test.reason, got)
		}
	}

	of := subject(Prove)
	of.Plan.Activate.Unit = ""
	if got := (&WaitError{Reason: Reason(deployers.ServiceInactive)}).Remedy(of); got != "start the service; certlatch deploy --pending then proves it" {
		t.Errorf("without a unit: %s", got)
	}
	first := "let the service's configuration name certificate, and reload it; certlatch deploy --pending then proves it"
	of.Plan.Row = &deployers.Row{}
	if got := (&WaitError{Reason: FirstInstall}).Remedy(of); got != first {
		t.Errorf("in a row: %s", got)
	}
	of.Plan.Row, of.Plan.Files, of.Plan.Service = nil, nil, "generic"
	if got := (&WaitError{Reason: FirstInstall}).Remedy(of); got != first {
		t.Errorf("without files: %s", got)
	}

	wait := WaitFor(deployers.Activation{Wait: deployers.SharedMemoryLow, Why: "it is short", Remedy: "restart it"})
	if want := (WaitError{Reason: "shared-memory-low", Detail: "it is short", Cure: "restart it"}); *wait != want {
		t.Errorf("got %+v", wait)
	}
	if got := wait.Remedy(subject(Prove)); got != "restart it" {
		t.Errorf("its own remedy is %s", got)
	}
}
