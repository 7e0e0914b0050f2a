package deploy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/process"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// world is all that a deployment touches, in small: a service with one or many
// lineages, where their pairs are kept, and what is seen of it. It lives in a
// bubble of package synctest, in which it is midnight. All goes well in it but for
// what a row of a table says: on has what happens besides when something is done.
//
// What is done has these names, and where it counts which time that is, a number
// from 1 on after it: "before" (all of it), "prepare", "begin", "unit", "started",
// "children", "title of PID", "test", "observe", "stage", "read", "commit", "tell", "prove", "undo", "keep".
type world struct {
	t     *testing.T
	on    on
	count map[string]int // what was done how often
	dir   string

	run     *run            // of a group of deployments
	engine  *Engine         // of a host
	log     strings.Builder // of the engine
	release func()          // lets go of the lock of all runs
	began   time.Time       // when the run did

	issued   issued
	names    []string // of the lineages
	target   config.Target
	plan     deployers.Plan // of every lineage, but for its files, row and probes
	inRow    bool           // the pairs are in a database, else in files
	first    bool           // nothing is installed
	nothing  bool           // nothing is to be written: the new pair is installed
	noProofs bool           // nothing is remembered of what is installed
	known    *state.State
	table    map[string]row // the database
	dropped  []install.NotCarried

	unit        deployers.Unit
	due         func(*world) // what happens to the unit by itself,
	dueAt       time.Time    // and when
	connections int          // to systemd
	started     map[int]uint64
	workers     map[int]string                // the titles of the main process's children
	answers     map[string][]deployers.Answer // by method: the next, and the last for good
	asked       int                           // how many questions
	told        []string                      // what the service was
	at          []string                      // and when, since the run began

	shown    map[string]*x509.Certificate // by endpoint; nil: no handshake is completed
	takesAt  time.Time                    // when it takes what is installed; zero: when it is told
	flickers bool                         // every fourth handshake shows the old certificate
	deaf     []uint16                     // ports at which nothing answers, whatever it takes
	peers    map[uint16]process.Peer      // whom found probes reach, by port; process.Own where nothing is said
	provedBy []endpoint.Endpoint          // probes that are remembered of the proof, where they are found
}

// issued is what an authority has issued, by lineage.
type issued struct {
	ca     *pki.CA
	leaves map[string]generations
}

// generations are a lineage's pairs: the one before, and the renewal.
type generations struct{ old, next pki.Leaf }

type row struct{ certificate, key []byte }

// hook is what happens when something is done: it fails with an error before it is
// done, or with an *afterwards when it was.
type hook func(context.Context, *world) error

// afterwards is an error of something that was done all the same.
type afterwards struct{ error }

// errIgnored lets something be done without an effect.
var errIgnored = errors.New("ignored")

func fails(err error) hook   { return func(context.Context, *world) error { return err } }
func ignored() hook          { return fails(errIgnored) }
func wellBut(err error) hook { return fails(&afterwards{err}) }

// after lets something else happen before a thing is done.
func after(do func(*world)) hook {
	return func(_ context.Context, w *world) error { do(w); return nil }
}

// lasts lets something take its time, and fail where the time is over by then.
func lasts(long time.Duration) hook {
	return func(ctx context.Context, _ *world) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(long):
			return nil
		}
	}
}

// takes lets something take its time, whoever waits for it.
func takes(long time.Duration) hook {
	return func(context.Context, *world) error { <-time.After(long); return nil }
}

// soon lets something happen to the unit a while after a thing was done.
func soon(long time.Duration, do func(*world)) hook {
	return after(func(w *world) { w.due, w.dueAt = do, time.Now().Add(long) })
}

// sequence lets one thing happen after another.
func sequence(hooks ...hook) hook {
	return func(ctx context.Context, w *world) error {
		for _, h := range hooks {
			if err := h(ctx, w); err != nil {
				return err
			}
		}
		return nil
	}
}

type on map[string]hook

// issue makes the leaves of a world's lineages. It is called once for a table: to
// make keys takes time.
func issue(t *testing.T) issued {
	t.Helper()
	all := issued{pki.NewCA(t, "Root"), map[string]generations{}}
	for _, name := range worldNames() {
		all.leaves[name] = generations{all.ca.Leaf(t, pki.Names(name)), all.ca.Leaf(t, pki.Names(name))}
	}
	return all
}

