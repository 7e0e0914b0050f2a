package rows

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/disk"
)

// sqlite is a database in a file, behind the sqlite3 shell. Every value goes to
// the shell's standard input in hexadecimal: no argument list shows it, and no
// quote in it can end it.
type sqlite struct {
	run  func(ctx context.Context, as Keeper, argv []string, input []byte) (stdout, stderr string, err error)
	path string // without links
	as   Keeper
}

func (d Databases) openSQLite(u *url.URL) (database, error) {
	switch {
	case u.Host != "" || u.User != nil || u.RawQuery != "" || !filepath.IsAbs(u.Path) || filepath.Clean(u.Path) != u.Path:
		return nil, addressError(u, "is not of the form sqlite:///PATH", "Write three slashes and the absolute path, without anything else.")
	case d.SQLite == nil:
		return nil, addressError(u, "cannot be opened: there is no way to run sqlite3", "Use a database server.")
	}
	_, path, err := disk.Trace(u.Path)
	if err != nil {
		return nil, err
	}
	as, err := keeperOf(path)
	if err != nil {
		return nil, err
	}
	return &sqlite{d.SQLite, path, as}, nil
}

// keeperOf returns the account to open a file as: its owner. It fails where a
// file belongs to root and somebody else can write to it, or replace it or its
// journal. Without root it returns the effective user.
func keeperOf(path string) (Keeper, error) {
	if uid := os.Geteuid(); uid != 0 {
		return Keeper{uint32(uid), uint32(os.Getegid())}, nil
	}
	file, err := lstat(path)
	if err != nil {
		return Keeper{}, err
	}
	for at := path; file.Uid == 0; at = filepath.Dir(at) {
		st, err := lstat(at)
		if err != nil {
			return Keeper{}, err
		}
		beside := at == path || at == filepath.Dir(path)
		sticky := st.Mode&unix.S_ISVTX != 0 && !beside // in a sticky directory, root's directories below stay where they are
		if st.Uid != 0 || st.Mode&0o022 != 0 && !sticky {
			return Keeper{}, &AddressError{
				path, "is root's file, and others than root may write to " + at,
				"Let the file belong to the user that the service runs as.",
			}
		}
		if at == "/" {
			break
		}
	}
	return Keeper{file.Uid, file.Gid}, nil
}

func lstat(path string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, &fs.PathError{Op: "look at", Path: path, Err: err}
	}
	return &st, nil
}

func (s *sqlite) limit() int   { return 0 }
func (s *sqlite) close() error { return nil }

func (s *sqlite) read(ctx context.Context, row deployers.Row) ([]pair, error) {
	out, err := s.query(ctx, "SELECT quote(CAST(certificate AS BLOB)), quote(CAST(private_key AS BLOB)) FROM %s WHERE %s;", row.Table, whereClause(row))
	if err != nil {
		return nil, err
	}
	var pairs []pair
	for line := range strings.Lines(out) {
		certificate, key, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "|")
		c, errC := unquote(certificate)
		k, errK := unquote(key)
		if errC != nil || errK != nil {
			return nil, errors.New("the answer of sqlite3 cannot be understood")
		}
		pairs = append(pairs, newPair(c, k))
	}
	return pairs, nil
}

func (s *sqlite) table(ctx context.Context, row deployers.Row) ([]Entry, error) {
	out, err := s.query(ctx, "SELECT type, quote(CAST(domain AS BLOB)), quote(CAST(certificate AS BLOB)), quote(CAST(private_key AS BLOB)) FROM %s;", row.Table)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for line := range strings.Lines(out) {
		columns := append(strings.Split(strings.TrimSuffix(line, "\n"), "|"), "", "", "")
		kind, errT := strconv.Atoi(columns[0])
		domain, errD := unquote(columns[1])
		certificate, errC := unquote(columns[2])
		key, errK := unquote(columns[3])
		if errT != nil || errD != nil || errC != nil || errK != nil {
			return nil, errors.New("the answer of sqlite3 cannot be understood")
		}
		all = append(all, Entry{string(domain), kind, certificate, key})
	}
	return all, nil
}

// try writes something and takes it back, so that the journal is made that an
// update needs, in the directory of the file.
func (s *sqlite) try(ctx context.Context, row deployers.Row) error {
	_, err := s.query(ctx, "BEGIN IMMEDIATE;\nUPDATE %s SET certificate = NULL WHERE %s;\nROLLBACK;", row.Table, whereClause(row))
	return err
}

// swap runs one statement, which SQLite makes a transaction. Its casts are for
// rows that were written as text.
func (s *sqlite) swap(ctx context.Context, row deployers.Row, from, to pair) error {
	out, err := s.query(ctx, "UPDATE %[1]s SET certificate = %[2]s, private_key = %[3]s WHERE %[4]s"+
		" AND CAST(certificate AS BLOB) IS %[5]s AND CAST(private_key AS BLOB) IS %[6]s"+
		" AND (SELECT count(*) FROM %[1]s WHERE %[4]s) = 1;\nSELECT changes();",
		row.Table, blobLiteral(to.certificate), blobLiteral(to.key()), whereClause(row), blobLiteral(from.certificate), blobLiteral(from.key()))
	switch {
	case err != nil:
		return err
	case strings.TrimSpace(out) == "0":
		return errChanged
	case strings.TrimSpace(out) != "1":
		return errors.New("sqlite3 did not say that it changed the row")
	}
	return nil
}

// query runs statements in the shell of sqlite3(1), and returns what it prints:
// no file of the user's settings is read, a database that does not exist is not
// made, and others that hold a lock are waited for. All lines of its messages
// but the first may quote the statement.
func (s *sqlite) query(ctx context.Context, format string, args ...any) (string, error) {
	file := url.URL{Scheme: "file", Path: s.path, RawQuery: "mode=rw"}
	argv := []string{"sqlite3", "-batch", "-bail", "-init", "/dev/null", "-list", "-noheader", file.String()}
	stdout, stderr, err := s.run(ctx, s.as, argv, []byte(".timeout 5000\n"+fmt.Sprintf(format, args...)+"\n"))
	first, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("run sqlite3: %w", context.Cause(ctx))
	case strings.Contains(first, "database is locked"): // SQLITE_BUSY, sqlite.org/rescode.html
		return "", &LockedError{fmt.Sprintf("sqlite3, run as user %d, says: %s", s.as.UID, first)}
	case first != "":
		return "", fmt.Errorf("sqlite3, run as user %d, says: %s", s.as.UID, first)
	case err != nil && stdout != "": // the error may quote the output, which may hold a key
		return "", errors.New("sqlite3 failed after it had answered")
	case err != nil:
		return "", err
	}
	return stdout, nil
}

func whereClause(row deployers.Row) string {
	return fmt.Sprintf("domain = CAST(%s AS TEXT) AND type = %d", blobLiteral([]byte(row.Domain)), row.Type)
}

// blobLiteral returns the SQL literal of bytes; nil is NULL.
func blobLiteral(b []byte) string {
	if b == nil {
		return "NULL"
	}
	return "X'" + hex.EncodeToString(b) + "'"
}

// unquote returns the bytes that SQLite's function quote has made a literal of;
// nil is NULL.
func unquote(literal string) ([]byte, error) {
	if literal == "NULL" {
		return nil, nil
	}
	digits, ok := strings.CutPrefix(literal, "X'")
	digits, ok2 := strings.CutSuffix(digits, "'")
	if !ok || !ok2 {
		return nil, errors.New("not a blob")
	}
	return hex.DecodeString(digits)
}
