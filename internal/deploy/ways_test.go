package deploy

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/process"
	"github.com/certlatch/certlatch/internal/systemd"
)

// This file is about the ways of telling a service, and about what it may say.

// activated lets the service be told in another way.
func activated(how deployers.Activation) hook {
	return after(func(w *world) { w.plan.Activate = how })
}

// notNow is an activation that is none.
func notNow(wait deployers.Wait) deployers.Activation {
	return deployers.Activation{Unit: "web.service", Way: deployers.NoWay, Wait: wait, Why: "not now"}
}

// takesIt lets the service take what is installed without being told.
func takesIt(_ context.Context, w *world) error { w.take(); return nil }

// TestWays is about the ways of an activation but for calls.
func TestWays(t *testing.T) {
	restart := deployers.Activation{Way: deployers.RestartUnit, Unit: "web.service"}
	program := deployers.Activation{Way: deployers.RunCommand, Command: []string{"web", "-s", "reload"}}
	signal := deployers.Activation{Way: deployers.SignalPID, PID: 100, Signal: "HUP"}
	copies := deployers.Activation{Way: deployers.ReloadUnit, Unit: "web.service", Copies: [][]string{{"copy", "one"}, {"copy", "two"}}}
	copied := notNow(deployers.ServiceInactive)
	copied.Copies = copies.Copies
	byItself := notNow(deployers.NothingToDo)
	byItself.Copies = copies.Copies
	waiting := notNow(deployers.RestartNotAllowed)
	waiting.Copies = copies.Copies
	again := func(_ context.Context, w *world) error { w.started[100]++; return nil }
	ended := &process.GoneError{PID: 100}
	forEach(t, []way{
		{"by itself", on{"before": activated(notNow(deployers.NothingToDo)), "prove 1": takesIt}, "deployed", "bsctapr", "", "new new new -", ""},
		{"by itself, but it does not", on{"before": activated(notNow(deployers.NothingToDo))}, "rolled-back (not-proven) at prove", "bsctaPur", "", "old old old again", ""},
		{"stopped", on{"before": activated(notNow(deployers.ServiceInactive))}, "deferred (service-inactive)", "bsctar", "", "new old old again", ""},
		{"only a restart would do", on{"before": activated(notNow(deployers.RestartNotAllowed))}, "waiting-restart (restart-not-allowed)", "bsctar", "", "new old old again", ""},
		{"too little memory", on{"before": activated(notNow(deployers.SharedMemoryLow))}, "waiting-restart (shared-memory-low)", "bsctar", "", "new old old again", ""},

		{"restart", on{"before": activated(restart), "tell": after(isRestarted)}, "deployed", "bsctapr", "restart", "new new new -", ""},
		{"restart that brings nothing", on{"before": activated(restart), "tell": goesSilent}, "rollback-failed (not-proven) at prove", "bsctaPUr", "restart, restart", "old - old never", ""},
		{"restart that fails", on{"before": activated(restart), "tell 1": sequence(after((*world).silence), fails(jobEnded("failed")))}, "rolled-back (reload-failed) at activate", "bsctAur", "restart, restart", "old old old never alone", ""},

		{"program", on{"before": activated(program)}, "deployed", "bsctapr", "web -s reload", "new new new -", ""},
		{"program that fails", on{"before": activated(program), "tell 1": fails(exit)}, "rolled-back (command-failed) at activate", "bsctAur", "web -s reload, web -s reload", "old old old again alone", ""},
		{"program that is not there", on{"before": activated(program), "tell": fails(&command.NotStartedError{Program: "web", Err: errFull})}, "rolled-back (command-not-started) at activate", "bsctAur", "web -s reload", "old old old again alone", ""},
		{"program that does not end", on{"before": activated(program), "tell 1": lasts(time.Hour)}, "rolled-back (out-of-time) at activate", "bsctAur", "web -s reload, web -s reload", "old old old again alone", ""},

		{"copies", on{"before": activated(copies), "tell 1": ignored(), "tell 2": ignored()}, "deployed", "bsctapr", "copy one, copy two, reload", "new new new -", ""},
		{"copies, of which one fails", on{"before": activated(copies), "tell 1": fails(exit)}, "rolled-back (command-failed) at activate", "bsctAur", "copy one, copy one, copy two, reload", "old old old again alone", ""},
		{"copies, and then the reload fails", on{"before": activated(copies), "tell 1": ignored(), "tell 2": ignored(), "tell 3": fails(jobEnded("failed"))}, "rolled-back (reload-failed) at activate", "bsctAur", "copy one, copy two, reload, copy one, copy two, reload", "old old old again alone", ""},
		{"copies, and it is stopped", on{"before": activated(copied), "tell": ignored()}, "deferred (service-inactive)", "bsctar", "copy one, copy two", "new old old again", ""},

		{"copies, and only a restart would do", on{"before": activated(waiting), "tell": ignored()}, "waiting-restart (restart-not-allowed)", "bsctar", "copy one, copy two", "new old old again", ""},
		{"copies that it takes by itself", on{"before": activated(byItself)}, "deployed", "bsctapr", "copy one, copy two", "new new new -", ""},
		{"copies that it does not take", on{"before": activated(byItself), "tell": ignored()}, "rolled-back (not-proven) at prove", "bsctaPur", "copy one, copy two, copy one, copy two", "old old old again", ""},
		{"copies that it would take by itself, of which one fails", on{"before": activated(byItself), "tell 1": fails(exit)}, "rolled-back (command-failed) at activate", "bsctAur", "copy one, copy one, copy two", "old old old again alone", ""},

		{"signal", on{"before": activated(signal)}, "deployed", "bsctapr", "HUP 100/1", "new new new -", ""},
		{"signal to nobody", on{"before": activated(signal), "tell": fails(ended)}, "rolled-back (service-gone) at activate", "bsctAur", "HUP 100/1, HUP 100/1", "old old old again alone", ""},
		{"signal that kills", on{"before": activated(signal), "started 2": fails(ended), "tell": ignored()}, "failed (service-crashed) at prove", "bsctaPr", "HUP 100/1", "old old old never", ""},
		{"signal that lets another be started", on{"before": activated(signal), "tell": again}, "failed (service-crashed) at prove", "bsctaPr", "HUP 100/1", "new new old never", ""},
		{"signal to one that has ended before", on{"before": activated(signal), "started": fails(ended)}, "failed (service-gone) at baseline", "Br", "", "old old old again", ""},

		{"a word that nobody knows", on{"before": activated(deployers.Activation{Way: "pray"})}, "rolled-back (activation-failed) at activate", "bsctAur", "", "old old old again alone", ""},
	}, func(*world) {})
}

