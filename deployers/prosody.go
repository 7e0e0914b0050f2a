package deployers

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// prosody takes new files on SIGHUP, which its unit sends as a reload. It
// takes them whatever they are: after a reload with a pair that it cannot
// read, or that does not match, it offers no STARTTLS any more
// (plugins/mod_tls.lua of 13.0.1), while the reload job is done. Hence the
// test before it. Sessions that are open go on.
type prosody struct{}

// ProsodyOptions is the configuration's prosody block.
type ProsodyOptions struct {
	Config string `yaml:"config"` // its configuration file
}

// prosodyConfigPath is that of Debian's and Fedora's packages, which
// prosodyctl takes where it is not told another.
const prosodyConfigPath = "/etc/prosody/prosody.cfg.lua"

// prosodyctlPaths are where packages and make install put it.
func prosodyctlPaths() []string { return []string{"/usr/bin/prosodyctl", "/usr/local/bin/prosodyctl"} }

// prosodyFailures are the lines by which prosodyctl check certs tells a
// problem; after any it ends with status 2 (util/prosodyctl/check.lua and
// core/certmanager.lua of 0.12.3 and 13.0.1). It visits every host. For a pair
// that cannot be loaded it writes two lines, of which only certmanager's names
// the host or file, so only that one can be compared with the baseline.
//
// What certmanager says after the host or file is OpenSSL's wording, which for
// one host depends on which failed before it: it is left out.
const prosodyFailures = `^certmanager\s+error\s+(SSL/TLS: (Failed to load '[^']*'|Error initialising for [^:]*)|.*)` +
	`|^  No '(certificate|key)' found for .*|^  Error: No key present .*|^    Could not open .*`

// prosodyPolicy are the lines about names and dates. They end it with status 2
// too, and say nothing that would keep a pair from being loaded.
const prosodyPolicy = `^    (Certificate has expired|Certificate expires within one day|Not valid for )`

func (prosody) Name() string { return "prosody" }
func (prosody) Options() any { return &ProsodyOptions{Config: prosodyConfigPath} }

// Defaults puts the files where prosodyctl cert import does: in the directory
// certs beside the configuration, under the lineage's name.
func (prosody) Defaults(t *Target) {
	if t.Unit == "" {
		t.Unit = "prosody.service"
	}
	if t.Directory == "" && t.Certificate == "" && t.Key == "" && t.Chain == "" && t.Combined == "" {
		certs := filepath.Join(filepath.Dir(t.Options.(*ProsodyOptions).Config), "certs")
		t.Certificate, t.Key = filepath.Join(certs, "{lineage}.crt"), filepath.Join(certs, "{lineage}.key")
	}
}

func (prosody) Wants(t Target, f Facts) Wants {
	path := t.Options.(*ProsodyOptions).Config
	config := readProsody(path, f.Texts)
	wants := Wants{Unit: t.Unit, Texts: slices.Concat([]string{path}, prosodyctlPaths(), config.includes)}
	if !config.complete {
		return wants
	}
	for _, service := range config.services() {
		wants.Ports = append(wants.Ports, service.ports...)
	}
	wants.Texts = slices.Concat(wants.Texts, config.treeGlobs(), config.certificateOptions(), []string{installedGlob(t)})
	return wants
}

// installedGlob is where a target's certificate is, whatever lineages it takes.
func installedGlob(t Target) string {
	path := t.Certificate
	if t.Directory != "" {
		path = filepath.Join(t.Directory, "current", "fullchain.pem")
	}
	return strings.ReplaceAll(path, "{lineage}", "*")
}

func (prosody) Plan(t Target, l lineage.Lineage, f Facts) (Plan, error) {
	listeners := f.Listeners
	f.Listeners = nil // which hosts they are probed for is known below
	plan := newPlan(t, l, f, "")
	config := readProsody(t.Options.(*ProsodyOptions).Config, f.Texts)
	view := newProsodyView(config, t, &plan, f)
	if probes := view.probes(listeners); plan.Found {
		plan.Probes = probes
	}
	plan.Names = view.names
	for _, unread := range config.unread {
		plan.warn(Configuration, "", "%s", unread)
	}
	plan.Test = prosodyTest(config.path, f)
	if plan.Test.Command != nil {
		plan.Test.Own, plan.Test.Others = prosodyFailuresOf(view.names...), view.others(listeners)
	} else {
		plan.warn(OwnTest, "install it", "prosodyctl is in none of %s, so nothing tells before the reload whether Prosody can use the pair", strings.Join(prosodyctlPaths(), ", "))
	}
	err := config.checkDirectory(plan)
	switch {
	case err != nil:
	case f.Systemd:
		plan.Activate, err = unitActivation(t, f.Unit)
		plan.Activate.Twice = view.inTree()
	default:
		err = &NoWayError{
			Target: t.Name, About: Reload,
			Why:    "systemd does not run here, so " + t.Unit + " cannot be reloaded",
			Remedy: "use service: generic with generic: {activate: [program, argument]} for this target",
		}
	}
	return plan, err
}

