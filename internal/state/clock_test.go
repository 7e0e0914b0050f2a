package state

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
)

var (
	year2100 = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	year1970 = time.Unix(0, 0).UTC()
)

// TestTimesAreBelievedAsFarAsTheyCanBeTrue wants no wait to be longer than it
// could have been set, and nothing to have begun in the future or before there
// was a certlatch, whatever a wrong clock has noted.
func TestTimesAreBelievedAsFarAsTheyCanBeTrue(t *testing.T) {
	next := func(reason string, at time.Time) *Pending {
		return &Pending{Failure: Failure{Reason: reason, Next: &at}, Since: at}
	}
	for _, test := range []struct {
		name  string
		now   time.Time
		noted time.Time
		want  time.Time // what began then
		tried time.Time // what was to be tried again then
		opens time.Time // what waits for a window to open then
	}{
		{"now", noon, noon, noon, noon, noon},
		{"a while ago", noon, noon.Add(-48 * time.Hour), noon.Add(-48 * time.Hour), noon.Add(-48 * time.Hour), noon.Add(-48 * time.Hour)},
		{"in a while", noon, noon.Add(2 * time.Hour), noon, noon.Add(2 * time.Hour), noon.Add(2 * time.Hour)},
		{"at the longest pause", noon, noon.Add(LongestRetry), noon, noon.Add(LongestRetry), noon.Add(LongestRetry)},
		{"beyond the longest pause", noon, noon.Add(LongestRetry + time.Second), noon, noon, noon.Add(LongestRetry + time.Second)},
		{"tomorrow", noon, noon.Add(25 * time.Hour), noon, noon, noon.Add(25 * time.Hour)},
		{"beyond tomorrow", noon, noon.Add(25*time.Hour + time.Second), noon, noon, noon},
		{"in 2100", noon, year2100, noon, noon, noon},
		{"in 1970", noon, year1970, noon, year1970, year1970},
		{"in 9999", noon, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), noon, noon, noon},
		{"never", noon, time.Time{}, noon, time.Time{}, time.Time{}},
		{"before the clock is set", year1970, noon, year1970, year1970, year1970},
		{"when it was not set either", year1970.Add(time.Hour), year1970, year1970, year1970, year1970},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := &State{
				Records: []Record{
					{Target: "web", Lineage: "a.example", Proven: &Proof{Time: test.noted}, Pending: next("not-proven", test.noted)},
					{Target: "web", Lineage: "b.example", Pending: next(OutsideWindow, test.noted)},
					{Target: "web", Lineage: "c.example", Pending: &Pending{Since: test.noted}},
					{Target: "web", Lineage: "d.example"},
				},
				Holds:       []Hold{{Target: "sip", Since: test.noted}},
				Activations: map[string]time.Time{"unit kamailio.service": test.noted},
			}
			st.correctTimes(test.now)
			for what, got := range map[string]time.Time{
				"proof": st.Records[0].Proven.Time, "hold": st.Holds[0].Since, "first failure": st.Records[2].Pending.Since,
			} {
				if !got.Equal(test.want) {
					t.Errorf("the %s is of %s instead of %s", what, got, test.want)
				}
			}
			if got := *st.Records[0].Pending.Next; !got.Equal(test.tried) {
				t.Errorf("it is tried again at %s instead of %s", got, test.tried)
			}
			if got := *st.Records[1].Pending.Next; !got.Equal(test.opens) {
				t.Errorf("its window opens at %s instead of %s", got, test.opens)
			}
			if st.Records[2].Pending.Next != nil {
				t.Error("what waits for a change is to be tried again")
			}
			if st.Activations["unit kamailio.service"].After(test.now) {
				t.Error("the service was activated in the future")
			}
			changed := test.want != test.noted || test.tried != test.noted || test.opens != test.noted
			if changed != st.Corrected {
				t.Errorf("corrected: %t", st.Corrected)
			}
		})
	}
}

func TestClockThatWasSetBackIsNoted(t *testing.T) {
	at := year2100
	st := &State{
		Records:     []Record{{Target: "web", Lineage: "a.example", Proven: &Proof{Time: noon}, Pending: &Pending{Since: noon.Add(30 * time.Second), Failure: Failure{Next: &at}}}},
		Holds:       []Hold{{Target: "sip", Since: year2100.Add(-time.Hour)}, {Target: "old", Since: year1970}},
		Activations: map[string]time.Time{"unit kamailio.service": noon.Add(2 * time.Minute)},
	}
	st.correctTimes(noon)
	if st.SetBack == nil || !st.SetBack.From.Equal(year2100) || !st.SetBack.Noticed.Equal(noon) {
		t.Fatalf("noted is %+v", st.SetBack)
	}
	want := []string{"the last activation of unit kamailio.service", "the hold of sip", "the next attempt of a.example at web"}
	if !slices.Equal(st.SetBack.Where, want) {
		t.Errorf("noted are %q instead of %q", st.SetBack.Where, want)
	}
	for after, recent := range map[time.Duration]bool{0: true, 23 * time.Hour: true, 24 * time.Hour: false, 25 * time.Hour: false, -time.Hour: true} {
		if st.SetBack.Recent(noon.Add(after)) != recent {
			t.Errorf("after %s it is spoken of: %t", after, !recent)
		}
	}
	if (*SetBack)(nil).Recent(noon) {
		t.Error("nothing was noticed, and is recent")
	}
	was := *st.SetBack
	st.Corrected = false
	st.correctTimes(noon.Add(time.Hour))
	if st.Corrected || !st.SetBack.Noticed.Equal(was.Noticed) {
		t.Errorf("what was put right is not: %+v", st.SetBack)
	}
}

