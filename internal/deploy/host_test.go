package deploy

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
	"github.com/certlatch/certlatch/internal/systemd"
)

// This file is about runs, one after the other, on a host that is a world with a
// configuration, and lineages that a client keeps. It begins with what is proven.

// turn is something that happens on a host, and then a run.
type turn struct {
	do   func(*world) // nil: nothing
	run  func(*world) ([]outcome.Outcome, error)
	want string // what becomes of the lineages
	told string // what the service was
}

// history is turns, one after the other.
type history struct {
	name     string
	lineages int
	options  string // of the target
	turns    []turn
}

// live lets histories happen.
func live(t *testing.T, histories []history) {
	issued := issue(t)
	for _, h := range histories {
		t.Run(h.name, func(t *testing.T) {
			inWorld(t, issued, max(1, h.lineages), func(w *world) {
				w.settle(h.options)
				for i, turn := range h.turns {
					w.told = nil
					if turn.do != nil {
						turn.do(w)
					}
					w.began, w.count = time.Now(), map[string]int{}
					got, err := turn.run(w)
					for _, o := range got {
						if slices.Contains(o.Notes, "") {
							t.Errorf("turn %d notes nothing", i+1)
						}
					}
					if w.connections != 0 {
						t.Errorf("after turn %d, %d connections to systemd are open", i+1, w.connections)
					}
					if become, told := strings.ReplaceAll(becameOf(got, err), w.dir, "DIR"), strings.Join(w.told, ", "); become != turn.want || told != turn.told {
						t.Errorf("turn %d came to\n%q, %q, and not\n%q, %q\n", i+1, become, told, turn.want, turn.told)
						for _, o := range got {
							t.Logf("%s: %s", o.Lineage, words(o))
						}
					}
				}
			})
		})
	}
}

// becameOf is what a run came to in a line.
func becameOf(outcomes []outcome.Outcome, err error) string {
	var all []string
	for _, o := range outcomes {
		text := verdict(o)
		if len(outcomes) > 1 || o.Lineage != "a.example" {
			text = strings.TrimSuffix(o.Lineage, ".example") + " " + text
		}
		all = append(all, text)
	}
	if err != nil {
		all = append(all, err.Error())
	}
	return strings.Join(all, ", ")
}

// settle makes the host, with all old pairs proven, and renews them.
func (w *world) settle(options string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "root.pem"), w.issued.ca.PEM(), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.configure(options)
	for _, name := range w.names {
		w.put(name, w.issued.leaves[name].old)
		w.renew(name, w.issued.leaves[name].old)
	}
	w.take()
	if got, err := deploy(Request{})(w); err != nil || slices.ContainsFunc(got, func(o outcome.Outcome) bool { return o.Result != outcome.Deployed }) {
		w.t.Fatalf("%s, %v", becameOf(got, err), err)
	}
	for _, name := range w.names {
		w.renew(name, w.issued.leaves[name].next)
	}
	<-time.After(time.Hour)
}

// configure makes the engine of a configuration.
func (w *world) configure(options string) {
	w.t.Helper()
	for _, usual := range []string{`lineage: "*.example"`, `probe: ["tls://127.0.0.1:443"]`} {
		if key, _, _ := strings.Cut(usual, " "); !strings.Contains(options, key) {
			options = usual + ", " + options
		}
	}
	text := strings.ReplaceAll(`
state: DIR/state
lineages: [certbot: DIR/live]
policy: {trust: DIR/root.pem}
targets:
  - {name: web, service: generic, unit: web.service, certificate: "DIR/tls/{lineage}.crt", key: "DIR/tls/{lineage}.key", mode: 0600, `+options+"}\n", "DIR", w.dir)
	cfg, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	store, err := state.Open(cfg.State)
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine = &Engine{Site: prepare.Site{Config: cfg, Store: store, Log: slog.New(slog.NewTextHandler(&w.log, nil)), World: w.outside()}, beside: oneByOne}
}

// oneByOne does tasks one after the other: a world is for one goroutine.
func oneByOne(tasks []func()) {
	for _, task := range tasks {
		task()
	}
}

func (w *world) renew(name string, leaf pki.Leaf) {
	w.t.Helper()
	pki.WriteCertbot(w.t, filepath.Join(w.dir, "live"), name, leaf)
}

// renewed renews a lineage once more.
func renewed(names ...string) func(*world) {
	return func(w *world) {
		for _, name := range names {
			w.renew(name, w.issued.ca.Leaf(w.t, pki.Names(name)))
		}
	}
}

// state is what is remembered.
func (w *world) state() *state.State {
	w.t.Helper()
	st, err := w.engine.Site.Store.Load()
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

// remembers changes what is remembered.
func remembers(change func(*state.State)) func(*world) {
	return func(w *world) {
		w.t.Helper()
		st := w.state()
		change(st)
		if err := w.engine.Site.Store.Save(st); err != nil {
			w.t.Fatal(err)
		}
	}
}

// later lets time pass.
func later(long time.Duration) func(*world) { return func(*world) { <-time.After(long) } }

// happen lets something happen in the runs from now on.
func happen(these on) func(*world) { return func(w *world) { w.on = these } }

// both lets one thing be done after another.
func both(all ...func(*world)) func(*world) {
	return func(w *world) {
		for _, do := range all {
			do(w)
		}
	}
}

// deploy is a run of deployments.
func deploy(req Request) func(*world) ([]outcome.Outcome, error) {
	return func(w *world) ([]outcome.Outcome, error) {
		req.By = "test"
		if req.Limits == (Limits{}) {
			req.Limits = worldLimits
		}
		report, err := w.engine.Deploy(w.t.Context(), req)
		return report.Outcomes, err
	}
}

func rollback(target, name, generation string) func(*world) ([]outcome.Outcome, error) {
	return func(w *world) ([]outcome.Outcome, error) {
		report, err := w.engine.Rollback(w.t.Context(), target, name, generation, Request{Limits: worldLimits, By: "test"})
		return report.Outcomes, err
	}
}

func plan(req Request) func(*world) ([]outcome.Outcome, error) {
	return func(w *world) ([]outcome.Outcome, error) {
		report, err := w.engine.Plan(w.t.Context(), req)
		return report.Outcomes, err
	}
}

// marked is which lineages are marked, for a run.
func (w *world) marked() string {
	w.t.Helper()
	marks, err := w.engine.Site.Store.Marks()
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, mark := range marks {
		all = append(all, strings.TrimSuffix(strings.TrimPrefix(mark.Lineage, "certbot:"), ".example"))
	}
	return strings.Join(all, " ")
}

// wantsMarked demands that some lineages are marked.
func wantsMarked(want string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		if got := w.marked(); got != want {
			w.t.Errorf("marked are %q, and not %q", got, want)
		}
	}
}

