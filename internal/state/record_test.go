package state

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
)

// TestRecord wants each lineage at each target to have a record of its own.
func TestRecord(t *testing.T) {
	st := new(State)
	for i, place := range []Record{{Target: "a", Lineage: "x"}, {Target: "a", Lineage: "y"}, {Target: "b", Lineage: "x"}} {
		if got := st.Get(place.Target, place.Lineage); got.Proven != nil || got.Target != place.Target || got.Lineage != place.Lineage {
			t.Errorf("before it is made it is %+v", got)
		}
		st.Record(place.Target, place.Lineage).Proven = &Proof{Generation: string(rune('1' + i))}
		st.Record(place.Target, place.Lineage).Pending = &Pending{Attempts: i}
	}
	if len(st.Records) != 3 {
		t.Fatalf("the records are %+v", st.Records)
	}
	for i, r := range st.Records {
		if got := st.Get(r.Target, r.Lineage); got.Proven.Generation != string(rune('1'+i)) || got.Pending.Attempts != i {
			t.Errorf("%s %s is %+v", r.Target, r.Lineage, got)
		}
	}
}

// TestRetry wants the pause to double with every attempt at one leaf, and to
// begin anew with another.
func TestRetry(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	r := new(Record)
	for attempt, want := range []time.Duration{
		time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute,
		64 * time.Minute, 128 * time.Minute, 256 * time.Minute, LastRetry, LastRetry, LastRetry,
	} {
		next := r.Retry("aa", now)
		if pause := next.Sub(now); pause < want.Truncate(time.Second) || pause >= want+want/4 {
			t.Errorf("the pause after attempt %d is %s, and %s is due", attempt+1, pause, want)
		}
		r.Fail(Failure{Fingerprint: "aa", Next: next}, now)
		if r.Pending.Attempts != attempt+1 {
			t.Errorf("%d attempts instead of %d", r.Pending.Attempts, attempt+1)
		}
	}
	if pause := r.Retry("bb", now).Sub(now); pause >= 2*FirstRetry {
		t.Errorf("the pause with another leaf is %s", pause)
	}
	r.Fail(Failure{Fingerprint: "bb"}, now.Add(time.Hour))
	if r.Pending.Attempts != 1 || !r.Pending.Since.Equal(now) {
		t.Errorf("with another leaf it is %+v", r.Pending)
	}
}

// TestActivationsAreKept wants activations to be remembered after a run, and an
// error where they cannot be written.
func TestActivationsAreKept(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	store, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	st.NoteActivation("unit a", now.Add(-time.Hour))
	st.NoteActivation("unit b", now)
	if err := store.Save(st); err != nil {
		t.Fatal(err)
	}
	if st, err = store.Load(); err != nil || !st.Activations["unit a"].Equal(now.Add(-time.Hour)) || !st.Activations["unit b"].Equal(now) || !st.Activations["unit c"].IsZero() {
		t.Errorf("the activations are %v, %v", st.Activations, err)
	}
	if err := View(filepath.Join(t.TempDir(), "nowhere")).Save(st); err == nil {
		t.Error("it was written to a directory that is not there")
	}
}

// TestGenerationsAreLetGo wants the three newest generations to be kept, and
// those that are to be spared.
func TestGenerationsAreLetGo(t *testing.T) {
	store, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	leaf := pki.NewCA(t, "Root").Leaf(t, pki.Names("web.example"))
	bundle, findings := lineage.Parse(lineage.Lineage{Name: "web.example"}, leaf.Fullchain, nil, leaf.Key)
	if bundle == nil {
		t.Fatal(findings)
	}
	for _, step := range []struct {
		keep  string
		spare []string
		want  []string
	}{
		{"b", nil, []string{"b"}},
		{"a", nil, []string{"a", "b"}},
		{"c", nil, []string{"a", "b", "c"}},
		{"c", nil, []string{"a", "b", "c"}},
		{"d", []string{"a"}, []string{"a", "c", "d"}},
		{"e", []string{"a", "c", "d"}, []string{"a", "c", "d", "e"}},
		{"f", nil, []string{"d", "e", "f"}},
	} {
		if err := store.Keep("web", "web.example", step.keep, bundle, step.spare...); err != nil {
			t.Fatal(err)
		}
		if got, err := store.Generations("web", "web.example"); err != nil || !slices.Equal(got, step.want) {
			t.Errorf("after %s there are %v, and not %v (%v)", step.keep, got, step.want, err)
		}
	}
}
