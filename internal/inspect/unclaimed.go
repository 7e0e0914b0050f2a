package inspect

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

// This file looks at lineages that no target takes.

// unclaimedAmong returns the lineages that no target takes, with where they were seen to be
// served before, and each as it is kept. Nothing is read of them.
func unclaimedAmong(cfg *config.Config, all []lineage.Lineage, before []state.Unclaimed) (unclaimed []state.Unclaimed, kept []lineage.Lineage) {
	demand := cfg.Demand()
	served := map[lineage.Lineage]*string{}
	for _, b := range before {
		served[lineage.Lineage{Client: b.Client, Name: b.Lineage}] = b.Served
	}
	for _, l := range all {
		if !demand.Takes(l) {
			u := state.Unclaimed{Lineage: l.Name, Client: l.Client}
			u.Served = served[lineage.Lineage{Client: u.Client, Name: u.Lineage}]
			unclaimed, kept = append(unclaimed, u), append(kept, l)
		}
	}
	return unclaimed, kept
}

// What is looked at of lineages that no target takes: a handshake costs the service
// something, and one lineage that is served is as good a warning as all of them. Whoever
// may write to a client's directory decides how many there are.
const (
	mostUnclaimedRead = 64
	mostUnclaimed     = 16
	mostAddresses     = 4
)

// serving looks for lineages that no target takes, which are kept in the same order, at
// the addresses where certificates of targets were seen, under the names of the lineages.
func (i inspection) serving(ctx context.Context, unclaimed []state.Unclaimed, kept []lineage.Lineage, seen []state.Sighting) []state.Unclaimed {
	addresses := answering(seen)
	if len(addresses) == 0 {
		return unclaimed
	}
	var looks []prepare.Look
	var leaves []*x509.Certificate
	var of []int
	for n := range unclaimed[:min(len(unclaimed), mostUnclaimedRead)] {
		bundle, _ := i.prep.Bundle(kept[n])
		if bundle == nil || firstHost(bundle.Leaf) == "" || len(looks) == mostUnclaimed {
			continue
		}
		unclaimed[n].Served = nil
		look := prepare.Look{}
		for _, at := range addresses {
			at.Name = firstHost(bundle.Leaf)
			look.At = append(look.At, at)
		}
		looks, leaves, of = append(looks, look), append(leaves, bundle.Leaf), append(of, n)
	}
	for k, observed := range i.prep.Look(ctx, looks, func() {}) {
		for _, o := range observed {
			if leaf := o.Leaf(); leaf != nil && !isTargets(leaf, seen) && coversAll(leaf, leaves[k]) {
				url := o.Endpoint.String()
				unclaimed[of[k]].Served = &url
				break
			}
		}
	}
	return unclaimed
}

// answering returns the addresses at which probes saw a leaf, without names.
func answering(seen []state.Sighting) (addresses []endpoint.Endpoint) {
	for _, s := range seen {
		for _, served := range s.Served {
			if served.Leaf == nil || served.Probe == nil {
				continue
			}
			e, err := endpoint.Parse(*served.Probe)
			e.Name, e.Key = "", ""
			if err == nil && !slices.Contains(addresses, e) && len(addresses) < mostAddresses {
				addresses = append(addresses, e)
			}
		}
	}
	return addresses
}

// firstHost returns the first name of a leaf that can be asked for; empty: there is none.
func firstHost(leaf *x509.Certificate) string {
	for _, name := range leaf.DNSNames {
		if !strings.HasPrefix(name, "*.") {
			return name
		}
	}
	return ""
}

// isTargets reports whether a leaf is issued to a target or installed there.
func isTargets(leaf *x509.Certificate, seen []state.Sighting) bool {
	fingerprint := lineage.Describe(leaf).Fingerprint
	return slices.ContainsFunc(seen, func(s state.Sighting) bool {
		return s.Issued != nil && s.Issued.Fingerprint == fingerprint || s.Installed != nil && s.Installed.Fingerprint == fingerprint
	})
}

// coversAll reports whether a leaf has all names of another.
func coversAll(leaf, other *x509.Certificate) bool {
	has := lineage.Names(leaf)
	return !slices.ContainsFunc(lineage.Names(other), func(name string) bool {
		return !slices.ContainsFunc(has, func(h string) bool { return strings.EqualFold(h, name) })
	})
}

// mostNamed is how many lineages that no target takes are named.
const mostNamed = 5

// unclaimedChecks names lineages that no target takes. It is a warning where one is known
// to be served, since nobody brings the next certificate there.
func unclaimedChecks(cfg *config.Config, all []lineage.Lineage) (checks []deployers.Check) {
	found, _ := unclaimedAmong(cfg, all, readSnapshot(cfg.Run).Unclaimed)
	slices.SortStableFunc(found, func(a, b state.Unclaimed) int {
		switch {
		case (a.Served == nil) == (b.Served == nil):
			return 0
		case a.Served != nil:
			return -1
		}
		return 1
	})
	for _, u := range found[:min(len(found), mostNamed)] {
		l := lineage.Lineage{Client: u.Client, Name: u.Lineage}
		const remedy = "certlatch init shows a target for it, where a service here has use for one"
		if u.Served != nil {
			checks = append(checks, warned(deployers.Lineages, remedy, "%s: no target takes it, and it is served (%s)", l, *u.Served))
			continue
		}
		checks = append(checks, deployers.NewCheck(deployers.Lineages, deployers.Fine, remedy, "%s: no target takes it", l))
	}
	if more := len(found) - mostNamed; more > 0 {
		checks = append(checks, fine(deployers.Lineages, "and %d more that no target takes", more))
	}
	return checks
}
