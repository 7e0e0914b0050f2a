package watch

import "time"

// Pace is how long a lineage is waited for.
type Pace struct {
	Quiet    time.Duration // without an event, until it counts as at rest
	Longest  time.Duration // from the first event, rest or not
	Patience time.Duration // for the other half of a pair that does not fit together
}

// UsualPace is the pace for real clients: certbot writes a renewal within
// milliseconds, acme.sh copies its files one after the other.
var UsualPace = Pace{Quiet: 2 * time.Second, Longest: 30 * time.Second, Patience: time.Minute}

// settling is what hints were about and has not been looked at since.
type settling map[ref]hints

// hints are the times of hints about something.
type hints struct {
	first, last time.Time
	patience    time.Time // the end of patience with what was found half written
	idle        bool      // there was no hint since it was found so
}

func (s settling) hint(r ref, now time.Time) {
	was, ok := s[r]
	if !ok || was.idle {
		was.first, was.idle = now, false
	}
	was.last = now
	s[r] = was
}

// putOff puts off what is half written, and reports whether the pace leaves
// patience for that.
func (s settling) putOff(r ref, was hints, now time.Time, pace Pace) bool {
	if was.patience.IsZero() {
		was.patience = now.Add(pace.Patience)
	}
	if !now.Before(was.patience) {
		return false
	}
	s[r] = hints{patience: was.patience, idle: true}
	return true
}

func (was hints) due(pace Pace) time.Time {
	if was.idle {
		return was.patience
	}
	due, latest := was.last.Add(pace.Quiet), was.first.Add(pace.Longest)
	if latest.Before(due) {
		return latest
	}
	return due
}

// due returns what has come to rest by now, or has been waited for as long as
// the pace allows.
func (s settling) due(now time.Time, pace Pace) (due []ref) {
	for r, was := range s {
		if !now.Before(was.due(pace)) {
			due = append(due, r)
		}
	}
	return due
}

// next returns the time at which something is due; zero: nothing will be.
func (s settling) next(pace Pace) (next time.Time) {
	for _, was := range s {
		if due := was.due(pace); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}
