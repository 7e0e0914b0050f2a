package inspect

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/process"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

func TestMain(m *testing.M) {
	need.KeptTemp()
	os.Exit(m.Run())
}

// scene is a host in small: files are as they are, and the world outside of them
// is stood in for. It begins with the lineage web.example, whose first leaf is
// installed and shown at 127.0.0.1:443, and which was renewed since.
type scene struct {
	Inspector
	t              *testing.T
	dir            string
	ca             *pki.CA
	first, renewed pki.Leaf
	logged         *strings.Builder
	telling        sync.Mutex
	told           []string       // to whoever watches
	target         *config.Target // the only one
	world          *world
}

// newScene makes a scene whose target has some more options.
func newScene(t *testing.T, options string) *scene {
	t.Helper()
	return newSceneOf(t, `
  - {name: web, service: generic, unit: web.service, lineage: web.example, certificate: "DIR/cert.pem", key: "DIR/key.pem", probe: ["tls://127.0.0.1:443"]`+options+`}
`)
}

// newSceneOf makes a scene with other targets, in whose description DIR is its
// directory.
func newSceneOf(t *testing.T, targets string) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), ca: pki.NewCA(t, "Root"), logged: new(strings.Builder)}
	s.first = s.renew("web.example")
	s.write("root.pem", s.ca.PEM())
	s.write("cert.pem", s.first.Fullchain)
	s.write("key.pem", s.first.Key)
	cfg, err := config.Parse(filepath.Join(s.dir, "certlatch.yaml"), []byte(strings.ReplaceAll(`
state: "DIR/state"
lineages: [certbot: "DIR/live"]
policy: {trust: "DIR/root.pem"}
targets:`+targets, "DIR", s.dir)))
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	s.target = &cfg.Targets[0]
	s.world = &world{t: t, shown: map[string]*x509.Certificate{}, units: map[string]deployers.Unit{
		"web.service": {Name: "web.service", LoadState: "loaded", ActiveState: "active", CanReload: true, MainPID: 4711},
	}}
	s.world.shows(s.first)
	s.Site = prepare.Site{
		Config: cfg, Store: store, Log: slog.New(slog.NewTextHandler(s.logged, nil)),
		Progress: func(doing string) {
			s.telling.Lock()
			defer s.telling.Unlock()
			s.told = append(s.told, doing)
		},
		World: prepare.World{
			Systemd: func(context.Context) (prepare.Units, error) {
				s.world.open = s.world.down == nil
				return s.world, s.world.down
			},
			Programs: s.world, Channels: s.world, Network: s.world, Processes: s.world, Databases: s.world,
		},
	}
	s.renewed = s.renew("web.example")
	return s
}

// renew lets the client renew a lineage, or issue it.
func (s *scene) renew(name string, options ...pki.Option) pki.Leaf {
	s.t.Helper()
	leaf := s.ca.Leaf(s.t, append([]pki.Option{pki.Names(name)}, options...)...)
	pki.WriteCertbot(s.t, filepath.Join(s.dir, "live"), name, leaf)
	return leaf
}

// install puts a pair into the target's files, as a deployment would.
func (s *scene) install(leaf pki.Leaf) {
	s.t.Helper()
	s.write("cert.pem", leaf.Fullchain)
	s.write("key.pem", leaf.Key)
	for name, mode := range map[string]os.FileMode{"cert.pem": 0o644, "key.pem": 0o640} {
		if err := os.Chmod(s.path(name), mode); err != nil {
			s.t.Fatal(err)
		}
	}
}

// prove notes that a leaf was proven at the target, by some found probes.
func (s *scene) prove(leaf pki.Leaf, probes ...string) {
	s.t.Helper()
	s.remembers(func(st *state.State) {
		st.Record("web", "web.example").Proven = &state.Proof{Leaf: lineage.Describe(leaf.Cert), Time: time.Now().Add(-time.Hour).UTC().Truncate(time.Second), Probes: probes}
	})
}

