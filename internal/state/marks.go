package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
)

// MarksDir returns the directory of the marks, for whoever watches for them.
func (s *Store) MarksDir() string { return filepath.Join(s.dir, "marks") }

// Mark notes that a lineage is to be deployed, without needing the lock: for
// hooks that only defer, and for those that could not wait any longer.
func (s *Store) Mark(client, lineage string) error {
	name := client + ":" + lineage
	return s.Failed("mark lineage "+name, disk.Replace(filepath.Join(s.MarksDir(), name), nil, 0o600))
}

// MarkAll marks some lineages, CLIENT:NAME, as Mark does.
func (s *Store) MarkAll(names []string) error {
	if len(names) == 0 {
		return nil
	}
	return s.Failed("mark lineages", disk.ReplaceAll(s.MarksDir(), names, nil, 0o600))
}

// A Mark is a pending mark: a lineage is to be deployed.
type Mark struct {
	Lineage string // CLIENT:NAME
	file    fs.FileInfo
}

// Since returns the time at which the lineage was marked last.
func (m Mark) Since() time.Time { return m.file.ModTime().UTC() }

// Marks returns all marks.
func (s *Store) Marks() ([]Mark, error) {
	entries, err := os.ReadDir(s.MarksDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	var marks []Mark
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || strings.HasPrefix(entry.Name(), ".") {
			continue // it was removed meanwhile, or is not complete yet
		}
		marks = append(marks, Mark{entry.Name(), info})
	}
	return marks, nil
}

// Unmark removes a mark, unless its lineage was marked again meanwhile.
func (s *Store) Unmark(mark Mark) error {
	path := filepath.Join(s.MarksDir(), mark.Lineage)
	now, err := os.Lstat(path)
	if err == nil && os.SameFile(now, mark.file) && now.ModTime().Equal(mark.file.ModTime()) {
		err = disk.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return s.Failed("unmark lineage "+mark.Lineage, err)
}
