// Package opensips knows how OpenSIPS takes certificates: from files at its
// start, or from a database by its management interface.
//
// It does not promise to know the domains of an OpenSIPS that does not answer:
// then it looks into the script, which another program may change first (-p).
package opensips

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Deployer deploys to OpenSIPS, which takes certificates in one of two ways.
// Domains of its script name files, which it reads when it starts and never
// again. Domains of a database hold the certificate itself, in the table
// tls_mgm, which the MI command tls_reload reads again (modules/tls_mgm of
// 3.2.19 to 4.0.1). OpenSIPS ignores a HUP, its packaged unit has no reload,
// and opensips -C does not look at certificates.
type Deployer struct{}

// Options is the configuration's opensips block.
type Options struct {
	MI       MI                    `yaml:"mi"`
	ReplyDir ReplyDir              `yaml:"reply_dir"` // of module mi_fifo
	Database deployers.DatabaseURL `yaml:"database"`  // where the domain's row is; empty: the domain is in the script
	Table    Table                 `yaml:"db_table"`  // that the row is in
	Domain   string                `yaml:"domain"`    // the row's; may hold {lineage}
	Type     RowType               `yaml:"type"`      // the row's
	Reload   Reload                `yaml:"reload"`    // of domains in a database
}

// MI is a channel to OpenSIPS's management interface: fifo:PATH,
// unix:PATH or udp:HOST:PORT for the socket of its module mi_datagram, or the
// URL of its module mi_http.
type MI deployers.Channel

// UnmarshalText parses the form of the configuration.
func (m *MI) UnmarshalText(text []byte) error {
	kind, address, _ := strings.Cut(string(text), ":")
	link, linkErr := url.Parse(string(text))
	switch {
	case kind == "fifo" && filepath.IsAbs(address):
		*m = MI{Protocol: deployers.MIFIFO, Address: address}
	case kind == "unix" && filepath.IsAbs(address):
		*m = MI{Protocol: deployers.MIDatagram, Address: address}
	case kind == "udp" && isHostPort(address):
		*m = MI{Protocol: deployers.MIDatagram, Address: address}
	case kind == "http" && linkErr == nil && link.Host != "" && link.User == nil:
		*m = MI{Protocol: deployers.MIHTTP, Address: string(text)}
	default:
		return fmt.Errorf("%.80q is not a channel to OpenSIPS; write fifo:/PATH, unix:/PATH, udp:HOST:PORT or http://HOST:PORT/mi", text)
	}
	return nil
}

func isHostPort(text string) bool {
	socket, err := url.Parse("udp://" + text)
	if err != nil || socket.Host != text || socket.Hostname() == "" {
		return false
	}
	_, err = strconv.ParseUint(socket.Port(), 10, 16)
	return err == nil
}

// MarshalText returns the form of the configuration.
func (m MI) MarshalText() ([]byte, error) {
	switch {
	case m.Protocol == deployers.MIFIFO:
		return []byte("fifo:" + m.Address), nil
	case m.Protocol == deployers.MIDatagram && filepath.IsAbs(m.Address):
		return []byte("unix:" + m.Address), nil
	case m.Protocol == deployers.MIDatagram:
		return []byte("udp:" + m.Address), nil
	}
	return []byte(m.Address), nil
}

// ReplyDir is a directory, which OpenSIPS itself needs to be written with a slash at
// its end.
type ReplyDir string

// UnmarshalText parses the form of the configuration.
func (d *ReplyDir) UnmarshalText(text []byte) error {
	if !filepath.IsAbs(string(text)) {
		return fmt.Errorf("%.80q is not a directory's absolute path; write that of reply_dir in modparam(\"mi_fifo\", ...)", text)
	}
	*d = ReplyDir(filepath.Clean(string(text)))
	return nil
}

// Table is the name of a table, which needs no quotes.
type Table string

// UnmarshalText parses the form of the configuration.
func (n *Table) UnmarshalText(text []byte) error {
	if !plainName().Match(text) {
		return fmt.Errorf("%.80q is not a plain name; write that of db_table in modparam(\"tls_mgm\", ...)", text)
	}
	*n = Table(text)
	return nil
}

var plainName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) })

// RowType is the type of a row.
type RowType int

