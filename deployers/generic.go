package deployers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/internal/lineage"
)

// generic is for anything without a deployer of its own: files with an owner,
// and then a command or a unit to reload. For some services a preset knows
// what is usual.
type generic struct{}

// GenericOptions is the configuration's generic block.
type GenericOptions struct {
	Preset   PresetName `yaml:"preset,omitempty"` // fills in what is left out
	Activate []string   `yaml:"activate"`         // argument list; empty: as the preset says, or reload the unit
	Test     []string   `yaml:"test"`             // argument list of the service's own check; empty: none
}

func (o *GenericOptions) preset() preset { return presets()[string(o.Preset)] }

func (generic) Name() string { return "generic" }
func (generic) Options() any { return &GenericOptions{} }

func (generic) Defaults(t *Target) {
	options := t.Options.(*GenericOptions)
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

func (generic) Wants(t Target, f Facts) Wants {
	preset := t.Options.(*GenericOptions).preset()
	wants := Wants{Unit: t.Unit, Ports: preset.ports()}
	if preset.program != "" && f.Unit.MainPID != 0 {
		wants.Texts = []string{programFile(f.Unit.MainPID)}
	}
	return wants
}

// programFile is where Linux tells the name of a process's program
// (proc_pid_comm(5)).
func programFile(pid int) string { return fmt.Sprintf("/proc/%d/comm", pid) }

func (generic) Plan(t Target, l lineage.Lineage, f Facts) (Plan, error) {
	options := t.Options.(*GenericOptions)
	preset := options.preset()
	plan := newPlan(t, l, f, "tls")
	plan.Test.Command = options.Test
	if plan.Found {
		for i, p := range plan.Probes {
			plan.Probes[i].Scheme = preset.schemes[p.Port]
		}
	}
	if preset.oneFile && t.Combined == "" {
		plan.warn(Configuration, "set combined, unless its configuration names them apart", "%s usually reads certificate and key from one file", options.Preset)
	}
	var err error
	plan.Activate, err = options.activation(t, f)
	return plan, err
}

// activation is the way of a service that is not stopped: the command, the
// preset's signal, or the unit's reload.
func (o *GenericOptions) activation(t Target, f Facts) (Activation, error) {
	preset := o.preset()
	switch {
	case t.Unit != "" && f.Systemd && f.Unit.LoadState != "loaded":
		return Activation{}, &UnitError{Unit: t.Unit, LoadState: f.Unit.LoadState}
	case t.Unit != "" && f.Systemd && !f.Unit.Running():
		return Activation{Way: NoWay, Unit: t.Unit, Wait: ServiceInactive}, nil
	case len(o.Activate) > 0 && slices.Equal(o.Activate, preset.activate):
		return Activation{Way: RunCommand, Unit: t.Unit, Command: o.Activate, Why: preset.about}, nil
	case len(o.Activate) > 0:
		return Activation{Way: RunCommand, Unit: t.Unit, Command: o.Activate}, nil
	case preset.signal != "" && f.Systemd:
		return preset.signalling(t, f)
	case t.Unit != "" && f.Systemd:
		return unitActivation(t, f.Unit)
	case t.Unit != "":
		return Activation{}, &NoWayError{
			Target: t.Name, About: Reload,
			Why:    "systemd does not run here, so " + t.Unit + " cannot be reloaded",
			Remedy: "set generic: {activate: [program, argument]} for this target",
		}
	}
	return Activation{Way: NoWay, Wait: NothingToDo, Why: "neither unit nor generic.activate is set: the service must take the files by itself"}, nil
}

// signalling sends a signal to the main process of the unit, once it is
// certain which program that is: others may die of it.
func (p preset) signalling(t Target, f Facts) (Activation, error) {
	for _, text := range f.Texts[programFile(f.Unit.MainPID)] {
		if strings.TrimSpace(text.Content) == p.program {
			return Activation{Way: SignalPID, Unit: t.Unit, PID: f.Unit.MainPID, Signal: p.signal, Why: p.about}, nil
		}
	}
	return Activation{}, &NoWayError{
		Target: t.Name, About: Reload,
		Why:    fmt.Sprintf("the main process of %s is not %s, so it is sent no SIG%s", t.Unit, p.program, p.signal),
		Remedy: "set generic: {activate: [program, argument]} for this target",
	}
}