// mark lets a hook mark lineages.
func mark(names ...string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		for _, name := range names {
			if err := w.engine.Site.Store.Mark("certbot", name); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// hook is the run of a client's hook.
func hookOf(names ...string) func(*world) ([]outcome.Outcome, error) {
	return deploy(Request{Lineages: names, Coalesce: true})
}

// nothing is no run.
func nothing(*world) ([]outcome.Outcome, error) { return nil, nil }

func (w *world) remove(path string) {
	w.t.Helper()
	if err := os.RemoveAll(filepath.Join(w.dir, path)); err != nil {
		w.t.Fatal(err)
	}
}

// junk lets the files of a lineage hold nothing that is of use.
func junk(name string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		dir := filepath.Join("live", name)
		if err := os.MkdirAll(filepath.Join(w.dir, dir), 0o755); err != nil {
			w.t.Fatal(err)
		}
		for _, file := range []string{"fullchain.pem", "privkey.pem"} {
			w.remove(filepath.Join(dir, file))
			w.write(filepath.Join(dir, file), "junk")
		}
	}
}

// chmod changes the mode of an installed key.
func chmod(mode os.FileMode) func(*world) {
	return func(w *world) {
		w.t.Helper()
		if err := os.Chmod(w.path("a.example", ".key"), mode); err != nil {
			w.t.Fatal(err)
		}
	}
}

// lose lets the state directory be gone, and nothing be in its place that could be
// written to, until it is regained.
func lose(w *world) {
	w.t.Helper()
	if err := os.Rename(filepath.Join(w.dir, "state"), filepath.Join(w.dir, "away")); err != nil {
		w.t.Fatal(err)
	}
	w.write("state", "")
}

func regain(w *world) {
	w.t.Helper()
	w.remove("state")
	if err := os.Rename(filepath.Join(w.dir, "away"), filepath.Join(w.dir, "state")); err != nil {
		w.t.Fatal(err)
	}
}

// blocked puts a file in the place of a directory.
func blocked(path string) func(*world) {
	return func(w *world) { w.remove(path); w.write(path, "") }
}

// outdated marks what is outdated, and fails as that does.
func outdated(w *world) ([]outcome.Outcome, error) {
	_, err := w.engine.MarkOutdated(nil)
	return nil, err
}

// two are options for another target, of another service, that takes b.example.
const two = `lineage: a.example, probe: ["tls://127.0.0.1:443"]}
  - {name: other, service: generic, unit: other.service, lineage: b.example, certificate: DIR/tls/b.example.crt, key: DIR/tls/b.example.key, mode: 0600, probe: ["tls://127.0.0.1:443"]`

// obstruct puts a directory in the place of a file, so that it can be neither read
// nor written.
func obstruct(path string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		w.remove(path)
		if err := os.MkdirAll(filepath.Join(w.dir, path, "x"), 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
}

// has demands what is installed of a lineage.
func has(name, want string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		if got := w.whichLeaf(name, w.installed(name)); got != want {
			w.t.Errorf("installed of %s is %s, and not %s", name, got, want)
		}
	}
}

// logs demands that something was logged.
func logs(want string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		if !strings.Contains(w.log.String(), want) {
			w.t.Errorf("%q is missing in\n%s", want, w.log.String())
		}
	}
}

var (
	everything = Request{}
	pending    = Request{Pending: true}
	allPending = Request{Pending: true, All: true}
)

// TestRestartedOnce is about services that were restarted in vain, which is not done
// again for the same leaf by itself.
func TestRestartedOnce(t *testing.T) {
	const options = "allow_restart: true"
	notReloadable := func(w *world) { w.unit.CanReload = false }
	inVain := on{"tell 1": ignored()}
	byHand := Request{Look: true}
	allow := remembers(func(st *state.State) {
		if !st.Allow("web", time.Now()) || st.Allow("web", time.Now()) {
			t.Error("it is allowed once")
		}
	})
	reloads := func(w *world) { w.unit.CanReload = true }
	const failed = "rolled-back (not-proven) at prove"
	live(t, []history{
		{"by itself", 1, options, []turn{
			{both(notReloadable, happen(inVain)), hookOf("a.example"), failed, "restart, restart"},
			{later(48 * time.Hour), deploy(pending), "", ""},
			{nil, hookOf("a.example"), failed, ""},
			{nil, deploy(Request{Pending: true, Look: true}), "", ""},
			{mark("a.example"), deploy(pending), failed, ""},
			{both(wantsMarked(""), has("a.example", "old"), renewed("a.example")), deploy(pending), failed, "restart, restart"},
			{happen(nil), hookOf("a.example"), failed, ""},
			{nil, deploy(byHand), "deployed", "restart"},
		}},
		{"with everything that is pending", 1, options, []turn{
			{both(notReloadable, happen(inVain)), deploy(everything), failed, "restart, restart"},
			{nil, deploy(Request{Pending: true, All: true, Look: true}), failed, "restart, restart"},
			{nil, deploy(Request{Force: true}), failed, "restart, restart"},
			{nil, hookOf("a.example"), failed, ""},
			{allow, deploy(pending), failed, "restart, restart"},
			{nil, deploy(allPending), failed, ""},
		}},
		{"that cannot be undone", 1, options, []turn{
			{both(notReloadable, happen(on{"tell": ignored()})), deploy(everything), failed, "restart, restart"},
			{happen(nil), deploy(byHand), "deployed", "restart"},
		}},
		{"by a command", 1, "generic: {activate: [service, web, restart]}", []turn{
			{happen(inVain), deploy(everything), failed, "service web restart, service web restart"},
			{nil, hookOf("a.example"), failed, ""},
		}},
		{"of a job that systemd did not accept", 1, options, []turn{
			{both(notReloadable, happen(on{"tell 1": fails(&systemd.RefusedError{})})), deploy(everything), "rolled-back (reload-refused) at activate", "restart"},
			{both(happen(nil), later(time.Hour)), deploy(pending), "deployed", "restart"},
		}},
		{"a reload is tried again", 1, options, []turn{
			{both(reloads, happen(inVain)), deploy(everything), failed, "reload, reload"},
			{nil, hookOf("a.example"), failed, "reload, reload"},
		}},
		{"a first installation waits for somebody", 1, options, []turn{
			{func(w *world) {
				notReloadable(w)
				w.remove("tls/a.example.crt")
				w.remove("tls/a.example.key")
				remembers(func(st *state.State) { st.Records = nil })(w)
				w.on = on{"tell": ignored()}
			}, deploy(everything), "deferred (first-install)", "restart"},
			{later(time.Hour), deploy(pending), "deferred (first-install)", ""},
			{nil, hookOf("a.example"), "deferred (first-install)", ""},
			{func(w *world) { w.take() }, deploy(pending), "deployed", ""},
		}},
	})
}

