package generic

import (
	"cmp"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// postfix reads what the primary instance of Postfix runs with (postconf(5) and postconf(1)
// of 3.10).
type postfix struct{}

// commands print main.cf's settings, each as NAME = VALUE, the services of master.cf, and
// what these have of their own.
func (postfix) commands() (main, services, own []string) {
	main = []string{"postconf", "-x", "myhostname", "multi_instance_directories", "multi_instance_wrapper", "tls_server_sni_maps", "smtpd_tls_security_level", "smtpd_use_tls"}
	for _, program := range []string{"smtpd_tls_", "tlsproxy_tls_", "smtp_tls_", "lmtp_tls_", "tlsproxy_client_"} {
		for _, kind := range []string{"chain_files", "cert_file", "eccert_file", "dcert_file"} {
			main = append(main, program+kind)
		}
	}
	return append(main, "smtpd_tls_key_file", "smtpd_tls_eckey_file"), []string{"postconf", "-M"}, []string{"postconf", "-P", "-x"}
}

// postfixConfig is what they print.
type postfixConfig struct {
	main     map[string]string            // main.cf's settings
	own      map[string]map[string]string // those of a service's own, as NAME/TYPE
	services []postfixService
	tables   []string // of tls_server_sni_maps, such as lmdb:/etc/postfix/sni
	failed   string   // why they cannot be read
}

// postfixService is one of master.cf that receives mail with TLS.
type postfixService struct {
	name     string            // as in postconf -P
	settings map[string]string // main.cf's, and its own in place of them
	own      map[string]string
	door     door
}

func (p postfix) read(f *deployers.Facts) postfixConfig {
	mainCommand, servicesCommand, ownCommand := p.commands()
	main, services, own := f.Output(mainCommand), f.Output(servicesCommand), f.Output(ownCommand)
	c := postfixConfig{main: map[string]string{}, own: map[string]map[string]string{}, failed: cmp.Or(main.Failed, services.Failed, own.Failed)}
	for line := range strings.Lines(main.Stdout) {
		name, value, _ := strings.Cut(line, "=")
		c.set(c.main, strings.TrimSpace(name), strings.TrimSpace(value))
	}
	for line := range strings.Lines(own.Stdout) {
		name, value, _ := strings.Cut(line, "=")
		if parts := strings.SplitN(strings.TrimSpace(name), "/", 3); len(parts) == 3 {
			service := parts[0] + "/" + parts[1]
			if c.own[service] == nil {
				c.own[service] = map[string]string{}
			}
			c.set(c.own[service], parts[2], strings.TrimSpace(value))
		}
	}
	c.tables = deployers.Distinct(c.tables)
	for line := range strings.Lines(services.Stdout) {
		if s, ok := c.service(strings.Fields(line)); ok {
			c.services = append(c.services, s)
		}
	}
	return c
}

func (c *postfixConfig) set(settings map[string]string, name, value string) {
	settings[name] = value
	if name == "tls_server_sni_maps" {
		for _, table := range postfixWords(value) {
			c.tables = append(c.tables, strings.TrimPrefix(table, "proxy:")) // which reads it by another process (proxymap(8))
		}
	}
}

// service returns that of a line of master.cf; ok: it receives mail with TLS.
func (c *postfixConfig) service(fields []string) (s postfixService, ok bool) {
	if len(fields) < 8 || fields[1] != "inet" || fields[7] != "smtpd" && fields[7] != "postscreen" {
		return s, false
	}
	s = postfixService{name: fields[0] + "/inet", settings: maps.Clone(c.main), door: door{scheme: "smtp", port: postfixPort(fields[0])}}
	s.own = c.own[s.name]
	maps.Copy(s.settings, s.own)
	level := s.settings["smtpd_tls_security_level"]
	if s.settings["smtpd_tls_wrappermode"] == "yes" {
		s.door.scheme, level = "tls", "encrypt"
	}
	return s, level == "may" || level == "encrypt" || level == "" && s.settings["smtpd_use_tls"] == "yes"
}

// pairs returns what the service names: the files of smtpd_tls_chain_files, each alone, or
// where there are none, what the other settings name, which else do not count (postconf(5)).
func (s postfixService) pairs() (uses []deployers.Use, chained bool) {
	where := func(name string) string {
		if _, is := s.own[name]; is {
			return s.name + "/" + name
		}
		return name
	}
	const chain = "smtpd_tls_chain_files"
	for _, path := range postfixWords(s.settings[chain]) {
		if path != "none" {
			uses = append(uses, deployers.Use{Where: where(chain), Certificate: path})
		}
	}
	if uses != nil {
		return uses, true
	}
	for _, names := range [][]string{{"smtpd_tls_cert_file", "smtpd_tls_key_file"}, {"smtpd_tls_eccert_file", "smtpd_tls_eckey_file"}} {
		if certificate := s.settings[names[0]]; certificate != "" && certificate != "none" {
			uses = append(uses, deployers.Use{
				Where: where(names[0]), Certificate: certificate, Key: cmp.Or(s.settings[names[1]], certificate),
				Lines: []string{names[0] + " = {certificate}", names[1] + " = {key}"},
			})
		}
	}
	return uses, false
}

// postfixPort returns the port of a service's name in master.cf: [ADDRESS:]PORT (master(5));
// 0: it is not known.
func postfixPort(name string) uint16 {
	name = name[strings.LastIndexByte(name, ':')+1:]
	if known, is := map[string]uint16{"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465}[name]; is {
		return known
	}
	port, _ := strconv.ParseUint(name, 10, 16) // 0 where it is another name
	return uint16(port)
}

func (p postfix) wants(wants *deployers.Wants, f *deployers.Facts) {
	main, services, own := p.commands()
	wants.Commands = append(wants.Commands, main, services, own)
	c := p.read(f)
	for _, table := range c.tables {
		if path, ok := sourceOf(table); ok {
			wants.Texts = append(wants.Texts, path)
		}
	}
	for _, dir := range c.instances() {
		wants.Commands = append(wants.Commands, postfixInstance(dir))
	}
}

// describe is not sure where a table may hold what it is made of in a way that is not known.
func (p postfix) describe(plan *deployers.Plan, f *deployers.Facts) {
	if name, is := strings.CutPrefix(f.Unit.Name, "postfix@"); is && name != "-.service" {
		plan.Warn(deployers.Configuration, "leave preset out, so that the unit is reloaded, and write probes such as smtp://ADDRESS:25",
			"what the preset tests and reloads is the primary instance of Postfix, and not %s", f.Unit.Name)
		return
	}
	c := p.read(f)
	unsure := c.describeInstances(plan, f) || c.failed != "" || !isUsual("postfix.service", f) && f.Unit.Name != "postfix@-.service"
	for _, table := range c.tables {
		path, ok := sourceOf(table)
		unsure = unsure || !ok || len(f.Texts[path]) == 0
	}
	if unsure {
		return
	}
	var all []deployers.Use
	for _, s := range c.services {
		uses, _ := s.pairs()
		all = append(all, uses...)
	}
	main, _, own := p.commands()
	compare(plan, "Postfix", "smtpd_tls_chain_files", all, f.Output(main).Stdout, f.Output(own).Stdout)
}

func (p postfix) asks(wants *deployers.Wants, f *deployers.Facts) {
	c := p.read(f)
	for _, s := range c.services {
		wants.Ports = portsOf(wants.Ports, []door{s.door})
		if uses, chained := s.pairs(); chained {
			wants.Texts = append(wants.Texts, certificatesOf(uses)...)
		}
	}
	for _, table := range c.tables {
		for _, entry := range postfixEntries(table, f) {
			wants.Texts = append(wants.Texts, entry.files...)
		}
	}
}

// absolute returns those words that are absolute paths.
func absolute(words []string) []string {
	return slices.DeleteFunc(words, func(word string) bool { return !filepath.IsAbs(word) })
}

// certificatesOf returns the files of uses, as far as their paths are absolute.
func certificatesOf(uses []deployers.Use) (files []string) {
	for _, use := range uses {
		files = append(files, use.Certificate)
	}
	return absolute(files)
}

func (p postfix) discover(d *deployers.Discovery, f *deployers.Facts) {
	*d = deployers.Discovery{
		Role: "mail", Labels: []string{"mail", "smtp", "mx", "mx1"},
		Directory: "/etc/postfix/tls/{lineage}",
		Lines:     []string{"smtpd_tls_cert_file = {certificate}", "smtpd_tls_key_file = {key}"},
	}
	c := p.read(f)
	if c.failed != "" {
		d.AddUnknown("Postfix's settings cannot be read: " + c.failed)
		return
	}
	var doors []door
	for _, s := range c.services {
		doors = append(doors, s.door)
	}
	elsewhere := f.Unit.Running() && len(f.Listeners) == 0 // in postfix@-.service, as Debian 12 has it
	if elsewhere {
		all := *f
		for _, d := range doors {
			all.Listeners = append(all.Listeners, netip.AddrPortFrom(netip.IPv4Unspecified(), d.port))
		}
		f = &all
	}
	taken := map[string][]door{} // by the files
	for _, s := range c.services {
		for _, use := range s.uses(f) {
			at := use.Certificate + "\x00" + use.Key
			taken[at] = append(taken[at], s.door)
			use.Hints = hosts(c.main["myhostname"])
			if use.Certificate == snakeoil {
				use.Names = use.Hints
			}
			if use.Certificate == snakeoil && (use.Names == nil || f.Unit.Running() && !isPublic(f.Listeners)) {
				d.AddUnknown("Postfix has the certificate of Debian's package ssl-cert, and nothing says that others than this host are to trust it, so no target is proposed")
				continue
			}
			d.Add(use)
		}
	}
	for i := range d.Uses {
		use := &d.Uses[i]
		at := taken[use.Certificate+"\x00"+use.Key]
		presets()["postfix"].seen(use, at, f)
		use.Unusual = use.Unusual || len(at) < len(doors) // the others have another pair
	}
	for _, table := range c.tables {
		for _, entry := range postfixEntries(table, f) {
			for _, use := range postfixList(entry.where, entry.files, f) {
				use.Names, use.Lines = hosts(entry.name), []string{entry.name + " {key} {certificate}"}
				presets()["postfix"].seen(&use, doors, f)
				d.Add(use)
			}
		}
	}
	for i := range d.Uses {
		d.Uses[i].Unusual = d.Uses[i].Unusual || elsewhere
	}
	if len(d.Uses) == 0 && d.Unknown == nil {
		d.AddUnknown("Postfix has no certificate, and receives mail without TLS (smtpd_tls_cert_file, smtpd_tls_key_file and smtpd_tls_security_level = may let it have both)")
	}
}

// snakeoil is the certificate of Debian's package ssl-cert, with which its Postfix begins:
// many a host only sends mail by that, so there has to be a sign that it is for others.
const snakeoil = "/etc/ssl/certs/ssl-cert-snakeoil.pem"

// isPublic reports whether others than this host can reach a listener.
func isPublic(listeners []netip.AddrPort) bool {
	return slices.ContainsFunc(listeners, func(l netip.AddrPort) bool { return !l.Addr().IsLoopback() })
}

// uses returns what the service takes of files that can be found.
func (s postfixService) uses(f *deployers.Facts) []deployers.Use {
	uses, chained := s.pairs()
	files := certificatesOf(uses)
	if chained && len(files) > 0 {
		uses = postfixList(uses[0].Where, files, f)
		for i := range uses {
			uses[i].Lines = []string{"smtpd_tls_chain_files = {key}, {certificate}"}
		}
	}
	uses = slices.DeleteFunc(uses, func(use deployers.Use) bool { return !filepath.IsAbs(use.Certificate) })
	for i := range uses {
		uses[i].Twin = len(uses) > 1
	}
	return uses
}

// postfixList returns the pairs of a list of files, in which a key stands before its
// certificates: in one file, or in the next one.
func postfixList(where string, list []string, f *deployers.Facts) (uses []deployers.Use) {
	key := ""
	for n, path := range list {
		text := ""
		for _, t := range f.Texts[path] {
			text = t.Content
		}
		hasKey, hasCertificate := holdsKey(text), holdsCertificate(text)
		if text == "" { // it is not there yet
			hasCertificate = n%2 == 1 || len(list) == 1
			hasKey = !hasCertificate || len(list) == 1
		}
		if hasKey {
			key = path
		}
		if hasCertificate && key != "" {
			uses = append(uses, deployers.Use{Where: where, Certificate: path, Key: key})
			key = ""
		}
	}
	return uses
}
