package deployertest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/nginx"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// spoiled is nginx's deployer with something wrong.
type spoiled struct {
	nginx.Deployer
	name     string
	options  func() any
	wants    func(deployers.Facts) deployers.Wants
	plan     func(*deployers.Plan) error
	discover func(*deployers.Discovery)
}

func (s spoiled) Name() string {
	if s.name != "" {
		return s.name
	}
	return s.Deployer.Name()
}

func (s spoiled) Options() any {
	if s.options != nil {
		return s.options()
	}
	return s.Deployer.Options()
}

func (s spoiled) Wants(t deployers.Target, f deployers.Facts) deployers.Wants {
	if s.wants != nil {
		return s.wants(f)
	}
	return s.Deployer.Wants(t, f)
}

func (s spoiled) Plan(t deployers.Target, l lineage.Lineage, f deployers.Facts) (deployers.Plan, error) {
	plan, err := s.Deployer.Plan(t, l, f)
	if s.plan != nil && err == nil {
		err = s.plan(&plan)
	}
	return plan, err
}

func (s spoiled) Discover(t deployers.Target, f deployers.Facts) deployers.Discovery {
	found := s.Deployer.Discover(t, f)
	if s.discover != nil {
		s.discover(&found)
	}
	return found
}

// undiscovered is a deployer without a Discover.
type undiscovered struct{ deployers.Deployer }

// activation is a plan with another activation.
func activation(a deployers.Activation) func(*deployers.Plan) error {
	return func(p *deployers.Plan) error {
		p.Activate = a
		return nil
	}
}

func change(change func(*deployers.Plan)) func(*deployers.Plan) error {
	return func(p *deployers.Plan) error {
		change(p)
		return nil
	}
}

func refuse(err error) func(*deployers.Plan) error {
	return func(*deployers.Plan) error { return err }
}