// prosodyTest is that of prosodyctl, where it is there. It runs as root, and
// changes to Prosody's user by itself.
func prosodyTest(config string, f Facts) Test {
	at := slices.IndexFunc(prosodyctlPaths(), func(path string) bool { return len(f.Texts[path]) > 0 })
	if at < 0 {
		return Test{}
	}
	argv := []string{prosodyctlPaths()[at]}
	if config != prosodyConfigPath {
		argv = append(argv, "--config", config)
	}
	return Test{Command: append(argv, "check", "certs"), Failures: prosodyFailures, Beside: prosodyPolicy}
}

// prosodyFailuresOf are those of the failures that are about a pair of one of
// the given hosts, which cannot be loaded. A reload would take the STARTTLS of
// that host away, whatever it is now.
func prosodyFailuresOf(hosts ...string) string {
	if hosts == nil {
		return ""
	}
	var names []string
	for _, host := range hosts {
		names = append(names, regexp.QuoteMeta(host))
	}
	return `\bfor (` + strings.Join(names, "|") + `)([:)]|$)`
}

// checkDirectory refuses a managed directory whose generations Prosody would
// find all: it looks into the certificates that are in its directory, and
// takes any that has the name (core/certmanager.lua, index_certs).
func (c *prosodyConfig) checkDirectory(plan Plan) error {
	tree := c.tree()
	if plan.Directory == "" || !indexed(tree, filepath.Join(plan.Directory, "generation", "fullchain.pem")) {
		return nil
	}
	return &NoWayError{
		Target: plan.Target, About: Configuration,
		Why:    fmt.Sprintf("directory %s lies in %s, where Prosody would find the earlier generations too and take any of them", plan.Directory, tree),
		Remedy: fmt.Sprintf("choose a directory outside, and name it in the VirtualHost: certificate = \"DIRECTORY/current/fullchain.pem\"; or set certificate: %[1]s/NAME.crt and key: %[1]s/NAME.key", tree),
	}
}

// tree is the directory that Prosody looks through for certificates.
func (c *prosodyConfig) tree() string {
	if path, ok := c.raw(c.global, "certificates").(string); ok {
		return c.resolve(path)
	}
	return c.resolve("certs")
}

// certificateOptions are the paths of the hosts' certificate options.
func (c *prosodyConfig) certificateOptions() []string {
	var paths []string
	for _, section := range append(slices.Clone(c.hosts), c.global) {
		if path, _ := c.raw(section, "certificate").(string); path != "" {
			paths = append(paths, c.resolve(path))
		}
	}
	return paths
}

// prosodyDepth is how many directories deep Prosody looks, the first included.
const prosodyDepth = 3

// treeGlobs are the files that Prosody may take for certificates by their
// names (index_certs).
func (c *prosodyConfig) treeGlobs() []string {
	var globs []string
	for dir, depth := c.tree(), 0; depth < prosodyDepth; depth++ {
		globs = append(globs, filepath.Join(dir, "*.crt"), filepath.Join(dir, "*fullchain*"))
		dir = filepath.Join(dir, "*")
	}
	return globs
}

// indexed tells whether Prosody looks into a file of the tree by its path: not
// in hidden directories, and not too deep.
func indexed(tree, path string) bool {
	below, ok := strings.CutPrefix(path, strings.TrimSuffix(tree, "/")+"/")
	if !ok {
		return false
	}
	parts := strings.Split(below, "/")
	name, dirs := parts[len(parts)-1], parts[:len(parts)-1]
	return len(parts) <= prosodyDepth && (strings.HasSuffix(name, ".crt") || strings.Contains(name, "fullchain")) &&
		!slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(dir, ".") })
}

