package outcome

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

func equal(a, b Outcome) bool { return reflect.DeepEqual(a, b) }

// TestNotOurs wants what is served from elsewhere to be said once, and of a pair that is
// served alone.
func TestNotOurs(t *testing.T) {
	n := deployers.NotOurs{File: "/c.pem", Says: "nothing names it", Remedy: "name it"}
	about := About{Plan: deployers.Plan{NotOurs: &n, Checks: []deployers.Check{n.Check()}}, Notes: []string{"before", n.Check().String(), "after"}}
	for _, test := range []struct {
		ending Ending
		reason Reason
		notes  []string
	}{
		{Served{}, NotOurs, []string{"before", "after"}},
		{NothingToDo{}, NotOurs, []string{"before", "after"}},
		{Waits{For: &WaitError{Reason: FirstInstall, Detail: "nothing serves it"}}, FirstInstall, about.Notes},
		{Failure{Prove, errPlain}, Unexpected, about.Notes},
		{DryRun{about.Plan}, "", about.Notes},
	} {
		o := Of(about, test.ending)
		if o.Reason != test.reason || !slices.Equal(o.Notes, test.notes) || o.NotOurs != &n {
			t.Errorf("%T: %+v", test.ending, o)
		}
		if told := o.Detail == n.Says && o.Remedy == n.Remedy; told != (test.reason == NotOurs) {
			t.Errorf("%T: %q; %q", test.ending, o.Detail, o.Remedy)
		}
	}
}

