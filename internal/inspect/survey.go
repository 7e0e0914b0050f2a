package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/facts"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/paths"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/proposal"
)

// This file looks, without a configuration, at what there is on this host.

// Survey finds the lineages and services of this host. It looks through the
// roots of the site's configuration, or else through the usual places, and takes
// nothing else from it, nor from the state directory.
func (in Inspector) Survey(ctx context.Context) (proposal.Host, error) {
	prep := prepare.NewPreparer(in.Site.World)
	defer prep.Close()
	host := proposal.Host{Roots: in.Site.Config.Roots, Files: map[string]proposal.File{}}
	if host.Roots == nil {
		host.Roots = hooks.UsualRoots()
	}
	host.Roots = slices.DeleteFunc(slices.Clone(host.Roots), func(r lineage.Root) bool {
		first := slices.IndexFunc(host.Roots, func(other lineage.Root) bool { return sameDir(other.Dir, r.Dir) })
		return first >= 0 && host.Roots[first] != r
	})
	var err error
	if host.Lineages, host.Unknown, err = surveyLineages(prep, host.Roots); err != nil {
		return proposal.Host{}, err
	}
	host.Unknown = append(host.Unknown, surveyOthers()...)
	kept := keepersOf(host.Lineages)
	var found []deployers.Facts  // of the services
	var told []deployers.Process // of a service, that no target is proposed for
	for _, discoverer := range all.Discoverers() {
		units, loose, unknown, err := instances(ctx, prep.Facts, discoverer)
		if err != nil {
			return proposal.Host{}, err
		}
		host.Unknown, told = append(host.Unknown, unknown...), append(told, loose...)
		for _, unit := range units {
			service, seen, err := discover(ctx, prep.Facts, discoverer, unit)
			_, unreachable := errors.AsType[*outcome.SystemdError](err)
			switch {
			case unreachable || ctx.Err() != nil:
				return proposal.Host{}, err
			case err != nil:
				host.Unknown = append(host.Unknown, fmt.Sprintf("%s: %v", service, err))
			case service.Installed:
				host.Services, found = append(host.Services, service), append(found, seen)
			}
			if service.Tree != "" {
				for _, path := range []string{service.Tree, service.Certificate, service.Elsewhere.Certificate} {
					host.Files[path] = surveyPath(host.Roots, path)
				}
			}
			for _, use := range service.Uses {
				if use.Source != "" {
					host.Files[use.Source] = proposal.File{Foreign: !disk.IsRoots(use.Source)}
				}
				if use.Certificate != "" {
					key, certificate := in.surveyKey(ctx, discoverer, unit, seen, host.Roots, use), surveyCertificate(host.Roots, kept, use.Certificate)
					key.LinkedAt, certificate.LinkedAt = linkBelow(service.Tree, use.Key), linkBelow(service.Tree, use.Certificate)
					if use.Key == use.Certificate {
						certificate.User, certificate.Group, certificate.Mode = key.User, key.Group, key.Mode
					}
					host.Files[use.Key], host.Files[use.Certificate] = key, certificate
				}
			}
		}
	}
	host.Unknown = append(host.Unknown, strangers(prep.Facts, func(p deployers.Process) bool {
		return slices.ContainsFunc(found, func(f deployers.Facts) bool { return isOf(p, f) }) ||
			slices.ContainsFunc(told, func(o deployers.Process) bool { return o.PID == p.PID || o.Program == p.Program && o.Unit == p.Unit })
	})...)
	return host, nil
}

// isOf reports whether a process is of the service that some facts are about.
func isOf(p deployers.Process, f deployers.Facts) bool {
	return p.Unit != "" && p.Unit == f.Unit.Name || slices.ContainsFunc(f.Outside, func(o deployers.Process) bool { return o.Own && o.PID == p.PID })
}

// surveyOthers names what keeps certificates on this host that certlatch does not read.
func surveyOthers() (unknown []string) {
	for _, other := range hooks.Others() {
		for _, place := range other.Places {
			if _, err := os.Lstat(place); err == nil {
				unknown = append(unknown, fmt.Sprintf("%s is %s", place, other.Is))
			}
		}
	}
	return unknown
}

// sameDir reports whether two paths lead to one directory.
func sameDir(a, b string) bool {
	atA, errA := os.Stat(a)
	atB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(atA, atB)
}

