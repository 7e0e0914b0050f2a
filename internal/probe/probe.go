// Package probe makes live TLS handshakes to see which certificate a service
// really serves, and repeats them until that is proven.
//
// A handshake reads the chain and judges nothing: whether the chain is trusted,
// valid now or for the right name is not checked. It does not promise to see
// every process behind an address: whoever cannot tell by the processes asks for
// several fresh connections in a row.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
)

// Limit is how long one handshake may take, from the first packet on.
const Limit = 5 * time.Second

// Observation is what one handshake showed: a chain whose leaf's key the
// server has proven to hold, or an error.
type Observation struct {
	Endpoint        endpoint.Endpoint
	Peer            netip.Addr          // whom the connection was made to; invalid: none was
	Chain           []*x509.Certificate // as served, leaf first; nil where Err is not
	Version, Cipher uint16              // of crypto/tls
	ALPN            string              // the protocol agreed on; empty: none
	ClientAuth      bool                // the server asked for a client certificate
	Diverted        bool                // the connection did not end where it was made to
	Err             error               // an *Error
}

// Leaf returns the certificate that the server presented as its own, or nil.
func (o Observation) Leaf() *x509.Certificate {
	if len(o.Chain) == 0 {
		return nil
	}
	return o.Chain[0]
}

// At returns what can be said of another endpoint of the same address without a
// handshake: that there is no connection in time; nil: nothing.
func (o Observation) At(other endpoint.Endpoint) *Observation {
	failed, ok := errors.AsType[*Error](o.Err)
	if !ok || failed.Kind != ConnectTimeout {
		return nil
	}
	return &Observation{Endpoint: other, Err: &Error{Endpoint: other, Kind: ConnectTimeout, Err: failed.Err}}
}

// Ending reports whether a connection ended where it was made to, as far as that is
// known, given the addresses of both sides.
type Ending func(server, client netip.AddrPort) bool

// Protocol returns the name of the version of TLS that was agreed on.
func (o Observation) Protocol() string { return tls.VersionName(o.Version) }

// CipherSuite returns the name of the cipher suite that was agreed on.
func (o Observation) CipherSuite() string { return tls.CipherSuiteName(o.Cipher) }

// Handshake connects to an endpoint, says what the protocol of its scheme wants
// said before TLS, and makes a full TLS handshake, with the endpoint's name as
// SNI (RFC 6066 section 3: never an address) and the ALPN protocols of its
// scheme. Of a host with several addresses it uses the one that answers first:
// to prove each, call it with each.
//
// A server that wants a client certificate breaks off because it gets none.
// By then it has signed with the leaf's key, so that is no error.
//
// An endpoint's Key of "rsa" or "ecdsa" limits the handshake to TLS 1.2 and to
// the cipher suites of that type, because crypto/tls has no setting for the
// signature algorithms that a client offers.
//
// It offers the groups of elliptic curves, and the hybrid ones, which take either
// side some more time, only to a server that refuses those.
//
// For an XMPP domain with an international name it asks as clients do, by its U-labels
// (RFC 7622 section 3.2), and by its A-labels only a server that does not know it so.
func Handshake(ctx context.Context, e endpoint.Endpoint) Observation {
	return HandshakeAsking(ctx, e, nil)
}

// HandshakeAsking is Handshake, and asks while the connection is up whether it ended
// where it was made to.
func HandshakeAsking(ctx context.Context, e endpoint.Endpoint, ended Ending) Observation {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	domain, groups := endpoint.Unicode(e.Name), []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
	seen := handshake(ctx, e, domain, groups, ended)
	failed, _ := errors.AsType[*Error](seen.Err)
	switch {
	case failed == nil:
		return seen
	case failed.Kind == Alert:
		groups = nil
	case failed.Kind == DomainUnknown && domain != e.Name:
		domain = e.Name
	default:
		return seen
	}
	if again := handshake(ctx, e, domain, groups, ended); again.Err == nil {
		return again
	}
	return seen
}

// handshake is Handshake with an XMPP domain in one form, and with some groups (RFC
// 8446 section 4.2.7); nil: all that crypto/tls knows.
func handshake(ctx context.Context, e endpoint.Endpoint, domain string, groups []tls.CurveID, ended Ending) Observation {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", e.Address())
	if err != nil {
		return Observation{Endpoint: e, Err: connectError(e, err)}
	}
	defer conn.Close()
	seen := Observation{Endpoint: e, Peer: peerOf(conn)}
	if err := startTLS(ctx, conn, e, domain); err != nil {
		seen.Err = err
		return seen
	}
	config := seen.config()
	config.CurvePreferences = groups
	if ended != nil {
		config.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { // the server's end is up until it has had an answer
			seen.Diverted = !ended(addressOf(conn.RemoteAddr()), addressOf(conn.LocalAddr()))
			return nil
		}
	}
	client := tls.Client(conn, config)
	err = client.HandshakeContext(ctx)
	if err != nil && !seen.ClientAuth {
		return Observation{Endpoint: e, Peer: seen.Peer, Err: handshakeError(e, err)}
	}
	client.Close() // sends close_notify, whose absence some servers log
	return seen
}

// Addresses returns the addresses that a name leads to now, as Handshake finds them;
// none: it leads nowhere, or that could not be found out in time.
func Addresses(ctx context.Context, name string) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil
	}
	for i, ip := range found {
		found[i] = ip.Unmap()
	}
	return found
}

// peerOf returns the address that a connection was made to.
func peerOf(conn net.Conn) netip.Addr { return addressOf(conn.RemoteAddr()).Addr() }

func addressOf(addr net.Addr) netip.AddrPort {
	at, is := addr.(*net.TCPAddr)
	if !is {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(at.AddrPort().Addr().Unmap(), uint16(at.Port))
}

// config returns the configuration of a client that notes what it sees in the
// observation. It never resumes a session.
func (o *Observation) config() *tls.Config {
	scheme, _ := endpoint.SchemeOf(o.Endpoint.Scheme)
	config := &tls.Config{
		ServerName:         o.Endpoint.Name,
		NextProtos:         scheme.ALPN,
		MinVersion:         tls.VersionTLS10, // which versions a service speaks is not judged, and no data is sent
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			o.Chain, o.ALPN = state.PeerCertificates, state.NegotiatedProtocol
			o.Version, o.Cipher = state.Version, state.CipherSuite
			return nil
		},
		// Both protocol versions come here only after the server's signature
		// was checked (crypto/tls handshake_client.go and
		// handshake_client_tls13.go of Go 1.26).
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			o.ClientAuth = true
			return new(tls.Certificate), nil
		},
	}
	if o.Endpoint.Key != "" {
		config.MaxVersion = tls.VersionTLS12
		config.CipherSuites = cipherSuites(o.Endpoint.Key)
	}
	return config
}

// cipherSuites returns the cipher suites of TLS 1.2 that need a type of key.
// All have ECDHE, for which the server has to sign with the key.
func cipherSuites(key string) []uint16 {
	var found []uint16
	for _, suite := range tls.CipherSuites() {
		if strings.HasPrefix(suite.Name, fmt.Sprintf("TLS_ECDHE_%s_", strings.ToUpper(key))) {
			found = append(found, suite.ID)
		}
	}
	return found
}