// TestHolds is about targets that nothing is deployed to.
func TestHolds(t *testing.T) {
	release := remembers(func(st *state.State) { st.Release("web") })
	live(t, []history{
		{"a crash holds", 1, "", []turn{
			{happen(on{"tell": crash}), deploy(everything), "failed (service-crashed) at prove", "reload"},
			{both(has("a.example", "new"), happen(nil), renewed("a.example")), deploy(everything), "held (service-crashed)", ""},
			{nil, deploy(Request{Force: true, Look: true}), "held (service-crashed)", ""},
			{nil, deploy(allPending), "held (service-crashed)", ""},
			{nil, hookOf("a.example"), "held (service-crashed)", ""},
			{release, deploy(everything), "deployed", "reload"},
		}},
		{"a crash without proof", 1, "", []turn{
			{happen(on{"tell": sequence(crash, ignored())}), deploy(everything), "failed (service-crashed) at prove", "reload"},
			{has("a.example", "old"), deploy(pending), "", ""},
			{both(release, happen(nil), later(time.Hour)), deploy(pending), "", ""},
			{nil, deploy(everything), "deployed", "reload"},
		}},
		{"by hand", 1, "", []turn{
			{remembers(func(st *state.State) { st.Hold("web", "by-hand", time.Now()) }), deploy(everything), "held (by-hand)", ""},
			{nil, rollback("web", "a.example", ""), "no generation but the proven one of a.example is kept for target web", ""},
		}},
		{"a rollback holds", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{nil, rollback("web", "a.example", ""), "deployed", "reload"},
			{has("a.example", "old"), deploy(everything), "held (rollback)", ""},
			{nil, rollback("web", "a.example", ""), "deployed", "reload"},
			{has("a.example", "new"), deploy(everything), "held (rollback)", ""},
		}},
		{"a rollback that crashes a held target", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{nil, rollback("web", "a.example", ""), "deployed", "reload"},
			{happen(on{"tell": crash}), rollback("web", "a.example", ""), "failed (service-crashed) at prove", "reload"},
			{nil, deploy(everything), "held (service-crashed)", ""},
		}},
		{"a rollback that fails does not", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{happen(on{"tell 1": ignored()}), rollback("web", "a.example", ""), "rolled-back (not-proven) at prove", "reload, reload"},
			{nil, deploy(Request{Force: true}), "deployed", "reload"},
		}},
		{"the hold cannot be noted", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{happen(on{"tell": after(lose)}), rollback("web", "a.example", ""), "deployed, hold target web after the rollback: write state: open directory DIR/state: not a directory", "reload"},
		}},
	})
}

// TestRollbackTo is about what to go back to.
func TestRollbackTo(t *testing.T) {
	var first string
	noteFirst := func(w *world) {
		kept, err := w.engine.Site.Store.Generations("web", "a.example")
		if err != nil || len(kept) != 2 {
			w.t.Errorf("kept are %v, %v", kept, err)
		}
		first = kept[0]
	}
	live(t, []history{
		{"what is wrong", 3, "", []turn{
			{nil, rollback("elsewhere", "", ""), "there is no target elsewhere", ""},
			{nil, rollback("web", "", ""), "target web takes several lineages", ""},
			{nil, rollback("web", "../a", ""), "lineage name \"../a\": it starts with a .", ""},
			{nil, rollback("web", "a.example", "20200101"), "no generation 20200101 of a.example is kept for target web", ""},
			{nil, rollback("web", "a.example", ""), "no generation but the proven one of a.example is kept for target web", ""},
			{nil, rollback("web", "d.example", ""), "no generation but the proven one of d.example is kept for target web", ""},
			{blocked("state/generations/web/a.example"), rollback("web", "a.example", ""), "list generations: open DIR/state/generations/web/a.example: not a directory", ""},
		}},
		{"the only lineage", 1, "lineage: a.example", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{nil, rollback("web", "", ""), "deployed", "reload"},
			{has("a.example", "old"), nothing, "", ""},
		}},
		{"the only lineage of a client", 1, "lineage: certbot:a.example", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{nil, rollback("web", "", ""), "deployed", "reload"},
		}},
		{"one by its name", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{both(noteFirst, renewed("a.example")), deploy(everything), "deployed", "reload"},
			{nil, func(w *world) ([]outcome.Outcome, error) { return rollback("web", "a.example", first)(w) }, "deployed", "reload"},
			{has("a.example", "old"), nothing, "", ""},
		}},
		{"the operator's own", 1, "", []turn{
			{remembers(func(st *state.State) { st.Records = nil }), deploy(everything), "deployed", "reload"},
			{nil, rollback("web", "a.example", ""), "deployed", "reload"},
			{has("a.example", "old"), nothing, "", ""},
		}},
	})
}

