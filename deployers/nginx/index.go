package nginx

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
)

// serversRead is the servers of a configuration, found by what they are looked for:
// where each of many lineages has a server, no plan looks at all of them. It is not
// changed once it is made.
type serversRead struct {
	servers   []serverBlock
	naming    map[string][]int           // those that name a file, by its path
	variable  []int                      // those that find a certificate by a variable
	mentioned map[string]bool            // the paths in directives about any certificate
	listeners map[address][]firstListens // each listener once, by its address
	choices   map[string]*choice         // by listener
	lost      map[int][]ignored          // by server
	fronts    fronts                     // what stands before them
	main      string                     // the file that nginx begins with
	err       error                      // why the configuration cannot be read
}

// address is where a listener is, without a range of ports.
type address struct {
	host string
	port uint16
}

// firstListens is a listener, and the first server that has it.
type firstListens struct {
	listener listener
	where    string // of the server
}

// readServers returns the servers of what nginx -T prints.
func readServers(dump string) serversRead {
	config, err := parse(dump)
	if err != nil {
		return serversRead{err: err}
	}
	read := indexed(config.servers())
	read.main, read.fronts, read.mentioned = config.main, config.fronts(), map[string]bool{}
	for _, directives := range config.files {
		config.mention(directives, read.mentioned)
	}
	return read
}

// indexed returns servers as they are found.
func indexed(servers []serverBlock) serversRead {
	read := serversRead{servers: servers, naming: map[string][]int{}, listeners: map[address][]firstListens{}}
	read.choices, read.lost = choicesOf(servers)
	for i, server := range read.servers {
		for _, pair := range server.pairs {
			read.naming[pair.certificate] = append(read.naming[pair.certificate], i)
			read.naming[pair.key] = append(read.naming[pair.key], i)
			if strings.Contains(pair.certificate, "$") {
				read.variable = append(read.variable, i)
			}
		}
		for _, l := range server.listens {
			at := address{l.host, l.port}
			l.preferred = false
			if !slices.ContainsFunc(read.listeners[at], func(first firstListens) bool { return first.listener == l }) {
				read.listeners[at] = append(read.listeners[at], firstListens{l, server.where})
			}
		}
	}
	return read
}

// concerned returns the servers that may use the files of a plan, by their places, in
// the order of the configuration.
func (s serversRead) concerned(plan deployers.Plan) []int {
	at := slices.Clone(s.variable)
	for _, f := range plan.Files {
		at = append(at, s.naming[f.Path]...)
		if f.Credential != "" {
			at = append(at, s.naming[f.Credential]...)
		}
		for _, path := range f.Also {
			at = append(at, s.naming[path]...)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// answering returns the servers that have some names, as clients may ask for them, or else
// those that answer for them, by their places. It is not sure where that takes a regular
// expression which cannot be tried here.
func (s serversRead) answering(names []string) (servers []int, sure bool) {
	for number, server := range s.servers {
		if server.hasTLS() && slices.ContainsFunc(server.exactNames(), func(name string) bool {
			_, parent, _ := strings.Cut(name, ".")
			return slices.Contains(names, name) || slices.Contains(names, anyLabel+parent)
		}) {
			servers = append(servers, number)
		}
	}
	if servers != nil {
		return servers, true
	}
	sure = true
	for _, c := range s.choices {
		for _, name := range append(slices.Clip(names), "") {
			if name == "" && names != nil {
				continue
			}
			server, known := c.of(name)
			servers, sure = append(servers, server), sure && known
		}
	}
	slices.Sort(servers)
	return slices.Compact(servers), sure
}

// nameAt returns a name by which clients reach a server at one of its listeners, of
// those that it has itself, or else of some others; empty: by whatever name they come.
// Where none leads to it, instead is the server that answers for the first of its names
// (lost), or for whatever name.
func (s serversRead) nameAt(number int, l listener, others []string) (name string, instead int, lost bool) {
	c := s.choices[l.String()]
	if c == nil {
		return s.firstName(number), number, false
	}
	own := s.servers[number].askedNames()
	for _, name := range slices.Concat(own, others) {
		if chosen, sure := c.of(name); chosen == number || !sure {
			return name, number, false
		}
	}
	switch {
	case own != nil:
		instead, _ = c.of(own[0])
		return own[0], instead, true
	case c.fallback == number && others == nil:
		return "", number, false
	case c.fallback == number:
		return unnamed(l), number, false // by none of the names, so without any
	}
	return "", c.fallback, false
}

// firstName returns the first name by which clients reach a server; empty: there is
// none that is known.
func (s serversRead) firstName(number int) string {
	for _, name := range s.servers[number].askedNames() {
		return name
	}
	return ""
}

// at returns the listeners at the address of an endpoint.
func (s serversRead) at(e endpoint.Endpoint) []firstListens {
	return s.listeners[address{e.Host, e.Port}]
}

// asked returns names of a leaf as clients may ask for them.
func asked(names []string) []string {
	var found []string
	for _, name := range names {
		if domain, ok := strings.CutPrefix(name, "*."); ok {
			name = anyLabel + domain
		}
		if name = strings.ToLower(name); endpoint.IsHost(name) {
			found = append(found, name)
		}
	}
	return found
}

// unnamed returns what a probe of a listener has in place of a name to ask for none: an
// address is never sent (RFC 6066 section 3).
func unnamed(l listener) string {
	at := l.endpoint("tls", "")
	if _, err := netip.ParseAddr(at.Host); err != nil {
		return netip.IPv6Loopback().String()
	}
	return at.Host
}
