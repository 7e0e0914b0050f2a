package pairs

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"

	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
)

// New returns the storage of pairs in files and in rows. Transactions of files
// are noted in the installer's journal.
func New(installer *install.Installer, databases Databases) Storage {
	return both{files{installer}, table{databases}}
}

// both keeps each pair where its place says.
type both struct {
	files files
	table table
}

func (s both) of(at Place) Storage {
	if at.Row != nil {
		return s.table
	}
	return s.files
}

func (s both) Look(ctx context.Context, at Place, bundle *lineage.Bundle, generation string) (Pair, error) {
	return s.of(at).Look(ctx, at, bundle, generation)
}

func (s both) Leaf(ctx context.Context, at Place, issued *lineage.Bundle) (*x509.Certificate, error) {
	return s.of(at).Leaf(ctx, at, issued)
}

func (s both) NotCarried(p Pair) ([]install.NotCarried, error) { return s.of(p.Place).NotCarried(p) }

// Stage stages rows before files, since that changes nothing.
func (s both) Stage(ctx context.Context, new []Pair) (Staged, error) {
	inFile := func(p Pair) bool { return p.Place.Row == nil }
	inRow := slices.DeleteFunc(slices.Clone(new), inFile)
	inFiles := slices.DeleteFunc(slices.Clone(new), func(p Pair) bool { return !inFile(p) })
	var all stagedBoth
	if len(inRow) > 0 {
		staged, err := s.table.Stage(ctx, inRow)
		if err != nil {
			return nil, err
		}
		all = append(all, staged)
	}
	if len(inFiles) > 0 {
		staged, err := s.files.Stage(ctx, inFiles)
		if err != nil {
			return nil, errors.Join(err, all.Keep()) // of rows nothing is changed yet
		}
		all = append(all, staged)
	}
	return all, nil
}

// stagedBoth is pairs in rows, and after them those in files.
type stagedBoth []Staged

func (s stagedBoth) Path(final string) string {
	for _, part := range s {
		if path := part.Path(final); path != final {
			return path
		}
	}
	return final
}

func (s stagedBoth) NotCarried() (all []install.NotCarried) {
	for _, part := range s {
		all = append(all, part.NotCarried()...)
	}
	return all
}

// Commit writes files first: they can be put back without anybody else's help.
func (s stagedBoth) Commit(ctx context.Context) error {
	for i, part := range slices.Backward(s) {
		if err := part.Commit(ctx); err != nil {
			if _, lost := errors.AsType[*install.RestoreError](err); lost {
				return errors.Join(err, s[:i].Keep()) // nobody may undo what is over
			}
			return err
		}
	}
	return nil
}

// Undo undoes all parts, whatever becomes of the others.
func (s stagedBoth) Undo(ctx context.Context) error {
	var sets []install.Ref
	var failed []error
	for _, part := range s {
		err := part.Undo(ctx)
		if lost, is := errors.AsType[*LostError](err); is {
			sets, err = append(sets, lost.Sets...), lost.Err
		}
		failed = append(failed, err)
	}
	err := errors.Join(failed...)
	if sets != nil {
		return &LostError{sets, err}
	}
	return err
}

// Keep keeps files first: what of them cannot be kept is to be undone, rows too.
func (s stagedBoth) Keep() error {
	var failed []error
	for _, part := range slices.Backward(s) {
		err := part.Keep()
		if _, is := errors.AsType[*install.NotKeptError](err); is {
			return err
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
