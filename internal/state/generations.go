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

// generationTime is how the name of a generation begins.
const generationTime = "20060102T150405.000Z"

// NewGeneration returns the name of a generation that comes after others: the
// time, and the beginning of the leaf's fingerprint. Names sort in the order in
// which they were given, so where the clock was set back, the time is just
// after that of the last one.
func NewGeneration(now time.Time, leaf lineage.Leaf, others ...string) string {
	for _, other := range others {
		stamp, _, _ := strings.Cut(other, "-")
		if then, err := time.Parse(generationTime, stamp); err == nil && !then.Before(now.Truncate(time.Millisecond)) {
			now = then.Add(time.Millisecond)
		}
	}
	return now.UTC().Format(generationTime) + "-" + leaf.Short()
}

// Generations returns the names of the kept generations, oldest first.
func (s *Store) Generations(target, name string) ([]string, error) {
	entries, err := os.ReadDir(s.generationsDir(target, name)) // ReadDir sorts by name
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
	return names, nil
}

// Generation returns a kept generation as a lineage, which [lineage.Read]
// reads.
func (s *Store) Generation(target, name, generation string) lineage.Lineage {
	dir := filepath.Join(s.generationsDir(target, name), generation)
	return lineage.Lineage{
		Client:    "generation",
		Name:      name,
		Fullchain: filepath.Join(dir, "fullchain.pem"),
		Key:       filepath.Join(dir, "privkey.pem"),
	}
}

// Keep stores a pair as a generation, and removes the oldest ones beyond those
// that are kept, but never one named in spare. A generation that is there
// already stays as it is.
func (s *Store) Keep(target, name, generation string, b *lineage.Bundle, spare ...string) error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	if err := s.storeGeneration(target, name, generation, b, spare); err != nil {
		return s.Failed("keep generation "+generation, err)
	}
	return nil
}

func (s *Store) storeGeneration(target, name, generation string, b *lineage.Bundle, spare []string) error {
	own := disk.Attr{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o700}
	dir := s.generationsDir(target, name)
	if err := disk.MakeAll(dir, own); err != nil {
		return err
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
			return err
		}
		names = append(names, generation)
		slices.Sort(names)
	}
	for excess := len(names) - generationsKept; excess > 0 && len(names) > 0; names = names[1:] {
		oldest := names[0]
		if oldest == generation || slices.Contains(spare, oldest) {
			continue
		}
		// What cannot be removed now is tried again the next time.
		if disk.RemoveFiles(filepath.Join(dir, oldest)) == nil {
			excess--
		}
	}
	return nil
}

func (s *Store) generationsDir(target, name string) string {
	return filepath.Join(s.dir, "generations", target, name)
}
