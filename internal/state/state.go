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
// A file that something else has damaged is recognised, set aside, and never
// read as if it were whole; of the state there is a copy. Stored times are
// believed as far as they can be true. It does not notice where somebody has
// replaced the state and its copy by older ones.
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
	"sync"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Store is the state directory. It may be used by several goroutines.
type Store struct {
	// Sandbox returns what to do where a directory is read-only to certlatch's
	// caller alone; empty: it is not. Nil: nobody knows.
	Sandbox func(dir string) string

	dir     string
	keeping sync.Mutex // held while a generation is made
}

// Open returns the state directory, which it makes, for its owner only, where
// it is missing.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	if err := s.make(dir); err != nil {
		return nil, s.Failed("open state directory", err)
	}
	d, err := disk.Open(dir)
	if err != nil {
		return nil, s.Failed("open state directory", err)
	}
	defer d.Close()
	for _, name := range []string{"generations", "marks", "journal"} {
		if info, err := d.Stat(name); err == nil && info.Mode.IsDir() {
			continue
		}
		sub := filepath.Join(dir, name)
		if err := s.make(sub); err != nil && sub != s.MarksDir() { // without marks, what is pending is tried all the same
			return nil, s.Failed("open state directory", err)
		}
	}
	return s, nil
}

func (s *Store) make(dir string) error {
	return disk.MakeAll(dir, disk.Attr{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o700})
}

// View returns the state directory for reading; it need not exist.
func View(dir string) *Store { return &Store{dir: dir} }

// JournalDir returns the directory of the installer's intent journal.
func (s *Store) JournalDir() string { return filepath.Join(s.dir, "journal") }

// Lock takes the one lock of all runs on this host, and returns a function that
// releases it. When ctx ends before, the error is a *disk.LockedError.
func (s *Store) Lock(ctx context.Context) (release func(), err error) {
	release, err = disk.Lock(ctx, filepath.Join(s.dir, "lock"))
	if locked := new(disk.LockedError); err == nil || errors.As(err, &locked) {
		return release, err
	}
	return nil, s.Failed("lock the state directory", err)
}

// State is what is remembered of targets.
type State struct {
	Schema  string   `json:"schema"`
	Records []Record `json:"records"` // by target, then by lineage
	Holds   []Hold   `json:"holds"`

	// Activations are the times at which services that must not be activated in
	// quick succession were activated last.
	Activations map[string]time.Time `json:"activations,omitempty"`

	// SetBack is what was noticed last about the clock being set back; nil: it
	// never was.
	SetBack *SetBack `json:"clock_set_back,omitempty"`

	// Damage is what is wrong with the state's file, where this one was read
	// from its copy. Saving it mends that.
	Damage *Damage `json:"-"`

	// Copied is the time of the copy that this one was read from; zero: it was
	// not.
	Copied time.Time `json:"-"`

	// Corrected reports whether some of the stored times could not be true.
	Corrected bool `json:"-"`
}

const (
	stateSchema = "certlatch.state/1"
	schemas     = "certlatch.state/" // of every version
)

// Record is what is remembered of one lineage at one target.
type Record struct {
	Target  string   `json:"target"`
	Lineage string   `json:"lineage"`
	Proven  *Proof   `json:"proven"`  // nil: nothing was ever proven here
	Pending *Pending `json:"pending"` // nil: all is well

	// Left is the fingerprint of a leaf that certlatch has installed since and has not
	// proven, or may not have been able to take away again; empty: there is none.
	Left string `json:"left,omitempty"`
}

