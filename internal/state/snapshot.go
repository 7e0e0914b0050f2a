package state

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Certificate is the condition of one lineage at one target. The words are the
// engine's.
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
	Changed   *Changed      `json:"changed"` // nil: what is installed is certlatch's, or it is not known whose

	// ChainEnds is when the way to a trusted root ends, where that is before the leaf
	// does; nil: it is not, as far as is known.
	ChainEnds *time.Time `json:"chain_ends"`

	// NotOurs is what the service takes in place of the target's files; nil: it takes
	// those, or that is not known.
	NotOurs *deployers.NotOurs `json:"not_ours"`

	// ReloadsLeft is how many more reloads the service can bear before it has
	// to be restarted; nil: no limit is known.
	ReloadsLeft *int `json:"reloads_left"`
}

// Wanted returns the leaf that is to be served: the one issued, or where that is not
// known the one installed; nil: neither is.
func (c Certificate) Wanted() *lineage.Leaf {
	if c.Issued != nil {
		return c.Issued
	}
	return c.Installed
}

// Served is what one probe saw, or why there is no probe.
type Served struct {
	Probe *string       `json:"probe"`
	Leaf  *lineage.Leaf `json:"leaf"`
	Error *string       `json:"error"`
}

// Waiting is what everybody may know about a pending deployment.
type Waiting struct {
	Reason   string     `json:"reason"`
	Attempts int        `json:"attempts"`
	Next     *time.Time `json:"next"`
	Once     bool       `json:"once,omitempty"` // the service was restarted for it, and is not again by itself
}

// Sighting is a certificate as it was found at one time. Its state is of that
// time; whether the certificate has expired since is for the reader to add.
type Sighting struct {
	Certificate
	Looked  time.Time  `json:"looked"`
	Differs *time.Time `json:"differs"` // since when what is installed or served is not the wanted leaf; nil: it is
	Hold    *string    `json:"hold"`    // why the target is held; nil: it is not
	Outage  *Outage    `json:"outage,omitempty"`

	// Endangers is what the service serves beside the target and would lose by its
	// next activation; nil: nothing that is known.
	Endangers *string `json:"endangers,omitempty"`
}

// Changed says that somebody has put another pair where a proven one was.
type Changed struct {
	Proven     lineage.Leaf `json:"proven"`
	Generation string       `json:"generation"` // of what was proven
	Time       time.Time    `json:"time"`       // of the proof

	// By is who is known to write there, or to reload the service: files, with
	// their lines, and none of what they hold, which is for their readers alone.
	// Nil: nobody is known, or who looks may not know it.
	By []string `json:"by"`
}

// Outage says that a probe of a certificate that was proven to be served
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

	// Unclaimed are the lineages that no target takes.
	Unclaimed []Unclaimed `json:"unclaimed,omitempty"`
}

// Unclaimed is a lineage that no target takes.
type Unclaimed struct {
	Lineage string `json:"lineage"`
	Client  string `json:"client"`

	// Served is a probe at which a service that some target knows shows a certificate
	// for the lineage's names that is no target's; nil: none is known.
	Served *string `json:"served"`
}

const snapshotSchema = "certlatch.snapshot/1"

// SnapshotFile returns the path of the snapshot in a directory.
func SnapshotFile(dir string) string { return filepath.Join(dir, "status.json") }

// maxSnapshot bounds a snapshot. A sighting takes some 2 KiB, and there may be
// 100,000 of them.
const maxSnapshot = 512 << 20 // bytes

// ReadSnapshot returns the snapshot in a directory. It fails with
// fs.ErrNotExist where there is none, and with a *Damage where it cannot be
// read as a snapshot.
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
		if damage == nil && !c.isWhole() {
			damage = &Damage{Path: path, What: fmt.Sprintf("is JSON of another form: of %.80q at %.80q something is missing", c.Lineage, c.Target)}
		}
	}
	if damage != nil {
		return nil, fmt.Errorf("read snapshot: %w", damage)
	}
	return snapshot, nil
}

// isWhole reports whether a sighting has all that its readers rely on: a reason
// for what is pending, a wanted leaf for what differs, and for each probe what
// it saw or why it saw nothing.
func (s Sighting) isWhole() bool {
	pending := s.State == "pending" || s.State == "failed"
	return (!pending || s.Pending != nil) && (s.Differs == nil || s.Wanted() != nil) &&
		!slices.ContainsFunc(s.Served, func(p Served) bool { return p.Error == nil && (p.Leaf == nil || p.Probe == nil) })
}

// WriteSnapshot writes the snapshot, for everybody to read, into a directory,
// which it makes where it is missing; the one above must exist.
func WriteSnapshot(dir string, certificates []Sighting, unclaimed []Unclaimed) error {
	data, err := json.Marshal(Snapshot{snapshotSchema, certificates, unclaimed})
	if err != nil {
		return fmt.Errorf("encode snapshot: %w", err)
	}
	err = disk.MakeDir(dir, disk.Own(0o755))
	if err == nil {
		err = replaceFile(SnapshotFile(dir), append(data, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// Lookup returns a function that returns the sighting of a lineage at a target;
// nil: there is none.
func (s *Snapshot) Lookup() func(target, lineage string) *Sighting {
	type place struct{ target, lineage string }
	all := make(map[place]*Sighting, len(s.Certificates))
	for i := range s.Certificates {
		c := &s.Certificates[i]
		all[place{c.Target, c.Lineage}] = c
	}
	return func(target, lineage string) *Sighting { return all[place{target, lineage}] }
}