// TestCorrectionsAreKept wants corrected times to be saved, and to age from
// then on.
func TestCorrectionsAreKept(t *testing.T) {
	store := open(t)
	st := &State{Schema: stateSchema, Holds: []Hold{{Target: "sip", Since: year2100, Reason: "by-hand"}}}
	if err := store.Save(st); err != nil {
		t.Fatal(err)
	}
	st, err := store.load(noon)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Save(st); err != nil {
		t.Fatal(err)
	}
	st, err = store.load(noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if !st.Held("sip").Since.Equal(noon) || st.Corrected || !st.SetBack.From.Equal(year2100) {
		t.Errorf("after an hour: %+v, %+v", st.Held("sip"), st.SetBack)
	}
}

func TestPauseIsAtMostTheGap(t *testing.T) {
	const gap = 10 * time.Second
	for _, test := range []struct {
		last time.Time
		want time.Duration
	}{
		{noon, gap}, {noon.Add(-4 * time.Second), 6 * time.Second}, {noon.Add(-gap), 0}, {noon.Add(-time.Hour), 0},
		{noon.Add(time.Second), gap}, {year2100, gap}, {year1970, 0}, {time.Time{}, 0}, {time.Unix(math.MaxInt32*100, 0), gap},
	} {
		st := &State{Activations: map[string]time.Time{"unit": test.last}}
		if got := st.Pause("unit", gap, noon); got != test.want {
			t.Errorf("after an activation at %s the pause is %s instead of %s", test.last, got, test.want)
		}
	}
	st := new(State)
	st.NoteActivation("other", noon.Add(-gap))
	st.NoteActivation("unit", noon.Add(-time.Second))
	if unit, other := st.Pause("unit", gap, noon), st.Pause("other", gap, noon); unit != gap-time.Second || other != 0 {
		t.Errorf("after activations that were noted the pauses are %s and %s", unit, other)
	}
	if got := new(State).Pause("unit", gap, noon); got != 0 {
		t.Errorf("a service that was never activated is left alone for %s", got)
	}
}

func TestSightingsAreBelievedAsFarAsTheyCanBeTrue(t *testing.T) {
	for _, test := range []struct{ noted, looked, began time.Time }{
		{noon.Add(-time.Hour), noon.Add(-time.Hour), noon.Add(-time.Hour)},
		{year2100, noon, noon},
		{year1970, year1970, noon},
	} {
		noted := test.noted
		s := Sighting{Looked: noted, Differs: &noted, Certificate: Certificate{Since: &noted}}
		got := s.Believe(noon)
		if !got.Looked.Equal(test.looked) || !got.Since.Equal(test.began) || !got.Differs.Equal(test.began) {
			t.Errorf("of %s became %s, %s and %s", test.noted, got.Looked, got.Since, got.Differs)
		}
		if !noted.Equal(test.noted) || !s.Differs.Equal(test.noted) {
			t.Error("the sighting itself was changed")
		}
	}
	if got := (Sighting{Looked: noon}).Believe(noon); got.Since != nil || got.Differs != nil {
		t.Errorf("what is not known became %v", got)
	}
	seen := &Snapshot{Certificates: []Sighting{{Looked: noon.Add(time.Hour)}, {Looked: year2100}, {Looked: noon}}}
	if got := seen.Ahead(noon); !got.Equal(year2100) {
		t.Errorf("ahead is %s", got)
	}
	if got := seen.Ahead(year2100); !got.IsZero() {
		t.Errorf("in 2100, ahead is %s", got)
	}
}

// TestGenerationsAreNamedInTheirOrder wants names to sort in the order in which
// they were given, whatever the clock says.
func TestGenerationsAreNamedInTheirOrder(t *testing.T) {
	leaf := lineage.Leaf{Fingerprint: strings.Repeat("ab", 32)}
	var names []string
	for _, now := range []time.Time{noon, noon, year2100, noon.Add(time.Hour), year1970, noon.Add(2 * time.Hour)} {
		names = append(names, NewGeneration(now, leaf, names...))
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("names do not sort in their order: %q", names)
	}
	if got, want := NewGeneration(noon, leaf, "strange", "20260101T000000.000Z-x"), "20261123T120000.000Z-abababab"; got != want {
		t.Errorf("the name is %s instead of %s", got, want)
	}
}

// TestLongestRetryIsTheLongest wants the longest pause that is believed to be
// the longest that is set.
func TestLongestRetryIsTheLongest(t *testing.T) {
	r := Record{Pending: &Pending{Failure: Failure{Fingerprint: "ab"}, Attempts: 50}}
	var longest time.Duration
	for range 2000 {
		longest = max(longest, r.Retry("ab", noon).Sub(noon))
	}
	if longest > LongestRetry || longest < LongestRetry-5*time.Minute {
		t.Errorf("of many pauses the longest is %s, and %s is believed", longest, LongestRetry)
	}
}

// TestRetriesWhateverTheCount wants a pause within its bounds for any stored
// count of attempts.
func TestRetriesWhateverTheCount(t *testing.T) {
	for _, attempts := range []int{math.MinInt, -1, 0, 1, math.MaxInt} {
		r := Record{Pending: &Pending{Failure: Failure{Fingerprint: "ab"}, Attempts: attempts}}
		if pause := r.Retry("ab", noon).Sub(noon); pause < FirstRetry || pause > LongestRetry {
			t.Errorf("after %d attempts the pause is %s", attempts, pause)
		}
	}
}
