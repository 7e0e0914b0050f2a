package state

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

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

// historyLength is how many entries are kept, almost a year of one a day for three
// targets; but of each lineage at each target the last, up to longestHistory.
const (
	historyLength  = 1000
	longestHistory = 10_000
)

// maxHistory bounds the history. A thousand entries are less than 1 MiB.
const maxHistory = 16 << 20 // bytes

// History returns all entries that can be read, oldest first, and what is
// wrong with the others; nil: nothing is.
func (s *Store) History() ([]Entry, *Damage, error) {
	data, err := read(s.historyFile(), maxHistory)
	damage, isDamaged := errors.AsType[*Damage](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil
	case isDamaged:
		return nil, damage, nil
	case err != nil:
		return nil, nil, fmt.Errorf("read history: %w", err)
	}
	var entries []Entry
	var bad []string
	lines := 0
	for line := range bytes.Lines(data) {
		lines++
		var entry Entry
		if err := json.Unmarshal(line, &entry); err != nil || entry.Target == "" {
			bad = append(bad, strconv.Itoa(lines))
			continue
		}
		entries = append(entries, entry)
	}
	return entries, badLines(s.historyFile(), bad, lines), nil
}

// mostNamed is how many damaged lines are named.
const mostNamed = 5

// badLines returns the damage of a file whose lines, named in bad, cannot be
// read; nil: all can.
func badLines(path string, bad []string, all int) *Damage {
	if len(bad) == 0 {
		return nil
	}
	which := strings.Join(bad[:min(len(bad), mostNamed)], ", ")
	if more := len(bad) - mostNamed; more > 0 {
		which += fmt.Sprintf(" and %d more", more)
	}
	return &Damage{Path: path, What: fmt.Sprintf("is damaged: of %d lines some cannot be read (%s)", all, which)}
}

// Append adds entries to the history. A damaged history is set aside as it was
// and goes on with those entries that can be read; the damage is returned. The
// error is a *DirectoryError.
func (s *Store) Append(added ...Entry) (*Damage, error) {
	entries, damage, err := s.History()
	if err != nil {
		return nil, s.Failed("write history", err)
	}
	entries = kept(append(entries, added...))
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, entry := range entries {
		if err := encoder.Encode(entry); err != nil {
			return damage, fmt.Errorf("encode history: %w", err)
		}
	}
	if damage != nil {
		if damage.Aside, err = setAside(damage.Path); err != nil {
			return damage, s.Failed("set the damaged history aside", err)
		}
	}
	return damage, s.Failed("write history", replaceFile(s.historyFile(), lines.Bytes(), 0o600))
}

// kept returns the entries to keep, oldest first: what is too much goes from the
// lineages at targets that have most of them, the oldest first. So a busy target takes
// no other's place.
func kept(entries []Entry) []Entry {
	if len(entries) <= historyLength {
		return entries
	}
	type key struct{ target, lineage string }
	type ranked struct{ rank, at int } // how many of its key are newer; where it is among all
	order, of := make([]ranked, len(entries)), map[key]int{}
	for at := len(entries) - 1; at >= 0; at-- {
		k := key{entries[at].Target, entries[at].Lineage}
		order[at] = ranked{of[k], at}
		of[k]++
	}
	slices.SortFunc(order, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.at, a.at)) })
	order = order[:min(max(historyLength, len(of)), longestHistory)]
	slices.SortFunc(order, func(a, b ranked) int { return cmp.Compare(a.at, b.at) })
	var all []Entry
	for _, r := range order {
		all = append(all, entries[r.at])
	}
	return all
}

func (s *Store) historyFile() string { return filepath.Join(s.dir, "history.jsonl") }
