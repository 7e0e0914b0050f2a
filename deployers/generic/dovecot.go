package generic

import (
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// dovecot reads what doveconf prints of Dovecot's configuration (doveconf(1) of 2.3.19 and
// 2.4.1).
type dovecot struct{}

// settings is the command that prints what is set otherwise than usual.
func (dovecot) settings() []string { return []string{"doveconf", "-n"} }

// secrets is the command that prints passwords too, and where the keys of 2.3 are.
func (p dovecot) secrets() []string { return append(p.settings(), "-P") }

// hidden stands in the place of secrets, among them the value of ssl_key
// (hide_secrets_from_value in src/config/doveconf.c of 2.3).
const hidden = "# hidden"

// output returns what is known of the settings.
func (p dovecot) output(f *deployers.Facts) deployers.Output {
	if all := f.Output(p.secrets()); all.Stdout != "" && all.Failed == "" {
		return all
	}
	return f.Output(p.settings())
}

// dovecotNames are the settings that name a certificate: of 2.4, and of 2.3, where they
// hold the content, or a < before the path of a file with it.
func dovecotNames() []string {
	return []string{"ssl_server_cert_file", "ssl_server_alt_cert_file", "ssl_cert", "ssl_alt_cert"}
}

// dovecotKey returns the setting of the key for a certificate's.
func dovecotKey(name string) string { return strings.Replace(name, "cert", "key", 1) }

// dovecotBlock is a part of the configuration: what is for all, or for what its filters
// (local_name, local, protocol) let through.
type dovecotBlock struct {
	filters  string
	settings map[string]string
}

// dovecotListener is an inet_listener of a service.
type dovecotListener struct{ service, name, port, ssl string }

// read returns the blocks, and the listeners of which something is set.
func (p dovecot) read(f *deployers.Facts) (blocks []dovecotBlock, listeners dovecotListeners) {
	blocks = []dovecotBlock{{settings: map[string]string{}}}
	var opened []string // the blocks around a line, as kind and name
	for line := range strings.Lines(p.output(f).Stdout) {
		line = strings.TrimSpace(line)
		head, opens := strings.CutSuffix(line, "{")
		name, value, sets := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(line, "#"):
		case opens:
			opened = append(opened, strings.TrimSpace(head))
			if kind, name, _ := strings.Cut(opened[len(opened)-1], " "); kind == "inet_listener" && len(opened) > 1 {
				_, service, _ := strings.Cut(opened[len(opened)-2], " ")
				listeners = append(listeners, dovecotListener{service: service, name: name})
			}
		case line == "}":
			opened = opened[:max(0, len(opened)-1)]
		case sets && len(opened) > 0 && strings.HasPrefix(opened[len(opened)-1], "inet_listener ") && len(listeners) > 0:
			switch l := &listeners[len(listeners)-1]; name {
			case "port":
				l.port = value
			case "ssl":
				l.ssl = value
			}
		case sets:
			blocks = dovecotSet(blocks, opened, name, value)
		}
	}
	return blocks, listeners
}

// dovecotSet sets what stands within some blocks: 2.4 prints ssl_server_cert_file as
// cert_file of a block ssl_server.
func dovecotSet(blocks []dovecotBlock, opened []string, name, value string) []dovecotBlock {
	var filters []string
	for _, block := range opened {
		switch kind, _, _ := strings.Cut(block, " "); kind {
		case "local_name", "local", "protocol":
			filters = append(filters, block)
		case "ssl_server":
			name = kind + "_" + name
		default:
			return blocks
		}
	}
	within := strings.Join(filters, ", ")
	at := slices.IndexFunc(blocks, func(b dovecotBlock) bool { return b.filters == within })
	if at < 0 {
		at = len(blocks)
		blocks = append(blocks, dovecotBlock{within, map[string]string{}})
	}
	blocks[at].settings[name] = value
	return blocks
}

type dovecotListeners []dovecotListener

// doors returns where Dovecot would listen for clients (conf.d/10-master.conf). Of POP3
// without TLS there is a probe only where it is not at its usual port.
func (l dovecotListeners) doors(f *deployers.Facts) []door {
	usual := map[string]door{"imap": {"imap", 143}, "imaps": {"tls", 993}}
	if f.Unit.Running() { // else there may be no such service
		usual["pop3s"] = door{"tls", 995}
	}
	for _, listener := range l {
		scheme, known := map[string]string{"imap-login": "imap", "pop3-login": "pop3"}[listener.service]
		port, err := strconv.ParseUint(listener.port, 10, 16)
		if !known || err != nil || scheme == "pop3" && port == 110 {
			continue
		}
		if listener.ssl == "yes" || listener.ssl == "" && strings.HasSuffix(listener.name, "s") {
			scheme = "tls"
		}
		delete(usual, listener.name)
		if port != 0 { // which turns it off
			usual[listener.name] = door{scheme, uint16(port)}
		}
	}
	var doors []door
	for _, name := range slices.Sorted(maps.Keys(usual)) {
		doors = append(doors, usual[name])
	}
	return doors
}