// instances returns the units of a service that are to be looked at, an empty one for
// that which a target without a unit has, and which of its processes are of none of them,
// with why.
func instances(ctx context.Context, finder *facts.Finder, d deployers.Discoverer) (units []string, loose []deployers.Process, unknown []string, err error) {
	units = []string{""}
	several, ok := d.(deployers.Instanced)
	if !ok {
		return units, nil, nil, nil
	}
	t := defaultTarget(d)
	others, outside, err := finder.Instances(ctx, several.Runs(t))
	if _, unreachable := errors.AsType[*outcome.SystemdError](err); unreachable || ctx.Err() != nil {
		return nil, nil, nil, err
	}
	if err != nil {
		return units, nil, []string{fmt.Sprintf("%s: %v", d.Name(), err)}, nil
	}
	outside = slices.DeleteFunc(outside, func(p deployers.Process) bool { return !several.Serves(p) })
	looksOutside := d.Wants(t, deployers.Facts{}).Program != "" // so a single one may be its target's
	for _, p := range outside {
		switch isOthers := p.Unit != "" && p.Unit != t.Unit; {
		case isOthers && !looksOutside:
			unknown = append(unknown, fmt.Sprintf("%s: process %d (%.200q) runs in %s, which starts it by way of another program, so no target is proposed for it. Write one with unit: %s.", d.Name(), p.PID, p.Title, p.Unit, p.Unit))
		case slices.Contains(others, t.Unit), len(outside) > 1, !looksOutside && p.Unit == "":
			unknown = append(unknown, fmt.Sprintf("%s: process %d (%.200s) runs in no unit of its own, so no target is proposed for it. Let a unit run it.", d.Name(), p.PID, p.Title))
		default:
			continue
		}
		loose = append(loose, p)
	}
	return append(units, slices.DeleteFunc(others, func(unit string) bool { return unit == t.Unit })...), loose, unknown, nil
}

// loose names processes of the targets' services that no unit was started for, beside
// one that was: what they serve is no target's.
func loose(ctx context.Context, prep *prepare.Preparer, cfg *config.Config) (checks []deployers.Check) {
	for _, d := range all.Deployers() {
		several, is := d.(deployers.Instanced)
		used := slices.ContainsFunc(cfg.Targets, func(t config.Target) bool { return t.Service == d.Name() })
		if !is || !used {
			continue
		}
		units, processes, err := prep.Facts.Instances(ctx, several.Runs(defaultTarget(d)))
		if err != nil {
			continue // what keeps from asking systemd is told of each target
		}
		processes = slices.DeleteFunc(processes, func(p deployers.Process) bool { return !several.Serves(p) })
		if len(units) == 0 && len(processes) < 2 {
			continue // it is its target's
		}
		for _, p := range processes {
			checks = append(checks, warned(deployers.Configuration, "end it, or let a unit run it, and certlatch init --print proposes a target for that",
				"%s: process %d (%s) was started outside of any unit, so what it serves is no target's", d.Name(), p.PID, p.Title))
		}
	}
	return checks
}

// defaultTarget returns a target of a service as of a configuration that says nothing
// of it.
func defaultTarget(d deployers.Deployer) deployers.Target {
	t := deployers.Target{Service: d.Name(), Mode: config.DefaultMode, Options: d.Options()}
	d.Defaults(&t)
	return t
}

// surveyLineages reads all lineages below some roots. One without a whole bundle
// is not proposed for anything: it is told of as unknown.
func surveyLineages(prep *prepare.Preparer, roots []lineage.Root) (all []proposal.Lineage, unknown []string, err error) {
	for _, root := range roots {
		found, err := root.List()
		if err != nil {
			return nil, nil, err
		}
		for _, l := range found {
			bundle, findings := prep.Bundle(l)
			if bundle == nil {
				unknown = append(unknown, fmt.Sprintf("the lineage %s cannot be read: %s", l, findings[0]))
				continue
			}
			all = append(all, proposal.Lineage{Lineage: l, Leaf: lineage.Describe(bundle.Leaf)})
		}
		for _, check := range unnamed(root) {
			unknown = append(unknown, check.String())
		}
	}
	return all, unknown, nil
}

// discover lets a deployer tell what its service takes in a unit; empty: in the one
// that a target without a unit has.
func discover(ctx context.Context, finder *facts.Finder, d deployers.Discoverer, unit string) (proposal.Service, deployers.Facts, error) {
	t := targetIn(d, unit)
	found, err := finder.Of(ctx, d, t, time.Time{})
	service := proposal.Service{Name: d.Name(), Unit: unit, Discovery: d.Discover(t, found)}
	for i, use := range service.Uses {
		service.Uses[i].Certificate, service.Uses[i].Key = found.Unit.Source(use.Certificate), found.Unit.Source(use.Key)
	}
	return service, found, err
}

// targetIn is [defaultTarget] in a unit; empty: in the one that it has by itself.
func targetIn(d deployers.Deployer, unit string) deployers.Target {
	t := defaultTarget(d)
	if unit != "" {
		t.Unit = unit
	}
	return t
}

