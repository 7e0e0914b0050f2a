package report

import (
	"fmt"
	"time"

	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/state"
)

// Inventory is what is known about the certificates that were asked for.
type Inventory struct {
	Seen []state.Sighting

	Unclaimed []state.Unclaimed // lineages that no target takes

	Snapshot string // the file that it was read from; empty: it was taken just now

	Unread error  // why the state cannot be read; nil: it was
	Remedy string // what to do about that

	Unnamed []string // what was passed over because of its name, a line each place
}

// age returns the age of the oldest sighting.
func (i Inventory) age(now time.Time) time.Duration {
	var oldest time.Duration
	for _, s := range i.Seen {
		oldest = max(oldest, now.Sub(s.Looked))
	}
	return oldest
}

// ahead reports whether the inventory is from a snapshot of a time that has yet
// to come, and returns that.
func (i Inventory) ahead(now time.Time) (time.Time, bool) {
	latest := (&state.Snapshot{Certificates: i.Seen}).Ahead(now)
	return latest, i.Snapshot != "" && !latest.IsZero()
}

// UsualAge is how old a snapshot may be by default: several times the pause
// between two of them.
const UsualAge = time.Hour

// Status is what status has to show.
type Status struct {
	Inventory Inventory
	Now       time.Time
	Screen    Screen
	Every     bool // certificate is shown, also where there are many
}

// statusJSON is the schema certlatch.status/1: the inventory. The certificates
// are state.Certificate, each in the state that it is in now.
type statusJSON struct {
	Schema       string              `json:"schema"`
	Certificates []state.Certificate `json:"certificates"`
	Unclaimed    []state.Unclaimed   `json:"unclaimed"`
}

// JSON returns the inventory in the schema certlatch.status/1.
func (s Status) JSON() any {
	view := statusJSON{"certlatch.status/1", []state.Certificate{}, []state.Unclaimed{}}
	view.Unclaimed = append(view.Unclaimed, s.Inventory.Unclaimed...)
	for _, seen := range s.Inventory.Seen {
		view.Certificates = append(view.Certificates, condition.At(seen.Certificate, s.Now, condition.Expiry{}))
	}
	return view
}

// Text returns the inventory as a table.
func (s Status) Text() string { return table(s).String() }

// Notices returns lines about the inventory as a whole, for standard error.
func (s Status) Notices() []string {
	const refreshes = "certlatch status as root, the daemon, or certlatch-retry.timer refreshes it"
	var notices []string
	say := func(format string, args ...any) { notices = append(notices, fmt.Sprintf(format, args...)) }
	i := s.Inventory
	if age := i.age(s.Now); i.Snapshot != "" && age > UsualAge {
		say("the snapshot %s is %s old; %s", i.Snapshot, roughly(age), refreshes)
	}
	if at, ahead := i.ahead(s.Now); ahead {
		say("the snapshot %s is of %s, which has yet to come: the clock was set back; %s", i.Snapshot, at.Format(time.RFC3339), refreshes)
	}
	if i.Unread != nil {
		say("%v; what is pending is not known, and what is held only as it was seen last", i.Unread)
		say("%s", i.Remedy)
	}
	return append(notices, i.Unnamed...)
}
