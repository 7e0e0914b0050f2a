package opensips

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
)

// tlsDomain is a domain of tls_list, which lists files only for those of the
// script (list_domain of tls_mgm.c).
type tlsDomain struct {
	name      string
	values    map[string]string
	addresses []netip.AddrPort // where it is; none: everywhere
	filters   []string         // of SIP domains
}

// The types, in tls_list, of domains for connections that come in, and of others.
const (
	serverDomain = "TLS_DOMAIN_SRV"
	clientDomain = "TLS_DOMAIN_CLI"
)

// anything is the filter that lets everything pass.
const anything = "*"

func (d tlsDomain) script() bool {
	_, ok := d.values["CERT_FILE"]
	return ok
}

// called returns what people call the domain.
func (d tlsDomain) called() string {
	return fmt.Sprintf("OpenSIPS's domain %s (%s)", d.name, d.values["type"])
}

// rowType returns the type of the domain's row in a database.
func (d tlsDomain) rowType() int {
	if d.values["type"] == serverDomain {
		return tlsMgmServer
	}
	return tlsMgmClient
}

// names returns the SIP domains by which a client reaches the domain, in lower
// case: before 3.6.8 the case counts. Filters with wildcards name none.
func (d tlsDomain) names() (names []string) {
	for _, filter := range d.filters {
		if filter != "none" && !strings.ContainsAny(filter, `*?[\`) && !slices.Contains(names, strings.ToLower(filter)) {
			names = append(names, strings.ToLower(filter))
		}
	}
	return names
}

// tlsDomains returns the domains in the reply to tls_list. Its values without a
// name are first the filters of addresses, of which there is one that lets all
// pass, or else each is ADDRESS:PORT, and then those of SIP domains
// (parse_match_addresses of tls_domain.c in 3.6.8).
func tlsDomains(reply string) []tlsDomain {
	var domains []tlsDomain
	var first bool
	for line := range strings.Lines(reply) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if key == "name" && ok {
			domains, first = append(domains, tlsDomain{name: value, values: map[string]string{}}), true
			continue
		}
		if len(domains) == 0 {
			continue
		}
		last := &domains[len(domains)-1]
		address, isAddress := parseAddress(key)
		switch {
		case ok:
			last.values[key] = value
		case first && key == anything:
		case isAddress && len(last.filters) == 0 && (first || len(last.addresses) > 0):
			last.addresses = append(last.addresses, address)
		default:
			last.filters = append(last.filters, key)
		}
		first = first && ok
	}
	return domains
}

// parseAddress parses ADDRESS:PORT, whose address may be IPv6 without brackets.
func parseAddress(text string) (netip.AddrPort, bool) {
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return netip.AddrPort{}, false
	}
	address, err := netip.ParseAddr(strings.Trim(text[:at], "[]"))
	port, portErr := strconv.ParseUint(text[at+1:], 10, 16)
	return netip.AddrPortFrom(address, uint16(port)), err == nil && portErr == nil
}

// serving returns the domain whose certificate a client gets that connects to an
// address and asks for a name; ok is false where the handshake fails. Where a
// domain names the address, those for all addresses do not count; then the
// filters without wildcards come first, and the one for everything last
// (tls_domain.c of 3.6.8: tls_find_domain_by_filters, compare_dom_filters).
func (s observed) serving(at netip.AddrPort, name string) (serving tlsDomain, ok bool) {
	named := slices.ContainsFunc(s.domains, func(d tlsDomain) bool { return slices.Contains(d.addresses, at) })
	best := 3
	for _, d := range s.domains {
		if named != slices.Contains(d.addresses, at) || !named && len(d.addresses) > 0 {
			continue
		}
		for _, filter := range d.filters {
			rank := 0
			if filter == anything {
				rank = 2
			} else if strings.Contains(filter, anything) {
				rank = 1
			}
			matches, err := path.Match(strings.ToLower(filter), strings.ToLower(name)) // as fnmatch(3): names hold no slash
			if rank < best && err == nil && matches {
				serving, ok, best = d, true, rank
			}
		}
	}
	return serving, ok
}

// places returns the addresses at which the domain is to be looked for, given
// where OpenSIPS listens.
func (d tlsDomain) places(listeners []netip.AddrPort) (places []netip.AddrPort) {
	for _, listener := range listeners {
		if !listener.Addr().IsUnspecified() {
			places = append(places, listener)
			continue
		}
		for _, address := range d.addresses {
			if address.Port() == listener.Port() && address.Addr().Is4() == listener.Addr().Is4() {
				places = append(places, address)
			}
		}
		if len(d.addresses) == 0 {
			places = append(places, listener)
		}
	}
	return deployers.Distinct(places)
}

// probes returns the probes by which a client reaches a domain: at its addresses,
// and by its names, or where it has none by one of the leaf's.
func (s observed) probes(d tlsDomain, f deployers.Facts) (found []endpoint.Endpoint) {
	if d.values["type"] != serverDomain {
		return nil
	}
	for _, place := range d.places(f.Listeners) {
		reaches := func(name string) bool {
			at, ok := s.serving(place, name)
			return ok && at.name == d.name
		}
		names := slices.DeleteFunc(d.names(), func(name string) bool { return !reaches(name) })
		if len(names) == 0 {
			if at := slices.IndexFunc(f.Names, func(name string) bool { return endpoint.IsHost(name) && reaches(name) }); at >= 0 {
				names = f.Names[at : at+1]
			} else if f.Names == nil && reaches("") {
				names = []string{""}
			}
		}
		for _, name := range names {
			found = append(found, endpoint.At("sips", place, name))
		}
	}
	return found
}

// serve lets a plan want the names of its domains, and where its probes are found
// look for them there.
func (s observed) serve(plan *deployers.Plan, f deployers.Facts, ours ...tlsDomain) {
	var probes []endpoint.Endpoint
	for _, d := range ours {
		plan.Names = append(plan.Names, d.names()...)
		probes = append(probes, s.probes(d, f)...)
	}
	slices.Sort(plan.Names)
	plan.Names = slices.Compact(plan.Names)
	if plan.Found && len(ours) > 0 {
		plan.Probes = deployers.Distinct(probes)
	}
}
