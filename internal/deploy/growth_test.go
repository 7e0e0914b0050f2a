package deploy

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// The bounds of how work grows with lineages, their targets and the servers of
// their service, of which there are ten times as many. What there is once a run
// makes it less than tenfold; what grows with the square would be near a
// hundredfold.
const (
	few, many  = 20, 200
	mostGrowth = 12
)

// TestGrowth holds that all that is done for many lineages is done in proportion to
// their number, by what is allocated, and that what is asked of services is asked
// once, however many there are.
func TestGrowth(t *testing.T) {
	for name, layout := range map[string]func(n int) string{"one target": oneTarget, "a target each": targetEach} {
		t.Run(name, func(t *testing.T) {
			before, after := newFarm(t, few, layout(few)).works(), newFarm(t, many, layout(many)).works()
			for i, b := range before {
				a := after[i]
				if a.asked != b.asked {
					t.Errorf("%s: of %d lineages %d questions are asked, and of %d %d", b.name, few, b.asked, many, a.asked)
				}
				allocations, bytes := float64(a.allocations)/float64(b.allocations), float64(a.bytes)/float64(b.bytes)
				t.Logf("%s: %d questions; %.1f times the allocations, %.1f times the bytes", b.name, a.asked, allocations, bytes)
				if allocations > mostGrowth || bytes > mostGrowth {
					t.Errorf("%s: ten times the lineages take %.1f times the allocations and %.1f times the bytes", b.name, allocations, bytes)
				}
			}
		})
	}
}

const farmTarget = `
  - name: %s
    service: nginx
    lineage: "%s"
    directory: DIR/tls/{lineage}
    probe: ["https://127.0.0.1:443"]
    nginx: {pid: DIR/pid}
`

func oneTarget(int) string { return fmt.Sprintf(farmTarget, "web", "*.example") }

func targetEach(n int) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, farmTarget, fmt.Sprintf("web%d", i), farmName(i))
	}
	return all.String()
}

func farmName(i int) string { return fmt.Sprintf("n%03d.example", i) }

// farm is one nginx with a server for each of many lineages. Files are as they are on
// a host; nginx, systemd and the network are stood in for. It shows what was
// installed when it was reloaded last.
type farm struct {
	*Engine
	prepare.Processes
	t     *testing.T
	dir   string
	ca    *pki.CA
	names []string
	dump  string // its configuration

	mutex sync.Mutex
	shown map[string]*x509.Certificate // by name
	asked int                          // questions, of nginx and of systemd
}

func newFarm(t *testing.T, n int, targets string) *farm {
	t.Helper()
	f := &farm{t: t, dir: memoryDir(t), ca: pki.NewCA(t, "Root"), shown: map[string]*x509.Certificate{}}
	dump := strings.Builder{}
	dump.WriteString("# configuration file /etc/nginx/nginx.conf:\nhttp {\n")
	for i := range n {
		f.names = append(f.names, farmName(i))
		fmt.Fprintf(&dump, "server { listen 443 ssl; server_name %[2]s; ssl_certificate %[1]s/tls/%[2]s/current/fullchain.pem; ssl_certificate_key %[1]s/tls/%[2]s/current/privkey.pem; }\n", f.dir, farmName(i))
	}
	f.dump = dump.String() + "}\n"
	text := "state: DIR/state\nlineages: [certbot: DIR/live]\npolicy: {trust: DIR/root.pem}\ntargets:" + targets
	cfg, err := config.Parse("test.yaml", []byte(strings.ReplaceAll(text, "DIR", f.dir)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "root.pem"), f.ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(f.dir, "tls"), 0o755); err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	world := prepare.RealWorld(func(context.Context) (prepare.Units, error) { return f, nil }, rows.Databases{})
	f.Processes = world.Processes
	world.Programs, world.Network, world.Processes = f, f, f
	f.Engine = &Engine{Site: prepare.Site{Config: cfg, Store: store, Log: slog.New(slog.DiscardHandler), World: world}}
	f.renew()
	f.deploy(Request{}, outcome.Deployed)
	return f
}

// renew lets the client renew every lineage.
func (f *farm) renew() {
	f.t.Helper()
	for _, name := range f.names {
		pki.WriteCertbot(f.t, filepath.Join(f.dir, "live"), name, f.ca.Leaf(f.t, pki.Names(name)))
	}
}

func (f *farm) deploy(req Request, want outcome.Result) {
	f.t.Helper()
	req.By, req.Limits = "test", HandLimits
	report, err := f.Deploy(f.t.Context(), req)
	f.expect(report, err, want)
}

