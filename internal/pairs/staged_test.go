package pairs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/rows"
)

// part is a part of what is staged that notes what is done, and fails where it
// is told to.
type part struct {
	name  string
	log   *[]string
	fails map[string]error
}

func (p part) do(what string) error {
	*p.log = append(*p.log, what+" "+p.name)
	return p.fails[what+" "+p.name]
}

func (p part) Path(final string) string {
	if final == "/"+p.name {
		return "/staged/" + p.name
	}
	return final
}
func (p part) NotCarried() []install.NotCarried {
	return []install.NotCarried{{Target: p.name}}
}
func (p part) Commit(context.Context) error { return p.do("commit") }
func (p part) Undo(context.Context) error   { return p.do("undo") }
func (p part) Keep() error                  { return p.do("keep") }

// TestOrder is about what is done to files and what to rows, and in which order,
// where something of it fails.
func TestOrder(t *testing.T) {
	restore := &install.RestoreError{Err: errPlain}
	notKept := &install.NotKeptError{Err: errPlain}
	left := errors.New("left")
	a, b := install.Ref{Target: "a"}, install.Ref{Target: "b"}
	lostRows, lostFiles := &LostError{[]install.Ref{a}, errors.New("rows")}, &LostError{[]install.Ref{b}, errors.New("files")}
	for _, test := range []struct {
		name  string
		do    func(Staged, context.Context) error
		fails map[string]error
		order string
		err   string // empty: it succeeds
		lost  []install.Ref
	}{
		{"commit", Staged.Commit, nil, "commit files, commit rows", "", nil},
		{"commit fails for files", Staged.Commit, map[string]error{"commit files": errPlain}, "commit files", "plain", nil},
		{"commit fails for rows", Staged.Commit, map[string]error{"commit rows": errPlain}, "commit files, commit rows", "plain", nil},
		{"files cannot be put back", Staged.Commit, map[string]error{"commit files": restore, "keep rows": left}, "commit files, keep rows", restore.Error() + "\nleft", nil},
		{"undo", Staged.Undo, nil, "undo rows, undo files", "", nil},
		{"undo leaves something", Staged.Undo, map[string]error{"undo files": left}, "undo rows, undo files", "left", nil},
		{"undo fails for rows", Staged.Undo, map[string]error{"undo rows": lostRows}, "undo rows, undo files", "put the previous pair back: rows", []install.Ref{a}},
		{"undo fails for files", Staged.Undo, map[string]error{"undo rows": left, "undo files": lostFiles}, "undo rows, undo files", "put the previous pair back: left\nfiles", []install.Ref{b}},
		{"undo fails", Staged.Undo, map[string]error{"undo rows": lostRows, "undo files": lostFiles}, "undo rows, undo files", "put the previous pair back: rows\nfiles", []install.Ref{a, b}},
		{"keep", keep, nil, "keep files, keep rows", "", nil},
		{"keep leaves something", keep, map[string]error{"keep files": left, "keep rows": errPlain}, "keep files, keep rows", "left\nplain", nil},
		{"files are not kept", keep, map[string]error{"keep files": notKept}, "keep files", notKept.Error(), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log []string
			staged := stagedBoth{part{"rows", &log, test.fails}, part{"files", &log, test.fails}}
			err := test.do(staged, t.Context())
			if order := strings.Join(log, ", "); order != test.order {
				t.Errorf("done was %s", order)
			}
			if err == nil && test.err != "" || err != nil && err.Error() != test.err {
				t.Errorf("got %v", err)
			}
			lost, is := errors.AsType[*LostError](err)
			if is != (test.lost != nil) || is && !slices.Equal(lost.Sets, test.lost) {
				t.Errorf("lost is %v", lost)
			}
			if is && (lost.Of(install.Ref{Target: "c"}) || !lost.Of(test.lost[0]) || !errors.Is(err, lost.Err)) {
				t.Errorf("it is not told whose pair is lost: %v", lost)
			}
		})
	}

	both := stagedBoth{part{"rows", nil, nil}, part{"files", nil, nil}}
	for final, want := range map[string]string{"/rows": "/staged/rows", "/files": "/staged/files", "/other": "/other"} {
		if got := both.Path(final); got != want {
			t.Errorf("%s is at %s", final, got)
		}
	}
	if got := both.NotCarried(); len(got) != 2 || got[0].Target != "rows" || got[1].Target != "files" {
		t.Errorf("not carried is %v", got)
	}
}

