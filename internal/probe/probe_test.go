package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"

	"github.com/certlatch/certlatch/internal/need"
)

// listen listens on a loopback address until the end of the test.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	need.That(t, !errors.Is(err, syscall.EADDRNOTAVAIL), "needs the address "+address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// accept calls answer with every connection to a listener, until the test ends.
func accept(t *testing.T, listener net.Listener, answer func(net.Conn)) endpoint.Endpoint {
	t.Helper()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return endpoint.At("tls", netip.MustParseAddrPort(listener.Addr().String()), "a.example")
}

// serve returns the endpoint of a TLS server.
func serve(t *testing.T, config *tls.Config) endpoint.Endpoint {
	t.Helper()
	return accept(t, listen(t, "127.0.0.1:0"), func(conn net.Conn) {
		server := tls.Server(conn, config)
		if server.Handshake() == nil {
			io.Copy(io.Discard, server) // until the client closes the connection
		}
	})
}

func pair(t *testing.T, l pki.Leaf) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(l.Fullchain, l.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestHandshakeReadsChain(t *testing.T) {
	leaf := pki.NewCA(t, "root").Intermediate(t, "between").Leaf(t)
	seen := Handshake(t.Context(), serve(t, &tls.Config{Certificates: []tls.Certificate{pair(t, leaf)}}))
	if seen.Err != nil {
		t.Fatal(seen.Err)
	}
	var issuers []string
	for _, cert := range seen.Chain {
		issuers = append(issuers, cert.Issuer.CommonName)
	}
	if diff := cmp.Diff([]string{"between", "root"}, issuers); diff != "" {
		t.Errorf("issuers of the chain (-want +got):\n%s", diff)
	}
	if !seen.Leaf().Equal(leaf.Cert) || seen.Version != tls.VersionTLS13 || seen.Cipher == 0 || seen.ALPN != "" || seen.ClientAuth {
		t.Errorf("saw %+v", seen)
	}
}

func TestHandshakeOverIPv6(t *testing.T) {
	leaf := pki.SelfSigned(t)
	config := &tls.Config{Certificates: []tls.Certificate{pair(t, leaf)}}
	e := accept(t, listen(t, "[::1]:0"), func(conn net.Conn) { tls.Server(conn, config).Handshake() })
	if seen := Handshake(t.Context(), e); seen.Err != nil || !seen.Leaf().Equal(leaf.Cert) {
		t.Errorf("%s: %v", e, seen.Err)
	}
}

func TestHandshakeOffersALPN(t *testing.T) {
	e := serve(t, &tls.Config{Certificates: []tls.Certificate{pair(t, pki.SelfSigned(t))}, NextProtos: []string{"http/1.1", "xmpp-client", "xmpp-server"}})
	for scheme, want := range map[string]string{"https": "http/1.1", "tls": "", "sips": "", "xmpps-client": "xmpp-client", "xmpps-server": "xmpp-server"} {
		e.Scheme = scheme
		if seen := Handshake(t.Context(), e); seen.Err != nil || seen.ALPN != want {
			t.Errorf("%s agreed on %q, want %q (%v)", scheme, seen.ALPN, want, seen.Err)
		}
	}
}

// TestHandshakeOffersGroups wants hybrid groups to be offered only to a server that
// takes no others.
func TestHandshakeOffersGroups(t *testing.T) {
	leaf := pair(t, pki.SelfSigned(t))
	hellos := make(chan []tls.CurveID, 4)
	for _, test := range []struct {
		takes, offered []tls.CurveID
		handshakes     int
	}{
		{nil, []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}, 1},
		{[]tls.CurveID{tls.CurveP384}, []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}, 1},
		{[]tls.CurveID{tls.X25519MLKEM768}, []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}, 2},
	} {
		e := serve(t, &tls.Config{Certificates: []tls.Certificate{leaf}, CurvePreferences: test.takes, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			hellos <- hello.SupportedCurves
			return nil, nil
		}})
		if seen := Handshake(t.Context(), e); seen.Err != nil {
			t.Errorf("a server that takes %v: %v", test.takes, seen.Err)
		}
		if len(hellos) != test.handshakes {
			t.Errorf("a server that takes %v: %d handshakes", test.takes, len(hellos))
		}
		if offered := <-hellos; !slices.Equal(offered, test.offered) {
			t.Errorf("offered are %v", offered)
		}
		for range test.handshakes - 1 {
			if offered := <-hellos; !slices.Contains(offered, tls.X25519MLKEM768) {
				t.Errorf("offered again are %v", offered)
			}
		}
	}
}

