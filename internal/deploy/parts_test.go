package deploy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// Where not all units can go side by side, those that are asked nothing begin before
// those that are, and those that are only taken along after the others.
func TestByUnit(t *testing.T) {
	of := func(name, service, unit string, requested bool) job {
		d, _ := all.For(service)
		return job{target: config.Target{Target: deployers.Target{Name: name, Service: service, Unit: unit, Options: d.Options()}}, requested: requested}
	}
	for _, test := range []struct {
		own, other bool // whether the request is about them
		want       string
	}{
		{true, true, "web web2|xmpp|sip trunk|sip2"},
		{true, false, "web web2|sip trunk|xmpp|sip2"},
		{false, false, "web web2|xmpp|sip trunk|sip2"},
	} {
		var units []string
		for _, unit := range byUnit([]job{
			of("sip", "kamailio", "kamailio.service", test.own), of("web", "nginx", "nginx.service", test.own),
			of("web2", "nginx", "nginx.service", test.other), of("xmpp", "prosody", "prosody.service", test.other),
			of("sip2", "kamailio", "kamailio2.service", test.other), of("trunk", "generic", "kamailio.service", test.other),
		}) {
			var names []string
			for _, j := range unit {
				names = append(names, j.target.Name)
			}
			units = append(units, strings.Join(names, " "))
		}
		if got := strings.Join(units, "|"); got != test.want {
			t.Errorf("got %s and not %s", got, test.want)
		}
	}
}

// Jobs are deployed together that one activation serves.
func TestGroups(t *testing.T) {
	of := func(name string, how deployers.Activation) prepared {
		p := prepared{plan: deployers.Plan{Activate: how}}
		p.job.target.Name, p.job.lineage.Name = name, "a.example"
		return p
	}
	call := func(at string) deployers.Activation {
		return deployers.Activation{Way: deployers.CallControl, Calls: []deployers.Query{{Channel: deployers.Channel{Address: at}}}}
	}
	run1 := func(argv ...string) deployers.Activation {
		return deployers.Activation{Way: deployers.RunCommand, Command: argv}
	}
	unit := func(way deployers.Way, name string) deployers.Activation {
		return deployers.Activation{Way: way, Unit: name}
	}
	alone := of("alone", unit(deployers.ReloadUnit, "web"))
	alone.leaf.Fingerprint = "aa"
	alone.known.Pending = &state.Pending{Failure: state.Failure{Fingerprint: "aa", Alone: true}}
	var got []string
	for _, group := range (&run{}).groups([]prepared{
		alone,
		of("web", unit(deployers.ReloadUnit, "web")), of("mail", unit(deployers.ReloadUnit, "mail")), of("web2", unit(deployers.ReloadUnit, "web")),
		of("webRestart", unit(deployers.RestartUnit, "web")),
		of("signal", deployers.Activation{Way: deployers.SignalPID, PID: 1}), of("signal2", deployers.Activation{Way: deployers.SignalPID, PID: 2}), of("signal1", deployers.Activation{Way: deployers.SignalPID, PID: 1}),
		of("call", call("a")), of("callB", call("b")), of("call2", call("a")),
		of("run", run1("x", "y")), of("runX", run1("x")), of("run2", run1("x", "y")),
		of("itself", deployers.Activation{Way: deployers.NoWay}), of("itself2", deployers.Activation{Way: deployers.NoWay}),
	}) {
		var names []string
		for _, p := range group {
			names = append(names, p.job.target.Name)
		}
		got = append(got, strings.Join(names, " "))
	}
	want := []string{"web web2", "mail", "webRestart", "signal signal1", "signal2", "call call2", "callB", "run run2", "runX", "itself", "itself2", "alone"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q and not %q", got, want)
	}
}

// TestKeepsPrevious is about what is kept of what was installed, to go back to.
func TestKeepsPrevious(t *testing.T) {
	unproven := after(func(w *world) { w.noProofs = true })
	open := after(func(w *world) {
		if err := os.Chmod(w.dir+"/tls", 0o777); err != nil {
			w.t.Fatal(err)
		}
	})
	mixed := after(func(w *world) {
		w.put("a.example", pki.Leaf{Fullchain: w.issued.leaves["a.example"].old.Fullchain, Key: w.issued.leaves["b.example"].old.Key})
	})
	issued := issue(t)
	for _, test := range []struct {
		name string
		on   on
		want string
	}{
		{"proven", on{}, "old"},
		{"proven, where another may write", on{"begin": open}, "old"},
		{"found", on{"before": unproven}, "old"},
		{"found where another may write", on{"before": unproven, "prepare": open}, ""},
		{"no pair", on{"before": unproven, "prepare": mixed}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, issued, 1, func(w *world) {
				w.on = test.on
				w.on["stage"] = fails(errFull)
				out := w.deploy()[0].outcome
				kept, err := w.run.site.Store.Generations("web", "a.example")
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, generation := range kept {
					bundle, _ := lineage.Read(w.run.site.Store.Generation("web", "a.example", generation))
					got = append(got, w.whichLeaf("a.example", bundle.Leaf))
					if generation >= out.New.NotBefore.Format("x") && generation > state.NewGeneration(w.began, *out.New) {
						t.Errorf("%s comes after the renewal", generation)
					}
				}
				if got := strings.Join(got, " "); got != test.want {
					t.Errorf("kept are %q", got)
				}
			})
		})
	}
}