// TestOf is about what every ending comes to.
func TestOf(t *testing.T) {
	about := About{
		Target: "web", Lineage: "web.example", Service: "nginx", Plan: subject(Prove).Plan,
		Previous: &lineage.Leaf{Fingerprint: "1"}, New: &lineage.Leaf{Fingerprint: "2"}, Generation: "g2",
		Findings: []lineage.Finding{{Code: "short"}}, Notes: []string{"noted"}, Steps: []StepTaken{{Step: Validate}},
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	waitsNow := &WaitError{Reason: Reason(deployers.SharedMemoryLow), Detail: "it is short", Cure: "restart it"}
	const putBack = "; the previous pair is in place again and not reloaded: "
	const look = "look at once: compare what is installed and served (certlatch probe), then certlatch rollback web"
	const crashed = "find out why (journalctl), then certlatch release web; nothing is deployed to it until then"
	const seeService = "see how the service is doing, then certlatch deploy --pending"
	const notProven = "see which files the service's configuration names, and whether the probe reaches that service"
	const once = "; the service is not restarted again for this certificate until certlatch deploy --target web says so"
	joined := errors.Join(errPlain, waitsNow)
	for _, test := range []struct {
		name   string
		ending Ending
		want   Outcome
		class  Class
	}{
		{"served", Served{}, Outcome{Result: Deployed, Generation: "g2"}, ClassOK},
		{"unchanged", NothingToDo{}, Outcome{Result: Unchanged, Generation: "g2"}, ClassOK},
		{"held", OnHold{state.Hold{Reason: "by-hand", Since: since}},
			Outcome{Result: Held, Reason: "by-hand", Detail: "held since 2026-01-02T03:04:05Z", Remedy: "certlatch release web lets it be deployed to again"}, ClassOK},
		{"by another run", ByAnother{state.Failure{Result: "rolled-back", Reason: "reload-failed", Step: "activate", Detail: "no", Remedy: "look"}},
			Outcome{Result: RolledBack, Reason: ReloadFailed, At: Activate, Detail: "no", Remedy: "look"}, ClassActivation},
		{"planned", DryRun{deployers.Plan{Target: "web", Activate: deployers.Activation{Way: deployers.ReloadUnit, Why: "so"}}},
			Outcome{Result: Planned, Plan: &deployers.Plan{Target: "web", Activate: deployers.Activation{Way: deployers.ReloadUnit, Why: "so"}}}, ClassOK},
		{"planned, and not activated", DryRun{deployers.Plan{Activate: deployers.Activation{Way: deployers.NoWay, Wait: deployers.OutsideUnit, Why: "it runs outside", Remedy: "end it"}}},
			Outcome{Result: Planned, Detail: "it runs outside", Remedy: "end it", Plan: &deployers.Plan{Activate: deployers.Activation{Way: deployers.NoWay, Wait: deployers.OutsideUnit, Why: "it runs outside", Remedy: "end it"}}}, ClassOK},
		{"planned, with nothing to activate", DryRun{deployers.Plan{Activate: deployers.Activation{Way: deployers.NoWay, Wait: deployers.NothingToDo, Why: "it takes them"}}},
			Outcome{Result: Planned, Detail: "it takes them", Plan: &deployers.Plan{Activate: deployers.Activation{Way: deployers.NoWay, Wait: deployers.NothingToDo, Why: "it takes them"}}}, ClassOK},

		{"invalid", Failure{Validate, &ConfigError{errPlain}},
			Outcome{Result: Failed, Reason: Configuration, At: Validate, Detail: "plain", Remedy: "correct the configuration; certlatch config check looks at it"}, ClassUsage},
		{"refused", Failure{Validate, &RefusedError{[]lineage.Finding{{Code: "expired", Detail: "it is old", Remedy: "renew it"}}}},
			Outcome{Result: Refused, Reason: "expired", At: Validate, Detail: "it is old", Remedy: "renew it"}, ClassRefused},
		{"stuck", Failure{Commit, &StuckError{errPlain}},
			Outcome{Result: RollbackFailed, Reason: NotRecovered, At: Commit, Detail: (&StuckError{errPlain}).Error(), Remedy: (&StuckError{}).Remedy("web")}, ClassUndoFailed},
		{"a crash", Crashed{Err: &CrashedError{What: "it died"}},
			Outcome{Result: Failed, Reason: ServiceCrashed, At: Prove, Detail: "it died; it does not serve the new certificate", Remedy: crashed}, ClassUndoFailed},
		{"a crash after which it is served", Crashed{&CrashedError{"it died", true}, true},
			Outcome{Result: Failed, Reason: ServiceCrashed, At: Prove, Generation: "g2", Detail: "it died; it serves the new certificate now, but sessions were lost", Remedy: crashed}, ClassUndoFailed},

		{"undone", Undone{At: Activate, Cause: errPlain, Back: true},
			Outcome{Result: RolledBack, Reason: ActivationFailed, At: Activate, Detail: "plain", Remedy: seeService}, ClassActivation},
		{"undone, after a restart", Undone{At: Prove, Cause: &UnprovenError{What: "no"}, Back: true, Restarted: true},
			Outcome{Result: RolledBack, Reason: NotProven, At: Prove, Detail: "no", Remedy: notProven + once, Once: true}, ClassNotProven},
		{"not undone, after a restart", Undone{At: Prove, Cause: &UnprovenError{What: "no"}, Back: true, Err: errPlain, Restarted: true},
			Outcome{Result: RollbackFailed, Reason: NotProven, At: Prove, Detail: "no; going back failed: plain", Remedy: look + once, Once: true}, ClassUndoFailed},
		{"waiting, after a restart", Waits{&WaitError{Reason: OutsideWindow, Detail: "it waits"}, true},
			Outcome{Result: Deferred, Reason: OutsideWindow, Generation: "g2", Detail: "it waits", Remedy: "certlatch deploy --pending activates it then, and with --now at once" + once, Once: true}, ClassWaiting},
		{"restarted in vain before", ByAnother{state.Failure{Result: "rolled-back", Reason: "not-proven", Step: "prove", Detail: "no", Remedy: "look", Once: true}},
			Outcome{Result: RolledBack, Reason: NotProven, At: Prove, Detail: "no", Remedy: "look", Once: true}, ClassNotProven},
		{"undone, with the pair of an earlier run", Undone{At: Prove, Cause: &UnprovenError{What: "no"}},
			Outcome{Result: Failed, Reason: NotProven, At: Prove, Detail: "no", Remedy: notProven}, ClassNotProven},
		{"not undone", Undone{At: Activate, Cause: errPlain, Back: true, Lost: errors.New("lost"), Err: errors.New("no proof")},
			Outcome{Result: RollbackFailed, Reason: ActivationFailed, At: Activate, Detail: "plain; going back failed: lost\nno proof", Remedy: look}, ClassUndoFailed},
		{"lost", Undone{At: Activate, Cause: errPlain, Back: true, Lost: errors.New("lost")},
			Outcome{Result: RollbackFailed, Reason: ActivationFailed, At: Activate, Detail: "plain; going back failed: lost", Remedy: look}, ClassUndoFailed},
		{"back, and not proven", Undone{At: Activate, Cause: errPlain, Err: errors.New("no proof")},
			Outcome{Result: RollbackFailed, Reason: ActivationFailed, At: Activate, Detail: "plain; going back failed: no proof", Remedy: look}, ClassUndoFailed},
		{"back, and not to be activated", Undone{At: Activate, Cause: errPlain, Back: true, Err: joined},
			Outcome{Result: RollbackFailed, Reason: "shared-memory-low", At: Activate, Detail: "plain" + putBack + "plain\nit is short", Remedy: "restart it"}, ClassUndoFailed},
		{"lost, and not to be activated", Undone{At: Activate, Cause: errPlain, Back: true, Lost: errors.New("lost"), Err: waitsNow},
			Outcome{Result: RollbackFailed, Reason: ActivationFailed, At: Activate, Detail: "plain; going back failed: lost\nit is short", Remedy: look}, ClassUndoFailed},
		{"not kept", Undone{At: Record, Cause: errPlain, Back: true},
			Outcome{Result: Failed, Reason: Unexpected, At: Record, Detail: "plain", Remedy: "this may be a fault of certlatch's; the log has the details"}, ClassUnexpected},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := test.want
			want.Target, want.Lineage, want.Service = about.Target, about.Lineage, about.Service
			want.Previous, want.New, want.Findings, want.Notes, want.Steps = about.Previous, about.New, about.Findings, about.Notes, about.Steps
			got := Of(about, test.ending)
			if !equal(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			if class := got.Class(); class != test.class {
				t.Errorf("it is of class %d", class)
			}
		})
	}
}