// UnmarshalText parses the form of the configuration.
func (r *RowType) UnmarshalText(text []byte) error {
	switch string(text) {
	case "1", "client":
		*r = tlsMgmClient
	case "2", "server":
		*r = tlsMgmServer
	default:
		return fmt.Errorf("%.80q is not the type of a row; write 2 for a server's domain, or 1 for a client's", text)
	}
	return nil
}

// MarshalText returns the form of the configuration.
func (r RowType) MarshalText() ([]byte, error) { return []byte(strconv.Itoa(int(r))), nil }

// called returns whose domain it is, for people.
func (r RowType) called() string {
	if r == tlsMgmClient {
		return "client"
	}
	return "server"
}

// listed returns the type of domain in tls_list.
func (r RowType) listed() string {
	if r == tlsMgmClient {
		return clientDomain
	}
	return serverDomain
}

// Reload is whether tls_reload may be called.
type Reload string

const (
	ReloadAuto   Reload = "auto" // where the version is one that is known not to crash on it
	ReloadAlways Reload = "always"
	ReloadNever  Reload = "never"
)

// UnmarshalText parses the form of the configuration.
func (r *Reload) UnmarshalText(text []byte) error {
	*r = Reload(text)
	if !slices.Contains([]Reload{ReloadAuto, ReloadAlways, ReloadNever}, *r) {
		return fmt.Errorf("%.80q does not say when to reload; write auto, always or never", text)
	}
	return nil
}

// The table of module tls_mgm, and the types of rows in it (tls_domain.h of
// 3.2.19 to 4.0.1; the table's own default is a client's).
const (
	tlsMgmTable  = "tls_mgm"
	tlsMgmClient = 1
	tlsMgmServer = 2
)

// RowKeys returns where the row of a domain in a database is.
func (o *Options) RowKeys() deployers.RowKeys {
	return deployers.RowKeys{
		DatabaseKey: "database", Database: o.Database, DomainKey: "domain", Domain: o.Domain,
		Table: string(o.Table), Type: int(o.Type),
		FilesWhere: "OpenSIPS's script defines the domain",
	}
}

// Meeting returns the directories that certlatch and OpenSIPS both use: that of
// the control channel, and that of the replies.
func (o *Options) Meeting() []string {
	switch {
	case o.MI.Protocol == deployers.MIFIFO:
		return []string{filepath.Dir(o.MI.Address), string(o.ReplyDir)}
	case filepath.IsAbs(o.MI.Address):
		return []string{filepath.Dir(o.MI.Address)}
	}
	return nil
}

func (o *Options) query(method string) deployers.Query {
	channel := deployers.Channel(o.MI)
	if channel.Protocol == deployers.MIFIFO {
		channel.ReplyDir = string(o.ReplyDir)
	}
	return deployers.Query{Channel: channel, Method: method}
}

func (Deployer) Name() string { return "opensips" }

// Options returns a block with the channel that the packaged configuration has
// from 3.4 on, and the defaults of mi_fifo.
func (Deployer) Options() any {
	return &Options{
		MI:       MI{Protocol: deployers.MIFIFO, Address: "/run/opensips/opensips_fifo"},
		ReplyDir: "/tmp", Table: tlsMgmTable, Domain: "{lineage}", Type: tlsMgmServer, Reload: ReloadAuto,
	}
}

func (Deployer) Defaults(t *deployers.Target) {
	if t.Unit == "" {
		t.Unit = "opensips.service"
	}
}

func (Deployer) Wants(t deployers.Target, f deployers.Facts) deployers.Wants {
	options, parsed := t.Options.(*Options), read(f)
	wants := deployers.Wants{
		Unit: t.Unit, Argv: true, Ports: parsed.portsOrUsual(), Texts: parsed.Paths,
		Queries: []deployers.Query{options.query("version"), options.query("tls_list")},
	}
	if t.Name == "" { // there is no target yet
		found := options.discovering(parsed)
		wants.Queries = deployers.Distinct(append(wants.Queries, found.query("version"), found.query("tls_list")))
		installed := f.Unit.LoadState == "loaded" || parsed.path != ""
		if _, unversioned := found.answer(f, "version"); unversioned != "" && installed {
			wants.Commands = [][]string{askVersion(f)}
		}
	}
	return wants
}

