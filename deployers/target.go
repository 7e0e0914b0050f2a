package deployers

import (
	"fmt"
	"io/fs"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
)

// Target is one service instance of this host as the configuration describes
// it, with the defaults that need no look at the host filled in.
type Target struct {
	Name    string
	Service string // a Deployer's name
	Lineage string // NAME, CLIENT:NAME, or a glob over names

	// The layout: Directory (managed), or Certificate and Key (in place).
	// Each may hold {lineage}.
	Directory   string
	Certificate string
	Key         string
	Chain       string // optional: intermediates alone
	Combined    string // optional: key and full chain in one file

	User  string      // owner of the files; empty: root, or who runs certlatch
	Group string      // empty: the unit's Group=, else the primary group of its User=
	Mode  fs.FileMode // of files that hold the key; 0640 by default

	// ACL names who may read the files beside owner, group and mode, and is
	// then all of their ACL. nil: what an ACL that is there grants stays, as far
	// as nobody else than root and User can have made it.
	ACL []Reader

	Unit         string   // systemd unit; empty: none
	Names        []string // must be covered by the leaf
	AllowRestart bool
	Window       *Window             // activate only then; nil: at once
	Probes       []endpoint.Endpoint // as written; nil: look for listeners
	ProveNothing bool                // probe: [] was written
	Contact      string

	// Options is what the block named after the service holds: what
	// Deployer.Options returned, filled in.
	Options any
}

// Reader is a user or group who may read files by an entry in their ACL.
type Reader struct {
	Kind string // user or group
	Name string // or number
}

// Window is a time of day, local time, in which a service may be activated.
// It may cross midnight.
type Window struct{ From, To time.Duration } // since midnight

// Contains reports whether t's time of day lies in the window.
func (w Window) Contains(t time.Time) bool {
	at := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
	if w.From <= w.To {
		return w.From <= at && at < w.To
	}
	return at >= w.From || at < w.To
}

// Opens returns the next time at which the window opens, after t.
func (w Window) Opens(t time.Time) time.Time {
	midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
	opens := midnight.Add(w.From)
	if !opens.After(t) {
		opens = midnight.AddDate(0, 0, 1).Add(w.From)
	}
	return opens
}

// String returns the form of the configuration: 02:00-04:30.
func (w Window) String() string {
	clock := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute) }
	return clock(w.From) + "-" + clock(w.To)
}
