package prepare

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/internal/beside"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/facts"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/state"
)

// Preparer prepares deployments. What it has read and found out it does not
// read again. It may be used by several goroutines.
type Preparer struct {
	Facts *facts.Finder
	Units *Connection // nil: systemd does not run this host

	network   Network
	processes Processes
	revoked   func(ctx context.Context, leaf, issuer *x509.Certificate) (bool, error)

	reader lineage.Reader

	mutex   sync.Mutex
	dead    map[string]unreachable // by address
	bundles map[lineage.Lineage]*read
	trust   map[string]policy.Trust
	paths   map[pathOf]policy.Path
}

// pathOf is a bundle's path to a root that a setting of trust names.
type pathOf struct {
	bundle *lineage.Bundle
	trust  string
}

// read is what came of reading a lineage, once it was read.
type read struct {
	once     sync.Once
	bundle   *lineage.Bundle
	findings []lineage.Finding
}

// NewPreparer returns a Preparer that has not read anything yet.
func NewPreparer(world World) *Preparer {
	p := &Preparer{network: world.Network, processes: world.Processes, revoked: world.Revoked, dead: map[string]unreachable{}, bundles: map[lineage.Lineage]*read{}, trust: map[string]policy.Trust{}, paths: map[pathOf]policy.Path{}}
	var units facts.Units
	if world.Systemd != nil {
		p.Units = &Connection{connect: world.Systemd}
		units = p.Units
	}
	p.Facts = facts.NewFinder(units, world.Programs, world.Channels)
	return p
}

// Close closes what is open, and ends the connection to systemd, if there is
// one.
func (p *Preparer) Close() {
	p.reader.Close()
	if p.Units != nil {
		p.Units.Close()
	}
}

// Bundle reads a lineage; nil: what it holds is not a whole bundle, and the
// findings say why.
func (p *Preparer) Bundle(l lineage.Lineage) (*lineage.Bundle, []lineage.Finding) {
	got := p.reading(l)
	got.once.Do(func() { got.bundle, got.findings = p.reader.Read(l) })
	return got.bundle, got.findings
}

// reading returns the reading of a lineage, which may be yet to be done: several
// are read at once.
func (p *Preparer) reading(l lineage.Lineage) *read {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	got, ok := p.bundles[l]
	if !ok {
		got = new(read)
		p.bundles[l] = got
	}
	return got
}

// Fingerprint returns that of a lineage's leaf; empty where it cannot be read.
func (p *Preparer) Fingerprint(l lineage.Lineage) string {
	if bundle, _ := p.Bundle(l); bundle != nil {
		return lineage.Fingerprint(bundle.Leaf)
	}
	return ""
}

// ForgetBundles lets go of what was read: of thousands of lineages, one at a
// time is enough.
func (p *Preparer) ForgetBundles() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	clear(p.bundles)
	clear(p.paths)
}

// Plan asks the target's deployer what is to be done, given the facts that it
// wants, and when the service was activated last ([LastActivation]). Without a
// bundle it says what it can. With an error of the deployer, the plan holds its
// checks.
func (p *Preparer) Plan(ctx context.Context, a Assignment, bundle *lineage.Bundle, activated time.Time) (deployers.Plan, error) {
	deployer, _ := all.For(a.Target.Service) // the configuration was checked
	found, err := p.Facts.Of(ctx, deployer, a.Target.Target, activated)
	if err != nil {
		return deployers.Plan{}, err
	}
	if bundle != nil {
		found.Names = lineage.Names(bundle.Leaf)
	}
	plan, err := deployer.Plan(a.Target.Target, a.Lineage, found)
	if plan.NotOurs != nil {
		if found.Same = sameFiles(plan); found.Same != nil {
			plan, err = deployer.Plan(a.Target.Target, a.Lineage, found)
		}
	}
	if plan.NotOurs != nil {
		plan.NotOurs = p.notOurs(found.Unit, *plan.NotOurs)
	}
	if err != nil {
		return plan, err
	}
	plan.Checks = append(plan.Checks, p.mountedOver(found.Unit, plan)...)
	plan = p.withoutIPv6(wouldNotSee(found.Unit, plan))
	return deployers.HandOver(a.Target.Target, found, plan.ReadAgain(found))
}