func (Deployer) Plan(t deployers.Target, l lineage.Lineage, f deployers.Facts) (deployers.Plan, error) {
	options := t.Options.(*Options)
	plan := deployers.NewPlan(t, l, f, "sips")
	plan.NeverStaples = true // none of its modules knows of OCSP (master of 2026-08-20)
	parsed := read(f)
	seen := options.observe(f, parsed)
	if seen.version != "" {
		plan.Fine(deployers.Control, "OpenSIPS %s answers at %s", seen.version, options.MI.Address)
	}
	var err error
	if options.Database != "" {
		err = options.planRow(&plan, seen, parsed, t, f)
	} else {
		err = seen.planFiles(&plan, t, f)
	}
	if err != nil {
		return plan, err
	}
	plan.Test = ownTest(f)
	plan.SIPDomains = deployers.SIPDomains(t, plan)
	return plan, nil
}

// planFiles completes the plan for domains of the script.
func (s observed) planFiles(plan *deployers.Plan, t deployers.Target, f deployers.Facts) error {
	rows := 0
	var ours []tlsDomain
	var taken []deployers.Taken
	half, reader := "", plan.Reader
	for _, d := range s.domains {
		certificate, key := d.values["CERT_FILE"], d.values["PKEY_FILE"]
		if !d.script() {
			rows++
			continue
		}
		taken = append(taken, deployers.Taken{Where: "domain " + d.name, File: certificate, Key: key})
		gets := plan.Writes(certificate, deployers.Fullchain, deployers.Combined)
		if gets != plan.Writes(key, deployers.Key, deployers.Combined) {
			half = fmt.Sprintf("domain %s takes %s with the key %s, and the target has only one of the two", d.name, certificate, key)
			plan.Warn(deployers.Configuration, bothFiles, "%s", half)
		} else if !gets {
			plan.Beside = append(plan.Beside, deployers.Beside{Name: d.called(), Certificate: certificate, Key: key, Probes: s.probes(d, f), Reader: &reader})
		}
		if gets {
			ours = append(ours, d)
			plan.Fine(deployers.Configuration, "domain %s takes %s", d.name, certificate)
		}
	}
	s.serve(plan, f, ours...)
	switch {
	case s.unlisted != "" && s.script != "":
		plan.Warn(deployers.Control, remedyOfMI(t), "%s, so this is what %s says of its domains%s", s.unlisted, s.script, s.caution())
	case s.unlisted != "":
		plan.Warn(deployers.Control, remedyOfMI(t), "%s, so it is not known which files its domains take", s.unlisted)
	case len(ours) == 0 && len(taken) == 0 && rows > 0:
		return &deployers.NoWayError{
			Target: t.Name, About: deployers.Domains,
			Why:    "OpenSIPS takes no certificate from files: its domains come from a database (" + s.listed() + ")",
			Remedy: "set opensips: {database: URL, domain: NAME} in place of the files of target " + t.Name,
		}
	case len(ours) == 0 && len(taken) == 0:
		plan.Warn(deployers.Configuration, "define one in its script", "OpenSIPS lists no server domain, so nothing takes %s", plan.Files[0].Path)
	case len(ours) == 0:
		client := func(d tlsDomain) bool {
			return plan.Writes(d.values["CERT_FILE"], deployers.Fullchain, deployers.Combined)
		}
		plan.TakesElsewhere(half == "" && !slices.ContainsFunc(s.all, client),
			"name the target's paths there, or those in the target", "OpenSIPS does not take its certificates from "+plan.Files[0].Path, taken...)
	}
	activation, err := s.activation(t, f, deployers.Activation{}, "OpenSIPS reads the files that its script names only when it starts")
	switch {
	case err != nil:
		return err
	case activation.Way != deployers.RestartUnit:
	case half != "":
		return &deployers.NoWayError{Target: t.Name, About: deployers.Configuration, Why: half + ", so OpenSIPS could not start with the new pair", Remedy: bothFiles}
	case s.unlisted != "" && s.script == "":
		return unreachable(t, s.unlisted)
	case s.unlisted != "" && s.foreign != "" && len(ours) == 0:
		return unreachable(t, s.unlisted+s.caution())
	case len(ours) == 0:
		activation = deployers.Activation{
			Way: deployers.NoWay, Unit: t.Unit, Wait: deployers.RestartNotAllowed, Why: "no domain of OpenSIPS takes the files, so a restart would be for nothing",
			Remedy: "name the target's paths in its script, and restart " + t.Unit + "; certlatch deploy --pending then proves it",
		}
	}
	plan.Activate = activation
	return nil
}

// caution returns why what the script says may not be so, behind something else.
func (s observed) caution() string {
	if s.foreign == "" {
		return ""
	}
	return "; but " + s.foreign
}

