package deploy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// service is a service with a unit that this process runs: systemd and the TLS
// server are stood in for, all else is as it is. It begins with a pair of the
// operator's own, and a renewal that is to be deployed.
type service struct {
	*Engine
	t     *testing.T
	dir   string
	ca    *pki.CA
	first pki.Leaf

	mutex   sync.Mutex
	unit    deployers.Unit
	shown   func() (*tls.Certificate, error) // at each handshake
	reload  func() error                     // nil: it takes what is installed
	reloads int
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{t: t, dir: memoryDir(t), ca: pki.NewCA(t, "Root")}
	s.unit = deployers.Unit{Name: "web.service", LoadState: "loaded", ActiveState: "active", CanReload: true, MainPID: os.Getpid(), InvocationID: "a"}
	s.first = s.renew()
	s.write("root.pem", s.ca.PEM())
	s.write("cert.pem", s.first.Fullchain)
	s.write("key.pem", s.first.Key)
	s.take()
	address := pki.Serve(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		return s.shown()
	}})
	cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, `
state: %[1]s/state
lineages: [certbot: %[1]s/live]
policy: {trust: %[1]s/root.pem}
targets:
  - {name: web, service: generic, unit: web.service, lineage: web.example, certificate: %[1]s/cert.pem, key: %[1]s/key.pem, probe: ["tls://%[2]s"]}
`, s.dir, address))
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	s.Engine = &Engine{Site: prepare.Site{
		Config: cfg, Store: store, Log: slog.New(slog.DiscardHandler),
		World: prepare.RealWorld(func(context.Context) (prepare.Units, error) { return manager{s}, nil }, rows.Databases{}),
	}}
	s.renew()
	return s
}

// manager is the systemd of a service.
type manager struct{ s *service }

func (m manager) Unit(context.Context, string) (deployers.Unit, error) { return m.s.unit, nil }
func (m manager) Close()                                               {}

func (m manager) Reload(context.Context, string) error {
	m.s.reloads++
	if m.s.reload == nil {
		m.s.take()
		return nil
	}
	return m.s.reload()
}

func (m manager) Restart(ctx context.Context, unit string) error {
	m.s.unit.InvocationID += "a"
	return m.Reload(ctx, unit)
}

func (s *service) write(name string, content []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) renew() pki.Leaf {
	leaf := s.ca.Leaf(s.t, pki.Names("web.example"))
	pki.WriteCertbot(s.t, filepath.Join(s.dir, "live"), "web.example", leaf)
	return leaf
}

// shows lets the service show something else at each handshake from now on.
func (s *service) shows(shown func() (*tls.Certificate, error)) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.shown = shown
}

// take lets the service show what is installed now.
func (s *service) take() {
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem"))
	s.shows(func() (*tls.Certificate, error) { return &pair, err })
}

// silence lets the service complete no handshake.
func (s *service) silence() {
	s.shows(func() (*tls.Certificate, error) { return nil, errors.New("out of order") })
}

// deploy runs the engine, and wants one outcome.
func (s *service) deploy(req Request, result outcome.Result, reason string) outcome.Outcome {
	s.t.Helper()
	req.By = "test"
	req.Limits = Limits{Lock: time.Second, Work: leastWork + 20*time.Second, Total: time.Minute, Activation: 10 * time.Second, Proof: 3 * time.Second}
	report, err := s.Deploy(s.t.Context(), req)
	if err != nil || len(report.Outcomes) != 1 {
		s.t.Fatalf("%d outcomes, %v", len(report.Outcomes), err)
	}
	return s.wants(report.Outcomes[0], result, reason)
}

func (s *service) wants(out outcome.Outcome, result outcome.Result, reason string) outcome.Outcome {
	s.t.Helper()
	if out.Result != result || string(out.Reason) != reason {
		s.t.Errorf("%s (%s) instead of %s (%s), at %s: %s", out.Result, out.Reason, result, reason, out.At, out.Detail)
	}
	return out
}