// withoutIPv6 returns a plan whose found probes are at this host's loopback address of
// IPv4, where it has none of IPv6: what listens at the wildcard of IPv6 has that too
// (ipv6(7), IPV6_V6ONLY), and nobody can listen at ::1.
func (p *Preparer) withoutIPv6(plan deployers.Plan) deployers.Plan {
	v6 := func(e endpoint.Endpoint) bool { return e.Host == "::1" }
	if !plan.Found || !slices.ContainsFunc(plan.Probes, v6) || len(p.Elsewhere([]netip.Addr{netip.IPv6Loopback()})) == 0 {
		return plan
	}
	probes := slices.Clone(plan.Probes)
	for i, e := range probes {
		if v6(e) {
			probes[i].Host = "127.0.0.1"
		}
	}
	plan.Probes = deployers.Distinct(probes)
	return plan
}

// mountedOver returns a check that names the directories of a plan's files in whose
// place a running service sees others. A file alone that is mounted over another, in
// the same directory, goes with the file that is replaced (since Linux 3.18, rename(2)
// of a mount point of another namespace).
func (p *Preparer) mountedOver(unit deployers.Unit, plan deployers.Plan) []deployers.Check {
	if unit.MainPID == 0 || p.processes.SharesMounts(unit.MainPID) {
		return nil
	}
	var looked, hidden []string
	for _, f := range plan.Files {
		dir := filepath.Dir(f.Path)
		if f.Credential != "" || slices.Contains(looked, dir) {
			continue
		}
		looked = append(looked, dir)
		_, real, err := disk.Trace(dir)
		if err != nil || real == "" {
			continue // where nothing is yet, the proof will tell
		}
		if another, _ := p.processes.SeesAnother(unit.MainPID, real); another {
			hidden = append(hidden, dir)
		}
	}
	if hidden == nil {
		return nil
	}
	return []deployers.Check{deployers.NewCheck(deployers.Reading, deployers.Warned,
		fmt.Sprintf("see what systemctl cat %s mounts there: let it bind that directory as it is, not single files of it nor another one, and restart it; or let the target write where it does read", unit.Name),
		"%s does not see %s as this host does, since something is mounted over it, and so not what is put there either", unit.Name, strings.Join(hidden, " and "))}
}

// wouldNotSee says of a unit that does not run, or has a root of its own, which files of a
// plan it would not see when it is started, which would fail then: to start it is no remedy.
func wouldNotSee(unit deployers.Unit, plan deployers.Plan) deployers.Plan {
	if len(unit.Hidden) == 0 {
		return plan
	}
	for _, f := range plan.Files {
		if f.Credential != "" {
			continue
		}
		_, real, err := disk.Trace(filepath.Dir(f.Path))
		if err != nil || real == "" {
			real = filepath.Dir(f.Path)
		}
		by := unit.Hides(filepath.Join(real, filepath.Base(f.Path)))
		if by == "" {
			continue
		}
		check := unit.HiddenCheck(by, filepath.Dir(f.Path))
		plan.Checks = append(plan.Checks, check)
		if plan.Activate.Wait == deployers.ServiceInactive {
			plan.Activate.Remedy = check.Remedy + ", then systemctl start " + unit.Name + "; certlatch deploy --pending then proves it"
		}
		break
	}
	return plan
}

