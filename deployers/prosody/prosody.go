// Package prosody knows how Prosody takes certificates: on a reload, for each
// host by a search of its own. It reads prosody.cfg.lua.
//
// It does not promise to know what Lua computes there: that is said to be
// unknown.
package prosody

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Deployer deploys to Prosody, which takes new files on SIGHUP, which its unit
// sends as a reload. It takes them whatever they are: after a reload with a
// pair that it cannot read, or that does not match, it offers no STARTTLS any
// more (plugins/mod_tls.lua of 13.0.1), while the reload job is done. Hence the
// test before it. Sessions that are open go on.
type Deployer struct{}

// Options is the configuration's prosody block.
type Options struct {
	Config string `yaml:"config"` // its configuration file
}

// configPath is the path of the configuration in Debian's and Fedora's
// packages, and prosodyctl's default.
const configPath = "/etc/prosody/prosody.cfg.lua"

// ctlPaths returns where packages and make install put prosodyctl.
func ctlPaths() []string { return []string{"/usr/bin/prosodyctl", "/usr/local/bin/prosodyctl"} }

// failureLines matches the lines by which prosodyctl check certs reports a
// problem; after any it ends with status 2 (util/prosodyctl/check.lua and
// core/certmanager.lua of 0.12.3 and 13.0.1). It visits every host. For a pair
// that cannot be loaded it writes two lines, of which only certmanager's names
// the host or file, so only that one can be compared with the baseline.
//
// What certmanager says after the host or file is OpenSSL's wording, which for
// one host depends on which failed before it: it is left out.
const failureLines = `^certmanager\s+error\s+(SSL/TLS: (Failed to load '[^']*'|Error initialising for [^:]*)|.*)` +
	`|^  No '(certificate|key)' found for .*|^  Error: No key present .*|^    Could not open .*`

// policyLines matches the lines of prosodyctl check certs about names and
// dates. After these prosodyctl ends with status 2 too, but nothing in them
// would keep a pair from being loaded.
const policyLines = `^    (Certificate has expired|Certificate expires within one day|Not valid for )`

func (Deployer) Name() string { return "prosody" }
func (Deployer) Options() any { return &Options{Config: configPath} }

// Defaults sets the paths where prosodyctl cert import puts the files: in the
// directory certs beside the configuration, under the lineage's name.
func (Deployer) Defaults(t *deployers.Target) {
	if t.Unit == "" {
		t.Unit = "prosody.service"
	}
	if t.Directory == "" && t.Certificate == "" && t.Key == "" && t.Chain == "" && t.Combined == "" {
		certs := filepath.Join(filepath.Dir(t.Options.(*Options).Config), "certs")
		t.Certificate, t.Key = filepath.Join(certs, "{lineage}.crt"), filepath.Join(certs, "{lineage}.key")
	}
}

func (Deployer) Wants(t deployers.Target, f deployers.Facts) deployers.Wants {
	wants := deployers.Wants{Unit: t.Unit, Argv: true, Texts: ctlPaths()}
	if _, asked := f.Texts[ctlPaths()[0]]; f.Systemd && !asked {
		return wants // with what it was started is to be known first
	}
	path := instanceOf(t, f).config
	config := readConfiguration(path, f.Texts)
	wants.Texts = slices.Concat(wants.Texts, []string{path}, config.includes)
	if !config.complete {
		return wants
	}
	for _, service := range config.services() {
		wants.Ports = append(wants.Ports, service.ports...)
	}
	wants.Texts = slices.Concat(wants.Texts, config.treeGlobs(), config.named(), []string{installedGlob(t)})
	if test := ownTest(path, f); t.Name == "" && test.Command != nil { // which files hosts take is all that is wanted
		wants.Commands = [][]string{test.Command}
	}
	return wants
}

// installedGlob returns a glob for where a target's certificate is, whatever
// lineages it takes.
func installedGlob(t deployers.Target) string {
	path := t.Certificate
	if t.Directory != "" {
		path = filepath.Join(t.Directory, "current", "fullchain.pem")
	}
	return strings.ReplaceAll(path, "{lineage}", "*")
}

