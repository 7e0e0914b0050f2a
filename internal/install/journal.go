package install

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/paths"
)

// journal is the intent of a transaction: every name that it will use, and how
// the old content of each differs from the new. It is durable before any of
// them exists. It holds no key bytes.
//
// The journal's name is its phase: [intentFile] until the transaction is over,
// then [keptFile] while leftovers are removed. So the decision to keep is one
// rename, which needs no space. Transactions that are open side by side have a
// number in the name, from the second on: intent-2.json. What could not be put
// back goes to [stuckFile], and names that could not be removed to [leftFile], so
// that they keep nothing else from being deployed.
type journal struct {
	Schema string     `json:"schema"`
	Sets   []entry    `json:"sets,omitempty"`
	Made   []string   `json:"made,omitempty"` // directories that did not exist before, outer ones first
	Left   []leftover `json:"left,omitempty"`
}

const (
	journalSchema = "certlatch.journal/1"

	intentFile = "intent.json"
	keptFile   = "kept.json"
	stuckFile  = "stuck.json"
	leftFile   = "left.json"
	draftFile  = "draft.json" // not yet a journal

	maxJournal = 4 << 20 // bytes
)

// numbered returns the name of a journal among those of its phase.
func numbered(name string, number int) string {
	if number == 1 {
		return name
	}
	phase, extension, _ := strings.Cut(name, ".")
	return fmt.Sprintf("%s-%d.%s", phase, number, extension)
}

// phases matches the names that [numbered] returns.
var phases = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(intent|kept)(-[0-9]+)?(\.json)$`)
})

// phaseOf returns the phase that the journal of a transaction with that name is
// in, [intentFile] or [keptFile]; empty: it is not one.
func phaseOf(name string) string {
	if match := phases().FindStringSubmatch(name); match != nil {
		return match[1] + match[3]
	}
	return ""
}

// unfinished returns the names of the journals of transactions, those first that
// were kept.
func unfinished(d *disk.Dir) ([]string, error) {
	names, err := d.List()
	names = slices.DeleteFunc(names, func(name string) bool { return phaseOf(name) == "" })
	slices.SortStableFunc(names, func(a, b string) int { return strings.Compare(phaseOf(b), phaseOf(a)) })
	return names, err
}

// leftover is a name of certlatch's own making that could not be removed.
type leftover struct {
	Dir   string `json:"dir"`
	Name  string `json:"name"`
	Tree  bool   `json:"tree,omitempty"`  // a generation, with what is in it
	Empty bool   `json:"empty,omitempty"` // a directory that nobody else has put anything into
}

func (l leftover) path() string { return filepath.Join(l.Dir, l.Name) }

// holds reports whether another leftover is below l.
func (l leftover) holds(other leftover) bool {
	_, below := paths.Below(other.path(), l.path())
	return below
}

// entry is a set in the journal.
type entry struct {
	Target     string `json:"target"`
	Lineage    string `json:"lineage"`
	Directory  string `json:"directory,omitempty"`  // managed
	Generation string `json:"generation,omitempty"` // managed: the new one
	Swaps      []swap `json:"swaps"`                // in the order of the commit
	Why        string `json:"why,omitempty"`        // it could not be put back
}

// swap is a name that means something new from the commit on: that of a file in
// place, or of the link to a managed directory's generation.
type swap struct {
	Dir  string   `json:"dir"`
	Name string   `json:"name"`
	Temp string   `json:"temp"` // the new one's name until the commit
	Undo string   `json:"undo"` // a second name of the old one
	Old  identity `json:"old"`
	New  identity `json:"new"`
}

func (s swap) path() string { return filepath.Join(s.Dir, s.Name) }

// identity identifies what a name holds: the SHA-256 of a file, or the target
// of a symlink. It is empty where there is nothing.
type identity string

func fileIdentity(data []byte) identity {
	sum := sha256.Sum256(data)
	return identity("sha256:" + hex.EncodeToString(sum[:]))
}

const linkPrefix = "link:"

func linkIdentity(target string) identity { return identity(linkPrefix + target) }

// target returns the target of a symlink; empty for anything else.
func (id identity) target() string {
	target, ok := strings.CutPrefix(string(id), linkPrefix)
	if !ok {
		return ""
	}
	return target
}

// identityOf returns the identity of what has a name now.
func identityOf(d *disk.Dir, name string) (identity, error) {
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

// openJournal opens the directory of the journals, and removes what a crash has
// left of one that was being written.
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

// writeJournal writes a journal under a name, durably.
func writeJournal(d *disk.Dir, name string, j journal) error {
	j.Schema = journalSchema
	data, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("encode journal: %w", err)
	}
	if err := d.Create(draftFile, data, disk.Own(0o600)); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return moveJournal(d, draftFile, name)
}

func moveJournal(d *disk.Dir, from, to string) error {
	if err := d.Rename(from, to); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return d.Sync()
}

// JournalError says that a journal cannot be understood.
type JournalError struct {
	Path  string
	Why   string
	Newer bool   // a later version wrote it, and can read it
	Sets  []Ref  // the sets in a journal of a later version, as far as this one can read them
	Aside string // where it was put; empty: it stays where it is
}

func (e *JournalError) Error() string { return fmt.Sprintf("journal %s %s", e.Path, e.Why) }

// Ref names a set.
type Ref struct{ Target, Lineage string }

// readJournal returns the journal under a name; nil: there is none. Besides
// errors of reading it fails with a *JournalError.
func readJournal(d *disk.Dir, name string) (*journal, error) {
	path := filepath.Join(d.Path(), name)
	data, _, err := d.Read(name, maxJournal)
	switch irregular, large := new(disk.IrregularError), new(disk.SizeError); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.As(err, &irregular), errors.As(err, &large):
		return nil, &JournalError{Path: path, Why: "is none: " + err.Error()}
	case err != nil:
		return nil, fmt.Errorf("read journal: %w", err)
	}
	j := &journal{}
	switch err := json.Unmarshal(data, j); {
	case len(data) == 0:
		return nil, &JournalError{Path: path, Why: "is empty"}
	case strings.HasPrefix(j.Schema, "certlatch.journal/") && j.Schema != journalSchema:
		newer := &JournalError{Path: path, Why: "is of another version of certlatch (" + j.Schema + ")", Newer: true}
		for _, e := range j.Sets {
			newer.Sets = append(newer.Sets, Ref{e.Target, e.Lineage})
		}
		return nil, newer
	case err != nil:
		return nil, &JournalError{Path: path, Why: "is damaged: " + err.Error()}
	case j.Schema != journalSchema:
		return nil, &JournalError{Path: path, Why: "is not a journal"}
	}
	return j, nil
}

// discard removes a name, if it is there. It checks that first, since removing
// a name fails on a file system that is read-only by now, even where there is
// nothing to remove.
func discard(d *disk.Dir, name string) error {
	if _, err := d.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.Remove(name)
}