// Gather reads the lineages of assignments while the services that they are for are
// asked, so that neither waits for the other: Bundle and Plan then know the answers,
// and Judge too where it is to be asked. Of a single one the lineage comes first,
// since a service need not be asked for one that cannot be read. Activated returns
// when a target's service was activated last ([LastActivation]).
func (p *Preparer) Gather(ctx context.Context, way beside.Way, assigned []Assignment, judged bool, activated func(config.Target) time.Time) {
	if len(assigned) < 2 {
		return
	}
	var asking, reading []func()
	asked := map[string]bool{}
	for _, a := range assigned {
		if a.Err != nil {
			continue
		}
		reading = append(reading, func() {
			if bundle, _ := p.Bundle(a.Lineage); bundle != nil && judged {
				p.path(bundle, a.Target.Policy.Trust) // Judge fails as this does
			}
		})
		if !asked[a.Target.Name] {
			asked[a.Target.Name] = true
			asking = append(asking, func() {
				deployer, _ := all.For(a.Target.Service)
				p.Facts.Of(ctx, deployer, a.Target.Target, activated(a.Target)) // Plan fails as this does
			})
		}
	}
	// A service that is asked takes a processor too, as nginx does to read its
	// configuration. One is left to it until it has answered.
	var answered atomic.Bool
	read := 0
	way([]func(){
		func() { way(asking); answered.Store(true) },
		func() {
			for ; read < len(reading) && !answered.Load(); read++ {
				reading[read]()
			}
		},
	})
	way(reading[read:])
}

// LastActivation returns when certlatch last told a target's service to take new
// files; zero: it is not known to have.
func LastActivation(st *state.State, t config.Target) time.Time {
	at := st.Activations[state.UnitKey(t.Unit)]
	if state.Ahead(at, time.Now()) {
		return time.Time{}
	}
	return at
}

// Asks reports whether a target's deployer has to ask the service something at
// its control channel.
func Asks(t config.Target) bool {
	deployer, _ := all.For(t.Service) // the configuration was checked
	return len(deployer.Wants(t.Target, deployers.Facts{}).Queries) > 0
}

// NameProbes gives the probes of a plan that name no host the first name of a
// leaf. It fails with an *outcome.NoNameError where that has none to offer.
func NameProbes(probes []endpoint.Endpoint, leaf *x509.Certificate) ([]endpoint.Endpoint, error) {
	named := slices.Clone(probes)
	for i, e := range named {
		if e.Name != "" {
			continue
		}
		if named[i].Name = firstName(leaf); named[i].Name == "" {
			return named, &outcome.NoNameError{Probe: e.String(), OnlyCN: leaf != nil && len(lineage.Names(leaf)) == 0 && leaf.Subject.CommonName != ""}
		}
	}
	return named, nil
}

// firstName returns the leaf's first name that is one of a host, and no
// wildcard.
func firstName(leaf *x509.Certificate) string {
	if leaf == nil {
		return ""
	}
	for _, name := range lineage.Names(leaf) {
		if endpoint.IsHost(name) {
			return name
		}
	}
	return ""
}

// Case is a bundle before a target's policy.
type Case struct {
	Target       config.Target
	Bundle       *lineage.Bundle
	Findings     []lineage.Finding // of reading it
	Names        []string          // that the service's own configuration needs, and those of found probes
	SIPDomains   []string
	NeverStaples string              // the service, where it never can; empty: it may
	Installed    []*x509.Certificate // the leaf and what is beside it; nil: none is known
	Force        bool                // a downgrade is accepted
	Kept         *config.Config      // by which it is found who keeps the installed leaf; nil: nobody is asked
	ByName       bool                // an earlier generation that was asked for by name: its flaws are known, or soon will be
}

// CaseOf returns the case of a bundle that is to be installed by a plan.
func CaseOf(t config.Target, bundle *lineage.Bundle, findings []lineage.Finding, plan deployers.Plan, installed []*x509.Certificate) Case {
	c := Case{Target: t, Bundle: bundle, Findings: findings, Names: serviceNames(plan), SIPDomains: plan.SIPDomains, Installed: installed}
	if plan.NeverStaples {
		c.NeverStaples = plan.Service
	}
	return c
}

