package pairs

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/state"
)

func TestAt(t *testing.T) {
	target := deployers.Target{Name: "web", ACL: []deployers.Reader{{Kind: "user", Name: "0"}}}
	plan := deployers.Plan{Directory: "/ssl", Files: []deployers.File{{Path: "/ssl/current/a"}}, Row: &deployers.Row{Domain: "a"}}
	want := Place{install.Ref{Target: "web", Lineage: "a"}, "/ssl", plan.Files, plan.Row, target.ACL}
	if got := At(target, "a", plan); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// places returns one of each kind.
func (h *host) places(t *testing.T) map[string]Place {
	return map[string]Place{"files": h.inFiles(t, "files"), "directory": h.inDirectory("directory"), "row": h.inRow("row")}
}

// TestLook is about what is told of what is installed.
func TestLook(t *testing.T) {
	h := newHost(t)
	old, new := h.bundle(t), h.bundle(t)
	for name, at := range h.places(t) {
		t.Run(name, func(t *testing.T) {
			check := func(bundle *lineage.Bundle, same, whole bool, has *lineage.Bundle) {
				t.Helper()
				p := h.look(t, bundle, at)[0]
				if p.Same() != same || p.SameContent() != same || p.Whole() != whole {
					t.Errorf("same: %v, in content: %v, whole: %v", p.Same(), p.SameContent(), p.Whole())
				}
				leaf, err := h.Leaf(t.Context(), at, nil)
				if err != nil {
					t.Error(err)
				}
				if has == nil && (p.Leaf() != nil || leaf != nil) || has != nil && (!has.Leaf.Equal(p.Leaf()) || !has.Leaf.Equal(leaf)) {
					t.Errorf("installed is %v, or %v", p.Leaf(), leaf)
				}
			}
			check(old, false, false, nil)
			h.install(t, old, at)
			check(old, true, true, old)
			check(new, false, true, old)
			h.install(t, new, at)
			check(new, true, true, new)
			h.nothingLeft(t)
		})
	}
}

// Other owners and modes are no other content.
func TestSameContent(t *testing.T) {
	h := newHost(t)
	at, bundle := h.inFiles(t, "web"), h.bundle(t)
	h.install(t, bundle, at)
	if err := os.Chmod(at.Files[0].Path, 0o600); err != nil {
		t.Fatal(err)
	}
	if p := h.look(t, bundle, at)[0]; p.Same() || !p.SameContent() {
		t.Errorf("same: %v, in content: %v", p.Same(), p.SameContent())
	}
	if err := os.Remove(at.Files[1].Path); err != nil {
		t.Fatal(err)
	}
	if p := h.look(t, bundle, at)[0]; p.SameContent() || p.Whole() {
		t.Errorf("without a key, same: %v, whole: %v", p.SameContent(), p.Whole())
	}
}

// TestPaths is about the names of files, of which rows have none.
func TestPaths(t *testing.T) {
	h := newHost(t)
	bundle := h.bundle(t)
	at := h.inFiles(t, "files")
	h.install(t, bundle, at)
	if err := os.Remove(at.Files[0].Path); err != nil {
		t.Fatal(err)
	}
	p := h.look(t, bundle, at)[0]
	cert, key := at.Files[0].Path, at.Files[1].Path
	if all, installed := p.Paths(), p.InstalledPaths(); !slices.Equal(all, []string{cert, key}) || !slices.Equal(installed, []string{key}) {
		t.Errorf("paths are %q, installed are %q", all, installed)
	}
	uid, gid := os.Geteuid(), os.Getegid()
	directory, files := p.Proof()
	if want := []state.File{
		{Path: cert, Content: "fullchain", UID: uid, GID: gid, Mode: 0o644}, {Path: key, Content: "key", UID: uid, GID: gid, Mode: 0o600},
	}; directory != "" || !reflect.DeepEqual(files, want) {
		t.Errorf("remembered is %q, %v", directory, files)
	}
	if directory, files := h.look(t, bundle, h.inDirectory("managed"))[0].Proof(); directory != h.path("managed") || len(files) != 2 {
		t.Errorf("remembered is %q, %v", directory, files)
	}

	row := h.inRow("row")
	h.install(t, bundle, row)
	p = h.look(t, bundle, row)[0]
	directory, files = p.Proof()
	if p.Paths() != nil || p.InstalledPaths() != nil || directory != "" || files != nil {
		t.Errorf("of a row there are %q, %q, %q, %v", p.Paths(), p.InstalledPaths(), directory, files)
	}
}

// TestInstalled is about the pair that can be kept for a rollback.
func TestInstalled(t *testing.T) {
	h := newHost(t)
	bundle, other := h.bundle(t), h.bundle(t)
	l := lineage.Lineage{Name: "web.example"}
	files, row := h.inFiles(t, "files"), h.inRow("row")
	combined := h.inFiles(t, "combined")
	combined.Files = []deployers.File{
		{Path: h.path("combined/both.pem"), Content: deployers.Combined, Mode: 0o600},
		{Path: h.path("combined/key.pem"), Content: deployers.Key, Mode: 0o600},
		{Path: h.path("combined/chain.pem"), Content: deployers.Chain, Mode: 0o644},
	}
	both := combined
	both.Files = append([]deployers.File{{Path: h.path("combined/cert.pem"), Content: deployers.Fullchain, Mode: 0o644}}, combined.Files...)
	for _, at := range []Place{files, row, combined} {
		if got, guarded := h.look(t, bundle, at)[0].Installed(l); got != nil || !guarded {
			t.Errorf("at first, %s has %v, guarded: %v", at.Ref.Target, got, guarded)
		}
		h.install(t, bundle, at)
		got, guarded := h.look(t, other, at)[0].Installed(l)
		if got == nil || !got.Leaf.Equal(bundle.Leaf) || !guarded {
			t.Errorf("%s has %v, guarded: %v", at.Ref.Target, got, guarded)
		}
	}
	cert := bundle.FullchainPEM()
	if err := os.WriteFile(both.Files[0].Path, cert, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(both.Files[1].Path, []byte("no pair"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := h.look(t, bundle, both)[0].Installed(l); got == nil || !got.Leaf.Equal(bundle.Leaf) {
		t.Error("the certificate counts less than what is beside it")
	}

	if err := os.Chmod(h.path("files"), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, guarded := h.look(t, bundle, files)[0].Installed(l); guarded {
		t.Error("everybody could have put the key there")
	}
	if err := os.Remove(files.Files[1].Path); err != nil {
		t.Fatal(err)
	}
	if got, guarded := h.look(t, bundle, files)[0].Installed(l); got != nil || !guarded {
		t.Errorf("without a key there is %v, guarded: %v", got, guarded)
	}
}

// TestHolding makes another pair for the same place.
func TestHolding(t *testing.T) {
	h := newHost(t)
	new, old := h.bundle(t), h.bundle(t)
	for name, at := range h.places(t) {
		t.Run(name, func(t *testing.T) {
			p := h.look(t, new, at)[0]
			other := p.Holding(old, generation(100))
			for _, step := range []struct {
				pair Pair
				has  *lineage.Bundle
			}{{other, old}, {p, new}} {
				staged, err := h.Stage(t.Context(), []Pair{step.pair})
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(staged.Commit(t.Context()), staged.Keep()); err != nil {
					t.Fatal(err)
				}
				h.has(t, step.has, at)
			}
			if at.Directory != "" && !slices.Contains(listed(t, at.Directory), generation(100)) {
				t.Errorf("generations are %q", listed(t, at.Directory))
			}
		})
	}
}

// TestLookFails is about what cannot be looked at.
func TestLookFails(t *testing.T) {
	h := newHost(t)
	bundle := h.bundle(t)
	nobody, nowhere, unreadable := h.inFiles(t, "nobody"), h.inFiles(t, "nowhere"), h.inFiles(t, "unreadable")
	nobody.Files[1].User = "no-such-user"
	nowhere.Readers = []deployers.Reader{{Kind: "user", Name: "no-such-user"}}
	for _, f := range unreadable.Files {
		if err := os.Mkdir(f.Path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h.db.fails["read row"] = errPlain
	for _, test := range []struct {
		at   Place
		is   func(error) bool
		leaf bool // neither can the leaf be found
	}{
		{nobody, is[*account.UnknownError], false}, {nowhere, is[*account.UnknownError], false},
		{unreadable, is[*install.PathError], true}, {h.inRow("row"), is[*outcome.DatabaseError], true},
	} {
		if _, err := h.Look(t.Context(), test.at, bundle, generation(0)); !test.is(err) {
			t.Errorf("%s: %v", test.at.Ref.Target, err)
		}
		if leaf, err := h.Leaf(t.Context(), test.at, nil); leaf != nil || test.is(err) != test.leaf {
			t.Errorf("the leaf of %s: %v, %v", test.at.Ref.Target, leaf, err)
		}
	}
}

var errPlain = errors.New("plain")

func is[E error](err error) bool {
	_, is := errors.AsType[E](err)
	return is
}

// What is there and no certificate is no leaf, and no error.
func TestNoLeaf(t *testing.T) {
	h := newHost(t)
	files, row := h.inFiles(t, "files"), h.inRow("row")
	bundle := h.bundle(t)
	h.install(t, bundle, files)
	chain := files
	chain.Files = []deployers.File{{Path: files.Files[0].Path, Content: deployers.Chain}}
	if p := h.look(t, bundle, chain)[0]; p.Leaf() != nil {
		t.Error("the leaf is that of the chain")
	}
	for _, junk := range [][]byte{[]byte("junk"), nil} {
		if err := os.WriteFile(files.Files[0].Path, junk, 0o600); err != nil {
			t.Fatal(err)
		}
		h.db.held["row"] = held{junk, bundle.KeyPEM()}
		for _, at := range []Place{files, row} {
			if leaf, err := h.Leaf(t.Context(), at, nil); leaf != nil || err != nil {
				t.Errorf("%q at %s: %v, %v", junk, at.Ref.Target, leaf, err)
			}
			if p := h.look(t, bundle, at)[0]; p.Leaf() != nil || p.SameContent() || p.Whole() != (junk != nil || at.Row == nil) {
				t.Errorf("%q at %s: %v, whole: %v", junk, at.Ref.Target, p.Leaf(), p.Whole())
			}
		}
	}
}

// The leaf is looked for where it is, and not in other files.
func TestLeafAlone(t *testing.T) {
	h := newHost(t)
	at, bundle := h.inFiles(t, "web"), h.bundle(t)
	cert, key := at.Files[0].Path, at.Files[1].Path
	for content, data := range map[deployers.Content]lineage.Secret{deployers.Fullchain: bundle.FullchainPEM(), deployers.Combined: deployers.Combined.Of(bundle)} {
		if err := os.WriteFile(cert, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, other := range []deployers.Content{deployers.Key, deployers.Chain} {
			if err := os.MkdirAll(key, 0o700); err != nil { // which cannot be read
				t.Fatal(err)
			}
			place := Place{Ref: at.Ref, Files: []deployers.File{{Path: key, Content: other}, {Path: cert, Content: content}}}
			if leaf, err := h.Leaf(t.Context(), place, nil); err != nil || !bundle.Leaf.Equal(leaf) {
				t.Errorf("%s beside %s: %v, %v", content, other, leaf, err)
			}
		}
	}
}

// The readers of a target's files are named by their ACL.
func TestReaders(t *testing.T) {
	h := newHost(t)
	at, bundle := h.inFiles(t, "web"), h.bundle(t)
	at.Readers = []deployers.Reader{{Kind: "group", Name: "0"}}
	p := h.look(t, bundle, at)[0]
	for _, f := range p.set.Files {
		if !slices.Equal(f.Grants, []disk.Grant{{Group: true, ID: 0}}) {
			t.Errorf("%s is granted to %v", f.Path, f.Grants)
		}
	}
	if p.set.Files[0].HoldsKey || !p.set.Files[1].HoldsKey {
		t.Error("it is not known which file holds the key")
	}
	group := at
	group.Readers = nil
	group.Files = slices.Clone(at.Files)
	for i := range group.Files {
		group.Files[i].Group = "12"
	}
	if p := h.look(t, bundle, group)[0]; p.set.Group != 12 || p.set.Files[0].GID != 12 {
		t.Errorf("the group is %d", p.set.Group)
	}
}

// TestNotCarried is about what files would lose, and rows cannot.
func TestNotCarried(t *testing.T) {
	h := newHost(t)
	at, row, bundle := h.inFiles(t, "files"), h.inRow("row"), h.bundle(t)
	h.install(t, bundle, at, row)
	for _, place := range []Place{at, row} {
		if found, err := h.NotCarried(h.look(t, bundle, place)[0]); found != nil || err != nil {
			t.Errorf("%s: %v, %v", place.Ref.Target, found, err)
		}
	}
	p := h.look(t, bundle, at)[0]
	if err := os.Chmod(h.path("files"), 0o777); err != nil {
		t.Fatal(err)
	}
	key := at.Files[1].Path
	need.That(t, unix.Setxattr(key, "user.note", []byte("x"), 0) == nil, "needs a file system with attributes of users")
	want := []install.NotCarried{{Target: "files", Lineage: "web.example", Path: key, Names: []string{"user.note"}}}
	if found, err := h.NotCarried(p); !reflect.DeepEqual(found, want) || err != nil {
		t.Errorf("it is found %v, %v", found, err)
	}
	staged, err := h.Stage(t.Context(), h.look(t, h.bundle(t), at))
	if err != nil {
		t.Fatal(err)
	}
	if found := staged.NotCarried(); !reflect.DeepEqual(found, want) {
		t.Errorf("staged are files without %v", found)
	}
	if err := staged.Undo(t.Context()); err != nil {
		t.Error(err)
	}
	link := filepath.Join(h.path("files"), "cert.pem")
	if err := errors.Join(os.Remove(link), os.Symlink("/nowhere", link)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.NotCarried(p); !is[*install.PathError](err) {
		t.Errorf("got %v", err)
	}
}

// TestDifferences wants to be told what is otherwise than it should be, and whether
// that is but whose it is.
func TestDifferences(t *testing.T) {
	want := install.Set{Files: []install.File{
		{Path: "/cert", Data: []byte("new"), Mode: 0o644}, {Path: "/key", Data: []byte("key"), Mode: 0o640, Grants: []disk.Grant{}}, {Path: "/chain"},
	}}
	rights := []install.File{{Path: "/cert", Data: []byte("new"), Mode: 0o600}, {Path: "/key", Data: []byte("key"), GID: 4711, Mode: 0o640}, {Path: "/chain"}}
	for _, c := range []struct {
		have  []install.File
		only  bool
		words []string
	}{
		{rights, true, []string{"/cert has the mode 0600, and 0644 is wanted", "/key belongs to root:4711, and root:root is wanted"}},
		{
			[]install.File{{Path: "/cert", Data: []byte("old"), Mode: 0o644}, {Path: "/key", Data: []byte("key"), Mode: 0o640, ACL: []byte("more")}}, false,
			[]string{"/cert holds something else", "/key has another ACL than is wanted", "/chain is missing"},
		},
	} {
		p := Pair{set: want, installed: c.have}
		if words, only := p.Differences(); !slices.Equal(words, c.words) || only != c.only || p.Same() {
			t.Errorf("got %q, only rights: %v, same: %v", words, only, p.Same())
		}
	}
}

// TestIsChanged is about whose a leaf is that is installed at a place.
func TestIsChanged(t *testing.T) {
	h := newHost(t)
	at := h.inFiles(t, "cert.pem")
	of := func(p Place) *state.Proof {
		directory, files := h.look(t, h.bundle(t), p)[0].Proof()
		return &state.Proof{Leaf: lineage.Leaf{Fingerprint: "aa"}, Directory: directory, Files: files}
	}
	for _, test := range []struct {
		name        string
		place       Place
		fingerprint string
		known       state.Record
		want        bool
	}{
		{"nothing was proven", at, "bb", state.Record{}, false},
		{"what was proven", at, "aa", state.Record{Proven: of(at)}, false},
		{"another", at, "bb", state.Record{Proven: of(at)}, true},
		{"what was left there", at, "bb", state.Record{Proven: of(at), Left: "bb"}, false},
		{"another than was left there", at, "cc", state.Record{Proven: of(at), Left: "bb"}, true},
		{"in other files", at, "bb", state.Record{Proven: of(h.inFiles(t, "other.pem"))}, false},
		{"in a directory", at, "bb", state.Record{Proven: of(h.inDirectory("managed"))}, false},
		{"another in a directory", h.inDirectory("managed"), "bb", state.Record{Proven: of(h.inDirectory("managed"))}, true},
		{"another in a row", h.inRow("row"), "bb", state.Record{Proven: of(h.inRow("row"))}, true},
		{"in files that were a row", at, "bb", state.Record{Proven: of(h.inRow("row"))}, false},
	} {
		if got := test.place.IsChanged(test.fingerprint, test.known); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
