package deployertest

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// target returns a target of the service with options, as a short configuration
// makes it.
func (s *suite) target(options any) deployers.Target {
	t := deployers.Target{
		Name: "own", Service: s.deployer.Name(), Lineage: "web.example", Mode: 0o640,
		Certificate: "/etc/x/cert.pem", Key: "/etc/x/key.pem", Options: options,
	}
	s.deployer.Defaults(&t)
	return t
}

// targets returns variants of a target: each layout, and what no configuration
// would let pass. Each has options of its own.
func (s *suite) targets(t deployers.Target) map[string]deployers.Target {
	found := map[string]deployers.Target{"a target": t}
	vary := func(name string, change func(*deployers.Target)) {
		varied := t
		varied.Options = cloned(t.Options)
		change(&varied)
		found[name] = varied
	}
	vary("a target with a restart allowed", func(t *deployers.Target) { t.AllowRestart = true })
	vary("a target with a directory", func(t *deployers.Target) { t.Certificate, t.Key, t.Directory = "", "", "/etc/x/{lineage}" })
	vary("a target with one file", func(t *deployers.Target) { t.Combined, t.Chain = "/etc/x/all.pem", "/etc/x/chain.pem" })
	vary("a target with a probe", func(t *deployers.Target) {
		t.Probes = []endpoint.Endpoint{{Scheme: "tls", Host: "127.0.0.1", Port: 1, Name: "web.example"}}
	})
	vary("a target that proves nothing", func(t *deployers.Target) { t.ProveNothing = true })
	vary("a target without a unit", func(t *deployers.Target) { t.Unit = "" })
	vary("a target with absurd paths", func(t *deployers.Target) {
		t.AllowRestart, t.Certificate, t.Key, t.Names = true, "/a\n/../\x00*[", "/"+strings.Repeat("x/", 4<<10), []string{"", "*.", "\n"}
	})
	vary("a target with absurd options", func(t *deployers.Target) {
		for _, value := range reflect.ValueOf(t.Options).Elem().Fields() {
			switch {
			case !value.CanSet():
			case value.Kind() == reflect.String:
				value.SetString("[\n\x00")
			case value.Kind() == reflect.Slice:
				value.Set(reflect.MakeSlice(value.Type(), 1, 1))
			}
		}
	})
	return found
}

// cloned returns a copy of options.
func cloned(options any) any {
	clone := reflect.New(reflect.TypeOf(options).Elem())
	clone.Elem().Set(reflect.ValueOf(options).Elem())
	return clone.Interface()
}

// checkPlans plans for every target on every host.
func (s *suite) checkPlans(blocks []deployers.Target) {
	samples, err := samples(s.room)
	if err != nil {
		s.flaw("its samples cannot be read: %v", err)
	}
	for _, block := range blocks {
		for name, t := range s.targets(block) {
			for _, h := range plainHosts() {
				s.checkPlan(name, t, h)
			}
		}
		for _, h := range hosts(samples) {
			s.checkPlan("a target", block, h)
		}
	}
	if !s.tells {
		s.flaw("on no host it says that the service takes other files than the target's: note that by Plan.TakesElsewhere, and put a configuration that names others into its testdata")
	}
}

// guard turns a panic into a flaw. It is deferred.
func (s *suite) guard(ok *bool, format string, args ...any) {
	if p := recover(); p != nil {
		*ok = false
		s.flaw("a panic with %s: %v: let it plan with what is known, or return a *NoWayError", fmt.Sprintf(format, args...), p)
	}
}

// checkPlan plans for a target on a host. It adds one flaw of each kind, since
// one mistake shows on many hosts.
func (s *suite) checkPlan(name string, t deployers.Target, h host) {
	facts, ok := s.factsOf(name, t, h)
	if !ok {
		return
	}
	l := lineage.Lineage{Client: "certbot", Name: "web.example"}
	plan, err, ok := s.planOf(name, t, h, l, facts)
	if !ok {
		return
	}
	wrong := func(step, format string, args ...any) {
		if !s.seen[step] {
			s.seen[step] = true
			s.flaw("%s on a host %s: %s: %s", name, h.name, fmt.Sprintf(format, args...), step)
		}
	}
	if plan.Target != t.Name || plan.Service != t.Service || plan.Lineage != l.Name {
		wrong("begin the plan with deployers.NewPlan", "the plan is for %q, %q and %q", plan.Target, plan.Service, plan.Lineage)
	}
	checkSaid(plan, wrong)
	s.checkNotOurs(plan, h, wrong)
	if err != nil {
		checkRefusal(err, facts, wrong)
		return
	}
	checkFiles(plan, t, wrong)
	checkActivation(plan.Activate, t, facts, wrong)
	if plan.Proof.InARow < 1 || plan.Proof.Pace <= 0 {
		wrong("begin the plan with deployers.NewPlan, or set both InARow and Pace of its Proof", "the proof is %+v", plan.Proof)
	}
	if t.Probes != nil && !slices.Equal(t.Probes, plan.Probes) || t.ProveNothing && plan.Probes != nil {
		wrong("keep the probes that were written down", "the plan has the probes %v", plan.Probes)
	}
}

// factsOf returns what the deployer wants to know of a host, and reports
// whether it came to an end.
func (s *suite) factsOf(name string, t deployers.Target, h host) (f deployers.Facts, ok bool) {
	defer s.guard(&ok, "Wants of %s on a host %s", name, h.name)
	f, ended := h.facts(s.deployer, t)
	if !ended && !s.seen["endless"] {
		s.seen["endless"] = true
		s.flaw("%s on a host %s: Wants wants more in every round, and the engine asks %d times: bound how far it follows what it reads", name, h.name, rounds)
	}
	return f, true
}

