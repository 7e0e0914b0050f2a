package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/certlatch/certlatch/internal/disk"
)

// Mark notes that a lineage is to be deployed, without needing the lock: for
// hooks that only defer, and for those that could not wait any longer.
func (s *Store) Mark(client, lineage string) error {
	if err := disk.Replace(s.mark(client, lineage), nil, 0o600); err != nil {
		return fmt.Errorf("mark lineage %s: %w", lineage, err)
	}
	return nil
}

// Marks gives the marked lineages as CLIENT:NAME.
func (s *Store) Marks() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "marks"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	var marks []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			marks = append(marks, entry.Name())
		}
	}
	return marks, nil
}

// Unmark takes a lineage's mark away, if it has one.
func (s *Store) Unmark(client, lineage string) error {
	if err := disk.Remove(s.mark(client, lineage)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unmark lineage %s: %w", lineage, err)
	}
	return nil
}

func (s *Store) mark(client, lineage string) string {
	return filepath.Join(s.dir, "marks", client+":"+lineage)
}