func worldNames() []string {
	return []string{"a.example", "b.example", "c.example", "d.example", "e.example"}
}

// pace is that of a proof in a world.
const pace = 100 * time.Millisecond

// memoryDir returns a directory for a test where fsync costs nothing.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "certlatch-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// worldLimits are those of the runs in a world.
var worldLimits = Limits{Lock: time.Second, Work: time.Minute, Total: 2 * time.Minute, Activation: 25 * time.Second, Proof: 10 * time.Second}

// inWorld runs a test in a world whose service is a unit that is reloaded, with so
// many lineages, which have a proven pair and a renewal.
func inWorld(t *testing.T, issued issued, lineages int, test func(*world)) {
	t.Helper()
	dir, now := memoryDir(t), time.Now()
	midnight := time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, now.Location())
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(midnight)) // a bubble begins in 2000
		w := &world{
			t: t, issued: issued, names: worldNames()[:lineages], dir: dir,
			known: &state.State{}, on: on{}, count: map[string]int{}, table: map[string]row{},
			unit: deployers.Unit{
				Name: "web.service", LoadState: "loaded", ActiveState: "active", SubState: "running", Result: "success",
				CanReload: true, MainPID: 100, InvocationID: "a",
			},
			started: map[int]uint64{100: 1}, peers: map[uint16]process.Peer{}, workers: map[int]string{}, shown: map[string]*x509.Certificate{}, answers: map[string][]deployers.Answer{},
			plan: deployers.Plan{
				Test:     deployers.Test{Command: []string{"web", "-t"}},
				Activate: deployers.Activation{Way: deployers.ReloadUnit, Unit: "web.service"},
				Proof:    deployers.Proof{InARow: 4, Pace: pace},
			},
		}
		if err := os.Mkdir(filepath.Join(dir, "tls"), 0o755); err != nil {
			t.Fatal(err)
		}
		w.target.Name, w.target.Service, w.target.Unit, w.target.Lineage = "web", "generic", "web.service", "*.example"
		test(w)
	})
}

// happens is told of everything that is done, and says how it goes.
func (w *world) happens(ctx context.Context, what string) error {
	w.count[what]++
	for _, name := range []string{fmt.Sprintf("%s %d", what, w.count[what]), what} {
		if do := w.on[name]; do != nil {
			return do(ctx, w)
		}
	}
	return nil
}

// done does something as it happens.
func (w *world) done(ctx context.Context, what string, do func() error) error {
	err := w.happens(ctx, what)
	if late, is := errors.AsType[*afterwards](err); is {
		return errors.Join(do(), late.error)
	}
	if err != nil {
		return err
	}
	return do()
}

func (w *world) path(name, extension string) string {
	return filepath.Join(w.dir, "tls", name+extension)
}

// planOf is the plan for a lineage.
func (w *world) planOf(name string) deployers.Plan {
	plan := w.plan
	plan.Target, plan.Service, plan.Lineage = "web", w.target.Service, name
	if w.inRow {
		plan.Row = &deployers.Row{Database: "sqlite:///web", Table: "tls", Domain: name}
	} else {
		plan.Files = []deployers.File{
			{Path: w.path(name, ".crt"), Content: deployers.Fullchain, Mode: 0o644},
			{Path: w.path(name, ".key"), Content: deployers.Key, Mode: 0o600},
		}
	}
	if plan.Probes == nil && !plan.Found {
		plan.Probes = []endpoint.Endpoint{tlsAt(443, name)}
	}
	return plan
}

func tlsAt(port uint16, name string) endpoint.Endpoint {
	return endpoint.Endpoint{Scheme: "tls", Host: "127.0.0.1", Port: port, Name: name}
}

