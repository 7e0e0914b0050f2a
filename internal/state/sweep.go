package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/certlatch/certlatch/internal/disk"
)

// Sweep removes what crashes have left of files that were being written, also
// in the directory of the snapshot. It fails only where something that holds a
// key could not be removed.
func (s *Store) Sweep(snapshotDir string) error {
	for _, dir := range []string{s.dir, s.MarksDir(), snapshotDir} {
		disk.SweepDrafts(dir)
	}
	return disk.RemoveFiles(s.generationDraft())
}

// generationDraft returns the path at which a generation is until it is
// complete. Only the run that holds the lock makes one.
func (s *Store) generationDraft() string { return filepath.Join(s.dir, "generations", ".draft") }

// sweepGenerations removes the incomplete generations that earlier versions
// have left beside the others, under names that nothing else looks for.
func (s *Store) sweepGenerations(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".certlatch-") {
			err = errors.Join(err, disk.RemoveFiles(filepath.Join(dir, entry.Name())))
		}
	}
	return err
}
