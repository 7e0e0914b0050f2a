package nginx

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// choice is which server nginx chooses at one address, by the name that a client asks
// for (ngx_http_server_names and ngx_http_find_virtual_server in src/http of 1.26).
// Servers are known by their places in the configuration.
type choice struct {
	fallback int  // the default server
	declared bool // it says that it is; else it is the first
	exact    map[string]int
	head     map[string]int // wildcards such as *.example.org, by what follows the star
	tail     map[string]int // wildcards such as www.*, by what is before the star
	patterns []pattern      // regular expressions, in the order in which they are tried
}

// pattern is a regular expression among server names.
type pattern struct {
	text   string
	server int
}

// ignored is a server name that nginx ignores at an address, since another server has
// it there before (ngx_http_server_names: "conflicting server name ... ignored").
type ignored struct {
	name     string
	listener listener
	winner   int
}

func newChoice(server int) *choice {
	return &choice{fallback: server, exact: map[string]int{}, head: map[string]int{}, tail: map[string]int{}}
}

// add adds a server at the address, and returns the names of it that another one has.
func (c *choice) add(number int, server serverBlock, l listener) (lost []ignored) {
	if l.preferred && !c.declared {
		c.fallback, c.declared = number, true
	}
	for _, name := range server.names {
		if text, ok := strings.CutPrefix(name, "~"); ok {
			c.patterns = append(c.patterns, pattern{text, number})
			continue
		}
		if winner, taken := c.take(name, number); taken && winner != number {
			lost = append(lost, ignored{name, l, winner})
		}
	}
	return lost
}

// take returns the server that has a name already, or lets another have it (ngx_hash_add_key in
// src/core/ngx_hash.c of 1.26: .example.org is in the way of example.org and of
// *.example.org, and they of it).
func (c *choice) take(name string, number int) (winner int, taken bool) {
	try := func(in map[string]int, key string) bool {
		winner, taken = in[key]
		return taken
	}
	domain, hasDot := strings.CutPrefix(name, ".")
	parent, isHead := strings.CutPrefix(name, "*.")
	front, isTail := strings.CutSuffix(name, ".*")
	switch {
	case hasDot:
		if !try(c.exact, domain) && !try(c.head, domain) {
			c.exact[domain], c.head[domain] = number, number
		}
	case isHead:
		if !try(c.head, parent) {
			c.head[parent] = number
		}
	case isTail:
		if !try(c.tail, front) {
			c.tail[front] = number
		}
	case !try(c.exact, name):
		c.exact[name] = number
	}
	return winner, taken
}

// of returns the server that nginx chooses for a name; sure: it is not known to be
// otherwise, by a regular expression that cannot be tried here.
func (c *choice) of(name string) (server int, sure bool) {
	if server, ok := c.exact[name]; ok {
		return server, true
	}
	for rest := name; rest != ""; { // the longest first
		_, rest, _ = strings.Cut(rest, ".")
		if server, ok := c.head[rest]; ok {
			return server, true
		}
	}
	for front := name; front != ""; {
		at := max(strings.LastIndexByte(front, '.'), 0)
		front = front[:at]
		if server, ok := c.tail[front]; ok {
			return server, true
		}
	}
	sure = true
	for _, p := range c.patterns {
		switch is, known := p.matches(name); {
		case is:
			return p.server, sure
		case !known:
			sure = false
		}
	}
	return c.fallback, sure
}

// matches reports whether a regular expression matches a name; known: it could be
// tried. PCRE has more than Go, and both what is used in names.
func (p pattern) matches(name string) (is, known bool) {
	tried, err := regexp.Compile(p.text)
	if err != nil {
		return false, false
	}
	return tried.MatchString(name), true
}

// choicesOf returns the choice at each address with TLS, and the names that nginx
// ignores of each server.
func choicesOf(servers []serverBlock) (at map[string]*choice, lost map[int][]ignored) {
	at, lost = map[string]*choice{}, map[int][]ignored{}
	for number, server := range servers {
		seen := map[string]bool{}
		for _, l := range server.listens {
			key := l.String()
			if l.datagram() || !l.tls || seen[key] {
				continue
			}
			seen[key] = true
			if at[key] == nil {
				at[key] = newChoice(number)
			}
			if names := at[key].add(number, server, l); names != nil {
				lost[number] = append(lost[number], names...)
			}
		}
	}
	return at, lost
}

// beaten returns the names of a server that nginx ignores and that lead to another pair,
// each once for each server that has it.
func (s serversRead) beaten(number int) []ignored {
	var found []ignored
	for _, l := range s.lost[number] {
		winner := s.servers[l.winner]
		known := slices.ContainsFunc(found, func(f ignored) bool { return f.name == l.name && f.winner == l.winner })
		if !known && (winner.rejects || !slices.Equal(winner.pairs, s.servers[number].pairs)) {
			found = append(found, l)
		}
	}
	return found
}

// lostEverywhere returns the names of a server that nginx ignores at each of its
// addresses with TLS, for the sake of other pairs.
func (s serversRead) lostEverywhere(number int) []string {
	addresses := map[string]bool{}
	for _, l := range s.servers[number].listens {
		if l.tls && !l.datagram() {
			addresses[l.String()] = true
		}
	}
	at := map[string]int{} // at how many
	for _, l := range s.lost[number] {
		at[l.name]++
	}
	var names []string
	for _, l := range s.beaten(number) {
		if at[l.name] == len(addresses) && !slices.Contains(names, l.name) {
			names = append(names, l.name)
		}
	}
	return names
}

// conflicts returns the server names that nginx says it ignores somewhere
// (ngx_http_server_names in src/http/ngx_http.c of 1.26).
func conflicts(said string) map[string]bool {
	names := map[string]bool{}
	for _, match := range conflict().FindAllStringSubmatch(said, -1) {
		names[match[1]] = true
	}
	return names
}

var conflict = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`conflicting server name "([^"]*)" on \S+, ignored`)
})