// TestNotCarried says of each lineage what its new files have not got.
func TestNotCarried(t *testing.T) {
	inWorld(t, issue(t), 3, func(w *world) {
		w.dropped = []install.NotCarried{
			{Target: "web", Lineage: "b.example", Path: "/b", Names: []string{"user.b"}}, {Target: "other", Lineage: "a.example", Path: "/a", Names: []string{"user.a"}},
			{Target: "web", Lineage: "b.example", Path: "/b2", Names: []string{"user.b2"}},
		}
		for _, e := range w.deploy() {
			var got []string
			for _, f := range e.outcome.Findings {
				got = append(got, f.Code+" "+strings.Fields(f.Detail)[0])
			}
			want := ""
			if e.outcome.Lineage == "b.example" {
				want = "attributes-not-carried /b:, attributes-not-carried /b2:"
			}
			if got := strings.Join(got, ", "); got != want || e.outcome.Result != outcome.Deployed {
				t.Errorf("%s: %s", verdict(e.outcome), got)
			}
		}
	})
}

// TestReaders is about the users that are to read the files: those of many at once,
// and each of them once.
func TestReaders(t *testing.T) {
	issued := issue(t)
	t.Run("one that is not there", func(t *testing.T) {
		inWorld(t, issued, 1, func(w *world) {
			w.plan.Reader = deployers.Account{User: "certlatch-nobody-of-this-name"}
			out := w.deploy()[0].outcome
			if out.At != outcome.Stage || out.Result != outcome.Failed || w.count["read"] != 0 {
				t.Errorf("%s: %s", verdict(out), out.Detail)
			}
			if unknown := (*account.UnknownError)(nil); os.Geteuid() == 0 && out.Reason != outcome.AccountUnknown {
				t.Errorf("%s is no %T", verdict(out), unknown)
			}
		})
	})
	t.Run("many", func(t *testing.T) {
		inWorld(t, issued, 3, func(w *world) {
			for _, e := range w.deploy() {
				if e.outcome.Result != outcome.Deployed {
					t.Errorf("%s", verdict(e.outcome))
				}
			}
			if w.count["read"] != 1 || w.count["test"] != 2 || w.count["observe"] != 1 {
				t.Errorf("it was tried %d times, tested %d times and looked at %d times", w.count["read"], w.count["test"], w.count["observe"])
			}
		})
	})
}

// TestGoneListeners wants listeners that proved lineages before and are gone to be
// looked at all at once.
func TestGoneListeners(t *testing.T) {
	issued := issue(t)
	for _, many := range []int{1, 5} {
		inWorld(t, issued, many, func(w *world) {
			w.plan.Found, w.provedBy = true, []endpoint.Endpoint{tlsAt(444, "a.example")}
			w.deploy()
			if w.count["observe"] != 1 { // whether another service answers there
				t.Errorf("%d lineages were looked at %d times", many, w.count["observe"])
			}
		})
	}
}

// TestUnmark is about which marks a run takes away.
func TestUnmark(t *testing.T) {
	of := func(name string) job { return job{lineage: lineage.Lineage{Client: "certbot", Name: name}} }
	back := of("a")
	back.generation = "x"
	for _, test := range []struct {
		name       string
		targets    []string
		jobs, left []job
		ends       []ended // of those that cannot be noted
		want       string
	}{
		{"what was done", nil, []job{of("a"), of("b")}, nil, nil, "c"},
		{"what was left", nil, []job{of("a"), of("b")}, []job{of("b")}, nil, "b c"},
		{"what could not be noted", nil, []job{of("a"), of("b")}, nil, []ended{{job: of("a")}}, "a c"},
		{"a crash that could not be noted", nil, []job{of("a"), of("b")}, nil, []ended{{job: of("a"), outcome: outcome.Outcome{Reason: outcome.ServiceCrashed}}}, "c"},
		{"single targets", []string{"web"}, []job{of("a"), of("b")}, nil, nil, "a b c"},
		{"a rollback", nil, []job{back}, nil, nil, "a b c"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, issued{}, 0, func(w *world) {
				w.configure("")
				mark("a", "b", "c")(w)
				r, err := w.engine.look(Request{Targets: test.targets}, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				defer r.close()
				for _, e := range test.ends {
					out := r.memory.forget(e)
					if !strings.Contains(words(out), "could not be noted") {
						t.Errorf("it says %s", words(out))
					}
				}
				r.unmark(test.jobs, test.left)
				wantsMarked(test.want)(w)
			})
		})
	}
}

