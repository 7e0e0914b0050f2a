// Fakeopensips stands in for OpenSIPS, which no suite of Debian has: it answers
// at its management interface over FIFO, UNIX datagram and HTTP, and serves TLS
// with what its script or its database holds. Its replies are those of OpenSIPS
// 3.6.8 and 4.1-dev; each has its source, or the version that it was seen with.
//
// It does not speak SIP, and makes no connection by its clients' domains. What has
// no source here is a guess.
package main

import (
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// opensips is a running daemon.
type opensips struct {
	version  string
	script   string // its text
	database string // a URL; empty: the domains are in the script
	replyDir string
	fifo     *os.File

	mu      sync.Mutex
	domains []domain
}

// domain is a TLS domain that can be used.
type domain struct {
	name, kind     string // kind is the type of tls_list
	address, match string // the filters: ADDRESS:PORT and a SIP domain, or * for any
	cert, key      string // the files of one in the script
	pair           tls.Certificate
}

// The types of domains (tls_mgm.c of 3.6.8, list_domain).
const (
	server = "TLS_DOMAIN_SRV"
	client = "TLS_DOMAIN_CLI"
)

// versionPath is the file with the version that it says it is, also to who asks the
// program.
const versionPath = "/etc/opensips/version"

func main() {
	var o opensips
	flag.StringVar(&o.database, "database", "", "the `URL` of the database with its table tls_mgm")
	flag.StringVar(&o.replyDir, "reply-dir", "/tmp", "the `directory` of callers' FIFOs")
	fifo := flag.String("fifo", "", "the `path` of mi_fifo's FIFO")
	socket := flag.String("socket", "", "the `path` of mi_datagram's socket")
	httpd := flag.String("http", "", "the `address` of mi_http")
	script := flag.String("f", "", "the `path` of the script, of which TLS sockets and domains count, and whether its braces match")
	test := flag.Bool("C", false, "test the script, and do nothing else")
	version := flag.Bool("V", false, "print the version, and do nothing else")
	flag.Parse()
	log.SetFlags(0)
	said, err := os.ReadFile(versionPath)
	if err != nil {
		log.Fatal(err)
	}
	o.version = string(said)
	if *version {
		fmt.Printf("version: opensips %s (x86_64/linux)\n", o.version) // main.c of 3.6.8
		return
	}
	if o.script, err = parse(*script); err != nil {
		log.Print(err)
		os.Exit(255) // of opensips -C, and of a start (seen with 3.6.8)
	}
	if *test {
		log.Print("NOTICE:core:main: config file ok, exiting...") // main.c of 3.6.8
		return
	}

	if err := o.start(); err != nil {
		log.Fatal(err)
	}
	if *fifo != "" {
		if err := o.openFIFO(*fifo); err != nil {
			log.Fatal(err)
		}
	}
	ended := make(chan error)
	serve := func(module func(address string) error, address string) {
		if address != "" {
			go func() { ended <- module(address) }()
		}
	}
	serve(o.serveFIFO, *fifo)
	serve(o.serveDatagrams, *socket)
	serve(o.serveHTTP, *httpd)
	if err := tellStarted(); err != nil {
		log.Fatal(err)
	}
	log.Fatal(<-ended)
}

// tellStarted tells systemd that the start is over (sd_notify(3)), as the parent of the
// real one does by its end.
func tellStarted() error {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", address)
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte("READY=1"))
	return errors.Join(err, conn.Close())
}

// parse returns a script. It fails where OpenSIPS would stop reading it.
func parse(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("loading config file %s: %w", path, err)
	}
	if strings.Count(string(text), "{") != strings.Count(string(text), "}") {
		return "", fmt.Errorf("CRITICAL:core:yyerror: parse error in %s: syntax error", path)
	}
	return included(string(text))
}

// included returns a script with the files in place that its lines include, which
// happens before anything else is looked at (cfg_pp.c of 3.6.8). It follows absolute
// paths alone.
func included(text string) (string, error) {
	include := regexp.MustCompile(`(?m)^[ \t]*(?:include|import)_file[ \t]*"(/[^"\n]+)".*$`)
	var failed error
	text = include.ReplaceAllStringFunc(text, func(line string) string {
		inside, err := parse(include.FindStringSubmatch(line)[1])
		failed = errors.Join(failed, err)
		return inside
	})
	return text, failed
}

