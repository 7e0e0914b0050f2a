package rows

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/go-sql-driver/mysql"
	"github.com/lib/pq"

	"github.com/certlatch/certlatch/deployers"
)

const (
	mysqlPort    = 3306
	postgresPort = 5432

	// mysqlBlob is the most that a BLOB holds, in bytes (MySQL manual,
	// 13.7: L < 2^16). Without its strict mode the server would cut off the
	// rest.
	mysqlBlob = 1<<16 - 1
)

// server is a database behind a connection.
type server struct {
	db   *sql.DB
	blob int
	// The statements; %s is the table. The parameters of the selection are
	// domain and type, those of the update the new pair, domain, type, and the
	// old pair.
	selection, update string
}

// openMySQL opens a database of MySQL or MariaDB. As for libmysqlclient, and so
// for OpenSIPS, localhost is the UNIX socket, where there is one in a usual
// place.
func openMySQL(a address) (database, error) {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = a.user, a.password, a.database
	config.ClientFoundRows = true // so that an update that changes nothing counts its row too
	config.Logger = &mysql.NopLogger{}
	if a.socket == "" && a.mode == disable && (a.host == "" || a.host == "localhost") {
		a.socket = firstSocket("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock")
	}
	if a.socket != "" {
		config.Net, config.Addr = "unix", a.socket
	} else {
		config.Net, config.Addr = "tcp", net.JoinHostPort(a.dialHost(), strconv.Itoa(int(a.port)))
	}
	var err error
	if config.TLS, err = a.tls(); err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return &server{
		sql.OpenDB(connector), mysqlBlob,
		"SELECT certificate, private_key FROM %s WHERE domain = ? AND type = ?",
		"UPDATE %s SET certificate = ?, private_key = ? WHERE domain = ? AND type = ? AND certificate <=> ? AND private_key <=> ?",
	}, nil
}

// openPostgreSQL opens a database of PostgreSQL. Unlike libpq it takes nothing
// from environment variables.
func openPostgreSQL(a address) (database, error) {
	config := pq.Config{
		User: a.user, Password: a.password, Database: a.database, Host: a.host, Port: a.port,
		SSLMode: pq.SSLMode(a.mode), SSLRootCert: a.roots, SSLSNI: true, ApplicationName: "certlatch",
	}
	switch {
	case a.socket != "":
		config.Host = a.socket
	case a.host == "":
		config.Host = "/var/run/postgresql"
	case a.host == "localhost":
		config.Hostaddr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if a.mode == verifyFull && a.roots == "" {
		config.SSLRootCert = "system"
	}
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, err
	}
	return &server{
		sql.OpenDB(connector), 0,
		"SELECT certificate, private_key FROM %s WHERE domain = $1 AND type = $2",
		"UPDATE %s SET certificate = $1, private_key = $2 WHERE domain = $3 AND type = $4 AND certificate IS NOT DISTINCT FROM $5 AND private_key IS NOT DISTINCT FROM $6",
	}, nil
}

func (s *server) limit() int   { return s.blob }
func (s *server) close() error { return s.db.Close() }

func (s *server) read(ctx context.Context, row deployers.Row) ([]pair, error) {
	return s.query(ctx, s.db, row)
}

// table needs no parameters, so the statement is alike for all servers.
func (s *server) table(ctx context.Context, row deployers.Row) ([]Entry, error) {
	found, err := s.db.QueryContext(ctx, "SELECT domain, type, certificate, private_key FROM "+row.Table)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var all []Entry
	for found.Next() {
		var e Entry
		var key []byte
		if err := found.Scan(&e.Domain, &e.Type, &e.Certificate, &key); err != nil {
			return nil, err
		}
		e.Key = key
		all = append(all, e)
	}
	return all, found.Err()
}

// try updates no row: whether it may is looked at before that (MySQL manual, 8.2;
// PostgreSQL manual, 5.8).
func (s *server) try(ctx context.Context, row deployers.Row) error {
	_, err := s.db.ExecContext(ctx, "UPDATE "+row.Table+" SET certificate = certificate, private_key = private_key WHERE 1 = 0")
	return err
}

// queryer is a database, or a transaction in it.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (s *server) query(ctx context.Context, q queryer, row deployers.Row) ([]pair, error) {
	found, err := q.QueryContext(ctx, fmt.Sprintf(s.selection, row.Table), row.Domain, row.Type)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var pairs []pair
	for found.Next() {
		var certificate, key []byte
		if err := found.Scan(&certificate, &key); err != nil {
			return nil, err
		}
		pairs = append(pairs, newPair(certificate, key))
	}
	return pairs, found.Err()
}

// swap compares and writes in one statement, which is atomic even where a table
// has no transactions, and reads back what it wrote before it commits.
func (s *server) swap(ctx context.Context, row deployers.Row, from, to pair) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	result, err := tx.ExecContext(ctx, fmt.Sprintf(s.update, row.Table),
		to.certificate, []byte(to.key()), row.Domain, row.Type, from.certificate, []byte(from.key()))
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, errChanged)
	}
	held, err := s.query(ctx, tx, row)
	if err != nil {
		return err
	}
	if len(held) != 1 || !held[0].equal(to) {
		return errors.New("the row does not hold what was written into it")
	}
	return tx.Commit()
}
