package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/hookfiles"
	"github.com/certlatch/certlatch/internal/lineage"
)

// examineHost looks at what all targets depend on, certlatch's units and
// clients' hooks included. Where the daemon watches the lineages, no client
// need call certlatch.
func examineHost(ctx context.Context, e *engine.Engine) (engine.Examination, error) {
	found, watched, err := e.ExamineHost(ctx)
	if err != nil {
		return found, err
	}
	found.Checks = append(found.Checks, examineUnits(e.Config)...)
	if !watched {
		err = examineHooks(e, &found)
	}
	deployers.SortChecks(found.Checks)
	return found, err
}

// examineUnits tells whether certlatch's units may write where the
// configuration says.
func examineUnits(cfg *config.Config) []deployers.Check {
	var behind []string
	for _, unit := range installedUnits() {
		if text, err := os.ReadFile(dropInPath(unit)); err != nil || !allows(string(text), dropIn(cfg)) {
			behind = append(behind, unit)
		}
	}
	if behind == nil {
		return nil
	}
	return []deployers.Check{deployers.NewCheck(deployers.Retries, deployers.Warned, "certlatch config systemd",
		"%s may not write to all that the configuration names", strings.Join(behind, ", "))}
}

// allows tells whether a drop-in has every setting of another. It may have more:
// that of a time when directories had yet to be made.
func allows(has, wants string) bool {
	for line := range strings.Lines(wants) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(has, line) {
			return false
		}
	}
	return true
}

// examineHooks adds whether the clients call certlatch.
func examineHooks(e *engine.Engine, found *engine.Examination) error {
	self, err := ownPath()
	if err != nil {
		return err
	}
	for _, root := range e.Config.Roots {
		client, ok := hooks.For(root.Client)
		if !ok {
			continue
		}
		all, err := root.List()
		if err != nil {
			return err
		}
		wanted := slices.DeleteFunc(all, func(l lineage.Lineage) bool {
			return !slices.ContainsFunc(e.Config.Targets, func(t config.Target) bool { return t.Wants(l) })
		})
		if len(wanted) > 0 {
			found.Checks = append(found.Checks, hookfiles.Usual(client, self).Examine(wanted)...)
		}
	}
	return nil
}