// TestRuns is about runs that come after others.
func TestRuns(t *testing.T) {
	var noted os.FileInfo
	stateFile := func(w *world) os.FileInfo {
		w.t.Helper()
		info, err := os.Stat(filepath.Join(w.dir, "state/state.json"))
		if err != nil {
			w.t.Fatal(err)
		}
		return info
	}
	noteState := func(w *world) { noted = stateFile(w) }
	sameState := func(w *world) {
		w.t.Helper()
		if !os.SameFile(noted, stateFile(w)) {
			w.t.Error("the state was written where nothing had happened")
		}
	}
	stop := func(w *world) { w.unit.ActiveState = "inactive" }
	start := func(w *world) { w.unit.ActiveState = "active"; w.take() }
	noReload := func(w *world) { w.unit.CanReload = false }
	reload := func(w *world) { w.unit.CanReload = true }
	live(t, []history{
		{"nothing to do", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{noteState, deploy(everything), "unchanged", ""},
			{sameState, deploy(Request{Look: true}), "unchanged", ""},
			{sameState, deploy(pending), "", ""},
			{nil, deploy(Request{Force: true}), "deployed", "reload"},
		}},
		{"another is served", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{func(w *world) { w.shows("a.example", w.issued.leaves["a.example"].old) }, deploy(everything), "unchanged", ""},
			{nil, deploy(Request{Look: true}), "deployed", "reload"},
			{func(w *world) { w.silence() }, deploy(Request{Look: true}), "deployed", "reload"},
			{has("a.example", "new"), nothing, "", ""},
		}},
		{"another mode", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{chmod(0o644), deploy(everything), "deployed", ""},
			{nil, deploy(everything), "unchanged", ""},
		}},
		{"another configuration", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{func(w *world) { w.configure("names: [a.example]") }, deploy(everything), "unchanged", ""},
			{nil, hookOf("a.example"), "unchanged", ""},
		}},
		{"the key is gone", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{func(w *world) { w.remove("tls/a.example.key") }, deploy(everything), "deployed", "reload"},
		}},
		{"nothing is to be proven", 1, "probe: []", []turn{
			{happen(on{"tell": ignored()}), deploy(everything), "deployed", "reload"},
			{nil, deploy(Request{Look: true}), "unchanged", ""},
			{renewed("a.example"), deploy(everything), "deployed", "reload"},
			{both(renewed("a.example"), happen(on{"tell 1": fails(errors.New("no"))})), deploy(everything), "rolled-back (activation-failed) at activate", "reload, reload"},
			{happen(on{"tell": fails(errors.New("no"))}), deploy(everything), "rollback-failed (activation-failed) at activate", "reload, reload"},
		}},
		{"stopped", 1, "", []turn{
			{stop, deploy(everything), "deferred (service-inactive)", ""},
			{nil, deploy(pending), "deferred (service-inactive)", ""},
			{start, deploy(pending), "deployed", ""},
		}},
		{"no reload", 1, "", []turn{
			{noReload, deploy(everything), "waiting-restart (restart-not-allowed)", ""},
			{both(reload, happen(on{"tell": ignored()})), deploy(pending), "rolled-back (not-proven) at prove", "reload, reload"},
			{both(has("a.example", "old"), happen(nil)), deploy(allPending), "deployed", "reload"},
		}},
		{"restarts are allowed", 1, "allow_restart: true", []turn{
			{noReload, deploy(everything), "deployed", "restart"},
		}},
		{"it comes later", 1, "", []turn{
			{both(func(w *world) { w.remove("tls/a.example.crt"); w.remove("tls/a.example.key"); w.silence() }, remembers(func(st *state.State) { st.Records = nil }), happen(on{"tell": ignored()})), deploy(everything), "deferred (first-install)", "reload"},
			{nil, deploy(allPending), "deferred (first-install)", "reload"},
			{happen(nil), deploy(pending), "deployed", "reload"},
		}},
		{"a new leaf begins anew", 1, "", []turn{
			{happen(on{"tell": fails(jobEnded("failed"))}), deploy(everything), "rolled-back (reload-failed) at activate", "reload"},
			{nil, deploy(pending), "", ""},
			{later(80 * time.Second), deploy(pending), "rolled-back (reload-failed) at activate", "reload"},
			{later(80 * time.Second), deploy(pending), "", ""},
			{renewed("a.example"), deploy(pending), "rolled-back (reload-failed) at activate", "reload"},
			{later(80 * time.Second), deploy(pending), "rolled-back (reload-failed) at activate", "reload"},
		}},
		{"nobody knows which", 3, "", []turn{
			{happen(on{"tell 1": fails(errors.New("no"))}), deploy(everything), "a rolled-back (activation-failed) at activate, b rolled-back (activation-failed) at activate, c rolled-back (activation-failed) at activate", "reload, reload"},
			{nil, deploy(pending), "", ""},
			{happen(on{"tell 1": fails(errors.New("no"))}), deploy(allPending), "a rolled-back (activation-failed) at activate, b deployed, c deployed", "reload, reload, reload, reload"},
			{both(later(8*time.Hour), happen(nil)), deploy(pending), "deployed", "reload"},
		}},
		{"nobody knows which, and one comes after the other", 3, "", []turn{
			{happen(on{"tell 1": fails(errors.New("no"))}), deploy(everything), "a rolled-back (activation-failed) at activate, b rolled-back (activation-failed) at activate, c rolled-back (activation-failed) at activate", "reload, reload"},
			{both(happen(nil), later(80*time.Second)), deploy(pending), "deployed", "reload"},
			{later(time.Minute), deploy(pending), "b deployed", "reload"},
			{later(time.Minute), deploy(pending), "c deployed", "reload"},
		}},
		{"one fails alone, and the others are put off", 3, "", []turn{
			{happen(on{"tell 1": fails(errors.New("no"))}), deploy(everything), "a rolled-back (activation-failed) at activate, b rolled-back (activation-failed) at activate, c rolled-back (activation-failed) at activate", "reload, reload"},
			{later(8 * time.Hour), deploy(pending), "rolled-back (activation-failed) at activate", "reload, reload"},
			{happen(nil), deploy(pending), "", ""},
			{later(61 * time.Second), deploy(pending), "b deployed", "reload"},
			{later(2 * time.Minute), deploy(pending), "a deployed, c deployed", "reload, reload"},
		}},
		{"the state cannot be written", 1, "", []turn{
			{happen(on{"tell": after(lose)}), deploy(everything), "deployed", "reload"},
			{both(logs("what was done cannot be noted"), logs("the history cannot be written"), logs("cannot keep the generation"), regain, happen(nil)), deploy(everything), "deployed", ""},
		}},
		{"a crash cannot be noted", 1, "", []turn{
			{happen(on{"tell": sequence(after(lose), crash)}), deploy(everything), "failed (service-crashed) at prove", "reload"},
		}},
		{"the history is damaged", 1, "", []turn{
			{func(w *world) { w.write("state/history.jsonl", "{") }, deploy(everything), "deployed", "reload"},
			{logs("the history was damaged"), nothing, "", ""},
		}},
		{"the state is damaged", 1, "", []turn{
			{func(w *world) { w.write("state/state.json", "{") }, deploy(everything), "deployed", "reload"},
			{logs("the state was damaged; its copy is used"), nothing, "", ""},
		}},
		{"the clock was ahead", 1, "", []turn{
			{remembers(func(st *state.State) { st.Records[0].Proven.Time = time.Now().AddDate(10, 0, 0) }), deploy(everything), "deployed", "reload"},
			{logs("the clock was set back"), nothing, "", ""},
			{both(renewed("a.example"), func(w *world) { w.log.Reset(); w.write("state/state.json", "{") }), deploy(everything), "deployed", "reload"},
			{func(w *world) {
				if strings.Contains(w.log.String(), "the clock was set back") {
					w.t.Error("it is told again")
				}
			}, nothing, "", ""},
		}},
	})
}

