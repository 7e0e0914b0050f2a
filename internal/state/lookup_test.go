package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// manyRecords returns a state with records of several targets, in order.
func manyRecords(lineages int) *State {
	since := time.Date(2026, 11, 26, 2, 0, 0, 0, time.UTC)
	st := &State{Schema: stateSchema, Activations: map[string]time.Time{"unit a.service": since}}
	for _, target := range []string{"api", "web", "web-2", "\"quoted\",\n  \"holds\": <&>"} {
		for i := range lineages {
			r := Record{Target: target, Lineage: fmt.Sprintf("%d.example", i)}
			r.Proven = &Proof{
				Generation: "20261126T020000.000Z-0a0b0c0d", Time: since,
				Files: []File{{Path: "/etc/x/" + r.Lineage + "/cert.pem", Content: "fullchain"}, {Path: "/etc/x/key.pem", Content: "key"}},
			}
			if i%7 == 0 { // of any length
				r.Pending = &Pending{Since: since, Failure: Failure{Detail: strings.Repeat("x\n    {\n      \"target\": ", i%50)}}
			}
			st.Records = append(st.Records, r)
		}
		st.Holds = append(st.Holds, Hold{Target: target, Since: since, Reason: "somebody"})
	}
	slices.SortFunc(st.Records, inOrder)
	return st
}

// saved returns a store with a state.
func saved(t *testing.T, st *State) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(st); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLookUpFindsEach wants each record to be found as Load has it, with all that
// is no record.
func TestLookUpFindsEach(t *testing.T) {
	for _, lineages := range []int{1, 2, 3, 40, 300} {
		s := saved(t, manyRecords(lineages))
		whole, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole.Records {
			other := rand.IntN(len(whole.Records))
			want := *whole
			want.Records = []Record{whole.Records[min(i, other)], whole.Records[max(i, other)]}
			got := s.lookUp([]Key{whole.Records[i].key(), whole.Records[other].key()})
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Fatalf("%d lineages, record %d (-want +got):\n%s", lineages, i, diff)
			}
		}
		for _, none := range []Key{{"", ""}, {"web", ""}, {"web", "~"}, {"web-1", "0.example"}, {"~", "~"}} {
			if got := s.lookUp([]Key{none}); got != nil {
				t.Errorf("found %+v for %v", got.Records, none)
			}
		}
	}
}

// counting counts the bytes that are read.
type counting struct {
	io.ReaderAt
	bytes int
}

func (c *counting) ReadAt(into []byte, at int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(into, at)
	c.bytes += n
	return n, err
}

// TestLookUpReadsLittle wants a lookup among many records to read hardly more than
// one among few.
func TestLookUpReadsLittle(t *testing.T) {
	read := func(lineages int) int {
		st := manyRecords(lineages)
		data, err := json.MarshalIndent(st, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		c := &counting{ReaderAt: bytes.NewReader(data)}
		text := &stateText{file: c, size: int64(len(data))}
		from, to, _ := text.records()
		if text.find(st.Records[len(st.Records)/3].key(), from, to) == nil {
			t.Fatal("not found")
		}
		return c.bytes
	}
	if few, many := read(50), read(2000); many > 4*few {
		t.Errorf("%d bytes are read among few, %d among 40 times as many", few, many)
	}
}

// TestLoadOf wants whatever cannot be looked up to be read whole.
func TestLoadOf(t *testing.T) {
	unordered := manyRecords(50)
	slices.Reverse(unordered.Records)
	long := manyRecords(50)
	long.Records[20].Pending = &Pending{Since: long.Holds[0].Since, Failure: Failure{Detail: strings.Repeat("x", 2*lookAhead)}}
	for name, st := range map[string]*State{"in order": manyRecords(50), "in no order": unordered, "a long one": long, "none": {Schema: stateSchema}} {
		t.Run(name, func(t *testing.T) {
			s := saved(t, st)
			for _, r := range append(st.Records, Record{Target: "new", Lineage: "new.example"}) {
				got, err := s.LoadOf([]Key{r.key()})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(r, got.Get(r.Target, r.Lineage)); diff != "" || len(got.Holds) != len(st.Holds) {
					t.Errorf("%v (-want +got):\n%s", r.key(), diff)
				}
			}
		})
	}
}

// TestLoadOfDamaged wants no record of a file that was cut off, of another form or
// of another version, and the copy's in its place.
func TestLoadOfDamaged(t *testing.T) {
	st := manyRecords(50)
	s := saved(t, st)
	data, err := os.ReadFile(s.statePath())
	if err != nil {
		t.Fatal(err)
	}
	key := st.Records[0].key()
	for name, text := range map[string][]byte{
		"empty":           nil,
		"cut off":         data[:len(data)/2],
		"without end":     data[:len(data)-3],
		"of a list":       slices.Concat([]byte("["), data),
		"later":           bytes.Replace(data, []byte("state/1"), []byte("state/2"), 1),
		"in one line":     bytes.ReplaceAll(data, []byte("\n"), nil),
		"no record":       bytes.Replace(data, []byte(`"generation": "`), []byte(`"generation": 1`), 1),
		"end overwritten": append(data[:len(data)-60:len(data)-60], make([]byte, 60)...),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(s.statePath(), text, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := s.lookUp([]Key{key}); got != nil {
				t.Errorf("it was found: %+v", got.Records)
			}
			whole, wholeErr := s.Load()
			got, err := s.LoadOf([]Key{key})
			if (err == nil) != (wholeErr == nil) {
				t.Fatalf("got %v, and of the whole %v", err, wholeErr)
			}
			if err == nil {
				if diff := cmp.Diff(whole.Get(key.Target, key.Lineage), got.Get(key.Target, key.Lineage)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}
