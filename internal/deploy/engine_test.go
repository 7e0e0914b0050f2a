package deploy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/fault"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// TestMain lets the test binary be the child that tries to read files, and the
// process that meets faults.
func TestMain(m *testing.M) {
	need.KeptTemp()
	if code, is := command.TryReadMain(); is {
		os.Exit(code)
	}
	if os.Getenv(helperVariable) != "" {
		fault.Stay()
		os.Exit(help(os.Args[1], strings.Join(os.Args[2:], " ")))
	}
	os.Exit(m.Run())
}

// quick are limits under which a test that hangs fails soon.
var quick = Limits{Lock: time.Second, Work: leastWork + 10*time.Second, Total: time.Minute, Activation: 3 * time.Second, Proof: 3 * time.Second}

// stage is a host in small: a lineage, a target with its pair installed, and a
// service that goes on serving that pair.
type stage struct {
	*Engine
	dir      string
	ca       *pki.CA
	previous pki.Leaf
}

func newStage(t *testing.T, activate ...string) *stage {
	t.Helper()
	s := &stage{dir: memoryDir(t), ca: pki.NewCA(t, "Root")}
	s.previous = s.renew(t)
	for name, content := range map[string][]byte{"root.pem": s.ca.PEM(), "cert.pem": s.previous.Fullchain, "key.pem": s.previous.Key} {
		if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.renew(t)
	text := fmt.Sprintf(`
state: %[1]s/state
lineages: [certbot: %[1]s/live]
policy: {trust: %[1]s/root.pem}
targets:
  - name: web
    service: generic
    lineage: web.example
    certificate: %[1]s/cert.pem
    key: %[1]s/key.pem
    probe: ["tls://%[2]s"]
    generic: {activate: [%[3]s]}
`, s.dir, serve(t, s.previous), strings.Join(activate, ", "))
	cfg, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	s.Engine = &Engine{Site: prepare.Site{Config: cfg, Store: store, Log: slog.New(slog.DiscardHandler), World: prepare.RealWorld(nil, rows.Databases{})}}
	return s
}

func (s *stage) renew(t *testing.T) pki.Leaf {
	leaf := s.ca.Leaf(t, pki.Names("web.example"))
	pki.WriteCertbot(t, filepath.Join(s.dir, "live"), "web.example", leaf)
	return leaf
}

// hasPrevious demands that the installed pair is the one from the beginning.
func (s *stage) hasPrevious(t *testing.T) {
	t.Helper()
	for name, want := range map[string][]byte{"cert.pem": s.previous.Fullchain, "key.pem": s.previous.Key} {
		if got, err := os.ReadFile(filepath.Join(s.dir, name)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is not the previous one (%v)", name, err)
		}
	}
}

// serve serves one pair for good.
func serve(t *testing.T, leaf pki.Leaf) string {
	pair, err := tls.X509KeyPair(leaf.Fullchain, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pki.Serve(t, &tls.Config{Certificates: []tls.Certificate{pair}})
}

// deploy runs the engine and gives its one outcome.
func (s *stage) deploy(t *testing.T, ctx context.Context, limits Limits) outcome.Outcome {
	t.Helper()
	report, err := s.Deploy(ctx, Request{By: "test", Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Outcomes) != 1 {
		t.Fatalf("%d outcomes", len(report.Outcomes))
	}
	return report.Outcomes[0]
}

func TestActivationThatHangs(t *testing.T) {
	t.Parallel()
	s := newStage(t, "sleep", "1000")
	out := s.deploy(t, t.Context(), quick)
	if out.Result != outcome.RolledBack || out.Reason != "command-timeout" || out.At != outcome.Activate {
		t.Errorf("%s (%s) at %s: %s", out.Result, out.Reason, out.At, out.Detail)
	}
	s.hasPrevious(t)
}

func TestNotBegunWithoutTime(t *testing.T) {
	s := newStage(t, "true")
	limits := quick
	limits.Work = leastWork / 2
	out := s.deploy(t, t.Context(), limits)
	if out.Result != outcome.Failed || out.Reason != "out-of-time" {
		t.Errorf("%s (%s): %s", out.Result, out.Reason, out.Detail)
	}
	s.hasPrevious(t)
	st, err := s.Site.Store.Load()
	if err != nil {
		t.Fatal(err)
	}
	if pending := st.Get("web", "web.example").Pending; pending == nil || pending.Next == nil {
		t.Errorf("it is not tried again: %v", pending)
	}
}

// Somebody presses Ctrl-C while certlatch waits for a proof.
func TestInterrupted(t *testing.T) {
	s := newStage(t, "true")
	ctx, cancel := context.WithCancel(t.Context())
	limits := quick
	limits.Proof = 20 * time.Second
	s.Site.Log = slog.New(onStep{func(step string) {
		if step == string(outcome.Activate) {
			cancel()
		}
	}})
	out := s.deploy(t, ctx, limits)
	if out.Result != outcome.RolledBack || out.At != outcome.Prove {
		t.Errorf("%s (%s) at %s: %s", out.Result, out.Reason, out.At, out.Detail)
	}
	s.hasPrevious(t)
}

// onStep is told of every step that the engine logs.
type onStep struct{ tell func(step string) }

func (onStep) Enabled(context.Context, slog.Level) bool { return true }
func (h onStep) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h onStep) WithGroup(string) slog.Handler          { return h }
func (h onStep) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "step" {
			h.tell(a.Value.String())
		}
		return true
	})
	return nil
}

func TestLockHeldTooLong(t *testing.T) {
	s := newStage(t, "true")
	release, err := s.Site.Store.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	limits := quick
	limits.Lock = 50 * time.Millisecond
	_, err = s.Deploy(t.Context(), Request{By: "test", Limits: limits})
	if locked := new(disk.LockedError); !errors.As(err, &locked) {
		t.Errorf("got %v", err)
	}
	s.hasPrevious(t)
}

// An ACME client waits for its hook, so a hook ends within 100 seconds even
// where its last forward step fails at the last moment.
func TestHookLimits(t *testing.T) {
	l := HookLimits
	if l.Total >= 100*time.Second || l.Lock+leastWork > l.Work || l.Work+proofGrace+l.Activation+l.Proof > l.Total {
		t.Errorf("the limits of a hook do not fit into each other: %+v", l)
	}
}

// Nothing is deployed to a set that an earlier run has left and that cannot be
// put back.
func TestStuckIsKeptOut(t *testing.T) {
	s := newStage(t, "true")
	j := job{target: s.Site.Config.Targets[0], lineage: lineage.Lineage{Name: "web.example"}}
	r := &run{stuck: map[install.Ref]error{j.ref(): &outcome.StuckError{Err: errors.New("no")}}}
	if end := r.endsAtOnce(j); end == nil || end.outcome.Reason != outcome.NotRecovered {
		t.Errorf("it goes on, or is called %+v", end)
	}
}

func (e *Engine) inspector() inspect.Inspector { return inspect.Inspector{Site: e.Site} }