func (Deployer) Plan(t deployers.Target, l lineage.Lineage, f deployers.Facts) (deployers.Plan, error) {
	listeners := f.Listeners
	f.Listeners = nil // which hosts they are probed for is known below
	plan := deployers.NewPlan(t, l, f, "")
	plan.NeverStaples = true // LuaSec, its TLS, cannot (brunoos/luasec issue 43, open since 2015)
	started := instanceOf(t, f)
	started.describe(&plan, t.Options.(*Options))
	config := readConfiguration(started.config, f.Texts)
	plan.Proof = proof()
	view := newView(config, t, &plan, f)
	if probes := view.probes(listeners); plan.Found {
		plan.Probes = probes
	}
	for _, name := range slices.Concat(view.names, view.web) {
		name, _ = endpoint.ASCII(name)
		plan.Names = append(plan.Names, name)
	}
	for _, unread := range config.unread {
		plan.Warn(deployers.Configuration, "", "%s", unread)
	}
	plan.Test = ownTest(config.path, f)
	if plan.Test.Command != nil {
		plan.Test.Own, plan.Test.Others = failuresOf(view.names...), view.others(listeners)
	} else {
		plan.Warn(deployers.OwnTest, "install it", "prosodyctl is in none of %s, so nothing tells before the reload whether Prosody can use the pair", strings.Join(ctlPaths(), ", "))
	}
	err := config.checkDirectory(plan)
	if err == nil {
		plan.Activate, err = deployers.UnitActivation(t, f)
		plan.Activate.Twice = view.inTree()
	}
	return plan, err
}

// proof is what proves a reload: Prosody is one process of one thread, which goes
// over to the new files a while after its reload job is done, each listener once.
// In 50 reloads of 13.0.1 stale handshakes came for 45 ms, and none after a fresh
// one at the same port (measured); a second is for what is not known.
func proof() deployers.Proof {
	return deployers.Proof{InARow: 2, Pace: 25 * time.Millisecond}
}

// ownTest returns the test of prosodyctl, where that is installed. It runs as
// root, and changes to Prosody's user by itself.
func ownTest(config string, f deployers.Facts) deployers.Test {
	at := slices.IndexFunc(ctlPaths(), func(path string) bool { return len(f.Texts[path]) > 0 })
	if at < 0 {
		return deployers.Test{}
	}
	argv := []string{ctlPaths()[at]}
	if config != configPath {
		argv = append(argv, "--config", config)
	}
	return deployers.Test{Command: append(argv, "check", "certs"), Failures: failureLines, Beside: policyLines}
}

// failuresOf returns an expression for the failures of loading a pair of one of
// the hosts. A reload would take the STARTTLS of that host away, whatever it is
// now.
func failuresOf(hosts ...string) string {
	if hosts == nil {
		return ""
	}
	var names []string
	for _, host := range hosts {
		names = append(names, regexp.QuoteMeta(host))
	}
	return `\bfor (` + strings.Join(names, "|") + `)([:)]|$)`
}

// checkDirectory fails where Prosody would find all generations of a managed
// directory: it looks into the certificates that are in its directory, and
// takes any that has the name (core/certmanager.lua, index_certs).
func (c *configuration) checkDirectory(plan deployers.Plan) error {
	tree := c.tree()
	if plan.Directory == "" || !indexed(tree, filepath.Join(plan.Directory, "generation", "fullchain.pem")) {
		return nil
	}
	return &deployers.NoWayError{
		Target: plan.Target, About: deployers.Configuration,
		Why:    fmt.Sprintf("directory %s lies in %s, where Prosody would find the earlier generations too and take any of them", plan.Directory, tree),
		Remedy: fmt.Sprintf("choose a directory outside, and name it in the VirtualHost: certificate = \"DIRECTORY/current/fullchain.pem\"; or set certificate: %[1]s/NAME.crt and key: %[1]s/NAME.key", tree),
	}
}

// tree returns the directory that Prosody looks through for certificates.
func (c *configuration) tree() string {
	if path, ok := c.raw(c.global, "certificates").(string); ok {
		return c.resolve(path)
	}
	return c.resolve("certs")
}