// planOf returns the plan for a target on a host. It plans twice, which must
// come to the same.
func (s *suite) planOf(name string, t deployers.Target, h host, l lineage.Lineage, f deployers.Facts) (plan deployers.Plan, err error, ok bool) {
	defer s.guard(&ok, "Plan for %s on a host %s", name, h.name)
	plan, err = s.deployer.Plan(t, l, f)
	again, _ := s.deployer.Plan(t, l, f)
	if !reflect.DeepEqual(plan, again) && !s.seen["again"] {
		s.seen["again"] = true
		s.flaw("%s on a host %s: Plan says something else the second time: sort what comes out of maps", name, h.name)
	}
	return plan, err, true
}

// A complaint reports what is wrong with a plan, and the next step.
type complaint func(step, format string, args ...any)

// checkSaid wants all texts of a plan to be complete.
func checkSaid(plan deployers.Plan, wrong complaint) {
	for _, c := range plan.Checks {
		switch {
		case !slices.Contains(deployers.Aspects(), c.About):
			wrong("make checks by Fine and Warn, with an Aspect of checks.go", "a check is about %q", c.About)
		case c.Says == "":
			wrong("say in each check what was found", "a check about %s says nothing", c.About)
		}
	}
}

// checkRefusal wants the error in place of a plan to say why and what to do.
func checkRefusal(err error, f deployers.Facts, wrong complaint) {
	if noWay := new(*deployers.NoWayError); errors.As(err, noWay) {
		if e := *noWay; e.Target == "" || e.Why == "" || e.Remedy == "" || !slices.Contains(deployers.Aspects(), e.About) {
			wrong("fill in Target, Why, Remedy and About of the *NoWayError", "it is refused with %+v", *e)
		}
		return
	}
	switch isUnit := errors.As(err, new(*deployers.UnitError)); {
	case !isUnit:
		wrong("return a *UnitError or a *NoWayError", "it is refused with a %T: %v", err, err)
	case !f.Systemd:
		wrong("return a *NoWayError where there is no systemd: see deployers.UnitActivation", "it is refused because of its unit: %v", err)
	}
}

// checkFiles wants the files to be the target's, and keys to be readable by
// owner and group alone.
func checkFiles(plan deployers.Plan, t deployers.Target, wrong complaint) {
	switch {
	case plan.Row != nil && (plan.Files != nil || plan.Directory != ""):
		wrong("leave out the Files of a plan that has a Row", "the pair goes into files and into a row")
	case plan.Row == nil && len(plan.Files) == 0:
		wrong("begin the plan with deployers.NewPlan, which has the files of the target's layout", "the plan writes nothing")
	}
	own := []string{t.Certificate, t.Key, t.Chain, t.Combined}
	for _, f := range plan.Files {
		switch {
		case t.Directory == "" && !slices.Contains(own, f.Path), t.Directory != "" && filepath.Dir(f.Path) != "/etc/x/web.example/current":
			wrong("write the files of the target's layout alone, as deployers.NewPlan has them", "the plan writes %q", f.Path)
		case f.Content.HoldsKey() && f.Mode != t.Mode || f.Mode&^fs.ModePerm != 0 || f.Mode&0o022 != 0:
			wrong("let keys have the target's mode, and nobody else write the others", "%s gets the mode %04o", f.Content, f.Mode)
		}
	}
}

// checkActivation wants the activation to be complete, and allowed.
func checkActivation(a deployers.Activation, t deployers.Target, f deployers.Facts, wrong complaint) {
	lacks := map[deployers.Way]bool{
		deployers.NoWay:       a.Wait == "",
		deployers.ReloadUnit:  a.Unit == "",
		deployers.RestartUnit: a.Unit == "",
		deployers.RunCommand:  len(a.Command) == 0,
		deployers.SignalPID:   a.PID < 2 || a.Signal == "",
		deployers.CallControl: len(a.Calls) == 0,
	}
	incomplete, known := lacks[a.Way]
	ofUnit := a.Way == deployers.ReloadUnit || a.Way == deployers.RestartUnit
	switch {
	case !known:
		wrong("set the Way of Plan's Activate", "the activation is %q", a.Way)
	case incomplete:
		wrong("fill in what that Way needs: see Activation", "the activation is %+v", a)
	case a.Way == deployers.RestartUnit && !t.AllowRestart:
		wrong("restart a service only where the target's AllowRestart says so; else let the Way be NoWay and the Wait RestartNotAllowed", "the service is restarted, and nobody allowed it")
	case ofUnit && !f.Systemd:
		wrong("reload or restart a unit only where Facts' Systemd says that there are units", "%s where there is no systemd", a)
	case a.Way == deployers.ReloadUnit && !f.Unit.CanReload:
		wrong("reload a unit only where it CanReload: see deployers.UnitActivation", "%s, which has no reload", a)
	case f.Systemd && t.Unit != "" && f.Unit.LoadState != "loaded" && f.Unit.Name != "":
		wrong("return a *UnitError where the unit is not loaded: see deployers.UnitActivation", "%s where systemd says %q of the unit", a, f.Unit.LoadState)
	case f.Systemd && t.Unit != "" && f.Unit.Name != "" && !f.Unit.Running() && (a.Way != deployers.NoWay || a.Wait != deployers.ServiceInactive):
		wrong("let a service that is stopped wait for its start: NoWay, and the Wait ServiceInactive", "%s where the unit is %s", a, f.Unit.ActiveState)
	}
}
