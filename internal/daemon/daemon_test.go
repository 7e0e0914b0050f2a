package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/deploy"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
	"github.com/certlatch/certlatch/internal/watch"
)

// TestMain lets the test binary be the child of command.CanRead.
func TestMain(m *testing.M) {
	need.KeptTemp()
	if code, is := command.TryReadMain(); is {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// quick is a pace that tests have the time for. Nothing here is left to the
// resync, but where a test says so.
var quick = Pace{
	Pace:   watch.Pace{Quiet: 200 * time.Millisecond, Longest: 2 * time.Second, Patience: time.Second},
	Resync: time.Hour, Poll: time.Hour, Again: 50 * time.Millisecond,
}

// patience is far beyond what a test waits for.
const patience = 3 * time.Minute

// miniHost is a host in small: lineages, a daemon, and a service that takes what
// is installed when it is activated, unless there is a file "stuck", "slow" or
// "broken".
type miniHost struct {
	*testing.T
	daemon   Daemon
	dir      string
	ca       *pki.CA
	listen   string
	unprobed bool         // certlatch is not to look at what is served
	jump     atomic.Int64 // by which somebody has set the clock
	steps    atomic.Int64 // how often the daemon looked at it, which is once a step
	told     *notices
	logged   *logged
	latest   map[string]string // fingerprints by lineage
	hangup   chan os.Signal
	end      context.CancelFunc
	ended    chan error
}

const activation = `#!/bin/sh
cd "$1" || exit 1
echo >> activations
test -e slow && sleep 1000
test -e broken && exit 1
test -e stuck || cp -R installed/. served/
`

func newMiniHost(t *testing.T, lineages ...string) *miniHost {
	t.Helper()
	h := &miniHost{
		T: t, dir: t.TempDir(), ca: pki.NewCA(t, "Root"), told: &notices{}, logged: &logged{},
		latest: map[string]string{}, hangup: make(chan os.Signal), ended: make(chan error, 1),
	}
	for _, dir := range []string{"installed", "served", "live"} {
		h.must(os.Mkdir(filepath.Join(h.dir, dir), 0o755))
	}
	h.write("root.pem", string(h.ca.PEM()), 0o644)
	h.write("activate", activation, 0o755)
	h.write("activations", "", 0o644)
	h.serve()
	h.configure("*.example")
	h.renew(lineages...)
	h.daemon = Daemon{
		Load: h.load, Tell: h.note, Service: h.told, Log: slog.New(slog.NewTextHandler(h.logged, nil)), Pace: quick,
		Wall: func() time.Time {
			h.steps.Add(1)
			return time.Now().Add(time.Duration(h.jump.Load()))
		},
	}
	return h
}

// note logs what became of a run.
func (h *miniHost) note(report outcome.Report) {
	for _, o := range report.Outcomes {
		fmt.Fprintf(h.logged, "%s: %s (%s) %s %v\n", o.Lineage, o.Result, o.Reason, o.Detail, o.Steps)
	}
}

func (h *miniHost) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *miniHost) write(name, content string, mode fs.FileMode) {
	h.must(os.WriteFile(filepath.Join(h.dir, name), []byte(content), mode))
}

// configure writes the configuration, with a target that takes some lineages.
func (h *miniHost) configure(glob string) {
	probes := fmt.Sprintf(`["tls://%s"]`, h.listen)
	if h.unprobed {
		probes = "[]"
	}
	h.write("config.yaml", fmt.Sprintf(`
state: %[1]s/state
lineages: [certbot: %[1]s/live]
policy: {trust: %[1]s/root.pem}
targets:
  - name: web
    service: generic
    lineage: "%[3]s"
    certificate: %[1]s/installed/{lineage}.crt
    key: %[1]s/installed/{lineage}.key
    probe: %[2]s
    generic: {activate: [%[1]s/activate, %[1]s]}
`, h.dir, probes, glob), 0o600)
}

func (h *miniHost) load() (*deploy.Engine, error) {
	cfg, err := config.Load(filepath.Join(h.dir, "config.yaml"))
	if err != nil {
		return nil, err
	}
	store, err := state.Open(cfg.State)
	return &deploy.Engine{Site: prepare.Site{Config: cfg, Store: store, Log: slog.New(slog.DiscardHandler), World: prepare.RealWorld(nil, rows.Databases{})}}, err
}

func (h *miniHost) renew(names ...string) {
	h.Helper()
	for _, name := range names {
		leaf := h.ca.Leaf(h.T, pki.Names(name))
		pki.WriteCertbot(h.T, filepath.Join(h.dir, "live"), name, leaf)
		h.latest[name] = lineage.Fingerprint(leaf.Cert)
	}
}

// serve serves by SNI what the service has taken.
func (h *miniHost) serve() {
	h.listen = pki.Serve(h.T, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		file := filepath.Join(h.dir, "served", hello.ServerName)
		pair, err := tls.LoadX509KeyPair(file+".crt", file+".key")
		return &pair, err
	}})
}

