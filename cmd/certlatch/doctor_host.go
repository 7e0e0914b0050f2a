package main

import (
	"context"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/hookfiles"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/sandbox"
)

// examineHost looks at what all targets depend on, certlatch's units and
// clients' hooks included. Where the daemon watches the lineages, no client
// need call certlatch.
func examineHost(ctx context.Context, site prepare.Site) (inspect.Examination, error) {
	found, watched, err := inspect.Inspector{Site: site}.ExamineHost(ctx)
	if err != nil {
		return found, err
	}
	found.Checks = append(found.Checks, examineUnits(site.Config)...)
	found.Checks = append(found.Checks, hookfiles.Beside(site.Config.Roots, interests(site.Config))...)
	if !watched {
		err = examineHooks(site, &found)
	}
	deployers.SortChecks(found.Checks)
	return found, err
}

// examineUnits reports whether certlatch's units may write where the
// configuration says.
func examineUnits(cfg *config.Config) []deployers.Check {
	outdated := sandbox.Usual().Outdated(cfg)
	if len(outdated) == 0 {
		return nil
	}
	return []deployers.Check{deployers.NewCheck(deployers.Retries, deployers.Warned, "certlatch config systemd",
		"%s may not write to all that the configuration names", strings.Join(outdated, ", "))}
}

// interests returns what no other hand should be at: the files of targets, as far as
// they are the same for each lineage, and their services.
func interests(cfg *config.Config) []hooks.Interest {
	var all []hooks.Interest
	for _, t := range cfg.Targets {
		i := hooks.Interest{Target: t.Name, Service: t.Service, Unit: t.Unit, Takes: t.Wants}
		for _, file := range []string{t.Certificate, t.Key, t.Chain, t.Combined, t.Directory} {
			if file != "" && !strings.Contains(file, "{lineage}") {
				i.Paths = append(i.Paths, file)
			}
		}
		all = append(all, i)
	}
	return all
}

// examineHooks adds checks of whether the clients call certlatch.
func examineHooks(site prepare.Site, found *inspect.Examination) error {
	self, err := ownPath()
	if err != nil {
		return err
	}
	demand := site.Config.Demand()
	for _, root := range site.Config.Roots {
		caller, ok := hooks.CallerFor(root.Client)
		if !ok {
			continue
		}
		all, err := root.List()
		if err != nil {
			return err
		}
		wanted := slices.DeleteFunc(all, func(l lineage.Lineage) bool { return !demand.Takes(l) })
		keeper, _ := hooks.KeeperFor(root.Client)
		switch {
		case len(wanted) == 0:
		case keeper.Serves != "":
			found.Checks = append(found.Checks, deployers.NewCheck(deployers.Hook, deployers.Warned, "systemctl enable --now certlatch-watch.service",
				"%s calls nothing after a renewal, and the daemon does not run that would see it", keeper.Serves))
		default:
			found.Checks = append(found.Checks, hookfiles.Usual(caller, self).Examine(wanted)...)
		}
	}
	return nil
}
