// Package state keeps what certlatch must remember between runs, in one
// directory: which leaf of which target was proven, what is pending, which
// targets are held, what happened (history), and the generations to go back
// to.
//
// Every file is replaced as a whole and durably, so a reader never sees half
// of one. Only the generations hold keys, in directories that only root may
// enter. Whoever changes anything but a mark must hold the lock; the package
// does not check that.
//
// What something else has damaged is told apart, set aside, and never read as
// if it were whole; of the state there is a copy. Stored times are believed as
// far as they can be true. It does not promise that the state is the last one
// where somebody has put an older one in the place of both copies.
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
	"strconv"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Store is the state directory.
type Store struct{ dir string }

// Open makes sure that the state directory exists, for its owner only.
func Open(dir string) (*Store, error) {
	s := &Store{dir}
	for _, dir := range []string{dir, filepath.Join(dir, "generations"), filepath.Join(dir, "marks"), filepath.Join(dir, "journal")} {
		err := disk.MakeAll(dir, disk.Attr{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o700})
		if err != nil && dir != s.MarksDir() { // what is pending is tried without marks, too
			return nil, s.Failed("open state directory", err)
		}
	}
	return s, nil
}

// View opens the state directory for reading; it need not exist.
func View(dir string) *Store { return &Store{dir} }

// JournalDir is where the installer keeps its intent journal.
func (s *Store) JournalDir() string { return filepath.Join(s.dir, "journal") }

// Lock takes the one lock of all runs on this host. When ctx ends before, the
// error is a *disk.LockedError.
func (s *Store) Lock(ctx context.Context) (release func(), err error) {
	release, err = disk.Lock(ctx, filepath.Join(s.dir, "lock"))
	if locked := new(disk.LockedError); err == nil || errors.As(err, &locked) {
		return release, err
	}
	return nil, s.Failed("lock the state directory", err)
}

// State is what is known about targets beyond the configuration.
type State struct {
	Schema  string   `json:"schema"`
	Records []Record `json:"records"`
	Holds   []Hold   `json:"holds"`

	// Activations tells when services that must not be activated in quick
	// succession were activated last.
	Activations map[string]time.Time `json:"activations,omitempty"`

	// SetBack is what was noticed last of a clock that was set back; nil: of
	// none.
	SetBack *SetBack `json:"clock_set_back,omitempty"`

	// Damage is what is wrong with the state's file, where this one was read
	// from its copy. Saving it mends that.
	Damage *Damage `json:"-"`

	// Copied is when the copy was made that it was read from; zero: it was not.
	Copied time.Time `json:"-"`

	// Corrected reports whether some of the stored times could not be true.
	Corrected bool `json:"-"`
}

const (
	stateSchema = "certlatch.state/1"
	schemas     = "certlatch.state/" // of every version
)

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

	// Probes are the URLs of the found probes that showed the leaf. Where none
	// of the service's listeners completes a handshake any more, they tell
	// what there was.
	Probes []string `json:"probes,omitempty"`
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

// Of a record there are some 2 KiB, and some run for 100,000 lineages.
const maxState = 512 << 20 // bytes

// UnreadableError says that neither the state nor its copy can be used, so
// that nobody knows what is held.
type UnreadableError struct{ Files []*Damage }

func (e *UnreadableError) Error() string {
	var parts []string
	for _, d := range e.Files {
		parts = append(parts, d.Error())
	}
	return "read state: " + strings.Join(parts, "; ")
}

// Remedy says what to do about it.
func (e *UnreadableError) Remedy() string {
	var moves []string
	for _, d := range e.Files {
		moves = append(moves, fmt.Sprintf("mv %[1]s %[1]s.away", d.Path))
	}
	forget := strings.Join(moves, "; ") + "; certlatch hold TARGET for each of those; certlatch deploy proves every target again"
	if slices.ContainsFunc(e.Files, func(d *Damage) bool { return d.later }) {
		return "install the later certlatch again; or go on without what it noted: see in certlatch status which targets are held; " + forget
	}
	return "nothing is deployed, since nobody knows which targets are held: see in certlatch status and certlatch history which were; " + forget
}

