// Package rows keeps certificates that live in a row of a database, as those
// of OpenSIPS do: columns domain, type, certificate and private_key of its
// table tls_mgm (scripts/mysql/tls_mgm-create.sql of opensips 3.2 to 4.0), the
// latter two holding PEM. A row changes as a whole or not at all, and only
// while it is what it was seen to be.
//
// It does not judge what it writes, and does not make a service read it.
// Nothing here survives a crash of this program: whoever commits a change must
// have kept what [Change.Previous] returns before. Where the connection is lost
// during a commit, the row holds the new pair or the old one; Undo can tell.
//
// A database of SQLite is a file of the service's, among others that the
// service may put there. Opening it does what they say: a journal is played
// back into the file, and names a file that is deleted afterwards (SQLite's
// file format, 3; pager.c, pager_playback and pager_delsuper). So it is opened
// as the owner of the file, who gains nothing by that, and as root only where
// nobody but root could have put anything there.
package rows

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Databases opens databases. It connects to MySQL, MariaDB and PostgreSQL
// itself.
type Databases struct {
	// SQLite runs sqlite3, the shell of the host's own SQLite, as somebody,
	// with an argument list and standard input, and returns both output
	// streams. The input holds keys. A driver for SQLite would add 3.4 MB to
	// the program, and could not become somebody else.
	SQLite func(ctx context.Context, as Keeper, argv []string, input []byte) (stdout, stderr string, err error)
}

// Keeper is the account that a database in a file is opened as, without
// supplementary groups.
type Keeper struct{ UID, GID uint32 }

// database is the database of a row.
type database interface {
	// read returns the pairs of all rows that match a row's domain and type.
	read(context.Context, deployers.Row) ([]pair, error)
	// table returns all rows of a row's table.
	table(ctx context.Context, row deployers.Row) ([]Entry, error)
	// try fails where the rights to update a row are missing, and changes nothing.
	try(ctx context.Context, row deployers.Row) error
	// swap replaces the pair from by to, in one transaction. It fails with
	// errChanged where not exactly one row holds from.
	swap(ctx context.Context, row deployers.Row, from, to pair) error
	// limit returns the most that a column holds, in bytes; 0: there is no
	// limit that matters.
	limit() int
	close() error
}

var errChanged = errors.New("the row is not what it was")

// pair is what the two columns of a row hold; nil is NULL.
type pair struct {
	certificate []byte
	key         func() lineage.Secret
}

func newPair(certificate, key []byte) pair {
	return pair{certificate, func() lineage.Secret { return key }}
}

func (p pair) equal(other pair) bool {
	same := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
	return same(p.certificate, other.certificate) && same(p.key(), other.key())
}

// Read returns the pair that a row holds; nil is NULL. It fails with a
// *NoRowError, a *ManyRowsError or an *AddressError.
func (d Databases) Read(ctx context.Context, row deployers.Row) (certificate []byte, key lineage.Secret, err error) {
	db, err := d.open(row)
	if err != nil {
		return nil, nil, err
	}
	defer db.close()
	held, err := readOne(ctx, db, row)
	if err != nil {
		return nil, nil, err
	}
	return held.certificate, held.key(), nil
}

// Entry is one row of a table, and the pair that it holds; nil is NULL.
type Entry struct {
	Domain      string
	Type        int
	Certificate []byte
	Key         lineage.Secret
}

// Table returns all rows of the table that a row is in. It fails with an
// *AddressError.
func (d Databases) Table(ctx context.Context, row deployers.Row) ([]Entry, error) {
	db, err := d.open(row)
	if err != nil {
		return nil, err
	}
	defer db.close()
	all, err := db.table(ctx, row)
	if err != nil {
		return nil, fmt.Errorf("read table %s in %s: %w", row.Table, row.Database, err)
	}
	return all, nil
}

// Try tries whether a row may be updated, and changes nothing. It fails with an
// *AddressError or a *LockedError.
func (d Databases) Try(ctx context.Context, row deployers.Row) error {
	db, err := d.open(row)
	if err != nil {
		return err
	}
	defer db.close()
	if err := db.try(ctx, row); err != nil {
		return fmt.Errorf("try whether %s may be updated: %w", rowName(row), err)
	}
	return nil
}

// Change is an update of one row: staged, committed, and undone or kept.
type Change struct {
	db            database
	row           func() deployers.Row // a function, as its password must not be printed
	previous, new pair
}

// Stage reads the row, and returns the change to another pair. It changes
// nothing yet. It fails like Read, and with a *TooLongError where the row
// cannot hold the pair.
func (d Databases) Stage(ctx context.Context, row deployers.Row, certificate []byte, key lineage.Secret) (*Change, error) {
	db, err := d.open(row)
	if err != nil {
		return nil, err
	}
	c, err := stage(ctx, db, row, newPair(certificate, key))
	if err != nil {
		return nil, errors.Join(err, db.close())
	}
	return c, nil
}

func stage(ctx context.Context, db database, row deployers.Row, wanted pair) (*Change, error) {
	if err := checkLength(db.limit(), wanted); err != nil {
		return nil, err
	}
	previous, err := readOne(ctx, db, row)
	if err != nil {
		return nil, err
	}
	return &Change{db, func() deployers.Row { return row }, previous, wanted}, nil
}

// Previous returns the pair that the row held when the change was staged; nil
// is NULL.
func (c *Change) Previous() (certificate []byte, key lineage.Secret) {
	return c.previous.certificate, c.previous.key()
}

// Commit writes certificate and key in one transaction. It fails with a
// *ChangedError where the row is no longer what Stage read. After any other
// error the row holds the new pair or the previous one.
func (c *Change) Commit(ctx context.Context) error {
	return c.swap(ctx, "update", c.previous, c.new)
}

// Undo writes the previous pair back, unless it is there. It fails with a
// *ChangedError where the row holds neither it nor what Commit wrote.
func (c *Change) Undo(ctx context.Context) error {
	held, err := readOne(ctx, c.db, c.row())
	if err != nil {
		return err
	}
	if held.equal(c.previous) {
		return nil
	}
	return c.swap(ctx, "restore", c.new, c.previous)
}

// Close closes the database.
func (c *Change) Close() error { return c.db.close() }

func (c *Change) swap(ctx context.Context, verb string, from, to pair) error {
	row := c.row()
	err := c.db.swap(ctx, row, from, to)
	if errors.Is(err, errChanged) {
		return &ChangedError{rowName(row)}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, rowName(row), err)
	}
	return nil
}

// readOne returns the pair of the one row that there must be.
func readOne(ctx context.Context, db database, row deployers.Row) (pair, error) {
	held, err := db.read(ctx, row)
	switch {
	case err != nil:
		return pair{}, fmt.Errorf("read %s: %w", rowName(row), err)
	case len(held) == 0:
		return pair{}, &NoRowError{rowName(row)}
	case len(held) > 1:
		return pair{}, &ManyRowsError{rowName(row), len(held)}
	}
	return held[0], nil
}

func checkLength(limit int, p pair) error {
	for _, column := range []struct {
		name   string
		length int
	}{{"certificate", len(p.certificate)}, {"private_key", len(p.key())}} {
		if limit > 0 && column.length > limit {
			return &TooLongError{column.name, column.length, limit}
		}
	}
	return nil
}

// plainTable matches a table name that needs no quotes in any of the databases,
// and so cannot end the name in a statement.
var plainTable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) })

// rowName returns what messages call a row.
func rowName(row deployers.Row) string {
	return fmt.Sprintf("row (domain %q, type %d) of table %s in %s", row.Domain, row.Type, row.Table, row.Database)
}