func keep(s Staged, _ context.Context) error { return s.Keep() }

// everywhere is places of all kinds, mixed.
func (h *host) everywhere(t *testing.T) []Place {
	return []Place{h.inFiles(t, "one"), h.inRow("a"), h.inDirectory("managed"), h.inRow("b"), h.inFiles(t, "two")}
}

// stage stages a new pair for places that hold another, and returns both.
func (h *host) stage(t *testing.T, places []Place) (staged Staged, old, new *lineage.Bundle) {
	t.Helper()
	before, after := h.bundle(t), h.bundle(t)
	h.install(t, before, places...)
	staged, err := h.Stage(t.Context(), h.look(t, after, places...))
	if err != nil {
		t.Fatal(err)
	}
	return staged, before, after
}

// TestStaged takes new pairs of all kinds there, and back.
func TestStaged(t *testing.T) {
	for _, test := range []struct {
		name   string
		end    func(*testing.T, Staged) error
		isNew  bool
		events string
	}{
		{"kept", func(t *testing.T, s Staged) error { return errors.Join(s.Commit(t.Context()), s.Keep()) }, true,
			"stage a, stage b, commit a, commit b, close a, close b"},
		{"undone", func(t *testing.T, s Staged) error { return errors.Join(s.Commit(t.Context()), s.Undo(t.Context())) }, false,
			"stage a, stage b, commit a, commit b, undo b, undo a, close a, close b"},
		{"undone before the commit", func(t *testing.T, s Staged) error { return s.Undo(t.Context()) }, false,
			"stage a, stage b, undo b, undo a, close a, close b"},
		{"undone twice", func(t *testing.T, s Staged) error {
			return errors.Join(s.Commit(t.Context()), s.Undo(t.Context()), s.Undo(t.Context()))
		}, false, "stage a, stage b, commit a, commit b, undo b, undo a, close a, close b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			places := h.everywhere(t)
			staged, old, new := h.stage(t, places)
			final := places[0].Files[1].Path
			path := staged.Path(final)
			content, err := os.ReadFile(path)
			if path == final || err != nil || !slices.Equal(content, new.KeyPEM()) {
				t.Errorf("%s is staged at %s: %v", final, path, err)
			}
			if got := staged.Path("/nowhere"); got != "/nowhere" {
				t.Errorf("/nowhere is staged at %s", got)
			}
			if staged.NotCarried() != nil {
				t.Errorf("not carried is %v", staged.NotCarried())
			}
			if err := test.end(t, staged); err != nil {
				t.Error(err)
			}
			if got := strings.Join(h.db.events, ", "); got != test.events {
				t.Errorf("of rows it was %s", got)
			}
			has := old
			if test.isNew {
				has = new
			}
			h.has(t, has, places...)
			h.nothingLeft(t)
		})
	}
}