// prosodyService is one kind of listener.
type prosodyService struct {
	scheme string
	ports  []uint16
	direct bool // TLS from the first byte
	users  bool // only virtual hosts have it, components do not
}

// services gives the kinds with the ports of the configuration; direct TLS of
// XMPP has none by default (plugins/mod_c2s.lua, mod_s2s.lua, mod_http.lua).
func (c *prosodyConfig) services() []prosodyService {
	return []prosodyService{
		{scheme: "xmpp-client", ports: c.ports("c2s_ports", 5222), users: true},
		{scheme: "xmpp-server", ports: c.ports("s2s_ports", 5269)},
		{scheme: "xmpps-client", ports: slices.Concat(c.ports("c2s_direct_tls_ports"), c.ports("legacy_ssl_ports")), direct: true, users: true},
		{scheme: "xmpps-server", ports: c.ports("s2s_direct_tls_ports"), direct: true},
		{scheme: "https", ports: c.ports("https_ports", 5281), direct: true},
	}
}

// prosodyPair is a certificate and its key as Prosody would load them. The key
// is empty where that is not known.
type prosodyPair struct{ certificate, key string }

// prosodyView is how Prosody's choice of certificates looks from one target.
type prosodyView struct {
	*prosodyConfig
	plan  *Plan
	kinds []prosodyService

	own, key     string   // the target's files
	certificates []string // the paths that Prosody may have for the target's certificate
	had          []string // the names of what is installed there
	covered      []string // those, and the names of what is to be

	index map[string][]string // the files of the tree, by the names in their leaves
	files []string            // those, and others that the configuration names

	names []string // the hosts that are served with the target's certificate
}

func newProsodyView(config *prosodyConfig, t Target, plan *Plan, f Facts) *prosodyView {
	v := &prosodyView{prosodyConfig: config, plan: plan, kinds: config.services(), index: map[string][]string{}}
	for _, file := range plan.Files {
		switch file.Content {
		case Fullchain:
			v.own = file.Path
			v.certificates = append(v.certificates, file.Path)
		case Combined:
			v.certificates = append(v.certificates, file.Path)
		case Key:
			v.key = file.Path
		}
	}
	var installed string
	for _, text := range f.Texts[installedGlob(t)] {
		if text.Path == v.own {
			installed = text.Content
		}
	}
	v.had = certifiedNames(installed)
	v.covered = slices.Clone(v.had)
	for _, name := range f.Names {
		v.covered = append(v.covered, strings.ToLower(name))
	}
	if v.covered == nil { // most lineages have the name of their first host
		v.covered = []string{strings.Replace(plan.Lineage, "_.", "*.", 1)}
	}
	tree := config.tree()
	if indexed(tree, v.own) {
		v.add(v.own, v.covered)
	}
	for _, glob := range config.treeGlobs() {
		for _, text := range f.Texts[glob] {
			switch {
			case !indexed(tree, text.Path) || slices.Contains(v.files, text.Path):
			case text.Content == installed && !indexed(tree, v.own): // the tree is known by two paths
				v.certificates = append(v.certificates, text.Path)
				v.add(text.Path, v.covered)
			default:
				v.add(text.Path, certifiedNames(text.Content))
			}
		}
	}
	for _, path := range config.certificateOptions() {
		if len(f.Texts[path]) > 0 {
			v.files = append(v.files, path)
		}
	}
	return v
}

func (v *prosodyView) add(path string, names []string) {
	v.files = append(v.files, path)
	for _, name := range distinct(names) {
		v.index[name] = append(v.index[name], path)
	}
}