func TestHandshakeSendsName(t *testing.T) {
	a, b := pki.SelfSigned(t, pki.Names("a.example")), pki.SelfSigned(t, pki.Names("b.example"))
	nameless := pki.SelfSigned(t, pki.Names("127.0.0.1"))
	leaves := map[string]tls.Certificate{"a.example": pair(t, a), "b.example": pair(t, b), "": pair(t, nameless)}
	e := serve(t, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		leaf := leaves[hello.ServerName]
		return &leaf, nil
	}})
	for name, want := range map[string]*x509.Certificate{"a.example": a.Cert, "b.example": b.Cert, "127.0.0.1": nameless.Cert, "": nameless.Cert} {
		e.Name = name
		if seen := Handshake(t.Context(), e); seen.Err != nil || !seen.Leaf().Equal(want) {
			t.Errorf("name %q was not answered with its leaf (%v)", name, seen.Err)
		}
	}
}

// TestHandshakeNeverResumes wants a server that caches sessions to show its
// certificate each time.
func TestHandshakeNeverResumes(t *testing.T) {
	e := serve(t, &tls.Config{Certificates: []tls.Certificate{pair(t, pki.SelfSigned(t))}, MaxVersion: tls.VersionTLS12})
	for range 3 {
		if seen := Handshake(t.Context(), e); seen.Err != nil || seen.Leaf() == nil {
			t.Fatal(seen.Err)
		}
	}
}

func TestHandshakeWithoutClientCertificate(t *testing.T) {
	leaf := pki.SelfSigned(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		e := serve(t, &tls.Config{Certificates: []tls.Certificate{pair(t, leaf)}, MaxVersion: version, ClientAuth: tls.RequireAnyClientCert})
		e.Scheme = "sips" // whose servers may ask for a client certificate, as OpenSIPS does by default
		seen := Handshake(t.Context(), e)
		if seen.Err != nil || !seen.Leaf().Equal(leaf.Cert) || !seen.ClientAuth || seen.Version != version {
			t.Errorf("%s: saw %+v", tls.VersionName(version), seen)
		}
	}
}

// TestHandshakeDemandsKeyOfLeaf wants a server that shows a leaf without having
// its key to be no proof.
func TestHandshakeDemandsKeyOfLeaf(t *testing.T) {
	shown, held := pair(t, pki.SelfSigned(t)), pair(t, pki.SelfSigned(t))
	shown.PrivateKey = held.PrivateKey
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		e := serve(t, &tls.Config{Certificates: []tls.Certificate{shown}, MaxVersion: version, ClientAuth: tls.RequireAnyClientCert})
		seen := Handshake(t.Context(), e)
		if kindOfError(t, seen.Err) != Broken || seen.Leaf() != nil {
			t.Errorf("%s: saw %+v", tls.VersionName(version), seen)
		}
	}
}

