package prepare

import (
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
)

// A client that issues for the same names once more may do so under another name:
// certbot as NAME-0001 (certbot 5.6.0 certbot/_internal/storage.py, new_lineage;
// util.py, unique_lineage_name), acme.sh as NAME_ecc beside an older NAME (acme.sh
// 3.1.4 _initpath). The one that a target takes is not renewed any more then.

// Spare is a lineage that no target takes.
type Spare struct {
	Lineage lineage.Lineage
	Leaf    *x509.Certificate
}

// Spares returns the lineages that no target takes, and that can be read.
func (p *Preparer) Spares(cfg *config.Config) []Spare {
	all, err := Lineages(cfg)
	if err != nil {
		return nil // whoever needs them is told so elsewhere
	}
	var spares []Spare
	demand := cfg.Demand()
	for _, l := range all {
		if demand.Takes(l) {
			continue
		}
		if bundle, _ := p.Bundle(l); bundle != nil {
			spares = append(spares, Spare{l, bundle.Leaf})
		}
	}
	return spares
}

// holder returns which lineage has a leaf, with the path of its certificate, for people;
// empty: none is known.
func (p *Preparer) holder(cfg *config.Config, leaf *x509.Certificate) string {
	if cfg == nil {
		return ""
	}
	all, err := Lineages(cfg)
	if err != nil {
		return "" // whoever needs them is told so elsewhere
	}
	for _, l := range all {
		if bundle, _ := p.Bundle(l); bundle != nil && bundle.Leaf.Equal(leaf) {
			return fmt.Sprintf("%s (%s)", l, l.Fullchain)
		}
	}
	return ""
}

// Successor returns the spare lineage with the newest leaf that has all of some names,
// is valid now and newer than a time; nil: there is none.
func Successor(spares []Spare, names []string, newer, now time.Time) *Spare {
	var found *Spare
	for i, s := range spares {
		has := lineage.Names(s.Leaf)
		lacks := slices.ContainsFunc(names, func(name string) bool {
			return !slices.ContainsFunc(has, func(other string) bool { return strings.EqualFold(name, other) })
		})
		if lacks || !s.Leaf.NotBefore.After(newer) || now.After(s.Leaf.NotAfter) || found != nil && !s.Leaf.NotBefore.After(found.Leaf.NotBefore) {
			continue
		}
		found = &spares[i]
	}
	return found
}

// Explained returns the error of an assignment. Where it is that the lineage is
// missing, and another has taken its place, the error names that; proven is the leaf
// that was proven last, nil: none was.
func (p *Preparer) Explained(cfg *config.Config, a Assignment, proven *lineage.Leaf) error {
	missing, is := a.Err.(*outcome.LineageMissingError)
	if !is {
		return a.Err
	}
	names, newer := []string{hostName(a.Lineage.Name)}, time.Time{}
	if proven != nil {
		names, newer = proven.Names, proven.NotBefore
	}
	if s := Successor(p.Spares(cfg), names, newer, time.Now()); s != nil {
		return &outcome.LineageReplacedError{Missing: missing, By: s.Lineage, Issued: s.Leaf.NotBefore}
	}
	return a.Err
}

// twin matches what clients add to the name of a lineage that stands beside another.
var twin = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(-\d{4})?(_ecc)?$`) })

// originalName returns a lineage's name without what its client has added to it since
// there was one of that name.
func originalName(name string) string { return twin().ReplaceAllLiteralString(name, "") }

// hostName returns the host name after which a client has called a lineage.
func hostName(name string) string {
	name = originalName(name)
	if rest, is := strings.CutPrefix(name, "_."); is {
		return "*." + rest
	}
	return name
}

// TakesTwin returns the target that takes a lineage's twin, by their names, and
// reports whether there is one.
func TakesTwin(cfg *config.Config, l lineage.Lineage) (config.Target, bool) {
	at := slices.IndexFunc(cfg.Targets, func(t config.Target) bool {
		return !t.IsGlob() && t.LineageName() != l.Name && originalName(t.LineageName()) == originalName(l.Name)
	})
	if at < 0 {
		return config.Target{}, false
	}
	return cfg.Targets[at], true
}
