package facts

import (
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/process"
)

// This file finds the instances of a service that may run more than once.

// wanted are the units that are enabled, by the links that systemctl(1) enable makes.
var wanted = []string{"/etc/systemd/system/*.wants/*.service", "/etc/systemd/system/*.requires/*.service"}

// started matches the program of a unit's ExecStart, behind the prefixes that it may
// have (systemd.service(5), "Special executable prefixes").
var started = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[ \t]*ExecStart[ \t]*=[ \t]*[-@:+!|]*[ \t]*("?)(/[^\s"]+)`)
})

// Instances returns the units that run a program or are enabled and would start it,
// sorted, and the processes of the program that are no unit's own.
func (f *Finder) Instances(ctx context.Context, program string) (units []string, loose []deployers.Process, err error) {
	running, err := process.OfProgram(program)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range running {
		is, err := f.runs(ctx, p, program)
		switch {
		case err != nil:
			return nil, nil, err
		case is:
			units = append(units, p.Unit)
		default:
			loose = append(loose, deployers.Process(p))
		}
	}
	if f.units != nil {
		for _, name := range enabled(program) {
			unit, err := f.Unit(ctx, name)
			if err != nil {
				return nil, nil, err
			}
			if startsIn(unit, program) { // and is not called so alone, as nginx-exporter.service
				units = append(units, name)
			}
		}
	}
	slices.Sort(units)
	return slices.Compact(units), loose, nil
}

// runs reports whether a process is what its unit is there to run.
func (f *Finder) runs(ctx context.Context, p process.Running, program string) (bool, error) {
	if f.units == nil || p.Unit == "" {
		return false, nil
	}
	unit, err := f.Unit(ctx, p.Unit)
	return unit.MainPID == p.PID || startsIn(unit, program), err
}

// startsIn reports whether a unit starts a program, by what systemd knows of it.
func startsIn(unit deployers.Unit, program string) bool {
	return len(unit.ExecStart) > 0 && filepath.Base(unit.ExecStart[0]) == filepath.Base(program)
}

// enabled returns the enabled units whose files start a program.
func enabled(program string) (units []string) {
	for _, links := range wanted {
		for _, text := range Texts(links) {
			if name := filepath.Base(text.Path); !strings.Contains(name, "@.") && starts(name, text.Content, program) {
				units = append(units, name)
			}
		}
	}
	return units
}

// starts reports whether a unit starts a program, by its file, or by its name where the
// command may stand in a drop-in.
func starts(unit, content, program string) bool {
	name := filepath.Base(program)
	if strings.HasPrefix(unit, name+"@") || strings.HasPrefix(unit, name+"-") {
		return true
	}
	return slices.ContainsFunc(started().FindAllStringSubmatch(content, -1), func(match []string) bool { return filepath.Base(match[2]) == name })
}
