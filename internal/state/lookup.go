package state

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
)

// A hook that has nothing to do asks for one record of perhaps thousands, each
// time that its client runs. The state's file has them in order, each indented
// alike, so that one can be found without the others being read. Whatever is not
// found so, or not as Save writes it, is left to Load.

// Key is whose record it is: that of a lineage at a target.
type Key struct{ Target, Lineage string }

func (r Record) key() Key { return Key{r.Target, r.Lineage} }

// compare compares keys by where their records belong among others.
func (k Key) compare(other Key) int {
	return cmp.Or(strings.Compare(k.Target, other.Target), strings.Compare(k.Lineage, other.Lineage))
}

// LoadOf is like Load, for whoever asks for some records and saves nothing: others
// may be missing, and damage beside them may not be noticed.
func (s *Store) LoadOf(keys []Key) (*State, error) {
	if state := s.lookUp(keys); state != nil {
		state.correctTimes(time.Now())
		return state, nil
	}
	return s.Load()
}

// lookUp returns the state with the records that have some keys; nil: it cannot be
// had so.
func (s *Store) lookUp(keys []Key) *State {
	d, err := disk.Open(filepath.Dir(s.statePath()))
	if err != nil {
		return nil
	}
	defer d.Close()
	file, err := d.OpenFile(filepath.Base(s.statePath()))
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	text := &stateText{file: file, size: info.Size()}
	from, to, state := text.records()
	if state == nil {
		return nil
	}
	for _, key := range keys {
		record := text.find(key, from, to)
		if record == nil {
			return nil
		}
		state.Records = append(state.Records, *record)
	}
	slices.SortFunc(state.Records, inOrder)
	return state
}

// stateText is the text of a state, as json.MarshalIndent makes it of one. Within
// strings JSON has no line ends, so what begins with one is not in a string.
type stateText struct {
	file io.ReaderAt
	size int64
	part []byte // what was read last
}

const (
	beforeRecords = "{\n  \"schema\": \"" + stateSchema + "\",\n  \"records\": ["
	beginOfRecord = "\n    {\n      \"target\": "
	beforeLineage = "      \"lineage\": "
	afterRecords  = "\n  ],"
	beforeHolds   = "\n  \"holds\": "

	// lookAhead is how much is read at a time. A longer record is not found.
	lookAhead = 8 << 10
)

// read returns the bytes from an offset to another, and fewer at the end, until the
// next call; nil: they cannot be read.
func (t *stateText) read(from, to int64) []byte {
	length := int(max(min(to, t.size)-from, 0))
	t.part = slices.Grow(t.part[:0], length)[:length]
	if _, err := t.file.ReadAt(t.part, from); err != nil && err != io.EOF {
		return nil
	}
	return t.part
}

// records returns where the records are, and the state without them; nil: it is not
// as Save writes it.
func (t *stateText) records() (from, to int64, state *State) {
	if string(t.read(0, int64(len(beforeRecords)))) != beforeRecords {
		return 0, 0, nil
	}
	for length := int64(lookAhead); ; length *= 4 {
		begin := max(t.size-length, 0)
		tail := t.read(begin, t.size)
		if at := bytes.LastIndex(tail, []byte(afterRecords+beforeHolds)); at >= 0 {
			state := &State{Schema: stateSchema}
			if json.Unmarshal(append([]byte("{"), tail[at+len(afterRecords):]...), state) != nil {
				return 0, 0, nil
			}
			return int64(len(beforeRecords)), begin + int64(at), state
		}
		if begin == 0 {
			return 0, 0, nil
		}
	}
}

// find returns the record with a key; nil: it was not found.
func (t *stateText) find(key Key, from, to int64) *Record {
	for to-from > lookAhead { // it begins there, if there is one
		middle := from + (to-from)/2
		at, found := firstKey(t.read(middle, middle+lookAhead))
		begin := middle + at
		switch {
		case at < 0:
			return nil
		case begin >= to || found.compare(key) > 0:
			to = middle
		default:
			from = begin
		}
	}
	in := json.NewDecoder(io.MultiReader(strings.NewReader("["), io.NewSectionReader(t.file, from, t.size-from)))
	if _, err := in.Token(); err != nil {
		return nil
	}
	for in.More() {
		record := new(Record)
		if in.Decode(record) != nil {
			return nil
		}
		switch by := record.key().compare(key); {
		case by == 0:
			return record
		case by > 0:
			return nil
		}
	}
	return nil
}

// firstKey returns where the first record in a part of the text begins, and its
// key; negative: none does.
func firstKey(part []byte) (at int64, key Key) {
	begin := bytes.Index(part, []byte(beginOfRecord))
	if begin < 0 {
		return -1, Key{}
	}
	target, rest, _ := bytes.Cut(part[begin+len(beginOfRecord):], []byte(",\n"))
	rest, is := bytes.CutPrefix(rest, []byte(beforeLineage))
	lineage, _, ends := bytes.Cut(rest, []byte(",\n"))
	if !is || !ends || json.Unmarshal(target, &key.Target) != nil || json.Unmarshal(lineage, &key.Lineage) != nil {
		return -1, Key{}
	}
	return int64(begin), key
}