// TestStart is about a test of what a service reads when it starts: it counts where
// it is restarted, at the baseline and right before that.
func TestStart(t *testing.T) {
	restart := activated(deployers.Activation{Way: deployers.RestartUnit, Unit: "web.service"})
	reload := activated(deployers.Activation{Way: deployers.ReloadUnit, Unit: "web.service"})
	forEach(t, []way{
		{"it passes", on{"before": restart, "tell": after(isRestarted)}, "deployed", "bsctapr", "restart", "new new new -", ""},
		{"it fails", on{"before": restart, "test": fails(exit)}, "rolled-back (test-failed-before) at activate", "bsctAur", "", "old old old again", "goes on as before until it is restarted"},
		{"it failed at the baseline", on{"before": restart, "test 1": fails(exit)}, "rolled-back (test-failed-before) at activate", "bsctAur", "", "old old old again", "journalctl -u web.service"},
		{"it fails since then", on{"before": restart, "test 2": fails(exit)}, "rolled-back (test-failed) at activate", "bsctAur", "", "old old old again alone", "journalctl -u web.service"},
		{"it fails, and a reload is enough", on{"before": reload, "test": fails(exit)}, "deployed", "bsctapr", "reload", "new new new -", ""},
		{"it passes, and the service does not start", on{"before": restart, "tell": sequence(after((*world).silence), fails(&systemd.JobError{Unit: "web.service", Verb: "restart", Result: "failed"}))}, "rollback-failed (reload-failed) at activate", "bsctAUr", "restart, restart", "old - old never", "journalctl -u web.service tells why it does not start"},
	}, func(w *world) {
		w.plan.Test = deployers.Test{Command: []string{"web", "-t"}, Start: true}
	})
}

// called is an activation by calls at two channels.
func called(change func(*deployers.Activation)) hook {
	at := func(address string) deployers.Query {
		return deployers.Query{Channel: deployers.Channel{Address: address}, Method: "reload"}
	}
	how := deployers.Activation{Way: deployers.CallControl, Unit: "web.service", Calls: []deployers.Query{at("one"), at("two")}, Success: "done"}
	if change != nil {
		change(&how)
	}
	return activated(how)
}

// answers lets a method be answered like this, and like the last for good.
func answers(method string, answers ...deployers.Answer) hook {
	return after(func(w *world) { w.answers[method] = answers })
}

// expecting is what the service must say after a call.
func expecting(what string, warn bool) deployers.Expect {
	return deployers.Expect{
		Query: deployers.Query{Method: "list"}, Contains: what, Reason: "dropped", Says: what + " is dropped", Remedy: "look at " + what, Warn: warn,
	}
}