// put installs a pair, as if it had always been there.
func (w *world) put(name string, leaf pki.Leaf) {
	w.t.Helper()
	if w.inRow {
		w.table[name] = row{leaf.Fullchain, leaf.Key}
		return
	}
	for path, data := range map[string][]byte{w.path(name, ".crt"): leaf.Fullchain, w.path(name, ".key"): leaf.Key} {
		mode := os.FileMode(0o600)
		if strings.HasSuffix(path, ".crt") {
			mode = 0o644
		}
		if err := errors.Join(os.WriteFile(path, data, mode), os.Chmod(path, mode)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// installed returns the leaf that is installed; nil: none is.
func (w *world) installed(name string) *x509.Certificate {
	w.t.Helper()
	data := w.table[name].certificate
	if !w.inRow {
		var err error
		if data, err = os.ReadFile(w.path(name, ".crt")); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
	if data == nil {
		return nil
	}
	certs, err := lineage.ParseCertificates(data)
	if err != nil {
		w.t.Fatal(err)
	}
	return certs[0]
}

// take lets the service take what is installed, wherever it is looked for.
func (w *world) take() {
	for _, name := range w.names {
		for _, e := range w.planOf(name).Probes {
			if !slices.Contains(w.deaf, e.Port) {
				w.shown[e.String()] = w.installed(name)
			}
		}
	}
}

// shows lets something be shown for a lineage.
func (w *world) shows(name string, leaf pki.Leaf) { w.shown[tlsAt(443, name).String()] = leaf.Cert }

// silence lets the service complete no handshake.
func (w *world) silence() { clear(w.shown) }

// group prepares the deployment of all lineages.
func (w *world) group() []prepared {
	w.t.Helper()
	store, err := state.Open(filepath.Join(w.dir, "state"))
	if err != nil {
		w.t.Fatal(err)
	}
	site := prepare.Site{
		Config: &config.Config{Targets: []config.Target{w.target}}, Store: store, Log: slog.New(slog.DiscardHandler), World: w.outside(),
	}
	m := &memory{site: site, by: "test", state: w.known}
	w.began = time.Now()
	w.run = &run{oneByOne, site, prepare.NewPreparer(site.World), shelf{site.Storage(), w}, m, Request{Limits: worldLimits, By: "test"}, w.began, nil}
	for _, name := range w.names {
		if !w.first {
			w.put(name, w.issued.leaves[name].old)
		}
		if !w.first && !w.noProofs {
			w.prove(name, w.issued.leaves[name].old)
		}
	}
	w.take()
	if w.nothing {
		for _, name := range w.names {
			w.put(name, w.issued.leaves[name].next)
		}
	}
	if err := w.happens(w.t.Context(), "prepare"); err != nil {
		w.t.Fatal(err)
	}
	var ready []prepared
	for _, name := range w.names {
		ready = append(ready, w.prepare(name))
	}
	return ready
}

// outside is what a run sees of the world.
func (w *world) outside() prepare.World {
	return prepare.World{
		Systemd:  func(context.Context) (prepare.Units, error) { w.connections++; return worldUnits{w}, nil },
		Programs: worldPrograms{w}, Channels: worldChannels{w}, Network: worldNetwork{w}, Processes: worldProcesses{w}, Databases: worldTable{w},
	}
}

// prove lets a leaf be the one that was proven, and kept.
func (w *world) prove(name string, leaf pki.Leaf) {
	w.t.Helper()
	l := lineage.Lineage{Client: "certbot", Name: name}
	bundle, findings := lineage.Parse(l, leaf.Fullchain, nil, leaf.Key)
	if bundle == nil {
		w.t.Fatal(findings)
	}
	described := lineage.Describe(leaf.Cert)
	proof := &state.Proof{Leaf: described, Generation: state.NewGeneration(time.Now().Add(-time.Hour), described), Time: time.Now().Add(-time.Hour)}
	for _, e := range w.provedBy {
		proof.Probes = append(proof.Probes, e.String())
	}
	if err := w.run.site.Store.Keep("web", name, proof.Generation, bundle); err != nil {
		w.t.Fatal(err)
	}
	w.run.memory.state.Record("web", name).Proven = proof
}

func (w *world) prepare(name string) prepared {
	w.t.Helper()
	j := job{target: w.target, lineage: lineage.Lineage{Client: "certbot", Name: name}, requested: true}
	leaf := w.issued.leaves[name].next
	bundle, findings := lineage.Parse(j.lineage, leaf.Fullchain, nil, leaf.Key)
	if bundle == nil {
		w.t.Fatal(findings)
	}
	plan := w.planOf(name)
	described := lineage.Describe(leaf.Cert)
	generation := state.NewGeneration(time.Now(), described)
	pair, err := w.run.storage.Look(w.t.Context(), pairs.At(w.target.Target, name, plan), bundle, generation)
	if err != nil {
		w.t.Fatal(err)
	}
	known := w.run.memory.get(j.ref())
	return prepared{
		job: j, known: known, bundle: bundle, leaf: described, generation: generation, plan: plan,
		pair: pair, looked: true, first: prepare.NothingBefore(pair, known),
	}
}

// deploy deploys all lineages, as one run does.
func (w *world) deploy() []ended {
	w.t.Helper()
	if err := w.happens(w.t.Context(), "before"); err != nil {
		w.t.Fatal(err)
	}
	group := w.group()
	ctx, cancel := context.WithDeadline(w.t.Context(), w.run.began.Add(w.run.req.Limits.Work))
	defer cancel()
	defer w.run.close()
	if err := w.happens(ctx, "begin"); err != nil {
		w.t.Fatal(err)
	}
	return w.run.memory.record(w.run.deployGroup(ctx, group))
}

// verdict is an outcome in a line.
func verdict(o outcome.Outcome) string {
	text := string(o.Result)
	if o.Reason != "" {
		text += " (" + string(o.Reason) + ")"
	}
	if o.At != "" {
		text += " at " + string(o.At)
	}
	return text
}

// stepsOf are the first letters of the steps that were taken, and capitals where
// they failed.
func stepsOf(o outcome.Outcome) string {
	var text strings.Builder
	for _, s := range o.Steps {
		letter := string(s.Step[:1])
		if !s.OK {
			letter = strings.ToUpper(letter)
		}
		text.WriteString(letter)
	}
	return text.String()
}

func fingerprintOf(leaf pki.Leaf) string { return lineage.Fingerprint(leaf.Cert) }

// which returns which of a lineage's leaves has a fingerprint.
func (w *world) which(name, fingerprint string) string {
	switch leaf := w.issued.leaves[name]; fingerprint {
	case "":
		return "-"
	case fingerprintOf(leaf.old):
		return "old"
	case fingerprintOf(leaf.next):
		return "new"
	}
	return "another"
}

func (w *world) whichLeaf(name string, leaf *x509.Certificate) string {
	if leaf == nil {
		return "-"
	}
	return w.which(name, lineage.Fingerprint(leaf))
}

// left is what a lineage is left with: what is installed, shown and proven, and
// whether it is tried again.
func (w *world) left(name string) string {
	record := w.run.memory.state.Get("web", name)
	proven, again := "-", "-"
	if record.Proven != nil {
		proven = w.which(name, record.Proven.Leaf.Fingerprint)
	}
	if p := record.Pending; p != nil {
		again = "never"
		if p.Next != nil {
			again = "again"
		}
		if p.Alone {
			again += " alone"
		}
	}
	return strings.Join([]string{w.whichLeaf(name, w.installed(name)), w.whichLeaf(name, w.shown[tlsAt(443, name).String()]), proven, again}, " ")
}

// shelf is the storage of a world's pairs.
type shelf struct {
	pairs.Storage
	w *world
}

func (s shelf) Stage(ctx context.Context, all []pairs.Pair) (staged pairs.Staged, err error) {
	err = s.w.done(ctx, "stage", func() error { staged, err = s.Storage.Stage(ctx, all); return err })
	if err != nil {
		return nil, err
	}
	return onShelf{staged, s.w}, nil
}

type onShelf struct {
	pairs.Staged
	w *world
}

func (s onShelf) NotCarried() []install.NotCarried { return s.w.dropped }

func (s onShelf) Commit(ctx context.Context) error {
	return s.w.done(ctx, "commit", func() error { return s.Staged.Commit(ctx) })
}

func (s onShelf) Undo(ctx context.Context) error {
	return s.w.done(ctx, "undo", func() error { return s.Staged.Undo(ctx) })
}

func (s onShelf) Keep() error {
	return s.w.done(context.Background(), "keep", func() error { return s.Staged.Keep() })
}

// worldTable is a world's database.
type worldTable struct{ w *world }

func (d worldTable) Read(_ context.Context, at deployers.Row) ([]byte, lineage.Secret, error) {
	held := d.w.table[at.Domain]
	return held.certificate, held.key, nil
}

func (d worldTable) Table(context.Context, deployers.Row) ([]rows.Entry, error) {
	var all []rows.Entry
	for domain, held := range d.w.table {
		all = append(all, rows.Entry{Domain: domain, Type: 2, Certificate: held.certificate, Key: held.key})
	}
	return all, nil
}

func (d worldTable) Try(context.Context, deployers.Row) error { return nil }

func (d worldTable) Stage(_ context.Context, at deployers.Row, certificate []byte, key lineage.Secret) (pairs.Change, error) {
	return &rowChange{w: d.w, domain: at.Domain, before: d.w.table[at.Domain], next: row{certificate, key}}, nil
}

type rowChange struct {
	w            *world
	domain       string
	before, next row
	committed    bool
}

func (c *rowChange) Commit(context.Context) error {
	c.w.table[c.domain], c.committed = c.next, true
	return nil
}

func (c *rowChange) Undo(context.Context) error {
	if c.committed {
		c.w.table[c.domain] = c.before
	}
	return nil
}

func (*rowChange) Close() error { return nil }

// tell lets the service be told something, and take what is installed.
func (w *world) tell(ctx context.Context, what string) error {
	w.told = append(w.told, what)
	w.at = append(w.at, time.Since(w.began).Round(time.Second).String())
	err := w.done(ctx, "tell", func() error { w.take(); return nil })
	if errors.Is(err, errIgnored) {
		return nil
	}
	return err
}

type worldUnits struct{ w *world }

func (u worldUnits) Unit(ctx context.Context, _ string) (deployers.Unit, error) {
	err := u.w.happens(ctx, "unit")
	if due := u.w.due; due != nil && !time.Now().Before(u.w.dueAt) {
		u.w.due = nil
		due(u.w)
	}
	return u.w.unit, err
}
func (u worldUnits) Reload(ctx context.Context, _ string) error  { return u.w.tell(ctx, "reload") }
func (u worldUnits) Restart(ctx context.Context, _ string) error { return u.w.tell(ctx, "restart") }
func (u worldUnits) Close()                                      { u.w.connections-- }

type worldPrograms struct{ w *world }

// Ask is the service's own test.
func (p worldPrograms) Ask(ctx context.Context, _ []string) (command.Output, error) {
	err := p.w.happens(ctx, "test")
	if says, is := errors.AsType[outputError](err); is {
		return command.Output{Stderr: string(says)}, err
	}
	return command.Output{}, err
}

// outputError is a test that fails with these lines.
type outputError string

func (outputError) Error() string { return "status 1" }

func (p worldPrograms) Run(ctx context.Context, argv []string) (command.Output, error) {
	return command.Output{}, p.w.tell(ctx, strings.Join(argv, " "))
}

func (p worldPrograms) CanRead(ctx context.Context, _ command.Credential, paths []string) error {
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			p.w.t.Errorf("tried to read %v", err)
		}
	}
	err := p.w.happens(ctx, "read")
	if at, is := errors.AsType[unreadableError](err); is {
		return &command.UnreadableError{Path: paths[at], At: paths[at], User: "web"}
	}
	return err
}

// unreadableError is which of the files, from 0 on, cannot be read.
type unreadableError int

func (unreadableError) Error() string { return "a file cannot be read" }

type worldChannels struct{ w *world }

// Call answers a call with the next of the answers to its method, which is that of
// success where there are none.
func (c worldChannels) Call(ctx context.Context, query deployers.Query) deployers.Answer {
	answer := deployers.Answer{Reply: "done", Sent: true}
	if next := c.w.answers[query.Method]; len(next) > 0 {
		answer = next[0]
		c.w.answers[query.Method] = next[min(1, len(next)-1):]
	}
	if !strings.HasSuffix(query.Method, "reload") {
		c.w.asked++
		return answer
	}
	if err := c.w.tell(ctx, "call "+query.Channel.Address); err != nil {
		return deployers.Answer{Err: err.Error(), Sent: true}
	}
	return answer
}

type worldProcesses struct{ w *world }

func (p worldProcesses) Started(pid int) (uint64, error) {
	if err := p.w.happens(p.w.t.Context(), "started"); err != nil {
		return 0, err
	}
	return p.w.started[pid], nil
}

// Children are those of the service's main process.
func (p worldProcesses) Children(pid int) ([]process.ID, error) {
	if err := p.w.happens(p.w.t.Context(), "children"); err != nil {
		return nil, err
	}
	var all []process.ID
	for _, worker := range slices.Sorted(maps.Keys(p.w.workers)) {
		all = append(all, process.ID{PID: worker, Started: p.w.started[worker]})
	}
	return all, nil
}

func (p worldProcesses) Title(id process.ID) (string, error) {
	if err := p.w.happens(p.w.t.Context(), fmt.Sprintf("title of %d", id.PID)); err != nil {
		return "", err
	}
	switch {
	case p.w.started[id.PID] != id.Started:
		return "", nil
	case id.PID == p.w.unit.MainPID:
		return "master", nil
	}
	return p.w.workers[id.PID], nil
}

// Peers are the service itself, but for the addresses that are elsewhere.
func (p worldProcesses) Peers(_ deployers.Processes, at []netip.AddrPort) ([]process.Peer, error) {
	if err := p.w.happens(p.w.t.Context(), "peers"); err != nil {
		return nil, err
	}
	var peers []process.Peer
	for _, address := range at {
		peers = append(peers, p.w.peers[address.Port()])
	}
	return peers, nil
}

func (p worldProcesses) Signal(pid int, started uint64, name string) error {
	return p.w.tell(p.w.t.Context(), fmt.Sprintf("%s %d/%d", name, pid, started))
}

func (p worldProcesses) SeesAnother(int, string) (bool, error) { return false, nil }

func (p worldProcesses) SharesMounts(int) bool { return false }

type worldNetwork struct{ w *world }

func (n worldNetwork) Observe(ctx context.Context, at []endpoint.Endpoint, done func()) []probe.Observation {
	if err := n.w.happens(ctx, "observe"); err != nil {
		n.w.t.Fatal(err)
	}
	var seen []probe.Observation
	for _, e := range at {
		seen = append(seen, n.w.handshake(e))
		done()
	}
	return seen
}

var errSilent = errors.New("nothing answers")

func (w *world) handshake(e endpoint.Endpoint) probe.Observation {
	if late := w.takesAt; !late.IsZero() && !time.Now().Before(late) {
		w.take()
	}
	w.count[e.String()]++
	if w.flickers && w.count[e.String()]%4 == 0 {
		return probe.Observation{Endpoint: e, Chain: []*x509.Certificate{w.issued.leaves[e.Name].old.Cert}}
	}
	if leaf := w.shown[e.String()]; leaf != nil {
		return probe.Observation{Endpoint: e, Chain: []*x509.Certificate{leaf}}
	}
	return probe.Observation{Endpoint: e, Err: errSilent}
}

// Addresses is where no name leads.
func (worldNetwork) Addresses(context.Context, string) []netip.Addr { return nil }

// Prove looks every now and then until the time is over, and until a row that goes
// well has come to its end.
func (n worldNetwork) Prove(ctx context.Context, until time.Time, wants []probe.Want) []probe.Seen {
	if err := n.w.happens(ctx, "prove"); err != nil {
		n.w.t.Fatal(err)
	}
	seen := make([]probe.Seen, len(wants))
	for open := true; open; {
		open = false
		for i, want := range wants {
			s := &seen[i]
			s.Endpoint = want.Endpoint
			if s.Proven || s.Hits == 0 && !time.Now().Before(until) {
				continue
			}
			s.Last = n.w.handshake(want.Endpoint)
			s.Tries++
			s.Hits++
			if !slices.ContainsFunc(want.Fingerprints, func(f string) bool { return prepare.Shows(s.Last, f) }) {
				s.Hits = 0
			}
			s.Proven = s.Hits == want.InARow
			open = open || !s.Proven
		}
		if !open {
			break
		}
		select {
		case <-ctx.Done():
			open = false
		case <-time.After(pace):
		}
	}
	for i := range seen {
		if s := &seen[i]; !s.Proven {
			s.Err = fmt.Errorf("%s shows another, or nothing", s.Endpoint)
		}
	}
	return seen
}