func (w *world) write(path, content string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, path), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// TestPlan says what would be done, and does nothing.
func TestPlan(t *testing.T) {
	live(t, []history{
		{"all kinds", 3, "", []turn{
			{both(func(w *world) { w.renew("b.example", w.issued.leaves["b.example"].old) }, junk("c.example")), plan(everything), "a planned, b unchanged, c refused (no-certificate) at validate", ""},
			{nil, plan(Request{Lineages: []string{"a.example"}}), "planned", ""},
			{nil, plan(Request{Lineages: []string{"d.example"}}), "there is no lineage d.example below DIR/live", ""},
			{nil, plan(Request{Targets: []string{"elsewhere"}}), "there is no target elsewhere", ""},
			{func(w *world) { w.unit.ActiveState = "inactive" }, plan(Request{Lineages: []string{"a.example"}}), "planned", ""},
			{has("a.example", "old"), nothing, "", ""},
			{obstruct("live"), plan(everything), "", ""},
			{blocked("live"), plan(everything), "list lineages: open DIR/live: not a directory", ""},
			{nil, deploy(everything), "list lineages: open DIR/live: not a directory", ""},
			{nil, hookOf("a.example"), "list lineages: open DIR/live: not a directory", ""},
			{nil, outdated, "list lineages: open DIR/live: not a directory", ""},
		}},
	})
}

// TestHooks is about hooks that run into each other, or into nothing to do.
func TestHooks(t *testing.T) {
	locked := func(w *world) {
		release, err := w.engine.Site.Store.Lock(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		w.release = release
	}
	unlocked := func(w *world) { w.release() }
	short := Request{Lineages: []string{"a.example"}, Coalesce: true, Limits: Limits{Lock: time.Second, Work: 20 * time.Second, Total: 2 * time.Minute, Activation: 10 * time.Second, Proof: time.Second}}
	longer := short
	longer.Limits.Work = 26 * time.Second
	live(t, []history{
		{"nothing to do takes no lock", 2, "", []turn{
			{nil, deploy(everything), "a deployed, b deployed", "reload"},
			{locked, hookOf("a.example"), "unchanged", ""},
			{both(wantsMarked(""), renewed("a.example")), hookOf("a.example"), "waited 1s for DIR/state/lock, which another run holds", ""},
			{both(wantsMarked("a"), unlocked), hookOf("b.example"), "b unchanged", ""},
			{wantsMarked("a"), deploy(pending), "deployed", "reload"},
			{wantsMarked(""), nothing, "", ""},
		}},
		{"what others have marked is taken along", 3, "", []turn{
			{mark("c.example"), hookOf("a.example"), "deployed", "reload"},
			{both(wantsMarked(""), has("c.example", "new"), has("b.example", "old"), logs("taken along")), deploy(everything), "a unchanged, b deployed, c unchanged", "reload"},
		}},
		{"without time no other service is", 2, two, []turn{
			{mark("b.example"), deploy(short), "deployed", "reload"},
			{wantsMarked("b"), deploy(pending), "b deployed", "reload"},
			{wantsMarked(""), nothing, "", ""},
		}},
		{"with time others are", 2, two, []turn{
			{mark("b.example"), deploy(longer), "deployed", "reload, reload"},
			{wantsMarked(""), nothing, "", ""},
		}},
		{"one target leaves the marks", 1, "", []turn{
			{mark("a.example"), deploy(Request{Targets: []string{"web"}}), "deployed", "reload"},
			{wantsMarked("a"), deploy(pending), "unchanged", ""},
			{wantsMarked(""), nothing, "", ""},
		}},
		{"a rollback leaves the marks", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{mark("a.example"), rollback("web", "a.example", ""), "deployed", "reload"},
			{wantsMarked("a"), nothing, "", ""},
		}},
		{"marks cannot be written", 1, "", []turn{
			{blocked("state/marks"), hookOf("a.example"), "deployed", "reload"},
			{logs("another run cannot take this along"), nothing, "", ""},
		}},
		{"a hook tells of what fails", 2, "", []turn{
			{happen(on{"tell 1": fails(errors.New("no"))}), hookOf("a.example"), "rolled-back (activation-failed) at activate", "reload, reload"},
			{nil, hookOf("a.example"), "rolled-back (activation-failed) at activate", "reload, reload"},
			{nil, hookOf("b.example"), "b rolled-back (activation-failed) at activate", "reload, reload"},
		}},
		{"another mode makes a difference", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{both(locked, chmod(0o640)), hookOf("a.example"), "waited 1s for DIR/state/lock, which another run holds", ""},
		}},
		{"another configuration makes a difference", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{both(locked, func(w *world) { w.configure("names: [a.example]") }), hookOf("a.example"), "waited 1s for DIR/state/lock, which another run holds", ""},
		}},
		{"another leaf makes a difference", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{both(locked, renewed("a.example")), hookOf("a.example"), "waited 1s for DIR/state/lock, which another run holds", ""},
		}},
		{"junk makes a difference", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{both(locked, junk("a.example")), hookOf("a.example"), "waited 1s for DIR/state/lock, which another run holds", ""},
		}},
		{"no key makes a difference", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{both(locked, func(w *world) { w.remove("tls/a.example.key") }), hookOf("a.example"), "waited 1s for DIR/state/lock, which another run holds", ""},
		}},
		{"what is pending makes a difference", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{both(locked, remembers(func(st *state.State) { st.Record("web", "a.example").Fail(state.Failure{}, time.Now()) })), hookOf("a.example"), "waited 1s for DIR/state/lock, which another run holds", ""},
		}},
		{"what was remembered in another way makes a difference", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{both(locked, remembers(func(st *state.State) { st.Records[0].Proven.Files[0].Content = "elsewise" })), hookOf("a.example"), "waited 1s for DIR/state/lock, which another run holds", ""},
		}},
		{"a row may make a difference", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{both(locked, remembers(func(st *state.State) { st.Records[0].Proven.Files = nil })), hookOf("a.example"), "waited 1s for DIR/state/lock, which another run holds", ""},
		}},
		{"a held target", 1, "", []turn{
			{both(locked, remembers(func(st *state.State) { st.Hold("web", "by-hand", time.Now()) })), hookOf("a.example"), "held (by-hand)", ""},
		}},
		{"a lineage that is gone", 1, "", []turn{
			{func(w *world) { w.remove("live/a.example") }, hookOf("a.example"), "there is no lineage a.example below DIR/live", ""},
			{nil, deploy(everything), "", ""},
		}},
	})
}