// scriptDomains returns the domains of the script. One whose pair cannot be used
// keeps OpenSIPS from starting (tls_mgm.c of 3.6.8, init_tls_domains).
func (o *opensips) scriptDomains() (domains []domain, err error) {
	set := regexp.MustCompile(`(?m)^modparam\("tls_mgm", "(\w+)", "(?:\[(\w+)\])?(.*)"\)$`)
	for _, match := range set.FindAllStringSubmatch(o.script, -1) {
		if match[1] == "server_domain" {
			domains = append(domains, domain{name: match[3], kind: server})
		}
		for i := range domains {
			if domains[i].name == match[2] {
				for name, field := range map[string]*string{
					"match_ip_address": &domains[i].address, "match_sip_domain": &domains[i].match,
					"certificate": &domains[i].cert, "private_key": &domains[i].key,
				} {
					if name == match[1] {
						*field = match[3]
					}
				}
			}
		}
	}
	for i, d := range domains {
		if domains[i].pair, err = tls.LoadX509KeyPair(d.cert, d.key); err != nil {
			return nil, err
		}
	}
	return domains, nil
}

// start reads the certificates and serves them.
func (o *opensips) start() error {
	if o.database != "" {
		if err := o.load(); err != nil {
			return err
		}
	} else {
		var err error
		if o.domains, err = o.scriptDomains(); err != nil {
			return err
		}
	}
	socket := regexp.MustCompile(`(?m)^socket=tls:(\S+)$`)
	for _, match := range socket.FindAllStringSubmatch(o.script, -1) {
		address := match[1]
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					log.Fatal(err)
				}
				go o.serveTLS(conn)
			}
		}()
	}
	return nil
}

// at returns the server domains at an address: those that name it, or else those
// for any (tls_domain.c of 3.6.8, tls_find_domain_by_filters).
func (o *opensips) at(address string) (named []domain) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var everywhere []domain
	for _, d := range o.domains {
		switch {
		case d.kind != server:
		case d.address == address:
			named = append(named, d)
		case d.address == "*":
			everywhere = append(everywhere, d)
		}
	}
	if named == nil {
		return everywhere
	}
	return named
}

// serveTLS shows the certificate of the domain that the client names. Where
// there is no domain at all, the connection is taken and never answered (seen
// with 3.6.8).
func (o *opensips) serveTLS(conn net.Conn) {
	defer conn.Close()
	domains := o.at(conn.LocalAddr().String())
	if len(domains) > 0 {
		conn = tls.Server(conn, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			for _, d := range domains {
				if d.match == "*" || d.match == hello.ServerName {
					return &d.pair, nil
				}
			}
			return nil, errors.New("no domain is called " + hello.ServerName) // an alert (openssl_helpers.h of 3.6.8)
		}})
	}
	_, _ = io.Copy(io.Discard, conn) // clients come and go as they like
}

// load reads the rows of the table, if it is of the right version. A row that
// cannot be used is left out, without an error (tls_mgm.c of 3.6.8, load_info
// and init_tls_domains).
func (o *opensips) load() error {
	shell, hexOf := o.shell()
	ask := func(statement string) (string, error) {
		out, err := exec.Command(shell[0], append(shell[1:], statement)...).Output()
		if err != nil {
			return "", fmt.Errorf("ask %s: %w", o.database, err)
		}
		return string(out), nil
	}
	table := "tls_mgm"
	if set := regexp.MustCompile(`(?m)^modparam\("tls_mgm", "db_table", "(\w+)"\)$`).FindStringSubmatch(o.script); set != nil {
		table = set[1]
	}
	version, err := ask("SELECT table_version FROM version WHERE table_name = '" + table + "'")
	if err != nil {
		return err
	}
	if version != "3\n" { // TLS_TABLE_VERSION
		return fmt.Errorf("invalid version %q for table tls_mgm found", version)
	}
	rows, err := ask("SELECT domain, match_sip_domain, " + hexOf("certificate") + ", " + hexOf("private_key") + ", cipher_list, type, match_ip_address FROM " + table + " ORDER BY id")
	if err != nil {
		return err
	}
	o.domains = nil
	for row := range strings.Lines(rows) {
		columns := strings.Split(strings.TrimSuffix(row, "\n"), "\t")
		pair, err := usable(columns[2], columns[3], columns[4])
		if err != nil {
			log.Printf("Failed to init TLS domain '%s', skipping... (%v)", columns[0], err)
			continue
		}
		kind := map[string]string{"1": client, "2": server}[columns[5]] // tls_domain.h of 3.6.8
		o.domains = append(o.domains, domain{name: columns[0], kind: kind, address: columns[6], match: columns[1], pair: pair})
	}
	return nil
}