// Proof is the last leaf that the service was seen to serve, or that was
// activated where nothing could be proven.
type Proof struct {
	Leaf       lineage.Leaf `json:"leaf"`
	Generation string       `json:"generation"`
	Time       time.Time    `json:"time"`

	// What was installed then, and for which configuration of the target. By
	// that a hook that is called without need sees from files alone that
	// nothing is to be done.
	Target    string `json:"target_sha256,omitempty"`
	Directory string `json:"directory,omitempty"` // managed layout
	Files     []File `json:"files,omitempty"`     // none: the pair is in a database

	// Probes are the URLs of the found probes that showed the leaf. Where none
	// of the service's listeners completes a handshake any more, they are what
	// there was to prove with.
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

// Failure is how a deployment failed, or why it waits. The words are the
// engine's.
type Failure struct {
	Result      string     `json:"result"`
	Reason      string     `json:"reason"`
	Step        string     `json:"step"`
	Detail      string     `json:"detail"`
	Remedy      string     `json:"remedy"`
	Fingerprint string     `json:"fingerprint"` // of the leaf that was tried; "" where it could not be read
	Next        *time.Time `json:"next"`        // when to try again; nil: when the lineage's files change

	// Alone reports whether it is tried without the service's other lineages:
	// it failed together with some, and it is not known which was at fault.
	Alone bool `json:"alone,omitempty"`

	// Once reports whether the service was restarted for it, which is not done
	// again for this leaf until somebody says so.
	Once bool `json:"once,omitempty"`
}

// Pending is a deployment that failed or waits, and will be tried again.
type Pending struct {
	Failure
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"` // with this leaf
}

// Due reports whether to try again now, where the lineage's leaf has the
// fingerprint.
func (p Pending) Due(now time.Time, fingerprint string) bool {
	return p.Fingerprint != fingerprint || p.Next != nil && !now.Before(*p.Next)
}

// Hold says that a target is to be left alone: somebody wants that, or its
// service crashed under a new certificate.
type Hold struct {
	Target string    `json:"target"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// maxState bounds the state. A record takes some 2 KiB, and there may be
// 100,000 of them.
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

// Remedy returns what to do about it.
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

// Load returns the state, or its copy where its file is damaged. A state that
// does not exist yet is empty. Where neither can be read, or a later version
// wrote it, the error is an *UnreadableError.
func (s *Store) Load() (*State, error) { return s.load(time.Now()) }

func (s *Store) load(now time.Time) (*State, error) {
	state, err := readState(s.statePath())
	if err != nil {
		if state, err = s.loadCopy(err); err != nil {
			return nil, err
		}
	}
	state.correctTimes(now)
	return state, nil
}

// loadCopy returns the copy of a state that could not be read, with the damage.
func (s *Store) loadCopy(unread error) (*State, error) {
	damage, missing := new(Damage), errors.Is(unread, fs.ErrNotExist)
	if !missing && !errors.As(unread, &damage) {
		return nil, fmt.Errorf("read state: %w", unread)
	}
	state, err := readState(s.copyPath())
	if info, statErr := os.Stat(s.copyPath()); err == nil && statErr == nil {
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
		state.Damage = &Damage{Path: s.statePath(), What: "is missing"}
		return state, nil
	case isBad:
		return nil, &UnreadableError{[]*Damage{damage, bad}}
	case absent || damage.later:
		return nil, &UnreadableError{[]*Damage{damage}}
	}
	state.Damage = damage
	return state, nil
}

// readState returns the state in a file. It fails as read does.
func readState(path string) (*State, error) {
	data, err := read(path, maxState)
	if err != nil {
		return nil, err
	}
	state := new(State)
	damage := decode(path, data, state)
	if damage == nil && state.Schema == stateSchema {
		slices.SortStableFunc(state.Records, inOrder) // earlier versions wrote them as they came
		return state, nil
	}
	var head struct{ Schema string }
	if decode(path, data, &head) != nil {
		return nil, damage // that of the JSON as a whole says more
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

// Save writes the state, and then its copy: once it has returned nil, damage to
// either file loses nothing. It sets a damaged file aside first. The error is a
// *DirectoryError.
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
	for _, path := range []string{s.statePath(), s.copyPath()} {
		if err := replaceFile(path, append(data, '\n'), 0o600); err != nil {
			return s.Failed("write state", err)
		}
	}
	return nil
}

// CheckCopy returns what is wrong with the copy of the state; nil: nothing is,
// or there is none yet.
func (s *Store) CheckCopy() *Damage {
	_, err := readState(s.copyPath())
	damage, _ := errors.AsType[*Damage](err)
	return damage
}

func (s *Store) statePath() string { return filepath.Join(s.dir, "state.json") }
func (s *Store) copyPath() string  { return filepath.Join(s.dir, "state.copy.json") }

// Get returns the record of a lineage at a target, which is empty where there
// is none.
func (st *State) Get(target, lineage string) Record {
	if at, is := st.find(target, lineage); is {
		return st.Records[at]
	}
	return Record{Target: target, Lineage: lineage}
}

// Record returns the record of a lineage at a target, to be changed until
// another is added. It adds one where there is none.
func (st *State) Record(target, lineage string) *Record {
	at, is := st.find(target, lineage)
	if !is {
		st.Records = slices.Insert(st.Records, at, Record{Target: target, Lineage: lineage})
	}
	return &st.Records[at]
}

// find returns where the record of a lineage at a target is or belongs, and
// reports whether there is one.
func (st *State) find(target, lineage string) (at int, is bool) {
	return slices.BinarySearchFunc(st.Records, Record{Target: target, Lineage: lineage}, inOrder)
}

// inOrder compares records by where they belong among others.
func inOrder(a, b Record) int {
	return a.key().compare(b.key())
}

// Held returns the hold of a target; nil: it is not held.
func (st *State) Held(target string) *Hold {
	for i := range st.Holds {
		if st.Holds[i].Target == target {
			return &st.Holds[i]
		}
	}
	return nil
}

// Hold holds a target. Where it is held already, that reason stays.
func (st *State) Hold(target, reason string, now time.Time) {
	if st.Held(target) == nil {
		st.Holds = append(st.Holds, Hold{Target: target, Since: now.UTC(), Reason: reason})
	}
}

// Release ends a target's hold, and reports whether there was one.
func (st *State) Release(target string) bool {
	before := len(st.Holds)
	st.Holds = slices.DeleteFunc(st.Holds, func(h Hold) bool { return h.Target == target })
	return len(st.Holds) < before
}

// Allow lets the service of a target be restarted again for leaves that it was
// restarted for already, and reports whether there were any.
func (st *State) Allow(target string, now time.Time) (any bool) {
	due := now.UTC()
	for _, r := range st.Records {
		if r.Target == target && r.Pending != nil && r.Pending.Once {
			r.Pending.Once, r.Pending.Next, any = false, &due, true
		}
	}
	return any
}

// NoteActivation notes that a service is activated now.
func (st *State) NoteActivation(key string, now time.Time) {
	if st.Activations == nil {
		st.Activations = map[string]time.Time{}
	}
	st.Activations[key] = now.UTC()
}

// Fail notes that a deployment failed or waits.
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

// Retry returns the time of the next attempt at a deployment that fails now.
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

// backoff returns the pause after the n-th failed attempt: it doubles up to a
// bound, and is spread by a quarter, so that hosts that failed for one cause do
// not retry in step.
func backoff(n int) time.Duration {
	pause := LastRetry
	n = max(n, 1) // whatever was stored
	if n < 10 {   // with more, doubling would overflow sooner or later
		pause = min(FirstRetry<<(n-1), LastRetry)
	}
	return pause + time.Duration(rand.Int64N(int64(pause/4)))
}

// UnitKey returns the key in Activations of a service that is a systemd unit.
func UnitKey(unit string) string { return "unit " + unit }
