package deploy

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/fault"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// helperVariable makes the test binary a process that the tests let meet
// faults.
const helperVariable = "CERTLATCH_TEST_HELPER"

// results are what the helper's exit codes tell, from firstResult on, which is
// that of Deployed. 1 is an
// error of the run, and 2 a panic's (package runtime).
var results = []outcome.Result{outcome.Deployed, outcome.Unchanged, outcome.RolledBack, outcome.RollbackFailed, outcome.WaitingRestart, outcome.Failed}

const firstResult = 10

// besideResult is what the result of the other target counts in the exit code.
const besideResult = 10

// help is the work of the helper process: to deploy one of a victim's lineages, or
// both side by side.
func help(root, work string) (code int) {
	e, err := victim{root: root}.engine(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	req := Request{Lineages: []string{"web.example"}, By: "test", Limits: HandLimits}
	e.beside = oneByOne
	if work == helpBeside {
		turns := &turns{Programs: e.Site.World.Programs}
		e.beside, e.Site.World.Programs = turns.beside, turns
		req.Lineages = nil
	}
	report, err := e.Deploy(context.Background(), req)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code = firstResult
	for i, out := range report.Outcomes {
		fmt.Fprintf(os.Stderr, "%s: %s (%s) at %s: %s\n", out.Target, out.Result, out.Reason, out.At, out.Detail)
		code += slices.Index(results, out.Result) * []int{1, besideResult}[i]
	}
	return code
}

// helpBeside is the work of deploying to both targets.
const helpBeside = "beside"

// turns does tasks side by side on one thread, as a sweep of faults needs it: each
// in a coroutine, of which another has its turn whenever one runs a program.
type turns struct {
	prepare.Programs
	yield func(struct{}) bool // of the task whose turn it is
}

func (s *turns) beside(tasks []func()) {
	if len(tasks) == 1 {
		tasks[0]()
		return
	}
	type coroutine struct {
		next  func() (struct{}, bool)
		yield func(struct{}) bool
	}
	outer := s.yield
	defer func() { s.yield = outer }()
	var going []*coroutine
	for _, task := range tasks {
		c := new(coroutine)
		c.next, _ = iter.Pull(func(yield func(struct{}) bool) {
			c.yield = yield
			s.yield = yield
			task()
		})
		going = append(going, c)
	}
	for len(going) > 0 {
		going = slices.DeleteFunc(going, func(c *coroutine) bool {
			s.yield = c.yield
			_, goesOn := c.next()
			return !goesOn
		})
	}
}

func (s *turns) another() {
	if s.yield != nil {
		s.yield(struct{}{})
	}
}

func (s *turns) Run(ctx context.Context, argv []string) (command.Output, error) {
	s.another()
	return s.Programs.Run(ctx, argv)
}

func (s *turns) CanRead(ctx context.Context, as command.Credential, paths []string) error {
	s.another()
	return s.Programs.CanRead(ctx, as, paths)
}

// victim is a host in small: a target "web" with a pair that is proven and a
// renewal, and another, "other", with a lineage that is to be installed for the
// first time. The service of web takes only the certificate in the file "takes".
type victim struct {
	root         string
	before, next pki.Leaf // of web

	last  pki.Leaf // a second renewal
	other pki.Leaf
}

const victimConfig = `
state: ROOT/state
lineages: [certbot: ROOT/live]
policy: {trust: ROOT/root.pem}
targets:
  - {name: web, service: generic, lineage: web.example, PATHS, probe: [], generic: {activate: [cmp, INSTALLED, ROOT/takes]}}
  - {name: other, service: generic, lineage: other.example, PATHS, probe: [], generic: {activate: ["true"]}}
`

// layouts are where pairs are, for a target, and the certificate of a lineage.
var layouts = map[string]struct{ keys, installed string }{
	"in-place": {`certificate: "ROOT/tls/{lineage}.crt", key: "ROOT/tls/{lineage}.key"`, "ROOT/tls/web.example.crt"},
	"managed":  {`directory: "ROOT/tls/{lineage}"`, "ROOT/tls/web.example/current/fullchain.pem"},
}

func newVictim(t *testing.T, layout string) victim {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "certlatch-test-") // fsync costs nothing there
	if err != nil {
		root = t.TempDir()
	}
	v := victim{root: root}
	t.Cleanup(func() {
		os.RemoveAll(v.root)
		os.RemoveAll(v.template())
	})
	ca := pki.NewCA(t, "Root")
	leaf := func(name string) pki.Leaf { return ca.Leaf(t, pki.Names(name)) }
	v.before, v.next, v.last, v.other = leaf("web.example"), leaf("web.example"), leaf("web.example"), leaf("other.example")
	text := strings.NewReplacer("PATHS", layouts[layout].keys, "INSTALLED", layouts[layout].installed).Replace(victimConfig)
	text = strings.ReplaceAll(text, "ROOT", v.root)
	if err := os.MkdirAll(filepath.Join(v.root, "tls"), 0o755); err != nil {
		t.Fatal(err)
	}
	v.write(t, "certlatch.yaml", []byte(text))
	v.write(t, "root.pem", ca.PEM())
	v.write(t, "takes", v.before.Fullchain)
	pki.WriteCertbot(t, filepath.Join(v.root, "live"), "web.example", v.before)
	v.deploy(t, Request{}, "web deployed")
	pki.WriteCertbot(t, filepath.Join(v.root, "live"), "web.example", v.next)
	pki.WriteCertbot(t, filepath.Join(v.root, "live"), "other.example", v.other)
	for _, name := range []string{"web.example", "other.example"} {
		if err := v.open(t).Site.Store.Mark("certbot", name); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// template is where a victim is before the faults.
func (v victim) template() string { return v.root + ".template" }

func (v victim) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(v.root, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (v victim) engine(log *slog.Logger) (*Engine, error) {
	path := filepath.Join(v.root, "certlatch.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Parse(path, text)
	if err != nil {
		return nil, err
	}
	store, err := state.Open(cfg.State)
	if err != nil {
		return nil, err
	}
	return &Engine{Site: prepare.Site{Config: cfg, Store: store, Log: log, World: prepare.RealWorld(nil, rows.Databases{})}}, nil
}

func (v victim) open(t *testing.T) *Engine {
	t.Helper()
	e, err := v.engine(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// deploy deploys without faults, and wants results by target.
func (v victim) deploy(t *testing.T, req Request, want ...string) string {
	t.Helper()
	req.By, req.Limits = "test", HandLimits
	report, err := v.open(t).Deploy(t.Context(), req)
	if err != nil {
		return err.Error()
	}
	var got []string
	for _, out := range report.Outcomes {
		got = append(got, out.Target+" "+string(out.Result))
	}
	if text := strings.Join(got, ", "); !slices.Contains(want, text) {
		return fmt.Sprintf("%s: %+v", text, report.Outcomes)
	}
	return ""
}

// cutOff begins to deploy the renewal, and ends after the commit, as a process
// that is killed would.
func (v victim) cutOff(t *testing.T) {
	t.Helper()
	r, err := v.open(t).look(Request{Lineages: []string{"web.example"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := r.chooseAll()
	if err != nil || len(jobs) != 1 {
		t.Fatal(err, jobs)
	}
	p, end := r.prepare(t.Context(), jobs[0])
	if end != nil {
		t.Fatal(end.outcome)
	}
	a, err := r.stage(t.Context(), newAttempt([]prepared{p}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.commit(t.Context(), a); err != nil {
		t.Fatal(err)
	}
}

// TestFaults lets a deployment, one that is undone since the activation fails,
// either of them beside another service's, and one that begins with the recovery of
// another that was cut off, meet a fault at every system call that changes
// something, wherever. What the run said of itself was true, the next one finds one
// of the pairs in whole, deploys to all targets, and leaves nothing.
func TestFaults(t *testing.T) {
	sums := make(chan map[string]int, 10)
	t.Run("sweep", func(t *testing.T) {
		for layout := range layouts {
			for work, o := range map[string]ordeal{
				"deploy":  {takesNext: true, ends: outcome.Deployed},
				"undo":    {ends: outcome.RolledBack},
				"recover": {takesNext: true, cutOff: true, ends: outcome.Deployed},

				"deploy beside": {takesNext: true, beside: true, ends: outcome.Deployed},
				"undo beside":   {beside: true, ends: outcome.RolledBack},
			} {
				t.Run(work+" "+layout, func(t *testing.T) {
					t.Parallel()
					o.layout, o.victim = layout, newVictim(t, layout)
					sums <- o.sweep(t)
				})
			}
		}
	})
	close(sums)
	var all []map[string]int
	for sum := range sums {
		all = append(all, sum)
	}
	fault.Count(t, "whole runs", 2600, all...)
}

// ordeal is a run that meets faults.
type ordeal struct {
	victim
	layout    string
	takesNext bool // the service takes the renewal
	cutOff    bool // another run was, before
	beside    bool // other is deployed to as well
	ends      outcome.Result
}

func (o ordeal) sweep(t *testing.T) map[string]int {
	if o.cutOff {
		o.victim.cutOff(t)
	}
	if o.takesNext {
		o.write(t, "takes", o.next.Fullchain)
	}
	if err := os.Rename(o.root, o.template()); err != nil {
		t.Fatal(err)
	}
	start := func() (string, *exec.Cmd) {
		os.RemoveAll(o.root)
		if output, err := exec.Command("cp", "-a", o.template(), o.root).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		cmd := exec.Command(os.Args[0], o.root)
		if o.beside {
			cmd.Args = append(cmd.Args, helpBeside)
		}
		cmd.Env = append(os.Environ(), helperVariable+"=1", "GORACE=atexit_sleep_ms=0")
		return o.root, cmd
	}
	process := fault.Process{Start: start, Part: o.part}
	return fault.Sweep(t, process, func(c fault.Case, ended fault.Ended) {
		if found := o.check(t, c, ended); found != "" {
			t.Errorf("%v: %s\nit ended with %+v", c, found, ended)
		}
	})
}

// part leaves out what is the same as in a deployment that succeeds: before the
// commit of one that is undone, before the second of two has begun and after the
// last has ended, and after the recovery, where its journal begins.
func (o ordeal) part(calls []fault.Call) []fault.Call {
	switch {
	case o.beside:
		begins := slices.IndexFunc(calls, func(c fault.Call) bool { return strings.Contains(c.Args, `"intent-2.json"`) })
		for ends := len(calls); ; ends-- {
			if strings.Contains(calls[ends-1].Args, "</state/journal>") {
				return calls[begins:ends]
			}
		}
	case o.cutOff:
		return calls[:slices.IndexFunc(calls, func(c fault.Call) bool { return strings.Contains(c.Args, `"draft.json"`) })]
	case !o.takesNext:
		return calls[slices.IndexFunc(calls, func(c fault.Call) bool { return c.Name == "renameat" && strings.Contains(c.Args, "</tls") }):]
	}
	return calls
}

// check says what is wrong after a case.
func (o ordeal) check(t *testing.T, c fault.Case, ended fault.Ended) string {
	if ended.Code == 2 || strings.Contains(ended.Output, "goroutine ") {
		return "it panics"
	}
	if found := o.honest(c, ended); found != "" {
		return found
	}
	if err := o.open(t).Recover(t.Context(), Request{By: "test", Limits: HandLimits}); err != nil {
		return "recovery: " + err.Error()
	}
	said := resultsOf(ended)
	switch {
	case said[0] == outcome.Deployed && !o.has("web.example", o.next),
		o.beside && said[1] == outcome.Deployed && !o.has("other.example", o.other):
		return "what was deployed is taken back by the next run"
	case !o.has("web.example", o.before) && !o.has("web.example", o.next):
		return "after the recovery no pair is there in whole"
	}
	if left := slices.DeleteFunc(o.tree(t), isTidy); len(left) > 0 {
		return fmt.Sprintf("after the recovery there is %q", left)
	}
	o.write(t, "takes", o.next.Fullchain)
	ends := []string{"web deployed, other deployed", "web unchanged, other deployed"}
	if o.beside {
		ends = append(ends, "web deployed, other unchanged", "web unchanged, other unchanged")
	}
	if found := o.deploy(t, Request{}, ends...); found != "" {
		return "the next run: " + found
	}
	if !o.has("web.example", o.next) || !o.has("other.example", o.other) {
		return "the next run did not install the pairs"
	}
	tree := o.tree(t)
	diff := cmp.Diff(o.tidy(), tree)
	switch {
	case diff == "":
		return o.remembers(t)
	case cmp.Diff(o.withoutGeneration(), tree) == "":
		return o.renewed(t)
	case o.beside: // other's first generation may be missing too, with its directory
		tree = withoutOther(tree)
		switch "" {
		case cmp.Diff(withoutOther(o.tidy()), tree):
			return ""
		case cmp.Diff(withoutOther(o.withoutGeneration()), tree):
			return o.renewed(t)
		}
	}
	return "after the next run there is (-want +got):\n" + diff
}

// resultsOf returns what a process said that became of web and of other.
func resultsOf(ended fault.Ended) [2]outcome.Result {
	code := ended.Code - firstResult
	if ended.Killed || code < 0 {
		return [2]outcome.Result{"error", "error"}
	}
	return [2]outcome.Result{results[code%besideResult], results[code/besideResult]}
}

// isTidy reports whether a name may be there between two runs.
func isTidy(name string) bool {
	return !strings.HasPrefix(filepath.Base(name), ".") && filepath.Base(filepath.Dir(name)) != "journal"
}

// withoutGeneration is like tidy where the generation to go back to of what was
// deployed could not be kept.
func (o ordeal) withoutGeneration() []string {
	const missing = "state/generations/web/web.example/next"
	return slices.DeleteFunc(o.tidy(), func(name string) bool { return name == missing || strings.HasPrefix(name, missing+"/") })
}

func withoutOther(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.HasPrefix(name, "state/generations/other") })
}

// renewed renews web once more, and looks that the generation is kept by then
// which was missing.
func (o ordeal) renewed(t *testing.T) string {
	t.Helper()
	pki.WriteCertbot(t, filepath.Join(o.root, "live"), "web.example", o.last)
	o.write(t, "takes", o.last.Fullchain)
	if found := o.deploy(t, Request{}, "web deployed, other unchanged"); found != "" {
		return "the renewal: " + found
	}
	kept := "state/generations/web/web.example/next"
	if !o.has("web.example", o.last) || !slices.Contains(o.tree(t), kept) {
		return "with the renewal there is no generation to go back to"
	}
	return ""
}

// honest compares what the run says with what is so.
func (o ordeal) honest(c fault.Case, ended fault.Ended) string {
	if ended.Killed {
		return ""
	}
	said := resultsOf(ended)[0]
	switch {
	case o.beside && resultsOf(ended)[1] == outcome.Deployed && !o.has("other.example", o.other):
		return "it says that other is deployed, and the pair is not there"
	case said == outcome.Deployed && !o.has("web.example", o.next):
		return "it says deployed, and the pair is not there"
	case (said == outcome.RolledBack || said == outcome.Failed) && !o.has("web.example", o.before):
		return fmt.Sprintf("it says %s, and the previous pair is not there", said)
	case o.informs(c) && said != o.ends:
		return fmt.Sprintf("it ends with %s instead of %s for something that only informs", said, o.ends)
	}
	return ""
}

// informs reports whether the one call that fails is about the state, the
// history, the marks or the snapshot, without which a pair can be deployed.
func (o ordeal) informs(c fault.Case) bool {
	once := c.Kind.Name == "EIO" || c.Kind.Name == "EDQUOT"
	inform := regexp.MustCompile(`</state(/marks|/run)?>|</state(/marks|/run)?/\.certlatch-draft`).MatchString(c.Call.Args)
	return once && inform && !strings.Contains(c.Call.Args, `"lock"`)
}

// has reports whether a pair is installed in whole.
func (o ordeal) has(name string, leaf pki.Leaf) bool {
	cert, key := filepath.Join(o.root, "tls", name+".crt"), filepath.Join(o.root, "tls", name+".key")
	if o.layout == "managed" {
		dir := filepath.Join(o.root, "tls", name, "current")
		cert, key = filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem")
	}
	return holds(cert, leaf.Fullchain, 0o644) && holds(key, leaf.Key, 0o640)
}

func holds(path string, want []byte, mode fs.FileMode) bool {
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(data, want) {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode() == mode
}

// tidy is what is in the place when all is well, with the names of generations
// by what is in them.
func (o ordeal) tidy() []string {
	names := []string{
		"state", "state/generations", "state/generations/other", "state/generations/web", "state/journal", "state/marks", "state/run",
		"state/history.jsonl", "state/lock", "state/run/status.json", "state/state.copy.json", "state/state.json",
	}
	pair := func(dir, generation string) {
		dir += "/" + generation
		names = append(names, dir, dir+"/fullchain.pem", dir+"/privkey.pem")
	}
	for target, generations := range map[string][]string{"web": {"before", "next"}, "other": {"other"}} {
		name := target + ".example"
		kept, installed := "state/generations/"+target+"/"+name, "tls/"+name
		names = append(names, kept)
		for _, g := range generations {
			pair(kept, g)
			if o.layout == "managed" {
				pair(installed, g)
				names = append(names, installed+"/"+g+"/chain.pem")
			}
		}
		if o.layout == "managed" {
			names = append(names, installed, installed+"/current")
		} else {
			names = append(names, installed+".crt", installed+".key")
		}
	}
	slices.Sort(names)
	return names
}

// tree lists what is in the state directory and where pairs are installed.
func (o ordeal) tree(t *testing.T) (names []string) {
	t.Helper()
	generation := regexp.MustCompile(`\d{8}T\d{6}[.\d]*Z-\w+`)
	called := map[string]string{}
	for name, leaf := range map[string]pki.Leaf{"before": o.before, "next": o.next, "last": o.last, "other": o.other} {
		called[shortOf(leaf)] = name
	}
	for _, dir := range []string{"state", "tls"} {
		err := filepath.WalkDir(filepath.Join(o.root, dir), func(path string, _ fs.DirEntry, err error) error {
			name, _ := filepath.Rel(o.root, path)
			name = generation.ReplaceAllStringFunc(name, func(g string) string {
				_, leaf, _ := strings.Cut(g, "-")
				return called[leaf]
			})
			if name != "tls" {
				names = append(names, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(names)
	return names
}

// remembers says what is wrong with what is remembered after the next run.
func (o ordeal) remembers(t *testing.T) string {
	t.Helper()
	e := o.open(t)
	st, err := e.Site.Store.Load()
	if err != nil {
		return err.Error()
	}
	for target, leaf := range map[string]pki.Leaf{"web": o.next, "other": o.other} {
		record := st.Get(target, target+".example")
		if record.Pending != nil || record.Proven == nil || record.Proven.Leaf.Short() != shortOf(leaf) {
			return fmt.Sprintf("of %s it is remembered: %+v", target, record)
		}
		pair := e.Site.Store.Generation(target, target+".example", record.Proven.Generation)
		if !holds(pair.Key, leaf.Key, 0o600) || !holds(pair.Fullchain, leaf.Fullchain, 0o600) {
			return fmt.Sprintf("the generation of %s is not there to go back to: %s", target, record.Proven.Generation)
		}
	}
	history, damage, err := e.Site.Store.History()
	isOther := func(e state.Entry) bool { return e.Target == "other" && e.Result == string(outcome.Deployed) }
	if err != nil || damage != nil || !o.beside && !slices.ContainsFunc(history, isOther) {
		return fmt.Sprintf("the history: %v, %v, %+v", err, damage, history)
	}
	snapshot, err := state.ReadSnapshot(e.Site.Config.Run)
	if err != nil {
		return err.Error()
	}
	sighting := snapshot.Lookup()
	for target, leaf := range map[string]pki.Leaf{"web": o.next, "other": o.other} {
		if s := sighting(target, target+".example"); s == nil || s.Installed == nil || s.Installed.Short() != shortOf(leaf) {
			return fmt.Sprintf("in the snapshot %s is %+v", target, s)
		}
	}
	return ""
}

// shortOf returns how the names of a leaf's generations end.
func shortOf(l pki.Leaf) string { return lineage.Describe(l.Cert).Short() }
