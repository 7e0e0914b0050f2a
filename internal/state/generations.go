package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
)

// generationsKept is how many generations of a lineage at a target are kept.
const generationsKept = 3

// NewGeneration names a generation: the time, and the beginning of the leaf's
// fingerprint. Names sort by time.
func NewGeneration(now time.Time, leaf lineage.Leaf) string {
	return now.UTC().Format("20060102T150405.000Z") + "-" + leaf.Short()
}

// Generations gives the names of the kept generations, oldest first.
func (s *Store) Generations(target, name string) ([]string, error) {
	entries, err := os.ReadDir(s.generations(target, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list generations: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Generation gives a kept generation in the form of a lineage, to be read
// like one.
func (s *Store) Generation(target, name, generation string) lineage.Lineage {
	dir := filepath.Join(s.generations(target, name), generation)
	return lineage.Lineage{
		Client:    "generation",
		Name:      name,
		Fullchain: filepath.Join(dir, "fullchain.pem"),
		Key:       filepath.Join(dir, "privkey.pem"),
	}
}

// Keep stores a pair as a generation, and lets go of the oldest ones beyond
// those that are kept; those named in spare are never let go of. A generation
// that is there already stays as it is.
func (s *Store) Keep(target, name, generation string, b *lineage.Bundle, spare ...string) error {
	own := disk.Attr{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o700}
	dir := s.generations(target, name)
	if err := disk.MakeAll(dir, own); err != nil {
		return fmt.Errorf("keep generation %s: %w", generation, err)
	}
	if err := s.sweepGenerations(dir); err != nil {
		return fmt.Errorf("clear away what a crash left in %s: %w", dir, err)
	}
	names, err := s.Generations(target, name)
	if err != nil {
		return err
	}
	if !slices.Contains(names, generation) {
		if err := disk.MakeWhole(filepath.Join(dir, generation), s.generationDraft(), own, map[string][]byte{
			"fullchain.pem": b.FullchainPEM(),
			"privkey.pem":   b.KeyPEM(),
		}); err != nil {
			return fmt.Errorf("keep generation %s: %w", generation, err)
		}
		names = append(names, generation)
		slices.Sort(names)
	}
	for excess := len(names) - generationsKept; excess > 0 && len(names) > 0; names = names[1:] {
		if oldest := names[0]; oldest != generation && !slices.Contains(spare, oldest) {
			if err := disk.RemoveFiles(filepath.Join(dir, oldest)); err != nil {
				return fmt.Errorf("let go of generation %s: %w", oldest, err)
			}
			excess--
		}
	}
	return nil
}

func (s *Store) generations(target, name string) string {
	return filepath.Join(s.dir, "generations", target, name)
}
