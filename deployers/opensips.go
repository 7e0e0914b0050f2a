package deployers

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// opensips takes certificates in one of two ways. Domains of its script name
// files, which it reads when it starts and never again. Domains of a database
// hold the certificate itself, in the table tls_mgm, which the MI command
// tls_reload reads again (modules/tls_mgm of 3.2.19 to 4.0.1). OpenSIPS
// ignores a HUP, its packaged unit has no reload, and opensips -C does not look
// at certificates.
type opensips struct{}

// OpenSIPSOptions is the configuration's opensips block.
type OpenSIPSOptions struct {
	MI       OpenSIPSMI     `yaml:"mi"`
	ReplyDir string         `yaml:"reply_dir"` // of module mi_fifo
	Database DatabaseURL    `yaml:"database"`  // where the domain's row is; empty: the domain is in the script
	Domain   string         `yaml:"domain"`    // the row's; may hold {lineage}
	Reload   OpenSIPSReload `yaml:"reload"`    // of domains in a database
}

// OpenSIPSMI is a channel to OpenSIPS's management interface: fifo:PATH,
// unix:PATH or udp:HOST:PORT for the socket of its module mi_datagram, or the
// URL of its module mi_http.
type OpenSIPSMI Channel

// UnmarshalText reads the form of the configuration.
func (m *OpenSIPSMI) UnmarshalText(text []byte) error {
	kind, address, _ := strings.Cut(string(text), ":")
	link, linkErr := url.Parse(string(text))
	switch {
	case kind == "fifo" && filepath.IsAbs(address):
		*m = OpenSIPSMI{Protocol: MIFIFO, Address: address}
	case kind == "unix" && filepath.IsAbs(address):
		*m = OpenSIPSMI{Protocol: MIDatagram, Address: address}
	case kind == "udp" && isHostPort(address):
		*m = OpenSIPSMI{Protocol: MIDatagram, Address: address}
	case kind == "http" && linkErr == nil && link.Host != "" && link.User == nil:
		*m = OpenSIPSMI{Protocol: MIHTTP, Address: string(text)}
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

// MarshalText gives the form of the configuration.
func (m OpenSIPSMI) MarshalText() ([]byte, error) {
	switch {
	case m.Protocol == MIFIFO:
		return []byte("fifo:" + m.Address), nil
	case m.Protocol == MIDatagram && filepath.IsAbs(m.Address):
		return []byte("unix:" + m.Address), nil
	case m.Protocol == MIDatagram:
		return []byte("udp:" + m.Address), nil
	}
	return []byte(m.Address), nil
}

// OpenSIPSReload says whether tls_reload is called.
type OpenSIPSReload string

const (
	ReloadAuto   OpenSIPSReload = "auto" // where the version is one that is known not to crash on it
	ReloadAlways OpenSIPSReload = "always"
	ReloadNever  OpenSIPSReload = "never"
)

// UnmarshalText reads the form of the configuration.
func (r *OpenSIPSReload) UnmarshalText(text []byte) error {
	*r = OpenSIPSReload(text)
	if !slices.Contains([]OpenSIPSReload{ReloadAuto, ReloadAlways, ReloadNever}, *r) {
		return fmt.Errorf("%.80q does not say when to reload; write auto, always or never", text)
	}
	return nil
}

// The table of module tls_mgm, and the type of a server domain's rows in it
// (tls_domain.h of 3.2.19 to 4.0.1; the table's own default is 1, a client's).
const (
	tlsMgmTable  = "tls_mgm"
	tlsMgmServer = 2
)

// Meeting gives the directories where certlatch and OpenSIPS meet: that of the
// control channel, and that of the replies.
func (o *OpenSIPSOptions) Meeting() []string {
	switch {
	case o.MI.Protocol == MIFIFO:
		return []string{filepath.Dir(o.MI.Address), o.ReplyDir}
	case filepath.IsAbs(o.MI.Address):
		return []string{filepath.Dir(o.MI.Address)}
	}
	return nil
}

func (o *OpenSIPSOptions) query(method string) Query {
	channel := Channel(o.MI)
	if channel.Protocol == MIFIFO {
		channel.ReplyDir = o.ReplyDir
	}
	return Query{Channel: channel, Method: method}
}

func (opensips) Name() string { return "opensips" }

// Options gives the channel that the packaged configuration has from 3.4 on,
// and the defaults of mi_fifo.
func (opensips) Options() any {
	return &OpenSIPSOptions{
		MI:       OpenSIPSMI{Protocol: MIFIFO, Address: "/run/opensips/opensips_fifo"},
		ReplyDir: "/tmp", Domain: "{lineage}", Reload: ReloadAuto,
	}
}

func (opensips) Defaults(t *Target) {
	if t.Unit == "" {
		t.Unit = "opensips.service"
	}
}

func (opensips) Wants(t Target, f Facts) Wants {
	options := t.Options.(*OpenSIPSOptions)
	wants := Wants{Unit: t.Unit, Ports: []uint16{5061}, Queries: []Query{options.query("version"), options.query("tls_list")}}
	if _, unlisted := options.answer(f, "tls_list"); unlisted != "" {
		wants.Texts = []string{opensipsScript}
	}
	return wants
}

func (opensips) Plan(t Target, l lineage.Lineage, f Facts) (Plan, error) {
	options := t.Options.(*OpenSIPSOptions)
	plan := newPlan(t, l, f, "sips")
	seen := options.look(f)
	if seen.version != "" {
		plan.fine(Control, "OpenSIPS %s answers at %s", seen.version, options.MI.Address)
	}
	var err error
	if options.Database != "" {
		err = options.planRow(&plan, seen, t, f)
	} else {
		err = seen.planFiles(&plan, t, f)
	}
	if err != nil {
		return plan, err
	}
	if plan.Found && len(plan.Names) > 0 {
		plan.Probes = nil
		for _, listener := range f.Listeners {
			for _, name := range plan.Names {
				plan.Probes = append(plan.Probes, endpoint.At("sips", listener, name))
			}
		}
	}
	plan.SIPDomains = sipDomains(t, plan)
	return plan, nil
}

// planFiles is the plan for domains of the script.
func (s opensipsLook) planFiles(plan *Plan, t Target, f Facts) error {
	ours, rows := 0, 0
	var taken []string
	for _, d := range s.domains {
		certificate, key := d.values["CERT_FILE"], d.values["PKEY_FILE"]
		if !d.script() {
			rows++
			continue
		}
		taken = append(taken, fmt.Sprintf("domain %s takes %s", d.name, certificate))
		gets := installs(plan.Files, certificate, Fullchain, Combined)
		if gets != installs(plan.Files, key, Key, Combined) {
			plan.warn(Configuration, "let it name both files of one pair", "domain %s takes %s with the key %s, and the target has only one of the two", d.name, certificate, key)
		}
		if gets {
			ours++
			plan.fine(Configuration, "domain %s takes %s", d.name, certificate)
			plan.Names = append(plan.Names, d.names()...)
		}
	}
	slices.Sort(plan.Names)
	plan.Names = slices.Compact(plan.Names)
	switch {
	case s.unlisted != "":
		plan.warn(Control, "set opensips: {mi: ...} to the channel that it has", "%s, so it is not known which files its domains take", s.unlisted)
	case ours == 0 && len(taken) == 0 && rows > 0:
		return &NoWayError{
			Target: t.Name, About: Domains,
			Why:    "OpenSIPS takes no certificate from files: its domains come from a database (" + s.listed() + ")",
			Remedy: "set opensips: {database: URL, domain: NAME} in place of the files of target " + t.Name,
		}
	case ours == 0 && len(taken) == 0:
		plan.warn(Configuration, "define one in its script", "OpenSIPS lists no server domain, so nothing takes %s", plan.Files[0].Path)
	case ours == 0:
		plan.warn(Configuration, "name the target's paths there, or those in the target", "OpenSIPS does not take its certificates from %s: %s", plan.Files[0].Path, strings.Join(taken, ", "))
	}
	var err error
	plan.Activate, err = s.activation(t, f, Activation{}, "OpenSIPS reads the files that its script names only when it starts")
	return err
}

// planRow is the plan for a domain of the database.
func (o *OpenSIPSOptions) planRow(plan *Plan, seen opensipsLook, t Target, f Facts) error {
	plan.Files, plan.Directory = nil, ""
	plan.Row = &Row{Database: o.Database, Table: tlsMgmTable, Domain: strings.ReplaceAll(o.Domain, "{lineage}", plan.Lineage), Type: tlsMgmServer}
	at := slices.IndexFunc(seen.domains, func(d opensipsDomain) bool { return d.name == plan.Row.Domain })
	switch {
	case at >= 0 && seen.domains[at].script():
		return &NoWayError{
			Target: t.Name, About: Domains,
			Why:    fmt.Sprintf("OpenSIPS's domain %s is one of its script, which takes %s and nothing from a database", plan.Row.Domain, seen.domains[at].values["CERT_FILE"]),
			Remedy: "set certificate and key for target " + t.Name + " in place of opensips.database",
		}
	case at >= 0:
		plan.Names = seen.domains[at].names()
		plan.fine(Domains, "domain %s comes from the database", plan.Row.Domain)
	case seen.unlisted == "":
		plan.warn(Domains, "set opensips: {domain: NAME} if it has another name; if its row could not be used, a good one brings it back", "OpenSIPS does not list a server domain %s now (%s)", plan.Row.Domain, seen.listed())
	}
	if version := f.Answers[o.query("version")]; o.Reload == ReloadAuto && version.Silent() && f.Systemd && f.Unit.Running() {
		return silentError(t, "OpenSIPS does not answer: "+version.Err)
	}
	var err error
	plan.Activate, err = seen.activation(t, f, o.reload(t, plan.Row, seen), o.unsafe(seen))
	return err
}

// reload is the activation by tls_reload. It answers OK even where it leaves
// out a domain whose row cannot be used (init_tls_domains). A fault leaves the
// domains as they were, unless memory runs out.
//
// It leaves out all such domains, and not only the one of this row: another's
// row may have been spoilt long ago, and OpenSIPS not have looked at it since.
// To put this one back would not mend that.
func (o *OpenSIPSOptions) reload(t Target, row *Row, seen opensipsLook) Activation {
	reload := Activation{
		Way: CallControl, Unit: t.Unit,
		Calls: []Query{o.query("tls_reload")}, Success: "OK",
		Faults: opensipsFaults(), FaultKeepsOld: true,
		After: []Expect{{
			Query:    o.query("tls_list"),
			Contains: listedAs(row.Domain, serverDomain),
			Reason:   "domain-dropped",
			Says:     "OpenSIPS does not list the domain " + row.Domain + " any more",
			Remedy:   "OpenSIPS could not use the row of domain " + row.Domain + "; its log tells why",
		}},
	}
	for _, other := range seen.others(row) {
		reload.After = append(reload.After, Expect{
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

// listedAs is how tls_list tells that there is a domain of a type.
func listedAs(name, kind string) string { return "name: " + name + "\ntype: " + kind + "\n" }

// unsafe says why tls_reload is not called; empty: it is. In 4.0, TLS moved
// into one process, and tls_reload still frees in the caller's what lives in
// that one: 4.0.1 and 4.1-dev crashed at every reload.
func (o *OpenSIPSOptions) unsafe(seen opensipsLook) string {
	switch {
	case o.Reload == ReloadAlways:
		return ""
	case o.Reload == ReloadNever:
		return "opensips: {reload: never} is set"
	case seen.unversioned != "":
		return "the version of OpenSIPS is not known (" + seen.unversioned + "), and from 4.0 on it crashes on tls_reload"
	case seen.major >= 4:
		return "OpenSIPS " + seen.version + " may crash on tls_reload, as all do from 4.0 on"
	}
	return ""
}

// opensipsFaults are the faults of tls_reload (tls_mgm.c of 3.2.19 to 4.0.1)
// and of the MI itself (mi.h).
func opensipsFaults() []Fault {
	return []Fault{
		{"DB url not set", "tls-database-missing", `OpenSIPS takes its domains from its script: set certificate and key in place of opensips.database, or give its module tls_mgm a database (modparam("tls_mgm", "db_url", "..."))`},
		{"Failed to reload", "tls-database-failed", "OpenSIPS could not read its table tls_mgm; its log tells why"},
		{"Method not found", "tls-module-missing", "let OpenSIPS load its module tls_mgm"},
	}
}

// opensipsLook is what the facts tell about an OpenSIPS.
type opensipsLook struct {
	version     string
	major       int
	unversioned string // why the version is not known; empty: it is
	all         []opensipsDomain
	domains     []opensipsDomain // of those, the ones for connections that come in
	unlisted    string           // why they are not known; empty: they are
}

// opensipsDomain is a domain of tls_list. Those of the script alone tell their
// files (list_domain of tls_mgm.c).
type opensipsDomain struct {
	name    string
	values  map[string]string
	filters []string // of IP addresses and of SIP domains
}

func (d opensipsDomain) script() bool {
	_, ok := d.values["CERT_FILE"]
	return ok
}

// names are the SIP domains by which a client reaches the domain, in lower
// case: before 3.6.8 the case counts. Filters with wildcards name none.
func (d opensipsDomain) names() (names []string) {
	for _, filter := range d.filters {
		_, addrErr := netip.ParseAddr(filter)
		_, portErr := netip.ParseAddrPort(filter)
		if addrErr != nil && portErr != nil && filter != "none" && !strings.ContainsAny(filter, `*?[\`) {
			names = append(names, strings.ToLower(filter))
		}
	}
	return names
}

// serverVersion finds the version in what version answers: OpenSIPS (3.6.8 (x86_64/linux)).
var serverVersion = regexp.MustCompile(`^Server: OpenSIPS \((\d+)(\.[\w.-]+)`)

// look reads the facts.
func (o *OpenSIPSOptions) look(f Facts) (seen opensipsLook) {
	list, unlisted := o.answer(f, "tls_list")
	version, unversioned := o.answer(f, "version")
	seen.all, seen.unlisted, seen.unversioned = tlsDomains(list), unlisted, unversioned
	seen.domains = slices.DeleteFunc(slices.Clone(seen.all), func(d opensipsDomain) bool { return d.values["type"] != serverDomain })
	if match := serverVersion.FindStringSubmatch(version); match != nil {
		seen.version = match[1] + match[2]
		seen.major, _ = strconv.Atoi(match[1]) // digits; too many make the largest number
	} else if unversioned == "" {
		seen.unversioned = fmt.Sprintf("OpenSIPS answers version with %q", version)
	}
	return seen
}

// answer gives the reply to a query, or why there is none.
func (o *OpenSIPSOptions) answer(f Facts, method string) (reply, why string) {
	answer := f.Answers[o.query(method)]
	switch {
	case answer.Err != "":
		return "", "OpenSIPS cannot be reached: " + answer.Err
	case answer.Fault != "":
		return "", fmt.Sprintf("OpenSIPS answers %s with %q", method, answer.Fault)
	}
	return answer.Reply, ""
}

// serverDomain is the type, in tls_list, of a domain for connections that come
// in; the other one is TLS_DOMAIN_CLI.
const serverDomain = "TLS_DOMAIN_SRV"

// tlsDomains reads the reply to tls_list.
func tlsDomains(reply string) []opensipsDomain {
	var domains []opensipsDomain
	for line := range strings.Lines(reply) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case key == "name" && ok:
			domains = append(domains, opensipsDomain{name: value, values: map[string]string{}})
		case len(domains) == 0:
		case ok:
			domains[len(domains)-1].values[key] = value
		default:
			last := &domains[len(domains)-1]
			last.filters = append(last.filters, key)
		}
	}
	return domains
}

// others are the domains of the database but for that of a row. A client's
// domain may have the name of a server's.
func (s opensipsLook) others(row *Row) []opensipsDomain {
	return slices.DeleteFunc(slices.Clone(s.all), func(d opensipsDomain) bool {
		return d.script() || d.name == row.Domain && d.values["type"] == serverDomain
	})
}

// listed says which server domains there are.
func (s opensipsLook) listed() string {
	if len(s.domains) == 0 {
		return "it lists none"
	}
	var names []string
	for _, d := range s.domains {
		names = append(names, d.name)
	}
	return "it lists " + strings.Join(names, ", ")
}

// activation is the given reload, or where something speaks against it a
// restart.
func (s opensipsLook) activation(t Target, f Facts, reload Activation, unsafe string) (Activation, error) {
	switch {
	case f.Systemd && f.Unit.LoadState != "loaded":
		return Activation{}, &UnitError{Unit: t.Unit, LoadState: f.Unit.LoadState}
	case f.Systemd && !f.Unit.Running():
		return Activation{Way: NoWay, Unit: t.Unit, Wait: ServiceInactive}, nil
	case !f.Systemd && s.unlisted != "":
		return Activation{Way: NoWay, Wait: ServiceInactive, Why: "no systemd here, and " + s.unlisted}, nil
	case unsafe == "":
		return reload, nil
	case f.Systemd && t.AllowRestart:
		return Activation{Way: RestartUnit, Unit: t.Unit, Why: unsafe + "; allow_restart is set, so it is restarted"}, nil
	}
	return Activation{Way: NoWay, Unit: t.Unit, Wait: RestartNotAllowed, Why: unsafe}, nil
}