func TestHandshakeByKeyType(t *testing.T) {
	ecdsa, rsa := pki.SelfSigned(t), pki.SelfSigned(t, pki.RSA(2048))
	both := []tls.Certificate{pair(t, ecdsa), pair(t, rsa)}
	for _, c := range []struct {
		name   string
		config *tls.Config
		key    string
		want   *x509.Certificate
		kind   Kind
	}{
		{name: "ECDSA of both", config: &tls.Config{Certificates: both}, key: "ecdsa", want: ecdsa.Cert},
		{name: "RSA of both", config: &tls.Config{Certificates: both}, key: "rsa", want: rsa.Cert},
		{name: "RSA where only ECDSA is", config: &tls.Config{Certificates: both[:1]}, key: "rsa", kind: NoSuchKey},
		{name: "ECDSA where only RSA is", config: &tls.Config{Certificates: both[1:]}, key: "ecdsa", kind: NoSuchKey},
		{name: "TLS 1.3 only", config: &tls.Config{Certificates: both, MinVersion: tls.VersionTLS13}, key: "rsa", kind: KeyUnprovable},
		{name: "TLS 1.3 only, no type asked for", config: &tls.Config{Certificates: both[1:], MinVersion: tls.VersionTLS13}, want: rsa.Cert},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := serve(t, c.config)
			e.Key = c.key
			seen := Handshake(t.Context(), e)
			if c.want == nil {
				if kind := kindOfError(t, seen.Err); kind != c.kind {
					t.Errorf("%v is of the kind %s, want %s", seen.Err, kind, c.kind)
				}
				return
			}
			if seen.Err != nil || !seen.Leaf().Equal(c.want) {
				t.Errorf("saw another leaf than that with the %s key (%v)", c.key, seen.Err)
			}
		})
	}
}

func TestHandshakeErrors(t *testing.T) {
	none := func(net.Conn) {}
	for _, c := range []struct {
		name     string
		endpoint func(*testing.T) endpoint.Endpoint
		limit    time.Duration
		kind     Kind
		says     string
	}{
		{name: "nothing listens", kind: Refused, says: "nothing listens there", endpoint: func(t *testing.T) endpoint.Endpoint {
			return endpoint.Endpoint{Scheme: "tls", Host: "127.0.0.1", Port: uint16(need.Port(t))}
		}},
		{name: "unknown host", kind: Unreachable, says: "no connection", endpoint: func(t *testing.T) endpoint.Endpoint {
			return endpoint.Endpoint{Scheme: "tls", Host: "no host", Port: 443}
		}},
		{name: "full backlog", kind: ConnectTimeout, limit: 100 * time.Millisecond, says: "no connection in time", endpoint: fullBacklog},
		{name: "silent", kind: HandshakeTimeout, limit: time.Second, says: "connected, but", endpoint: func(t *testing.T) endpoint.Endpoint {
			return accept(t, listen(t, "127.0.0.1:0"), func(conn net.Conn) { io.Copy(io.Discard, conn) })
		}},
		{name: "another protocol", kind: NotTLS, says: "does not speak TLS", endpoint: func(t *testing.T) endpoint.Endpoint {
			return accept(t, listen(t, "127.0.0.1:0"), func(conn net.Conn) {
				io.WriteString(conn, "220 mail.example ESMTP\r\n")
				io.Copy(io.Discard, conn)
			})
		}},
		{name: "hangs up", kind: Closed, says: "closed during", endpoint: func(t *testing.T) endpoint.Endpoint {
			return accept(t, listen(t, "127.0.0.1:0"), none)
		}},
		{name: "unknown name", kind: NameUnknown, says: `"a.example"`, endpoint: func(t *testing.T) endpoint.Endpoint {
			return alerting(t, 112)
		}},
		{name: "other alert", kind: Alert, says: "internal error", endpoint: func(t *testing.T) endpoint.Endpoint {
			return alerting(t, 80)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			if c.limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.limit)
				defer cancel()
			}
			seen := Handshake(ctx, c.endpoint(t))
			if kind := kindOfError(t, seen.Err); kind != c.kind {
				t.Errorf("%v is of the kind %s, want %s", seen.Err, kind, c.kind)
			}
			if !strings.Contains(seen.Err.Error(), c.says) {
				t.Errorf("error %q does not say %q", seen.Err, c.says)
			}
			if seen.Leaf() != nil {
				t.Error("there is a leaf all the same")
			}
		})
	}
}

func kindOfError(t *testing.T, err error) Kind {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%v is not an *Error", err)
	}
	return e.Kind
}

// alerting returns the endpoint of a server that answers every ClientHello with
// a fatal alert (RFC 8446 section 6).
func alerting(t *testing.T, alert byte) endpoint.Endpoint {
	return accept(t, listen(t, "127.0.0.1:0"), func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			return
		}
		conn.Write([]byte{21, 3, 3, 0, 2, 2, alert})
		io.Copy(io.Discard, conn)
	})
}