// Where there are no files, nothing is done to any, and of nothing, nothing.
func TestNoFilesStaged(t *testing.T) {
	h := newHost(t)
	for _, pairs := range [][]Pair{nil, h.look(t, h.bundle(t), h.inRow("a"))} {
		staged, err := h.Stage(t.Context(), pairs)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(staged.Commit(t.Context()), staged.Keep()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(h.journal("")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("of %d pairs there is a journal: %v", len(pairs), err)
		}
		h.nothingLeft(t)
	}
}

// TestStageFails leaves nothing, and says whose fault it was.
func TestStageFails(t *testing.T) {
	t.Run("rows", func(t *testing.T) {
		h := newHost(t)
		bundle := h.bundle(t)
		a, b, c, files := h.inRow("a"), h.inRow("b"), h.inRow("c"), h.inFiles(t, "files")
		noRow := &rows.NoRowError{Row: "row b"}
		h.db.fails["stage b"], h.db.fails["stage c"], h.db.fails["close a"] = noRow, errPlain, errors.New("broken pipe")
		staged, err := h.Stage(t.Context(), h.look(t, bundle, a, files, b, c))
		faults, is := errors.AsType[Faults](err)
		if staged != nil || !is || len(faults) != 2 || faults[0].Set != b.Ref || faults[1].Set != c.Ref {
			t.Fatalf("got %v", err)
		}
		for i, cause := range []error{noRow, errPlain} {
			if _, database := errors.AsType[*outcome.DatabaseError](faults[i].Err); !database || !errors.Is(faults[i].Err, cause) {
				t.Errorf("%s: %v", faults[i].Set.Target, faults[i].Err)
			}
		}
		if !errors.Is(err, noRow) || err.Error() != noRow.Error()+"\nclose the connection to a database: broken pipe" {
			t.Errorf("got %v", err)
		}
		if got := strings.Join(h.db.events, ", "); got != "stage a, stage b, stage c, close a" {
			t.Errorf("of rows it was %s", got)
		}
		h.nothingLeft(t)
		if names := listed(t, h.path("files")); names != nil {
			t.Errorf("there are %q", names)
		}
	})
	t.Run("files", func(t *testing.T) {
		h := newHost(t)
		files, row := h.inFiles(t, "files"), h.inRow("a")
		pairs := h.look(t, h.bundle(t), files, row)
		if err := os.Mkdir(filepath.Join(h.path("files"), "cert.pem"), 0o755); err != nil {
			t.Fatal(err)
		}
		staged, err := h.Stage(t.Context(), pairs)
		of, is := errors.AsType[*install.SetError](err)
		if staged != nil || !is || of.Set != files.Ref {
			t.Errorf("got %v", err)
		}
		if got := strings.Join(h.db.events, ", "); got != "stage a, close a" {
			t.Errorf("of rows it was %s", got)
		}
		h.nothingLeft(t)
	})
}

// TestCommitFails takes a commit back that fails on its way.
func TestCommitFails(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(*testing.T, *host, Staged, Place)
		is      func(error) bool
		events  string
	}{
		{"for a row", func(_ *testing.T, h *host, _ Staged, _ Place) { h.db.fails["commit b"] = errPlain }, is[*outcome.DatabaseError],
			"stage a, stage b, commit a, commit b, undo b, undo a, close a, close b"},
		{"for a file", func(t *testing.T, _ *host, s Staged, p Place) { remove(t, s.Path(p.Files[0].Path)) }, is[*install.SetError],
			"stage a, stage b, undo b, undo a, close a, close b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			places := h.everywhere(t)
			staged, old, _ := h.stage(t, places)
			test.prepare(t, h, staged, places[0])
			if err := staged.Commit(t.Context()); !test.is(err) {
				t.Errorf("got %v", err)
			}
			if err := staged.Undo(t.Context()); err != nil {
				t.Error(err)
			}
			if got := strings.Join(h.db.events, ", "); got != test.events {
				t.Errorf("of rows it was %s", got)
			}
			h.has(t, old, places...)
			h.nothingLeft(t)
		})
	}
}

// Where the files of a commit cannot be taken back, the rows are left as they
// are, and an undo changes nothing any more.
func TestCommitLosesFiles(t *testing.T) {
	h := newHost(t)
	files, row := h.inFiles(t, "files"), h.inRow("a")
	staged, old, _ := h.stage(t, []Place{files, row})
	key := files.Files[1].Path
	remove(t, secondName(t, key)) // so that the key, which comes first, cannot be put back
	remove(t, staged.Path(files.Files[0].Path))
	err := staged.Commit(t.Context())
	if restore, is := errors.AsType[*install.RestoreError](err); !is || !slices.Equal(restore.Sets, []install.Ref{files.Ref}) {
		t.Errorf("got %v", err)
	}
	if err := staged.Undo(t.Context()); err != nil {
		t.Error(err)
	}
	if got := strings.Join(h.db.events, ", "); got != "stage a, close a" || h.db.open != 0 {
		t.Errorf("of rows it was %s", got)
	}
	h.has(t, old, row)
}

