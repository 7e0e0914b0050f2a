package rows

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// sslMode is how a connection is protected, in the words of libpq's sslmode
// (PostgreSQL manual, 34.19.3).
type sslMode string

const (
	disable    sslMode = "disable"
	require    sslMode = "require" // encrypted, to whoever answers
	verifyFull sslMode = "verify-full"
)

// address is where a server is and how to connect to it. It comes from a URL,
// whose parameters are sslmode, sslrootcert (the path of a PEM file; the
// default is the system's roots) and one that leads to a UNIX socket: socket
// for MySQL, and host, as in libpq, for PostgreSQL.
type address struct {
	user, password, database string
	socket                   string // the socket, or with PostgreSQL its directory; empty: TCP
	host                     string // the name that a certificate must cover
	port                     uint16
	mode                     sslMode
	roots                    string // path; empty: the system's
}

// open returns the database of a row, without connecting to it yet.
func (d Databases) open(row deployers.Row) (database, error) {
	if !plainTable().MatchString(row.Table) {
		return nil, &AddressError{fmt.Sprintf("table %q", row.Table), "is not a plain name", "Write the table's name in letters, digits and underscores."}
	}
	u, err := url.Parse(string(row.Database))
	if err != nil { // the error would hold the password
		return nil, &AddressError{row.Database.String(), "is not a URL", "Percent-encode what is not a letter or a digit in user and password."}
	}
	switch u.Scheme {
	case "mysql":
		a, err := parse(u, "socket", mysqlPort)
		if err != nil {
			return nil, err
		}
		return openMySQL(a)
	case "postgres":
		a, err := parse(u, "host", postgresPort)
		if err != nil {
			return nil, err
		}
		return openPostgreSQL(a)
	case "sqlite":
		return d.openSQLite(u)
	}
	return nil, addressError(u, "is of no database known here", "Write mysql://, postgres:// or sqlite://.")
}

func addressError(u *url.URL, why, remedy string) error {
	return &AddressError{u.Redacted(), why, remedy}
}

// parse returns the address in the URL of a server.
func parse(u *url.URL, socketKey string, port uint16) (address, error) {
	query := u.Query()
	for key := range query {
		if !slices.Contains([]string{socketKey, "sslmode", "sslrootcert"}, key) {
			return address{}, addressError(u, "has the unknown parameter "+key, "Known are "+socketKey+", sslmode and sslrootcert.")
		}
	}
	password, _ := u.User.Password()
	a := address{
		user: u.User.Username(), password: password, database: strings.TrimPrefix(u.Path, "/"),
		socket: query.Get(socketKey), host: u.Hostname(), port: port,
		mode: sslMode(query.Get("sslmode")), roots: query.Get("sslrootcert"),
	}
	if u.Port() != "" {
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil {
			return address{}, addressError(u, "has no port in "+u.Port(), "Write a port from 1 to 65535.")
		}
		a.port = uint16(n)
	}
	if a.user == "" || a.database == "" {
		return address{}, addressError(u, "names no user or no database", "Write "+u.Scheme+"://USER:PASSWORD@HOST/DATABASE.")
	}
	if a.socket != "" && a.host != "" {
		return address{}, addressError(u, "names both a host and a socket", "Leave one of them out.")
	}
	return a, a.requireTLS(u)
}

// requireTLS fails where a key would travel in the clear: only a connection that
// does not leave the host may be without TLS.
func (a *address) requireTLS(u *url.URL) error {
	if a.mode == "" && a.isLocal() {
		a.mode = disable
	}
	switch {
	case a.mode == verifyFull || a.mode == require || a.mode == disable && a.isLocal():
		return nil
	case a.mode == "" || a.mode == disable:
		return addressError(u, "would send the key to another host without TLS", "Add sslmode=verify-full, and sslrootcert=FILE where the server's certificate is of a CA of your own.")
	}
	return addressError(u, fmt.Sprintf("has the unknown sslmode %q", string(a.mode)), "Known are disable, require and verify-full.")
}

// isLocal reports whether the connection stays on this host.
func (a *address) isLocal() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.host == "" || a.host == "localhost" || err == nil && ip.IsLoopback()
}

// dialHost returns the host, and for localhost the loopback address, since a
// resolver might return another.
func (a *address) dialHost() string {
	if a.host == "" || a.host == "localhost" {
		return "127.0.0.1"
	}
	return a.host
}

// tls returns the configuration for the mode; nil: no TLS.
func (a *address) tls() (*tls.Config, error) {
	switch {
	case a.mode == disable:
		return nil, nil
	case a.mode == require:
		return &tls.Config{InsecureSkipVerify: true}, nil
	case a.roots == "":
		return &tls.Config{ServerName: a.host}, nil
	}
	text, err := os.ReadFile(a.roots)
	if err != nil {
		return nil, fmt.Errorf("read the roots for the database: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read the roots for the database: %s holds no certificate", a.roots)
	}
	return &tls.Config{ServerName: a.host, RootCAs: pool}, nil
}

// firstSocket returns the first of the paths where there is a socket.
func firstSocket(paths ...string) string {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
			return path
		}
	}
	return ""
}
