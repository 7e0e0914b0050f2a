package nginx

import (
	"regexp"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/internal/endpoint"
)

// fronts is the servers of the stream module that hand connections on as they are, by the
// name that a client asks for or for whatever name (ngx_stream_proxy_module and
// ngx_stream_ssl_preread_module of 1.26). What stands behind one can be reached by it.
type fronts struct {
	servers   []front
	upstreams map[string][]string // addresses, by the name of the upstream
	maps      map[string]nameMap  // by the variable
}

// front is such a server.
type front struct {
	listens []listener
	pass    string // its proxy_pass
}

// nameMap is a map of the name that a client asks for.
type nameMap struct {
	hostnames bool // it has wildcards
	lines     [][2]string
}

// asksFor is the variable of the name that a client asks for.
const asksFor = "$ssl_preread_server_name"

// fronts returns the servers of stream blocks that hand connections on.
func (c configuration) fronts() fronts {
	f := fronts{upstreams: map[string][]string{}, maps: map[string]nameMap{}}
	for module := range c.top() {
		if module.name() != "stream" {
			continue
		}
		for d := range c.in(module.block) {
			switch {
			case d.name() == "server":
				f.servers = append(f.servers, c.front(d))
			case d.name() == "upstream" && len(d.words) == 2:
				for server := range c.in(d.block) {
					if server.name() == "server" && len(server.words) > 1 {
						f.upstreams[d.words[1]] = append(f.upstreams[d.words[1]], server.words[1])
					}
				}
			case d.name() == "map" && len(d.words) == 3 && d.words[1] == asksFor:
				f.maps[d.words[2]] = c.nameMap(d)
			}
		}
	}
	return f
}

func (c configuration) front(block directive) (f front) {
	for d := range c.in(block.block) {
		switch {
		case d.name() == "listen" && len(d.words) > 1:
			f.listens = append(f.listens, parseListen(d.words[1:]))
		case d.name() == "proxy_pass" && len(d.words) == 2:
			f.pass = d.words[1]
		}
	}
	return f
}

func (c configuration) nameMap(block directive) (m nameMap) {
	for d := range c.in(block.block) {
		switch {
		case d.name() == "hostnames" && len(d.words) == 1:
			m.hostnames = true
		case len(d.words) == 2:
			m.lines = append(m.lines, [2]string{d.words[0], d.words[1]})
		}
	}
	return m
}

// of returns what a name is mapped to (ngx_stream_map_find): exact ones before the
// longest wildcard, that before regular expressions, and what is left by default.
func (m nameMap) of(name string) string {
	value := func(key string) (string, bool) {
		at := slices.IndexFunc(m.lines, func(line [2]string) bool { return strings.EqualFold(line[0], key) })
		if at < 0 {
			return "", false
		}
		return m.lines[at][1], true
	}
	if found, ok := value(name); ok {
		return found
	}
	if m.hostnames {
		if found, ok := value("." + name); ok {
			return found
		}
		for _, rest, more := strings.Cut(name, "."); more; _, rest, more = strings.Cut(rest, ".") {
			for _, key := range []string{"*." + rest, "." + rest} {
				if found, ok := value(key); ok {
					return found
				}
			}
		}
	}
	for _, line := range m.lines {
		text, isPattern := strings.CutPrefix(line[0], "~")
		if rest, anyCase := strings.CutPrefix(text, "*"); anyCase {
			text = "(?i)" + rest
		}
		if tried, err := regexp.Compile(text); isPattern && err == nil && tried.MatchString(name) {
			return line[1]
		}
	}
	found, _ := value("default")
	return found
}

// leads returns the addresses to which a proxy_pass leads for a name.
func (f fronts) leads(pass, name string) []string {
	if m, ok := f.maps[pass]; ok {
		pass = m.of(name)
	}
	if addresses, ok := f.upstreams[pass]; ok {
		return addresses
	}
	return []string{pass}
}

// through returns the endpoint by which a UNIX socket can be reached from this host under
// a name, and reports whether there is one.
func (f fronts) through(l listener, scheme, name string) (e endpoint.Endpoint, ok bool) {
	for _, server := range f.servers {
		if !slices.Contains(f.leads(server.pass, name), l.String()) {
			continue
		}
		for _, outer := range server.listens {
			if outer.path == "" && !outer.hasTLS() && !outer.datagram() {
				return outer.probe(serverBlock{scheme: scheme}, name), true
			}
		}
	}
	return e, false
}
