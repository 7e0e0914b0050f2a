package pairs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/rows"
)

// Databases are those that rows are kept in, as of package rows.
type Databases interface {
	Read(ctx context.Context, row deployers.Row) (certificate []byte, key lineage.Secret, err error)
	Table(ctx context.Context, row deployers.Row) ([]rows.Entry, error)
	Try(ctx context.Context, row deployers.Row) error
	Stage(ctx context.Context, row deployers.Row, certificate []byte, key lineage.Secret) (Change, error)
}

// Change is an update of one row on its way, such as a [rows.Change].
type Change interface {
	Commit(ctx context.Context) error
	Undo(ctx context.Context) error
	Close() error
}

// In returns the databases of package rows.
func In(databases rows.Databases) Databases { return realDatabases{databases} }

type realDatabases struct{ rows rows.Databases }

func (d realDatabases) Read(ctx context.Context, row deployers.Row) (certificate []byte, key lineage.Secret, err error) {
	return d.rows.Read(ctx, row)
}

func (d realDatabases) Table(ctx context.Context, row deployers.Row) ([]rows.Entry, error) {
	return d.rows.Table(ctx, row)
}

func (d realDatabases) Try(ctx context.Context, row deployers.Row) error { return d.rows.Try(ctx, row) }

func (d realDatabases) Stage(ctx context.Context, row deployers.Row, certificate []byte, key lineage.Secret) (Change, error) {
	change, err := d.rows.Stage(ctx, row, certificate, key)
	if err != nil {
		return nil, err
	}
	return change, nil
}

// table keeps pairs in rows of databases. What it fails with are
// *outcome.DatabaseError.
type table struct{ databases Databases }

func (s table) Look(ctx context.Context, at Place, bundle *lineage.Bundle, _ string) (Pair, error) {
	p := Pair{Place: at, set: install.Set{
		Target: at.Ref.Target, Lineage: at.Ref.Lineage, Files: columns(bundle.FullchainPEM(), bundle.KeyPEM()),
	}}
	if err := ctx.Err(); err != nil {
		return p, err // it is not the database's fault that time is up
	}
	certificate, key, err := s.databases.Read(ctx, *at.Row)
	if err != nil {
		return p, &outcome.DatabaseError{Err: err}
	}
	p.installed = columns(certificate, key)
	p.leaf = leafAmong(at.contents(), p.installed, bundle)
	return p, nil
}

func columns(certificate []byte, key lineage.Secret) []install.File {
	var all []install.File
	if certificate != nil {
		all = append(all, install.File{Path: certificateColumn, Data: certificate})
	}
	if key != nil {
		all = append(all, install.File{Path: keyColumn, Data: key})
	}
	return all
}

func (s table) Leaf(ctx context.Context, at Place, _ *lineage.Bundle) (*x509.Certificate, error) {
	certificate, _, err := s.databases.Read(ctx, *at.Row)
	if err != nil {
		return nil, &outcome.DatabaseError{Err: err}
	}
	certs, err := lineage.ParseCertificates(certificate)
	if err != nil || len(certs) == 0 {
		return nil, nil
	}
	return certs[0], nil
}

func (s table) Stage(ctx context.Context, new []Pair) (Staged, error) {
	staged := &stagedRows{}
	var faults Faults
	for _, p := range new {
		certificate, _ := find(p.set.Files, certificateColumn)
		key, _ := find(p.set.Files, keyColumn)
		change, err := s.databases.Stage(ctx, *p.Place.Row, certificate.Data, key.Data)
		if err != nil {
			faults = append(faults, Fault{p.Place.Ref, &outcome.DatabaseError{Err: err}})
			continue
		}
		staged.rows = append(staged.rows, stagedRow{p.Place.Ref, change})
	}
	if faults != nil {
		return nil, errors.Join(faults, staged.Keep())
	}
	return staged, nil
}

func (table) NotCarried(Pair) ([]install.NotCarried, error) { return nil, nil }

// stagedRows is changes of rows on their way.
type stagedRows struct {
	rows []stagedRow
	over bool
}

type stagedRow struct {
	set    install.Ref
	change Change
}

func (*stagedRows) Path(final string) string         { return final }
func (*stagedRows) NotCarried() []install.NotCarried { return nil }

func (s *stagedRows) Commit(ctx context.Context) error {
	for _, row := range s.rows {
		if err := row.change.Commit(ctx); err != nil {
			return &outcome.DatabaseError{Err: err}
		}
	}
	return nil
}

// Undo puts back what the rows held, as many as it can. Of what is over it does
// nothing.
func (s *stagedRows) Undo(ctx context.Context) error {
	if s.over {
		return nil
	}
	var sets []install.Ref
	var failed []error
	for _, row := range slices.Backward(s.rows) {
		if err := row.change.Undo(ctx); err != nil {
			sets, failed = append(sets, row.set), append(failed, err)
		}
	}
	left := s.Keep()
	if failed != nil {
		return &LostError{sets, errors.Join(append(failed, left)...)}
	}
	return left
}

// Keep lets go of the databases.
func (s *stagedRows) Keep() error {
	s.over = true
	var failed []error
	for _, row := range s.rows {
		if err := row.change.Close(); err != nil {
			failed = append(failed, fmt.Errorf("close the connection to a database: %w", err))
		}
	}
	return errors.Join(failed...)
}
