package prepare

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Wanted returns the lineages of a client's events that some target takes. It fails
// with a *hooks.InputError where an event is about no lineage, and with a
// *RequestError where its lineage is not below the configured roots, or leads out
// of them.
func Wanted(cfg *config.Config, events []hooks.Event) ([]lineage.Lineage, error) {
	var wanted []lineage.Lineage
	for _, event := range events {
		l := lineage.Lineage{Client: event.Client, Name: event.LineageName()}
		if l.Name == "" {
			return nil, &hooks.InputError{Client: event.Client, What: fmt.Sprintf("%.200q is no place of a lineage", event.Path)}
		}
		wants := func(t config.Target) bool { return t.Wants(l) }
		first := slices.IndexFunc(cfg.Targets, wants)
		if first < 0 {
			continue
		}
		root := rootAt(cfg, event)
		if root == nil {
			return nil, &RequestError{
				What:   fmt.Sprintf("target %s wants %s, but %s is below none of the configured roots", cfg.Targets[first].Name, l.Name, event.Path),
				Remedy: fmt.Sprintf("add \"- %s: %s\" to lineages in %s", event.Client, filepath.Dir(event.Path), cfg.Path),
			}
		}
		l, err := root.Find(l.Name)
		if err != nil {
			return nil, &hooks.InputError{Client: event.Client, What: err.Error()}
		}
		for _, f := range lineage.Unreadable(l) {
			if f.Code == lineage.Outside { // the path has a lineage's name, and leads out of the client's directories
				return nil, &RequestError{What: f.Detail, Remedy: f.Remedy}
			}
		}
		wanted = append(wanted, l)
	}
	return wanted, nil
}

// rootAt returns the configured root that the path of an event lies in, or nil.
func rootAt(cfg *config.Config, event hooks.Event) *lineage.Root {
	at := slices.IndexFunc(cfg.Roots, func(r lineage.Root) bool {
		return r.Client == event.Client && r.NameAt(event.Path) != ""
	})
	if at < 0 {
		return nil
	}
	return &cfg.Roots[at]
}
