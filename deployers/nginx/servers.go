package nginx

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/internal/endpoint"
)

// serverBlock is a server block, as far as certificates are concerned.
type serverBlock struct {
	scheme  string // of probes at its TLS listeners
	where   string // FILE:LINE
	listens []listener
	names   []string // its server_name, in lower case
	pairs   []pairFiles
	rejects bool // every handshake, by ssl_reject_handshake

	scripted bool // its certificate is chosen by a program in Lua
}

// hasTLS reports whether the server serves a certificate at all.
func (s serverBlock) hasTLS() bool {
	return slices.ContainsFunc(s.listens, listener.hasTLS)
}

// pairFiles is a certificate and its key, by their paths. Where a server has
// several, they are for several types of keys.
type pairFiles struct{ certificate, key string }

// listener is one listen directive. TLS and the PROXY protocol belong to
// the address: where one server sets them, all have them
// (ngx_http_add_addresses in src/http/ngx_http.c of 1.26).
type listener struct {
	host      string // without brackets; empty: any IPv4 address
	port      uint16
	last      uint16 // of a range of ports; else the same as port
	path      string // of a UNIX socket
	tls       bool
	proxied   bool // wants the PROXY protocol first
	quic, udp bool
	clear     string // TLS is started after words of this scheme, which is one of mail; empty: it is not
	preferred bool   // of all servers at the address, this one is the default
}

func (l listener) String() string {
	switch {
	case l.path != "":
		return "unix:" + l.path
	case l.last != l.port:
		return fmt.Sprintf("%s:%d-%d", l.shownHost(), l.port, l.last)
	}
	return fmt.Sprintf("%s:%d", l.shownHost(), l.port)
}

func (l listener) shownHost() string {
	switch {
	case l.host == "":
		return "*"
	case strings.Contains(l.host, ":"):
		return "[" + l.host + "]"
	}
	return l.host
}

// same reports whether two listen directives are about one address.
func (l listener) same(other listener) bool {
	return l.String() == other.String() && l.datagram() == other.datagram()
}

// hasTLS reports whether a certificate is served there.
func (l listener) hasTLS() bool { return l.tls || l.quic || l.clear != "" }

func (l listener) datagram() bool { return l.quic || l.udp }

// probe returns the endpoint at which the listener of a server can be probed from this
// host, under a name.
func (l listener) probe(s serverBlock, name string) endpoint.Endpoint {
	scheme := s.scheme
	if !l.tls && l.clear != "" {
		scheme = l.clear
	}
	e := l.endpoint(scheme, name)
	if l.proxied {
		e.Proxy = "v1"
	}
	return e
}

// endpoint returns the endpoint of the listener's address, for this host.
func (l listener) endpoint(scheme, name string) endpoint.Endpoint {
	addr, err := netip.ParseAddr(l.host)
	switch {
	case l.host == "":
		addr = netip.IPv4Unspecified()
	case err != nil: // a name of this host
		return endpoint.Endpoint{Scheme: scheme, Host: l.host, Port: l.port, Name: name}
	}
	return endpoint.At(scheme, netip.AddrPortFrom(addr, l.port), name)
}

// servers returns the server blocks of the http, stream and mail modules.
func (c configuration) servers() []serverBlock {
	var servers []serverBlock
	for module := range c.top() {
		scheme := map[string]string{"http": "https", "stream": "tls", "mail": "tls"}[module.name()]
		if scheme == "" {
			continue
		}
		outer := c.tls(module, tlsSettings{})
		for d := range c.in(module.block) {
			if d.name() == "server" {
				servers = append(servers, c.server(scheme, outer, d))
			}
		}
	}
	shareTLS(servers)
	return servers
}

// shareTLS lets every listener have what other servers set for its address.
func shareTLS(servers []serverBlock) {
	set := map[string]listener{}
	each := func(do func(key string, l *listener)) {
		for i := range servers {
			for j := range servers[i].listens {
				if l := &servers[i].listens[j]; !l.datagram() {
					do(l.String(), l)
				}
			}
		}
	}
	each(func(key string, l *listener) {
		set[key] = listener{tls: set[key].tls || l.tls, proxied: set[key].proxied || l.proxied}
	})
	each(func(key string, l *listener) { l.tls, l.proxied = set[key].tls, set[key].proxied })
}

// tlsSettings is what a block sets for TLS.
type tlsSettings struct {
	certificates, keys []string
	on                 []string // of the ssl directive, which there was up to 1.25.0
	reject             []string // of ssl_reject_handshake
	starttls, protocol []string // of mail
	lua                bool
}