// named returns the paths at which Prosody looks for certificates by the names of
// hosts and services, but for those that are found by treeGlobs.
func (c *configuration) named() []string {
	tree := c.tree()
	var paths []string
	add := func(base, name string) {
		for _, pair := range candidates(base, name) {
			if pair.certificate != tree && !indexed(tree, pair.certificate) {
				paths = append(paths, pair.certificate)
			}
		}
	}
	for _, host := range c.hosts {
		for name := host.name; isHost(name); _, name, _ = strings.Cut(name, ".") {
			add(c.base(name), name)
		}
	}
	for _, service := range c.services() {
		for _, base := range c.serviceBases(service) {
			add(base, service.service)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// base returns the path at which Prosody looks for the certificate of a name that the
// tree has none for (find_host_cert).
func (c *configuration) base(name string) string {
	if option := c.text(name, "certificate"); option != "" {
		return c.resolve(option)
	}
	return c.tree()
}

// serviceBases returns the paths that the certificate option of a service of direct TLS
// names: one, or one for a port (find_service_cert).
func (c *configuration) serviceBases(service listenerKind) []string {
	if !service.direct {
		return nil
	}
	value := c.raw(c.global, service.service+"_certificate")
	table, _ := value.(luaTable)
	var bases []string
	for _, port := range service.ports {
		one := value
		if table.fields != nil {
			one = cmp.Or(table.fields[strconv.Itoa(int(port))], table.fields["default"])
		}
		if path, _ := one.(string); path != "" {
			bases = append(bases, c.resolve(path))
		}
	}
	return deployers.Distinct(bases)
}

// candidates returns the pairs that Prosody tries at a path for a name, in its order
// (find_cert).
func candidates(base, name string) []pairFiles {
	own := pairFiles{base, base}
	if stem, ok := strings.CutSuffix(base, ".crt"); ok {
		own.key = stem + ".key"
	} else if dir, ok := strings.CutSuffix(base, "/fullchain.pem"); ok {
		own.key = dir + "/privkey.pem"
	}
	return []pairFiles{
		own,
		{base + "/" + name + ".crt", base + "/" + name + ".key"},
		{base + "/" + name + "/fullchain.pem", base + "/" + name + "/privkey.pem"},
		{base + "/" + name + ".pem", base + "/" + name + ".pem"},
	}
}

// isHost reports whether a name is one that clients can ask for.
func isHost(name string) bool {
	_, is := endpoint.ASCII(name)
	return is
}

// treeDepth is how many directories deep Prosody looks, the first included.
const treeDepth = 3

// treeGlobs returns globs for the files that Prosody may take for certificates
// by their names (index_certs).
func (c *configuration) treeGlobs() []string {
	var globs []string
	for dir, depth := c.tree(), 0; depth < treeDepth; depth++ {
		globs = append(globs, filepath.Join(dir, "*.crt"), filepath.Join(dir, "*fullchain*"))
		dir = filepath.Join(dir, "*")
	}
	return globs
}

// indexed reports whether Prosody looks into a file of the tree by its path: not
// in hidden directories, and not too deep.
func indexed(tree, path string) bool {
	below, ok := strings.CutPrefix(path, strings.TrimSuffix(tree, "/")+"/")
	if !ok {
		return false
	}
	parts := strings.Split(below, "/")
	name, dirs := parts[len(parts)-1], parts[:len(parts)-1]
	return len(parts) <= treeDepth && (strings.HasSuffix(name, ".crt") || strings.Contains(name, "fullchain")) &&
		!slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(dir, ".") })
}

// listenerKind is one kind of listener.
type listenerKind struct {
	service string // as Prosody calls it: options about it begin so
	scheme  string
	ports   []uint16
	direct  bool // TLS from the first byte
	users   bool // only virtual hosts have it, components do not
}

// multiplexed is what mod_net_multiplex calls its direct TLS.
const multiplexed = "multiplex_ssl"

// services returns the kinds with the ports of the configuration; direct TLS of
// XMPP has none by default (plugins/mod_c2s.lua, mod_s2s.lua, mod_http.lua). Behind
// the ports of mod_net_multiplex are all of them: at ports those of STARTTLS, at
// ssl_ports those of direct TLS (plugins/mod_net_multiplex.lua of 13.0.1), of which
// https shows what the others do.
func (c *configuration) services() []listenerKind {
	return []listenerKind{
		{service: "c2s", scheme: "xmpp-client", ports: slices.Concat(c.ports("c2s_ports", 5222), c.ports("ports")), users: true},
		{service: "s2s", scheme: "xmpp-server", ports: slices.Concat(c.ports("s2s_ports", 5269), c.ports("ports"))},
		{service: "c2s_direct_tls", scheme: "xmpps-client", ports: c.ports("c2s_direct_tls_ports"), direct: true, users: true},
		{service: "legacy_ssl", scheme: "xmpps-client", ports: c.ports("legacy_ssl_ports"), direct: true, users: true},
		{service: "s2s_direct_tls", scheme: "xmpps-server", ports: c.ports("s2s_direct_tls_ports"), direct: true},
		{service: "https", scheme: "https", ports: c.ports("https_ports", 5281), direct: true},
		{service: multiplexed, scheme: "xmpps-client", ports: c.ports("ssl_ports"), direct: true, users: true},
		{service: multiplexed, scheme: "xmpps-server", ports: c.ports("ssl_ports"), direct: true},
	}
}

// pairFiles is a certificate and its key as Prosody would load them. The key
// is empty where that is not known.
type pairFiles struct{ certificate, key string }

// view is how Prosody's choice of certificates looks from one target.
type view struct {
	*configuration
	plan    *deployers.Plan
	kinds   []listenerKind
	running bool

	own, key     string   // the target's files
	certificates []string // the paths that Prosody may have for the target's certificate
	had          []string // the names of what is installed there
	covered      []string // those, and the names of what is to be

	index map[string][]string // the files of the tree, by the names in their leaves
	files []string            // those, and others that the configuration names

	used  bool     // something is served with the target's certificate,
	names []string // and these hosts under their own names
	web   []string // while Prosody does not run: the names of their web services, which no probe has then
	lead  string   // what would lead a host to it that should have it

	taken []deployers.Taken // what hosts take that should have it
}

func newView(config *configuration, t deployers.Target, plan *deployers.Plan, f deployers.Facts) *view {
	v := &view{configuration: config, plan: plan, kinds: config.services(), running: f.Unit.Running(), index: map[string][]string{}}
	for _, file := range plan.Files {
		at := cmp.Or(file.Credential, file.Path)
		switch file.Content {
		case deployers.Fullchain:
			v.own = at
			v.certificates = slices.Concat(v.certificates, []string{at}, file.Also)
		case deployers.Combined:
			v.certificates = slices.Concat(v.certificates, []string{at}, file.Also)
		case deployers.Key:
			v.key = at
		}
	}
	var installed deployers.Text
	for _, text := range f.Texts[installedGlob(t)] {
		if plan.Writes(text.Path, deployers.Fullchain) {
			installed = text
		}
	}
	isInstalled := func(text deployers.Text) bool { return installed.Path != "" && text.At() == installed.At() }
	v.had = certifiedNames(installed.Content)
	v.covered = slices.Clone(v.had)
	for _, name := range f.Names {
		v.covered = append(v.covered, endpoint.Unicode(strings.ToLower(name)))
	}
	if v.covered == nil { // most lineages have the name of their first host
		v.covered = []string{endpoint.Unicode(strings.Replace(plan.Lineage, "_.", "*.", 1))}
	}
	tree := config.tree()
	if indexed(tree, v.own) {
		v.add(v.own, v.covered)
	}
	for _, glob := range config.treeGlobs() {
		for _, text := range f.Texts[glob] {
			switch {
			case !indexed(tree, text.Path) || slices.Contains(v.files, text.Path):
			case isInstalled(text): // by another path
				v.certificates = append(v.certificates, text.Path)
				v.add(text.Path, v.covered)
			default:
				v.add(text.Path, certifiedNames(text.Content))
			}
		}
	}
	for _, path := range config.named() {
		for _, text := range f.Texts[path] {
			v.files = append(v.files, path)
			if isInstalled(text) && path != v.own {
				v.certificates = append(v.certificates, path)
			}
		}
	}
	return v
}

func (v *view) add(path string, names []string) {
	v.files = append(v.files, path)
	for _, name := range deployers.Distinct(names) {
		v.index[name] = append(v.index[name], path)
	}
}

// certifiedNames returns the names under which Prosody files a certificate: DNS names,
// international ones in their own letters, and the common name as it is (util/x509.lua of
// 13.0.1, get_identities). A file that begins with anything else than a certificate is not
// looked into.
func certifiedNames(text string) []string {
	if !strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----\n") {
		return nil
	}
	certs, err := lineage.ParseCertificates([]byte(text))
	if err != nil {
		return nil
	}
	names := []string{strings.ToLower(certs[0].Subject.CommonName)}
	for _, name := range certs[0].DNSNames {
		names = append(names, endpoint.Unicode(strings.ToLower(name)))
	}
	return deployers.Distinct(slices.DeleteFunc(names, func(name string) bool { return name == "" }))
}