// TestValidate is about what keeps a lineage from being tried at all.
func TestValidate(t *testing.T) {
	wild := func(w *world) { w.renew("a.example", w.issued.ca.Leaf(w.t, pki.Names("*.example"))) }
	live(t, []history{
		{"no unit", 1, "", []turn{
			{func(w *world) { w.unit.LoadState = "not-found" }, deploy(everything), "failed (unit-not-found) at validate", ""},
		}},
		{"no name", 1, "", []turn{
			{wild, deploy(everything), "failed (no-probe-name) at validate", ""},
		}},
		{"no roots", 1, "", []turn{
			{func(w *world) { w.remove("root.pem") }, deploy(everything), "failed (configuration) at validate", ""},
		}},
		{"no such account", 1, "", []turn{
			{func(w *world) { w.engine.Site.Config.Targets[0].User = "certlatch-nobody-of-this-name" }, deploy(everything), "failed (account-unknown) at validate", ""},
		}},
		{"not for its names", 1, "", []turn{
			{func(w *world) { w.configure("names: [other.example]") }, deploy(everything), "refused (name-missing) at validate", ""},
			{has("a.example", "old"), deploy(Request{Targets: []string{"elsewhere"}}), "there is no target elsewhere", ""},
		}},
		{"notes of the plan", 1, "allow_restart: true", []turn{
			{func(w *world) { w.unit.CanReload = false }, plan(everything), "planned", ""},
		}},
	})
}

// TestServed is about one look at whether all of the probes that count see a leaf.
func TestServed(t *testing.T) {
	issued := issue(t)
	leaf := issued.leaves["a.example"]
	for _, test := range []struct {
		name  string
		shown []pki.Leaf // at the ports from 443 on; zero: nothing
		found bool
		want  bool
	}{
		{"all", []pki.Leaf{leaf.next, leaf.next}, false, true},
		{"one of two", []pki.Leaf{leaf.next, leaf.old}, false, false},
		{"one of two, and nothing", []pki.Leaf{leaf.next, {}}, false, false},
		{"one of two that were found, and nothing", []pki.Leaf{leaf.next, {}}, true, true},
		{"one of two that were found", []pki.Leaf{leaf.next, leaf.old}, true, false},
		{"nothing that was found", []pki.Leaf{{}}, true, false},
		{"no probe", nil, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, issued, 1, func(w *world) {
				p := w.group()[0]
				p.plan.Found, p.plan.Probes = test.found, nil
				for i, shown := range test.shown {
					e := tlsAt(443+uint16(i), "a.example")
					w.shown[e.String()] = shown.Cert
					p.plan.Probes = append(p.plan.Probes, e)
				}
				if seen, served := p.served(w.run.prep.Observe(w.t.Context(), p.plan.Probes, func() {})); served != test.want || test.found && len(seen.counting)+len(seen.silent) != len(test.shown) {
					t.Errorf("%v, of %v", served, seen)
				}
				w.run.close()
			})
		})
	}
}

// TestForgetGone lets go of what failed for lineages that are gone, and of nothing
// else.
func TestForgetGone(t *testing.T) {
	m := &memory{state: &state.State{}}
	of := func(target, name string) *state.Record {
		r := m.state.Record(target, name)
		r.Pending = &state.Pending{}
		return r
	}
	of("glob", "gone")
	of("glob", "there")
	of("glob", "proven").Proven = &state.Proof{}
	of("glob", "stuck")
	of("named", "named")
	of("former", "gone")
	cfg := &config.Config{Targets: []config.Target{{Target: deployers.Target{Name: "glob", Lineage: "*"}}, {Target: deployers.Target{Name: "named", Lineage: "named"}}}}
	m.forgetGone(cfg, []lineage.Lineage{{Name: "there"}}, map[install.Ref]error{{Target: "glob", Lineage: "stuck"}: errFull})
	var left []string
	for _, r := range m.state.Records {
		left = append(left, r.Target+" "+r.Lineage)
	}
	slices.Sort(left)
	if want := []string{"former gone", "glob proven", "glob stuck", "glob there", "named named"}; !slices.Equal(left, want) {
		t.Errorf("left are %q", left)
	}
}