// has demands that a pair is installed, and shown.
func (s *service) has(leaf pki.Leaf) {
	s.t.Helper()
	if got, err := os.ReadFile(filepath.Join(s.dir, "cert.pem")); err != nil || string(got) != string(leaf.Fullchain) {
		s.t.Errorf("another certificate is installed (%v)", err)
	}
	if shown, err := s.shown(); err != nil || string(shown.Certificate[0]) != string(leaf.Cert.Raw) {
		s.t.Errorf("another certificate is shown (%v)", err)
	}
}

func (s *service) record() state.Record {
	s.t.Helper()
	st, err := s.Site.Store.Load()
	if err != nil {
		s.t.Fatal(err)
	}
	return st.Get("web", "web.example")
}

// A service that was proven and completes no handshake is out of order,
// whatever the renewal; its activation may bring it back all the same.
func TestOutage(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.silence()
	s.reload = func() error { return nil }
	s.deploy(Request{}, outcome.RolledBack, "not-proven") // it was never proven

	s.reload = nil
	s.take()
	renewed := s.renew()
	s.deploy(Request{}, outcome.Deployed, "")

	s.silence()
	s.reload = func() error { return nil }
	next := s.renew()
	out := s.deploy(Request{}, outcome.RolledBack, "outage")
	for _, want := range []string{"it answered no handshake before anything was touched either", "journalctl -u web.service", "it served " + lineage.Describe(renewed.Cert).Short()} {
		if !strings.Contains(out.Detail+out.Remedy, want) {
			t.Errorf("%q is missing in %s; %s", want, out.Detail, out.Remedy)
		}
	}
	s.take()
	s.has(renewed)
	seen, _, err := s.inspector().Inventory(t.Context(), prepare.Scope{})
	if err != nil || seen[0].Outage != nil || seen[0].Installed == nil || seen[0].Installed.Fingerprint != lineage.Fingerprint(renewed.Cert) {
		t.Errorf("out of order at %v, %v", seen, err)
	}

	s.silence()
	seen, _, err = s.inspector().Inventory(t.Context(), prepare.Scope{})
	if err != nil || seen[0].Outage == nil || !strings.Contains(seen[0].Outage.Remedy, "journalctl -u web.service") {
		t.Errorf("not out of order at %v, %v", seen, err)
	}
	s.reload = nil
	s.deploy(Request{Pending: true, All: true}, outcome.Deployed, "")
	s.has(next)

	// One that comes back with something else is no outage.
	old := s.shown
	s.silence()
	s.reload = func() error { s.shows(old); return nil }
	s.renew()
	s.deploy(Request{}, outcome.RolledBack, "not-proven")
}

// Where nothing is left that could be probed, nothing is touched; that is an
// outage only of what was proven.
func TestNothingToProbe(t *testing.T) {
	s := newService(t)
	s.deploy(Request{}, outcome.Deployed, "")
	s.Site.Config.Targets[0].Probes = nil // and a generic service has no usual ports
	s.renew()
	out := s.deploy(Request{}, outcome.Failed, "outage")
	if !strings.Contains(out.Remedy, "journalctl -u web.service") {
		t.Errorf("it says %s", out.Remedy)
	}
	seen, _, err := s.inspector().Inventory(t.Context(), prepare.Scope{})
	if err != nil || seen[0].Outage == nil {
		t.Errorf("no outage in %v, %v", seen, err)
	}
	if got := s.checks(deployers.Serving); !strings.Contains(got, "journalctl -u web.service") {
		t.Errorf("doctor says %q", got)
	}

	st, err := s.Site.Store.Load()
	if err != nil {
		t.Fatal(err)
	}
	st.Record("web", "web.example").Proven = nil
	if err := s.Site.Store.Save(st); err != nil {
		t.Fatal(err)
	}
	s.deploy(Request{}, outcome.Failed, "no-probe")
	if seen, _, err = s.inspector().Inventory(t.Context(), prepare.Scope{}); err != nil || seen[0].Outage != nil {
		t.Errorf("an outage in %v, %v", seen, err)
	}
	if s.reloads != 1 {
		t.Errorf("it was reloaded %d times", s.reloads)
	}
}