// TestUndoFails tells whose previous pair is not back.
func TestUndoFails(t *testing.T) {
	h := newHost(t)
	one, two, a, b := h.inFiles(t, "one"), h.inFiles(t, "two"), h.inRow("a"), h.inRow("b")
	staged, old, _ := h.stage(t, []Place{one, a, two, b})
	if err := staged.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.db.fails["undo b"], h.db.fails["close a"] = &rows.ChangedError{Row: "row b"}, errPlain
	key := two.Files[1].Path
	if err := os.WriteFile(key+".new", []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(key+".new", key); err != nil {
		t.Fatal(err)
	}
	err := staged.Undo(t.Context())
	lost, is := errors.AsType[*LostError](err)
	if !is || !lost.Of(two.Ref) || !lost.Of(b.Ref) || lost.Of(one.Ref) || lost.Of(a.Ref) {
		t.Errorf("got %v", err)
	}
	for _, says := range []string{"put the previous pair back: row b was changed", "close the connection to a database: plain", "key.pem was changed"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("it does not say %q: %v", says, err)
		}
	}
	h.has(t, old, one, a)
	if h.db.open != 0 {
		t.Errorf("%d connections are open", h.db.open)
	}
}

// What is only left beside the pairs that are back is no loss.
func TestUndoLeaves(t *testing.T) {
	h := newHost(t)
	files, row := h.inFiles(t, "files"), h.inRow("a")
	staged, old, _ := h.stage(t, []Place{files, row})
	path := staged.Path(files.Files[0].Path)
	remove(t, path)
	if err := os.MkdirAll(filepath.Join(path, "somebody's"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.db.fails["close a"] = errPlain
	err := staged.Undo(t.Context())
	if err == nil || is[*LostError](err) || !errors.Is(err, errPlain) {
		t.Errorf("got %v", err)
	}
	h.has(t, old, files, row)
}

// Where it cannot be noted that files stay, all is undone, rows too.
func TestKeepFails(t *testing.T) {
	h := newHost(t)
	files, row := h.inFiles(t, "files"), h.inRow("a")
	staged, old, _ := h.stage(t, []Place{files, row})
	if err := staged.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	remove(t, h.journal("intent.json"))
	if err := staged.Keep(); !is[*install.NotKeptError](err) || h.db.open != 1 {
		t.Errorf("got %v, and %d connections are open", err, h.db.open)
	}
	if err := staged.Undo(t.Context()); err != nil {
		t.Error(err)
	}
	h.has(t, old, files, row)
	h.nothingLeft(t)
}

// TestInSQLite keeps pairs in a real database.
func TestInSQLite(t *testing.T) {
	databases, url := sqlite(t, "a", "b")
	h := newHost(t)
	storage := New(install.New(h.journal("")), In(databases))
	at := Place{Ref: install.Ref{Target: "a"}, Row: &deployers.Row{Database: url, Table: "tls_mgm", Domain: "a", Type: 1}}
	old, new := h.bundle(t), h.bundle(t)
	for _, step := range []struct {
		installs *lineage.Bundle
		end      func(Staged) error
	}{
		{old, func(s Staged) error { return errors.Join(s.Commit(t.Context()), s.Keep()) }},
		{new, func(s Staged) error { return errors.Join(s.Commit(t.Context()), s.Undo(t.Context())) }},
	} {
		p, err := storage.Look(t.Context(), at, step.installs, "")
		if err != nil {
			t.Fatal(err)
		}
		staged, err := storage.Stage(t.Context(), []Pair{p})
		if err != nil {
			t.Fatal(err)
		}
		if err := step.end(staged); err != nil {
			t.Error(err)
		}
		if leaf, err := storage.Leaf(t.Context(), at, nil); err != nil || !leaf.Equal(old.Leaf) {
			t.Errorf("it holds another: %v", err)
		}
	}
	at.Row.Domain = "c"
	if _, err := storage.Leaf(t.Context(), at, nil); !is[*rows.NoRowError](err) {
		t.Errorf("got %v", err)
	}
	p := Pair{Place: at}
	if staged, err := storage.Stage(t.Context(), []Pair{p}); staged != nil || !is[*rows.NoRowError](err) {
		t.Errorf("got %v", err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// secondName returns the other name of a file in its directory.
func secondName(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range listed(t, filepath.Dir(path)) {
		other := filepath.Join(filepath.Dir(path), name)
		if info, err := os.Stat(other); err == nil && other != path && os.SameFile(info, file) {
			return other
		}
	}
	t.Fatal(path + " has no second name")
	return ""
}