// shell returns the program that runs the statement that follows it, and
// prints a line for each row with tabs between the columns, and a function that
// returns the expression for a column in hexadecimal.
func (o *opensips) shell() (argv []string, hexOf func(column string) string) {
	hexOf = func(column string) string { return "hex(" + column + ")" }
	at, err := url.Parse(o.database)
	if err != nil {
		log.Fatal(err)
	}
	switch at.Scheme {
	case "sqlite":
		return []string{"sqlite3", "-readonly", "-list", "-separator", "\t", at.Path}, hexOf
	case "mysql":
		password, _ := at.User.Password()
		return []string{"mariadb", "--batch", "--skip-column-names", "--user=" + at.User.Username(), "--password=" + password,
			"--host=" + at.Host, strings.TrimPrefix(at.Path, "/"), "--execute"}, hexOf
	}
	return []string{"psql", "--no-align", "--tuples-only", "--field-separator=\t", o.database, "--command"},
		func(column string) string { return "encode(" + column + ", 'hex')" }
}

// usable returns the pair in a row, if OpenSSL accepts the ciphers.
func usable(certHex, keyHex, ciphers string) (tls.Certificate, error) {
	cert, certErr := hex.DecodeString(certHex)
	key, keyErr := hex.DecodeString(keyHex)
	if err := errors.Join(certErr, keyErr); err != nil {
		return tls.Certificate{}, err
	}
	if ciphers != "" && ciphers != "NULL" { // mariadb prints NULL
		if err := exec.Command("openssl", "ciphers", ciphers).Run(); err != nil {
			return tls.Certificate{}, fmt.Errorf("the cipher list %q: %w", ciphers, err)
		}
	}
	return tls.X509KeyPair(cert, key)
}

