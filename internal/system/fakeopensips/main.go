// Fakeopensips stands in for OpenSIPS, which no suite of Debian has: it
// answers its management interface over FIFO, UNIX datagram and HTTP, and
// serves TLS with what its script or its database holds. Its words are those
// of OpenSIPS 3.6.8 and 4.1-dev, each with the place that it was seen at or
// read in.
//
// It speaks no SIP, and knows of one domain only. What it does where OpenSIPS
// was not seen to do it is a guess, and promises nothing.
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
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
)

// opensips is one running daemon.
type opensips struct {
	version   string
	domain    string
	cert, key string // of the script; empty: the domain is in the database
	database  string // the path of an SQLite file
	strict    bool   // a row that it did not start with cannot be used
	replyDir  string

	mu     sync.Mutex
	loaded *tls.Certificate // nil: there is no domain
	first  string           // the certificate of the row that it started with
}

func main() {
	var o opensips
	flag.StringVar(&o.version, "version", "3.6.8", "the `version` that it says it is")
	flag.StringVar(&o.domain, "domain", "sip", "the `name` of its TLS domain")
	flag.StringVar(&o.cert, "certificate", "", "the `file` that its script names")
	flag.StringVar(&o.key, "private-key", "", "the `file` that its script names")
	flag.StringVar(&o.database, "database", "", "the SQLite `file` with its table tls_mgm")
	flag.BoolVar(&o.strict, "strict", false, "find fault with any row but that of the start")
	flag.StringVar(&o.replyDir, "reply-dir", "/tmp", "the `directory` of callers' FIFOs")
	fifo := flag.String("fifo", "", "the `path` of mi_fifo's FIFO")
	socket := flag.String("socket", "", "the `path` of mi_datagram's socket")
	httpd := flag.String("http", "", "the `address` of mi_http")
	listen := flag.String("listen", "127.0.0.1:5061", "the `address` for SIP over TLS")
	flag.Parse()
	log.SetFlags(0)

	if err := o.start(*listen); err != nil {
		log.Fatal(err)
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
	log.Fatal(<-ended)
}

// start reads the certificate and serves it.
func (o *opensips) start(address string) error {
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return err
		}
		o.loaded = &pair
	} else if o.database != "" {
		if err := o.load(); err != nil {
			return err
		}
	}
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
	return nil
}

// serveTLS shows a certificate. Without one, the connection is taken and never
// answered (seen with 3.6.8).
func (o *opensips) serveTLS(conn net.Conn) {
	defer conn.Close()
	o.mu.Lock()
	loaded := o.loaded
	o.mu.Unlock()
	if loaded != nil {
		conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*loaded}})
	}
	_, _ = io.Copy(io.Discard, conn) // clients come and go as they like
}

// load reads the row of the domain (tls_mgm.c of 3.6.8, reload_data: a pair
// that cannot be used is left out, without an error).
func (o *opensips) load() error {
	query := fmt.Sprintf("SELECT hex(certificate), hex(private_key) FROM tls_mgm WHERE domain = '%s' AND type = 2;", o.domain)
	out, err := exec.Command("sqlite3", "-readonly", "-list", "-noheader", o.database, query).Output()
	if err != nil {
		return fmt.Errorf("read %s: %w", o.database, err)
	}
	certHex, keyHex, _ := strings.Cut(strings.TrimSpace(string(out)), "|")
	cert, certErr := hex.DecodeString(certHex)
	key, keyErr := hex.DecodeString(keyHex)
	if err := errors.Join(certErr, keyErr); err != nil {
		return err
	}
	if o.first == "" {
		o.first = certHex
	}
	o.loaded = nil
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil || o.strict && certHex != o.first {
		log.Printf("Failed to init TLS domain '%s', skipping...", o.domain)
		return nil
	}
	o.loaded = &pair
	return nil
}

// answer is MI's (JSON-RPC 2.0).
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

// list is one domain of tls_list (seen with 3.6.8). The values of a domain in
// the script are those that were seen, in the order of tls_mgm.c, list_domain.
func (o *opensips) list() string {
	if o.loaded == nil {
		return ""
	}
	file := func(key, path string) string {
		if o.cert == "" {
			return ""
		}
		return `"` + key + `":"` + path + `",`
	}
	return `{"name":"` + o.domain + `","type":"TLS_DOMAIN_SRV","IP ADDRESS FILTERS":["*"],"SIP DOMAIN FILTERS":["*"],` +
		`"METHOD":"TLSv1_2-TLSv1_3","VERIFY_CERT":false,"REQ_CLI_CERT":false,"CRL_CHECKALL":false,` +
		file("CERT_FILE", o.cert) + `"CRL_DIR":"",` + file("CA_FILE", "") + `"CA_DIR":"/etc/pki/CA/",` +
		file("PKEY_FILE", o.key) + `"CIPHER_LIST":"",` + file("DH_PARAMS_FILE", "") + `"EC_CURVE":""}`
}

// reload is tls_reload.
func (o *opensips) reload() string {
	switch {
	case o.database == "":
		return `"error":{"code":500,"message":"DB url not set"}` // seen with 3.6.8 and 4.1-dev
	case strings.HasPrefix(o.version, "4."): // seen with 4.1-dev: six of six, and no reply
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if err := o.load(); err != nil {
		log.Print(err)
		return `"error":{"code":500,"message":"Failed to reload"}` // tls_mgm.c of 3.6.8, tls_reload
	}
	return `"result":"OK"` // seen with 3.6.8, with a row that cannot be used too
}

// serveFIFO is mi_fifo (fifo_fnc.c of 3.6.8).
func (o *opensips) serveFIFO(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := errors.Join(syscall.Mkfifo(path, 0o660), os.Chmod(path, 0o660)); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	fifo, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	call := regexp.MustCompile(`^:([^:./\\]+):(.*)$`)
	for buffer := make([]byte, 4096); ; {
		n, err := fifo.Read(buffer)
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

// reply opens the caller's FIFO, which must be one and not be linked, before
// it does what was asked (mi_open_reply_pipe, mi_fifo_check, mi_fifo_callback).
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

// serveDatagrams is mi_datagram with a UNIX socket, which answers from another
// that has no name (datagram_fnc.c of 3.6.8).
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

// serveHTTP is mi_http: status 200 also for errors (seen with 3.6.8).
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