// surveyKey looks at the path of a key: where it is, whose it is, and whether the
// service can read it as it is.
func (in Inspector) surveyKey(ctx context.Context, d deployers.Discoverer, unit string, found deployers.Facts, roots []lineage.Root, use deployers.Use) proposal.File {
	file := surveyPath(roots, use.Key)
	have, err := install.RightsOf(use.Key)
	if err != nil || have.Mode&^config.DefaultMode != 0 || account.IsTransient(have.UID, have.GID) {
		return file
	}
	t := targetIn(d, unit)
	t.Certificate, t.Key = use.Certificate, use.Key
	plan, _ := d.Plan(t, lineage.Lineage{}, found) // whatever keeps it from being activated, its files are known
	at := slices.IndexFunc(plan.Files, func(f deployers.File) bool { return f.Path == use.Key && f.Content == deployers.Key })
	if at < 0 {
		return file
	}
	plan.Files = plan.Files[at : at+1]
	uid, gid, err := account.Owner(plan.Files[0].User, plan.Files[0].Group)
	same := err == nil && uid == have.UID && gid == have.GID && have.Mode == plan.Files[0].Mode
	for _, tried := range prepare.TryToRead(ctx, in.Site.World.Programs, prepare.Trials(plan, func(path string) string { return path })) {
		if same || tried.Err != nil {
			return file
		}
	}
	if have.UID != uid || err != nil {
		file.User = account.UserName(have.UID)
	}
	if have.GID != gid || err != nil {
		file.Group = account.GroupName(have.GID)
	}
	if have.Mode != config.DefaultMode {
		file.Mode = have.Mode
	}
	return file
}

// surveyCertificate looks at the path of a certificate.
func surveyCertificate(roots []lineage.Root, kept keepers, path string) proposal.File {
	file := surveyPath(roots, path)
	for _, text := range facts.Texts(path) {
		if certs, err := lineage.ParseCertificates([]byte(text.Content)); err == nil {
			file.Leaf, file.SelfIssued = describe(certs[0]), lineage.SelfIssued(certs[0])
		}
	}
	if l, is := kept.of(path, file.Leaf); is {
		file.Kept = l.String()
	}
	return file
}

// surveyPath looks at a path, and not into the file.
func surveyPath(roots []lineage.Root, path string) proposal.File {
	var file proposal.File
	if info, err := os.Lstat(path); err == nil {
		file.Link = info.Mode().Type() == fs.ModeSymlink
	}
	if at := slices.IndexFunc(roots, func(r lineage.Root) bool { return r.Holds(path) }); at >= 0 {
		file.KeptBy = roots[at].Client
	}
	return file
}

// linkBelow returns the first link below a directory on the way to a path, or nothing.
func linkBelow(dir, path string) []string {
	rest, _ := paths.Below(path, dir)
	for part := range strings.SplitSeq(rest, "/") {
		dir = filepath.Join(dir, part)
		if info, err := os.Lstat(dir); err == nil && part != "" && info.Mode().Type() == fs.ModeSymlink {
			return []string{dir}
		}
	}
	return nil
}

// keepers finds the lineage into whose files a path leads.
type keepers struct {
	lineages []proposal.Lineage
	byPath   map[string]int // the first whose certificate really lies there
	byLeaf   map[leafIn]int // the first with that leaf
}

// leafIn is a leaf, and the directory of the certificate that really holds it.
type leafIn struct{ dir, fingerprint string }

func keepersOf(lineages []proposal.Lineage) keepers {
	k := keepers{lineages, map[string]int{}, map[leafIn]int{}}
	for n, l := range slices.Backward(lineages) {
		if at, err := filepath.EvalSymlinks(l.Fullchain); err == nil {
			k.byPath[at], k.byLeaf[leafIn{filepath.Dir(at), l.Leaf.Fingerprint}] = n, n
		}
	}
	return k
}

// of returns the first lineage into whose files a path leads, and reports whether
// there is one: to its certificate, or to another that lies beside it and has the
// same leaf.
func (k keepers) of(path string, leaf *lineage.Leaf) (proposal.Lineage, bool) {
	at, err := filepath.EvalSymlinks(path)
	if err != nil {
		return proposal.Lineage{}, false
	}
	first, is := k.byPath[at]
	if leaf != nil {
		if n, also := k.byLeaf[leafIn{filepath.Dir(at), leaf.Fingerprint}]; also && (!is || n < first) {
			first, is = n, true
		}
	}
	if !is {
		return proposal.Lineage{}, false
	}
	return k.lineages[first], true
}