// remembers changes the state.
func (s *scene) remembers(change func(*state.State)) {
	s.t.Helper()
	st, err := s.Site.Store.Load()
	if err != nil {
		s.t.Fatal(err)
	}
	change(st)
	if err := s.Site.Store.Save(st); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scene) write(name string, content []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) remove(name string) {
	s.t.Helper()
	if err := os.RemoveAll(s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// isClosed demands that the connection to systemd, if there was one, is closed.
func (s *scene) isClosed() {
	s.t.Helper()
	if s.world.open {
		s.t.Error("the connection to systemd stays open")
	}
}

// world is what lies outside of files. It fails a test that would change it.
type world struct {
	mutex             sync.Mutex
	ran               []string // programs that were run for what they print
	t                 *testing.T
	down              error                        // why systemd cannot be reached
	prepare.Processes                              // nil: nobody asks but for Peers and SeesAnother
	units             map[string]deployers.Unit    // others do not exist
	noUnits           error                        // why none can be looked at
	shown             map[string]*x509.Certificate // by address; elsewhere nothing listens
	output            command.Output               // of every program
	failed            error                        // how every program ends
	answers           string                       // the only program that there is; empty: every one is
	unreadable        error                        // why a service's user cannot read files
	row               []byte                       // the certificate of every row
	noRow             error
	noUpdate          error
	table             []rows.Entry // of every database
	open              bool         // the connection to systemd

	looks int      // at what is served,
	asked int      // and the handshakes of them
	read  []string // by a service's user
	hangs bool     // handshakes come to their end only as their time does
}

// Addresses is where no name leads.
func (*world) Addresses(context.Context, string) []netip.Addr { return nil }

// Peers are the services themselves, but at addresses for documentation, which no
// host has (RFC 5737).
func (w *world) Peers(_ deployers.Processes, at []netip.AddrPort) ([]process.Peer, error) {
	peers := make([]process.Peer, len(at))
	for i, address := range at {
		if netip.MustParsePrefix("192.0.2.0/24").Contains(address.Addr()) {
			peers[i] = process.NotHere
		}
	}
	return peers, nil
}

// SeesAnother finds nothing mounted over anything.
func (w *world) SeesAnother(int, string) (bool, error) { return false, nil }

func (w *world) SharesMounts(int) bool { return false }

// shows lets a pair be shown at 127.0.0.1:443.
func (w *world) shows(leaf pki.Leaf) { w.shown["127.0.0.1:443"] = leaf.Cert }

func (w *world) Unit(_ context.Context, name string) (deployers.Unit, error) {
	if unit, ok := w.units[name]; ok {
		return unit, w.noUnits
	}
	return deployers.Unit{Name: name, LoadState: "not-found"}, w.noUnits
}

func (w *world) Close() { w.open = false }

func (w *world) Reload(_ context.Context, name string) error  { return w.changes("reload " + name) }
func (w *world) Restart(_ context.Context, name string) error { return w.changes("restart " + name) }

func (w *world) Run(_ context.Context, argv []string) (command.Output, error) {
	return command.Output{}, w.changes("run " + strings.Join(argv, " "))
}

func (w *world) Ask(_ context.Context, argv []string) (command.Output, error) {
	w.mutex.Lock()
	w.ran = append(w.ran, argv[0])
	w.mutex.Unlock()
	if w.answers != "" && argv[0] != w.answers {
		return command.Output{}, errors.New("there is no " + argv[0])
	}
	return w.output, w.failed
}

func (w *world) CanRead(_ context.Context, _ command.Credential, paths []string) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.read = append(w.read, paths...)
	return w.unreadable
}

func (w *world) Call(_ context.Context, query deployers.Query) deployers.Answer {
	return deployers.Answer{Err: "nobody answers at " + query.Channel.Address}
}

func (w *world) Observe(ctx context.Context, at []endpoint.Endpoint, done func()) []probe.Observation {
	w.looks++
	var all []probe.Observation
	for _, e := range at {
		w.asked++
		all = append(all, observed(e, w.shown[e.Address()]))
		done()
	}
	if w.hangs {
		<-ctx.Done()
	}
	return all
}

// observed returns what a handshake shows: a leaf, or that there is none.
func observed(e endpoint.Endpoint, leaf *x509.Certificate) probe.Observation {
	if leaf == nil {
		return probe.Observation{Endpoint: e, Err: fmt.Errorf("%s: nothing listens there", e)}
	}
	return probe.Observation{Endpoint: e, Chain: []*x509.Certificate{leaf}}
}

func (w *world) Prove(context.Context, time.Time, []probe.Want) []probe.Seen {
	w.changes("prove")
	return nil
}

func (w *world) Read(context.Context, deployers.Row) ([]byte, lineage.Secret, error) {
	return w.row, nil, w.noRow
}

func (w *world) Table(context.Context, deployers.Row) ([]rows.Entry, error) {
	return w.table, w.noRow
}

func (w *world) Try(context.Context, deployers.Row) error { return w.noUpdate }

func (w *world) Stage(context.Context, deployers.Row, []byte, lineage.Secret) (pairs.Change, error) {
	return nil, w.changes("write a row")
}

// changes fails the test: whoever looks does not do that.
func (w *world) changes(what string) error {
	w.t.Errorf("whoever looks does not %s", what)
	return errors.New("not now")
}

// endpoints parses URLs.
func endpoints(t *testing.T, urls ...string) []endpoint.Endpoint {
	t.Helper()
	var all []endpoint.Endpoint
	for _, url := range urls {
		e, err := endpoint.Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// says returns what there is to say of an aspect, a line each.
func says(checks []deployers.Check, about deployers.Aspect) string {
	var all []string
	for _, c := range checks {
		if c.About == about {
			all = append(all, string(c.Level)+": "+c.String())
		}
	}
	return strings.Join(all, "\n")
}

// has demands that a text holds some others.
func has(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %q", want, text)
		}
	}
}
