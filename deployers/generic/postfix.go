package generic

import (
	"cmp"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// postfixPairs finds what the primary instance of Postfix takes (postconf(5) and
// postconf(1) of 3.10).
type postfixPairs struct{ postfixMaps }

// settings are the commands that print main.cf's settings of TLS, the services of
// master.cf, and what these have of their own.
func (postfixPairs) settings() (main, services, own []string) {
	main = append([]string{"postconf", "-x", "myhostname", "smtpd_tls_security_level", "smtpd_use_tls", "smtpd_tls_chain_files"}, slices.Concat(postfixNames()...)...)
	return main, []string{"postconf", "-M"}, []string{"postconf", "-P", "-x"}
}

// postfixNames are the settings that name a certificate and its key, by types of keys.
func postfixNames() [][]string {
	return [][]string{{"smtpd_tls_cert_file", "smtpd_tls_key_file"}, {"smtpd_tls_eccert_file", "smtpd_tls_eckey_file"}}
}

// postfixService is one of master.cf that receives mail.
type postfixService struct {
	name     string            // service/type, as in postconf -P
	settings map[string]string // main.cf's, and its own in place of them
	door     door
}

// services returns those that receive mail with TLS, and the settings of main.cf.
func (p postfixPairs) services(f *deployers.Facts) (found []postfixService, main map[string]string) {
	mainCommand, servicesCommand, ownCommand := p.settings()
	main = map[string]string{}
	for line := range strings.Lines(f.Output(mainCommand).Stdout) {
		name, value, _ := strings.Cut(line, "=")
		main[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	for line := range strings.Lines(f.Output(servicesCommand).Stdout) {
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[1] != "inet" || fields[7] != "smtpd" && fields[7] != "postscreen" {
			continue
		}
		s := postfixService{name: fields[0] + "/inet", settings: map[string]string{}, door: door{scheme: "smtp", port: postfixPort(fields[0])}}
		for name, value := range main {
			s.settings[name] = value
		}
		for line := range strings.Lines(f.Output(ownCommand).Stdout) {
			if own, is := strings.CutPrefix(line, s.name+"/"); is {
				name, value, _ := strings.Cut(own, "=")
				s.settings[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
		level := s.settings["smtpd_tls_security_level"]
		if s.settings["smtpd_tls_wrappermode"] == "yes" {
			s.door.scheme, level = "tls", "encrypt"
		}
		if level == "may" || level == "encrypt" || level == "" && s.settings["smtpd_use_tls"] == "yes" {
			found = append(found, s)
		}
	}
	return found, main
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

func (p postfixPairs) asks(wants *deployers.Wants, f *deployers.Facts) {
	main, services, own := p.settings()
	wants.Commands = append(wants.Commands, main, services, own)
	found, settings := p.services(f)
	for _, s := range found {
		wants.Ports = portsOf(wants.Ports, []door{s.door})
		wants.Texts = append(wants.Texts, absolute(postfixWords(s.settings["smtpd_tls_chain_files"]))...)
	}
	wants.Texts = append(wants.Texts, absolute(postfixWords(settings["smtpd_tls_chain_files"]))...)
	for _, entry := range p.names(f) {
		wants.Texts = append(wants.Texts, entry.files...)
	}
}

// absolute returns those words that are absolute paths.
func absolute(words []string) []string {
	return slices.DeleteFunc(words, func(word string) bool { return !filepath.IsAbs(word) })
}

// postfixName is an entry of a table of tls_server_sni_maps.
type postfixName struct {
	where, name string
	files       []string // in their order: each key before its certificate
}

// names returns the entries of the tables' sources.
func (p postfixPairs) names(f *deployers.Facts) (entries []postfixName) {
	for _, table := range p.tables(*f) {
		path, _ := sourceOf(table)
		for _, text := range f.Texts[path] {
			for line := range strings.Lines(joinContinued(text.Content)) {
				if words := postfixWords(line); len(words) > 1 && !strings.HasPrefix(words[0], "#") {
					entries = append(entries, postfixName{path + ": " + words[0], strings.ToLower(words[0]), absolute(words[1:])})
				}
			}
		}
	}
	return entries
}

func (p postfixPairs) discover(d *deployers.Discovery, f *deployers.Facts) {
	*d = deployers.Discovery{
		Role: "mail", Labels: []string{"mail", "smtp", "mx", "mx1"},
		Directory: "/etc/postfix/tls/{lineage}",
		Lines:     []string{"smtpd_tls_cert_file = {certificate}", "smtpd_tls_key_file = {key}"},
	}
	services, main := p.services(f)
	if mainCommand, _, _ := p.settings(); f.Output(mainCommand).Failed != "" {
		d.AddUnknown("Postfix's settings cannot be read: " + f.Output(mainCommand).Failed)
		return
	}
	var doors []door
	for _, s := range services {
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
	for _, s := range services {
		for _, use := range p.uses(s, f) {
			at := use.Certificate + "\x00" + use.Key
			taken[at] = append(taken[at], s.door)
			use.Hints = hosts(main["myhostname"])
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
	for _, entry := range p.names(f) {
		for _, use := range postfixList(entry.where, entry.files, f) {
			use.Names, use.Lines = hosts(entry.name), []string{entry.name + " {key} {certificate}"}
			presets()["postfix"].seen(&use, doors, f)
			d.Add(use)
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

// uses returns what a service takes. Where there are smtpd_tls_chain_files, the other
// settings do not count (postconf(5)).
func (p postfixPairs) uses(s postfixService, f *deployers.Facts) (uses []deployers.Use) {
	if list := absolute(postfixWords(s.settings["smtpd_tls_chain_files"])); len(list) > 0 {
		uses = postfixList("smtpd_tls_chain_files", list, f)
		for i := range uses {
			uses[i].Lines = []string{"smtpd_tls_chain_files = {key}, {certificate}"}
		}
	} else {
		for _, names := range postfixNames() {
			certificate, key := s.settings[names[0]], s.settings[names[1]]
			if filepath.IsAbs(certificate) {
				uses = append(uses, deployers.Use{
					Where: names[0], Certificate: certificate, Key: cmp.Or(key, certificate),
					Lines: []string{names[0] + " = {certificate}", names[1] + " = {key}"},
				})
			}
		}
	}
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