// certifiedNames gives the names under which Prosody files a certificate: DNS
// names and the common name. A file that begins with anything else than a
// certificate is not looked into.
func certifiedNames(text string) []string {
	if !strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----\n") {
		return nil
	}
	certs, err := lineage.ParseCertificates([]byte(text))
	if err != nil {
		return nil
	}
	names := []string{}
	for _, name := range append(slices.Clone(certs[0].DNSNames), certs[0].Subject.CommonName) {
		if name = strings.ToLower(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// found gives the pairs of which Prosody takes any for a host: those of the
// tree that have its name, else the one in its own place, else the same for
// the parent domain (find_host_cert). An expired certificate of the tree is
// passed over by Prosody and not here.
func (v *prosodyView) found(host string) []prosodyPair {
	for host != "" {
		_, parent, _ := strings.Cut(host, ".")
		files := v.index[host]
		if files == nil {
			files = v.index["*."+parent]
		}
		var pairs []prosodyPair
		for _, file := range files {
			pairs = append(pairs, prosodyPair{file, matchingKey(file)})
		}
		if pairs == nil {
			pairs = v.inPlace(host)
		}
		if pairs != nil {
			return pairs
		}
		host = parent
	}
	return nil
}

// matchingKey is where Prosody looks for the key of a file of the tree
// (find_matching_key).
func matchingKey(path string) string {
	if base, ok := strings.CutSuffix(path, ".crt"); ok {
		path = base + ".key"
	}
	return strings.ReplaceAll(path, "fullchain", "privkey")
}

// inPlace gives the pair at the paths that belong to a name: below its
// certificate option, else below the tree (find_cert).
func (v *prosodyView) inPlace(host string) []prosodyPair {
	base := v.tree()
	if option := v.text(host, "certificate"); option != "" {
		base = v.resolve(option)
	}
	own := prosodyPair{base, base}
	if stem, ok := strings.CutSuffix(base, ".crt"); ok {
		own.key = stem + ".key"
	} else if dir, ok := strings.CutSuffix(base, "/fullchain.pem"); ok {
		own.key = dir + "/privkey.pem"
	}
	for _, pair := range []prosodyPair{
		own,
		{base + "/" + host + ".crt", base + "/" + host + ".key"},
		{base + "/" + host + "/fullchain.pem", base + "/" + host + "/privkey.pem"},
		{base + "/" + host + ".pem", base + "/" + host + ".pem"},
	} {
		if v.owns(pair) || slices.Contains(v.files, pair.certificate) {
			return []prosodyPair{pair}
		}
	}
	return nil
}

func (v *prosodyView) owns(pair prosodyPair) bool {
	return slices.Contains(v.certificates, pair.certificate)
}

// chosen gives the pairs of which Prosody takes any for a host. An ssl option
// of the host, or of its parent domain, counts for STARTTLS alone (mod_tls.lua);
// direct TLS looks at the global one, and only where nothing is found
// (core/portmanager.lua, add_sni_host).
func (v *prosodyView) chosen(host *prosodySection, service prosodyService) []prosodyPair {
	global, isGlobal := v.pair(v.global)
	if service.direct {
		pairs := v.found(v.nameAt(host, service))
		if pairs == nil && isGlobal {
			pairs = []prosodyPair{global}
		}
		return pairs
	}
	section := host
	if host.options["ssl"] == nil {
		_, parent, _ := strings.Cut(host.name, ".")
		section = v.find(parent)
	}
	if pair, ok := v.pair(section); ok {
		return []prosodyPair{pair}
	}
	if isGlobal {
		return []prosodyPair{global}
	}
	return v.found(host.name)
}

// nameAt is the name under which a host is reached.
func (v *prosodyView) nameAt(host *prosodySection, service prosodyService) string {
	if web := v.text(host.name, "http_host"); web != "" && service.scheme == "https" {
		return strings.ToLower(web)
	}
	return host.name
}

// probes gives a probe for each listener and host that is served with the
// target's certificate, and puts what was found on the way into the plan.
func (v *prosodyView) probes(listeners []netip.AddrPort) []endpoint.Endpoint {
	var probes []endpoint.Endpoint
	for _, host := range v.hosts {
		if host.options["enabled"] == false {
			continue
		}
		if !endpoint.IsHost(host.name) {
			v.plan.warn(Serving, "write its probes down, with the xn-- form", "%s is not a name in ASCII, so nothing is looked for under it", host.name)
			continue
		}
		for _, service := range v.kinds {
			pairs, found := v.chosen(host, service), at(listeners, service, v.nameAt(host, service))
			switch {
			case service.users && host.component:
			case slices.ContainsFunc(pairs, v.owns):
				v.served(host, pairs)
				if v.surely(host, pairs) {
					probes = append(probes, found...)
				}
			default:
				v.servedOtherwise(host, service, pairs, len(found) > 0)
			}
		}
	}
	if v.names == nil {
		v.plan.warn(Configuration, `set certificate = "`+v.own+`" for the hosts that should have it`, "nothing in %s leads Prosody to %s", v.path, strings.Join(v.certificates, " or "))
		for _, service := range v.kinds {
			probes = append(probes, at(listeners, service, "")...)
		}
	}
	return distinct(probes)
}

// inTree tells whether Prosody finds the target's certificate by the names in
// it. A reload looks through the tree, and lets every host take its certificate
// anew, in no order: a host that comes first takes what the tree held before,
// and a new name only with the next reload (core/certmanager.lua and
// plugins/mod_tls.lua hook config-reloaded at one priority).
func (v *prosodyView) inTree() bool {
	return slices.ContainsFunc(v.certificates, func(path string) bool { return indexed(v.tree(), path) })
}

// surely tells whether a host has to be seen with the target's certificate.
// One that a renewal adds while another certificate covers it too goes on with
// either of them: that is no reason to undo the renewal.
func (v *prosodyView) surely(host *prosodySection, pairs []prosodyPair) bool {
	added := v.had != nil && !covers(v.had, host.name)
	return !added || !slices.ContainsFunc(pairs, func(pair prosodyPair) bool { return !v.owns(pair) })
}

// covers tells whether a certificate of these names is one for a host.
func covers(names []string, host string) bool {
	_, parent, _ := strings.Cut(host, ".")
	return slices.Contains(names, host) || slices.Contains(names, "*."+parent)
}

// others gives the hosts that have another certificate, and where their
// STARTTLS would show it. Direct TLS would not tell: it offers some
// certificate for every name.
func (v *prosodyView) others(listeners []netip.AddrPort) []Other {
	var others []Other
	for _, host := range v.hosts {
		if slices.Contains(v.names, host.name) || !endpoint.IsHost(host.name) {
			continue
		}
		other := Other{Name: host.name, Says: prosodyFailuresOf(host.name)}
		for _, service := range v.kinds {
			if !service.direct && !(service.users && host.component) {
				other.Probes = append(other.Probes, at(listeners, service, host.name)...)
			}
		}
		others = append(others, other)
	}
	return others
}

// distinct drops what stands there before; hosts may share a name for https.
func distinct[T comparable](all []T) []T {
	var kept []T
	for _, one := range all {
		if !slices.Contains(kept, one) {
			kept = append(kept, one)
		}
	}
	return kept
}

// at gives the probes for one name at the listeners of a service.
func at(listeners []netip.AddrPort, service prosodyService, name string) []endpoint.Endpoint {
	var probes []endpoint.Endpoint
	for _, addr := range listeners {
		if slices.Contains(service.ports, addr.Port()) {
			probes = append(probes, endpoint.At(service.scheme, addr, name))
		}
	}
	return probes
}

// served notes a host that has the target's certificate, and what is wrong
// with the pairs of which Prosody takes any.
func (v *prosodyView) served(host *prosodySection, pairs []prosodyPair) {
	if !slices.Contains(v.names, host.name) {
		v.names = append(v.names, host.name)
		v.plan.fine(Configuration, "host %s is served with it", host.name)
	}
	for _, pair := range pairs {
		switch {
		case !v.owns(pair):
			v.plan.warn(Configuration, "move it out of "+v.tree(), "%s covers %s too, and Prosody takes either of them", pair.certificate, host.name)
		case pair.certificate == v.own && pair.key != v.key && pair.key != "":
			v.plan.warn(Configuration, "set key: "+pair.key+" for target "+v.plan.Target, "Prosody looks for the key of %s at %s, and the target's goes to %s", v.own, pair.key, v.key)
		}
	}
}

// servedOtherwise notes a host that should have the target's certificate.
func (v *prosodyView) servedOtherwise(host *prosodySection, service prosodyService, pairs []prosodyPair, listens bool) {
	switch {
	case service.direct && listens && slices.Contains(v.names, host.name):
		v.plan.warn(Configuration, fmt.Sprintf("write certificate = %q in its place", v.own), "the ssl option of %s counts for STARTTLS only, not for %s", host.name, service.scheme)
	case !service.direct && covers(v.covered, host.name) && len(pairs) > 0:
		v.plan.warn(Configuration, fmt.Sprintf("write certificate = %q for that host if it should have this one", v.own), "the target's certificate covers %s, for which Prosody takes %s", host.name, pairs[0].certificate)
	}
}
