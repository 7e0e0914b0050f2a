package deploy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// shop is a service with many certificates in small, for which everything is as it
// is on a host: files, programs and handshakes. When it is activated it takes what
// is installed, and fails while one of those that the file "poison" names is newly
// installed.
type shop struct {
	*Engine
	dir   string
	ca    *pki.CA
	names []string
}

// activation is run with the directory.
const activation = `#!/bin/sh
cd "$1" || exit 1
echo >> activations
for name in $(cat poison); do cmp -s "live/$name/fullchain.pem" "installed/$name.crt" && exit 1; done
cp installed/* served/
`

// newShop makes a shop that serves the first leaves of its lineages, and then
// renews them all.
func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{dir: memoryDir(t), ca: pki.NewCA(t, "Root")}
	for _, dir := range []string{"installed", "served"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.write(t, "root.pem", string(s.ca.PEM()), 0o644)
	s.write(t, "activate", activation, 0o755)
	s.write(t, "poison", "", 0o644)
	for _, letter := range "abcde" {
		s.names = append(s.names, string(letter)+".example")
	}
	text := fmt.Sprintf(`
state: %[1]s/state
lineages: [certbot: %[1]s/live]
policy: {trust: %[1]s/root.pem}
targets:
  - name: shop
    service: generic
    lineage: "*.example"
    certificate: %[1]s/installed/{lineage}.crt
    key: %[1]s/installed/{lineage}.key
    probe: ["tls://%[2]s"]
    generic: {activate: [%[1]s/activate, %[1]s]}
`, s.dir, s.listen(t))
	cfg, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	s.Engine = &Engine{Site: prepare.Site{Config: cfg, Store: store, Log: slog.New(slog.DiscardHandler), World: prepare.RealWorld(nil, rows.Databases{})}}
	s.renew(t, s.names...)
	s.expect(t, s.deploy(t, Request{}), "deployed deployed deployed deployed deployed")
	s.renew(t, s.names...)
	s.write(t, "activations", "", 0o644)
	return s
}

func (s *shop) write(t *testing.T, name, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func (s *shop) renew(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		pki.WriteCertbot(t, filepath.Join(s.dir, "live"), name, s.ca.Leaf(t, pki.Names(name)))
	}
}

// listen serves by SNI what the shop has taken.
func (s *shop) listen(t *testing.T) string {
	return pki.Serve(t, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		file := filepath.Join(s.dir, "served", hello.ServerName)
		pair, err := tls.LoadX509KeyPair(file+".crt", file+".key")
		return &pair, err
	}})
}

