// Package endpoint is the notation for places where a live handshake can be
// made: the probe URLs of the configuration and the command line, such as
// tls://127.0.0.1:8443?name=api.example.
//
// It parses and prints; it opens no connection. Package probe does.
package endpoint

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Endpoint is where to make a handshake, and what to ask for there.
type Endpoint struct {
	Scheme string // a Scheme.Name
	Host   string // an address or a name (ASCII); IPv6 without brackets
	Port   uint16
	Name   string // the SNI name (ASCII), for XMPP also the domain; empty: to be filled in from the leaf
	Key    string // "", "rsa" or "ecdsa": the type of key that must be proven
	Proxy  string // "" or "v1": the version of the PROXY protocol that is wanted first
}

// Scheme is a protocol, and how it gets to the handshake.
type Scheme struct {
	Name     string
	Port     uint16   // the usual one; 0: it must be written
	ALPN     []string // offered; nil: none
	StartTLS bool     // TLS starts after some words in the clear
	About    string   // for people
}

// Schemes returns the known schemes. https offers what browsers offer (RFC 9113
// section 3.2, RFC 7301), xmpps-client and xmpps-server what XEP-0368 section 3
// asks for. XMPP's ports are those of RFC 6120 section 3.2.2, that of SIP is of
// RFC 3261 section 19.1.2, of SMTP of RFC 5321 section 4.5.4.2, of IMAP of RFC
// 9051 section 2.1, of POP3 of RFC 1939 section 3.
func Schemes() []Scheme {
	return []Scheme{
		{Name: "tls", About: "nothing but TLS"},
		{Name: "https", Port: 443, ALPN: []string{"h2", "http/1.1"}, About: "web"},
		{Name: "sips", Port: 5061, About: "SIP"},
		{Name: "xmpp-client", Port: 5222, StartTLS: true, About: "XMPP for clients"},
		{Name: "xmpp-server", Port: 5269, StartTLS: true, About: "XMPP between servers"},
		{Name: "xmpps-client", ALPN: []string{"xmpp-client"}, About: "XMPP for clients, direct TLS"},
		{Name: "xmpps-server", ALPN: []string{"xmpp-server"}, About: "XMPP between servers, direct TLS"},
		{Name: "smtp", Port: 25, StartTLS: true, About: "mail between servers"},
		{Name: "imap", Port: 143, StartTLS: true, About: "mail for clients"},
		{Name: "pop3", Port: 110, StartTLS: true, About: "mail for clients"},
	}
}

// SchemeOf returns the scheme with a name, and reports whether there is one.
func SchemeOf(name string) (Scheme, bool) {
	for _, s := range Schemes() {
		if s.Name == name {
			return s, true
		}
	}
	return Scheme{}, false
}

// Parse returns the endpoint of a probe URL:
// SCHEME://HOST[:PORT][?name=NAME][&key=rsa|ecdsa][&proxy=v1]. Its errors are written for
// the operator who wrote the URL.
func Parse(text string) (Endpoint, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Endpoint{}, fmt.Errorf("probe %q is not a URL; write it as tls://HOST:PORT?name=NAME", text)
	}
	scheme, ok := SchemeOf(u.Scheme)
	if !ok {
		return Endpoint{}, fmt.Errorf("probe %q: the scheme %q is not known; use one of %s", text, u.Scheme, schemeNames())
	}
	if u.User != nil || u.Path != "" && u.Path != "/" || u.Fragment != "" || u.Opaque != "" {
		return Endpoint{}, fmt.Errorf("probe %q: only a host, a port and the parameters name, key and proxy have a meaning; write it as %s://HOST:PORT?name=NAME", text, u.Scheme)
	}
	e := Endpoint{Scheme: scheme.Name, Host: u.Hostname(), Port: scheme.Port}
	if e.Host == "" {
		return Endpoint{}, fmt.Errorf("probe %q names no host; write it as %s://127.0.0.1:PORT", text, u.Scheme)
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return Endpoint{}, fmt.Errorf("probe %q: %q is not a port from 1 to 65535", text, p)
		}
		e.Port = uint16(n)
	}
	if e.Port == 0 {
		return Endpoint{}, fmt.Errorf("probe %q needs a port: %s has no usual one", text, u.Scheme)
	}
	host, isHost := ASCII(e.Host)
	if !isHost {
		return Endpoint{}, fmt.Errorf("probe %q: %q is neither a DNS name nor an IP address; write an international name in its xn-- form", text, e.Host)
	}
	if !IsHost(e.Host) {
		e.Host = host
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Endpoint{}, fmt.Errorf("probe %q: the parameters after ? are not well formed", text)
	}
	for _, key := range slices.Sorted(maps.Keys(query)) {
		values := query[key]
		if len(values) != 1 {
			return Endpoint{}, fmt.Errorf("probe %q: the parameter %q stands there more than once", text, key)
		}
		value := values[0]
		name, isHost := ASCII(value)
		switch {
		case key == "name" && isHost:
			e.Name = name
		case key == "key" && (value == "rsa" || value == "ecdsa"):
			e.Key = value
		case key == "proxy" && value == "v1":
			e.Proxy = value
		case key == "proxy":
			return Endpoint{}, fmt.Errorf("probe %q: proxy is v1, not %q", text, value)
		case key == "key":
			return Endpoint{}, fmt.Errorf("probe %q: key is rsa or ecdsa, not %q", text, value)
		case key == "name" && value == "":
			return Endpoint{}, fmt.Errorf("probe %q: name is empty; leave it out to use the leaf's first name", text)
		case key == "name":
			return Endpoint{}, fmt.Errorf("probe %q: %q is neither a DNS name nor an IP address; write an international name in its xn-- form", text, value)
		default:
			return Endpoint{}, fmt.Errorf("probe %q: the parameter %q is not known; name, key and proxy are", text, key)
		}
	}
	return e, nil
}

// label matches a label of RFC 1123 section 2.1, also with underscores, which
// occur. Its length is checked apart: counting in expressions makes every start
// of the program slower.
const label = `[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?`

var dnsNames = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^` + label + `(\.` + label + `)*$`) })

// IsHost reports whether text is a DNS name without a closing dot, or an address.
func IsHost(text string) bool {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Zone() == "" || dnsNames().MatchString(addr.Zone())
	}
	for label := range strings.SplitSeq(text, ".") {
		if len(label) > 63 {
			return false
		}
	}
	return len(text) <= 253 && dnsNames().MatchString(text)
}

// At returns the endpoint for a listening address. For a wildcard address it
// has the loopback address of the family.
func At(scheme string, addr netip.AddrPort, name string) Endpoint {
	ip := addr.Addr().Unmap()
	switch {
	case ip == netip.IPv4Unspecified():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip == netip.IPv6Unspecified():
		ip = netip.IPv6Loopback()
	}
	return Endpoint{Scheme: scheme, Host: ip.String(), Port: addr.Port(), Name: name}
}

// Address returns the address to dial: HOST:PORT.
func (e Endpoint) Address() string {
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// String returns the URL that Parse reads back into the same endpoint.
func (e Endpoint) String() string {
	query := url.Values{}
	if e.Name != "" {
		query.Set("name", e.Name)
	}
	if e.Key != "" {
		query.Set("key", e.Key)
	}
	if e.Proxy != "" {
		query.Set("proxy", e.Proxy)
	}
	u := url.URL{Scheme: e.Scheme, Host: e.Address(), RawQuery: query.Encode()}
	return u.String()
}

func schemeNames() string {
	var names []string
	for _, s := range Schemes() {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}
