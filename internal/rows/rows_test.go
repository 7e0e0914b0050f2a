package rows

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
)

func TestMariaDB(t *testing.T) {
	e := mariadb(t)
	suite(t, e)
	serverSuite(t, e)
	t.Run("TooLong", func(t *testing.T) { tooLong(t, e) })
}

func TestPostgreSQL(t *testing.T) {
	e := postgresql(t)
	suite(t, e)
	serverSuite(t, e)
}

func TestSQLite(t *testing.T) {
	e := sqlite3(t)
	suite(t, e)
	t.Run("Text", func(t *testing.T) { text(t, e) })
	t.Run("Missing", missing)
	t.Run("Keeper", func(t *testing.T) { keepers(t, e) })
	t.Run("Interrupted", func(t *testing.T) { interrupted(t, e) })
}

// suite runs the tests that every database must pass.
func suite(t *testing.T, e *engine) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *engine)
	}{
		{"Change", change},
		{"Table", table},
		{"Null", null},
		{"Names", names},
		{"ChangedBeforeCommit", changedBeforeCommit},
		{"ChangedBeforeUndo", changedBeforeUndo},
		{"Gone", gone},
		{"NoRow", noRow},
		{"ManyRows", manyRows},
		{"Long", long},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, e) })
	}
}

// serverSuite runs the tests that every database behind a connection must pass.
func serverSuite(t *testing.T, e *engine) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *engine)
	}{
		{"WrongPassword", wrongPassword},
		{"TLS", overTLS},
		{"Limit", limit},
		{"CrashBeforeCommit", crashBeforeCommit},
		{"CrashDuringUpdate", crashDuringUpdate},
		{"CrashDuringCommit", crashDuringCommit},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, e) })
	}
}

// held is what a row holds; nil is NULL.
type held struct{ Certificate, Key []byte }

var (
	previous = held{[]byte("previous certificate"), []byte("previous secret")}
	renewed  = held{[]byte("renewed 'certificate'\n\\x00\n"), []byte("renewed \x00\xff secret\n")}
	another  = held{[]byte("another certificate"), []byte("another secret")}
)

var databases = Databases{SQLite: feed}

// row inserts a row for one test, and returns it.
func (e *engine) row(t *testing.T, content held) deployers.Row {
	t.Helper()
	row := deployers.Row{Database: e.url, Table: "tls_mgm", Domain: strings.ReplaceAll(t.Name(), "/", "-"), Type: 2}
	e.insert(t, row, content.Certificate, content.Key)
	return row
}

// set changes a row, as somebody else may.
func (e *engine) set(t *testing.T, row deployers.Row, content held) {
	t.Helper()
	e.exec(t, fmt.Sprintf("UPDATE %s SET certificate = %s, private_key = %s WHERE domain = '%s' AND type = %d",
		row.Table, e.literal(content.Certificate), e.literal(content.Key), row.Domain, row.Type))
}