// TestHookMeetsAnotherRun is told what another run has made of its lineage.
func TestHookMeetsAnotherRun(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(*state.Failure)
		want    string
		elseDid bool
	}{
		{"it failed", func(*state.Failure) {}, "rolled-back (no) at prove", true},
		{"it failed with another leaf", func(f *state.Failure) { f.Fingerprint = "aa" }, "deployed", false},
		{"it could not be read", func(f *state.Failure) { f.Fingerprint = "" }, "deployed", false},
		{"it had no time", func(f *state.Failure) { f.Reason = string(outcome.OutOfTime) }, "deployed", false},
		{"it was cut off", func(f *state.Failure) { f.Reason = string(outcome.Interrupted) }, "deployed", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, issue(t), 1, func(w *world) {
				w.settle("")
				release, err := w.engine.Site.Store.Lock(w.t.Context())
				if err != nil {
					t.Fatal(err)
				}
				w.told = nil
				time.AfterFunc(100*time.Millisecond, func() { // the other run ends
					failure := state.Failure{Result: "rolled-back", Reason: "no", Step: "prove", Fingerprint: fingerprintOf(w.issued.leaves["a.example"].next)}
					test.change(&failure)
					remembers(func(st *state.State) { st.Record("web", "a.example").Fail(failure, time.Now()) })(w)
					marks, err := w.engine.Site.Store.Marks()
					if err != nil || len(marks) != 1 {
						t.Errorf("marked are %v, %v", marks, err)
					}
					for _, m := range marks {
						if err := w.engine.Site.Store.Unmark(m); err != nil {
							t.Error(err)
						}
					}
					release()
				})
				got, err := hookOf("a.example")(w)
				if become := becameOf(got, err); become != test.want || (len(w.told) == 0) != test.elseDid {
					t.Errorf("it came to %s, and the service was told %v", become, w.told)
				}
			})
		})
	}
}

// behind marks what is behind of some lineages, or of all, and takes the marks away.
func behind(names ...string) func(*world) ([]outcome.Outcome, error) {
	return func(w *world) ([]outcome.Outcome, error) {
		var changed []lineage.Lineage
		for _, name := range names {
			l, err := prepare.Lineage(w.engine.Site.Config, name)
			if err != nil {
				return nil, err
			}
			changed = append(changed, l)
		}
		n, err := w.engine.MarkOutdated(changed)
		marks, markErr := w.engine.Site.Store.Marks()
		var all []outcome.Outcome
		for _, m := range marks {
			all = append(all, outcome.Outcome{Lineage: strings.TrimPrefix(m.Lineage, "certbot:"), Result: "marked"})
			markErr = errors.Join(markErr, w.engine.Site.Store.Unmark(m))
		}
		if n != len(all) {
			w.t.Errorf("%d are behind, and marked are %v", n, all)
		}
		return all, errors.Join(err, markErr)
	}
}

