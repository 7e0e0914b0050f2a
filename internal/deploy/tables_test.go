package deploy

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/systemd"
)

// This file has the ways of a deployment, each a row.

// way is one way of a deployment of a service's lineages. What becomes of them is
// alike, or told apart by " | ".
type way struct {
	name  string
	on    on     // what happens; all else goes well
	want  string // the result, its reason, and the step at which it failed
	steps string // the first letters of the steps taken; a capital failed
	told  string // what the service was told, in order
	left  string // what is installed, shown and proven in the end, and whether it is tried again, alone if it was one of many
	says  string // what is in the words of the outcome, or is "not: "
}

// deploysAs deploys what is in a world and compares it with what is wanted of each
// of its lineages.
func (w *world) deploysAs(want way) {
	w.t.Helper()
	w.on = want.on
	became := w.deploy()
	if len(became) != len(w.names) {
		w.t.Fatalf("%d of %d lineages came to an end", len(became), len(w.names))
	}
	if len(w.names) == 1 {
		want.left = strings.TrimSuffix(want.left, " alone")
	}
	nth := func(all string, i int) string { // of what is alike for all, or told apart
		each := strings.Split(all, " | ")
		return each[min(i, len(each)-1)]
	}
	told := strings.Join(w.told, ", ")
	for i, e := range became {
		got := way{want: verdict(e.outcome), steps: stepsOf(e.outcome), left: w.left(e.outcome.Lineage)}
		wanted := way{want: nth(want.want, i), steps: nth(want.steps, i), left: nth(want.left, i), says: nth(want.says, i)}
		if got.want != wanted.want || got.steps != wanted.steps || told != want.told || got.left != wanted.left {
			w.t.Errorf("%s came to\n%q, %q, %q, %q, and not\n%q, %q, %q, %q\n%s", e.outcome.Lineage,
				got.want, got.steps, told, got.left, wanted.want, wanted.steps, want.told, wanted.left, words(e.outcome))
		}
		stays := e.outcome.Installed() || strings.Contains(got.want, "crashed") && strings.HasPrefix(got.left, "new") && w.on["keep"] == nil && w.on["undo"] == nil
		if (e.outcome.Generation != "") != stays {
			w.t.Errorf("%s has the generation %q", e.outcome.Lineage, e.outcome.Generation)
		}
		says, not := strings.CutPrefix(wanted.says, "not: ")
		if all := words(e.outcome); strings.Contains(all, says) == not {
			w.t.Errorf("%s says %s, and should say %s", e.outcome.Lineage, all, wanted.says)
		}
	}
}

// words are what an outcome says to people.
func words(o outcome.Outcome) string {
	all := append([]string{o.Detail, o.Remedy}, o.Notes...)
	for _, f := range o.Findings {
		all = append(all, f.Detail, f.Remedy)
	}
	return strings.Join(all, "; ")
}

// errors of what a deployment works with
var (
	errFull = syscall.ENOSPC
)

func jobEnded(result string) error {
	return &systemd.JobError{Unit: "web.service", Verb: "reload", Result: result}
}

// never is a job that does not end.
func never(ctx context.Context, _ *world) error {
	<-ctx.Done()
	return &systemd.NeverEndedError{Unit: "web.service", Verb: "reload", Err: context.Cause(ctx)}
}

// dies lets the service restart by itself.
func dies(w *world) { w.unit.NRestarts++; w.unit.InvocationID += "x" }

// crash is an activation that the service dies of, after it has taken what is
// installed.
func crash(_ context.Context, w *world) error { dies(w); return nil }

// isRestarted lets somebody else restart the service.
func isRestarted(w *world) { w.unit.InvocationID += "x"; w.unit.MainPID++ }

// ends lets somebody else stop the service, which takes forever.
func ends(w *world) {
	w.unit.ActiveState, w.unit.SubState, w.unit.MainPID = "deactivating", "stop-sigterm", 0
}

// goesSilent lets nothing be served from now on.
func goesSilent(_ context.Context, w *world) error { w.silence(); return errIgnored }

// showsAnother lets the service show a certificate that nobody knows.
func showsAnother(_ context.Context, w *world) error {
	for _, name := range w.names {
		w.shown[tlsAt(443, name).String()] = w.issued.ca.Cert
	}
	return nil
}

// flickers lets the service show the old certificates every fourth time, as where
// some of its processes go on with them.
func flickers(_ context.Context, w *world) error { w.take(); w.flickers = true; return errIgnored }

