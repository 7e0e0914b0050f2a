// Package pairs knows where targets keep their pairs of certificate and key, in
// files or in a row of a database, and takes a new pair there or back. How
// files are replaced is package install's part, and how a row is package rows'.
//
// It does not promise that a service reads what is stored.
package pairs

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

// Storage is where pairs are kept.
type Storage interface {
	// Look compares a bundle with what is installed at a place. In the managed
	// layout it is to be installed as a generation of a name that was never used,
	// whatever it is kept as in the state directory.
	Look(ctx context.Context, at Place, bundle *lineage.Bundle, generation string) (Pair, error)
	// Leaf returns the leaf that is installed; nil: there is none that can be read.
	// Where the issued bundle is what is installed, nothing is parsed; it may be nil.
	Leaf(ctx context.Context, at Place, issued *lineage.Bundle) (*x509.Certificate, error)
	// Stage makes everything ready that the commit of pairs needs. Nothing is
	// installed yet, and if anything fails, nothing stays. What can be put down to
	// some of the pairs is in an *install.SetError or in [Faults].
	Stage(ctx context.Context, new []Pair) (Staged, error)
	// NotCarried returns what a new pair would not get from the files that it
	// replaces.
	NotCarried(p Pair) ([]install.NotCarried, error)
}

// Staged is pairs on their way. It ends with Undo or Keep.
type Staged interface {
	// Path returns where the file is before the commit that will appear at a path.
	Path(final string) string
	// NotCarried returns what the new files have not got from those that they
	// replace.
	NotCarried() []install.NotCarried
	// Commit installs the pairs. Where it fails they may be installed in part,
	// until Undo; an *install.RestoreError says that files cannot be put back.
	Commit(ctx context.Context) error
	// Undo puts the previous pairs back. It fails with a *LostError where it could
	// not; otherwise its error is about something that is left beside them.
	Undo(ctx context.Context) error
	// Keep lets the pairs stay. It fails with an *install.NotKeptError where that
	// could not be noted, and they are to be undone; otherwise its error is about
	// something that is left beside them.
	Keep() error
}

// LostError says that previous pairs are not back.
type LostError struct {
	Sets []install.Ref // whose
	Err  error
}

// Of reports whether the previous pair of a set is not back.
func (e *LostError) Of(set install.Ref) bool { return slices.Contains(e.Sets, set) }

func (e *LostError) Error() string { return "put the previous pair back: " + e.Err.Error() }
func (e *LostError) Unwrap() error { return e.Err }

// Fault is what went wrong with one pair of several.
type Fault struct {
	Set install.Ref
	Err error
}

// Faults is what went wrong with some of several pairs.
type Faults []Fault

// Error returns the text of the first.
func (f Faults) Error() string { return f[0].Err.Error() }

// Unwrap returns the first.
func (f Faults) Unwrap() error { return f[0].Err }

// Place is where the pair of a lineage is kept at a target.
type Place struct {
	Ref       install.Ref
	Directory string // managed layout; empty: in place, or in a row
	Files     []deployers.File
	Row       *deployers.Row // nil: in files
	Readers   []deployers.Reader
}

// At returns the place that a plan for a target names.
func At(t deployers.Target, lineage string, plan deployers.Plan) Place {
	return Place{install.Ref{Target: t.Name, Lineage: lineage}, plan.Directory, plan.Files, plan.Row, t.ACL}
}

// IsChanged reports whether somebody else has put a leaf with a fingerprint there: it is
// neither the one that was proven there, nor one that certlatch has left there since.
func (p Place) IsChanged(fingerprint string, known state.Record) bool {
	proven := known.Proven
	return proven != nil && fingerprint != proven.Leaf.Fingerprint && fingerprint != known.Left &&
		p.Directory == proven.Directory && slices.EqualFunc(p.Files, proven.Files, func(f deployers.File, then state.File) bool { return f.Path == then.Path })
}

// Pair is a bundle as it is to be installed at a place, and what is installed
// there. It is not changed.
type Pair struct {
	Place     Place
	set       install.Set
	installed []install.File
	missing   []install.Directory
	leaf      *x509.Certificate // of what is installed; nil: there is none that can be read
}

// Missing returns the directories that are made for the pair, outer ones first.
func (p Pair) Missing() []install.Directory { return p.missing }

// Same reports whether what is installed is the bundle already, owner and mode
// too.
func (p Pair) Same() bool { return install.Same(p.set, p.installed) }

// Differences returns what is installed otherwise than it should be, in words, and
// reports whether that is owners, modes and ACLs alone.
func (p Pair) Differences() (words []string, onlyRights bool) {
	onlyRights = true
	for _, d := range install.Differences(p.set, p.installed) {
		path, want, have := d.Want.Path, d.Want, d.Have
		if d.Missing {
			words = append(words, path+" is missing")
		}
		if d.Bytes {
			words = append(words, path+" holds something else")
		}
		onlyRights = onlyRights && !d.Missing && !d.Bytes
		if d.Owner {
			words = append(words, fmt.Sprintf("%s belongs to %s, and %s is wanted", path, account.OwnerName(have.UID, have.GID), account.OwnerName(want.UID, want.GID)))
		}
		if d.Mode {
			words = append(words, fmt.Sprintf("%s has the mode %04o, and %04o is wanted", path, have.Mode.Perm(), want.Mode.Perm()))
		}
		if d.Grant {
			words = append(words, path+" has another ACL than is wanted")
		}
	}
	return words, onlyRights
}