// found returns the pairs of which Prosody takes any for a host: those of the
// tree that have its name, else the one in its own place, else the same for
// the parent domain (find_host_cert). An expired certificate of the tree is
// passed over by Prosody and not here.
func (v *view) found(host string) []pairFiles {
	for host != "" {
		_, parent, _ := strings.Cut(host, ".")
		files := v.index[host]
		if files == nil {
			files = v.index["*."+parent]
		}
		var pairs []pairFiles
		for _, file := range files {
			pairs = append(pairs, pairFiles{file, matchingKey(file)})
		}
		if pairs == nil {
			pairs = v.inPlace(v.base(host), host)
		}
		if pairs != nil {
			return pairs
		}
		host = parent
	}
	return nil
}

// matchingKey returns where Prosody looks for the key of a file of the tree
// (find_matching_key).
func matchingKey(path string) string {
	if base, ok := strings.CutSuffix(path, ".crt"); ok {
		path = base + ".key"
	}
	return strings.ReplaceAll(path, "fullchain", "privkey")
}

// inPlace returns the pair at the paths that belong to a name below a base.
func (v *view) inPlace(base, name string) []pairFiles {
	for _, pair := range candidates(base, name) {
		if v.owns(pair) || slices.Contains(v.files, pair.certificate) {
			return []pairFiles{pair}
		}
	}
	return nil
}