// TestCalls is about calls at control channels: only the reply of success counts,
// at the first channel that can be reached.
func TestCalls(t *testing.T) {
	done, other := deployers.Answer{Reply: "done", Sent: true}, deployers.Answer{Reply: "well done", Sent: true}
	nothing, unreachable := deployers.Answer{Err: "no answer", Sent: true}, deployers.Answer{Err: "no channel"}
	fault := deployers.Answer{Fault: "500 not today", Sent: true}
	keepsOld := called(func(a *deployers.Activation) {
		a.FaultKeepsOld, a.Faults = true, []deployers.Fault{{Says: "today", Reason: "too-early", Remedy: "wait"}}
	})
	expects := func(all ...deployers.Expect) hook {
		return called(func(a *deployers.Activation) { a.After = all })
	}
	restarts := activated(deployers.Activation{Way: deployers.RestartUnit, Unit: "web.service", After: []deployers.Expect{expecting("a", false), expecting("b", true)}})
	lists := func(texts ...string) hook {
		var all []deployers.Answer
		for _, text := range texts {
			all = append(all, deployers.Answer{Reply: text})
		}
		return answers("list", all...)
	}
	dieSoon := soon(2*time.Second, dies)
	dieLate := soon(4*time.Second, dies)
	forEach(t, []way{
		{"success", on{"before": called(nil)}, "deployed", "bsctapr", "call one", "new new new -", ""},
		{"success at the second", on{"before": called(nil), "begin": answers("reload", unreachable, done)}, "deployed", "bsctapr", "call one, call two", "new new new -", ""},
		{"no channel", on{"before": called(nil), "begin": answers("reload", unreachable), "tell": ignored()}, "rolled-back (control-unreachable) at activate", "bsctAur", "call one, call two", "old old old again alone", ""},
		{"another reply", on{"before": called(nil), "begin": answers("reload", other, done), "tell 1": ignored()}, "rolled-back (control-no-answer) at activate", "bsctAur", "call one, call one", "old old old again alone", ""},
		{"an empty reply", on{"before": called(nil), "begin": answers("reload", deployers.Answer{Sent: true}, done), "tell 1": ignored()}, "rolled-back (control-no-answer) at activate", "bsctAur", "call one, call one", "old old old again alone", ""},
		{"a fault", on{"before": called(nil), "begin": answers("reload", fault, done), "tell 1": ignored()}, "rolled-back (control-fault) at activate", "bsctAur", "call one, call one", "old old old again alone", ""},
		{"a fault that keeps the old one", on{"before": keepsOld, "begin": answers("reload", fault), "tell 1": ignored()}, "rolled-back (too-early) at activate", "bsctAur", "call one", "old old old again alone", ""},
		{"a fault that says so, and took it", on{"before": keepsOld, "begin": answers("reload", fault, done)}, "rolled-back (too-early) at activate", "bsctAur", "call one, call one", "old old old again alone", ""},
		{"no answer", on{"before": called(nil), "begin": answers("reload", nothing, done), "tell 1": ignored()}, "rolled-back (control-no-answer) at activate", "bsctAur", "call one, call one", "old old old again alone", ""},
		{"no answer, and it dies of it", on{"before": called(nil), "begin": answers("reload", nothing), "tell": sequence(dieSoon, goesSilent)}, "failed (service-crashed) at prove", "bsctAr", "call one", "old - old never", ""},
		{"no answer, and it serves it and dies", on{"before": called(nil), "begin": answers("reload", nothing), "tell": dieSoon}, "failed (service-crashed) at prove", "bsctAr", "call one", "new new old never", ""},
		{"no answer, and it dies much later", on{"before": called(nil), "begin": answers("reload", nothing, done), "tell 1": sequence(dieLate, ignored())}, "rolled-back (control-no-answer) at activate", "bsctAur", "call one, call one", "old old old again alone", ""},
		{"no answer, and somebody restarts it", on{"before": called(nil), "begin": answers("reload", nothing), "tell": soon(time.Second, isRestarted)}, "deployed", "bsctapr", "call one", "new new new -", ""},
		{"another reply, and it dies later", on{"before": called(nil), "begin": answers("reload", other, done), "tell 1": sequence(dieSoon, ignored())}, "rolled-back (control-no-answer) at activate", "bsctAur", "call one, call one", "old old old again alone", ""},

		{"what it says after", on{"before": expects(expecting("a", false), expecting("b", false)), "begin": lists("a b")}, "deployed", "bsctapr", "call one", "new new new -", ""},
		{"what it does not say after", on{"before": expects(expecting("a", false), expecting("b", false)), "begin": lists("a", "a b"), "tell 1": ignored()}, "rolled-back (dropped) at activate", "bsctAur", "call one, call one", "old old old again alone", ""},
		{"no answer after", on{"before": expects(expecting("a", false)), "begin": answers("list", nothing), "tell": ignored()}, "rolled-back (dropped) at activate", "bsctAur", "call one, call one", "old old old again alone", ""},
		{"no answer after, and it dies of it", on{"before": expects(expecting("a", false)), "begin": answers("list", nothing), "tell": sequence(dieSoon, goesSilent)}, "failed (service-crashed) at prove", "bsctAr", "call one", "old - old never", ""},
		{"a fault after, and it dies of it", on{"before": expects(expecting("a", false)), "begin": answers("list", fault), "tell": sequence(dieSoon, goesSilent)}, "rollback-failed (dropped) at activate", "bsctAUr", "call one, call one", "old - old again", ""},
		{"what it does not say beside", on{"before": expects(expecting("a", false), expecting("b", true)), "begin": lists("a")}, "deployed", "bsctapr", "call one", "new new new -", "b is dropped"},
		{"what it does not say beside until it is undone", on{"before": expects(expecting("b", true)), "begin": lists("a", "b"), "tell 1": ignored()}, "rolled-back (not-proven) at prove", "bsctaPur", "call one, call one", "old old old again", "not: b is dropped"},
		{"what it does not say beside, nor when it is undone", on{"before": expects(expecting("b", true)), "begin": lists("a"), "tell 1": ignored()}, "rolled-back (not-proven) at prove", "bsctaPur", "call one, call one", "old old old again", "b is dropped; look at b"},
		{"what it says after a restart", on{"before": restarts, "begin": lists("a b"), "tell": after(isRestarted)}, "deployed", "bsctapr", "restart", "new new new -", "not: dropped"},
		{"what it does not say beside after a restart", on{"before": restarts, "begin": answers("list", unreachable, deployers.Answer{Reply: "a"}), "tell": after(isRestarted)}, "deployed", "bsctapr", "restart", "new new new -", "b is dropped"},
		{"what it does not say after a restart", on{"before": restarts, "begin": lists("b"), "tell": after(isRestarted)}, "rolled-back (dropped) at prove", "bsctaPur", "restart, restart", "old old old never alone", ""},
		{"no answer after a restart", on{"before": restarts, "begin": answers("list", unreachable), "tell": after(isRestarted)}, "deployed", "bsctapr", "restart", "new new new -", "not: dropped"},
	}, func(*world) {})
}