// served returns the fingerprint of the leaf that is served by a name.
func (h *miniHost) served(name string) string {
	conn, err := tls.Dial("tcp", h.listen, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	return lineage.Fingerprint(conn.ConnectionState().PeerCertificates[0])
}

// start starts the daemon. It is ended with the test.
func (h *miniHost) start() {
	ctx, cancel := context.WithCancel(h.Context())
	h.end = cancel
	go func() { h.ended <- h.daemon.Run(ctx, h.hangup) }()
	h.Cleanup(func() { h.stop() })
	h.until("the daemon is ready", func() bool { return h.told.count("READY") > 0 })
}

// stop ends the daemon, once.
func (h *miniHost) stop() {
	if h.end == nil {
		return
	}
	h.end()
	h.end = nil
	select {
	case err := <-h.ended:
		h.must(err)
	case <-time.After(patience):
		h.Fatal("the daemon does not end")
	}
}

// until waits until a condition holds.
func (h *miniHost) until(what string, is func() bool) {
	h.Helper()
	for began := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			h.Fatalf("it is not so that %s\n%s\n%s", what, h.told, h.logged)
		}
	}
}

// untilServed waits until the latest leaves are served, and recorded so.
func (h *miniHost) untilServed() {
	h.Helper()
	for name, want := range h.latest {
		h.until(name+" is served", func() bool { return h.served(name) == want })
		h.until(name+" is recorded", func() bool {
			record := h.state().Get("web", name)
			return record.Pending == nil && record.Proven != nil && record.Proven.Leaf.Fingerprint == want
		})
	}
}

func (h *miniHost) state() *state.State {
	st, err := state.View(filepath.Join(h.dir, "state")).Load()
	h.must(err)
	return st
}

func (h *miniHost) activations() int {
	lines, err := os.ReadFile(filepath.Join(h.dir, "activations"))
	h.must(err)
	return len(lines)
}

// notices are what was reported to the service manager.
type notices struct {
	mutex sync.Mutex
	lines []string
}

func (n *notices) note(format string, args ...any) error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
	return nil
}

func (n *notices) Ready(status string) error  { return n.note("READY %s", status) }
func (n *notices) Reloading() error           { return n.note("RELOADING") }
func (n *notices) Status(status string) error { return n.note("STATUS %s", status) }
func (n *notices) Alive() error               { return n.note("WATCHDOG") }
func (n *notices) Stopping(status string, _ time.Duration) error {
	return n.note("STOPPING %s", status)
}
func (n *notices) Watchdog() (time.Duration, error) { return 100 * time.Millisecond, nil }

// count returns how many notices hold a text.
func (n *notices) count(text string) (count int) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for _, line := range n.lines {
		if strings.Contains(line, text) {
			count++
		}
	}
	return count
}

// last returns the last status line.
func (n *notices) last() string {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for i := len(n.lines) - 1; i >= 0; i-- {
		if _, status, ok := strings.Cut(n.lines[i], " "); ok {
			return status
		}
	}
	return ""
}

func (n *notices) String() string {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return strings.Join(n.lines, "\n")
}

// logged is the daemon's log.
type logged struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

