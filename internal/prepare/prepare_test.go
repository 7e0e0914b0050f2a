package prepare

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/beside"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/state"
)

// generic is a target of the service generic, in a line of a configuration.
func generic(dir, more string) string {
	return "{name: web, service: generic, lineage: web.example, certificate: " + dir + "/cert.pem, key: " + dir + "/key.pem" + more + "}"
}

// A lineage is read once, until it is forgotten.
func TestBundle(t *testing.T) {
	dir := t.TempDir()
	ca := pki.NewCA(t, "Root")
	leaf := ca.Leaf(t, pki.Names("web.example"))
	pki.WriteCertbot(t, filepath.Join(dir, "live"), "web.example", leaf)
	l, err := Lineage(parse(t, dir), "web.example")
	if err != nil {
		t.Fatal(err)
	}
	p := NewPreparer(World{})
	defer p.Close()
	has := func(leaf pki.Leaf) {
		t.Helper()
		bundle, findings := p.Bundle(l)
		if bundle == nil || !bundle.Leaf.Equal(leaf.Cert) || p.Fingerprint(l) != lineage.Fingerprint(leaf.Cert) {
			t.Errorf("read was %v, %v", bundle, findings)
		}
	}
	has(leaf)
	renewed := ca.Leaf(t, pki.Names("web.example"))
	pki.WriteCertbot(t, filepath.Join(dir, "live"), "web.example", renewed)
	has(leaf)
	p.ForgetBundles()
	has(renewed)

	broken := l
	broken.Key = broken.Fullchain
	for range 2 {
		if bundle, findings := p.Bundle(broken); bundle != nil || len(findings) == 0 || p.Fingerprint(broken) != "" {
			t.Errorf("read was %v, %v", bundle, findings)
		}
	}
}

// TestPlan asks deployers with what they want to know.
func TestPlan(t *testing.T) {
	dir := t.TempDir()
	web := parse(t, dir, generic(dir, `, unit: web.service, probe: ["tls://127.0.0.1:443"]`)).Targets[0]
	l := lineage.Lineage{Client: "certbot", Name: "web.example"}
	systemd := &units{}
	p := NewPreparer(World{Systemd: systemd.connect})
	for range 2 {
		plan, err := p.Plan(t.Context(), Assignment{Target: web, Lineage: l}, nil, time.Time{})
		if err != nil || plan.Target != "web" || plan.Lineage != "web.example" || plan.Activate.Way != deployers.ReloadUnit || plan.Activate.Unit != "web.service" {
			t.Errorf("planned is %+v, %v", plan, err)
		}
	}
	if got := strings.Join(systemd.calls, ", "); got != "look at web.service" || systemd.connected != 1 {
		t.Errorf("done was %s, after %d connections", got, systemd.connected)
	}
	p.Close()
	if systemd.closed != 1 {
		t.Errorf("%d connections were closed", systemd.closed)
	}

	systemd.fails = errors.New("no bus")
	plan, err := NewPreparer(World{Systemd: systemd.connect}).Plan(t.Context(), Assignment{Target: web, Lineage: l}, nil, time.Time{})
	if !is[*outcome.SystemdError](err) || !reflect.DeepEqual(plan, deployers.Plan{}) {
		t.Errorf("without systemd: %+v, %v", plan, err)
	}
	without := NewPreparer(World{})
	defer without.Close()
	plan, err = without.Plan(t.Context(), Assignment{Target: web, Lineage: l}, nil, time.Time{})
	if !is[*deployers.NoWayError](err) && err != nil || without.Units != nil || without.Facts.Systemd() {
		t.Errorf("on a host without it: %+v, %v", plan, err)
	}
}

// Deployers know the names of the new leaf.
func TestPlanOfBundle(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "prosody.cfg.lua"), "certificates = \"certs\"\nVirtualHost \"web.example\"\n")
	xmpp := parse(t, dir, "{name: xmpp, service: prosody, lineage: chat, certificate: "+dir+"/certs/chat.crt, key: "+dir+"/certs/chat.key, "+
		"prosody: {config: "+dir+"/prosody.cfg.lua}}").Targets[0]
	leaf := pki.SelfSigned(t, pki.Names("web.example"))
	bundle, findings := lineage.Parse(lineage.Lineage{}, leaf.Fullchain, nil, leaf.Key)
	if bundle == nil {
		t.Fatal(findings)
	}
	p := NewPreparer(World{Systemd: (&units{}).connect})
	defer p.Close()
	for _, test := range []struct {
		bundle *lineage.Bundle
		want   []string
	}{{nil, nil}, {bundle, []string{"web.example"}}} {
		plan, err := p.Plan(t.Context(), Assignment{Target: xmpp, Lineage: lineage.Lineage{Name: "chat"}}, test.bundle, time.Time{})
		if err != nil || !slices.Equal(plan.Names, test.want) {
			t.Errorf("with %v: %q, %v", test.bundle, plan.Names, err)
		}
	}
}