func (s *shop) deploy(t *testing.T, req Request) []outcome.Outcome {
	t.Helper()
	req.By = "test"
	req.Limits = Limits{Lock: time.Minute, Work: time.Minute, Total: 2 * time.Minute, Activation: 20 * time.Second, Proof: 5 * time.Second}
	report, err := s.Deploy(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return report.Outcomes
}

// expect compares the outcomes' results, in the order of the lineages.
func (s *shop) expect(t *testing.T, outcomes []outcome.Outcome, want string) {
	t.Helper()
	var got []string
	for _, o := range outcomes {
		got = append(got, string(o.Result))
	}
	if got := strings.Join(got, " "); got != want {
		t.Errorf("got %s, and not %s", got, want)
		for _, o := range outcomes {
			t.Logf("%s: %s (%s) at %s: %s", o.Lineage, o.Result, o.Reason, o.At, o.Detail)
		}
	}
}

// activated wants a number of activations since the last renewal.
func (s *shop) activated(t *testing.T, want int) {
	t.Helper()
	lines, err := os.ReadFile(filepath.Join(s.dir, "activations"))
	if err != nil || len(lines) != want {
		t.Errorf("%d activations instead of %d (%v)", len(lines), want, err)
	}
}

func TestManyLineagesOneActivation(t *testing.T) {
	s := newShop(t)
	s.expect(t, s.deploy(t, Request{}), "deployed deployed deployed deployed deployed")
	s.activated(t, 1)
}

// Hooks that wait for the same lock are served by one run, whichever gets it
// first, and each is told about its own lineage.
func TestHooksShare(t *testing.T) {
	for _, test := range []struct {
		poison, want string
		activations  int
	}{
		{"", "deployed unchanged unchanged unchanged unchanged", 1},
		{"c.example\n", "rolled-back rolled-back rolled-back rolled-back rolled-back", 2},
	} {
		s := newShop(t)
		s.write(t, "poison", test.poison, 0o644)
		release, err := s.Site.Store.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan []outcome.Outcome)
		for _, name := range s.names {
			go func() { results <- s.deploy(t, Request{Lineages: []string{name}, Coalesce: true}) }()
		}
		for {
			if marks, err := s.Site.Store.Marks(); err == nil && len(marks) == len(s.names) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		release()
		told := map[string]bool{}
		var outcomes []outcome.Outcome
		for range s.names {
			own := <-results
			if len(own) != 1 || told[own[0].Lineage] {
				t.Fatalf("a hook was told %v", own)
			}
			told[own[0].Lineage] = true
			if own[0].Result == outcome.Deployed {
				outcomes = append(own, outcomes...)
			} else {
				outcomes = append(outcomes, own...)
			}
		}
		s.expect(t, outcomes, test.want)
		s.activated(t, test.activations)
		if marks, err := s.Site.Store.Marks(); err != nil || len(marks) != 0 {
			t.Errorf("marks are left: %v, %v", marks, err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		text string
		want bool
	}{
		{"cannot use /etc/a.crt: no such file", true},
		{"/etc/a.crt", true},
		{`"/etc/a.crt"`, true},
		{"/etc/a.crt.bak", false},
		{"/etc/a.crt-old", false},
		{"/etc/a.crt_old", false},
		{"/etc/a.crt/b", false},
		{"/etc/a.crt2", false},
		{"/etc/a.crtZ", false},
		{"/etc/a.crt.bak and /etc/a.crt", true},
		{"/etc/a.crt{", true},
		{"/etc/a.crt@", true},
		{"/etc/a.crta", false},
		{"/etc/a.crtz", false},
		{"/etc/a.crtA", false},
		{"/etc/a.crt9", false},
		{"/etc/a.crt0", false},
		{"/etc/a.crt:", true},
		{"nothing", false},
	} {
		if got := names(test.text, "/etc/a.crt"); got != test.want {
			t.Errorf("%q: %v", test.text, got)
		}
	}
}

// Only the leaf that failed with others is tried alone.
func TestIsAlone(t *testing.T) {
	failed := func(alone bool) state.Record {
		return state.Record{Pending: &state.Pending{Failure: state.Failure{Fingerprint: "aa", Alone: alone}}}
	}
	for _, test := range []struct {
		record      state.Record
		fingerprint string
		want        bool
	}{{failed(true), "aa", true}, {failed(true), "bb", false}, {failed(false), "aa", false}, {state.Record{}, "", false}} {
		if got := isAlone(test.record, test.fingerprint); got != test.want {
			t.Errorf("%+v with %s: %v", test.record.Pending, test.fingerprint, got)
		}
	}
}

// counted counts the looks at what is served now, and the handshakes of them.
type counted struct {
	prepare.Network
	looks, made *atomic.Int64
}

func (c counted) Observe(ctx context.Context, at []endpoint.Endpoint, done func()) []probe.Observation {
	if len(at) > 0 {
		c.looks.Add(1)
	}
	c.made.Add(int64(len(at)))
	return c.Network.Observe(ctx, at, done)
}

// TestWhatWasSeenIsNotLookedAtAgain wants all that a run has to look at to be looked
// at in one go, and the snapshot to show that, without another look.
func TestWhatWasSeenIsNotLookedAtAgain(t *testing.T) {
	s := newShop(t)
	var looks, made atomic.Int64
	s.Site.World.Network = counted{s.Site.World.Network, &looks, &made}
	for _, test := range []struct{ name, want string }{
		{"deployed", "deployed deployed deployed deployed deployed"},
		{"unchanged", "unchanged unchanged unchanged unchanged unchanged"},
	} {
		if err := os.Remove(state.SnapshotFile(s.Site.Config.Run)); err != nil {
			t.Fatal(err)
		}
		looks.Store(0)
		made.Store(0)
		began := time.Now()
		s.expect(t, s.deploy(t, Request{Look: true}), test.want)
		if looks.Load() != 1 || made.Load() != 5 {
			t.Errorf("%s: %d looks and %d handshakes to see what 5 probes see", test.name, looks.Load(), made.Load())
		}
		snapshot, err := state.ReadSnapshot(s.Site.Config.Run)
		if err != nil || len(snapshot.Certificates) != 5 {
			t.Fatal(snapshot, err)
		}
		for _, c := range snapshot.Certificates {
			if c.State != "in-sync" || len(c.Served) != 1 || c.Served[0].Leaf == nil || c.Served[0].Leaf.Fingerprint != c.Issued.Fingerprint ||
				c.Installed.Fingerprint != c.Issued.Fingerprint || c.Looked.Before(began) || c.Pending != nil {
				t.Errorf("%s: %+v", test.name, c)
			}
		}
	}
}
