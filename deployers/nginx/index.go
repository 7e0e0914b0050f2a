package nginx

import (
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
	listeners map[address][]firstListens // each listener once, by its address
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
	return indexed(config.servers())
}

// indexed returns servers as they are found.
func indexed(servers []serverBlock) serversRead {
	read := serversRead{servers: servers, naming: map[string][]int{}, listeners: map[address][]firstListens{}}
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
			if !slices.ContainsFunc(read.listeners[at], func(first firstListens) bool { return first.listener == l }) {
				read.listeners[at] = append(read.listeners[at], firstListens{l, server.where})
			}
		}
	}
	return read
}

// concerned returns the servers that may use the files of a plan, in the order of
// the configuration.
func (s serversRead) concerned(plan deployers.Plan) []serverBlock {
	at := slices.Clone(s.variable)
	for _, f := range plan.Files {
		at = append(at, s.naming[f.Path]...)
	}
	slices.Sort(at)
	var servers []serverBlock
	for _, i := range slices.Compact(at) {
		servers = append(servers, s.servers[i])
	}
	return servers
}

// at returns the listeners at the address of an endpoint.
func (s serversRead) at(e endpoint.Endpoint) []firstListens {
	return s.listeners[address{e.Host, e.Port}]
}