// late lets the service take what is installed a while after it was told.
func late(long time.Duration) hook {
	return func(_ context.Context, w *world) error {
		w.takesAt = time.Now().Add(long)
		return errIgnored
	}
}

func settles(_ context.Context, w *world) error { w.flickers = false; return nil }

// forEach runs a test of every way in files and in rows, of one lineage and of
// many.
func forEach(t *testing.T, ways []way, prepare func(*world)) {
	issued := issue(t)
	for _, way := range ways {
		for _, many := range []int{1, 3} {
			for _, inRow := range []bool{false, true} {
				name := way.name + " of " + map[bool]string{false: "files", true: "rows"}[inRow]
				if many > 1 {
					name += ", many"
				}
				t.Run(name, func(t *testing.T) {
					inWorld(t, issued, many, func(w *world) {
						w.inRow = inRow
						prepare(w)
						w.deploysAs(way)
					})
				})
			}
		}
	}
}

var (
	exit    = &command.ExitError{Program: "web", Code: 1}
	lost    = &pairs.LostError{Err: syscall.EIO}
	notKept = &install.NotKeptError{Err: syscall.EIO}
	restore = &install.RestoreError{Err: syscall.EIO}
)

// TestReplaced is about renewals of what is proven.
func TestReplaced(t *testing.T) {
	passed := after(func(w *world) { w.plan.Test.Passed = true })
	forEach(t, []way{
		{"all is well", nil, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"too little time is left", on{"begin": lasts(53 * time.Second)}, "failed (out-of-time) at baseline", "Br", "", "old old old again", ""},
		{"just enough time is left", on{"begin": lasts(51 * time.Second)}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"systemd is gone", on{"unit": fails(&outcome.SystemdError{Err: errors.New("no bus")})}, "failed (systemd-unreachable) at baseline", "Br", "", "old old old again", ""},
		{"nothing can be staged", on{"stage": fails(errFull)}, "failed (install-failed) at stage", "bSr", "", "old old old again", ""},
		{"it cannot be committed", on{"commit": fails(errFull)}, "rolled-back (install-failed) at commit", "bsCur", "", "old old old again", ""},
		{"it cannot be put back either", on{"commit": fails(errFull), "undo": fails(lost)}, "rollback-failed (install-failed) at commit", "bsCUr", "", "old old old again", ""},
		{"it was begun and cannot be put back", on{"commit": wellBut(restore)}, "rollback-failed (install-failed) at commit", "bsCUr", "", "new old old again", ""},
		{"its own test fails", on{"test 2": fails(exit)}, "rolled-back (test-failed) at test", "bscTur", "", "old old old again alone", ""},
		{"its own test fails as before", on{"test": fails(exit)}, "rolled-back (test-failed-before) at test", "bscTur", "", "old old old again", ""},
		{"its own test passed already, and fails now", on{"before": passed, "test 1": fails(exit)}, "rolled-back (test-failed) at test", "bscTur", "", "old old old again alone", ""},
		{"its own test passed already, and is not run twice", on{"before": passed, "test 2": fails(exit)}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"its own test failed before", on{"test 1": fails(exit)}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"its own test fails, and no way back", on{"test 2": fails(exit), "undo": fails(lost)}, "rollback-failed (test-failed) at test", "bscTUr", "", "new old old again", ""},
		{"its own test fails, and something is left", on{"test 2": fails(exit), "undo": wellBut(&install.LeftError{})}, "rolled-back (test-failed) at test", "bscTur", "", "old old old again alone", ""},

		{"the job fails", on{"tell": fails(jobEnded("failed"))}, "rolled-back (reload-failed) at activate", "bsctAur", "reload", "old old old again alone", ""},
		{"the job fails, and it took it", on{"tell 1": wellBut(jobEnded("failed"))}, "rolled-back (reload-failed) at activate", "bsctAur", "reload, reload", "old old old again alone", ""},
		{"the job fails, and it took it for good", on{"tell 1": wellBut(jobEnded("failed")), "tell 2": fails(jobEnded("failed"))}, "rollback-failed (reload-failed) at activate", "bsctAUr", "reload, reload", "old new old again", ""},
		{"the job times out", on{"tell": fails(jobEnded("timeout"))}, "rolled-back (reload-timeout) at activate", "bsctAur", "reload, reload", "old old old again alone", ""},
		{"the job is refused", on{"tell": fails(&systemd.RefusedError{Unit: "web.service", Verb: "reload", Err: errors.New("no")})}, "rolled-back (reload-refused) at activate", "bsctAur", "reload", "old old old again alone", ""},
		{"the connection is lost", on{"tell": fails(&systemd.GoneError{Unit: "web.service", Verb: "reload"})}, "rolled-back (systemd-unreachable) at activate", "bsctAur", "reload, reload", "old old old again alone", ""},
		{"the job never ends", on{"tell": never}, "rolled-back (job-never-ended) at activate", "bsctAur", "reload, reload", "old old old again alone", ""},
		{"it has stopped meanwhile", on{"tell": fails(jobEnded("invalid"))}, "deferred (service-inactive)", "bsctar", "reload", "new old old again", ""},
		{"nobody knows", on{"tell": fails(errors.New("no"))}, "rolled-back (activation-failed) at activate", "bsctAur", "reload, reload", "old old old again alone", ""},
		{"nobody knows, and no way back", on{"tell": fails(errors.New("no")), "undo": fails(lost)}, "rollback-failed (activation-failed) at activate", "bsctAUr", "reload", "new old old again", ""},

		{"nothing is taken", on{"tell": ignored()}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old old old again", "not: it answered no handshake before"},
		{"nothing is taken, and no way back", on{"tell": ignored(), "undo": fails(lost)}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload", "new old old again", ""},
		{"nothing is served any more", on{"tell": goesSilent}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload, reload", "old - old again", ""},
		{"nothing is served until it is undone", on{"tell 1": goesSilent}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old old old again", ""},
		{"nothing is taken, nor back", on{"tell 1": ignored(), "tell 2": fails(errors.New("no"))}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old old old again", ""},
		{"nothing is served, nor back", on{"tell 1": goesSilent, "tell 2": fails(errors.New("no"))}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload, reload", "old - old again", ""},

		{"it dies and serves it", on{"tell": crash}, "failed (service-crashed) at prove", "bsctaPr", "reload", "new new old never", ""},
		{"it dies and serves nothing", on{"tell": sequence(crash, goesSilent)}, "failed (service-crashed) at prove", "bsctaPr", "reload", "old - old never", ""},
		{"it dies and serves the old one", on{"tell": sequence(crash, ignored())}, "failed (service-crashed) at prove", "bsctaPr", "reload", "old old old never", ""},
		{"it dies, and no way back", on{"tell": sequence(crash, ignored()), "undo": fails(lost)}, "failed (service-crashed) at prove", "bsctaPr", "reload", "new old old never", ""},
		{"it dies and cannot be kept", on{"tell": crash, "keep": fails(notKept)}, "failed (service-crashed) at prove", "bsctaPr", "reload", "new new old never", ""},
		{"it dies of a job that fails", on{"tell": sequence(crash, fails(jobEnded("failed")))}, "failed (service-crashed) at prove", "bsctAr", "reload", "old old old never", ""},
		{"it dies during the proof", on{"prove": crash}, "failed (service-crashed) at prove", "bsctaPr", "reload", "new new old never", ""},
		{"it died before it was told", on{"stage": crash}, "failed (service-crashed) at prove", "bsctaPr", "reload", "new new old never", ""},
		{"somebody restarts it", on{"tell": after(isRestarted)}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"somebody restarts it during the proof", on{"prove 1": after(isRestarted)}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"somebody restarts it and the job fails", on{"tell": sequence(after(isRestarted), fails(jobEnded("failed")))}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old old old again", ""},
		{"somebody ends it", on{"tell": sequence(after(ends), goesSilent)}, "deferred (service-inactive)", "bsctapr", "reload", "new - old again", ""},
		{"somebody ends it and the job fails", on{"tell": sequence(after(ends), fails(jobEnded("failed")))}, "deferred (service-inactive)", "bsctar", "reload", "new old old again", ""},
		{"somebody ends it after the proof", on{"prove": after(ends)}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"it showed another before, and takes the old one back", on{"begin": showsAnother, "tell 1": ignored()}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old old old again", ""},
		{"it showed another before, and still does", on{"begin": showsAnother, "tell": ignored()}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old another old again", ""},
		{"it shows what it never did before", on{"tell": sequence(showsAnother, ignored())}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload, reload", "old another old again", ""},
		{"it shows the old one every now and then", on{"tell 1": flickers, "tell 2": settles}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old old old again", ""},
		{"nobody knows whether it lives", on{"unit 2": fails(&outcome.SystemdError{Err: errors.New("no bus")})}, "deployed", "bsctapr", "reload", "new new new -", ""},

		{"it cannot be kept", on{"keep": fails(notKept)}, "failed (unexpected) at record", "bsctapur", "reload, reload", "old old old again", ""},
		{"it cannot be kept, and no way back", on{"keep": fails(notKept), "undo": fails(lost)}, "rollback-failed (unexpected) at record", "bsctapUr", "reload", "new new old again", ""},
		{"something is left after it", on{"keep": wellBut(errors.New("left"))}, "deployed", "bsctapr", "reload", "new new new -", ""},

		{"what is installed cannot be kept", on{"begin": after(func(w *world) { w.remove("state/generations"); w.write("state/generations", "") })}, "failed (install-failed) at stage", "bSr", "", "old old old again", ""},
		{"the renewal cannot be kept", on{"tell": after(func(w *world) { w.remove("state/generations"); w.write("state/generations", "") })}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"staging takes all the time", on{"stage": takes(2 * time.Minute)}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload, reload", "old old old again", ""},
		{"the commit takes all the time", on{"commit": takes(time.Minute)}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old old old again", ""},
		{"its test takes all the time", on{"test 2": lasts(2 * time.Minute)}, "rolled-back (test-failed) at test", "bscTur", "", "old old old again alone", ""},
		{"the activation takes all the time", on{"tell 1": lasts(2 * time.Minute)}, "rolled-back (out-of-time) at activate", "bsctAur", "reload, reload", "old old old again alone", ""},
		{"the proof takes all the time", on{"prove 1": takes(time.Minute), "tell 1": ignored()}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old old old again", ""},
		{"a row of handshakes begins with the last of the proof's time", on{"tell": late(9750 * time.Millisecond)}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"it begins with the last of the time for steps", on{"stage": takes(time.Minute - pace), "tell 2": ignored()}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"it begins with the last of all time", on{"tell 1": ignored(), "undo": takes(2*time.Minute - worldLimits.Proof - 2*pace)}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload, reload", "old old old again", ""},
		{"the way back takes all the time", on{"tell 1": ignored(), "undo": takes(3 * time.Minute)}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload, reload", "old old old again", ""},
	}, func(*world) {})
}

// TestFirst is about first installations.
func TestFirst(t *testing.T) {
	forEach(t, []way{
		{"all is well", nil, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"nothing can be staged", on{"stage": fails(errFull)}, "failed (install-failed) at stage", "bSr", "", "- - - again", ""},
		{"it cannot be committed", on{"commit": fails(errFull)}, "rolled-back (install-failed) at commit", "bsCur", "", "- - - again", ""},
		{"its own test fails", on{"test 2": fails(exit)}, "rolled-back (test-failed) at test", "bscTur", "", "- - - again alone", ""},
		{"its own test fails as before", on{"test": fails(exit)}, "deferred (first-install)", "bsctr", "", "new - - again", ""},
		{"the job fails", on{"tell": fails(jobEnded("failed"))}, "deferred (first-install)", "bsctAr", "reload", "new - - again", ""},
		{"the job never ends", on{"tell": never}, "deferred (first-install)", "bsctAr", "reload", "new - - again", ""},
		{"it has stopped meanwhile", on{"tell": fails(jobEnded("invalid"))}, "deferred (service-inactive)", "bsctar", "reload", "new - - again", ""},
		{"nothing is taken", on{"tell": ignored()}, "deferred (first-install)", "bsctapr", "reload", "new - - again", "it answered no handshake before anything was touched either"},
		{"it dies and serves it", on{"tell": crash}, "failed (service-crashed) at prove", "bsctaPr", "reload", "new new - never", ""},
		{"it dies and serves nothing", on{"tell": sequence(crash, goesSilent)}, "failed (service-crashed) at prove", "bsctaPr", "reload", "- - - never", ""},
		{"somebody ends it", on{"tell": sequence(after(ends), goesSilent)}, "deferred (service-inactive)", "bsctapr", "reload", "new - - again", ""},
		{"it cannot be kept", on{"keep": fails(notKept)}, "failed (unexpected) at record", "bsctapur", "reload, reload", "- - - again", ""},
		{"nothing is taken and it cannot be kept", on{"tell": ignored(), "keep": fails(notKept)}, "failed (unexpected) at record", "bsctapur", "reload, reload", "- - - again", ""},
	}, func(w *world) { w.first = true })
}

// TestNothingWritten is about pairs that an earlier run has installed.
func TestNothingWritten(t *testing.T) {
	forEach(t, []way{
		{"all is well", nil, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"its own test fails", on{"test 2": fails(exit)}, "rolled-back (test-failed) at test", "bscTur", "", "old old old again alone", ""},
		{"the job fails", on{"tell": fails(jobEnded("failed"))}, "rolled-back (reload-failed) at activate", "bsctAur", "reload", "old old old again alone", ""},
		{"nothing is taken", on{"tell": ignored()}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old old old again", ""},
		{"it dies and serves nothing", on{"tell": sequence(crash, goesSilent)}, "failed (service-crashed) at prove", "bsctaPr", "reload", "old - old never", ""},
		{"the old pair cannot be staged", on{"tell": ignored(), "stage": fails(errFull)}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload", "new old old again", ""},
		{"the old pair cannot be committed", on{"tell": ignored(), "commit": fails(errFull)}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload", "new old old again", ""},
		{"the old pair cannot be kept", on{"tell": ignored(), "keep": fails(notKept)}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload", "new old old again", ""},
		{"nothing was ever proven", on{"before": after(func(w *world) { w.noProofs = true }), "tell": ignored()}, "deferred (first-install)", "bsctapr", "reload", "new old - again", ""},
		{"the old pair is not kept any more", on{"tell": sequence(after(func(w *world) { w.remove("state/generations") }), ignored())}, "rollback-failed (not-proven) at prove", "bsctaPUr", "reload", "new old old again", ""},
		{"it serves it already", on{"begin": takesIt}, "deployed", "bsctapr", "", "new new new -", ""},
		{"it serves it already, and is to be told all the same", on{"begin": sequence(takesIt, after(func(w *world) { w.run.req.Force = true }))}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"it serves it already that nothing proves", on{"before": after(func(w *world) { w.plan.Probes = []endpoint.Endpoint{} }), "begin": takesIt}, "deployed", "bsctapr", "reload", "new - new -", ""},
		{"something is left after it", on{"tell": ignored(), "keep": wellBut(errors.New("left"))}, "rolled-back (not-proven) at prove", "bsctaPur", "reload, reload", "old old old again", ""},
	}, func(w *world) { w.nothing = true })
}

// of runs a test of ways with so many lineages.
func of(t *testing.T, lineages int, ways []way, prepare func(*world)) {
	issued := issue(t)
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			inWorld(t, issued, lineages, func(w *world) {
				prepare(w)
				w.deploysAs(way)
			})
		})
	}
}

// takesNot lets the service take what is installed, but for one lineage.
func takesNot(name string) hook {
	return func(_ context.Context, w *world) error {
		was := w.shown[tlsAt(443, name).String()]
		w.take()
		w.shown[tlsAt(443, name).String()] = was
		return errIgnored
	}
}

// complains is a test that names a lineage's certificate.
func complains(name string) hook {
	return func(_ context.Context, w *world) error {
		return errors.New("cannot use " + w.path(name, ".crt") + ": no")
	}
}

var b = install.Ref{Target: "web", Lineage: "b.example"}

// TestOneOfMany is about lineages of which one is at fault.
func TestOneOfMany(t *testing.T) {
	ways := []way{
		{"it cannot be staged", on{"stage 1": fails(&install.SetError{Set: b, Err: errFull})}, "deployed | failed (install-failed) at stage | deployed", "bSbsctapr | bSr | bSbsctapr", "reload", "new new new - | old old old again | new new new -", ""},
		{"two cannot be staged", on{"stage 1": fails(pairs.Faults{{Set: b, Err: errFull}, {Set: install.Ref{Target: "web", Lineage: "a.example"}, Err: errFull}})}, "failed (install-failed) at stage | failed (install-failed) at stage | deployed", "bSr | bSr | bSbsctapr", "reload", "old old old again | old old old again | new new new -", ""},
		{"it cannot be committed", on{"commit 1": fails(&install.SetError{Set: b, Err: errFull})}, "deployed | rolled-back (install-failed) at commit | deployed", "bsCubsctapr | bsCur | bsCubsctapr", "reload", "new new new - | old old old again | new new new -", ""},
		{"another's cannot be committed", on{"commit 1": fails(&install.SetError{Set: install.Ref{Target: "other", Lineage: "b.example"}, Err: errFull})}, "rolled-back (install-failed) at commit", "bsCur", "", "old old old again", ""},
		{"it cannot be committed nor put back", on{"commit 1": fails(&install.SetError{Set: b, Err: errFull}), "undo 1": wellBut(&pairs.LostError{Sets: []install.Ref{b}, Err: syscall.EIO})}, "rolled-back (install-failed) at commit | rollback-failed (install-failed) at commit | rolled-back (install-failed) at commit", "bsCUr", "", "old old old again", ""},
		{"it is begun and cannot be put back", on{"commit 1": fails(&install.RestoreError{Sets: []install.Ref{b}, Err: syscall.EIO})}, "failed (install-failed) at commit | rollback-failed (install-failed) at commit | failed (install-failed) at commit", "bsCUr", "", "old old old again", ""},
		{"it is not taken", on{"tell 1": takesNot("b.example")}, "deployed | rolled-back (not-proven) at prove | deployed", "bsctaPubsctapr | bsctaPur | bsctaPubsctapr", "reload, reload, reload", "new new new - | old old old again | new new new -", ""},
		{"it is not taken, and cannot be put back", on{"tell 1": takesNot("b.example"), "undo 1": wellBut(&pairs.LostError{Sets: []install.Ref{b}, Err: syscall.EIO})}, "rolled-back (not-proven) at prove | rollback-failed (not-proven) at prove | rolled-back (not-proven) at prove", "bsctaPUr", "reload, reload", "old old old again alone | old old old again | old old old again alone", ""},
		{"one after the other is not taken", on{"tell 1": takesNot("b.example"), "tell 3": takesNot("c.example")}, "deployed | rolled-back (not-proven) at prove | rolled-back (not-proven) at prove", "bsctaPubsctaPubsctapr | bsctaPur | bsctaPubsctaPur", "reload, reload, reload, reload, reload", "new new new - | old old old again | old old old again", ""},
		{"none is left in the end", on{"tell 1": takesNot("b.example"), "tell 3": takesNot("c.example"), "tell 5": takesNot("a.example")}, "rolled-back (not-proven) at prove", "bsctaPubsctaPubsctaPur | bsctaPur | bsctaPubsctaPur", "reload, reload, reload, reload, reload, reload", "old old old again", ""},
		{"then all fail", on{"tell 1": takesNot("b.example"), "tell 3": fails(jobEnded("failed"))}, "rolled-back (reload-failed) at activate | rolled-back (not-proven) at prove | rolled-back (reload-failed) at activate", "bsctaPubsctAur | bsctaPur | bsctaPubsctAur", "reload, reload, reload", "old old old again alone | old old old again | old old old again alone", ""},
	}
	t.Run("files", func(t *testing.T) {
		of(t, 3, append(ways, []way{
			{"it cannot be read", on{"read 1": fails(unreadableError(2))}, "deployed | failed (unreadable) at stage | deployed", "bSbsctapr | bSr | bSbsctapr", "reload", "new new new - | old old old again | new new new -", ""},
			{"all of it cannot be read", on{"read": fails(errors.New("no"))}, "failed (install-failed) at stage", "bSr", "", "old old old again", ""},
			{"what cannot be read is another's", on{"read": fails(&command.UnreadableError{Path: "/another", At: "/another"})}, "failed (unreadable) at stage", "bSr", "", "old old old again", ""},
			{"its own test names it", on{"test 2": complains("b.example")}, "deployed | rolled-back (test-failed) at test | deployed", "bscTubsctapr | bscTur | bscTubsctapr", "reload", "new new new - | old old old again | new new new -", ""},
			{"nothing is written, and it is not taken", on{"before": after(func(w *world) { w.nothing = true }), "tell 1": takesNot("b.example")}, "deployed | rolled-back (not-proven) at prove | deployed", "bsctaPubsctapr | bsctaPur | bsctaPubsctapr", "reload, reload, reload", "new new new - | old old old again | new new new -", ""},
		}...), func(*world) {})
	})
	t.Run("rows", func(t *testing.T) { of(t, 3, ways, func(w *world) { w.inRow = true }) })
	t.Run("more", func(t *testing.T) {
		of(t, 5, []way{
			{"one after the other is not taken", on{"tell 1": takesNot("b.example"), "tell 3": takesNot("c.example"), "tell 5": takesNot("d.example")}, "rolled-back (not-proven) at prove", "bsctaPubsctaPubsctaPur | bsctaPur | bsctaPubsctaPur | bsctaPubsctaPubsctaPur", "reload, reload, reload, reload, reload, reload", "old old old again alone | old old old again | old old old again | old old old again | old old old again alone", ""},
		}, func(*world) {})
	})
}