func (v *view) owns(pair pairFiles) bool {
	return slices.Contains(v.certificates, pair.certificate)
}

// chosen returns the pairs of which Prosody takes any for a host. An ssl option
// counts for STARTTLS alone (mod_tls.lua); direct TLS looks at the global one, and
// only where nothing is found (core/portmanager.lua, add_sni_host).
func (v *view) chosen(host *section, service listenerKind) []pairFiles {
	if !service.direct {
		if pair, ok := v.byOption(host); ok {
			return []pairFiles{pair}
		}
		return v.found(host.name)
	}
	name := v.nameAt(host, service)
	pairs := v.found(name)
	global, isGlobal := v.pair(v.global)
	switch {
	case pairs == nil && isGlobal:
		pairs = []pairFiles{global}
	case pairs == nil && name != host.name:
		pairs = v.whatever(host, service)
	}
	return pairs
}

// byOption returns the pair that a host's ssl option names for STARTTLS, or else that of
// its parent domain, or else the global one (mod_tls.lua); false: none does.
func (v *view) byOption(host *section) (pairFiles, bool) {
	section := host
	if host.options["ssl"] == nil {
		_, parent, _ := strings.Cut(host.name, ".")
		section = v.find(parent)
	}
	if pair, ok := v.pair(section); ok {
		return pair, true
	}
	return v.pair(v.global)
}

// whatever returns the pairs of which direct TLS shows any under a name of a host's
// own that none is found for: those of the tree, or else that of the service, or else
// the host's (find_service_cert of core/certmanager.lua, add_sni_host of
// core/portmanager.lua of 13.0.1).
func (v *view) whatever(host *section, service listenerKind) []pairFiles {
	var files []string
	for _, named := range v.index {
		files = append(files, named...)
	}
	if files == nil {
		if pairs := v.ofService(service); pairs != nil {
			return pairs
		}
		return v.found(host.name)
	}
	slices.Sort(files)
	var pairs []pairFiles
	for _, file := range slices.Compact(files) {
		pairs = append(pairs, pairFiles{file, matchingKey(file)})
	}
	return pairs
}

// ofService returns the pairs that a service's certificate option leads to. They count only
// where the tree holds no certificate.
func (v *view) ofService(service listenerKind) []pairFiles {
	var pairs []pairFiles
	for _, base := range v.serviceBases(service) {
		pairs = append(pairs, v.inPlace(base, service.service)...)
	}
	return pairs
}

// nameAt returns the name by which a host is reached at direct TLS (add_sni_host), or
// else its own.
func (v *view) nameAt(host *section, service listenerKind) string {
	for _, option := range []string{service.service + "_host", "http_host"} {
		name := v.text(host.name, option)
		if name != "" && service.direct && (option != "http_host" || service.service == "https") {
			return strings.ToLower(name)
		}
	}
	return host.name
}