// answer returns the answer to a request to the management interface (JSON-RPC
// 2.0).
func (o *opensips) answer(request []byte) []byte {
	var call struct {
		ID     json.RawMessage
		Method string
	}
	if err := json.Unmarshal(request, &call); err != nil {
		return []byte(`{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}`) // mi.h of 3.6.8
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	outcome := `"error":{"code":-32601,"message":"Method not found"}` // mi.h of 3.6.8
	switch call.Method {
	case "version":
		outcome = `"result":{"Server":"OpenSIPS (` + o.version + ` (x86_64/linux))"}` // mi_core.c and config.h of 3.6.8
	case "tls_list":
		outcome = `"result":{"Domains":[` + o.list() + `]}`
	case "tls_reload":
		outcome = o.reload()
	}
	return []byte(`{"jsonrpc":"2.0",` + outcome + `,"id":` + string(call.ID) + `}`)
}

// list returns the result of tls_list (seen with 3.6.8). The values of a domain
// in the script are those that were seen, in the order of tls_mgm.c,
// list_domain.
func (o *opensips) list() string {
	var list []string
	for _, d := range o.domains {
		file := func(key, path string) string {
			if o.database != "" {
				return ""
			}
			return `"` + key + `":"` + path + `",`
		}
		list = append(list, `{"name":"`+d.name+`","type":"`+d.kind+`","IP ADDRESS FILTERS":["`+d.address+`"],"SIP DOMAIN FILTERS":["`+d.match+`"],`+
			`"METHOD":"TLSv1_2-TLSv1_3","VERIFY_CERT":false,"REQ_CLI_CERT":false,"CRL_CHECKALL":false,`+
			file("CERT_FILE", d.cert)+`"CRL_DIR":"",`+file("CA_FILE", "")+`"CA_DIR":"/etc/pki/CA/",`+
			file("PKEY_FILE", d.key)+`"CIPHER_LIST":"",`+file("DH_PARAMS_FILE", "")+`"EC_CURVE":""}`)
	}
	return strings.Join(list, ",")
}

// reload does what tls_reload does, and returns its result.
func (o *opensips) reload() string {
	switch {
	case o.database == "":
		return `"error":{"code":500,"message":"DB url not set"}` // seen with 3.6.8 and 4.1-dev
	case strings.HasPrefix(o.version, "4."): // seen with 4.0.1 and 4.1-dev at every reload, and no reply
		// The process of the MI dies first, and the others follow it.
		_ = o.fifo.Close()
		time.Sleep(200 * time.Millisecond)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if err := o.load(); err != nil {
		log.Print(err)
		return `"error":{"code":500,"message":"Failed to reload"}` // tls_mgm.c of 3.6.8, tls_reload
	}
	return `"result":"OK"` // seen with 3.6.8, with a row that cannot be used too
}

// openFIFO makes a FIFO, at which calls are answered as mi_fifo does (fifo_fnc.c of 3.6.8).
func (o *opensips) openFIFO(path string) (err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := errors.Join(syscall.Mkfifo(path, 0o660), os.Chmod(path, 0o660)); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	o.fifo, err = os.OpenFile(path, os.O_RDWR, 0)
	return err
}

// serveFIFO answers the calls of the FIFO that is open.
func (o *opensips) serveFIFO(string) error {
	call := regexp.MustCompile(`^:([^:./\\]+):(.*)$`)
	for buffer := make([]byte, 4096); ; {
		n, err := o.fifo.Read(buffer)
		if err != nil {
			return err
		}
		parts := call.FindSubmatch(buffer[:n])
		if parts == nil {
			log.Printf("command must begin with ':': %s", buffer[:n])
		} else if err := o.reply(filepath.Join(o.replyDir, string(parts[1])), parts[2]); err != nil {
			log.Print(err)
		}
	}
}

// reply opens the caller's FIFO, which must be a FIFO and not a link, before it
// does what was asked (mi_open_reply_pipe, mi_fifo_check, mi_fifo_callback).
func (o *opensips) reply(path string, request []byte) error {
	caller, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer caller.Close()
	opened, err := caller.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if opened.Mode().Type() != fs.ModeNamedPipe || opened.Sys().(*syscall.Stat_t).Nlink > 1 || !os.SameFile(opened, named) {
		return fmt.Errorf("security: %s is not a FIFO, or linked", path)
	}
	_, err = caller.Write(o.answer(request))
	return err
}

// serveDatagrams answers at a UNIX socket, as mi_datagram does: from another
// socket, which has no name (datagram_fnc.c of 3.6.8).
func (o *opensips) serveDatagrams(path string) error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		return err
	}
	for buffer := make([]byte, 65457); ; {
		n, from, err := conn.ReadFromUnix(buffer)
		if err != nil {
			return err
		}
		sender, err := net.DialUnix("unixgram", nil, from)
		if err != nil {
			log.Print(err)
			continue
		}
		if _, err := sender.Write(o.answer(buffer[:n])); err != nil {
			log.Print(err)
		}
		sender.Close()
	}
}

// serveHTTP answers over HTTP, as mi_http does: with status 200 also for errors
// (seen with 3.6.8).
func (o *opensips) serveHTTP(address string) error {
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := io.ReadAll(r.Body)
		switch {
		case r.URL.Path != "/mi":
			http.NotFound(w, r)
		case r.Method != http.MethodPost: // mi_http.c of 3.6.8
			w.WriteHeader(http.StatusMethodNotAllowed)
		case err != nil || len(request) == 0:
			w.WriteHeader(http.StatusBadRequest)
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(o.answer(request)) // the caller may have gone
		}
	}))
}
