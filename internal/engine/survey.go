package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/proposal"
)

// This file looks, without changing anything and without a configuration, at
// what there is on this host.

// Survey finds the lineages and services of this host. It looks through the
// roots of the engine's configuration, or else through the usual places, and
// takes nothing else from it, nor from the state directory.
func (e *Engine) Survey(ctx context.Context) (proposal.Host, error) {
	r := &run{Engine: e, bundles: map[string]read{}, seen: newLookups()}
	defer r.close()
	host := proposal.Host{Roots: e.Config.Roots, Files: map[string]proposal.File{}}
	if host.Roots == nil {
		host.Roots = hooks.UsualRoots()
	}
	if err := r.surveyLineages(&host); err != nil {
		return proposal.Host{}, err
	}
	for _, d := range deployers.All() {
		discoverer, ok := d.(deployers.Discoverer)
		if !ok {
			continue
		}
		service, err := r.discover(ctx, discoverer)
		switch {
		case errors.As(err, new(*systemdError)) || ctx.Err() != nil:
			return proposal.Host{}, err
		case err != nil:
			host.Unknown = append(host.Unknown, fmt.Sprintf("%s: %v", d.Name(), err))
		case service.Installed:
			host.Services = append(host.Services, service)
		}
		for _, use := range service.Uses {
			if use.Certificate != "" {
				host.Files[use.Key] = surveyPath(host, use.Key)
				host.Files[use.Certificate] = surveyCertificate(host, use.Certificate)
			}
		}
	}
	return host, nil
}

// surveyLineages reads all lineages below the roots. One without a whole
// bundle is not proposed for anything.
func (r *run) surveyLineages(host *proposal.Host) error {
	for _, root := range host.Roots {
		found, err := root.List()
		if err != nil {
			return err
		}
		for _, l := range found {
			got := r.read(l)
			if got.bundle == nil {
				host.Unknown = append(host.Unknown, fmt.Sprintf("the lineage %s cannot be read: %s", l, got.findings[0]))
				continue
			}
			host.Lineages = append(host.Lineages, proposal.Lineage{Lineage: l, Leaf: lineage.Describe(got.bundle.Leaf)})
		}
	}
	return nil
}

// discover lets a deployer tell what its service takes.
func (r *run) discover(ctx context.Context, d deployers.Discoverer) (proposal.Service, error) {
	t := deployers.Target{Service: d.Name(), Options: d.Options()}
	d.Defaults(&t)
	facts, err := r.facts(ctx, d, t)
	return proposal.Service{Name: d.Name(), Discovery: d.Discover(t, facts)}, err
}

// surveyCertificate looks at the path of a certificate.
func surveyCertificate(host proposal.Host, path string) proposal.File {
	file := surveyPath(host, path)
	for _, text := range texts(path) {
		if certs, err := lineage.ParseCertificates([]byte(text.Content)); err == nil && len(certs) > 0 {
			leaf := lineage.Describe(certs[0])
			file.Leaf, file.SelfIssued = &leaf, lineage.SelfIssued(certs[0])
		}
	}
	if at := slices.IndexFunc(host.Lineages, func(l proposal.Lineage) bool { return keeps(l, file, path) }); at >= 0 {
		file.Kept = host.Lineages[at].String()
	}
	return file
}

// surveyPath looks at a path, and not into the file.
func surveyPath(host proposal.Host, path string) proposal.File {
	var file proposal.File
	if info, err := os.Lstat(path); err == nil {
		file.Link = info.Mode().Type() == fs.ModeSymlink
	}
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		file.NoDirectory = true
	}
	if at := slices.IndexFunc(host.Roots, func(r lineage.Root) bool { return r.Holds(path) }); at >= 0 {
		file.KeptBy = host.Roots[at].Client
	}
	return file
}

// keeps tells whether a path leads into the files of a lineage: to its
// certificate, or to another that lies beside it and has the same leaf.
func keeps(l proposal.Lineage, file proposal.File, path string) bool {
	at, err := filepath.EvalSymlinks(path)
	its, itsErr := filepath.EvalSymlinks(l.Fullchain)
	if err != nil || itsErr != nil {
		return false
	}
	return at == its || filepath.Dir(at) == filepath.Dir(its) && file.Leaf != nil && file.Leaf.Fingerprint == l.Leaf.Fingerprint
}
