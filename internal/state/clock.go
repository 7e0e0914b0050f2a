package state

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Stored times are only believed as far as they can be true. Otherwise what was
// noted while the clock was ahead would be waited for until that time comes
// again, and what was noted before the clock was set would be ages old.

// SetBack says that the clock was set back: stored times have yet to come.
type SetBack struct {
	Noticed time.Time `json:"noticed"`
	From    time.Time `json:"from"`  // the latest of them
	Where   []string  `json:"where"` // what the times were stored for
}

// setBackLong is how long after it was noticed a set-back is reported.
const setBackLong = 24 * time.Hour

// Recent reports whether the set-back was noticed not long ago.
func (b *SetBack) Recent(now time.Time) bool {
	return b != nil && now.Sub(b.Noticed) < setBackLong
}

// LongestRetry is the longest pause between two attempts.
const LongestRetry = LastRetry + LastRetry/4

// OutsideWindow is the engine's word for what waits for its window to open, on
// the next day at the latest.
const OutsideWindow = "outside-window"

// longestWindow is the length of a day on which the clocks are put back by an
// hour.
const longestWindow = 25 * time.Hour

// Ahead reports whether a stored time has yet to come, by more than a minute: a
// clock that is being adjusted may go back by a moment.
func Ahead(noted, now time.Time) bool { return noted.Sub(now) > time.Minute }

// isUnset reports whether a time is from a clock that was not set yet: from
// before there was a certlatch.
func isUnset(t time.Time) bool { return t.Year() < 2025 }

// believableStart returns the stored time at which something began, as far as
// it can be true now.
func believableStart(noted, now time.Time) time.Time {
	if noted.After(now) || isUnset(noted) && !isUnset(now) {
		return now.UTC().Truncate(time.Second)
	}
	return noted
}

// correctTimes corrects stored times that cannot be true. Nothing began later
// than now. A retry that is further away than any could have been set is due.
func (st *State) correctTimes(now time.Time) {
	back := SetBack{Noticed: now.UTC().Truncate(time.Second)}
	correct := func(noted *time.Time, to time.Time, what string, args ...any) {
		if noted.Equal(to) {
			return
		}
		if Ahead(*noted, now) {
			back.From = laterOf(back.From, *noted)
			back.Where = append(back.Where, fmt.Sprintf(what, args...))
		}
		*noted, st.Corrected = to, true
	}
	for _, key := range slices.Sorted(maps.Keys(st.Activations)) {
		at := st.Activations[key]
		if at.After(now) {
			correct(&at, now.UTC(), "the last activation of %s", key)
			st.Activations[key] = at
		}
	}
	for i := range st.Holds {
		h := &st.Holds[i]
		correct(&h.Since, believableStart(h.Since, now), "the hold of %s", h.Target)
	}
	for i := range st.Records {
		r := &st.Records[i]
		if r.Proven != nil {
			correct(&r.Proven.Time, believableStart(r.Proven.Time, now), "the proof of %s at %s", r.Lineage, r.Target)
		}
		if p := r.Pending; p != nil {
			correct(&p.Since, believableStart(p.Since, now), "the first failure of %s at %s", r.Lineage, r.Target)
			if p.Next != nil && p.Next.Sub(now) > p.longestPause() {
				correct(p.Next, now.UTC().Truncate(time.Second), "the next attempt of %s at %s", r.Lineage, r.Target)
			}
		}
	}
	if back.Where != nil {
		st.SetBack = &back
	}
}

// longestPause returns how far away the next attempt can have been set.
func (p *Pending) longestPause() time.Duration {
	if p.Reason == OutsideWindow {
		return longestWindow
	}
	return LongestRetry
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Pause returns how long a service that must not be activated twice within a
// gap must still be left alone: at most the gap.
func (st *State) Pause(key string, gap time.Duration, now time.Time) time.Duration {
	return min(max(st.Activations[key].Add(gap).Sub(now), 0), gap)
}

// Believe returns a sighting with its times corrected where they cannot be
// true: nothing was seen or began later than now.
func (s Sighting) Believe(now time.Time) Sighting {
	if s.Looked.After(now) {
		s.Looked = now
	}
	for _, noted := range []**time.Time{&s.Since, &s.Differs} {
		if *noted != nil {
			believed := believableStart(**noted, now)
			*noted = &believed
		}
	}
	return s
}

// Ahead returns the latest time of a sighting if it has yet to come, and else
// zero.
func (s *Snapshot) Ahead(now time.Time) (latest time.Time) {
	for _, c := range s.Certificates {
		if Ahead(c.Looked, now) {
			latest = laterOf(latest, c.Looked)
		}
	}
	return latest
}