// serviceNames returns the names by which clients reach a service: those that its
// configuration is known to need, and those of the probes that were found in it.
func serviceNames(plan deployers.Plan) []string {
	names := slices.Clone(plan.Names)
	for _, e := range plan.Probes {
		if plan.Found && e.Name != "" {
			names = append(names, e.Name)
		}
	}
	return deployers.Distinct(names)
}

// Judge returns what the target's policy says of a bundle, the findings that
// refuse it first. It fails with an *outcome.ConfigError where the roots that the
// policy names cannot be read.
func (p *Preparer) Judge(ctx context.Context, c Case) ([]lineage.Finding, error) {
	trust, path, err := p.path(c.Bundle, c.Target.Policy.Trust)
	if err != nil {
		return c.Findings, err
	}
	names := slices.Clone(c.Target.Names)
	for _, e := range c.Target.Probes {
		if e.Name != "" {
			names = append(names, e.Name)
		}
	}
	rules := policy.Rules{
		Trust: trust, Path: &path, Accept: c.Target.Policy.Accept,
		Names: names, ServiceNames: c.Names, SIPDomains: c.SIPDomains, NeverStaples: c.NeverStaples,
		Force: c.Force || c.ByName, Now: time.Now(),
	}
	if len(c.Installed) > 0 {
		rules.Installed, rules.InstalledChain = c.Installed[0], c.Installed[1:]
		rules.Holder = func() string { return p.holder(c.Kept, c.Installed[0]) }
	}
	if p.revoked != nil && !c.ByName {
		rules.Revoked = func(leaf, issuer *x509.Certificate) (bool, error) { return p.revoked(ctx, leaf, issuer) }
	}
	findings := slices.Concat(c.Findings, policy.Check(c.Bundle, rules))
	if c.ByName {
		for i := range findings {
			findings[i].Severity = lineage.Warned
		}
	}
	slices.SortStableFunc(findings, func(a, b lineage.Finding) int {
		return strings.Compare(string(a.Severity), string(b.Severity)) // refused before warned
	})
	return findings, nil
}

// path returns the trust of a setting, and a bundle's path to one of its roots. It
// fails with an *outcome.ConfigError.
func (p *Preparer) path(bundle *lineage.Bundle, setting string) (policy.Trust, policy.Path, error) {
	trust, err := p.trustOf(setting)
	if err != nil {
		return trust, policy.Path{}, err
	}
	of := pathOf{bundle, setting}
	p.mutex.Lock()
	path, known := p.paths[of]
	p.mutex.Unlock()
	if !known {
		path = trust.Path(bundle, time.Now())
		p.mutex.Lock()
		p.paths[of] = path
		p.mutex.Unlock()
	}
	return trust, path, nil
}

// ChainEnds returns when the way from a bundle's leaf to a root of a trust setting
// ends, where that is before the leaf does; zero: it is not, or not known. Most
// chains outlast their leaf, and are not verified for it.
func (p *Preparer) ChainEnds(bundle *lineage.Bundle, setting string) time.Time {
	early := func(cert *x509.Certificate) bool { return cert.NotAfter.Before(bundle.Leaf.NotAfter) }
	if !slices.ContainsFunc(bundle.Intermediates, early) {
		return time.Time{}
	}
	_, path, err := p.path(bundle, setting)
	if ends := path.Ends(); err == nil && ends.Before(bundle.Leaf.NotAfter) {
		return ends
	}
	return time.Time{}
}

// trustOf loads the roots of a trust setting.
func (p *Preparer) trustOf(setting string) (policy.Trust, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	trust, ok := p.trust[setting]
	if ok {
		return trust, nil
	}
	trust, err := policy.LoadTrust(setting)
	if err != nil {
		return trust, &outcome.ConfigError{Err: err}
	}
	p.trust[setting] = trust
	return trust, nil
}