// probes returns a probe for each listener and host that is served with the
// target's certificate, and puts what was found on the way into the plan.
func (v *view) probes(listeners []netip.AddrPort) []endpoint.Endpoint {
	var probes []endpoint.Endpoint
	for _, host := range v.hosts {
		if host.options["enabled"] == false {
			continue
		}
		if !isHost(host.name) {
			v.plan.Warn(deployers.Serving, "correct it, with its accents composed (NFC)", "%s is no name that can be asked for, so nothing is looked for under it", host.name)
			continue
		}
		for _, service := range v.kinds {
			name := v.nameAt(host, service)
			pairs, found := v.chosen(host, service), at(listeners, service, name)
			switch {
			case service.users && host.component:
			case service.direct && !endpoint.IsHost(name):
				v.unasked(service, name, len(found) > 0 && slices.ContainsFunc(pairs, v.owns))
			case service.direct && len(pairs) > 1 && v.found(name) == nil:
				v.servedAny(service, name, len(found) > 0)
			case slices.ContainsFunc(pairs, v.owns):
				v.served(host, pairs, name)
				if !v.running && service.scheme == "https" && name != host.name && !slices.Contains(v.web, name) {
					v.web = append(v.web, name)
				}
				if v.surely(name, pairs) {
					probes = append(probes, found...)
				}
			default:
				v.servedOtherwise(host, service, pairs, len(found) > 0)
			}
		}
	}
	if !v.used {
		remedy := cmp.Or(v.lead, fmt.Sprintf("set certificate = %q for the hosts that should have it", v.own))
		says := fmt.Sprintf("nothing in %s leads Prosody to %s", v.path, strings.Join(v.certificates, " or "))
		v.plan.TakesElsewhere(v.unread == nil && v.taken != nil, remedy, says, v.taken...)
		for _, service := range v.kinds {
			probes = append(probes, at(listeners, service, "")...)
		}
	}
	return deployers.Distinct(probes)
}

// inTree reports whether Prosody finds the target's certificate by the names in
// it. A reload looks through the tree, and lets every host take its certificate
// anew, in no order: a host that comes first takes what the tree held before,
// and a new name only with the next reload (core/certmanager.lua and
// plugins/mod_tls.lua hook config-reloaded at one priority).
func (v *view) inTree() bool {
	return slices.ContainsFunc(v.certificates, func(path string) bool { return indexed(v.tree(), path) })
}

// surely reports whether a name has to be seen with the target's certificate.
// One that a renewal adds while another certificate covers it too goes on with
// either of them: that is no reason to undo the renewal.
func (v *view) surely(name string, pairs []pairFiles) bool {
	added := v.had != nil && !covers(v.had, name)
	return !added || !slices.ContainsFunc(pairs, func(pair pairFiles) bool { return !v.owns(pair) })
}

// covers reports whether a certificate of these names is one for a host.
func covers(names []string, host string) bool {
	_, parent, _ := strings.Cut(host, ".")
	return slices.Contains(names, host) || slices.Contains(names, "*."+parent)
}

// others returns the hosts that have another certificate, and where their
// STARTTLS would show it. Direct TLS would not tell: it offers some
// certificate for every name.
func (v *view) others(listeners []netip.AddrPort) []deployers.Other {
	var others []deployers.Other
	for _, host := range v.hosts {
		if slices.Contains(v.names, host.name) || !isHost(host.name) {
			continue
		}
		other := deployers.Other{Name: host.name, Says: failuresOf(host.name)}
		for _, service := range v.kinds {
			if !service.direct && !(service.users && host.component) {
				other.Probes = append(other.Probes, at(listeners, service, host.name)...)
			}
		}
		others = append(others, other)
	}
	return others
}

// at returns the probes for one name at the listeners of a service.
func at(listeners []netip.AddrPort, service listenerKind, name string) []endpoint.Endpoint {
	var probes []endpoint.Endpoint
	name, _ = endpoint.ASCII(name)
	for _, addr := range listeners {
		if slices.Contains(service.ports, addr.Port()) {
			probes = append(probes, endpoint.At(service.scheme, addr, name))
		}
	}
	return probes
}