func stageRow(t *testing.T, row deployers.Row, content held) *Change {
	t.Helper()
	c, err := databases.Stage(t.Context(), row, content.Certificate, content.Key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func succeed(t *testing.T, step func(context.Context) error) {
	t.Helper()
	if err := step(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, row deployers.Row) held {
	t.Helper()
	certificate, key, err := databases.Read(t.Context(), row)
	if err != nil {
		t.Fatal(err)
	}
	return held{certificate, key}
}

func holds(t *testing.T, row deployers.Row, want held) {
	t.Helper()
	if diff := cmp.Diff(want, read(t, row)); diff != "" {
		t.Fatalf("the row (-want +got):\n%s", diff)
	}
}

// fails wants an error of type E that holds no secret.
func fails[E error](t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[E](err); !ok {
		t.Fatalf("got %v (%T), want %T", err, err, *new(E))
	}
	discreet(t, err)
}

func discreet(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{"secret", fmt.Sprintf("%x", "secret"), "opensipsrw", "not-this-one"} {
		if strings.Contains(strings.ToLower(err.Error()), secret) {
			t.Errorf("the error holds %q: %v", secret, err)
		}
	}
}

func change(t *testing.T, e *engine) {
	row := e.row(t, previous)
	client := row
	client.Type = 1
	e.insert(t, client, another.Certificate, another.Key)

	c := stageRow(t, row, renewed)
	holds(t, row, previous)
	certificate, key := c.Previous()
	if diff := cmp.Diff(previous, held{certificate, key}); diff != "" {
		t.Errorf("Previous (-want +got):\n%s", diff)
	}
	if printed := fmt.Sprintf("%v %+v %#v", c, *c, c); strings.Contains(printed, "secret") || strings.Contains(printed, "opensipsrw") {
		t.Errorf("a printed Change shows what it must not: %s", printed)
	}
	succeed(t, c.Commit)
	holds(t, row, renewed)
	holds(t, client, another)
	succeed(t, c.Undo)
	holds(t, row, previous)
	succeed(t, c.Undo)
	holds(t, row, previous)
	holds(t, client, another)

	same := stageRow(t, row, previous)
	succeed(t, same.Commit)
	holds(t, row, previous)
}

// table wants all rows to be read, also those of other types and without a pair.
func table(t *testing.T, e *engine) {
	row := e.row(t, renewed)
	client := row
	client.Type = 1
	e.insert(t, client, nil, nil)
	all, err := databases.Table(t.Context(), row)
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]held{}
	for _, entry := range all {
		if entry.Domain == row.Domain {
			found[entry.Type] = held{entry.Certificate, entry.Key}
		}
	}
	if diff := cmp.Diff(map[int]held{1: {}, 2: renewed}, found); diff != "" {
		t.Errorf("the table (-want +got):\n%s", diff)
	}
	if err := databases.Try(t.Context(), row); err != nil {
		t.Error(err)
	}
	holds(t, row, renewed)
	row.Table = "missing"
	if err := databases.Try(t.Context(), row); err == nil {
		t.Error("a table that is missing may be updated")
	}
	_, err = databases.Table(t.Context(), row)
	if err == nil {
		t.Fatal("a table that is missing is read")
	}
	discreet(t, err)
}

func null(t *testing.T, e *engine) {
	for _, content := range []held{{}, {Certificate: []byte{}, Key: nil}} {
		row := e.row(t, content)
		c := stageRow(t, row, renewed)
		succeed(t, c.Commit)
		holds(t, row, renewed)
		succeed(t, c.Undo)
		holds(t, row, content)
		e.exec(t, "DELETE FROM tls_mgm WHERE domain = '"+row.Domain+"'")
	}
}

func names(t *testing.T, e *engine) {
	row := e.row(t, previous)
	for _, domain := range []string{"' OR '1'='1", `" OR ""="`, "x'; DROP TABLE tls_mgm; --", "\n.quit\n", `\`} {
		row.Domain = domain
		_, _, err := databases.Read(t.Context(), row)
		fails[*NoRowError](t, err)
	}
	for _, table := range []string{"", "tls_mgm; DROP TABLE tls_mgm", "tls_mgm--", "`tls_mgm`", "tls_mgm\n"} {
		row.Table = table
		_, _, err := databases.Read(t.Context(), row)
		fails[*AddressError](t, err)
	}
	row.Table = "no_such_table"
	_, err := databases.Stage(t.Context(), row, renewed.Certificate, renewed.Key)
	if err == nil {
		t.Fatal("a missing table was read")
	}
	discreet(t, err)
}

func changedBeforeCommit(t *testing.T, e *engine) {
	for _, now := range []held{another, {another.Certificate, previous.Key}, {previous.Certificate, another.Key}} {
		row := e.row(t, previous)
		c := stageRow(t, row, renewed)
		e.set(t, row, now)
		fails[*ChangedError](t, c.Commit(t.Context()))
		holds(t, row, now)
		fails[*ChangedError](t, c.Undo(t.Context()))
		holds(t, row, now)
		e.exec(t, "DELETE FROM tls_mgm WHERE domain = '"+row.Domain+"'")
	}
}

func changedBeforeUndo(t *testing.T, e *engine) {
	row := e.row(t, previous)
	c := stageRow(t, row, renewed)
	succeed(t, c.Commit)
	e.set(t, row, another)
	fails[*ChangedError](t, c.Undo(t.Context()))
	holds(t, row, another)
}

func gone(t *testing.T, e *engine) {
	row := e.row(t, previous)
	c := stageRow(t, row, renewed)
	e.exec(t, "DELETE FROM tls_mgm WHERE domain = '"+row.Domain+"'")
	fails[*ChangedError](t, c.Commit(t.Context()))
	fails[*NoRowError](t, c.Undo(t.Context()))
}

func noRow(t *testing.T, e *engine) {
	row := e.row(t, previous)
	row.Type = 1
	_, _, err := databases.Read(t.Context(), row)
	fails[*NoRowError](t, err)
	_, err = databases.Stage(t.Context(), row, renewed.Certificate, renewed.Key)
	fails[*NoRowError](t, err)
}

func manyRows(t *testing.T, e *engine) {
	row := deployers.Row{Database: e.url, Table: "twice", Domain: "sip", Type: 2}
	e.insert(t, row, previous.Certificate, previous.Key)
	c := stageRow(t, row, renewed)
	e.insert(t, row, previous.Certificate, previous.Key)
	fails[*ChangedError](t, c.Commit(t.Context()))
	_, _, err := databases.Read(t.Context(), row)
	fails[*ManyRowsError](t, err)
	e.set(t, row, previous) // for both types the rows are as before
	_, err = databases.Stage(t.Context(), row, renewed.Certificate, renewed.Key)
	fails[*ManyRowsError](t, err)
}

// long writes a pair that fills a BLOB of MySQL.
func long(t *testing.T, e *engine) {
	content := held{bytes.Repeat([]byte("c"), mysqlBlob), bytes.Repeat([]byte("k"), mysqlBlob)}
	row := e.row(t, previous)
	c := stageRow(t, row, content)
	succeed(t, c.Commit)
	holds(t, row, content)
	succeed(t, c.Undo)
	holds(t, row, previous)
}

// tooLong wants a pair that the columns cannot hold to be refused beforehand
// and, where the server would cut it off, before the commit.
func tooLong(t *testing.T, e *engine) {
	row := e.row(t, previous)
	content := held{renewed.Certificate, bytes.Repeat([]byte("k"), mysqlBlob+1)}
	_, err := databases.Stage(t.Context(), row, content.Certificate, content.Key)
	fails[*TooLongError](t, err)

	e.exec(t, "CREATE TABLE small (domain CHAR(64) NOT NULL, type INT(1) NOT NULL, certificate BLOB, private_key TINYBLOB)")
	e.exec(t, "SET GLOBAL sql_mode = ''")
	row.Table = "small"
	e.insert(t, row, previous.Certificate, previous.Key)
	content.Key = content.Key[:1000]
	c := stageRow(t, row, content)
	if err := c.Commit(t.Context()); err == nil {
		t.Error("a key was cut off and nobody said so")
	} else {
		discreet(t, err)
	}
	holds(t, row, previous)
}

// text changes a row whose PEM was inserted as text.
func text(t *testing.T, e *engine) {
	row := e.row(t, previous)
	e.exec(t, "UPDATE tls_mgm SET certificate = CAST(certificate AS TEXT), private_key = CAST(private_key AS TEXT) WHERE domain = '"+row.Domain+"'")
	c := stageRow(t, row, renewed)
	succeed(t, c.Commit)
	holds(t, row, renewed)
	succeed(t, c.Undo)
	holds(t, row, previous)
}

// missing wants a database that does not exist not to be made.
func missing(t *testing.T) {
	path := t.TempDir() + "/none.db"
	_, _, err := databases.Read(t.Context(), deployers.Row{Database: deployers.DatabaseURL("sqlite://" + path), Table: "tls_mgm"})
	if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("got %v", err)
	}
}

// keepers wants the shell to run as the owner of the file, and never as root
// where somebody else can put files beside it, or a link on the way.
func keepers(t *testing.T, e *engine) {
	need.Root(t)
	row := e.row(t, held{[]byte("certificate"), []byte("key")})
	at, err := url.Parse(string(e.url))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(at.Path)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := directory(t), t.TempDir()
	put := func(dir, name string, owner int) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, content, 0o600), os.Chown(path, owner, owner)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := filepath.Join(theirs, "link.db")
	if err := os.Symlink(put(ours, "linked.db", 0), link); err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(theirs, "below")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	shared := put(ours, "shared.db", 0)
	if err := os.Chmod(shared, 0o660); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path, opened string
		uid                int // -1: it is refused
	}{
		{"a service's", put(theirs, "a.db", nobody), filepath.Join(theirs, "a.db"), nobody},
		{"root's", put(ours, "a.db", 0), filepath.Join(ours, "a.db"), 0},
		{"root's, linked to", link, filepath.Join(ours, "linked.db"), 0},
		{"root's beside a service's", put(theirs, "root.db", 0), "", -1},
		{"root's below a service's", put(below, "a.db", 0), "", -1},
		{"root's that a group may write to", shared, "", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			uid, opened := -1, ""
			databases := Databases{SQLite: func(ctx context.Context, as Keeper, argv []string, input []byte) (string, string, error) {
				uid, opened = int(as.UID), argv[len(argv)-1]
				return feed(ctx, as, argv, input)
			}}
			row.Database = deployers.DatabaseURL("sqlite://" + c.path)
			certificate, _, err := databases.Read(t.Context(), row)
			if c.uid < 0 {
				fails[*AddressError](t, err)
			} else if err != nil || string(certificate) != "certificate" {
				t.Errorf("got %q, %v", certificate, err)
			}
			if uid != c.uid || c.uid >= 0 && opened != "file://"+c.opened+"?mode=rw" {
				t.Errorf("opened %s as %d, want %s as %d", opened, uid, c.opened, c.uid)
			}
		})
	}
}

func wrongPassword(t *testing.T, e *engine) {
	_, _, err := databases.Read(t.Context(), deployers.Row{Database: e.wrong, Table: "tls_mgm"})
	if err == nil {
		t.Fatal("a wrong password was good enough")
	}
	discreet(t, err)
}

func overTLS(t *testing.T, e *engine) {
	row := e.row(t, previous)
	for parameters, good := range map[string]bool{
		"":                     true,
		"?sslmode=require":     true,
		"?sslmode=verify-full": false, // the system does not know the CA
		"?sslmode=verify-full&sslrootcert=" + e.root: true,
	} {
		row.Database = e.tcp + deployers.DatabaseURL(parameters)
		_, _, err := databases.Read(t.Context(), row)
		if (err == nil) != good {
			t.Errorf("%s: %v", row.Database, err)
		}
		if err != nil {
			discreet(t, err)
		}
	}
	row.Database = deployers.DatabaseURL(strings.Replace(string(e.tcp), "localhost", "127.0.0.1", 1) + "?sslmode=verify-full&sslrootcert=" + e.root)
	if _, _, err := databases.Read(t.Context(), row); err == nil {
		t.Error("a certificate for another name was good enough")
	}
}

// locked runs step while somebody else holds the row, and calls meanwhile when
// it waits.
func locked(t *testing.T, e *engine, row deployers.Row, step func() error, meanwhile func()) error {
	t.Helper()
	db := e.open(t)
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("SELECT * FROM tls_mgm WHERE domain = '" + row.Domain + "' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- step() }()
	for waiting := 0; waiting == 0; {
		select {
		case err := <-result:
			t.Fatalf("ended in spite of the lock: %v", err)
		default:
		}
		if err := db.QueryRow(e.waiting).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	meanwhile()
	return <-result
}

func limit(t *testing.T, e *engine) {
	row := e.row(t, previous)
	c := stageRow(t, row, renewed)
	ctx, cancel := context.WithCancel(t.Context())
	err := locked(t, e, row, func() error { return c.Commit(ctx) }, cancel)
	fails[error](t, err)
	succeed(t, c.Undo)
	holds(t, row, previous)
}

func crashBeforeCommit(t *testing.T, e *engine) {
	row := e.row(t, previous)
	c := stageRow(t, row, renewed)
	e.end()
	fails[error](t, c.Commit(t.Context()))
	fails[error](t, c.Undo(t.Context()))
	e.start(t)
	succeed(t, c.Undo)
	holds(t, row, previous)
	succeed(t, c.Commit)
	holds(t, row, renewed)
}

func crashDuringUpdate(t *testing.T, e *engine) {
	row := e.row(t, previous)
	c := stageRow(t, row, renewed)
	fails[error](t, locked(t, e, row, func() error { return c.Commit(t.Context()) }, e.end))
	e.start(t)
	holds(t, row, previous)
}

func crashDuringCommit(t *testing.T, e *engine) {
	row := e.row(t, previous)
	for round := range 8 {
		c := stageRow(t, row, renewed)
		result := make(chan error, 1)
		go func() { result <- c.Commit(t.Context()) }()
		time.Sleep(time.Duration(round) * time.Millisecond / 2) // not to wait for anything, but to hit another instant
		e.end()
		err := <-result
		e.start(t)
		whole(t, row, err)
		succeed(t, c.Undo)
		holds(t, row, previous)
	}
}

// interrupted kills the sqlite3 shell at several instants.
func interrupted(t *testing.T, e *engine) {
	row := e.row(t, previous)
	for round := range 10 {
		c := stageRow(t, row, renewed)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(round)*time.Millisecond)
		err := c.Commit(ctx)
		cancel()
		whole(t, row, err)
		succeed(t, c.Undo)
		holds(t, row, previous)
	}
}

// whole demands one pair or the other, and the new one where Commit said so.
func whole(t *testing.T, row deployers.Row, err error) {
	t.Helper()
	switch now := read(t, row); {
	case cmp.Equal(now, renewed):
	case cmp.Equal(now, previous) && err != nil:
	default:
		t.Fatalf("after %v the row holds %q", err, now)
	}
}

func TestAddress(t *testing.T) {
	for _, c := range []struct{ url, why string }{
		{"mysql://opensips:opensipsrw@db.example/opensips", "without TLS"},
		{"mysql://opensips:opensipsrw@192.0.2.1/opensips?sslmode=disable", "without TLS"},
		{"postgres://opensips:opensipsrw@db.example/opensips", "without TLS"},
		{"postgres://opensips:opensipsrw@db.example/opensips?sslmode=prefer", "unknown sslmode"},
		{"mysql://opensips:opensipsrw@db.example/opensips?tls=true", "unknown parameter tls"},
		{"mysql://opensips:opensipsrw@localhost/opensips?socket=/s", "both a host and a socket"},
		{"mysql://opensips:opensipsrw@localhost:70000/opensips", "no port"},
		{"mysql://opensips:opensipsrw@localhost", "no user or no database"},
		{"mysql://localhost/opensips", "no user or no database"},
		{"mysql://opensips:opensipsrw@%zz/opensips", "not a URL"},
		{"oracle://opensips:opensipsrw@localhost/opensips", "no database known"},
		{"sqlite://relative.db", "not of the form"},
		{"sqlite:///a/../b.db", "not of the form"},
		{"sqlite:///a.db?mode=rwc", "not of the form"},
	} {
		_, err := databases.Stage(t.Context(), deployers.Row{Database: deployers.DatabaseURL(c.url), Table: "tls_mgm"}, nil, lineage.Secret("secret"))
		fails[*AddressError](t, err)
		if !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: got %v, want %s", c.url, err, c.why)
		}
	}
}