// What the service's own user could not read is not installed.
func TestUnreadableForTheService(t *testing.T) {
	need.Root(t)
	s := newService(t)
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.unit.User, s.unit.Group = "nobody", "root"
	s.Site.Config.Targets[0].Mode = 0o600
	s.deploy(Request{}, outcome.Failed, "unreadable")
	s.has(s.first)
}

// A refused bundle is looked at again when time alone may mend it, and else when
// its files change.
func TestRefusedUntil(t *testing.T) {
	from := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for _, test := range []struct {
		name, reason string
		leaf         []pki.Option
		next         *time.Time
	}{
		{"not yet valid", "not-yet-valid", []pki.Option{pki.Names("web.example"), pki.Valid(from, from.Add(time.Hour))}, &from},
		{"not yet valid and weak", "key-weak", []pki.Option{pki.Names("web.example"), pki.Valid(from, from.Add(time.Hour)), pki.RSA(1024)}, nil},
		{"expired", "expired", []pki.Option{pki.Names("web.example"), pki.Valid(from.Add(-3*time.Hour), from.Add(-2*time.Hour))}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			pki.WriteCertbot(t, filepath.Join(s.dir, "live"), "web.example", s.ca.Leaf(t, test.leaf...))
			out := s.deploy(Request{}, outcome.Refused, test.reason)
			if p := s.record().Pending; (p.Next == nil) != (test.next == nil) || p.Next != nil && !p.Next.Equal(*test.next) {
				t.Errorf("tried again at %v: %v", p.Next, out.Findings)
			}
			s.has(s.first)
		})
	}
}

// checks returns what doctor says of an aspect.
func (s *service) checks(about deployers.Aspect) string {
	s.t.Helper()
	found, err := s.inspector().Examine(s.t.Context(), prepare.Scope{})
	if err != nil || len(found) != 1 {
		s.t.Fatalf("%v, %v", found, err)
	}
	var all []string
	for _, c := range found[0].Checks {
		if c.About == about {
			all = append(all, string(c.Level)+": "+c.String())
		}
	}
	return strings.Join(all, "\n")
}

// TestExamine is about what doctor says of what is served and issued.
func TestExamine(t *testing.T) {
	s := newService(t)
	says := func(about deployers.Aspect, want string) {
		t.Helper()
		if got := s.checks(about); !strings.Contains(got, want) {
			t.Errorf("%s: %q is missing in %q", about, want, got)
		}
	}
	says(deployers.Serving, "warning: ")
	says(deployers.Serving, "not what was issued")
	says(deployers.Issued, "ok: ")
	says(deployers.Reading, "warning: what is installed differs")
	s.silence()
	says(deployers.Serving, "see whether the service runs, and whether the probe reaches it")
	s.take()
	s.deploy(Request{}, outcome.Deployed, "")
	says(deployers.Serving, "ok: ")
	says(deployers.Reading, "ok: ")
	s.silence()
	says(deployers.Serving, "error: ")
	says(deployers.Serving, "journalctl -u web.service")
	pki.WriteCertbot(t, filepath.Join(s.dir, "live"), "web.example", s.ca.Leaf(t, pki.Names("web.example"), pki.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))))
	says(deployers.Issued, "error: ")
	if err := os.Truncate(filepath.Join(s.dir, "live/web.example/fullchain.pem"), 0); err != nil {
		t.Fatal(err)
	}
	says(deployers.Issued, "error: ")
	s.renew()
	s.unit.LoadState = "not-found"
	says(deployers.Reload, "unit web.service does not exist")
	says(deployers.Issued, "ok: ")
}
