package state

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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

// ReadSnapshot reads the snapshot in a directory. One that is not there is
// fs.ErrNotExist.
func ReadSnapshot(dir string) (*Snapshot, error) {
	data, err := os.ReadFile(SnapshotFile(dir))
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	snapshot := new(Snapshot)
	if err := json.Unmarshal(data, snapshot); err != nil || snapshot.Schema != snapshotSchema {
		return nil, fmt.Errorf("read snapshot %s: it is damaged or of another version", SnapshotFile(dir))
	}
	return snapshot, nil
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
		err = disk.Replace(SnapshotFile(dir), append(data, '\n'), 0o644)
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
