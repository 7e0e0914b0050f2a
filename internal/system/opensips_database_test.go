package system

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestOpenSIPSDatabases plays the scenarios of testdata/opensips-database with
// each of the databases that OpenSIPS's table tls_mgm may be in. DATABASE is
// its kind, DATABASE_URL its URL, and CLOSED_URL the URL of one that lets
// nobody in.
func TestOpenSIPSDatabases(t *testing.T) {
	t.Parallel()
	stage := newStage(t)
	for _, name := range slices.Sorted(maps.Keys(databaseKinds)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := databaseKinds[name]
			stage.play(t, "testdata/opensips-database", "DATABASE="+name, "DATABASE_URL="+kind.url, "CLOSED_URL="+kind.closed)
		})
	}
}

// databaseKind is a kind of database, as Debian packages it.
type databaseKind struct {
	url     string     // for certlatch and OpenSIPS alike
	closed  string     // one that lets nobody in: a wrong password, a file that is no database
	up      [][]string // commands that start it, and make the database opensips and the user of the URL
	stop    []string
	start   []string
	client  []string // runs the statement that comes after as the administrator
	binary  string   // the column type for PEM
	literal string   // the form of hexadecimal bytes
	grant   string   // statement that grants the user of the URL the tables; empty: none is needed
}

var databaseKinds = map[string]databaseKind{
	"sqlite": {
		url:     "sqlite:///var/lib/opensips/opensips.db",
		closed:  "sqlite:///etc/hostname",
		up:      [][]string{{"install", "-d", "-o", "opensips", "-g", "opensips", "/var/lib/opensips"}, {"install", "-o", "opensips", "-g", "opensips", "-m", "0640", "/dev/null", "/var/lib/opensips/opensips.db"}},
		stop:    []string{"mv", "/var/lib/opensips/opensips.db", "/var/lib/opensips/away.db"},
		start:   []string{"mv", "/var/lib/opensips/away.db", "/var/lib/opensips/opensips.db"},
		client:  []string{"runuser", "-u", "opensips", "--", "sqlite3", "-bail", "/var/lib/opensips/opensips.db"},
		binary:  "BLOB",
		literal: "X'%s'",
	},
	"mysql": {
		url:    "mysql://opensips:opensipsrw@localhost/opensips",
		closed: "mysql://opensips:not-this-one@localhost/opensips",
		up: [][]string{
			{"systemctl", "start", "mariadb"},
			{"mariadb", "--execute", "CREATE DATABASE opensips; GRANT ALL ON opensips.* TO opensips@localhost IDENTIFIED BY 'opensipsrw'"},
		},
		stop:    []string{"systemctl", "stop", "mariadb"},
		start:   []string{"systemctl", "start", "mariadb"},
		client:  []string{"mariadb", "--batch", "--skip-column-names", "opensips", "--execute"},
		binary:  "BLOB",
		literal: "X'%s'",
	},
	"postgres": {
		url:    "postgres://opensips:opensipsrw@localhost/opensips",
		closed: "postgres://opensips:not-this-one@localhost/opensips",
		up: [][]string{
			{"systemctl", "start", "postgresql"},
			{"runuser", "-u", "postgres", "--", "psql", "--command", "CREATE ROLE opensips LOGIN PASSWORD 'opensipsrw'"},
			{"runuser", "-u", "postgres", "--", "createdb", "opensips"},
		},
		stop:    []string{"systemctl", "stop", "postgresql@*.service"},
		start:   []string{"systemctl", "restart", "postgresql"},
		client:  []string{"runuser", "-u", "postgres", "--", "psql", "--no-align", "--tuples-only", "--dbname=opensips", "--command"},
		binary:  "BYTEA",
		literal: `'\x%s'`,
		grant:   "GRANT ALL ON ALL TABLES IN SCHEMA public TO opensips",
	},
}