func TestRenewalIsDeployed(t *testing.T) {
	h := newMiniHost(t, "a.example", "b.example", "other.test")
	h.daemon.Pace.Quiet = time.Second // on a slow machine, two renewals take their time
	delete(h.latest, "other.test")    // which no target takes
	h.write("stuck", "", 0o644)
	h.start()
	h.until("the first install is pending", func() bool { return strings.Contains(h.told.last(), "2 pending, next try") })
	h.must(os.Remove(filepath.Join(h.dir, "stuck")))
	h.stop()
	e, err := h.load()
	h.must(err)
	_, err = e.Deploy(t.Context(), deploy.Request{Pending: true, All: true, By: "test", Limits: limits})
	h.must(err)

	runs := h.told.count("deploying")
	h.start() // it finds nothing to do
	h.until("it is idle", func() bool {
		return h.told.count("deploying") > runs && h.told.last() == "watching 2 lineages for 1 target"
	})
	before := h.activations()
	h.renew("a.example", "b.example")
	h.untilServed()
	if n := h.activations() - before; n != 1 {
		t.Errorf("one renewal of two lineages cost %d activations\n%s", n, h.logged)
	}
	if steps := h.steps.Load(); steps > 5000 {
		t.Errorf("the daemon took %d steps: it does not wait for anything", steps)
	}
	h.until("the watchdog is fed", func() bool { return h.told.count("WATCHDOG") > 1 })
	h.stop()
	if h.told.count("STOPPING") == 0 {
		t.Error("it did not say that it stops")
	}

	h.renew("b.example") // while nobody watches
	h.start()
	h.untilServed()
}

// TestMarkIsTakenAlong wants the mark of a hook that only defers to be
// deployed, and nothing to be done after a hook that deploys.
func TestMarkIsTakenAlong(t *testing.T) {
	h := newMiniHost(t, "a.example")
	h.start()
	h.untilServed()
	h.must(os.Remove(filepath.Join(h.dir, "installed", "a.example.crt"))) // of which there is no event
	h.must(h.openStore().Mark("certbot", "a.example"))
	h.until("the mark is gone", func() bool {
		marks, err := h.openStore().Marks()
		return err == nil && len(marks) == 0
	})
	if _, err := os.Stat(filepath.Join(h.dir, "installed", "a.example.crt")); err != nil {
		t.Error(err)
	}
}

func (h *miniHost) openStore() *state.Store { return state.View(filepath.Join(h.dir, "state")) }

// TestFailureOfHookIsNotRepeated wants what a hook has tried in vain not to be
// tried again at once because the lineage's files have changed.
func TestFailureOfHookIsNotRepeated(t *testing.T) {
	h := newMiniHost(t, "a.example", "b.example")
	h.daemon.Pace.Quiet = time.Second // so that the hook is first
	h.start()
	h.untilServed()
	h.write("stuck", "", 0o644)
	e, err := h.load()
	h.must(err)
	hook := deploy.Request{Lineages: []string{"a.example"}, Coalesce: true, By: "test", Limits: deploy.HookLimits}
	hook.Limits.Proof = 2 * time.Second // longer than the files take to come to rest
	h.renew("a.example")
	n := h.activations()
	report, err := e.Deploy(t.Context(), hook)
	h.must(err)
	if len(report.Outcomes) != 1 || report.Outcomes[0].Result != outcome.RolledBack {
		t.Fatalf("%+v", report.Outcomes)
	}
	h.must(os.Remove(filepath.Join(h.dir, "stuck")))
	h.renew("b.example") // which is deployed in the run after
	delete(h.latest, "a.example")
	h.untilServed()
	if p := h.state().Get("web", "a.example").Pending; p == nil || p.Attempts != 1 {
		t.Errorf("it was tried at once again: %+v", p)
	}
	if n := h.activations() - n; n != 3 { // the attempt, its undo, and the other lineage
		t.Errorf("%d activations", n)
	}
}

func TestWrongConfigurationIsNotTaken(t *testing.T) {
	h := newMiniHost(t, "a.example", "b.example")
	h.configure("a.example")
	h.start()
	h.renew("a.example")
	delete(h.latest, "b.example")
	h.untilServed()
	right, err := os.ReadFile(filepath.Join(h.dir, "config.yaml"))
	h.must(err)
	h.write("config.yaml", string(right)+"wrong: 1\nalso: 2\n", 0o600)
	h.hangup <- os.Interrupt // the signal does not matter
	h.until("it says so", func() bool { return strings.Contains(h.told.last(), "the configuration is wrong, that of") })
	if n := strings.Count(h.logged.String(), "event=configuration-wrong"); n != 2 {
		t.Errorf("%d problems were logged\n%s", n, h.logged)
	}
	h.renew("a.example")
	h.untilServed()

	h.configure("*.example")
	h.renew("b.example")
	ready := h.told.count("READY")
	h.hangup <- os.Interrupt
	h.until("it is ready again", func() bool { return h.told.count("READY") > ready })
	h.untilServed()
	h.until("it is at rest", func() bool { return h.told.last() == "watching 2 lineages for 1 target" })
	if h.told.count("RELOADING") != 2 {
		t.Errorf("it did not say that it reloads:\n%s", h.told)
	}
}

