package install

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/certlatch/certlatch/internal/disk"
)

// journal is the intent of a transaction: every name that it will use, and how
// to tell old from new. It is durable before any of them exists. It holds no
// key bytes.
//
// The phase is the journal's own name: [intentFile] until the transaction is
// over, then [keptFile] while leftovers are cleared away. So the decision to
// keep is one rename, which needs no space.
type journal struct {
	Schema string   `json:"schema"`
	Sets   []entry  `json:"sets"`
	Made   []string `json:"made"` // directories that did not exist before, outer ones first
}

const (
	journalSchema = "certlatch.journal/1"

	intentFile = "intent.json"
	keptFile   = "kept.json"
	draftFile  = "draft.json" // not yet a journal

	maxJournal = 4 << 20 // bytes
)

// entry is what the journal knows of a set.
type entry struct {
	Target     string `json:"target"`
	Lineage    string `json:"lineage"`
	Directory  string `json:"directory,omitempty"`  // managed
	Generation string `json:"generation,omitempty"` // managed: the new one
	Swaps      []swap `json:"swaps"`                // in the order of the commit
}

// swap is one name that the commit gives to something new: a file in place,
// or the link to a managed directory's generation.
type swap struct {
	Dir  string   `json:"dir"`
	Name string   `json:"name"`
	Temp string   `json:"temp"` // the new one's name until the commit
	Undo string   `json:"undo"` // a second name of the old one
	Old  identity `json:"old"`
	New  identity `json:"new"`
}

func (s swap) path() string { return filepath.Join(s.Dir, s.Name) }

// identity tells one content of a name from another: the SHA-256 of a file,
// or the text of a link. It is empty where there is nothing.
type identity string

func fileIdentity(data []byte) identity {
	sum := sha256.Sum256(data)
	return identity("sha256:" + hex.EncodeToString(sum[:]))
}

const linkPrefix = "link:"

func linkIdentity(target string) identity { return identity(linkPrefix + target) }

// target gives the text of a link; empty for anything else.
func (id identity) target() string {
	target, ok := strings.CutPrefix(string(id), linkPrefix)
	if !ok {
		return ""
	}
	return target
}

// identify looks at what has a name now.
func identify(d *disk.Dir, name string) (identity, error) {
	info, err := d.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if info.Mode.Type() == fs.ModeSymlink {
		target, err := d.Readlink(name)
		return linkIdentity(target), err
	}
	data, _, err := d.Read(name, MaxSize)
	if err != nil {
		return "", err
	}
	return fileIdentity(data), nil
}

// openJournal opens the directory of the journal, without what a crash in the
// middle of writing one left.
func (in *Installer) openJournal() (*disk.Dir, error) {
	if err := disk.MakeAll(in.journalDir, disk.Own(0o700)); err != nil {
		return nil, err
	}
	d, err := disk.Open(in.journalDir)
	if err != nil {
		return nil, err
	}
	if err := discard(d, draftFile); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// writeJournal makes the intent known, durably.
func writeJournal(d *disk.Dir, j journal) error {
	data, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("encode journal: %w", err)
	}
	if err := d.Create(draftFile, data, disk.Own(0o600)); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return moveJournal(d, draftFile, intentFile)
}

func moveJournal(d *disk.Dir, from, to string) error {
	if err := d.Rename(from, to); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return d.Sync()
}

// readJournal gives the journal under a name; nil: there is none.
func readJournal(d *disk.Dir, name string) (*journal, error) {
	data, _, err := d.Read(name, maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	j := &journal{}
	if err := json.Unmarshal(data, j); err != nil || j.Schema != journalSchema {
		return nil, fmt.Errorf("read journal %s: it is damaged or of another version", filepath.Join(d.Path(), name))
	}
	return j, nil
}

// discard removes a name, if it is there. It looks before, since a file
// system that is full, or read-only by now, answers a removal with that even
// where there is nothing to remove.
func discard(d *disk.Dir, name string) error {
	if _, err := d.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.Remove(name)
}

// Interrupted is a set whose transaction was cut off.
type Interrupted struct {
	Target, Lineage string
	Changed         []string // what somebody else replaced since: left as it is
}

// Recover looks for the journal of a transaction that was cut off, and puts
// back the previous state of its sets, or, if it had been kept, clears away
// what it left. It says which sets were not kept. It may be cut off itself,
// and called again. Where something could not be put back, the error is a
// *RestoreError, and the journal stays for the next call.
func (in *Installer) Recover() ([]Interrupted, error) {
	dir, err := in.openJournal()
	if err != nil {
		return nil, err
	}
	t := &Transaction{dir: dir, open: map[string]*disk.Dir{}}
	defer t.close()
	kept, err := readJournal(dir, keptFile)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		t.journal = *kept
		return nil, t.clearKept()
	}
	intent, err := readJournal(dir, intentFile)
	if err != nil || intent == nil {
		return nil, err
	}
	t.journal = *intent
	changed, err := t.restore()
	if err != nil {
		return nil, err
	}
	var interrupted []Interrupted
	for i, e := range intent.Sets {
		interrupted = append(interrupted, Interrupted{e.Target, e.Lineage, changed[i]})
	}
	return interrupted, nil
}
