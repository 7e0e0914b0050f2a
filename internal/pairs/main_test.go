package pairs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/rows"
)

// TestMain lets files be made where they are trusted.
func TestMain(m *testing.M) {
	need.KeptTemp()
	os.Exit(m.Run())
}

// host is files and rows to keep pairs in.
type host struct {
	Storage
	db  *databases
	dir string
	ca  *pki.CA

	looks int
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{db: newDatabases(), dir: t.TempDir(), ca: pki.NewCA(t, "Root")}
	h.Storage = New(install.New(h.journal("")), h.db)
	return h
}

func (h *host) path(name string) string    { return filepath.Join(h.dir, name) }
func (h *host) journal(name string) string { return filepath.Join(h.dir, "journal", name) }

// bundle returns a new pair.
func (h *host) bundle(t *testing.T) *lineage.Bundle {
	t.Helper()
	leaf := h.ca.Leaf(t, pki.Names("web.example"))
	bundle, findings := lineage.Parse(lineage.Lineage{Name: "web.example"}, leaf.Fullchain, nil, leaf.Key)
	if bundle == nil {
		t.Fatal(findings)
	}
	return bundle
}

// inFiles returns a place in two files of a directory, which is made.
func (h *host) inFiles(t *testing.T, name string) Place {
	t.Helper()
	if err := os.MkdirAll(h.path(name), 0o700); err != nil {
		t.Fatal(err)
	}
	return Place{Ref: install.Ref{Target: name, Lineage: "web.example"}, Files: []deployers.File{
		{Path: filepath.Join(h.path(name), "cert.pem"), Content: deployers.Fullchain, Mode: 0o644},
		{Path: filepath.Join(h.path(name), "key.pem"), Content: deployers.Key, Mode: 0o600},
	}}
}

// inDirectory returns a place in a managed directory.
func (h *host) inDirectory(name string) Place {
	current := filepath.Join(h.path(name), "current")
	return Place{Ref: install.Ref{Target: name, Lineage: "web.example"}, Directory: h.path(name), Files: []deployers.File{
		{Path: filepath.Join(current, "fullchain.pem"), Content: deployers.Fullchain, Mode: 0o644},
		{Path: filepath.Join(current, "privkey.pem"), Content: deployers.Key, Mode: 0o600},
	}}
}

// inRow returns a place in a row, which is made and holds nothing.
func (h *host) inRow(name string) Place {
	if _, ok := h.db.held[name]; !ok {
		h.db.held[name] = held{}
	}
	return Place{Ref: install.Ref{Target: name, Lineage: "web.example"}, Row: &deployers.Row{Domain: name}}
}