// TestMarkOutdated is about lineages that a watcher finds changed, or that nobody has
// told of.
func TestMarkOutdated(t *testing.T) {
	live(t, []history{
		{"files", 3, "", []turn{
			{nil, behind(), "a marked, b marked, c marked", ""},
			{nil, behind("a.example"), "marked", ""},
			{happen(on{"tell 1": takesNot("b.example")}), deploy(everything), "a deployed, b rolled-back (not-proven) at prove, c deployed", "reload, reload, reload"},
			{happen(nil), behind(), "", ""},
			{nil, behind("a.example", "b.example"), "", ""},
			{renewed("a.example", "b.example"), behind(), "marked", ""},
			{nil, behind("a.example", "b.example"), "a marked, b marked", ""},
			{func(w *world) { w.remove("tls/c.example.key") }, behind(), "a marked, c marked", ""},
			{junk("c.example"), behind(), "a marked, c marked", ""},
			{nil, deploy(Request{Lineages: []string{"c.example"}}), "c refused (no-certificate) at validate", ""},
			{nil, behind(), "marked", ""},
			{nil, behind("c.example"), "c marked", ""},
			{remembers(func(st *state.State) { st.Hold("web", "by-hand", time.Now()) }), behind(), "", ""},
			{nil, behind("a.example", "b.example"), "", ""},
		}},
		{"not there yet", 1, "", []turn{
			{func(w *world) { w.configure("lineage: b.example") }, behind(), "", ""},
		}},
		{"never deployed", 1, "", []turn{
			{remembers(func(st *state.State) { st.Records = nil }), behind(), "marked", ""},
		}},
		{"a row", 1, "", []turn{
			{remembers(func(st *state.State) { st.Records[0].Proven.Files = nil }), behind(), "marked", ""},
			{nil, deploy(everything), "deployed", "reload"},
			{remembers(func(st *state.State) { st.Records[0].Proven.Files = nil }), behind(), "", ""},
		}},
	})
}

// TestGone is about lineages that are gone, or not there yet.
func TestGone(t *testing.T) {
	records := func(want string) func(*world) {
		return func(w *world) {
			w.t.Helper()
			var all []string
			for _, record := range w.state().Records {
				all = append(all, strings.TrimSuffix(record.Lineage, ".example"))
			}
			if got := strings.Join(all, " "); got != want {
				w.t.Errorf("there are records of %s, and not of %s", got, want)
			}
		}
	}
	gone := func(names ...string) func(*world) {
		return func(w *world) {
			for _, name := range names {
				w.remove(filepath.Join("live", name))
			}
		}
	}
	live(t, []history{
		{"what failed is forgotten, and what was proven is not", 2, "", []turn{
			{nil, deploy(everything), "a deployed, b deployed", "reload"},
			{junk("c.example"), deploy(everything), "a unchanged, b unchanged, c refused (no-certificate) at validate", ""},
			{both(records("a b c"), gone("a.example", "c.example"), renewed("b.example")), deploy(everything), "b deployed", "reload"},
			{records("a b"), nothing, "", ""},
		}},
		{"what failed is remembered where it is named", 1, "", []turn{
			{both(func(w *world) { w.configure("lineage: c.example") }, junk("c.example")), deploy(everything), "c refused (no-certificate) at validate", ""},
			{gone("c.example"), deploy(everything), "c failed (lineage-not-found) at validate", ""},
			{records("a c"), nothing, "", ""},
		}},
		{"a missing one is none of another target's", 1, "", []turn{
			{func(w *world) { w.configure(two) }, deploy(Request{Targets: []string{"web"}}), "deployed", "reload"},
			{nil, deploy(Request{Targets: []string{"other"}}), "b failed (lineage-not-found) at validate", ""},
			{nil, deploy(Request{Lineages: []string{"a.example"}}), "unchanged", ""},
		}},
		{"a missing one is told once", 1, "", []turn{
			{nil, deploy(everything), "deployed", "reload"},
			{func(w *world) { w.configure("lineage: certbot:b.example") }, deploy(pending), "", ""},
			{nil, deploy(Request{Lineages: []string{"a.example"}}), "", ""},
			{nil, deploy(everything), "b failed (lineage-not-found) at validate", ""},
			{nil, deploy(pending), "", ""},
			{later(2 * time.Minute), deploy(pending), "b failed (lineage-not-found) at validate", ""},
			{renewed("b.example"), deploy(pending), "b deferred (first-install)", "reload"},
			{records("a b"), nothing, "", ""},
		}},
	})
}

