package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Entry is one line of the history: what was done to a target.
type Entry struct {
	Time       time.Time     `json:"time"`
	Target     string        `json:"target"`
	Lineage    string        `json:"lineage"`
	Generation *string       `json:"generation"`
	Result     string        `json:"result"`
	Reason     *string       `json:"reason"`
	Leaf       *lineage.Leaf `json:"leaf"`
	By         string        `json:"by"` // the command that did it
}

// historyLength is how many entries are kept: more than a year of daily
// renewals of three targets.
const historyLength = 1000

// History gives all entries, oldest first.
func (s *Store) History() ([]Entry, error) {
	data, err := os.ReadFile(s.historyFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	var entries []Entry
	for line := range bytes.Lines(data) {
		var entry Entry
		if err := json.Unmarshal(line, &entry); err != nil {
			return nil, fmt.Errorf("read history %s: line %d is damaged; move the file away to begin anew", s.historyFile(), len(entries)+1)
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// Append adds entries to the history.
func (s *Store) Append(added ...Entry) error {
	entries, err := s.History()
	if err != nil {
		return err
	}
	entries = append(entries, added...)
	if excess := len(entries) - historyLength; excess > 0 {
		entries = entries[excess:]
	}
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, entry := range entries {
		if err := encoder.Encode(entry); err != nil {
			return fmt.Errorf("encode history: %w", err)
		}
	}
	if err := disk.Replace(s.historyFile(), lines.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

func (s *Store) historyFile() string { return filepath.Join(s.dir, "history.jsonl") }