// SameContent reports whether what is installed is the bundle already, whoever
// may read it.
func (p Pair) SameContent() bool {
	return p.Whole() && !slices.ContainsFunc(p.set.Files, func(want install.File) bool {
		have, is := find(p.installed, want.Path)
		return !is || !slices.Equal(have.Data, want.Data)
	})
}

// Whole reports whether everything that is to be installed is there in some
// form.
func (p Pair) Whole() bool { return len(p.installed) == len(p.set.Files) }

// Leaf returns the leaf that is installed; nil: there is none that can be read.
func (p Pair) Leaf() *x509.Certificate { return p.leaf }

// Chain returns the leaf that is installed, and where it is another than is to be
// installed the certificates beside it; nil: there is none that can be read.
func (p Pair) Chain() []*x509.Certificate {
	if p.leaf == nil {
		return nil
	}
	chain := []*x509.Certificate{p.leaf}
	if p.SameContent() {
		return chain
	}
	for _, f := range p.Place.contents() {
		have, is := find(p.installed, f.Path)
		if !is || f.Content == deployers.Key {
			continue
		}
		certs, err := lineage.ParseCertificates(have.Data)
		if err != nil {
			continue // as much as can be read
		}
		for _, cert := range certs {
			if !slices.ContainsFunc(chain, cert.Equal) {
				chain = append(chain, cert)
			}
		}
	}
	return chain
}

// Paths returns the final paths of the files; none where the pair is in a row.
func (p Pair) Paths() []string {
	var all []string
	for _, f := range p.files() {
		all = append(all, f.Path)
	}
	return all
}

// InstalledPaths returns the paths of the files that are installed.
func (p Pair) InstalledPaths() []string {
	var all []string
	for _, f := range p.installed {
		if p.Place.Row == nil {
			all = append(all, f.Path)
		}
	}
	return all
}

func (p Pair) files() []install.File {
	if p.Place.Row != nil {
		return nil
	}
	return p.set.Files
}

// Proof returns what is to be remembered of the files, so that it can be told
// from them alone whether they are as they were. There are none where the pair is
// in a row.
func (p Pair) Proof() (directory string, files []state.File) {
	for i, f := range p.files() {
		files = append(files, state.File{Path: f.Path, Content: string(p.Place.Files[i].Content), UID: f.UID, GID: f.GID, Mode: f.Mode})
	}
	return p.set.Directory, files
}

// Installed returns what is installed as a bundle of a lineage; nil: it is not a
// pair. Guarded reports whether nobody can have put the key there who may not
// read it.
func (p Pair) Installed(of lineage.Lineage) (bundle *lineage.Bundle, guarded bool) {
	var chain, key []byte
	guarded = true
	for _, f := range p.Place.contents() {
		have, is := find(p.installed, f.Path)
		if is && f.Content.HoldsKey() && p.Place.Row == nil {
			guarded = guarded && have.Kept
		}
		switch {
		case !is:
		case f.Content == deployers.Fullchain || f.Content == deployers.Combined && chain == nil:
			chain = have.Data
		case f.Content == deployers.Key:
			key = have.Data
		}
	}
	bundle, _ = lineage.Parse(of, chain, nil, key)
	return bundle, guarded
}

// Holding returns the pair with another bundle, as another generation.
func (p Pair) Holding(bundle *lineage.Bundle, generation string) Pair {
	p.set.Generation, p.set.Files = generation, slices.Clone(p.set.Files)
	for i, f := range p.Place.contents() {
		p.set.Files[i].Data = f.Content.Of(bundle)
	}
	return p
}

// The columns of a row stand for files without owner and mode, under these
// names.
const (
	certificateColumn = "certificate"
	keyColumn         = "private_key"
)

// contents returns what is in which of the files, or columns.
func (p Place) contents() []deployers.File {
	if p.Row != nil {
		return []deployers.File{
			{Path: certificateColumn, Content: deployers.Fullchain},
			{Path: keyColumn, Content: deployers.Key},
		}
	}
	return p.Files
}

func find(files []install.File, path string) (install.File, bool) {
	at := slices.IndexFunc(files, func(have install.File) bool { return have.Path == path })
	if at < 0 {
		return install.File{}, false
	}
	return files[at], true
}

// leafAmong finds the leaf among installed files; nil: there is none, or none
// that can be read. Of a text that is the issued bundle's, the leaf is known.
func leafAmong(contents []deployers.File, files []install.File, issued *lineage.Bundle) *x509.Certificate {
	for _, f := range contents {
		if f.Content == deployers.Chain || f.Content == deployers.Key {
			continue
		}
		have, is := find(files, f.Path)
		if !is {
			continue
		}
		if issued != nil && bytes.Equal(have.Data, f.Content.Of(issued)) {
			return issued.Leaf
		}
		if certs, err := lineage.ParseCertificates(have.Data); err == nil && len(certs) > 0 {
			return certs[0]
		}
	}
	return nil
}
