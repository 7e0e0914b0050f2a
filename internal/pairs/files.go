package pairs

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
)

// files keeps pairs in files.
type files struct{ installer *install.Installer }

func (s files) Look(_ context.Context, at Place, bundle *lineage.Bundle, generation string) (Pair, error) {
	p := Pair{Place: at, set: install.Set{
		Target: at.Ref.Target, Lineage: at.Ref.Lineage, Directory: at.Directory, Generation: generation,
	}}
	grants, err := account.Grants(at.Readers)
	if err != nil {
		return p, err
	}
	for i, f := range at.Files {
		uid, gid, err := account.Owner(f.User, f.Group)
		if err != nil {
			return p, err
		}
		p.set.Files = append(p.set.Files, install.File{
			Path: f.Path, Data: f.Content.Of(bundle), UID: uid, GID: gid, Mode: f.Mode, HoldsKey: f.Content.HoldsKey(), Grants: grants,
		})
		if i == 0 || f.Credential == "" { // whoever is handed a file need not reach it
			p.set.Group = gid
		}
	}
	if p.installed, err = s.installer.Current(p.set); err == nil && !p.Whole() {
		p.missing, err = s.installer.Missing(p.set)
	}
	p.leaf = leafAmong(at.Files, p.installed, bundle)
	return p, err
}

func (s files) Leaf(_ context.Context, at Place, issued *lineage.Bundle) (*x509.Certificate, error) {
	set := install.Set{Directory: at.Directory}
	for _, f := range at.Files {
		if f.Content == deployers.Fullchain || f.Content == deployers.Combined { // the others' bytes are not needed
			set.Files = append(set.Files, install.File{Path: f.Path})
		}
	}
	installed, err := s.installer.Current(set)
	if err != nil {
		return nil, err
	}
	return leafAmong(at.Files, installed, issued), nil
}

func (s files) Stage(_ context.Context, new []Pair) (Staged, error) {
	var sets []install.Set
	for _, p := range new {
		sets = append(sets, p.set)
	}
	tx, err := s.installer.Stage(sets)
	if err != nil {
		return nil, err
	}
	return stagedFiles{tx}, nil
}

func (s files) NotCarried(p Pair) ([]install.NotCarried, error) { return s.installer.NotCarried(p.set) }

// stagedFiles is files on their way.
type stagedFiles struct{ tx *install.Transaction }

func (s stagedFiles) Path(final string) string {
	for _, f := range s.tx.Staged() {
		if f.Final == final {
			return f.Path
		}
	}
	return final
}

func (s stagedFiles) NotCarried() []install.NotCarried { return s.tx.NotCarried() }
func (s stagedFiles) Commit(context.Context) error     { return s.tx.Commit() }
func (s stagedFiles) Keep() error                      { return s.tx.Keep() }

func (s stagedFiles) Undo(context.Context) error {
	err := s.tx.Undo()
	if lost, is := errors.AsType[*install.RestoreError](err); is {
		return &LostError{lost.Sets, err}
	}
	return err
}
