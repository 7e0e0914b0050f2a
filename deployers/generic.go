package deployers

import (
	"github.com/certlatch/certlatch/internal/lineage"
)

// generic is for anything without a deployer of its own: files with an owner,
// and then a command or a unit to reload.
type generic struct{}

// GenericOptions is the configuration's generic block.
type GenericOptions struct {
	Activate []string `yaml:"activate"` // argument list; empty: reload the unit
	Test     []string `yaml:"test"`     // argument list of the service's own check; empty: none
}

func (generic) Name() string     { return "generic" }
func (generic) Options() any     { return &GenericOptions{} }
func (generic) Defaults(*Target) {}

func (generic) Wants(t Target) Wants { return Wants{Unit: t.Unit} }

func (generic) Plan(t Target, l lineage.Lineage, f Facts) (Plan, error) {
	options := t.Options.(*GenericOptions)
	plan := newPlan(t, l, f, "tls")
	plan.Test = options.Test
	switch {
	case t.Unit != "" && f.Systemd && f.Unit.LoadState != "loaded":
		return Plan{}, &UnitError{Unit: t.Unit, LoadState: f.Unit.LoadState}
	case t.Unit != "" && f.Systemd && !f.Unit.Running():
		plan.Activate = Activation{Way: NoWay, Unit: t.Unit, Wait: ServiceInactive}
	case len(options.Activate) > 0:
		plan.Activate = Activation{Way: RunCommand, Unit: t.Unit, Command: options.Activate}
	case t.Unit != "" && f.Systemd:
		var err error
		if plan.Activate, err = unitActivation(t, f.Unit); err != nil {
			return Plan{}, err
		}
	case t.Unit != "":
		return Plan{}, &NoWayError{
			Target: t.Name,
			Why:    "systemd does not run here, so " + t.Unit + " cannot be reloaded",
			Remedy: "set generic: {activate: [program, argument]} for this target",
		}
	default:
		plan.Activate = Activation{Way: NoWay, Wait: NothingToDo, Why: "neither unit nor generic.activate is set: the service must take the files by itself"}
	}
	return plan, nil
}