// What certlatch has installed and not proven stays its own, until another leaf is proven:
// also where another one was refused meanwhile.
func TestLeft(t *testing.T) {
	m := &memory{state: &state.State{}}
	left := func(result outcome.Result, fingerprint string, proof *state.Proof) string {
		e := ended{outcome: outcome.Outcome{Target: "web", Lineage: "a.example", Result: result}, fingerprint: fingerprint, proof: proof}
		m.note(e, time.Now())
		return m.state.Get("web", "a.example").Left
	}
	for _, test := range []struct {
		result      outcome.Result
		fingerprint string
		want        string
	}{
		{outcome.Refused, "aa", ""},
		{outcome.Deferred, "bb", "bb"},
		{outcome.Refused, "cc", "bb"},
		{outcome.RolledBack, "cc", "bb"},
		{outcome.WaitingRestart, "dd", "dd"},
		{outcome.RollbackFailed, "ee", "ee"},
		{outcome.Failed, "ff", "ee"},
	} {
		if got := left(test.result, test.fingerprint, nil); got != test.want {
			t.Errorf("%s of %s: %q is left", test.result, test.fingerprint, got)
		}
	}
	if got := left(outcome.Deployed, "gg", &state.Proof{}); got != "" {
		t.Errorf("after a proof %q is left", got)
	}
}

// TestTells wants whoever watches to be told what is being done, and of what.
func TestTells(t *testing.T) {
	issued := issue(t)
	for lineages, about := range map[int]string{1: "web a.example", 3: "web a.example and 2 more"} {
		inWorld(t, issued, lineages, func(w *world) {
			var told []string
			w.on = on{"begin": after(func(w *world) {
				w.run.site.Progress = func(doing string) { told = append(told, strings.TrimSuffix(doing, ": "+about)) }
			}), "tell": ignored()}
			w.deploy()
			if got := strings.Join(told, " "); got != "baseline stage commit test activate prove undo" {
				t.Errorf("of %s was told: %s", about, got)
			}
		})
	}
}

// TestWarnedOnce warns once of what several attempts bring about, and not of what
// the last of them has mended.
func TestWarnedOnce(t *testing.T) {
	issued := issue(t)
	for _, test := range []struct {
		name  string
		lists []string // what the service says after each activation
		want  int
	}{
		{"it goes on", []string{"a"}, 1},
		{"the way back mends it", []string{"a", "a b"}, 0},
		{"the next attempt mends it", []string{"a", "a", "a b"}, 0},
		{"the next attempt brings it about", []string{"a b", "a b", "a"}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, issued, 3, func(w *world) {
				for _, says := range test.lists {
					w.answers["list"] = append(w.answers["list"], deployers.Answer{Reply: says})
				}
				w.dropped = []install.NotCarried{{Target: "web", Lineage: "a.example", Path: "/a", Names: []string{"user.a"}}}
				w.on = on{"before": called(func(a *deployers.Activation) { a.After = []deployers.Expect{expecting("b", true)} }), "tell 1": takesNot("b.example")}
				for _, e := range w.deploy() {
					warned, dropped := 0, 0
					for _, f := range e.outcome.Findings {
						switch f.Code {
						case "dropped":
							warned++
						case string(outcome.NotCarried):
							dropped++
						}
					}
					if e.outcome.Lineage == "b.example" {
						continue // it has had one attempt
					}
					if warned != test.want || (dropped == 1) != (e.outcome.Lineage == "a.example") || dropped > 1 {
						t.Errorf("%s: warned of %v", e.outcome.Lineage, e.outcome.Findings)
					}
				}
			})
		})
	}
}

// TestLastButProven wants the newest generation that is not the one that was
// proven, and the newest of all where nothing was.
func TestLastButProven(t *testing.T) {
	ref := install.Ref{Target: "web", Lineage: "a.example"}
	for proven, want := range map[string]string{"": "3", "3": "2", "2": "3"} {
		m := &memory{state: new(state.State)}
		if proven != "" {
			m.state.Record(ref.Target, ref.Lineage).Proven = &state.Proof{Generation: proven}
		}
		r := &run{memory: m}
		if got := r.lastButProven(ref, []string{"1", "2", "3"}); got != want {
			t.Errorf("but %q it is %q", proven, got)
		}
		if got := r.lastButProven(ref, nil); got != "" {
			t.Errorf("of none it is %q", got)
		}
	}
}

// TestMissedByMany wants a failure of thousands of probes to be told in a few words:
// each of their lineages is told of it.
func TestMissedByMany(t *testing.T) {
	var seen []probe.Seen
	for n := range 2000 {
		seen = append(seen, probe.Seen{Err: fmt.Errorf("probe %d", n)})
	}
	want := map[int]string{1: "probe 0", 5: "probe 0; probe 1; probe 2; probe 3; probe 4", 2000: "probe 0; probe 1; probe 2; probe 3; probe 4; and so at 1995 more"}
	for n, want := range want {
		if got := (attempt{}).missed(seen[:n]).Error(); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