const bothFiles = "let it name both files of one pair"

// unreachable returns the error of an OpenSIPS that does not answer where it has to
// be asked.
func unreachable(t deployers.Target, why string) error {
	return &deployers.UnreachableError{NoWayError: &deployers.NoWayError{Target: t.Name, About: deployers.Control, Why: why, Remedy: remedyOfMI(t)}}
}

// remedyOfMI returns what to do where OpenSIPS cannot be asked. Callers of mi_fifo and
// OpenSIPS meet in two directories, which both have to see.
func remedyOfMI(t deployers.Target) string {
	options := t.Options.(*Options)
	if options.MI.Protocol != deployers.MIFIFO {
		return fmt.Sprintf("set opensips: {mi: ...} of target %s to a channel that its script opens, or see whether it hangs (journalctl -u %s)", t.Name, t.Unit)
	}
	return fmt.Sprintf("set opensips: {mi: ..., reply_dir: ...} of target %s to the fifo_name and reply_dir of its module mi_fifo, where both see %s and %s (PrivateTmp= hides /tmp), or see whether it hangs (journalctl -u %s)",
		t.Name, filepath.Dir(options.MI.Address), options.ReplyDir, t.Unit)
}

// planRow completes the plan for a domain of the database.
func (o *Options) planRow(plan *deployers.Plan, seen observed, s script, t deployers.Target, f deployers.Facts) error {
	plan.Files, plan.Directory = nil, ""
	plan.Row = &deployers.Row{Database: o.Database, Table: string(o.Table), Domain: strings.ReplaceAll(o.Domain, "{lineage}", plan.Lineage), Type: int(o.Type)}
	at := slices.IndexFunc(seen.all, func(d tlsDomain) bool {
		return d.name == plan.Row.Domain && d.values["type"] == o.Type.listed()
	})
	if o.Type == tlsMgmClient && plan.Found {
		plan.Probes = nil
		plan.Warn(deployers.Serving, "write probe: [] for target "+t.Name, "the certificate of a client's domain shows to those that OpenSIPS connects to, and to nobody who connects to it")
	}
	switch {
	case at >= 0 && seen.all[at].script():
		return &deployers.NoWayError{
			Target: t.Name, About: deployers.Domains,
			Why:    fmt.Sprintf("OpenSIPS's domain %s is one of its script, which takes %s and nothing from a database", plan.Row.Domain, seen.all[at].values["CERT_FILE"]),
			Remedy: "set certificate and key for target " + t.Name + " in place of opensips.database",
		}
	case at >= 0:
		if o.Type == tlsMgmServer {
			seen.serve(plan, f, seen.all[at])
		}
		plan.Fine(deployers.Domains, "domain %s comes from the database", plan.Row.Domain)
	case seen.unlisted == "":
		plan.Warn(deployers.Domains, "set opensips: {domain: NAME} if it has another name; if its row could not be used, a good one brings it back", "OpenSIPS does not list a %s domain %s now (%s)", o.Type.called(), plan.Row.Domain, seen.listed())
	}
	if o.Reload == ReloadAuto && f.Answers[o.query("version")].Err != "" && f.Systemd && f.Unit.Running() {
		return unreachable(t, seen.unversioned)
	}
	for _, other := range seen.others(plan.Row) {
		row := *plan.Row
		row.Domain, row.Type = other.name, other.rowType()
		plan.Beside = append(plan.Beside, deployers.Beside{Name: other.called(), Row: &row, Probes: seen.probes(other, f)})
	}
	var err error
	plan.Activate, err = seen.activation(t, f, o.reload(t, plan.Row, seen), o.unsafe(seen))
	if plan.Activate.Way == deployers.RestartUnit && at < 0 && s.path != "" && s.foreign == "" && s.param("tls_mgm", "db_url") == "" {
		plan.Activate = deployers.Activation{
			Way: deployers.NoWay, Unit: t.Unit, Wait: deployers.RestartNotAllowed,
			Why:    s.path + " gives the module tls_mgm no db_url, so OpenSIPS takes no domain from a database, and a restart would be for nothing",
			Remedy: "set certificate and key for target " + t.Name + " in place of opensips.database; or give tls_mgm the database, and restart " + t.Unit,
		}
	}
	return err
}