// fullBacklog returns the endpoint of a listener whose backlog is full: Linux
// drops packets that ask for a further connection.
func fullBacklog(t *testing.T) endpoint.Endpoint {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(bound.(*syscall.SockaddrInet4).Port))
	conn, err := net.Dial("tcp", addr.String()) // there is room for one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return endpoint.At("tls", addr, "a.example")
}

// inTurn returns the endpoint of a server that shows one leaf after another,
// and then always the last.
func inTurn(t *testing.T, leaves ...pki.Leaf) endpoint.Endpoint {
	pairs := make(chan tls.Certificate, len(leaves))
	for _, l := range leaves {
		pairs <- pair(t, l)
	}
	last := pair(t, leaves[len(leaves)-1])
	return serve(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		select {
		case next := <-pairs:
			return &next, nil
		default:
			return &last, nil
		}
	}})
}

// pace is short, since servers here do not change by themselves.
const pace = time.Millisecond

// want is that an endpoint shows a leaf so often in a row.
func want(e endpoint.Endpoint, inARow int, leaves ...pki.Leaf) Want {
	w := Want{Endpoint: e, InARow: inARow, Pace: pace}
	for _, l := range leaves {
		w.Fingerprints = append(w.Fingerprints, lineage.Fingerprint(l.Cert))
	}
	return w
}

// later is a time that no test comes to.
func later() time.Time { return time.Now().Add(time.Hour) }

func TestProve(t *testing.T) {
	old, fresh := pki.SelfSigned(t), pki.SelfSigned(t)
	wants := []Want{
		want(inTurn(t, fresh), 3, fresh),
		want(inTurn(t, old, old, fresh), 3, fresh),
		want(inTurn(t, old, fresh, fresh, old, fresh), 3, fresh),
		want(inTurn(t, old, fresh), 3, fresh, old),
		want(inTurn(t, old, fresh), 1, fresh),
	}
	seen := Prove(t.Context(), later(), wants, len(wants))
	var tries []int
	for i, s := range seen {
		if !s.Proven || s.Err != nil || s.Hits != wants[i].InARow || s.Endpoint != wants[i].Endpoint {
			t.Errorf("endpoint %d: %+v", i, s)
		}
		tries = append(tries, s.Tries)
	}
	if diff := cmp.Diff([]int{3, 5, 7, 3, 2}, tries); diff != "" {
		t.Errorf("handshakes (-want +got):\n%s", diff)
	}
}

func TestProveFails(t *testing.T) {
	old, fresh := pki.SelfSigned(t), pki.SelfSigned(t)
	gone := accept(t, listen(t, "127.0.0.1:0"), func(net.Conn) {})
	until := time.Now().Add(2 * time.Second) // for a handshake each
	seen := Prove(t.Context(), until, []Want{want(inTurn(t, old), 2, fresh), want(gone, 2, fresh), want(inTurn(t, fresh), 2)}, 3)
	for i, want := range []string{
		"instead of " + lineage.Fingerprint(fresh.Cert)[:8],
		"closed during the TLS handshake",
		"serves certificate " + lineage.Fingerprint(fresh.Cert)[:8],
	} {
		_, typed := errors.AsType[*NotProvenError](seen[i].Err)
		if seen[i].Proven || !typed || !strings.Contains(seen[i].Err.Error(), want) {
			t.Errorf("endpoint %d: %v does not say %q", i, seen[i].Err, want)
		}
	}
	if _, ok := errors.AsType[*Error](seen[1].Err); !ok {
		t.Errorf("%v hides why", seen[1].Err)
	}
}

