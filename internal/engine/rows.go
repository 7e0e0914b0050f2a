package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
)

// A pair that lives in a row of a database takes the same way as files do. Its
// columns stand for files without owner and mode, under these names.
const (
	certificateColumn = "certificate"
	keyColumn         = "private_key"
)

// databaseError is a database that does not answer as it should.
type databaseError struct{ error }

func (e *databaseError) Unwrap() error { return e.error }

func columns(certificate []byte, key lineage.Secret) []install.File {
	var files []install.File
	if certificate != nil {
		files = append(files, install.File{Path: certificateColumn, Data: certificate})
	}
	if key != nil {
		files = append(files, install.File{Path: keyColumn, Data: key, HoldsKey: true})
	}
	return files
}

// lookAtRow finds out what the row holds.
func (r *run) lookAtRow(ctx context.Context, it *item) error {
	it.plan.Files = []deployers.File{
		{Path: certificateColumn, Content: deployers.Fullchain},
		{Path: keyColumn, Content: deployers.Key},
	}
	it.set = install.Set{
		Target: it.target.Name, Lineage: it.lineage.Name,
		Files: columns(it.bundle.FullchainPEM(), it.bundle.KeyPEM()),
	}
	certificate, key, err := r.Rows.Read(ctx, *it.plan.Row)
	if err != nil {
		return &databaseError{err}
	}
	it.before = columns(certificate, key)
	return nil
}

// stageRow makes ready to write a pair into an item's row, and keeps what is
// there.
func (t *transaction) stageRow(ctx context.Context, it *item, b *lineage.Bundle) error {
	if err := t.keepPrevious(it); err != nil {
		return err
	}
	change, err := t.Rows.Stage(ctx, *it.plan.Row, b.FullchainPEM(), b.KeyPEM())
	if err != nil {
		return &databaseError{err}
	}
	t.rows = append(t.rows, change)
	return nil
}

// commitRows writes the staged rows.
func (t *transaction) commitRows(ctx context.Context) error {
	for _, change := range t.rows {
		if err := change.Commit(ctx); err != nil {
			return &databaseError{err}
		}
	}
	return nil
}

// putRowsBack puts back what the rows held, as many as it can.
func (t *transaction) putRowsBack(ctx context.Context) error {
	defer t.closeRows()
	var failed []error
	for _, change := range slices.Backward(t.rows) {
		failed = append(failed, change.Undo(ctx))
	}
	return errors.Join(failed...)
}

// closeRows lets go of the databases.
func (t *transaction) closeRows() {
	for _, change := range t.rows {
		if err := change.Close(); err != nil {
			t.Log.Warn("cannot close the connection to a database", "error", err)
		}
	}
}
