package deployers

import (
	"github.com/certlatch/certlatch/internal/lineage"
)

// nginx takes new files on a reload: its master reads them as root, starts
// new workers, and lets the old ones finish; a bad pair leaves the old
// workers serving (nginx.org/en/docs/control.html; src/os/unix/
// ngx_process_cycle.c of 1.26).
type nginx struct{}

// NginxOptions is the configuration's nginx block.
type NginxOptions struct {
	Binary string `yaml:"binary"` // the program
	Config string `yaml:"config"` // its configuration file; empty: the one compiled in
	Prefix string `yaml:"prefix"` // its -p; empty: the one compiled in
	PID    string `yaml:"pid"`    // the master's PID file, used where systemd does not manage it
}

func (nginx) Name() string { return "nginx" }

func (nginx) Options() any {
	// The PID path is that of Debian's and Fedora's packages (their
	// nginx.conf: pid /run/nginx.pid).
	return &NginxOptions{Binary: "nginx", PID: "/run/nginx.pid"}
}

func (nginx) Defaults(t *Target) {
	if t.Unit == "" {
		t.Unit = "nginx.service"
	}
}

func (nginx) Wants(t Target) Wants {
	return Wants{Unit: t.Unit, PIDFile: t.Options.(*NginxOptions).PID, Program: "nginx", Ports: []uint16{443, 8443}}
}

func (nginx) Plan(t Target, l lineage.Lineage, f Facts) (Plan, error) {
	options := t.Options.(*NginxOptions)
	plan := newPlan(t, l, f, "https")
	// The test loads every certificate and key that the configuration names
	// literally and checks that they belong together, as the reload will.
	plan.Test = []string{options.Binary, "-t", "-q"}
	if options.Config != "" {
		plan.Test = append(plan.Test, "-c", options.Config)
	}
	if options.Prefix != "" {
		plan.Test = append(plan.Test, "-p", options.Prefix)
	}

	// An nginx that was started by hand is not systemd's, whatever units exist.
	byHand := f.Master != 0 && (!f.Systemd || !f.Unit.Running() || f.Unit.MainPID != f.Master)
	switch {
	case byHand:
		plan.Activate = Activation{Way: SignalPID, PID: f.Master, Signal: "HUP", Why: "systemd does not manage this nginx, so its master process is sent a HUP"}
	case f.Systemd:
		var err error
		if plan.Activate, err = unitActivation(t, f.Unit); err != nil {
			return Plan{}, err
		}
	default:
		plan.Activate = Activation{Way: NoWay, Wait: ServiceInactive, Why: "no systemd here, and no process in " + options.PID}
	}
	return plan, nil
}
