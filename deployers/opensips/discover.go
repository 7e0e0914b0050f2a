package opensips

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
)

// scriptPath is the path of the script in the packages.
const scriptPath = "/etc/opensips/opensips.cfg"

// modparamLine matches what a script sets for a domain of module tls_mgm:
// modparam("tls_mgm", "certificate", "[sip]/etc/opensips/tls/cert.pem").
var modparamLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[ \t]*modparam\([ \t]*"tls_mgm"[ \t]*,[ \t]*"(server_domain|certificate|private_key|match_ip_address|match_sip_domain|db_url)"[ \t]*,[ \t]*"(?:\[([^\]"]+)\])?([^"\n]*)"`)
})

const scriptNote = `OpenSIPS reads it only when it starts: a renewed pair waits for a restart, unless this target gets allow_restart: true, and perhaps a window: "02:00-04:30".`

const rowNote = "Fill in the database, with an account that may only read and update the table tls_mgm."

func (Deployer) Discover(t deployers.Target, f deployers.Facts) deployers.Discovery {
	options := t.Options.(*Options)
	script := scriptText(f)
	d := deployers.Discovery{
		Installed: f.Unit.LoadState == "loaded" || script.Path != "",
		Role:      "sip", Exact: true, Labels: []string{"sip", "sips", "voip", "pbx", "phone"},
		Directory: "/etc/opensips/tls/{lineage}",
		Lines: []string{
			`modparam("tls_mgm", "certificate", "[DOMAIN]{certificate}")`,
			`modparam("tls_mgm", "private_key", "[DOMAIN]{key}")`,
		},
	}
	seen := options.observe(f)
	switch {
	case !d.Installed:
		return d
	case seen.unlisted != "" && script.Path != "":
		d.AddUnknown(seen.unlisted + ", so this is what " + script.Path + " says")
	case seen.unlisted != "":
		d.AddUnknown(seen.unlisted + ", so it is not known which certificates its domains take")
	}
	for _, domain := range seen.domains {
		use := deployers.Use{Where: "domain " + domain.name, Names: domain.names()}
		if domain.script() {
			use.Certificate, use.Key = domain.values["CERT_FILE"], domain.values["PKEY_FILE"]
			use.Note = scriptNote
		} else {
			use.Domain, use.Note = domain.name, rowNote
		}
		d.Add(use)
	}
	return d
}

// scriptDomains returns the domains of a script, as tls_list would.
func scriptDomains(text string) []tlsDomain {
	found := map[string]*tlsDomain{}
	at := func(name string) *tlsDomain {
		if found[name] == nil {
			found[name] = &tlsDomain{name: name, values: map[string]string{"type": serverDomain}}
		}
		return found[name]
	}
	servers := map[string]bool{}
	for _, match := range modparamLine().FindAllStringSubmatch(text, -1) {
		domain, value := match[2], match[3]
		switch match[1] {
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
