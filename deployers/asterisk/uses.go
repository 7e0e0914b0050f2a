package asterisk

import (
	"cmp"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
)

// use is what takes a certificate: a transport of pjsip.conf, or the web server.
type use struct {
	where            string
	certificate, key string
	port             uint16
	web              bool
}

func (u use) scheme() string {
	if u.web {
		return "https"
	}
	return "sips"
}

// observed is what the facts say about an Asterisk.
type observed struct {
	asked             []string // the files that are wanted
	uses              []use
	runUser, runGroup string // of asterisk.conf
	installed         bool   // it has one
	unread            []string
	sources           []string // the files that say whether transports come from a database,
	elsewhere         bool     // which they may
}

// observe returns what the facts say.
func (o *Options) observe(f deployers.Facts) observed {
	main := reader{texts: f.Texts, dir: filepath.Dir(o.Config)}
	main.read(o.Config, 0)
	seen := observed{installed: len(f.Texts[o.Config]) > 0}
	dir := main.dir
	for _, c := range main.categories {
		switch c.name {
		case "directories":
			dir = cmp.Or(c.values["astetcdir"], dir)
		case "options":
			seen.runUser, seen.runGroup = c.values["runuser"], c.values["rungroup"]
		}
	}
	sip := reader{texts: f.Texts, dir: dir}
	sip.read(filepath.Join(dir, "pjsip.conf"), 0)
	web := reader{texts: f.Texts, dir: dir}
	web.read(filepath.Join(dir, "http.conf"), 0)
	sources := reader{texts: f.Texts, dir: dir}
	sources.read(filepath.Join(dir, "sorcery.conf"), 0)
	for _, c := range sources.categories { // transport = realtime,ps_transports (res/res_sorcery_*.c of 22.10.1)
		seen.elsewhere = seen.elsewhere || c.values["transport"] != ""
	}
	seen.sources = sources.asked
	seen.asked, seen.unread = slices.Concat(main.asked, sip.asked, web.asked), slices.Concat(main.unread, sip.unread, web.unread)
	seen.uses = slices.Concat(transports(sip.categories), webServers(web.categories))
	return seen
}

// transports returns the transports with TLS (res/res_pjsip/config_transport.c
// of 22.10.1). WebSockets are the web server's.
func transports(categories []category) []use {
	var found []use
	for _, c := range categories {
		if c.template || c.values["type"] != "transport" || !strings.EqualFold(c.values["protocol"], "tls") {
			continue
		}
		found = append(found, use{
			where:       "transport " + c.name + " (" + c.where + ")",
			certificate: c.values["cert_file"], key: c.values["priv_key_file"], port: portOf(c.values["bind"], 5061),
		})
	}
	return found
}

// webServers returns the web server where it has TLS (main/http.c,
// __ast_http_load, and main/tcptls.c, ast_tls_read_conf and ast_ssl_setup, of
// 22.10.1): without a key of its own the certificate's file holds it.
func webServers(categories []category) []use {
	for _, c := range categories {
		v := c.values
		if c.name != "general" || !isTrue(v["enabled"]) || !isTrue(cmp.Or(v["tlsenable"], v["sslenable"])) {
			continue
		}
		certificate := cmp.Or(v["tlscertfile"], v["tlscert"], v["sslcert"])
		return []use{{
			where: "the web server (" + c.where + ")", web: true, port: portOf(cmp.Or(v["tlsbindaddr"], v["sslbindaddr"]), 8089),
			certificate: certificate, key: cmp.Or(v["tlsprivatekey"], v["sslprivatekey"], certificate),
		}}
	}
	return nil
}

// portOf returns the port of an address with or without one: 192.0.2.1:5061,
// [::]:5061, ::1.
func portOf(address string, usual uint16) uint16 {
	if _, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
		return usual
	}
	port, err := strconv.ParseUint(address[strings.LastIndexByte(address, ':')+1:], 10, 16)
	if err != nil || port == 0 {
		return usual
	}
	return uint16(port)
}

// ports returns the ports that the uses listen on, and the usual ones where
// there are none.
func (s observed) ports() []uint16 {
	ports := []uint16{5061}
	for _, u := range s.uses {
		ports = append(ports, u.port)
	}
	return deployers.Distinct(ports)
}

// describe adds to a plan what Asterisk's configuration says, and returns the
// uses that take the plan's files.
func (s observed) describe(plan *deployers.Plan, t deployers.Target, f deployers.Facts) []use {
	var ours []use
	var taken []deployers.Taken
	half := false
	for _, u := range s.uses {
		gets := plan.Writes(u.certificate, deployers.Fullchain, deployers.Combined)
		if gets != plan.Writes(u.key, deployers.Key, deployers.Combined) {
			half = true
			plan.Warn(deployers.Configuration, "let it name both files of one pair", "%s takes %s with the key %s, and the target has only one of the two", u.where, u.certificate, u.key)
		}
		taken = append(taken, deployers.Taken{Where: u.where, File: u.certificate, Key: u.key})
		if gets {
			ours = append(ours, u)
			plan.Fine(deployers.Configuration, "%s takes %s", u.where, u.certificate)
		}
	}
	for _, what := range s.unread {
		plan.Warn(deployers.Configuration, "", "%s", what)
	}
	switch {
	case len(ours) > 0:
	case taken == nil:
		plan.Warn(deployers.Configuration, "let a transport of pjsip.conf name them (cert_file, priv_key_file)", "no TLS transport was found in %s, so nothing is known to take these files", strings.Join(s.asked, ", "))
	default:
		sure := !half && s.unread == nil && !s.elsewhere
		plan.TakesElsewhere(sure, "name the target's paths there, or those in the target", "Asterisk does not take its certificates from "+plan.Files[0].Path, taken...)
	}
	if plan.Found && len(ours) > 0 {
		plan.Probes = probes(ours, f.Listeners)
	}
	if !onlyWeb(ours) {
		plan.SIPDomains = deployers.SIPDomains(t, *plan)
	}
	return ours
}

// onlyWeb reports whether nothing but the web server takes a certificate.
func onlyWeb(uses []use) bool {
	return len(uses) > 0 && !slices.ContainsFunc(uses, func(u use) bool { return !u.web })
}

// probes returns probes of the listeners on the uses' ports.
func probes(uses []use, listeners []netip.AddrPort) []endpoint.Endpoint {
	var found []endpoint.Endpoint
	for _, listener := range listeners {
		for _, u := range uses {
			if u.port == listener.Port() {
				found = append(found, endpoint.At(u.scheme(), listener, ""))
			}
		}
	}
	return deployers.Distinct(found)
}