// TestLeftAlone leaves what comes after alone where a service did not answer.
func TestLeftAlone(t *testing.T) {
	inWorld(t, issue(t), 3, func(w *world) {
		w.on = on{"before": called(nil), "begin": answers("reload", deployers.Answer{Err: "no answer", Sent: true})}
		for _, what := range []string{"before", "begin"} {
			if err := w.happens(w.t.Context(), what); err != nil {
				w.t.Fatal(err)
			}
		}
		group := w.group()
		defer w.run.close()
		deployed := w.run.deployGroup(w.t.Context(), group[:1])
		before := unansweredBy(deployed)
		if before == nil {
			w.t.Fatalf("%s", verdict(deployed[0].outcome))
		}
		told := len(w.told)
		for _, e := range leftAlone(group[1:], *before) {
			if got := verdict(e.outcome); got != "failed (control-no-answer) at baseline" || !strings.Contains(e.outcome.Detail, "no answer") {
				w.t.Errorf("%s: %s", got, e.outcome.Detail)
			}
		}
		if len(w.told) != told {
			w.t.Errorf("it was told again: %q", w.told)
		}
		if unansweredBy([]ended{{outcome: outcome.Outcome{Result: outcome.Deployed}}}) != nil {
			w.t.Error("what was deployed counts as unanswered")
		}
	})
}

// TestAskedOnce asks a service after its activation no more than once for all
// lineages.
func TestAskedOnce(t *testing.T) {
	inWorld(t, issue(t), 3, func(w *world) {
		w.on = on{"before": called(func(a *deployers.Activation) {
			a.After = []deployers.Expect{expecting("done", false), expecting("don", false), expecting("one", true)}
		})}
		for _, e := range w.deploy() {
			if e.outcome.Result != "deployed" {
				t.Errorf("%s", verdict(e.outcome))
			}
		}
		if w.asked != 1 {
			t.Errorf("it was asked %d times", w.asked)
		}
	})
}
