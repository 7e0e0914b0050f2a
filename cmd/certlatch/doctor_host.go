package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/engine"
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

// examineHooks tells whether the clients call certlatch.
func examineHooks(e *engine.Engine, found *engine.Examination) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find out where certlatch is: %w", err)
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
			found.Checks = append(found.Checks, usualPlace(client, self).examine(wanted)...)
		}
	}
	return nil
}

// examine tells whether the client calls certlatch for each of some lineages.
func (at place) examine(wanted []lineage.Lineage) []deployers.Check {
	install := "certlatch hook install " + at.Name()
	check := func(level deployers.Level, remedy, says string, args ...any) []deployers.Check {
		return []deployers.Check{deployers.NewCheck(deployers.Hook, level, remedy, says, args...)}
	}
	without := func(does func(text string) bool) []lineage.Lineage {
		return slices.DeleteFunc(slices.Clone(wanted), func(l lineage.Lineage) bool { return at.remembers(l, does) })
	}
	switch {
	case len(at.Parts) == 0:
		return check(deployers.Fine, "", "%s remembers no hook; certlatch hook print %[1]s shows what its timer or cron job has to call", at.Name())
	case len(without(at.Memory.Alone)) == 0:
		return check(deployers.Fine, "", "%s calls certlatch for each lineage that a target takes", at.Name())
	}
	for _, part := range at.Parts {
		switch err := at.runs(part); {
		case errors.Is(err, fs.ErrNotExist):
			return check(deployers.Warned, install, "%s does not call certlatch after a renewal: %s is not there, or leads nowhere", at.Name(), at.path(part))
		case err != nil:
			return check(deployers.Wrong, install, "%s cannot call certlatch: %v", at.Name(), err)
		}
	}
	if at.Memory.Choose == nil || len(without(at.Memory.Calls)) == 0 {
		return check(deployers.Fine, "", "%s calls certlatch: %s", at.Name(), at.path(at.Parts[0]))
	}
	var checks []deployers.Check
	for _, l := range without(at.Memory.Calls) {
		checks = append(checks, check(deployers.Warned, at.Memory.Choose(nameOnDisk(l)), "%s does not call certlatch for %s, which has to be chosen once for each", at.Name(), l.Name)...)
	}
	return checks
}

// runs fails where a part is not there, not certlatch's, or cannot be executed
// though it should.
func (at place) runs(part hooks.Part) error {
	if err := at.ours(part); err != nil {
		return err
	}
	info, err := os.Stat(at.path(part))
	if err != nil {
		return err
	}
	if (part.Link != "" || part.Run) && info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not executable", at.path(part))
	}
	return nil
}

// remembers tells whether what the client remembers of a lineage does
// something.
func (at place) remembers(l lineage.Lineage, does func(text string) bool) bool {
	if at.Memory.File == nil {
		return false
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(l.Fullchain), at.Memory.File(nameOnDisk(l))))
	return err == nil && does(string(text))
}

// nameOnDisk returns the name of the directory that a lineage's files are in.
func nameOnDisk(l lineage.Lineage) string { return filepath.Base(filepath.Dir(l.Fullchain)) }