// reload returns the activation by tls_reload. It answers OK even where it
// leaves out a domain whose row cannot be used (init_tls_domains). A fault
// leaves the domains as they were, unless memory runs out.
//
// It leaves out all such domains, and not only the one of this row: another's
// row may have been spoilt long ago, and OpenSIPS not have looked at it since.
// To put this one back would not mend that.
func (o *Options) reload(t deployers.Target, row *deployers.Row, seen observed) deployers.Activation {
	reload := deployers.Activation{
		Way: deployers.CallControl, Unit: t.Unit,
		Calls: []deployers.Query{o.query("tls_reload")}, Success: "OK",
		Faults: reloadFaults(), FaultKeepsOld: true,
		After: []deployers.Expect{{
			Query:    o.query("tls_list"),
			Contains: listedAs(row.Domain, o.Type.listed()),
			Reason:   "domain-dropped",
			Says:     "OpenSIPS does not list the domain " + row.Domain + " any more",
			Remedy:   "OpenSIPS could not use the row of domain " + row.Domain + "; its log tells why",
		}},
	}
	for _, other := range seen.others(row) {
		reload.After = append(reload.After, deployers.Expect{
			Query:    o.query("tls_list"),
			Contains: listedAs(other.name, other.values["type"]),
			Reason:   "other-domain-dropped",
			Says:     fmt.Sprintf("OpenSIPS has dropped another domain of its database, %s (%s): it has no TLS now", other.name, other.values["type"]),
			Remedy:   fmt.Sprintf("correct the row of %s in table %s (OpenSIPS's log tells what it could not use), then have it reloaded (MI command tls_reload)", other.name, row.Table),
			Warn:     true,
		})
	}
	return reload
}

// listedAs returns the lines of tls_list for a domain with a name and a type.
func listedAs(name, kind string) string { return "name: " + name + "\ntype: " + kind + "\n" }

// unsafe returns why tls_reload is not called; empty: it is. In 4.0, TLS moved
// into one process, and tls_reload still frees in the caller's what lives in
// that one: 4.0.1 and 4.1-dev crashed at every reload.
func (o *Options) unsafe(seen observed) string {
	switch {
	case o.Reload == ReloadAlways:
		return ""
	case o.Reload == ReloadNever:
		return "opensips: {reload: never} is set"
	case seen.unversioned != "":
		return seen.ofUnknownVersion()
	case seen.major >= 4:
		return "OpenSIPS " + seen.version + " may crash on tls_reload, as all do from 4.0 on"
	}
	return ""
}

// reloadFaults returns the faults of tls_reload (tls_mgm.c of 3.2.19 to 4.0.1)
// and of the MI itself (mi.h).
func reloadFaults() []deployers.Fault {
	return []deployers.Fault{
		{Says: "DB url not set", Reason: "tls-database-missing", Remedy: `OpenSIPS takes its domains from its script: set certificate and key in place of opensips.database, or give its module tls_mgm a database (modparam("tls_mgm", "db_url", "..."))`},
		{Says: "Failed to reload", Reason: "tls-database-failed", Remedy: "OpenSIPS could not read its table tls_mgm; its log tells why"},
		{Says: "Method not found", Reason: "tls-module-missing", Remedy: "let OpenSIPS load its module tls_mgm"},
	}
}

// observed is what the facts say about an OpenSIPS.
type observed struct {
	version     string
	major       int
	unversioned string // why the version is not known; empty: it is
	all         []tlsDomain
	domains     []tlsDomain // of those, the ones for connections that come in
	unlisted    string      // why they are not known; empty: they are
	foreign     string      // why that may not tell the truth; empty: it does
	script      string      // the path of the script that tells of them instead; empty: none does
}

// ofUnknownVersion returns why an OpenSIPS whose version is not known is not
// reloaded.
func (s observed) ofUnknownVersion() string {
	return "the version of OpenSIPS is not known (" + s.unversioned + "), and from 4.0 on it crashes on tls_reload"
}