// The tables are those of OpenSIPS's own scripts (tls_mgm-create.sql for each
// of the databases, 3.4 to 4.0), in words that all of them know.
const (
	versionTable = "CREATE TABLE version (table_name VARCHAR(32), table_version INTEGER)"
	versionRow   = "INSERT INTO version VALUES ('tls_mgm', 3)"
	tlsMgmTable  = `CREATE TABLE tls_mgm (id INTEGER PRIMARY KEY, domain VARCHAR(64) NOT NULL,
		match_ip_address VARCHAR(255), match_sip_domain VARCHAR(255), type INTEGER DEFAULT 1 NOT NULL,
		method VARCHAR(16), verify_cert INTEGER, require_cert INTEGER, certificate %[1]s, private_key %[1]s,
		crl_check_all INTEGER DEFAULT 0, crl_dir VARCHAR(255), ca_list %[1]s, ca_dir VARCHAR(255),
		cipher_list VARCHAR(255), dh_params %[1]s, ec_curve VARCHAR(255), UNIQUE (domain, type))`
	tlsMgmRow = `INSERT INTO tls_mgm (id, domain, match_ip_address, match_sip_domain, type, method, verify_cert, require_cert, certificate, private_key)
		VALUES (%[1]d, 'sip', '*', '*', %[1]d, 'TLSv1_2-TLSv1_3', 0, 0, %[2]s, %[3]s)`
)

// runDatabase starts a database, and fills the table tls_mgm with a row of
// each type for the domain sip, which the lineage sip.example holds now. Later
// it can be stopped and started.
func (s *scenario) runDatabase(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	switch args[0] {
	case "stop":
		_, err := s.host.run(s.database.stop...)
		return err
	case "start":
		_, err := s.host.run(s.database.start...)
		return err
	}
	var ok bool
	if s.database, ok = databaseKinds[args[0]]; !ok {
		return errUsage
	}
	if err := s.addOpenSIPSUser(); err != nil {
		return err
	}
	for _, argv := range s.database.up {
		if _, err := s.host.run(argv...); err != nil {
			return err
		}
	}
	certificate, key, err := s.pairLiterals("/etc/letsencrypt/live/sip.example")
	if err != nil {
		return err
	}
	for _, statement := range []string{
		versionTable, versionRow, fmt.Sprintf(tlsMgmTable, s.database.binary), s.database.grant,
		fmt.Sprintf(tlsMgmRow, 1, certificate, key), fmt.Sprintf(tlsMgmRow, 2, certificate, key),
	} {
		if _, err := s.sql(statement); err != nil {
			return err
		}
	}
	return nil
}

// sql runs a statement as the administrator, and returns the values that it
// selects.
func (s *scenario) sql(statement string) (string, error) {
	if statement == "" {
		return "", nil
	}
	return s.host.run(append(slices.Clone(s.database.client), statement)...)
}

// pairLiterals returns the pair in a directory of the host as literals for
// statements.
func (s *scenario) pairLiterals(dir string) (certificate, key string, err error) {
	var literals [2]string
	for i, name := range []string{"fullchain.pem", "privkey.pem"} {
		text, err := s.host.run("cat", dir+"/"+name)
		if err != nil {
			return "", "", err
		}
		literals[i] = fmt.Sprintf(s.database.literal, hex.EncodeToString([]byte(text)))
	}
	return literals[0], literals[1], nil
}

// runSQL runs a statement as the database's administrator.
func (s *scenario) runSQL(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	return s.runHost(ts, append(slices.Clone(s.database.client), args[0]))
}

// row wants the row of the domain sip and a type, 1 for a client's and 2 for a
// server's, to hold the pair in a directory of the host, byte for byte.
func (s *scenario) row(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	certificate, key, err := s.pairLiterals(args[1])
	if err != nil {
		return err
	}
	found, err := s.sql(fmt.Sprintf("SELECT count(*) FROM tls_mgm WHERE domain = 'sip' AND type = %s AND certificate = %s AND private_key = %s", args[0], certificate, key))
	if err != nil {
		return err
	}
	if strings.TrimSpace(found) != "1" {
		return mismatchf("the row of domain sip, type %s, does not hold the pair in %s", args[0], args[1])
	}
	return nil
}
