package prepare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
)

// RootError says that a target wants the lineage of an event, which is below none of
// the configured roots.
type RootError struct {
	Event          hooks.Event
	Target, Config string
}

func (e *RootError) Error() string {
	return fmt.Sprintf("target %s wants %s, but %s is below none of the configured roots", e.Target, e.Event.LineageName(), e.Event.Path)
}

// Remedy returns what to do about it.
func (e *RootError) Remedy() string {
	return fmt.Sprintf("add \"- %s: %s\" to lineages in %s", e.Event.Client, filepath.Dir(e.Event.Path), e.Config)
}

// Renewed returns the lineages, CLIENT:NAME, that were renewed by what a client
// said, and that are where it said, whatever is configured.
func Renewed(events []hooks.Event) (names []string) {
	for _, event := range events {
		keeper, is := hooks.KeeperFor(event.Client)
		if !is || event.Unchanged {
			continue
		}
		if l, err := keeper.Root(filepath.Dir(event.Path)).Find(event.LineageName()); err == nil {
			names = append(names, l.String())
		}
	}
	return names
}

// Wanted returns the lineages of a client's events that some target takes. It fails
// with a *hooks.InputError where an event is about no lineage, and with a
// *RootError where its lineage is not below the configured roots. Whether it
// leads out of them is not looked at; see [Inside].
func Wanted(cfg *config.Config, events []hooks.Event) ([]lineage.Lineage, error) {
	var wanted []lineage.Lineage
	for _, event := range events {
		l := lineage.Lineage{Client: event.Client, Name: event.LineageName()}
		if l.Name == "" {
			base := filepath.Base(event.Path)
			if base != "/" && lineage.CheckName(base) != nil && !slices.ContainsFunc(cfg.Targets, config.Target.IsGlob) {
				continue // no target can name it
			}
			what := fmt.Sprintf("%.200q is no place of a lineage", event.Path)
			if err := lineage.CheckName(base); err != nil && base != "/" {
				what += ": " + err.Error()
			}
			return nil, &hooks.InputError{Client: event.Client, What: what}
		}
		wants := func(t config.Target) bool { return t.Wants(l) }
		first := slices.IndexFunc(cfg.Targets, wants)
		if first < 0 {
			continue
		}
		root := rootAt(cfg, event)
		if root == nil {
			return nil, &RootError{Event: event, Target: cfg.Targets[first].Name, Config: cfg.Path}
		}
		l, err := root.Find(l.Name)
		if err != nil {
			return nil, &hooks.InputError{Client: event.Client, What: fmt.Sprintf("%.200q is no place of a lineage: %v", event.Path, err)}
		}
		wanted = append(wanted, l)
	}
	return wanted, nil
}

// Inside fails with a *RequestError where a lineage leads out of its client's
// directories: a path that a client was made to name may have a lineage's name and be
// a link to any file.
func Inside(lineages []lineage.Lineage) error {
	for _, l := range lineages {
		if err := LeadsOut(lineage.Unreadable(l)); err != nil {
			return err
		}
	}
	return nil
}

// LeadsOut fails with a *RequestError where findings of reading a lineage say that it
// leads out of its client's directories.
func LeadsOut(findings []lineage.Finding) error {
	for _, f := range findings {
		if f.Code == lineage.Outside {
			return &RequestError{What: f.Detail, Remedy: f.Remedy}
		}
	}
	return nil
}

// rootAt returns the configured root that the path of an event lies in, or nil. The
// client may name its directory otherwise than the configuration, as by a link: what
// counts is which one it is. Nothing is read by the client's path.
func rootAt(cfg *config.Config, event hooks.Event) *lineage.Root {
	named, err := os.Stat(filepath.Dir(event.Path))
	for _, is := range []func(lineage.Root) bool{
		func(r lineage.Root) bool { return r.NameAt(event.Path) != "" },
		func(r lineage.Root) bool {
			configured, unseen := os.Stat(r.Dir)
			return err == nil && unseen == nil && os.SameFile(named, configured)
		},
	} {
		if at := slices.IndexFunc(cfg.Roots, func(r lineage.Root) bool { return r.Client == event.Client && is(r) }); at >= 0 {
			return &cfg.Roots[at]
		}
	}
	return nil
}