// TestStopUndoes ends the daemon in the middle of a deployment, which is undone
// first.
func TestStopUndoes(t *testing.T) {
	h := newMiniHost(t, "a.example")
	h.start()
	h.untilServed()
	before := h.served("a.example")
	h.write("slow", "", 0o644)
	n := h.activations()
	h.renew("a.example")
	h.until("the activation hangs", func() bool { return h.activations() > n })
	h.must(os.Remove(filepath.Join(h.dir, "slow")))
	h.stop()
	if h.told.count("STOPPING finishing or undoing the deployment in hand") == 0 {
		t.Errorf("it did not say what it waits for:\n%s", h.told)
	}
	record := h.state().Get("web", "a.example")
	if record.Pending == nil || record.Pending.Result != "rolled-back" || h.served("a.example") != before {
		t.Errorf("it was not undone: %+v", record.Pending)
	}
}

// TestClockIsSetBack sets the clock back by a year, for which nothing pending
// waits.
func TestClockIsSetBack(t *testing.T) {
	h := newMiniHost(t, "a.example")
	h.pending(time.Now().Add(state.LastRetry))
	runs := h.told.count("deploying")
	h.start()
	h.until("it waits", func() bool {
		return h.told.count("deploying") > runs && strings.HasPrefix(h.told.last(), "watching 1 lineage for 1 target; 1 pending, next try")
	})
	if h.served("a.example") == h.latest["a.example"] {
		t.Error("it did not wait")
	}
	h.jump.Store(-int64(365 * 24 * time.Hour))
	h.untilServed()
}

// pending has the daemon try a renewal of a.example once, in vain, and then
// sets when it is due.
func (h *miniHost) pending(next time.Time) {
	h.Helper()
	h.start()
	h.untilServed()
	h.write("broken", "", 0o644)
	h.renew("a.example")
	h.until("it is pending", func() bool { return strings.Contains(h.told.last(), "1 pending, next try") })
	h.stop()
	h.must(os.Remove(filepath.Join(h.dir, "broken")))
	st := h.state()
	st.Record("web", "a.example").Pending.Next = &next
	h.must(h.openStore().Save(st))
}

// TestLineageIsGone wants what is pending of a lineage that has gone not to be
// tried again and again.
func TestLineageIsGone(t *testing.T) {
	h := newMiniHost(t, "a.example")
	h.pending(time.Now().Add(-time.Hour))
	h.must(os.RemoveAll(filepath.Join(h.dir, "live", "a.example")))
	runs := h.told.count("deploying")
	h.start()
	h.until("it is left alone", func() bool {
		return h.told.last() == "watching 0 lineages for 1 target; 1 pending, until something changes"
	})
	if n := h.told.count("deploying") - runs; n > 1 {
		t.Errorf("it was tried %d times", n)
	}
	if steps := h.steps.Load(); steps > 5000 {
		t.Errorf("the daemon took %d steps: it does not wait for anything", steps)
	}
}

// TestResyncNeedsNoEvents wants a resync to find a renewal of which there was
// no event.
func TestResyncNeedsNoEvents(t *testing.T) {
	h := newMiniHost(t, "a.example")
	p := &h.daemon.Pace
	p.Resync, p.Quiet, p.Longest = 200*time.Millisecond, time.Hour, time.Hour
	h.start()
	h.untilServed()
	h.renew("a.example")
	h.untilServed()
}

func TestStatusLine(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)
	for _, test := range []struct {
		statusLine
		want string
	}{
		{statusLine{lineages: 12, targets: 4}, "watching 12 lineages for 4 targets"},
		{statusLine{lineages: 1, targets: 1, running: true}, "watching 1 lineage for 1 target; deploying"},
		{statusLine{pending: 1, next: noon.Add(2*time.Hour + 2*time.Minute)}, "watching 0 lineages for 0 targets; 1 pending, next try 14:02"},
		{statusLine{pending: 3, lacking: 1}, "watching 0 lineages for 0 targets; 3 pending, until something changes; 1 target without a lineage"},
		{statusLine{poll: 30 * time.Second, wrong: true, loaded: noon, failure: "read state: no"},
			"watching 0 lineages for 0 targets; looking every 30s, since inotify has no room; the configuration is wrong, that of 12:00 stays in effect; failing: read state: no"},
	} {
		if got := test.statusLine.String(); got != test.want {
			t.Errorf("%q\n%q", got, test.want)
		}
	}
}
