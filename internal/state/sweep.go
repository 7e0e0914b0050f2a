package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/certlatch/certlatch/internal/disk"
)

// Sweep takes away what crashes have left of files that were being written, also
// in the directory of the snapshot. The error is for what holds a key.
func (s *Store) Sweep(snapshotDir string) error {
	for _, dir := range []string{s.dir, s.MarksDir(), snapshotDir} {
		disk.SweepDrafts(dir)
	}
	return disk.RemoveFiles(s.generationDraft())
}

// generationDraft is where a generation is until it is whole. Only who holds the
// lock makes one.
func (s *Store) generationDraft() string { return filepath.Join(s.dir, "generations", ".draft") }

// sweepGenerations takes away what earlier versions have left of generations
// beside them, under names that nothing else finds.
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
