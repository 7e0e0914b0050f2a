package opensips

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sipscript"
)

// scriptPath is the path of the script in the packages.
const scriptPath = "/etc/opensips/opensips.cfg"

// domainValue matches a value that belongs to a TLS domain.
var domainValue = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:\[([^\]]+)\])?(.*)$`) })

// script is what an OpenSIPS's script says, as far as it can be told without another
// program.
type script struct {
	sipscript.Script
	path string // of the main file; empty: it cannot be read

	// foreign is why the script may say something else to OpenSIPS; empty: it does not.
	foreign string
}

// usualPort returns that of a protocol over TLS where none is written (globals.c of
// 3.6.8, tls_port_no; proto_wss of 3.6.8, ws_common_defs.h).
func usualPort(protocol string) uint16 {
	if protocol == "wss" {
		return 443
	}
	return 5061
}

// read reads the script that runs, or would be started with, from the texts that are
// known.
func read(f deployers.Facts) script {
	s := script{Script: sipscript.Read(sipscript.OpenSIPS, scriptOf(f), nil, f.Texts)}
	if len(f.Texts[scriptOf(f)]) > 0 {
		s.path = scriptOf(f)
	}
	if isPreprocessed(f) {
		s.foreign = "OpenSIPS hands its script to another program first (-p), and what that makes of it is not known"
	} else {
		s.foreign = strings.Join(s.Doubts, "; ")
	}
	return s
}

// isPreprocessed reports whether OpenSIPS has another program, such as m4, change its
// script before it reads it (main.c of 3.6.8, option p).
func isPreprocessed(f deployers.Facts) bool {
	return slices.ContainsFunc(f.CommandLine().Argv, func(word string) bool { return strings.HasPrefix(word, "-p") })
}

// loads reports whether the script loads a module.
func (s script) loads(module string) bool { return len(s.Loads(module)) > 0 }

// param returns what is set for a module; empty: nothing is.
func (s script) param(module, name string) string { return s.Param(module, name).Value() }

// ports returns those of sockets for TLS.
func (s script) ports() (ports []uint16) {
	for _, set := range s.Set("socket", "listen") {
		if len(set.Args) == 0 {
			continue
		}
		socket, ok := sipscript.ParseSocket(set.Args[0])
		if !ok || socket.Protocol != "tls" && socket.Protocol != "wss" {
			continue
		}
		port := usualPort(socket.Protocol)
		if n, err := strconv.ParseUint(socket.Port, 10, 16); err == nil {
			port = uint16(n)
		}
		ports = deployers.Distinct(append(ports, port))
	}
	return ports
}

// channel sets the management interface of the script in options, and reports
// whether there is one that certlatch can call. Defaults are those of the modules
// (mi_fifo.c, httpd.c and mi_http.c of 3.6.8).
func (s script) channel(o *Options) bool {
	or := func(module, name, usual string) string { return cmp.Or(s.param(module, name), usual) }
	text := ""
	switch socket := s.param("mi_datagram", "socket_name"); {
	case s.loads("mi_fifo"):
		text = "fifo:" + or("mi_fifo", "fifo_name", "/tmp/opensips_fifo")
		if err := o.ReplyDir.UnmarshalText([]byte(or("mi_fifo", "reply_dir", "/tmp/"))); err != nil {
			return false
		}
	case s.loads("mi_datagram") && filepath.IsAbs(socket):
		text = "unix:" + socket
	case s.loads("mi_datagram"):
		text = socket
	case s.loads("mi_http"):
		text = fmt.Sprintf("http://%s:%s/%s", or("httpd", "ip", "127.0.0.1"), or("httpd", "port", "8888"), or("mi_http", "mi_http_root", "mi"))
	}
	return o.MI.UnmarshalText([]byte(text)) == nil
}

// database returns the URL of the database that domains come from, in the form of
// the configuration; empty: there is none, or none that certlatch knows.
func (s script) database() deployers.DatabaseURL {
	text := s.param("tls_mgm", "db_url")
	if text == "" {
		return ""
	}
	scheme, rest, _ := strings.Cut(text, "://")
	at := url.URL{Scheme: scheme, Path: rest}
	if slash := strings.LastIndexByte(rest, '/'); scheme != "sqlite" && slash >= 0 {
		at.Path = rest[slash:]
		login, place := "", rest[:slash]
		if i := strings.LastIndexByte(place, '@'); i >= 0 {
			login, place = place[:i], place[i+1:]
		}
		at.Host = place
		user, password, hasPassword := strings.Cut(login, ":")
		switch {
		case hasPassword:
			at.User = url.UserPassword(user, password)
		case login != "":
			at.User = url.User(user)
		}
	}
	var database deployers.DatabaseURL
	if err := database.UnmarshalText([]byte(at.String())); err != nil {
		return ""
	}
	return database
}

// portsOrUsual returns where the TLS sockets of an OpenSIPS are.
func (s script) portsOrUsual() []uint16 {
	if ports := s.ports(); len(ports) > 0 {
		return ports
	}
	return []uint16{usualPort("tls")}
}

const scriptNote = `OpenSIPS reads it only when it starts: a renewed pair waits for a restart, unless this target gets allow_restart: true, and perhaps a window: "02:00-04:30".`

const rowNote = "Fill in the database, with an account that may only read and update the table tls_mgm."

// restartNote is for domains of a database where tls_reload cannot be called.
const restartNote = `OpenSIPS %s crashes on tls_reload, as all do from 4.0 on: a renewed row waits for a restart, unless this target gets allow_restart: true, and perhaps a window: "02:00-04:30".`

// discovering returns the options of a target for which nothing is configured, as the
// script has them.
func (o *Options) discovering(s script) *Options {
	found := *o
	if !s.channel(&found) {
		found.MI, found.ReplyDir = o.MI, o.ReplyDir
	}
	return &found
}

// programVersion matches what opensips -V prints.
var programVersion = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`version: opensips (\d+)(\.[\w.-]+)`)
})

// askVersion is the command that prints the version of the program.
func askVersion(f deployers.Facts) []string {
	return []string{f.CommandLine().OwnProgram("opensips"), "-V"}
}

// Runs returns the program of OpenSIPS.
func (Deployer) Runs(deployers.Target) string { return "opensips" }

// Serves reports whether a process of that serves: all do.
func (Deployer) Serves(deployers.Process) bool { return true }

func (Deployer) Discover(t deployers.Target, f deployers.Facts) deployers.Discovery {
	parsed := read(f)
	usual, options := t.Options.(*Options), t.Options.(*Options).discovering(parsed)
	d := deployers.Discovery{
		Installed: f.Unit.LoadState == "loaded" || parsed.path != "",
		Role:      "sip", Exact: true, Labels: []string{"sip", "sips", "voip", "pbx", "phone"},
		Directory: "/etc/opensips/tls/{lineage}",
		Lines: []string{
			`modparam("tls_mgm", "certificate", "[DOMAIN]{certificate}")`,
			`modparam("tls_mgm", "private_key", "[DOMAIN]{key}")`,
		},
	}
	seen := options.observe(f, parsed)
	switch {
	case !d.Installed:
		return d
	case seen.unlisted != "" && parsed.path != "":
		d.AddUnknown(seen.unlisted + ", so this is what " + parsed.path + " says")
	case seen.unlisted != "":
		d.AddUnknown(seen.unlisted + ", so it is not known which certificates its domains take")
	}
	if seen.unlisted != "" && parsed.path != "" && parsed.foreign != "" {
		d.AddUnknown(parsed.foreign)
	}
	version, major := seen.version, seen.major
	if match := programVersion().FindStringSubmatch(f.Output(askVersion(f)).Stdout); version == "" && match != nil {
		version = match[1] + match[2]
		major, _ = strconv.Atoi(match[1])
	}
	database := parsed.database()
	if seen.unlisted != "" && parsed.param("tls_mgm", "db_url") != "" {
		seen.domains = append(seen.domains, tlsDomain{name: "NAME", values: map[string]string{"type": serverDomain}, filters: []string{anything}})
	}
	for _, domain := range seen.domains {
		use := deployers.Use{Where: "domain " + domain.name, Names: domain.names(), Settings: options.settings(usual)}
		if domain.script() {
			use.Certificate, use.Key = domain.values["CERT_FILE"], domain.values["PKEY_FILE"]
			use.Note = scriptNote
		} else {
			use.Domain, use.Note = domain.name, rowNote
			use.Incomplete = database == "" || seen.unlisted != ""
			use.Settings = append(rowSettings(database, parsed, domain.name), use.Settings...)
			switch {
			case seen.unlisted != "":
				use.Where, use.Note = "some domain", "Fill in the name of its row, and see that the account may read and update the table. SELECT domain, type FROM "+parsed.table()+" shows which there are; with OpenSIPS running, certlatch init tells them."
			case database != "":
				use.Note = "The database is that of the script: an account of certlatch's own need only read and update the table."
			}
			if major >= 4 {
				use.Note += " " + fmt.Sprintf(restartNote, version)
			}
		}
		use.SetProbes(usualPort("tls"), seen.probes(domain, f))
		d.Add(use)
	}
	return d
}

// table returns the table that domains are in.
func (s script) table() string {
	if table := s.param("tls_mgm", "db_table"); table != "" {
		return table
	}
	return tlsMgmTable
}

// rowSettings returns what a target's block says of a row.
func rowSettings(database deployers.DatabaseURL, s script, domain string) []deployers.Setting {
	if database == "" {
		database = "mysql://USER:PASSWORD@localhost/opensips"
	}
	settings := []deployers.Setting{{Key: "database", Value: string(database)}}
	if s.table() != tlsMgmTable {
		settings = append(settings, deployers.Setting{Key: "db_table", Value: s.table()})
	}
	return append(settings, deployers.Setting{Key: "domain", Value: domain})
}

// settings returns what a target's block says of the management interface, where that
// is not as usual.
func (o *Options) settings(usual *Options) (settings []deployers.Setting) {
	if o.MI != usual.MI {
		text, _ := o.MI.MarshalText() // it has no errors
		settings = append(settings, deployers.Setting{Key: "mi", Value: string(text)})
	}
	if o.MI.Protocol == deployers.MIFIFO && o.ReplyDir != usual.ReplyDir {
		settings = append(settings, deployers.Setting{Key: "reply_dir", Value: string(o.ReplyDir)})
	}
	return settings
}

// domains returns those of the script, as tls_list would.
func (s script) domains() []tlsDomain {
	found := map[string]*tlsDomain{}
	at := func(name string) *tlsDomain {
		if found[name] == nil {
			found[name] = &tlsDomain{name: name, values: map[string]string{"type": serverDomain}}
		}
		return found[name]
	}
	servers := map[string]bool{}
	for _, set := range s.Params("tls_mgm") {
		match := domainValue().FindStringSubmatch(set.Value())
		if match == nil { // of several lines
			continue
		}
		domain, value := match[1], match[2]
		switch set.Args[1] {
		case "server_domain":
			servers[value] = true
		case "certificate":
			at(domain).values["CERT_FILE"] = value
		case "private_key":
			at(domain).values["PKEY_FILE"] = value
		case "match_ip_address":
			for text := range strings.SplitSeq(value, ",") {
				if address, ok := parseAddress(strings.TrimSpace(text)); ok {
					at(domain).addresses = append(at(domain).addresses, address)
				}
			}
		case "match_sip_domain":
			for name := range strings.SplitSeq(value, ",") {
				at(domain).filters = append(at(domain).filters, strings.TrimSpace(name))
			}
		}
	}
	var domains []tlsDomain
	for _, name := range slices.Sorted(maps.Keys(found)) {
		d := *found[name]
		if len(d.filters) == 0 {
			d.filters = []string{anything} // tls_domain.c of 3.6.8, parse_match_domains
		}
		if servers[name] && d.script() {
			domains = append(domains, d)
		}
	}
	return domains
}
