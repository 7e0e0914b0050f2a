// Package generic knows what to do for services that have no room of their own:
// the table of presets, and what the configuration says.
//
// It does not promise to know whether a service takes what is installed: only
// probes show it.
package generic

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Deployer deploys to any service without a deployer of its own: files with an
// owner, and then a command or a unit to reload. For some services a preset
// knows what is usual.
type Deployer struct{}

// Options is the configuration's generic block.
type Options struct {
	Preset   PresetName `yaml:"preset,omitempty"` // fills in what is left out
	Activate []string   `yaml:"activate"`         // argument list; empty: as the preset says, or reload the unit
	Test     []string   `yaml:"test"`             // argument list of the service's own check; empty: none

	// Copies are argument lists of programs that renew copies which the service keeps
	// of the files; empty: as the preset finds them.
	Copies [][]string `yaml:"copies,omitempty"`
}

func (o *Options) preset() preset { return presets()[string(o.Preset)] }

func (Deployer) Name() string { return "generic" }
func (Deployer) Options() any { return &Options{} }

func (Deployer) Defaults(t *deployers.Target) {
	options := t.Options.(*Options)
	preset := options.preset()
	if t.Unit == "" {
		t.Unit = preset.unit
	}
	if options.Activate == nil {
		options.Activate = preset.activate
	}
	if options.Test == nil {
		options.Test = preset.test
	}
}

func (Deployer) Wants(t deployers.Target, f deployers.Facts) deployers.Wants {
	preset := t.Options.(*Options).preset()
	wants := deployers.Wants{Unit: t.Unit, Ports: preset.ports()}
	if preset.program != "" && f.Unit.MainPID != 0 {
		wants.Texts = []string{programFile(f.Unit.MainPID)}
	}
	if preset.reads != nil {
		preset.reads.wants(&wants, &f)
	}
	return wants
}

// programFile returns the file with the name of a process's program
// (proc_pid_comm(5)).
func programFile(pid int) string { return fmt.Sprintf("/proc/%d/comm", pid) }

func (Deployer) Plan(t deployers.Target, l lineage.Lineage, f deployers.Facts) (deployers.Plan, error) {
	options := t.Options.(*Options)
	preset := options.preset()
	plan := deployers.NewPlan(t, l, f, "tls")
	plan.Test.Command = options.Test
	if plan.Found {
		for i, p := range plan.Probes {
			plan.Probes[i].Scheme = cmp.Or(preset.schemes[p.Port], "tls")
		}
	}
	if preset.reads != nil {
		preset.reads.describe(&plan, &f)
	}
	var err error
	plan.Activate, err = options.activation(t, f)
	plan.Activate.Copies = options.Copies
	if preset.copies != nil && options.Copies == nil {
		plan.Activate.Copies = preset.copies(&plan, &f)
	}
	own := len(options.Activate) > 0 && !slices.Equal(options.Activate, preset.activate) && options.Activate[0] != "systemctl"
	if own || plan.Activate.Copies != nil {
		plan.NotOurs = nil // those programs may bring the files to where they are taken
	}
	return plan, err
}

// activation returns the activation of a service that is not stopped: the
// command, the preset's signal, or the unit's reload.
func (o *Options) activation(t deployers.Target, f deployers.Facts) (deployers.Activation, error) {
	preset := o.preset()
	switch {
	case t.Unit != "" && f.Systemd && f.Unit.LoadState != "loaded":
		return deployers.Activation{}, &deployers.UnitError{Unit: t.Unit, LoadState: f.Unit.LoadState}
	case t.Unit != "" && f.Systemd && !f.Unit.Running():
		return deployers.AwaitStart(t, f), nil
	case len(o.Activate) > 0 && slices.Equal(o.Activate, preset.activate):
		return deployers.Activation{Way: deployers.RunCommand, Unit: t.Unit, Command: o.Activate, Why: preset.about}, nil
	case len(o.Activate) > 0:
		return deployers.Activation{Way: deployers.RunCommand, Unit: t.Unit, Command: o.Activate, Written: true}, nil
	case preset.signal != "" && f.Systemd:
		return preset.signalling(t, f)
	case t.Unit != "" && f.Systemd:
		return deployers.UnitActivation(t, f)
	case t.Unit != "":
		return deployers.Activation{}, &deployers.NoWayError{
			Target: t.Name, About: deployers.Reload,
			Why:    "systemd does not run here, so " + t.Unit + " cannot be reloaded",
			Remedy: "set generic: {activate: [program, argument]} for this target",
		}
	}
	return deployers.Activation{Way: deployers.NoWay, Wait: deployers.NothingToDo, Why: "neither unit nor generic.activate is set: the service must take the files by itself"}, nil
}

// signalling returns an activation by a signal to the main process of the unit,
// once it is certain which program that is: others may die of it.
func (p preset) signalling(t deployers.Target, f deployers.Facts) (deployers.Activation, error) {
	for _, text := range f.Texts[programFile(f.Unit.MainPID)] {
		if strings.TrimSpace(text.Content) == p.program {
			return deployers.Activation{Way: deployers.SignalPID, Unit: t.Unit, PID: f.Unit.MainPID, Signal: p.signal, Why: p.about}, nil
		}
	}
	return deployers.Activation{}, &deployers.NoWayError{
		Target: t.Name, About: deployers.Reload,
		Why:    fmt.Sprintf("the main process of %s is not %s, so it is sent no SIG%s", t.Unit, p.program, p.signal),
		Remedy: "set generic: {activate: [program, argument]} for this target",
	}
}