// look compares a bundle with what is at places.
func (h *host) look(t *testing.T, bundle *lineage.Bundle, places ...Place) []Pair {
	t.Helper()
	var all []Pair
	for _, at := range places {
		h.looks++
		p, err := h.Look(t.Context(), at, bundle, generation(h.looks))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// generation returns a name that no other number has.
func generation(n int) string { return fmt.Sprintf("%s%03d", stamp, n) }

const stamp = "20260102T030405Z-"

// install installs a bundle at places.
func (h *host) install(t *testing.T, bundle *lineage.Bundle, places ...Place) {
	t.Helper()
	staged, err := h.Stage(t.Context(), h.look(t, bundle, places...))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(staged.Commit(t.Context()), staged.Keep()); err != nil {
		t.Fatal(err)
	}
	h.db.events = nil
}

// has demands that places have the leaf of a bundle, whatever is issued, and that
// it is not parsed from a file where it is what is issued.
func (h *host) has(t *testing.T, bundle *lineage.Bundle, places ...Place) {
	t.Helper()
	for _, at := range places {
		for _, issued := range []*lineage.Bundle{nil, bundle, h.bundle(t)} {
			leaf, err := h.Leaf(t.Context(), at, issued)
			if err != nil || !bundle.Leaf.Equal(leaf) {
				t.Errorf("%s has another leaf: %v", at.Ref.Target, err)
			}
			if issued == bundle && at.Row == nil && leaf != bundle.Leaf {
				t.Errorf("%s: the leaf was parsed again", at.Ref.Target)
			}
		}
	}
}

// nothingLeft demands that nothing is left of a transaction anywhere.
func (h *host) nothingLeft(t *testing.T) {
	t.Helper()
	if names := listed(t, h.journal("")); len(names) > 0 {
		t.Errorf("the journal has %q", names)
	}
	if h.db.open != 0 {
		t.Errorf("%d connections are open", h.db.open)
	}
	for _, dir := range listed(t, h.dir) {
		for _, name := range listed(t, h.path(dir)) {
			if known := []string{"cert.pem", "key.pem", "current"}; !slices.Contains(known, name) && !strings.HasPrefix(name, stamp) {
				t.Errorf("%s has %s", dir, name)
			}
		}
	}
}

func listed(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// held is what a row holds.
type held struct {
	certificate []byte
	key         lineage.Secret
}

// databases is rows by their domain. What is done, such as "commit a", is noted,
// and fails where it has an error.
type databases struct {
	held   map[string]held
	fails  map[string]error
	events []string
	open   int
}

func newDatabases() *databases {
	return &databases{held: map[string]held{}, fails: map[string]error{}}
}

func (d *databases) event(what, domain string) error {
	d.events = append(d.events, what+" "+domain)
	return d.fails[what+" "+domain]
}

func (d *databases) Read(_ context.Context, row deployers.Row) ([]byte, lineage.Secret, error) {
	has := d.held[row.Domain]
	return has.certificate, has.key, d.fails["read "+row.Domain]
}

func (d *databases) Table(context.Context, deployers.Row) ([]rows.Entry, error) { return nil, nil }

func (d *databases) Try(context.Context, deployers.Row) error { return nil }

func (d *databases) Stage(_ context.Context, row deployers.Row, certificate []byte, key lineage.Secret) (Change, error) {
	if err := d.event("stage", row.Domain); err != nil {
		return nil, err
	}
	d.open++
	return &change{d, row.Domain, d.held[row.Domain], held{certificate, key}, false}, nil
}

type change struct {
	in            *databases
	domain        string
	previous, new held
	closed        bool
}

func (c *change) write(what string, value held) error {
	if c.closed {
		return errors.New(what + " " + c.domain + " after the end")
	}
	if err := c.in.event(what, c.domain); err != nil {
		return err
	}
	c.in.held[c.domain] = value
	return nil
}

func (c *change) Commit(context.Context) error { return c.write("commit", c.new) }
func (c *change) Undo(context.Context) error   { return c.write("undo", c.previous) }
func (c *change) Close() error {
	if c.closed {
		return errors.New("close " + c.domain + " twice")
	}
	c.closed = true
	c.in.open--
	return c.in.event("close", c.domain)
}

// sqlite returns a database of SQLite with a row for each domain.
func sqlite(t *testing.T, domains ...string) (rows.Databases, deployers.DatabaseURL) {
	t.Helper()
	program := need.Program(t, "sqlite3")
	home := t.TempDir() // without one it warns
	path := filepath.Join(t.TempDir(), "opensips.db")
	run := func(ctx context.Context, _ rows.Keeper, argv []string, input []byte) (string, string, error) {
		var out, errs bytes.Buffer
		cmd := exec.CommandContext(ctx, program, argv[1:]...)
		cmd.Env = append(os.Environ(), "HOME="+home)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
		err := cmd.Run()
		return out.String(), errs.String(), err
	}
	text := "CREATE TABLE tls_mgm (domain CHAR(64) NOT NULL, type INTEGER NOT NULL, certificate BLOB, private_key BLOB);"
	for _, domain := range domains {
		text += "INSERT INTO tls_mgm (domain, type) VALUES ('" + domain + "', 1);"
	}
	if out, errs, err := run(t.Context(), rows.Keeper{}, []string{"", path}, []byte(text)); err != nil || out+errs != "" {
		t.Fatal(out, errs, err)
	}
	return rows.Databases{SQLite: run}, deployers.DatabaseURL("sqlite://" + path)
}
