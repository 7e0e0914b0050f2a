package watch

import "time"

// Pace says how long a lineage is waited for.
type Pace struct {
	Quiet    time.Duration // without an event, until it counts as at rest
	Longest  time.Duration // from the first event, rest or not
	Patience time.Duration // for the other half of a pair that does not fit together
}

// UsualPace is for real clients: certbot writes a renewal within milliseconds,
// acme.sh copies its files one after the other.
var UsualPace = Pace{Quiet: 2 * time.Second, Longest: 30 * time.Second, Patience: time.Minute}

// settling is what there were hints about, and has not been looked at since.
type settling map[ref]rest

// rest is how long something has been hinted at.
type rest struct {
	first, last time.Time
	patience    time.Time // when it ends, for what was found half written
	idle        bool      // there was no hint since it was
}

func (s settling) hint(r ref, now time.Time) {
	was, ok := s[r]
	if !ok || was.idle {
		was.first, was.idle = now, false
	}
	was.last = now
	s[r] = was
}

// bear puts off what is half written, and tells whether there is patience left
// for it.
func (s settling) bear(r ref, was rest, now time.Time, pace Pace) bool {
	if was.patience.IsZero() {
		was.patience = now.Add(pace.Patience)
	}
	if !now.Before(was.patience) {
		return false
	}
	s[r] = rest{patience: was.patience, idle: true}
	return true
}

func (was rest) due(pace Pace) time.Time {
	if was.idle {
		return was.patience
	}
	due, latest := was.last.Add(pace.Quiet), was.first.Add(pace.Longest)
	if latest.Before(due) {
		return latest
	}
	return due
}

// due gives what has come to rest by now, or was waited for long enough.
func (s settling) due(now time.Time, pace Pace) (due []ref) {
	for r, was := range s {
		if !now.Before(was.due(pace)) {
			due = append(due, r)
		}
	}
	return due
}

// next gives when something is due; the zero time: nothing will be.
func (s settling) next(pace Pace) (next time.Time) {
	for _, was := range s {
		if due := was.due(pace); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}