// At which step something fails decides whether there was anything to put back.
func TestFailureAtSteps(t *testing.T) {
	for step, want := range map[Step]Result{
		Validate: Failed, Baseline: Failed, Stage: Failed, Record: Failed,
		Commit: RolledBack, Test: RolledBack, Activate: RolledBack, Prove: RolledBack,
	} {
		if got := Of(About{}, Failure{step, errPlain}).Result; got != want {
			t.Errorf("at %s it is %s", step, got)
		}
	}
}

// TestClass is about how grave failures are: by their step, but for what says
// more than that.
func TestClass(t *testing.T) {
	bySteps := map[Step]Class{
		"": ClassUsage, Validate: ClassUsage, Baseline: ClassUsage, Undo: ClassUsage, Record: ClassUsage,
		Stage: ClassInstall, Commit: ClassInstall, Test: ClassActivation, Activate: ClassActivation, Prove: ClassNotProven,
	}
	always := map[Reason]Class{ServiceCrashed: ClassUndoFailed, Outage: ClassNotProven, Interrupted: ClassWaiting}
	unexpected := []Reason{Unexpected, SystemdDown, DatabaseDown, DatabaseLocked, OutOfTime}
	reasons := []Reason{"", "tls-config-missing", "expired"}
	for _, row := range Reasons() {
		reasons = append(reasons, row.Reason)
	}
	byResults := map[Result]Class{
		Deployed: ClassOK, Unchanged: ClassOK, Held: ClassOK, Planned: ClassOK, Refused: ClassRefused,
		Deferred: ClassWaiting, WaitingRestart: ClassWaiting, RollbackFailed: ClassUndoFailed,
	}
	for step, byStep := range bySteps {
		for _, reason := range reasons {
			for result, want := range byResults {
				if got := (Outcome{Result: result, Reason: reason, At: step}).Class(); got != want {
					t.Errorf("%s (%s) at %q is of class %d", result, reason, step, got)
				}
			}
			for _, result := range []Result{Failed, RolledBack} {
				want := byStep
				if class, is := always[reason]; is {
					want = class
				} else if result == Failed && slices.Contains(unexpected, reason) {
					want = ClassUnexpected
				}
				if got := (Outcome{Result: result, Reason: reason, At: step}).Class(); got != want {
					t.Errorf("%s (%s) at %q is of class %d", result, reason, step, got)
				}
			}
		}
	}
}

