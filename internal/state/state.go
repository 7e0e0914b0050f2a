// Package state keeps what certlatch must remember between runs, in one
// directory: which leaf of which target was proven, what is pending, which
// targets are held, what happened (history), and the generations to go back
// to.
//
// Every file is replaced as a whole and durably, so a reader never sees half
// of one. Only the generations hold keys, in directories that only root may
// enter. Whoever changes anything but a mark must hold the lock; the package
// does not check that.
package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Store is the state directory.
type Store struct{ dir string }

// Open makes sure that the state directory exists, for its owner only.
func Open(dir string) (*Store, error) {
	for _, dir := range []string{dir, filepath.Join(dir, "generations"), filepath.Join(dir, "marks"), filepath.Join(dir, "journal")} {
		if err := disk.MakeAll(dir, disk.Attr{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o700}); err != nil {
			return nil, fmt.Errorf("open state directory: %w", err)
		}
	}
	return &Store{dir}, nil
}

// View opens the state directory for reading; it need not exist.
func View(dir string) *Store { return &Store{dir} }

// JournalDir is where the installer keeps its intent journal.
func (s *Store) JournalDir() string { return filepath.Join(s.dir, "journal") }

// Lock takes the one lock of all runs on this host. When ctx ends before, the
// error is a *disk.LockedError.
func (s *Store) Lock(ctx context.Context) (release func(), err error) {
	return disk.Lock(ctx, filepath.Join(s.dir, "lock"))
}

// State is what is known about targets beyond the configuration.
type State struct {
	Schema  string   `json:"schema"`
	Records []Record `json:"records"`
	Holds   []Hold   `json:"holds"`

	// Activations tells when services that must not be activated in quick
	// succession were activated last.
	Activations map[string]time.Time `json:"activations,omitempty"`
}

const stateSchema = "certlatch.state/1"

// Record is what is known about one lineage at one target.
type Record struct {
	Target  string   `json:"target"`
	Lineage string   `json:"lineage"`
	Proven  *Proof   `json:"proven"`  // nil: nothing was ever proven here
	Pending *Pending `json:"pending"` // nil: all is well
}

// Proof is the last leaf that the service was seen to serve, or that was
// activated where nothing could be proven.
type Proof struct {
	Leaf       lineage.Leaf `json:"leaf"`
	Generation string       `json:"generation"`
	Time       time.Time    `json:"time"`

	// What was installed then, and for which configuration of the target. So
	// a hook that is called without need can tell from files alone.
	Target    string `json:"target_sha256,omitempty"`
	Directory string `json:"directory,omitempty"` // managed layout
	Files     []File `json:"files,omitempty"`     // none: the pair is in a database
}

// File is an installed file, without what it holds.
type File struct {
	Path    string      `json:"path"`
	Content string      `json:"content"` // a deployers.Content
	UID     int         `json:"uid"`
	GID     int         `json:"gid"`
	Mode    fs.FileMode `json:"mode"`
}

// Failure is how a deployment did not end well. The words are the engine's.
type Failure struct {
	Result      string     `json:"result"`
	Reason      string     `json:"reason"`
	Step        string     `json:"step"`
	Detail      string     `json:"detail"`
	Remedy      string     `json:"remedy"`
	Fingerprint string     `json:"fingerprint"` // of the leaf that was tried; "" where it could not be read
	Next        *time.Time `json:"next"`        // when to try again; nil: when the lineage's files change

	// Alone tells that it is tried without the service's other lineages: it
	// failed together with some, and nothing told which of them was at fault.
	Alone bool `json:"alone,omitempty"`
}

// Pending is a deployment that did not end well and will be tried again.
type Pending struct {
	Failure
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"` // with this leaf
}

// Due tells whether to try again now, with the leaf that the lineage has now.
func (p Pending) Due(now time.Time, fingerprint string) bool {
	return p.Fingerprint != fingerprint || p.Next != nil && !now.Before(*p.Next)
}

