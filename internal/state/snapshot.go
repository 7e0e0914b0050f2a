package state

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Certificate is what there is to say about one lineage at one target. The
// words are the engine's.
type Certificate struct {
	Lineage   string        `json:"lineage"`
	Target    string        `json:"target"`
	Service   string        `json:"service"`
	Contact   *string       `json:"contact"`
	Issued    *lineage.Leaf `json:"issued"`    // by the ACME client
	Installed *lineage.Leaf `json:"installed"` // at the target
	Served    []Served      `json:"served"`
	State     string        `json:"state"`
	Since     *time.Time    `json:"since"` // when that state began, as far as is known
	Pending   *Waiting      `json:"pending"`

	// ReloadsLeft is how many more reloads the service can bear before it has to
	// be restarted; nil: there is no end to them that is known.
	ReloadsLeft *int `json:"reloads_left"`
}

// Served is what one probe saw. Without a probe it says why there is none.
type Served struct {
	Probe *string       `json:"probe"`
	Leaf  *lineage.Leaf `json:"leaf"`
	Error *string       `json:"error"`
}

// Waiting is what is told to everybody of a pending deployment.
type Waiting struct {
	Reason   string     `json:"reason"`
	Attempts int        `json:"attempts"`
	Next     *time.Time `json:"next"`
}

// Sighting is a certificate as it was found at one time. Its state is that of
// what was found; that a certificate expires since then is for the reader.
type Sighting struct {
	Certificate
	Looked  time.Time  `json:"looked"`
	Differs *time.Time `json:"differs"` // since when what is installed or served is not what was issued; nil: it is
	Hold    *string    `json:"hold"`    // why the target is held; nil: it is not
	Outage  *Outage    `json:"outage,omitempty"`
}

// Outage is about a certificate that was proven to be served, where a probe
// completes no handshake any more, whatever became of deployments since.
type Outage struct {
	Since  time.Time `json:"since"` // when that was seen first
	Remedy string    `json:"remedy"`
}

// Snapshot is what was seen last of every lineage at every target, for
// everybody to read. It holds neither keys nor what programs have printed.
type Snapshot struct {
	Schema       string     `json:"schema"`
	Certificates []Sighting `json:"certificates"`
}

const snapshotSchema = "certlatch.snapshot/1"

// SnapshotFile is where the snapshot lies in its directory.
func SnapshotFile(dir string) string { return filepath.Join(dir, "status.json") }

// Of a sighting there are some 2 KiB, and some run for 100,000 lineages.
const maxSnapshot = 512 << 20 // bytes

// ReadSnapshot reads the snapshot in a directory. One that is not there is
// fs.ErrNotExist, and one that cannot be read as a snapshot is a *Damage.
func ReadSnapshot(dir string) (*Snapshot, error) {
	path := SnapshotFile(dir)
	data, err := read(path, maxSnapshot)
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	snapshot := new(Snapshot)
	damage := decode(path, data, snapshot)
	if damage == nil && snapshot.Schema != snapshotSchema {
		damage = &Damage{Path: path, What: fmt.Sprintf("is JSON of another form: its schema is %.40q", snapshot.Schema)}
	}
	for _, c := range snapshot.Certificates {
		if damage == nil && !c.whole() {
			damage = &Damage{Path: path, What: fmt.Sprintf("is JSON of another form: of %.80q at %.80q something is missing", c.Lineage, c.Target)}
		}
	}
	if damage != nil {
		return nil, fmt.Errorf("read snapshot: %w", damage)
	}
	return snapshot, nil
}

// whole reports whether a sighting has all that its readers rely on: what is
// pending has a reason, what differs was issued, and a probe saw something or
// says why not.
func (s Sighting) whole() bool {
	pending := s.State == "pending" || s.State == "failed"
	return (!pending || s.Pending != nil) && (s.Differs == nil || s.Issued != nil) &&
		!slices.ContainsFunc(s.Served, func(p Served) bool { return p.Error == nil && (p.Leaf == nil || p.Probe == nil) })
}

// WriteSnapshot writes the snapshot, for everybody to read, into a directory
// that is made where it is missing; the one above must be there.
func WriteSnapshot(dir string, certificates []Sighting) error {
	data, err := json.Marshal(Snapshot{snapshotSchema, certificates})
	if err != nil {
		return fmt.Errorf("encode snapshot: %w", err)
	}
	err = disk.MakeDir(dir, disk.Own(0o755))
	if err == nil {
		err = put(SnapshotFile(dir), append(data, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// Of finds what was seen last of a lineage at a target; nil: nothing was.
func (s *Snapshot) Of(target, lineage string) *Sighting {
	for i := range s.Certificates {
		if c := &s.Certificates[i]; c.Target == target && c.Lineage == lineage {
			return c
		}
	}
	return nil
}