// tls returns what a block sets, or else has from the block around it, each
// directive by itself (ngx_http_ssl_merge_srv_conf in
// src/http/modules/ngx_http_ssl_module.c of 1.26).
func (c configuration) tls(block directive, outer tlsSettings) tlsSettings {
	own := tlsSettings{lua: outer.lua}
	for d := range c.in(block.block) {
		own.lua = own.lua || strings.HasPrefix(d.name(), "ssl_certificate_by_lua")
		if len(d.words) != 2 {
			continue
		}
		switch d.name() {
		case "ssl_certificate":
			own.certificates = append(own.certificates, c.file(d.words[1]))
		case "ssl_certificate_key":
			own.keys = append(own.keys, c.file(d.words[1]))
		case "ssl":
			own.on = append(own.on, d.words[1])
		case "ssl_reject_handshake":
			own.reject = append(own.reject, d.words[1])
		case "starttls":
			own.starttls = append(own.starttls, d.words[1])
		case "protocol":
			own.protocol = append(own.protocol, d.words[1])
		}
	}
	either := func(own, outer []string) []string {
		if own == nil {
			return outer
		}
		return own
	}
	return tlsSettings{
		certificates: either(own.certificates, outer.certificates),
		keys:         either(own.keys, outer.keys),
		on:           either(own.on, outer.on),
		reject:       either(own.reject, outer.reject),
		starttls:     either(own.starttls, outer.starttls),
		protocol:     own.protocol,
		lua:          own.lua,
	}
}

func (c configuration) server(scheme string, outer tlsSettings, block directive) serverBlock {
	server := serverBlock{scheme: scheme, where: block.where}
	tls := c.tls(block, outer)
	server.rejects, server.scripted = slices.Contains(tls.reject, "on"), tls.lua
	for d := range c.in(block.block) {
		switch {
		case d.name() == "listen" && len(d.words) > 1:
			l := parseListen(d.words[1:])
			l.tls = l.tls || slices.Contains(tls.on, "on")
			if tls.starttls != nil && tls.starttls[0] != "off" {
				l.clear = mailProtocol(tls.protocol, l.port)
			}
			server.listens = append(server.listens, l)
		case d.name() == "server_name":
			for _, name := range d.words[1:] {
				if !strings.HasPrefix(name, "~") {
					name = strings.ToLower(name)
				}
				server.names = append(server.names, name)
			}
		}
	}
	for i, certificate := range tls.certificates {
		pair := pairFiles{certificate: certificate}
		if i < len(tls.keys) {
			pair.key = tls.keys[i]
		}
		server.pairs = append(server.pairs, pair)
	}
	return server
}

// mailProtocol returns the protocol of a mail server: what it says, or else by its port
// (ngx_mail_core_listen in src/mail/ngx_mail_core_module.c of 1.26 and the ports of each
// protocol).
func mailProtocol(said []string, port uint16) string {
	if said != nil {
		return map[string]string{"smtp": "smtp", "imap": "imap", "pop3": "pop3"}[said[0]]
	}
	return map[uint16]string{25: "smtp", 465: "smtp", 587: "smtp", 143: "imap", 993: "imap", 110: "pop3", 995: "pop3"}[port]
}

// file returns the path in an ssl_certificate or ssl_certificate_key directive.
// One with a variable, which is read at each handshake, and what is no path at
// all stay as they are.
func (c configuration) file(value string) string {
	for _, prefix := range []string{"data:", "engine:", "store:"} {
		if strings.HasPrefix(value, prefix) {
			return prefix
		}
	}
	if strings.Contains(value, "$") {
		return value
	}
	return c.path(value)
}

// parseListen returns the listener of a listen directive's parameters
// (nginx.org/en/docs/http/ngx_http_core_module.html#listen).
func parseListen(words []string) listener {
	var l listener
	for _, word := range words[1:] {
		switch word {
		case "ssl":
			l.tls = true
		case "quic":
			l.quic = true
		case "udp":
			l.udp = true
		case "proxy_protocol":
			l.proxied = true
		case "default_server", "default":
			l.preferred = true
		}
	}
	address := words[0]
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		l.path = path
		return l
	}
	host, ports := "", address
	if strings.Trim(address, "0123456789-") != "" { // it is not only a port
		host, ports = address, "80"
		if colon := strings.LastIndex(address, ":"); colon > strings.LastIndex(address, "]") {
			host, ports = address[:colon], address[colon+1:]
		}
	}
	if host = strings.Trim(host, "[]"); host != "*" && host != "0.0.0.0" {
		l.host = host
	}
	first, last, isRange := strings.Cut(ports, "-")
	l.port = portOf(first)
	if l.last = l.port; isRange {
		l.last = portOf(last)
	}
	return l
}

// portOf returns a port that nginx has accepted already; 0: it is none.
func portOf(text string) uint16 {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}

// exactNames returns the names of a server that a certificate can cover as they
// are: neither wildcards nor regular expressions, nor the names such as _ that
// stand for none.
func (s serverBlock) exactNames() []string {
	var names []string
	for _, name := range s.names {
		if name = strings.TrimSuffix(name, "."); name != "_" && endpoint.IsHost(name) {
			names = append(names, name)
		}
	}
	return names
}

// askedNames returns names by which clients reach the server, exact ones first; nil:
// the configuration has none that could be asked for.
func (s serverBlock) askedNames() []string {
	names := s.exactNames()
	for _, name := range s.names {
		// .example.org is example.org and *.example.org.
		if domain, ok := strings.CutPrefix(name, "."); ok && endpoint.IsHost(domain) {
			names = append(names, domain)
		}
		if domain, ok := strings.CutPrefix(name, "*."); ok && endpoint.IsHost(domain) {
			names = append(names, anyLabel+domain)
		}
	}
	return names
}

// anyLabel begins a name that a wildcard stands for.
const anyLabel = "certlatch."