// TestFlaws wants the flaw of a service that lacks something to say what to do
// next.
func TestFlaws(t *testing.T) {
	if sound := flaws(nginx.Deployer{}, ".."); sound != nil {
		t.Fatalf("nginx: %q", sound)
	}
	shared := &nginx.Options{Binary: "nginx"}
	calls := 0
	for _, test := range []struct {
		d    deployers.Deployer
		want string
	}{
		{spoiled{name: "web server"}, "let it have small letters and digits"},
		{spoiled{}, "put it into a room of its name, deployers/nginx"},
		{spoiled{}, "cites no source: name the file and the version upstream"},
		{spoiled{options: func() any { return nginx.Options{} }}, "return a pointer to a new struct"},
		{spoiled{options: func() any { return shared }}, "make a new one each time"},
		{spoiled{options: func() any { return &struct{ Own string }{} }}, "give it a yaml tag"},
		{spoiled{options: func() any {
			return &struct {
				Own string `yaml:"own"`
			}{}
		}}, "write to testdata/options.yaml"},
		{spoiled{wants: func(deployers.Facts) deployers.Wants { panic("index -1") }}, "a panic with Wants of a target"},
		{spoiled{wants: func(f deployers.Facts) deployers.Wants {
			return deployers.Wants{Texts: []string{strings.Repeat("x", len(f.Texts))}}
		}}, "bound how far it follows what it reads"},
		{spoiled{plan: change(func(*deployers.Plan) { panic("index -1") })}, "index -1: let it plan with what is known"},
		{spoiled{plan: change(func(p *deployers.Plan) { calls++; p.Lineage = strings.Repeat("x", calls) })}, "sort what comes out of maps"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.Service = "" })}, "begin the plan with deployers.NewPlan"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.Checks = []deployers.Check{{Says: "x"}} })}, "with an Aspect of checks.go"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.Fine(deployers.Control, "") })}, "say in each check what was found"},
		{spoiled{plan: refuse(errors.New("no"))}, "return a *UnitError or a *NoWayError"},
		{spoiled{plan: refuse(&deployers.NoWayError{Target: "own", Why: "no", About: deployers.Control})}, "fill in Target, Why, Remedy and About"},
		{spoiled{plan: refuse(&deployers.UnitError{Unit: "x.service"})}, "return a *NoWayError where there is no systemd"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.Row = &deployers.Row{} })}, "leave out the Files of a plan that has a Row"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.Files = nil })}, "the plan writes nothing"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.Files[0].Path = "/etc/shadow" })}, "write the files of the target's layout alone"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.Files[len(p.Files)-1].Mode = 0o644 })}, "let keys have the target's mode"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.Files[0].Mode = 0o666 })}, "nobody else write the others"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.Probes = []endpoint.Endpoint{{}} })}, "keep the probes that were written down"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.Proof.Pace = 0 })}, "set both InARow and Pace"},
		{spoiled{plan: activation(deployers.Activation{})}, "set the Way of Plan's Activate"},
		{spoiled{plan: activation(deployers.Activation{Way: deployers.NoWay})}, "fill in what that Way needs"},
		{spoiled{plan: activation(deployers.Activation{Way: deployers.SignalPID, PID: 1, Signal: "HUP"})}, "fill in what that Way needs"},
		{spoiled{plan: activation(deployers.Activation{Way: deployers.RestartUnit, Unit: "x.service"})}, "restart a service only where the target's AllowRestart says so"},
		{spoiled{plan: activation(deployers.Activation{Way: deployers.ReloadUnit, Unit: "x.service"})}, "only where Facts' Systemd says"},
		{spoiled{plan: activation(deployers.Activation{Way: deployers.ReloadUnit, Unit: "x.service"})}, "reload a unit only where it CanReload"},
		{spoiled{plan: activation(deployers.Activation{Way: deployers.RunCommand, Command: []string{"x"}})}, "let a service that is stopped wait for its start"},
		{spoiled{plan: change(func(p *deployers.Plan) { p.NotOurs = nil })}, "put a configuration that names others into its testdata"},
		{spoiled{plan: change(func(p *deployers.Plan) {
			p.TakesElsewhere(true, "name it", "no", deployers.Taken{Where: "x", File: "/x"})
		})}, "only where its configuration could be read"},
		{spoiled{plan: change(func(p *deployers.Plan) {
			if p.NotOurs != nil {
				p.NotOurs.Remedy = ""
			}
		})}, "by Plan.TakesElsewhere, with a remedy"},
		{spoiled{plan: change(func(p *deployers.Plan) {
			if p.NotOurs != nil {
				p.NotOurs.Takes[0].File = p.Files[0].Path
			}
		})}, "only where it takes none of the plan's"},
		{undiscovered{nginx.Deployer{}}, "write a method Discover"},
		{spoiled{discover: func(*deployers.Discovery) { panic("index -1") }}, "a panic with Discover"},
		{spoiled{discover: func(d *deployers.Discovery) { d.Installed = true }}, "let Installed depend on the facts"},
		{spoiled{discover: func(d *deployers.Discovery) { d.Installed = false }}, "set Installed by Facts' Unit"},
		{spoiled{discover: func(d *deployers.Discovery) { d.Role = "" }}, "set it to what a target for the service is called"},
		{spoiled{discover: func(d *deployers.Discovery) { d.Directory = "" }}, "set either Directory, or Certificate and Key"},
		{spoiled{discover: func(d *deployers.Discovery) { d.Lines = nil }}, "set them to those of the service's configuration"},
		{spoiled{discover: func(d *deployers.Discovery) { d.Directory = "tls" }}, "what certlatch init proposes for it is refused"},
		{spoiled{discover: func(d *deployers.Discovery) { d.Directory = "/etc/nginx/tls" }}, "put {lineage} into Discover's"},
		{spoiled{name: "unheard"}, "write a chapter on it"},
		{spoiled{name: "unheard"}, "write a section on its block"},
		{spoiled{name: "unheard"}, "name it at the key service"},
		{spoiled{name: "unheard"}, "name its block under TARGETS"},
		{spoiled{name: "unheard"}, "name it at the key service of the example"},
		{spoiled{name: "unheard"}, "is refused: correct it, or the check"},
	} {
		found := flaws(test.d, "..")
		if !slices.ContainsFunc(found, func(flaw string) bool { return strings.Contains(flaw, test.want) }) {
			t.Errorf("nobody says %q, but\n%s", test.want, strings.Join(found, "\n"))
		}
	}
}