// Names of probes that were found count as those of the service's configuration do;
// those of probes that were written down are the target's own.
func TestServiceNames(t *testing.T) {
	plan := deployers.Plan{Names: []string{"a.example"}, Probes: []endpoint.Endpoint{{Name: "a.example"}, {Name: "b.example"}, {}}}
	for found, want := range map[bool][]string{false: {"a.example"}, true: {"a.example", "b.example"}} {
		plan.Found = found
		if got := CaseOf(config.Target{}, nil, nil, plan, nil).Names; !slices.Equal(got, want) {
			t.Errorf("found %v: %q, want %q", found, got, want)
		}
	}
}

// Some deployers have to ask the service.
func TestAsks(t *testing.T) {
	dir := t.TempDir()
	sip := "{name: sip, service: kamailio, lineage: web.example, certificate: " + dir + "/sip.pem, key: " + dir + "/sipkey.pem}"
	cfg := parse(t, dir, generic(dir, ""), sip)
	if Asks(cfg.Targets[0]) || !Asks(cfg.Targets[1]) {
		t.Errorf("generic asks: %v, kamailio: %v", Asks(cfg.Targets[0]), Asks(cfg.Targets[1]))
	}
}

// A time that has yet to come does not tell when the service was activated.
func TestLastActivation(t *testing.T) {
	last := time.Now().Add(-time.Hour)
	for name, test := range map[string]struct {
		unit        string
		noted, want time.Time
	}{
		"noted": {"x.service", last, last}, "never": {}, "another's": {"y.service", last, time.Time{}},
		"of a clock that was ahead": {"x.service", time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}},
	} {
		known := &state.State{Activations: map[string]time.Time{"unit " + test.unit: test.noted}}
		if got := LastActivation(known, config.Target{Target: deployers.Target{Unit: "x.service"}}); !got.Equal(test.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestNameProbes gives names to probes that have none.
func TestNameProbes(t *testing.T) {
	leaf := pki.SelfSigned(t, pki.Names("*.example", "web.example", "mail.example")).Cert
	wild := pki.SelfSigned(t, pki.Names("*.example")).Cert
	bare, own := at(t, "tls://127.0.0.1:443"), at(t, "tls://127.0.0.1:443?name=own.example")
	named := bare
	named.Name = "web.example"
	probes := []endpoint.Endpoint{own, bare, bare}
	if got, err := NameProbes(probes, leaf); err != nil || !slices.Equal(got, []endpoint.Endpoint{own, named, named}) {
		t.Errorf("got %v, %v", got, err)
	}
	if probes[1] != bare {
		t.Error("the plan's own probes were changed")
	}
	for name, leaf := range map[string]*x509.Certificate{"a wildcard": wild, "none": nil} {
		_, err := NameProbes(probes, leaf)
		if none, is := errors.AsType[*outcome.NoNameError](err); !is || none.Probe != bare.String() {
			t.Errorf("the leaf is %s: %v", name, err)
		}
		if got, err := NameProbes([]endpoint.Endpoint{own}, leaf); err != nil || !slices.Equal(got, []endpoint.Endpoint{own}) {
			t.Errorf("the leaf is %s, and is not needed: %v, %v", name, got, err)
		}
	}
}

// TestJudge is about what a target's policy is asked of a bundle.
func TestJudge(t *testing.T) {
	dir := t.TempDir()
	ca := pki.NewCA(t, "Root")
	roots := filepath.Join(dir, "roots.pem")
	write(t, roots, string(ca.PEM()))
	now := time.Now()
	leaf := ca.Leaf(t, pki.Names("web.example"))
	newer := ca.Leaf(t, pki.Names("web.example", "service.example", "sip.example"), pki.Valid(now.Add(-time.Minute), now.Add(100*24*time.Hour)))
	bundle, findings := lineage.Parse(lineage.Lineage{}, leaf.Fullchain, nil, leaf.Key)
	if bundle == nil {
		t.Fatal(findings)
	}
	target := config.Target{Policy: config.Policy{Trust: roots}}
	read := lineage.Finding{Code: "key-readable", Severity: lineage.Warned}
	for _, test := range []struct {
		name    string
		change  func(*Case)
		revoked bool
		want    string // severity and code
	}{
		{"nothing", func(*Case) {}, false, ""},
		{"read", func(c *Case) { c.Findings = []lineage.Finding{read} }, false, "warned key-readable"},
		{"the target's names", func(c *Case) { c.Target.Names = []string{"mail.example"} }, false, "refused name-missing"},
		{"the names of its probes", func(c *Case) {
			c.Target.Probes = []endpoint.Endpoint{at(t, "tls://127.0.0.1:1"), at(t, "tls://127.0.0.1:1?name=mail.example")}
		}, false, "refused name-missing"},
		{"the names of its probes, which the leaf has", func(c *Case) {
			c.Target.Probes = []endpoint.Endpoint{at(t, "tls://127.0.0.1:1"), at(t, "tls://127.0.0.1:1?name=web.example")}
		}, false, ""},
		{"the names of the service", func(c *Case) { c.Names, c.Installed = []string{"service.example"}, []*x509.Certificate{newer.Cert} }, false, "refused name-missing, refused downgrade, warned names-lost"},
		{"SIP domains", func(c *Case) { c.SIPDomains, c.Target.Names = []string{"sip.example"}, []string{"sip.example"} }, false, "refused name-missing"},
		{"accepted", func(c *Case) {
			c.Target.Names, c.Target.Policy.Accept = []string{"mail.example"}, []string{"name-missing"}
		}, false, "warned name-missing"},
		{"refused first", func(c *Case) { c.Findings, c.Target.Names = []lineage.Finding{read}, []string{"mail.example"} }, false, "refused name-missing, warned key-readable"},
		{"a downgrade", func(c *Case) { c.Installed = []*x509.Certificate{newer.Cert} }, false, "refused downgrade, warned names-lost"},
		{"a downgrade that is forced", func(c *Case) { c.Installed, c.Force = []*x509.Certificate{newer.Cert}, true }, false, "warned names-lost"},
		{"a downgrade by name", func(c *Case) { c.Installed, c.ByName = []*x509.Certificate{newer.Cert}, true }, false, "warned names-lost"},
		{"by name", func(c *Case) { c.Target.Names, c.ByName = []string{"mail.example"}, true }, false, "warned name-missing"},
		{"revoked", func(*Case) {}, true, "refused revoked"},
		{"revoked, and forced", func(c *Case) { c.Force = true }, true, "refused revoked"},
		{"revoked, by name", func(c *Case) { c.ByName = true }, true, ""},
		{"another trust", func(c *Case) { c.Target.Policy.Trust = filepath.Join(dir, "other.pem") }, false, "refused chain-incomplete"},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(t, filepath.Join(dir, "other.pem"), string(pki.NewCA(t, "Other").PEM()))
			type key struct{}
			ctx := context.WithValue(t.Context(), key{}, "this one")
			world := World{}
			if test.revoked {
				world.Revoked = func(ctx context.Context, got, issuer *x509.Certificate) (bool, error) {
					if ctx.Value(key{}) == nil || !got.Equal(leaf.Cert) || !issuer.Equal(ca.Cert) {
						t.Error("somebody else is asked about")
					}
					return true, nil
				}
			}
			c := CaseOf(target, bundle, nil, deployers.Plan{}, nil)
			test.change(&c)
			before := slices.Clone(c.Findings)
			found, err := NewPreparer(world).Judge(ctx, c)
			var got []string
			for _, f := range found {
				got = append(got, string(f.Severity)+" "+f.Code)
			}
			if text := strings.Join(got, ", "); text != test.want || err != nil {
				t.Errorf("found is %s, %v", text, err)
			}
			if !slices.Equal(c.Findings, before) {
				t.Errorf("what was found before is now %v", c.Findings)
			}
		})
	}

	plan := deployers.Plan{Names: []string{"a"}, SIPDomains: []string{"b"}}
	want := Case{Target: target, Bundle: bundle, Findings: []lineage.Finding{read}, Names: []string{"a"}, SIPDomains: []string{"b"}, Installed: []*x509.Certificate{newer.Cert}}
	if got := CaseOf(target, bundle, []lineage.Finding{read}, plan, []*x509.Certificate{newer.Cert}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// The roots of a policy are read once; where they cannot be, what was found
// before is returned all the same.
func TestTrust(t *testing.T) {
	dir := t.TempDir()
	ca := pki.NewCA(t, "Root")
	leaf := ca.Leaf(t)
	bundle, _ := lineage.Parse(lineage.Lineage{}, leaf.Fullchain, nil, leaf.Key)
	c := Case{Bundle: bundle, Findings: []lineage.Finding{{Code: "key-readable"}}}
	c.Target.Policy.Trust = filepath.Join(dir, "roots.pem")
	p := NewPreparer(World{})
	found, err := p.Judge(t.Context(), c)
	if !is[*outcome.ConfigError](err) || !slices.Equal(found, c.Findings) {
		t.Errorf("without roots: %v, %v", found, err)
	}
	write(t, c.Target.Policy.Trust, string(ca.PEM()))
	for range 2 {
		if found, err := p.Judge(t.Context(), c); err != nil || len(found) != 1 {
			t.Errorf("with roots: %v, %v", found, err)
		}
		os.Remove(c.Target.Policy.Trust)
	}
}

// TestNothingBefore is about whether there is a pair to go back to.
func TestNothingBefore(t *testing.T) {
	dir := t.TempDir()
	ca := pki.NewCA(t, "Root")
	bundles := map[bool]*lineage.Bundle{}
	for _, new := range []bool{false, true} {
		leaf := ca.Leaf(t)
		bundles[new], _ = lineage.Parse(lineage.Lineage{}, leaf.Fullchain, nil, leaf.Key)
	}
	place := pairs.Place{Ref: install.Ref{Target: "web", Lineage: "a"}, Files: []deployers.File{
		{Path: filepath.Join(dir, "cert.pem"), Content: deployers.Fullchain, Mode: 0o600}, {Path: filepath.Join(dir, "key.pem"), Content: deployers.Key, Mode: 0o600},
	}}
	storage := Site{Store: state.View(filepath.Join(dir, "state"))}.Storage()
	proven := state.Record{Proven: &state.Proof{}}
	waits := state.Record{Pending: &state.Pending{Failure: state.Failure{Reason: string(outcome.FirstInstall)}}}
	fails := state.Record{Pending: &state.Pending{Failure: state.Failure{Reason: string(outcome.NotProven)}}}
	again := state.Record{Proven: proven.Proven, Pending: waits.Pending}
	check := func(what string, new bool, record state.Record, want bool) {
		t.Helper()
		pair, err := storage.Look(t.Context(), place, bundles[new], "")
		if err != nil {
			t.Fatal(err)
		}
		if got := NothingBefore(pair, record); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	check("nothing, never proven", true, state.Record{}, true)
	check("nothing, proven once", true, proven, true)
	write(t, place.Files[0].Path, string(bundles[false].FullchainPEM()))
	check("a half, proven once", true, proven, true)
	write(t, place.Files[1].Path, string(bundles[false].KeyPEM()))
	check("another pair, never proven", true, state.Record{}, false)
	check("another pair that waits for its first proof", true, waits, true)
	check("another pair that waits, proven once", true, again, false)
	check("another pair that failed", true, fails, false)
	check("another pair, proven", true, proven, false)
	check("the same, never proven", false, state.Record{}, true)
	check("the same, proven", false, proven, false)
}

// TestGather wants what was gathered not to be asked or read again, and nothing to be
// gathered of a single assignment, whose lineage comes first.
func TestGather(t *testing.T) {
	dir := t.TempDir()
	ca := pki.NewCA(t, "Root")
	assigned := func(names ...string) (all []Assignment) {
		cfg := parse(t, dir, "{name: all, service: generic, unit: web.service, lineage: \"*.example\", certificate: \""+dir+"/{lineage}.pem\", key: \""+dir+"/{lineage}.key\"}")
		for _, name := range names {
			pki.WriteCertbot(t, filepath.Join(dir, "live"), name, ca.Leaf(t, pki.Names(name)))
			l, err := Lineage(cfg, name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, Assignment{Target: cfg.Targets[0], Lineage: l})
		}
		return all
	}
	never := func(config.Target) time.Time { return time.Time{} }
	for _, c := range []struct {
		names []string
		asked int
	}{
		{[]string{"a.example"}, 0},
		{[]string{"a.example", "b.example", "c.example"}, 1},
	} {
		units := &countedUnits{}
		p := NewPreparer(World{Systemd: func(context.Context) (Units, error) { return units, nil }})
		all := assigned(c.names...)
		p.Gather(t.Context(), beside.Goroutines, all, true, never)
		if units.asked != c.asked {
			t.Errorf("%s: units are asked for %d times", c.names, units.asked)
		}
		for _, a := range all {
			if err := os.RemoveAll(filepath.Join(dir, "live", a.Lineage.Name)); err != nil {
				t.Fatal(err)
			}
			bundle, _ := p.Bundle(a.Lineage)
			if read := bundle != nil; read != (c.asked > 0) {
				t.Errorf("%s is read: %v", a.Lineage.Name, read)
			}
			if _, err := p.Plan(t.Context(), a, bundle, never(a.Target)); err != nil {
				t.Error(err)
			}
		}
		if units.asked != 1 {
			t.Errorf("%s: units were asked for %d times", c.names, units.asked)
		}
		p.Close()
	}
}

// countedUnits is units that all run, and how often they were asked for.
type countedUnits struct {
	Units
	asked int
}

func (c *countedUnits) Unit(_ context.Context, name string) (deployers.Unit, error) {
	c.asked++
	return deployers.Unit{Name: name, LoadState: "loaded", ActiveState: "active", CanReload: true}, nil
}

func (*countedUnits) Close() {}

// TestFilesFirst is about whether the files of a first pair come before anything of
// its service could take them.
func TestFilesFirst(t *testing.T) {
	dir := t.TempDir()
	leaf := pki.NewCA(t, "Root").Leaf(t)
	bundle, _ := lineage.Parse(lineage.Lineage{}, leaf.Fullchain, nil, leaf.Key)
	place := pairs.Place{Ref: install.Ref{Target: "web", Lineage: "a"}, Files: []deployers.File{{Path: filepath.Join(dir, "cert.pem"), Content: deployers.Fullchain, Mode: 0o600}}}
	storage := Site{Store: state.View(filepath.Join(dir, "state"))}.Storage()
	noTLS := &deployers.NoWayError{Why: "it has no TLS", Remedy: "load it", NoTLS: true}
	other := &deployers.NoWayError{Why: "it does not answer"}
	reload := deployers.Activation{Way: deployers.ReloadUnit, Unit: "web.service"}
	unseen := deployers.Plan{Found: true, Activate: reload}
	with := func(change func(*deployers.Plan)) deployers.Plan {
		plan := unseen
		change(&plan)
		return plan
	}
	waits := state.Record{Pending: &state.Pending{Failure: state.Failure{Reason: string(outcome.FirstInstall)}}}
	for _, test := range []struct {
		name      string
		installed bool
		record    state.Record
		plan      deployers.Plan
		failed    error
		want      string // why it waits; empty: the plan stays, and what it failed with
	}{
		{"no listener", false, state.Record{}, unseen, nil, "no TLS listener of the service is known that could take the files yet"},
		{"no listener, and it waits", true, waits, unseen, nil, "no TLS listener of the service is known that could take the files yet"},
		{"no TLS", false, state.Record{}, with(func(p *deployers.Plan) { p.Found = false }), noTLS, "it has no TLS"},
		{"a pair is there", true, state.Record{}, unseen, nil, ""},
		{"a pair is there, and no TLS", true, state.Record{}, unseen, noTLS, ""},
		{"a pair was proven", false, state.Record{Proven: &state.Proof{}}, unseen, nil, ""},
		{"another fault", false, state.Record{}, unseen, other, ""},
		{"a written probe", false, state.Record{}, with(func(p *deployers.Plan) { p.Found = false }), nil, ""},
		{"a listener", false, state.Record{}, with(func(p *deployers.Plan) { p.Probes = make([]endpoint.Endpoint, 1) }), nil, ""},
		{"it is named where nothing can look", false, state.Record{}, with(func(p *deployers.Plan) { p.Unprobed = "QUIC" }), nil, ""},
		{"a stopped service", false, state.Record{}, with(func(p *deployers.Plan) { p.Activate.Way, p.Activate.Wait = deployers.NoWay, deployers.ServiceInactive }), nil, ""},
		{"a row", false, state.Record{}, with(func(p *deployers.Plan) { p.Row = new(deployers.Row) }), nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			os.Remove(place.Files[0].Path)
			if test.installed {
				write(t, place.Files[0].Path, string(bundle.FullchainPEM()))
			}
			pair, err := storage.Look(t.Context(), place, bundle, "")
			if err != nil {
				t.Fatal(err)
			}
			plan, failed := FilesFirst(test.plan, test.failed, pair, test.record)
			if test.want == "" {
				if failed != test.failed || !reflect.DeepEqual(plan, test.plan) || IsFilesFirst(plan) {
					t.Errorf("got %+v, %v", plan, failed)
				}
				return
			}
			if failed != nil || !IsFilesFirst(plan) || plan.Activate.Why != test.want || plan.Activate.Unit != "web.service" || plan.Activate.Way != deployers.NoWay {
				t.Errorf("got %+v, %v", plan.Activate, failed)
			}
		})
	}
}