// expect wants every lineage to have one result.
func (f *farm) expect(report outcome.Report, err error, want outcome.Result) {
	f.t.Helper()
	if err != nil || len(report.Outcomes) != len(f.names) {
		f.t.Fatalf("%d outcomes, %v", len(report.Outcomes), err)
	}
	for _, o := range report.Outcomes {
		if o.Result != want {
			f.t.Fatalf("%s: %s (%s) at %s: %s", o.Lineage, o.Result, o.Reason, o.At, o.Detail)
		}
	}
}

// work is what something took.
type work struct {
	name               string
	asked              int
	allocations, bytes uint64
}

// works does all that is done for many lineages, and returns what it took.
func (f *farm) works() (all []work) {
	f.t.Helper()
	inspector := inspect.Inspector{Site: f.Site}
	look := func(wanted int, err error) {
		f.t.Helper()
		if err != nil || wanted != len(f.names) {
			f.t.Fatalf("%d were looked at, %v", wanted, err)
		}
	}
	lineages, err := prepare.Lineages(f.Site.Config)
	look(len(lineages), err)
	for _, do := range []struct {
		name string
		do   func()
	}{
		{"a run that finds nothing to do", func() { f.deploy(Request{Look: true}, outcome.Unchanged) }},
		{"hooks that find nothing to do", func() { f.deploy(Request{}, outcome.Unchanged) }},
		{"status", func() { seen, _, err := inspector.Inventory(f.t.Context(), prepare.Scope{}); look(len(seen), err) }},
		{"doctor", func() { seen, err := inspector.Examine(f.t.Context(), prepare.Scope{}); look(len(seen), err) }},
		{"validate", func() { seen, err := inspector.Validate(f.t.Context(), lineages...); look(len(seen), err) }},
		{"a first configuration", func() { host, err := inspector.Survey(f.t.Context()); look(len(host.Lineages), err) }},
		{"a dry run", func() {
			f.renew()
			report, err := f.Plan(f.t.Context(), Request{})
			f.expect(report, err, outcome.Planned)
		}},
		{"marking", func() { marked, err := f.MarkOutdated(nil); look(marked, err) }},
		{"a run of what is pending", func() { f.deploy(Request{Pending: true, Look: true}, outcome.Deployed) }},
	} {
		f.asked = 0
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		do.do()
		runtime.ReadMemStats(&after)
		all = append(all, work{do.name, f.asked, after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc})
	}
	return all
}

func (f *farm) ask() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.asked++
}

func (f *farm) Unit(_ context.Context, name string) (deployers.Unit, error) {
	f.ask()
	return deployers.Unit{Name: name, LoadState: "loaded", ActiveState: "active", CanReload: true, MainPID: os.Getpid()}, nil
}

// Reload lets nginx show what is installed.
func (f *farm) Reload(context.Context, string) error {
	f.ask()
	for _, name := range f.names {
		data, err := os.ReadFile(filepath.Join(f.dir, "tls", name, "current", "fullchain.pem"))
		if err != nil {
			return err
		}
		certs, err := lineage.ParseCertificates(data)
		if err != nil {
			return err
		}
		f.shown[name] = certs[0]
	}
	return nil
}

func (f *farm) Restart(context.Context, string) error {
	return fmt.Errorf("nobody asked for a restart")
}

func (f *farm) Close() {}

func (f *farm) Ask(_ context.Context, argv []string) (command.Output, error) {
	f.ask()
	if filepath.Base(argv[0]) != "nginx" {
		return command.Output{}, fmt.Errorf("run %s: there is only nginx", argv[0])
	}
	return command.Output{Stdout: f.dump}, nil
}

func (f *farm) Run(context.Context, []string) (command.Output, error) {
	return command.Output{}, fmt.Errorf("nobody asked for a command")
}

func (f *farm) CanRead(context.Context, command.Credential, []string) error { return nil }

func (f *farm) Observe(_ context.Context, at []endpoint.Endpoint, done func()) []probe.Observation {
	var all []probe.Observation
	for _, e := range at {
		all = append(all, f.observe(e))
		done()
	}
	return all
}

func (f *farm) observe(e endpoint.Endpoint) probe.Observation {
	if leaf := f.shown[e.Name]; leaf != nil {
		return probe.Observation{Endpoint: e, Chain: []*x509.Certificate{leaf}}
	}
	return probe.Observation{Endpoint: e, Err: fmt.Errorf("%s is not shown", e.Name)}
}

func (f *farm) Addresses(context.Context, string) []netip.Addr { return nil }

func (f *farm) Prove(_ context.Context, _ time.Time, wants []probe.Want) []probe.Seen {
	var all []probe.Seen
	for _, want := range wants {
		all = append(all, probe.Seen{Endpoint: want.Endpoint, Last: f.observe(want.Endpoint), Proven: true})
	}
	return all
}