// serverVersion matches the version in the reply to version: OpenSIPS (3.6.8
// (x86_64/linux)).
var serverVersion = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^Server: OpenSIPS \((\d+)(\.[\w.-]+)`) })

// observe returns what the facts tell; the script counts where OpenSIPS does not answer.
func (o *Options) observe(f deployers.Facts, s script) (seen observed) {
	list, unlisted := o.answer(f, "tls_list")
	version, unversioned := o.answer(f, "version")
	seen.all, seen.unlisted, seen.unversioned = tlsDomains(list), unlisted, unversioned
	if unlisted != "" && s.path != "" {
		seen.all, seen.script, seen.foreign = s.domains(), s.path, s.foreign
	}
	seen.domains = slices.DeleteFunc(slices.Clone(seen.all), func(d tlsDomain) bool { return d.values["type"] != serverDomain })
	if match := serverVersion().FindStringSubmatch(version); match != nil {
		seen.version = match[1] + match[2]
		seen.major, _ = strconv.Atoi(match[1]) // digits; too many make the largest number
	} else if unversioned == "" {
		seen.unversioned = fmt.Sprintf("OpenSIPS answers version with %q", version)
	}
	return seen
}

// scriptOf returns the path of the script that runs, or would be started with.
func scriptOf(f deployers.Facts) string {
	if path := f.CommandLine().File("-f"); path != "" {
		return path
	}
	return scriptPath
}

// ownTest returns OpenSIPS's test of its script, which neither looks at certificates
// nor connects to a database (main.c of 3.6.8). Where no script is known, there is
// none. The program that changes the script first is run by root then, so it has to be
// that of the unit: a process may say of itself whatever it likes.
func ownTest(f deployers.Facts) deployers.Test {
	line := f.CommandLine()
	if line.File("-f") == "" && len(f.Texts[scriptOf(f)]) == 0 {
		return deployers.Test{}
	}
	test := deployers.Test{Command: []string{line.OwnProgram("opensips"), "-C", "-f", scriptOf(f)}, Start: true}
	if !isPreprocessed(f) {
		return test
	}
	own := deployers.CommandLine{Argv: f.Unit.ExecStart}.Options("-p")
	if len(own) == 0 {
		return deployers.Test{}
	}
	test.Command = append(test.Command, "-p", own[len(own)-1])
	return test
}

// answer returns the reply to a query, or why there is none.
func (o *Options) answer(f deployers.Facts, method string) (reply, why string) {
	answer := f.Answers[o.query(method)]
	switch {
	case answer.Err != "":
		return "", "OpenSIPS cannot be reached: " + answer.Err
	case answer.Fault != "":
		return "", fmt.Sprintf("OpenSIPS answers %s with %q", method, answer.Fault)
	}
	return answer.Reply, ""
}

// others returns the domains of the database but for that of a row. A client's
// domain may have the name of a server's.
func (s observed) others(row *deployers.Row) []tlsDomain {
	return slices.DeleteFunc(slices.Clone(s.all), func(d tlsDomain) bool {
		return d.script() || d.name == row.Domain && d.rowType() == row.Type
	})
}

// listed returns which server domains there are, for people.
func (s observed) listed() string {
	if len(s.domains) == 0 {
		return "it lists none"
	}
	var names []string
	for _, d := range s.domains {
		names = append(names, d.name)
	}
	return "it lists " + strings.Join(names, ", ")
}

// activation returns the given reload, or a restart where something speaks
// against the reload.
func (s observed) activation(t deployers.Target, f deployers.Facts, reload deployers.Activation, unsafe string) (deployers.Activation, error) {
	switch {
	case f.Systemd && f.Unit.LoadState != "loaded":
		return deployers.Activation{}, &deployers.UnitError{Unit: t.Unit, LoadState: f.Unit.LoadState}
	case f.Systemd && !f.Unit.Running():
		return deployers.AwaitStart(t, f), nil
	case !f.Systemd && s.unlisted != "":
		return deployers.Activation{Way: deployers.NoWay, Wait: deployers.ServiceInactive, Why: "no systemd here, and " + s.unlisted}, nil
	case unsafe == "":
		return reload, nil
	case unsafe == s.ofUnknownVersion():
		return deployers.Activation{
			Way: deployers.NoWay, Unit: t.Unit, Wait: deployers.RestartNotAllowed, Why: unsafe,
			Remedy: "restart " + t.Unit + " when it suits, or set opensips: {reload: always} for target " + t.Name + " if this version bears tls_reload, never if it does not",
		}, nil
	case f.Systemd && t.AllowRestart:
		return deployers.Activation{Way: deployers.RestartUnit, Unit: t.Unit, After: reload.After, Why: unsafe + "; allow_restart is set, so it is restarted"}, nil
	}
	return deployers.Activation{Way: deployers.NoWay, Unit: t.Unit, Wait: deployers.RestartNotAllowed, Why: unsafe}, nil
}