func (p dovecot) wants(wants *deployers.Wants, f *deployers.Facts) {
	if isUsual("dovecot.service", f) {
		wants.Commands = append(wants.Commands, p.settings())
	}
}

func (p dovecot) describe(plan *deployers.Plan, f *deployers.Facts) {
	output := p.output(f)
	if output.Failed != "" || !isUsual("dovecot.service", f) || f.CommandLine().Options("-c") != nil {
		return
	}
	var all []deployers.Use
	blocks, _ := p.read(f)
	for _, block := range blocks {
		all = append(all, block.pairs("")...)
	}
	if blocks[0].settings["ssl"] != "no" {
		compare(plan, "Dovecot", "ssl_server_cert_file (ssl_cert before 2.4)", all, output.Stdout)
	}
}

func (p dovecot) asks(wants *deployers.Wants, f *deployers.Facts) {
	blocks, listeners := p.read(f)
	if slices.ContainsFunc(blocks, dovecotBlock.hidesKey) {
		wants.Commands = append(wants.Commands, p.secrets())
	}
	wants.Ports = portsOf(wants.Ports, listeners.doors(f))
}

// hidesKey reports whether it is not shown where a key of the block is.
func (b dovecotBlock) hidesKey() bool {
	return slices.ContainsFunc(dovecotNames(), func(name string) bool { return strings.HasPrefix(b.settings[dovecotKey(name)], hidden) })
}

func (p dovecot) discover(d *deployers.Discovery, f *deployers.Facts) {
	*d = deployers.Discovery{
		Role: "imap", Labels: []string{"imap", "mail", "pop3", "pop"},
		Directory: "/etc/dovecot/tls/{lineage}",
		Lines:     []string{"ssl_server_cert_file = {certificate}", "ssl_server_key_file = {key}"},
	}
	sign := "" // before the path of a file
	output := p.output(f)
	if strings.HasPrefix(output.Stdout, "# 2.3.") {
		sign, d.Lines = "<", []string{"ssl_cert = <{certificate}", "ssl_key = <{key}"}
	}
	blocks, listeners := p.read(f)
	switch {
	case output.Failed != "":
		d.AddUnknown("Dovecot's configuration cannot be read: " + output.Failed)
		return
	case blocks[0].settings["ssl"] == "no":
		d.AddUnknown("Dovecot serves without TLS: its configuration says ssl = no")
		return
	}
	doors := listeners.doors(f)
	for _, block := range blocks {
		uses := block.pairs(sign)
		if strings.Contains(block.filters, "protocol ") && uses != nil {
			d.AddUnknown(block.filters + " has a certificate of its own, for which no target is proposed: write one with probes of that protocol")
			continue
		}
		uses = slices.DeleteFunc(uses, func(use deployers.Use) bool { return !filepath.IsAbs(use.Certificate) })
		for _, use := range uses {
			if !filepath.IsAbs(use.Key) {
				use.Key = ""
			}
			use.Names, use.Twin = block.names(), len(uses) > 1
			presets()["dovecot"].seen(&use, doors, f)
			block.atAddress(&use)
			d.Add(use)
		}
	}
	if len(d.Uses) == 0 {
		d.AddUnknown("Dovecot has no certificate; " + "ssl_server_cert_file and ssl_server_key_file (2.3: ssl_cert and ssl_key) give it one")
	}
}

// pairs returns what a block names, as paths or as it stands there. A sign stands before
// the paths that are to be named.
func (b dovecotBlock) pairs(sign string) (uses []deployers.Use) {
	for _, name := range dovecotNames() {
		if certificate := dovecotPath(b.settings[name]); certificate != "" {
			uses = append(uses, deployers.Use{
				Where: strings.TrimPrefix(b.filters+": "+name, ": "), Certificate: certificate, Key: dovecotPath(b.settings[dovecotKey(name)]),
				Lines: []string{name + " = " + sign + "{certificate}", dovecotKey(name) + " = " + sign + "{key}"},
			})
		}
	}
	return uses
}

// dovecotPath returns the path of a file that a setting names, or else the value itself;
// empty: it is not shown.
func dovecotPath(value string) string {
	if strings.HasPrefix(value, hidden) {
		return ""
	}
	return strings.Trim(strings.TrimSpace(strings.TrimPrefix(value, "<")), `"`)
}

// names returns those by which clients come for whom the block is; nil: for whichever.
func (b dovecotBlock) names() (names []string) {
	for filter := range strings.SplitSeq(b.filters, ", ") {
		if list, is := strings.CutPrefix(filter, "local_name "); is {
			names = append(names, strings.Fields(strings.ToLower(strings.Trim(list, `"`)))...)
		}
	}
	return names
}

// atAddress lets a use be probed at the address of this host that the block is for, if it
// is for one.
func (b dovecotBlock) atAddress(use *deployers.Use) {
	for filter := range strings.SplitSeq(b.filters, ", ") {
		text, is := strings.CutPrefix(filter, "local ")
		address, err := netip.ParseAddr(text)
		if !is || err != nil {
			continue
		}
		for i := range use.Probes {
			use.Probes[i].Host = address.String()
		}
		use.Probes, use.Unusual = deployers.Distinct(use.Probes), true
	}
}
