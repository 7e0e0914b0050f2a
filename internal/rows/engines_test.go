package rows

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/pki"
)

// engine is a real database with the tables of a test.
type engine struct {
	url     deployers.DatabaseURL
	literal func([]byte) string
	exec    func(t *testing.T, statement string) // as the administrator

	*process // of a server; nil: there is none
}

// process is a server that can be ended as by a crash and be started again.
type process struct {
	argv    []string
	crash   syscall.Signal
	admin   deployers.DatabaseURL // known by the UNIX socket, without a password
	wrong   deployers.DatabaseURL // like url, with a wrong password
	tcp     deployers.DatabaseURL // like url, by TCP
	root    string                // the path of the CA of the server's certificate
	waiting string                // a query for the number of updates that wait for a lock

	cmd *exec.Cmd
}

func (p *process) start(t *testing.T) {
	t.Helper()
	p.cmd = asNobody(exec.Command(p.argv[0], p.argv[1:]...))
	var output bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &output, &output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	db := p.open(t)
	defer db.Close()
	deadline := time.Now().Add(time.Minute)
	for err := db.Ping(); err != nil; err = db.Ping() {
		if time.Now().After(deadline) {
			p.end()
			t.Fatalf("%s does not start: %v\n%s", p.argv[0], err, output.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (p *process) end() {
	_ = p.cmd.Process.Signal(p.crash)
	_ = p.cmd.Wait()
}

// open returns a connection as the administrator.
func (p *process) open(t *testing.T) *sql.DB {
	t.Helper()
	db, err := Databases{}.open(deployers.Row{Database: p.admin, Table: "tls_mgm"})
	if err != nil {
		t.Fatal(err)
	}
	return db.(*server).db
}

// serve starts the server, and ends it with the test.
func (e *engine) serve(t *testing.T) {
	t.Helper()
	e.exec = func(t *testing.T, statement string) {
		t.Helper()
		db := e.open(t)
		defer db.Close()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	e.start(t)
	t.Cleanup(func() { e.end() })
}

const (
	password    = "opensipsrw:@/?" // not to be written into a URL as it is
	credentials = "opensips:opensipsrw%3A%40%2F%3F"
)

// named returns the user who runs the tests, and ends the test where /etc/passwd has
// no such user, whom database servers ask for.
func named(t *testing.T) *user.User {
	t.Helper()
	me, err := user.Current()
	need.That(t, err == nil, "needs a user who is in /etc/passwd")
	return me
}

// mariadb returns a running MariaDB whose administrator is the account that
// runs it.
func mariadb(t *testing.T) *engine {
	install, program := need.Program(t, "mariadb-install-db"), need.Program(t, "mariadbd")
	me := named(t)
	dir, port := directory(t), strconv.Itoa(need.Port(t))
	cert, key, root := serverPair(t, dir)
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s")
	run(t, exec.Command(install, "--no-defaults", "--datadir="+data, "--skip-test-db",
		"--auth-root-authentication-method=socket", "--auth-root-socket-user="+me.Username))
	e := &engine{
		url:     deployers.DatabaseURL("mysql://" + credentials + "@/opensips?socket=" + socket),
		literal: blobLiteral,
		process: &process{
			argv: []string{
				program, "--no-defaults", "--datadir=" + data, "--socket=" + socket, "--innodb-buffer-pool-size=16M",
				"--bind-address=127.0.0.1", "--port=" + port, "--ssl-cert=" + cert, "--ssl-key=" + key,
			},
			crash:   syscall.SIGKILL,
			admin:   deployers.DatabaseURL("mysql://" + me.Username + "@/mysql?socket=" + socket),
			wrong:   deployers.DatabaseURL("mysql://opensips:not-this-one@/opensips?socket=" + socket),
			tcp:     deployers.DatabaseURL("mysql://" + credentials + "@localhost:" + port + "/opensips"),
			root:    root,
			waiting: "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE%'",
		},
	}
	e.serve(t)
	e.exec(t, "CREATE DATABASE opensips")
	e.exec(t, "CREATE USER opensips@'%' IDENTIFIED BY '"+password+"'")
	e.exec(t, "GRANT ALL ON opensips.* TO opensips@'%'")
	e.admin = deployers.DatabaseURL("mysql://" + me.Username + "@/opensips?socket=" + socket)
	e.exec(t, `CREATE TABLE tls_mgm (
		id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL, domain CHAR(64) NOT NULL, type INT(1) DEFAULT 1 NOT NULL,
		method CHAR(16) DEFAULT 'SSLv23', certificate BLOB, private_key BLOB,
		CONSTRAINT domain_type_idx UNIQUE (domain, type)) ENGINE=InnoDB`)
	e.exec(t, "CREATE TABLE twice (domain CHAR(64) NOT NULL, type INT(1) NOT NULL, certificate BLOB, private_key BLOB)")
	return e
}

// postgresql returns a running PostgreSQL that trusts its administrator.
func postgresql(t *testing.T) *engine {
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // Debian has it in no PATH
	if err != nil {
		t.Fatal(err)
	}
	need.That(t, len(programs) > 0, "needs the program postgres")
	named(t)
	dir, port := directory(t), strconv.Itoa(need.Port(t))
	cert, key, root := serverPair(t, dir)
	data := filepath.Join(dir, "data")
	run(t, exec.Command(filepath.Join(filepath.Dir(programs[0]), "initdb"), "--pgdata="+data, "--username=admin", "--no-sync", "--encoding=UTF8", "--locale=C"))
	hba := filepath.Join(dir, "hba")
	write(t, hba, []byte("local all admin trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"))
	e := &engine{
		url:     deployers.DatabaseURL("postgres://" + credentials + "@:" + port + "/opensips?host=" + dir),
		literal: func(b []byte) string { return `'\x` + hex.EncodeToString(b) + `'::bytea` },
		process: &process{
			argv: []string{
				programs[0], "-D", data, "-k", dir, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "hba_file=" + hba,
				"-c", "ssl=on", "-c", "ssl_cert_file=" + cert, "-c", "ssl_key_file=" + key,
			},
			crash:   syscall.SIGQUIT, // "immediate shutdown": ends all processes as they are
			admin:   deployers.DatabaseURL("postgres://admin@:" + port + "/postgres?host=" + dir),
			wrong:   deployers.DatabaseURL("postgres://opensips:not-this-one@:" + port + "/opensips?host=" + dir),
			tcp:     deployers.DatabaseURL("postgres://" + credentials + "@localhost:" + port + "/opensips"),
			root:    root,
			waiting: "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
		},
	}
	e.serve(t)
	e.exec(t, "CREATE ROLE opensips LOGIN PASSWORD '"+password+"'")
	e.exec(t, "CREATE DATABASE opensips OWNER opensips")
	e.admin = deployers.DatabaseURL("postgres://admin@:" + port + "/opensips?host=" + dir)
	e.exec(t, `CREATE TABLE tls_mgm (
		id SERIAL PRIMARY KEY NOT NULL, domain VARCHAR(64) NOT NULL, type INTEGER DEFAULT 1 NOT NULL,
		method VARCHAR(16) DEFAULT 'SSLv23', certificate BYTEA, private_key BYTEA,
		CONSTRAINT tls_mgm_domain_type_idx UNIQUE (domain, type))`)
	e.exec(t, "CREATE TABLE twice (domain VARCHAR(64) NOT NULL, type INTEGER NOT NULL, certificate BYTEA, private_key BYTEA)")
	e.exec(t, "GRANT ALL ON ALL TABLES IN SCHEMA public TO opensips")
	return e
}

// sqlite3 returns a database in a file.
func sqlite3(t *testing.T) *engine {
	need.Program(t, "sqlite3")
	path := filepath.Join(t.TempDir(), "a name? with 100% #.db")
	e := &engine{url: deployers.DatabaseURL((&url.URL{Scheme: "sqlite", Path: path}).String()), literal: blobLiteral}
	e.exec = func(t *testing.T, statement string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sqlite3", "-bail", path)
		cmd.Stdin = bytes.NewReader([]byte(".timeout 5000\n" + statement + ";\n"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", statement, err, out)
		}
	}
	e.exec(t, `CREATE TABLE tls_mgm (
		id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, domain CHAR(64) NOT NULL, type INTEGER DEFAULT 1 NOT NULL,
		method CHAR(16) DEFAULT 'SSLv23', certificate BLOB, private_key BLOB,
		CONSTRAINT tls_mgm_domain_type_idx UNIQUE (domain, type))`)
	e.exec(t, "CREATE TABLE twice (domain CHAR(64) NOT NULL, type INTEGER NOT NULL, certificate BLOB, private_key BLOB)")
	return e
}

// feed runs a program with input, as Databases.SQLite does.
func feed(ctx context.Context, as Keeper, argv []string, input []byte) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
	if int(as.UID) != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as.UID, Gid: as.GID}}
	}
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// asNobody makes a command run as nobody where the test is root, since
// PostgreSQL does not run as root.
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	cmd.Dir = "/"
	return cmd
}

const nobody = 65534

func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := asNobody(cmd).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// directory returns a directory that belongs to the server, with a name short
// enough for UNIX sockets.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rows")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	give(t, dir)
	return dir
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	give(t, path)
}

func give(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
}

// serverPair writes a certificate for the server, and returns the paths of its
// files.
func serverPair(t *testing.T, dir string) (cert, key, root string) {
	t.Helper()
	ca := pki.NewCA(t, "databases")
	leaf := ca.Leaf(t, pki.Names("localhost"))
	cert, key, root = filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "root")
	write(t, cert, leaf.Fullchain)
	write(t, key, leaf.Key)
	write(t, root, ca.PEM())
	return cert, key, root
}

// insert inserts a row, with NULL for nil.
func (e *engine) insert(t *testing.T, row deployers.Row, certificate, key []byte) {
	t.Helper()
	value := func(b []byte) string {
		if b == nil {
			return "NULL"
		}
		return e.literal(b)
	}
	e.exec(t, fmt.Sprintf("INSERT INTO %s (domain, type, certificate, private_key) VALUES ('%s', %d, %s, %s)",
		row.Table, row.Domain, row.Type, value(certificate), value(key)))
}