// TestQuestions is about what is asked of outcomes.
func TestQuestions(t *testing.T) {
	for result, want := range map[Result]struct{ retriable, installed, happened bool }{
		Deployed: {false, true, true}, Unchanged: {false, false, false}, Refused: {false, false, true}, RolledBack: {true, false, true},
		RollbackFailed: {false, false, true}, WaitingRestart: {false, true, true}, Deferred: {false, true, true}, Held: {false, false, false},
		Failed: {true, false, true}, Planned: {false, false, true},
	} {
		o := Outcome{Result: result}
		if o.Retriable() != want.retriable || o.Installed() != want.installed || o.Happened() != want.happened {
			t.Errorf("%s: retriable %v, installed %v, happened %v", result, o.Retriable(), o.Installed(), o.Happened())
		}
		if o.Reason = ServiceCrashed; o.Retriable() {
			t.Errorf("%s, and the service crashed: it is tried again", result)
		}
	}
}

// What is added to an outcome makes another, and changes none.
func TestOutcomesAreValues(t *testing.T) {
	steps, notes := make([]StepTaken, 1, 5), make([]string, 1, 5)
	o := Outcome{Target: "web", Steps: steps, Notes: notes}
	a, b := o.After(StepTaken{Step: Prove}), o.After(StepTaken{Step: Undo})
	if len(o.Steps) != 1 || len(a.Steps) != 2 || a.Steps[1].Step != Prove || b.Steps[1].Step != Undo {
		t.Errorf("steps are %v, %v, %v", o.Steps, a.Steps, b.Steps)
	}
	c, d := o.Noting("one"), o.Noting("two")
	if len(o.Notes) != 1 || len(c.Notes) != 2 || c.Notes[1] != "one" || d.Notes[1] != "two" {
		t.Errorf("notes are %v, %v, %v", o.Notes, c.Notes, d.Notes)
	}

	forgotten := o.Forgotten()
	if want := "this could not be noted in the state directory; it is looked at again"; forgotten.Notes[1] != want || forgotten.Detail != "" {
		t.Errorf("forgotten is %+v", forgotten)
	}
	crashed := Outcome{Target: "web", Reason: ServiceCrashed, Detail: "it died", Remedy: "find out"}.Forgotten()
	want := Outcome{
		Target: "web", Reason: ServiceCrashed, Detail: "it died; that the target is held could not be noted",
		Remedy: "certlatch hold web, as soon as the state directory can be written to; find out",
	}
	if !equal(crashed, want) {
		t.Errorf("forgotten is %+v", crashed)
	}
}

// TestLongDetail wants what an error says at length to be cut, between two
// characters.
func TestLongDetail(t *testing.T) {
	for _, long := range []string{strings.Repeat("x", 5000), "x" + strings.Repeat("ü", 2500)} {
		o := Of(About{}, Failure{Prove, errors.New(long)})
		begins, more, cut := strings.Cut(o.Detail, " ... and ")
		if !cut || !strings.HasPrefix(long, begins) || len(begins) < 3999 || len(begins) > 4000 || more != fmt.Sprintf("%d bytes more", len(long)-len(begins)) {
			t.Errorf("%.20q comes to %d bytes, and %q", long, len(begins), more)
		}
	}
	exact := strings.Repeat("x", 4000)
	if o := Of(About{}, Failure{Prove, errors.New(exact)}); o.Detail != exact {
		t.Error("what is not too long is cut")
	}
}
