package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func open(t *testing.T) *Store {
	store, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestStateIsKept(t *testing.T) {
	store := open(t)
	st, err := store.load(noon)
	if err != nil {
		t.Fatal(err)
	}
	st.Record("web", "a.example").Fail(Failure{Result: "rolled-back", Reason: "not-proven", Fingerprint: "ab", Next: st.Record("web", "a.example").Retry("ab", noon), Alone: true}, noon)
	st.Record("web", "b.example").Proven = &Proof{Leaf: lineage.Leaf{Fingerprint: "cd", Names: []string{"b.example"}}, Generation: "g", Time: noon}
	st.Hold("sip", "by-hand", noon)
	st.Hold("sip", "service-crashed", noon)
	if err := store.Save(st); err != nil {
		t.Fatal(err)
	}
	again, err := store.load(noon)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(st, again); diff != "" {
		t.Error(diff)
	}
	if hold := again.Held("sip"); hold == nil || hold.Reason != "by-hand" {
		t.Errorf("the first reason of a hold did not stay: %v", hold)
	}
	if !again.Release("sip") || again.Release("sip") || again.Held("sip") != nil {
		t.Error("a hold is released once")
	}
	if info, err := os.Stat(store.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the state directory is %v, %v", info.Mode(), err)
	}
}

// TestRecordsOfEarlierVersions wants records to be found in whatever order they
// were written, and of two of one lineage at one target the first.
func TestRecordsOfEarlierVersions(t *testing.T) {
	store, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	proven := func(target, name, generation string) Record {
		return Record{Target: target, Lineage: name, Proven: &Proof{Generation: generation, Time: noon}}
	}
	if err := store.Save(&State{Schema: stateSchema, Records: []Record{
		proven("web", "b.example", "1"), proven("web", "a.example", "2"), proven("sip", "c.example", "3"), proven("web", "b.example", "4"),
	}}); err != nil {
		t.Fatal(err)
	}
	st, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Record{proven("web", "b.example", "1"), proven("web", "a.example", "2"), proven("sip", "c.example", "3")} {
		if diff := cmp.Diff(want, st.Get(want.Target, want.Lineage)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRecordsAreOfOneLineageAtOneTarget(t *testing.T) {
	st := new(State)
	for _, target := range []string{"web", "sip"} {
		for _, name := range []string{"a.example", "b.example"} {
			st.Record(target, name).Pending = &Pending{Failure: Failure{Reason: target + " " + name}}
		}
	}
	if got := st.Get("sip", "a.example"); got.Pending == nil || got.Pending.Reason != "sip a.example" || st.Record("sip", "a.example").Pending != got.Pending {
		t.Errorf("known is %+v", got)
	}
	if got := st.Get("sip", "c.example"); got.Target != "sip" || got.Lineage != "c.example" || got.Pending != nil || len(st.Records) != 4 {
		t.Errorf("of what is not known, known is %+v", got)
	}
}

// TestTimesBeyondJSON wants a state that cannot be encoded not to replace the
// one that is there.
func TestTimesBeyondJSON(t *testing.T) {
	store := held(t)
	never := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := store.Append(Entry{Time: noon, Target: "web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Append(Entry{Time: never, Target: "web"}); err == nil {
		t.Error("an entry of the year 10000 was written")
	}
	if entries, damage, err := store.History(); len(entries) != 1 || damage != nil || err != nil {
		t.Errorf("the history is %v, %v, %v", entries, damage, err)
	}
	if err := store.Save(&State{Schema: stateSchema, Holds: []Hold{{Since: never}}}); err == nil {
		t.Error("a state of the year 10000 was written")
	}
	if st, err := store.load(noon); err != nil || st.Held("sip") == nil {
		t.Errorf("the state is %+v, %v", st, err)
	}
	for _, path := range []string{store.statePath(), store.copyPath(), store.historyFile()} {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s is %v, %v", path, info.Mode(), err)
		}
	}
}

func TestSnapshotIsForEverybody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if _, err := ReadSnapshot(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
	if err := WriteSnapshot(filepath.Join(dir, "run"), nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a directory that is not there: %v", err)
	}
	why := "by-hand"
	seen := Sighting{Certificate: Certificate{Target: "web", Lineage: "a.example", Served: []Served{{Error: &why}}, Since: &noon}, Looked: noon, Hold: &why}
	for range 2 {
		if err := WriteSnapshot(dir, []Sighting{seen}, nil); err != nil {
			t.Fatal(err)
		}
	}
	snapshot, err := ReadSnapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	of := snapshot.Lookup()
	if diff := cmp.Diff(&seen, of("web", "a.example")); diff != "" || of("web", "b.example") != nil || of("sip", "a.example") != nil {
		t.Error(diff)
	}
	for path, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o755, SnapshotFile(dir): 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s is %v, %v", path, info.Mode(), err)
		}
	}
	for _, text := range []string{"", "{", `{"schema":"certlatch.snapshot/9"}`} {
		if err := os.WriteFile(SnapshotFile(dir), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadSnapshot(dir); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestDamagedStateIsSaid(t *testing.T) {
	store := open(t)
	for _, text := range []string{"", "{", `{"schema":"certlatch.state/9"}`} {
		if err := os.WriteFile(store.statePath(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if st, err := store.Load(); err == nil {
			t.Errorf("%q is read as %v", text, st)
		}
	}
}

func TestRetriesAreSpacedOut(t *testing.T) {
	var r Record
	pause := time.Duration(0)
	for attempt := 1; attempt <= 14; attempt++ {
		next := r.Retry("ab", noon)
		r.Fail(Failure{Reason: "not-proven", Fingerprint: "ab", Next: next}, noon)
		if r.Pending.Attempts != attempt {
			t.Fatalf("attempt %d is counted as %d", attempt, r.Pending.Attempts)
		}
		now := next.Sub(noon)
		if now < pause && now < LastRetry {
			t.Errorf("pause %d is %s after %s", attempt, now, pause)
		}
		least := []time.Duration{1: 1, 2, 4, 8, 16, 32, 64, 128, 256, 360}[min(attempt, 10)] * time.Minute
		if now < least || now > least+least/4 {
			t.Errorf("pause %d is %s, and at least %s and a quarter more at the most", attempt, now, least)
		}
		pause = now
	}
	p := *r.Pending
	if p.Due(noon, "ab") || !p.Due(*p.Next, "ab") || !p.Due(noon, "other") {
		t.Error("due is when the time has come or the leaf has changed")
	}
	if pause := r.Retry("cd", noon).Sub(noon); pause > FirstRetry+FirstRetry/4 {
		t.Errorf("a new leaf inherits the pauses of the one before: %s", pause)
	}
	r.Fail(Failure{Reason: "expired", Fingerprint: "cd"}, noon)
	if r.Pending.Attempts != 1 || r.Pending.Due(noon.AddDate(1, 0, 0), "cd") {
		t.Errorf("a new leaf begins anew, and one that time does not mend waits for a change: %v", r.Pending)
	}
}

func TestMarkAll(t *testing.T) {
	store := open(t)
	if err := store.MarkAll([]string{"certbot:a.example", "lego:b.example"}); err != nil {
		t.Fatal(err)
	}
	marks, err := store.Marks()
	if err != nil || len(marks) != 2 || marks[0].Lineage != "certbot:a.example" || marks[1].Lineage != "lego:b.example" {
		t.Errorf("marks are %v, %v", marks, err)
	}
	if err := View(filepath.Join(t.TempDir(), "nowhere")).MarkAll(nil); err != nil {
		t.Errorf("nothing cannot be marked: %v", err)
	}
	if err := View(filepath.Join(t.TempDir(), "nowhere")).MarkAll([]string{"certbot:a.example"}); !errors.As(err, new(*DirectoryError)) {
		t.Errorf("without a state directory: %v", err)
	}
}

func TestMarksNeedNoLock(t *testing.T) {
	store := open(t)
	release, err := store.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := store.Mark("certbot", "_.a.example"); err != nil {
		t.Fatal(err)
	}
	first := onlyMark(t, store)
	if first.Lineage != "certbot:_.a.example" {
		t.Errorf("the mark is of %s", first.Lineage)
	}
	if err := store.Mark("certbot", "_.a.example"); err != nil {
		t.Fatal(err)
	}
	if err := store.Unmark(first); err != nil {
		t.Fatal(err)
	}
	second := onlyMark(t, store) // it was marked again meanwhile, so it stays
	for range 2 {
		if err := store.Unmark(second); err != nil {
			t.Error(err)
		}
	}
	if marks, err := store.Marks(); err != nil || len(marks) != 0 {
		t.Errorf("marks are %v, %v", marks, err)
	}
}

func onlyMark(t *testing.T, store *Store) Mark {
	t.Helper()
	marks, err := store.Marks()
	if err != nil || len(marks) != 1 {
		t.Fatalf("marks are %v, %v", marks, err)
	}
	return marks[0]
}

func TestLockKeepsRunsApart(t *testing.T) {
	store := open(t)
	held, most := 0, 0
	var mutex sync.Mutex
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			release, err := store.Lock(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			mutex.Lock()
			held++
			most = max(most, held)
			mutex.Unlock()
			mutex.Lock()
			held--
			mutex.Unlock()
			release()
		})
	}
	all.Wait()
	if most != 1 {
		t.Errorf("%d runs held the lock at once", most)
	}
	release, err := store.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if locked := new(disk.LockedError); !errors.As(second(store.Lock(ctx)), &locked) {
		t.Error("waiting for a held lock did not end in a LockedError")
	}
}

func second[T any](_ T, err error) error { return err }

// TestHistoryForgetsTheOldest wants what is too much of the history to go from where
// there is most, and each lineage at each target to keep its last entry.
func TestHistoryForgetsTheOldest(t *testing.T) {
	all := func(n int, target, lineage string) (entries []Entry) {
		for i := range n {
			entries = append(entries, Entry{Time: noon.Add(time.Duration(i) * time.Second), Target: target, Lineage: lineage, Result: "deployed"})
		}
		return entries
	}
	each := func(n int) (entries []Entry) {
		for i := range n {
			entries = append(entries, Entry{Time: noon, Target: "many", Lineage: fmt.Sprint(i), Result: "deployed"})
		}
		return entries
	}
	for name, test := range map[string]struct{ written, want []Entry }{
		"one target":              {all(historyLength+5, "web", "a"), all(historyLength+5, "web", "a")[5:]},
		"a busy one":              {slices.Concat(all(3, "sip", "a"), all(historyLength+5, "web", "a")), slices.Concat(all(3, "sip", "a"), all(historyLength+5, "web", "a")[8:])},
		"a busy lineage":          {slices.Concat(all(3, "web", "b"), all(historyLength, "web", "a")), slices.Concat(all(3, "web", "b"), all(historyLength, "web", "a")[3:])},
		"two that are busy":       {slices.Concat(all(800, "web", "a"), all(600, "web", "b")), slices.Concat(all(800, "web", "a")[300:], all(600, "web", "b")[100:])},
		"more than are kept":      {slices.Concat(each(historyLength+5), all(2, "web", "a")), slices.Concat(each(historyLength+5), all(2, "web", "a")[1:])},
		"more than can be":        {each(longestHistory + 5), each(longestHistory + 5)[5:]},
		"as many as there may be": {all(historyLength, "web", "a"), all(historyLength, "web", "a")},
	} {
		t.Run(name, func(t *testing.T) {
			store := open(t)
			for _, some := range [][]Entry{test.written[:3], test.written[3:]} {
				if damage, err := store.Append(some...); damage != nil || err != nil {
					t.Fatal(damage, err)
				}
			}
			got, damage, err := store.History()
			if damage != nil || err != nil {
				t.Fatal(damage, err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGenerations(t *testing.T) {
	store := open(t)
	ca := pki.NewCA(t, "Root").Intermediate(t, "Intermediate")
	var names []string
	var first *lineage.Bundle
	for i := range 5 {
		leaf := ca.Leaf(t, pki.Names("a.example"))
		b, findings := lineage.Parse(lineage.Lineage{Name: "a.example"}, leaf.Fullchain, nil, leaf.Key)
		if b == nil {
			t.Fatal(findings)
		}
		if first == nil {
			first = b
		}
		name := NewGeneration(noon.Add(time.Duration(i)*time.Millisecond), lineage.Describe(b.Leaf))
		names = append(names, name)
		for range 2 {
			if err := store.Keep("web", "a.example", name, b, names[0]); err != nil {
				t.Fatal(err)
			}
			if got, err := store.Generations("web", "a.example"); err != nil || len(got) != min(i+1, generationsKept) {
				t.Errorf("after %d, kept are %v, %v", i+1, got, err)
			}
			if err := store.Keep("spared", "a.example", name, b, names...); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := store.Generations("web", "a.example")
	if want := []string{names[0], names[3], names[4]}; err != nil || !slices.Equal(got, want) {
		t.Errorf("kept are %v, %v instead of %v", got, err, want)
	}
	if got, err := store.Generations("spared", "a.example"); err != nil || !slices.Equal(got, names) {
		t.Errorf("spared are %v, %v", got, err)
	}
	taken := store.Generation("web", "a.example", "20991231T000000.000Z-abababab")
	write("")(t, filepath.Dir(taken.Key))
	if err := store.Keep("web", "a.example", filepath.Base(filepath.Dir(taken.Key)), first); !errors.As(err, new(*DirectoryError)) {
		t.Errorf("a generation was kept in the place of a file: %v", err)
	}
	write("")(t, store.generationsDir("file", ""))
	if got, err := store.Generations("file", "a.example"); err == nil {
		t.Errorf("in a file there are %v", got)
	}
	again, findings := lineage.Read(store.Generation("web", "a.example", names[0]))
	if again == nil {
		t.Fatal(findings)
	}
	if !slices.Equal(again.KeyPEM(), first.KeyPEM()) || !slices.Equal(again.FullchainPEM(), first.FullchainPEM()) {
		t.Error("a generation is not what was kept")
	}
	if info, err := os.Stat(store.Generation("web", "a.example", names[0]).Key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kept key is %v, %v", info.Mode(), err)
	}
}

// TestSweep wants what crashes have left to be removed, and nothing else.
func TestSweep(t *testing.T) {
	dir, run := t.TempDir(), t.TempDir()
	store, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	leaf := pki.SelfSigned(t)
	b, _ := lineage.Parse(lineage.Lineage{Name: "a.example"}, leaf.Fullchain, nil, leaf.Key)
	if err := store.Keep("web", "a.example", "20260101T000000.000Z-aaaaaaaa", b); err != nil {
		t.Fatal(err)
	}
	gone := []string{
		filepath.Join(dir, ".certlatch-draft-A"), filepath.Join(dir, "marks", ".certlatch-draft-A"), filepath.Join(run, ".certlatch-draft-A"),
		filepath.Join(dir, "generations", ".draft", "privkey.pem"),
		filepath.Join(dir, "generations", "web", "a.example", ".certlatch-20260101T000000.000Z-bbbbbbbb", "privkey.pem"),
	}
	for _, path := range gone {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("half"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Sweep(run); err != nil {
		t.Fatal(err)
	}
	if err := store.Keep("web", "a.example", "20260102T000000.000Z-aaaaaaaa", b); err != nil {
		t.Fatal(err)
	}
	for _, path := range gone {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left", path)
		}
	}
	if names, err := store.Generations("web", "a.example"); err != nil || len(names) != 2 {
		t.Errorf("generations are %q, %v", names, err)
	}
}
