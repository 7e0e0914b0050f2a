package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/hookfiles"
	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/report"
	"github.com/certlatch/certlatch/internal/state"
)

// The inventory is looked at afresh for the owner of the state directory, and
// read from the last snapshot for everybody else.

// snapshotError says that the snapshot cannot be read.
type snapshotError struct{ error }

func (e *snapshotError) Unwrap() error { return e.error }

func inventoryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "target", Usage: "only the target `NAME`; may be repeated"},
		&cli.StringSliceFlag{Name: "lineage", Usage: "only the lineage `NAME`; may be repeated"},
	}
}

// inventory returns the inventory, from the snapshot where the state belongs to
// somebody else: whoever may not read keys, state and configuration is shown
// what was seen last.
func (p *program) inventory(c *cli.Context) (report.Inventory, error) {
	if err := checkArguments(c, 0, 0); err != nil {
		return report.Inventory{}, err
	}
	scope := prepare.Scope{Targets: c.StringSlice("target"), Lineages: c.StringSlice("lineage")}
	switch cfg, err := config.Load(c.String("config")); {
	case err != nil && os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission):
		return readInventory(config.DefaultRun, scope)
	case err != nil:
		return report.Inventory{}, err
	case !mayLook(cfg.State):
		return readInventory(cfg.Run, scope)
	}
	return p.lookAtHost(c, scope)
}

// mayLook reports whether this process may read what is below a state directory.
func mayLook(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return os.Geteuid() == 0 || errors.Is(err, fs.ErrNotExist)
	}
	uid := os.Geteuid()
	return uid == 0 || int(info.Sys().(*syscall.Stat_t).Uid) == uid
}

func (p *program) lookAtHost(c *cli.Context, scope prepare.Scope) (report.Inventory, error) {
	site, err := p.site(c)
	if err != nil {
		return report.Inventory{}, err
	}
	if !p.plugin {
		p.tellEmpty(site.Config)
	}
	tell, done := p.showProgress()
	defer done()
	site.Progress = tell
	seen, unclaimed, err := inspect.Inspector{Site: site}.Inventory(c.Context, scope)
	nameHands(site.Config, seen)
	i := report.Inventory{Seen: seen, Unclaimed: unclaimed}
	if scope.Targets == nil && scope.Lineages == nil {
		i.Unnamed = inspect.Unnamed(site.Config)
	}
	if seen != nil { // so the error is about the state alone
		i.Unread, err = err, nil
		_, i.Remedy = adviceFor(i.Unread)
	}
	return i, err
}

// nameHands adds who is known to write there to what was changed by others. The
// snapshot does not have it: what others may know of root's files ends there.
func nameHands(cfg *config.Config, seen []state.Sighting) {
	if !slices.ContainsFunc(seen, func(s state.Sighting) bool { return s.Changed != nil }) {
		return
	}
	for _, hand := range hookfiles.Hands(cfg.Roots, interests(cfg)) {
		for _, s := range seen {
			if hand.Writes && s.Changed != nil && s.Target == hand.Target {
				s.Changed.By = append(s.Changed.By, fmt.Sprintf("%s:%d", hand.File, hand.Line))
			}
		}
	}
}

// readInventory returns what a request names of the snapshot in a directory.
func readInventory(dir string, scope prepare.Scope) (report.Inventory, error) {
	snapshot, err := state.ReadSnapshot(dir)
	if err != nil {
		return report.Inventory{}, &snapshotError{err}
	}
	i := report.Inventory{Snapshot: state.SnapshotFile(dir)}
	if len(scope.Targets)+len(scope.Lineages) == 0 {
		i.Unclaimed = snapshot.Unclaimed
	}
	for _, s := range snapshot.Certificates {
		if (scope.Targets == nil || slices.Contains(scope.Targets, s.Target)) && (scope.Lineages == nil || slices.ContainsFunc(scope.Lineages, nameMatcher(s.Lineage))) {
			i.Seen = append(i.Seen, s)
		}
	}
	if len(i.Seen) == 0 && (scope.Targets != nil || scope.Lineages != nil) {
		return i, &prepare.RequestError{
			What:   fmt.Sprintf("%s is not in the snapshot %s", strings.Join(slices.Concat(scope.Targets, scope.Lineages), " with "), i.Snapshot),
			Remedy: "certlatch status without flags shows what is",
		}
	}
	return i, nil
}

// nameMatcher returns a function that reports whether its argument, NAME or
// CLIENT:NAME, has the given name.
func nameMatcher(name string) func(string) bool {
	return func(wanted string) bool {
		_, ofClient := hooks.SplitName(wanted)
		return wanted == name || ofClient == name
	}
}