// served adds a host that has the target's certificate under a name, and checks of the
// pairs of which Prosody takes any.
func (v *view) served(host *section, pairs []pairFiles, name string) {
	v.used = true
	if name == host.name && !slices.Contains(v.names, name) {
		v.names = append(v.names, name)
	}
	v.plan.Fine(deployers.Configuration, "host %s is served with it", name)
	for _, pair := range pairs {
		switch {
		case !v.owns(pair):
			v.plan.Warn(deployers.Configuration, "move it out of "+v.tree(), "%s covers %s too, and Prosody takes either of them", pair.certificate, name)
		case pair.certificate == v.own && pair.key != v.key && pair.key != "":
			v.plan.Warn(deployers.Configuration, "set key: "+pair.key+" for target "+v.plan.Target, "Prosody looks for the key of %s at %s, and the target's goes to %s", v.own, pair.key, v.key)
		}
	}
}

// unasked adds a check of an international name at direct TLS. Prosody 13.0.1 knows it
// there as it is written, so it turns away who asks as RFC 6066 section 3 has it (alert
// unrecognized_name; measured), unless SERVICE_host is what they ask for.
func (v *view) unasked(service listenerKind, name string, served bool) {
	if !served {
		return
	}
	ascii, _ := endpoint.ASCII(name)
	remedy := fmt.Sprintf("write %s_host = %q for that host", service.service, ascii)
	if v.inPlace(v.base(ascii), ascii) == nil {
		remedy += ", and " + v.inItsPlace(ascii)
	}
	v.plan.Warn(deployers.Serving, remedy, "%s turns away who asks for %s, as clients do for %s, so it is not probed", service.service, ascii, name)
}

// inItsPlace says how Prosody finds a certificate by a name that it has not filed it under.
func (v *view) inItsPlace(name string) string {
	return fmt.Sprintf("keep its certificate and key at %s/%s.crt and .key", v.tree(), name)
}

// servedAny adds a check of a name for which direct TLS shows any certificate.
func (v *view) servedAny(service listenerKind, name string, listens bool) {
	if listens {
		remedy := "issue a certificate for that name, or correct " + service.service + "_host or http_host"
		if endpoint.Unicode(name) != name {
			remedy = v.inItsPlace(name)
		}
		v.plan.Warn(deployers.Serving, remedy,
			"no certificate is for %s, under which %s shows any that is in %s, so it is not probed", name, service.service, v.tree())
	}
}

// servedOtherwise adds a check of a host that should have the target's
// certificate and has another.
func (v *view) servedOtherwise(host *section, service listenerKind, pairs []pairFiles, listens bool) {
	switch {
	case service.direct && listens && slices.Contains(v.names, host.name):
		v.plan.Warn(deployers.Configuration, fmt.Sprintf("write certificate = %q in its place", v.own), "the ssl option of %s counts for STARTTLS only, not for %s", host.name, service.scheme)
	case !service.direct && covers(v.covered, host.name) && len(pairs) > 0:
		v.lead = v.leadFrom(host, pairs[0].certificate)
		v.taken = append(v.taken, deployers.Taken{Where: "host " + host.name, File: pairs[0].certificate, Key: pairs[0].key})
		v.plan.Warn(deployers.Configuration, v.lead, "the target's certificate covers %s, for which Prosody takes %s", host.name, pairs[0].certificate)
	}
}

// leadFrom returns what leads Prosody to the target's certificate for a host that takes
// another, in the order in which it looks: an ssl option, the tree, the certificate option.
func (v *view) leadFrom(host *section, taken string) string {
	tree, dir := v.tree(), filepath.Dir(v.own)
	_, isOption := v.byOption(host)
	switch {
	case isOption:
		return fmt.Sprintf("let the ssl option that counts for that host name %s if it should have this one", v.own)
	case !indexed(tree, taken):
		return fmt.Sprintf("write certificate = %q for that host if it should have this one", v.own)
	case tree == v.resolve("certs") || indexed(tree, v.own) || !indexed(dir, v.own):
		return fmt.Sprintf("take %s out of %s, where Prosody looks before it looks at certificate, if the host should have this one", taken, tree)
	}
	return fmt.Sprintf("write certificates = %q in place of %s, where Prosody looks before it looks at certificate, if the host should have this one", dir, tree)
}