// Hold is the word of somebody, or of certlatch itself after a crash, that a
// target is to be left alone.
type Hold struct {
	Target string    `json:"target"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// Load reads the state. A state that does not exist yet is empty.
func (s *Store) Load() (*State, error) {
	path := s.file()
	state := &State{Schema: stateSchema}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(data, state); err != nil || state.Schema != stateSchema {
		return nil, fmt.Errorf("read state %s: it is damaged or of another version; move it away to begin anew, every target will then be proven again", path)
	}
	return state, nil
}

// Save writes the state.
func (s *Store) Save(state *State) error {
	data, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	if err := disk.Replace(s.file(), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

func (s *Store) file() string { return filepath.Join(s.dir, "state.json") }

// Get gives what is known about a lineage at a target.
func (st *State) Get(target, lineage string) Record {
	for _, r := range st.Records {
		if r.Target == target && r.Lineage == lineage {
			return r
		}
	}
	return Record{Target: target, Lineage: lineage}
}

// Record finds the record of a lineage at a target to change it, and makes it
// where it is missing.
func (st *State) Record(target, lineage string) *Record {
	for i := range st.Records {
		if r := &st.Records[i]; r.Target == target && r.Lineage == lineage {
			return r
		}
	}
	st.Records = append(st.Records, Record{Target: target, Lineage: lineage})
	return &st.Records[len(st.Records)-1]
}

// Held finds the hold of a target; nil: it is not held.
func (st *State) Held(target string) *Hold {
	for i := range st.Holds {
		if st.Holds[i].Target == target {
			return &st.Holds[i]
		}
	}
	return nil
}

// Hold holds a target. The first reason stays.
func (st *State) Hold(target, reason string, now time.Time) {
	if st.Held(target) == nil {
		st.Holds = append(st.Holds, Hold{Target: target, Since: now.UTC(), Reason: reason})
	}
}

// Release ends a target's hold, and tells whether there was one.
func (st *State) Release(target string) bool {
	before := len(st.Holds)
	st.Holds = slices.DeleteFunc(st.Holds, func(h Hold) bool { return h.Target == target })
	return len(st.Holds) < before
}

// Activated gives when a service was activated last, if that was noted.
func (st *State) Activated(key string) time.Time { return st.Activations[key] }

// NoteActivation notes that a service is activated now.
func (st *State) NoteActivation(key string, now time.Time) {
	if st.Activations == nil {
		st.Activations = map[string]time.Time{}
	}
	st.Activations[key] = now.UTC()
}

// Fail notes that a deployment did not end well.
func (r *Record) Fail(failure Failure, now time.Time) {
	if r.Pending == nil {
		r.Pending = &Pending{Since: now.UTC()}
	}
	p := r.Pending
	if p.Fingerprint != failure.Fingerprint {
		p.Attempts = 0
	}
	p.Attempts++
	p.Failure = failure
}

// Retry gives the time of the next attempt at a deployment that fails now.
func (r *Record) Retry(fingerprint string, now time.Time) *time.Time {
	attempts := 1
	if r.Pending != nil && r.Pending.Fingerprint == fingerprint {
		attempts += r.Pending.Attempts
	}
	next := now.Add(backoff(attempts)).UTC().Truncate(time.Second)
	return &next
}

// The bounds of the pause between two attempts.
const (
	FirstRetry = time.Minute
	LastRetry  = 6 * time.Hour
)

// backoff is the pause after the n-th failed attempt: doubling, capped, and
// spread by a quarter so that hosts with one cause do not retry in step.
func backoff(n int) time.Duration {
	pause := LastRetry
	if n < 10 { // beyond, the doubling would overflow sooner or later
		pause = min(FirstRetry<<(n-1), LastRetry)
	}
	return pause + time.Duration(rand.Int64N(int64(pause/4)))
}