// TestRecover is about what a run that was cut off has left.
func TestRecover(t *testing.T) {
	// begin begins to install the renewal, as a run that is cut off.
	begin := func(w *world) {
		w.t.Helper()
		leaf := w.issued.leaves["a.example"].next
		tx, err := install.New(w.engine.Site.Store.JournalDir()).Stage([]install.Set{{Target: "web", Lineage: "a.example", Files: []install.File{
			{Path: w.path("a.example", ".crt"), Data: leaf.Fullchain, UID: os.Getuid(), GID: os.Getgid(), Mode: 0o600},
		}}})
		if err == nil {
			err = tx.Commit()
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	damage := func(w *world) {
		w.t.Helper()
		files, err := filepath.Glob(filepath.Join(w.dir, "state/journal/*"))
		if err != nil || len(files) == 0 {
			w.t.Fatalf("journals are %v, %v", files, err)
		}
		for _, file := range files {
			if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	recover := func(w *world) ([]outcome.Outcome, error) {
		return nil, w.engine.Recover(w.t.Context(), Request{Limits: worldLimits, By: "test"})
	}
	hide := func(w *world) {
		if err := os.Rename(filepath.Join(w.dir, "tls"), filepath.Join(w.dir, "hidden")); err != nil {
			w.t.Fatal(err)
		}
		w.write("tls", "")
	}
	show := func(w *world) {
		w.remove("tls")
		if err := os.Rename(filepath.Join(w.dir, "hidden"), filepath.Join(w.dir, "tls")); err != nil {
			w.t.Fatal(err)
		}
	}
	waits := func(reason string, attempts int) func(*world) {
		return func(w *world) {
			w.t.Helper()
			record := w.state().Get("web", "a.example")
			if p := record.Pending; p == nil || p.Reason != reason || p.Attempts != attempts || p.Next == nil || record.Proven != nil {
				w.t.Errorf("remembered is %+v", record)
			}
		}
	}
	shown := func(reason string) func(*world) {
		return func(w *world) {
			w.t.Helper()
			snapshot, err := state.ReadSnapshot(w.engine.Site.Config.Run)
			if err != nil {
				w.t.Fatal(err)
			}
			if seen := snapshot.Lookup()("web", "a.example"); seen == nil || seen.Pending == nil || seen.Pending.Reason != reason {
				w.t.Errorf("the snapshot has %+v", seen)
			}
		}
	}
	live(t, []history{
		{"nothing", 1, "", []turn{
			{nil, recover, "", ""},
			{func(w *world) {
				if strings.Contains(w.log.String(), "level=WARN") || strings.Contains(w.log.String(), "level=ERROR") {
					w.t.Errorf("logged is %s", w.log.String())
				}
			}, nothing, "", ""},
		}},
		{"what is put back is due", 2, "", []turn{
			{both(begin, has("a.example", "new")), recover, "", ""},
			{both(has("a.example", "old"), logs("the previous pair is back in place"), waits("interrupted", 1), shown("interrupted")), deploy(pending), "deployed", "reload"},
			{nil, deploy(everything), "a unchanged, b deployed", "reload"},
		}},
		{"what is put back is due to whoever comes", 2, "", []turn{
			{begin, hookOf("b.example"), "b deployed", "reload"},
			{both(has("a.example", "new"), has("b.example", "new")), deploy(pending), "", ""},
		}},
		{"but not to who comes for another target", 2, two, []turn{
			{begin, deploy(Request{Targets: []string{"other"}}), "b deployed", "reload"},
			{has("a.example", "old"), deploy(pending), "deployed", "reload"},
		}},
		{"somebody changed it", 1, "", []turn{
			{both(begin, func(w *world) { w.write("tls/a.example.crt", "mine") }), recover, "", ""},
			{logs("somebody changed files since"), deploy(pending), "deployed", "reload"},
		}},
		{"a journal that cannot be read", 2, "", []turn{
			{both(begin, damage), recover, "", ""},
			{both(logs("every target is looked at anew"), waits("interrupted", 1)), deploy(pending), "a deployed, b deployed", "reload"},
		}},
		{"what cannot be put back", 2, "", []turn{
			{both(begin, hide), recover, "the previous files are not all back in place: target web, lineage a.example: an earlier run was cut off, and the previous pair cannot be put back: open directory DIR/tls: not a directory", ""},
			{both(logs("this target is left alone until it can"), waits("not-recovered", 1), shown("not-recovered"), later(time.Hour)), recover, "the previous files are not all back in place: target web, lineage a.example: an earlier run was cut off, and the previous pair cannot be put back: open directory DIR/tls: not a directory", ""},
			{waits("not-recovered", 1), deploy(everything), "a rollback-failed (not-recovered) at commit, b failed (unexpected) at validate", ""},
			{show, deploy(pending), "deployed", "reload"},
			{nil, deploy(everything), "a unchanged, b deployed", "reload"},
		}},
		{"the journals cannot be read at all", 1, "", []turn{
			{blocked("state/journal"), recover, "repair what an interrupted run left: open directory DIR/state/journal: not a directory", ""},
		}},
	})
}

// TestTold is about what is told of a run, and kept in the history.
func TestTold(t *testing.T) {
	inWorld(t, issue(t), 1, func(w *world) {
		w.settle("")
		var told []string
		tell := func(name string, run func(*world) ([]outcome.Outcome, error)) {
			t.Helper()
			got, err := run(w)
			if err != nil || len(got) != 1 {
				t.Fatalf("%s: %s", name, becameOf(got, err))
			}
			o := got[0]
			leaf := func(l *lineage.Leaf) string {
				if l == nil {
					return "-"
				}
				return w.which("a.example", l.Fingerprint)
			}
			generation := "no generation"
			if o.Generation != "" {
				generation = "the generation of " + leaf(o.New)
				if !strings.HasSuffix(o.Generation, o.New.Short()) {
					t.Errorf("%s is no generation of %s", o.Generation, o.New.Short())
				}
			}
			told = append(told, fmt.Sprintf("%s: %s by %s, %s after %s, %s, %s", name, verdict(o), o.Service, leaf(o.New), leaf(o.Previous), generation, stepsOf(o)))
		}
		w.on = on{"tell": fails(jobEnded("failed"))}
		tell("fails", deploy(everything))
		w.on = nil
		tell("plan", plan(everything))
		tell("works", deploy(everything))
		tell("nothing", deploy(everything))
		tell("look", deploy(Request{Look: true}))
		tell("back", rollback("web", "a.example", ""))
		tell("held", deploy(everything))
		junk("a.example")(w)
		remembers(func(st *state.State) { st.Release("web") })(w)
		tell("junk", deploy(everything))
		want := []string{
			"fails: rolled-back (reload-failed) at activate by generic, new after old, no generation, vbsctAur",
			"plan: planned by generic, new after old, no generation, v",
			"works: deployed by generic, new after old, the generation of new, vbsctapr",
			"nothing: unchanged by generic, new after new, the generation of new, ",
			"look: unchanged by generic, new after new, the generation of new, v",
			"back: deployed by generic, old after new, the generation of old, vbsctapr",
			"held: held (rollback) by generic, - after -, no generation, ",
			"junk: refused (no-certificate) at validate by generic, - after -, no generation, Vr",
		}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Error(diff)
		}

		snapshot, err := state.ReadSnapshot(w.engine.Site.Config.Run)
		if err != nil {
			t.Fatal(err)
		}
		if seen := snapshot.Lookup()("web", "a.example"); seen == nil || seen.Installed == nil || w.which("a.example", seen.Installed.Fingerprint) != "old" {
			t.Errorf("the snapshot has %+v", seen)
		}

		entries, damage, err := w.engine.Site.Store.History()
		if err != nil || damage != nil {
			t.Fatal(err, damage)
		}
		var history []string
		for _, e := range entries[1:] { // the first is how the host was settled
			reason, generation, leaf := "-", "-", "-"
			if e.Reason != nil {
				reason = *e.Reason
			}
			if e.Leaf != nil {
				leaf = w.which("a.example", e.Leaf.Fingerprint)
			}
			if e.Generation != nil && strings.HasSuffix(*e.Generation, e.Leaf.Short()) {
				generation = "its own"
			}
			history = append(history, strings.Join([]string{e.Target, e.Lineage, e.Result, reason, leaf, generation, e.By}, " "))
		}
		want = []string{
			"web a.example rolled-back reload-failed new - test",
			"web a.example deployed - new its own test",
			"web a.example deployed - old its own test",
			"web a.example refused no-certificate - - test",
		}
		if diff := cmp.Diff(want, history); diff != "" {
			t.Error(diff)
		}
	})
}
