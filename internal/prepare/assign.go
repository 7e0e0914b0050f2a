package prepare

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/spelling"
)

// RequestError says that a request names what does not exist.
type RequestError struct{ What, Remedy string }

func (e *RequestError) Error() string { return e.What }

// Scope is the lineages and targets that a request names.
type Scope struct {
	Lineages []string // NAME or CLIENT:NAME; nil: all
	Targets  []string // nil: all
}

// Names reports whether the scope holds a lineage at a target.
func (s Scope) Names(target string, l lineage.Lineage) bool {
	return (len(s.Targets) == 0 || slices.Contains(s.Targets, target)) &&
		(len(s.Lineages) == 0 || slices.ContainsFunc(s.Lineages, l.Is))
}

// Check fails with a *RequestError where the scope names what there is not.
func (s Scope) Check(cfg *config.Config, all []lineage.Lineage) error {
	for _, name := range s.Targets {
		if !cfg.HasTarget(name) {
			return NoTarget(cfg, name)
		}
	}
	for _, name := range s.Lineages {
		if _, err := pick(cfg, all, name); err != nil {
			return err
		}
	}
	return nil
}

// NoTarget returns the error of a request that names a target which there is
// not.
func NoTarget(cfg *config.Config, name string) *RequestError {
	var known []string
	for _, t := range cfg.Targets {
		known = append(known, t.Name)
	}
	return &RequestError{"there is no target " + name, spelling.Advice(name, known, "certlatch config show lists the targets")}
}

// Lineages returns everything that the clients keep.
func Lineages(cfg *config.Config) ([]lineage.Lineage, error) {
	var all []lineage.Lineage
	for _, root := range cfg.Roots {
		found, err := root.List()
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// LineagesNamed returns those lineages that have one of some names, NAME or
// CLIENT:NAME, whichever client keeps them. It looks at no others.
func LineagesNamed(cfg *config.Config, names []string) (all []lineage.Lineage, err error) {
	var bare []string
	for _, name := range names {
		_, ofClient := hooks.SplitName(name)
		bare = append(bare, name, ofClient)
	}
	slices.Sort(bare)
	bare = slices.Compact(bare)
	for _, root := range cfg.Roots {
		for _, name := range bare {
			l, is, err := root.Listed(name)
			if err != nil {
				return nil, err
			}
			if is {
				all = append(all, l)
			}
		}
	}
	return all, nil
}

// Lineage finds a lineage by NAME or CLIENT:NAME. It fails with a
// *RequestError.
func Lineage(cfg *config.Config, name string) (lineage.Lineage, error) {
	all, err := LineagesNamed(cfg, []string{name})
	if err != nil {
		return lineage.Lineage{}, err
	}
	return pick(cfg, all, name)
}

func pick(cfg *config.Config, all []lineage.Lineage, name string) (lineage.Lineage, error) {
	for _, is := range []func(lineage.Lineage) bool{
		func(l lineage.Lineage) bool { return l.String() == name },
		func(l lineage.Lineage) bool { return l.Name == name },
	} {
		if at := slices.IndexFunc(all, is); at >= 0 {
			return all[at], nil
		}
	}
	var roots []string
	for _, root := range cfg.Roots {
		roots = append(roots, root.Dir)
	}
	return lineage.Lineage{}, &RequestError{
		fmt.Sprintf("there is no lineage %s below %s", name, strings.Join(roots, ", ")),
		spelling.Advice(name, lineageNames(cfg), "name one that is there, or add the client's directory to lineages in "+cfg.Path),
	}
}

// lineageNames returns the names of all lineages that can be listed, each with its
// client's and without.
func lineageNames(cfg *config.Config) (names []string) {
	for _, root := range cfg.Roots {
		found, err := root.List()
		if err != nil {
			continue // what cannot be listed is not what was meant
		}
		for _, l := range found {
			names = append(names, l.Name, l.String())
		}
	}
	return names
}

// Assignment is a lineage that a target takes. Err says why it cannot: there is
// no such lineage (*outcome.LineageMissingError), more than one
// (*outcome.AmbiguousError), or another target that brings another one to the same
// place (*outcome.SharedPlaceError).
type Assignment struct {
	Target  config.Target
	Lineage lineage.Lineage
	Err     error
}

// Missing reports whether there is no such lineage.
func (a Assignment) Missing() bool { return a.Lineage.Client == "" }

// Assign returns which of the lineages each target takes, in the order of the
// targets.
func Assign(cfg *config.Config, all []lineage.Lineage) []Assignment {
	var assigned []Assignment
	writers := cfg.Writers()
	byName := map[string][]lineage.Lineage{}
	for _, l := range all {
		byName[l.Name] = append(byName[l.Name], l)
	}
	for _, t := range cfg.Targets {
		some := all
		if !t.IsGlob() {
			some = byName[named(t).Name]
		}
		var wanted []lineage.Lineage
		for _, l := range some {
			if t.Wants(l) {
				wanted = append(wanted, l)
			}
		}
		if len(wanted) == 0 && !t.IsGlob() {
			assigned = append(assigned, Assignment{t, named(t), &outcome.LineageMissingError{Lineage: t.Lineage, Config: cfg.Path, Lacks: lacking(cfg, named(t))}})
		}
		alike := map[string][]lineage.Lineage{}
		for _, l := range wanted {
			alike[l.Name] = append(alike[l.Name], l)
		}
		for _, l := range wanted {
			err := ambiguous(l, alike[l.Name])
			if err == nil {
				err = writtenBefore(cfg, writers, t, l)
			}
			assigned = append(assigned, Assignment{t, l, err})
		}
	}
	return assigned
}

// writtenBefore returns an error where a target before this one brings another lineage
// to the same place.
func writtenBefore(cfg *config.Config, writers config.Writers, t config.Target, l lineage.Lineage) error {
	other, path, is := writers.Before(t, l, func(client, name string) bool {
		return slices.ContainsFunc(cfg.Roots, func(root lineage.Root) bool {
			if client != "" && client != root.Client {
				return false
			}
			_, is, err := root.Listed(name)
			return is && err == nil
		})
	})
	if !is {
		return nil
	}
	return &outcome.SharedPlaceError{Other: other.Name, Path: path, Lineage: other.Lineage, Config: cfg.Path}
}

// lacking returns the file without which a client keeps a lineage; empty: none does.
func lacking(cfg *config.Config, l lineage.Lineage) string {
	for _, root := range cfg.Roots {
		if l.Client != "" && l.Client != root.Client {
			continue
		}
		if _, err := root.Find(l.Name); err != nil {
			if missing, is := errors.AsType[*lineage.NotFoundError](err); is && missing.Lacks != "" {
				return missing.Lacks
			}
		}
	}
	return ""
}

// named returns the lineage that a target without a glob names, as far as that
// says.
func named(t config.Target) lineage.Lineage {
	return lineage.Lineage{Name: t.LineageName()}
}

// ambiguous returns an error where another client keeps a lineage under the
// same name.
func ambiguous(l lineage.Lineage, alike []lineage.Lineage) error {
	for _, twin := range slices.Backward(alike) {
		if twin.Client != l.Client {
			return &outcome.AmbiguousError{Lineage: l, Twin: twin}
		}
	}
	return nil
}