// Load reads the state, or its copy where its file is damaged. A state that
// does not exist yet is empty. Where neither can be read, or a later version
// wrote it, the error is an *UnreadableError.
func (s *Store) Load() (*State, error) { return s.load(time.Now()) }

func (s *Store) load(now time.Time) (*State, error) {
	state, err := readState(s.file())
	if err != nil {
		if state, err = s.loadCopy(err); err != nil {
			return nil, err
		}
	}
	state.believe(now)
	return state, nil
}

// loadCopy reads the copy of a state that could not be read.
func (s *Store) loadCopy(unread error) (*State, error) {
	damage, missing := new(Damage), errors.Is(unread, fs.ErrNotExist)
	if !missing && !errors.As(unread, &damage) {
		return nil, fmt.Errorf("read state: %w", unread)
	}
	state, err := readState(s.copy())
	if info, statErr := os.Stat(s.copy()); err == nil && statErr == nil {
		state.Copied = info.ModTime().UTC().Truncate(time.Second)
	}
	bad, isBad := errors.AsType[*Damage](err)
	switch absent := errors.Is(err, fs.ErrNotExist); {
	case err != nil && !absent && !isBad:
		return nil, fmt.Errorf("read state: %w", err)
	case missing && absent:
		return &State{Schema: stateSchema}, nil
	case missing && isBad:
		return nil, &UnreadableError{[]*Damage{bad}}
	case missing:
		state.Damage = &Damage{Path: s.file(), What: "is missing"}
		return state, nil
	case isBad:
		return nil, &UnreadableError{[]*Damage{damage, bad}}
	case absent || damage.later:
		return nil, &UnreadableError{[]*Damage{damage}}
	}
	state.Damage = damage
	return state, nil
}

// readState reads one copy. It fails as read does.
func readState(path string) (*State, error) {
	data, err := read(path, maxState)
	if err != nil {
		return nil, err
	}
	state := new(State)
	damage := decode(path, data, state)
	if damage == nil && state.Schema == stateSchema {
		return state, nil
	}
	var head struct{ Schema string }
	if decode(path, data, &head) != nil {
		return nil, damage // of the whole, which says more
	}
	version, err := strconv.Atoi(strings.TrimPrefix(head.Schema, schemas))
	switch {
	case strings.HasPrefix(head.Schema, schemas) && err == nil && version > 1:
		return nil, &Damage{Path: path, What: "was written by a later version of certlatch (" + head.Schema + ")", later: true}
	case damage != nil:
		return nil, damage
	}
	return nil, &Damage{Path: path, What: fmt.Sprintf("is JSON of another form: its schema is %.40q", head.Schema)}
}

// Save writes the state, and then its copy: once it has returned well, damage
// to either file loses nothing. A damaged file is set aside first. The error
// is a *DirectoryError.
func (s *Store) Save(state *State) error {
	data, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	if damage := state.Damage; damage != nil {
		if damage.Aside, err = setAside(damage.Path); err != nil {
			return s.Failed("set the damaged state aside", err)
		}
		state.Damage = nil
	}
	for _, path := range []string{s.file(), s.copy()} {
		if err := put(path, append(data, '\n'), 0o600); err != nil {
			return s.Failed("write state", err)
		}
	}
	return nil
}

// CheckCopy returns what is wrong with the copy of the state; nil: nothing is,
// or there is none yet.
func (s *Store) CheckCopy() *Damage {
	_, err := readState(s.copy())
	damage, _ := errors.AsType[*Damage](err)
	return damage
}

func (s *Store) file() string { return filepath.Join(s.dir, "state.json") }
func (s *Store) copy() string { return filepath.Join(s.dir, "state.copy.json") }

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
	n = max(n, 1) // whatever was stored
	if n < 10 {   // beyond, the doubling would overflow sooner or later
		pause = min(FirstRetry<<(n-1), LastRetry)
	}
	return pause + time.Duration(rand.Int64N(int64(pause/4)))
}