// TestProveFinishesRow wants a row that goes well when the time is over to come to
// its end, and none to begin then.
func TestProveFinishesRow(t *testing.T) {
	old, fresh := pki.SelfSigned(t), pki.SelfSigned(t)
	until := time.Now().Add(2 * time.Second) // for a handshake each
	// late shows a leaf, and some time after the time is over another.
	late := func(before, then pki.Leaf) endpoint.Endpoint {
		first, next := pair(t, before), pair(t, then)
		var shown atomic.Int32
		return serve(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if shown.Add(1) == 1 {
				return &first, nil
			}
			<-time.After(time.Until(until) + 200*time.Millisecond)
			return &next, nil
		}})
	}
	seen := Prove(t.Context(), until, []Want{want(late(fresh, fresh), 4, fresh), want(late(old, fresh), 4, fresh), want(late(fresh, old), 4, fresh)}, 3)
	if s := seen[0]; !s.Proven || s.Tries != 4 {
		t.Errorf("a row that goes well ended with %+v", s)
	}
	if s := seen[1]; s.Proven || s.Tries != 1 || s.Hits != 0 {
		t.Errorf("a row that had not begun ended with %+v", s)
	}
	if s := seen[2]; s.Proven || s.Tries != 2 || s.Hits != 0 {
		t.Errorf("a row that was broken ended with %+v", s)
	}
}

// TestProveAtOnce wants no more handshakes to go on at once than may, and all of
// them to be made.
func TestProveAtOnce(t *testing.T) {
	fresh := pki.SelfSigned(t)
	leaf := pair(t, fresh)
	var going, most atomic.Int32
	e := serve(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		now := going.Add(1)
		defer going.Add(-1)
		for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
		}
		return &leaf, nil
	}})
	wants := slices.Repeat([]Want{want(e, 2, fresh)}, 50)
	for i, s := range Prove(t.Context(), later(), wants, 2) {
		if !s.Proven {
			t.Errorf("endpoint %d: %v", i, s.Err)
		}
	}
	if most.Load() > 2 {
		t.Errorf("%d handshakes went on at once", most.Load())
	}
}

func TestProveSaysHowFarItCame(t *testing.T) {
	fresh := pki.SelfSigned(t)
	ctx, cancel := context.WithCancel(t.Context())
	var shown atomic.Int32
	leaf := pair(t, fresh)
	e := serve(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if shown.Add(1) > 2 {
			cancel()
		}
		return &leaf, nil
	}})
	seen := Prove(ctx, later(), []Want{want(e, 10, fresh)}, 1)[0]
	if seen.Proven || seen.Hits < 2 || !strings.Contains(seen.Err.Error(), "as it should, but the time was over") {
		t.Errorf("saw %+v", seen)
	}
}

// expiring is a context whose time may be over without its having noticed.
type expiring struct {
	context.Context
	expired atomic.Bool
}

func (e *expiring) Deadline() (time.Time, bool) { return time.Unix(1, 0), e.expired.Load() }

// A handshake that was cut short says less than the one before.
func TestProveIsCutShort(t *testing.T) {
	fresh := pki.SelfSigned(t)
	parent, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ctx := &expiring{Context: parent}
	leaf := pair(t, fresh)
	e := serve(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		ctx.expired.Store(true)
		return &leaf, nil
	}})
	seen := Prove(ctx, later(), []Want{want(e, 4, fresh)}, 1)[0]
	if seen.Proven || seen.Hits != 1 || seen.Tries != 1 || seen.Last.Err != nil {
		t.Errorf("saw %+v", seen)
	}
}

// TestProveEndsWhereKeyIsUnprovable wants no further handshake where the wanted
// type of key cannot be proven.
func TestProveEndsWhereKeyIsUnprovable(t *testing.T) {
	leaf := pki.SelfSigned(t)
	e := serve(t, &tls.Config{Certificates: []tls.Certificate{pair(t, leaf)}, MinVersion: tls.VersionTLS13})
	e.Key = "ecdsa"
	ctx, cancel := context.WithTimeout(t.Context(), Limit)
	defer cancel()
	seen := Prove(ctx, later(), []Want{want(e, 4, leaf)}, 1)[0]
	if seen.Proven || seen.Tries != 1 || kindOfError(t, seen.Err) != KeyUnprovable {
		t.Errorf("saw %+v", seen)
	}
}

func TestProveTriesOnce(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{over, t.Context()} {
		seen := Prove(ctx, time.Now(), []Want{want(inTurn(t, pki.SelfSigned(t)), 1)}, 1)[0]
		if seen.Proven || seen.Tries != 1 || kindOfError(t, seen.Err) != ConnectTimeout {
			t.Errorf("saw %+v", seen)
		}
	}
}
