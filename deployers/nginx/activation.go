package nginx

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// activation returns how the nginx is made to take new files. A master outside of its
// unit is sent a HUP, which is what its own reload sends (ngx_signal_process in
// src/core/ngx_cycle.c of 1.26): its configuration and program are those that were
// tested.
func (i instance) activation(t deployers.Target, f deployers.Facts) (deployers.Activation, error) {
	options := t.Options.(*Options)
	switch {
	case i.master != nil && i.unsafe == "":
		return deployers.Activation{
			Way: deployers.SignalPID, PID: i.master.PID, Started: i.master.Started, Signal: "HUP",
			Why: "systemd does not manage this nginx, so its master process is sent a HUP",
		}, nil
	case i.master != nil:
		return deployers.Activation{
			Way: deployers.NoWay, Wait: deployers.OutsideUnit,
			Why:    fmt.Sprintf("%s, outside of %s, and is not sent a HUP: %s", i.says, t.Unit, i.unsafe),
			Remedy: moveInto(t, []deployers.Process{*i.master}),
		}, nil
	case i.several != nil:
		return deployers.Activation{
			Way: deployers.NoWay, Wait: deployers.OutsideUnit,
			Why:    fmt.Sprintf("%s does not run, and there are several master processes outside of it that read its configuration: %s", t.Unit, pids(i.several)),
			Remedy: "write the PID file of the one that is meant into nginx: {pid: FILE} of the target; or " + moveInto(t, i.several),
		}, nil
	case !f.Systemd:
		return deployers.Activation{Way: deployers.NoWay, Wait: deployers.ServiceInactive, Why: "no systemd here, and no process in " + options.PID}, nil
	}
	f.Holders = slices.DeleteFunc(slices.Clone(f.Holders), isMaster) // looked at already
	way, err := deployers.UnitActivation(t, f)
	if way.Wait == deployers.ServiceInactive && i.others != nil {
		way.Why = fmt.Sprintf("%s does not run; outside of all units process %s does, with another configuration", t.Unit, pids(i.others))
		way.Remedy = fmt.Sprintf("see whether that one should go on (ps %s); while it listens at the same addresses %s cannot start: %s", pids(i.others), t.Unit, moveInto(t, i.others))
	}
	return way, err
}

// processes returns those whose listeners are the instance's, given those of its unit
// and PID file.
func (i instance) processes(of deployers.Processes) deployers.Processes {
	if i.master == nil {
		return deployers.Processes{ControlGroup: of.ControlGroup} // what the PID file names is another instance's
	}
	return deployers.Processes{Main: i.master.PID}
}

// moveInto returns how to let a unit have what processes outside of it do. While they
// listen it could not start, and Debian's would remove their PID file (seen with nginx
// 1.26.3 and systemd 257).
func moveInto(t deployers.Target, masters []deployers.Process) string {
	return fmt.Sprintf("kill -QUIT %s; systemctl start %s; certlatch deploy --pending then proves it", pids(masters), t.Unit)
}

// pids returns the PIDs of processes, for people and for kill.
func pids(processes []deployers.Process) string {
	var all []string
	for _, p := range processes {
		all = append(all, fmt.Sprint(p.PID))
	}
	return strings.Join(all, " ")
}

// tell adds to a plan which nginx it is about, where that is not the usual one.
func (i instance) tell(plan *deployers.Plan, t deployers.Target, f deployers.Facts) {
	options := t.Options.(*Options)
	if i.master != nil && i.unsafe == "" && f.Systemd && f.Unit.LoadState == "loaded" && i.says != "" {
		remedy := moveInto(t, []deployers.Process{*i.master}) + " (for a moment nothing is served)"
		if i.master.Unit != "" && i.master.Unit != t.Unit {
			remedy = fmt.Sprintf("write unit: %s for target %s if it is that one's service; otherwise %s", i.master.Unit, t.Name, remedy)
		}
		plan.Warn(deployers.Reload, remedy, "%s, outside of %s, which does not know of it: the unit would not start beside it, and a reload of the unit does not reach it", i.says, t.Unit)
	}
	if i.invocation != options.invocation() && i.says != "" {
		plan.Fine(deployers.Configuration, "%s: that is what is read and tested", i.says)
	}
	if i.next != nil {
		plan.Warn(deployers.Configuration, "restart it when it suits, or take the change of the unit back",
			"%s, and would be started as %s the next time", i.says, i.next)
	}
}

// differs adds to a plan where the options of the target say something else than the
// nginx that it is about was started with, and reads.
func (i instance) differs(plan *deployers.Plan, options *Options, read string) {
	for _, option := range []struct{ key, says, is string }{
		{"config", options.Config, read},
		{"prefix", options.Prefix, i.prefix},
		{"binary", options.Binary, i.binary},
	} {
		isName := option.key == "binary" && !strings.Contains(option.says, "/")
		if option.says == "" || isName || filepath.Clean(option.says) == filepath.Clean(option.is) {
			continue
		}
		plan.Warn(deployers.Configuration, fmt.Sprintf("correct %s in the target's nginx block, or leave it out", option.key),
			"%s, and the target's %s is %s: what runs is what is read and tested", i.says, option.key, option.says)
	}
}
