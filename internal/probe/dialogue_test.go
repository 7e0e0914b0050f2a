package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/pki"
)

// turn is what a server must hear, byte by byte, and what it says then.
type turn struct{ hears, says string }

const (
	clientHeader = "<?xml version='1.0'?><stream:stream to='a.example' version='1.0' xml:lang='en' " +
		"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
	serverHeader = "<?xml version='1.0'?><stream:stream to='a.example' version='1.0' xml:lang='en' " +
		"xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams'>"
	startTLSTag = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

	// These are of Prosody 13.0.1.
	streamHeader = "<?xml version='1.0'?><stream:stream version='1.0' xmlns='jabber:client' from='a.example' " +
		"xml:lang='en' id='1b6c' xmlns:stream='http://etherx.jabber.org/streams'>"
	offersTLS = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
	proceed   = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
)

// The dialogues as they should go.
var good = map[string][]turn{
	"xmpp-client": {{clientHeader, streamHeader + offersTLS}, {startTLSTag, proceed}},
	"xmpp-server": {{serverHeader, strings.Replace(streamHeader, "client", "server", 1) + offersTLS}, {startTLSTag, proceed}},
	"smtp": {
		{"", "220 mail.a.example ESMTP Postfix\r\n"},
		{"EHLO [127.0.0.1]\r\n", "250-mail.a.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 CHUNKING\r\n"},
		{"STARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n"},
	},
	"imap": {
		{"", "* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.\r\n"},
		{"A1 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\nA1 OK Done.\r\n"},
		{"A2 STARTTLS\r\n", "A2 OK Begin TLS negotiation now.\r\n"},
	},
	"pop3": {
		{"", "+OK Dovecot ready.\r\n"},
		{"STLS\r\n", "+OK Begin TLS negotiation now.\r\n"},
	},
}

// play plays the server's turns, and reports whether it came to their end. It
// fails the test where the client says something else.
func play(t *testing.T, conn net.Conn, turns []turn) bool {
	for _, turn := range turns {
		heard := make([]byte, len(turn.hears))
		if n, err := io.ReadFull(conn, heard); err != nil || string(heard) != turn.hears {
			t.Errorf("the server heard %q (%v), want %q", heard[:n], err, turn.hears)
			return false
		}
		if _, err := io.WriteString(conn, turn.says); err != nil {
			return false
		}
	}
	return true
}

// talk returns the endpoint of a server that plays its turns, and then calls
// then.
func talk(t *testing.T, scheme string, turns []turn, then func(net.Conn)) endpoint.Endpoint {
	t.Helper()
	listener := listen(t, "127.0.0.1:0")
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if play(t, conn, turns) && then != nil {
			then(conn)
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return endpoint.At(scheme, netip.MustParseAddrPort(listener.Addr().String()), "a.example")
}

// silence keeps a connection open until the client closes it.
func silence(conn net.Conn) { io.Copy(io.Discard, conn) }

func TestDialogue(t *testing.T) {
	leaf := pki.SelfSigned(t)
	tlsServer := func(conn net.Conn) {
		tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair(t, leaf)}}).Handshake()
		silence(conn)
	}
	cases := map[string]struct {
		scheme string
		turns  []turn
	}{
		"space in the stream": {"xmpp-client", []turn{
			{clientHeader, streamHeader + " \n" + offersTLS + "\n"},
			{startTLSTag, "\n " + proceed},
		}},
		"a prefix, an end tag, and a > in quotes": {"xmpp-client", []turn{
			{clientHeader, "<s:stream xmlns:s='http://etherx.jabber.org/streams' id='>'><s:features><a><b/></a><t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'/></s:features>"},
			{startTLSTag, "<t:proceed a='/>' xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'>\n</t:proceed >"},
		}},
		"codes alone": {"smtp", []turn{
			{"", "220\r\n"},
			{"EHLO [127.0.0.1]\r\n", "250-x\r\n250 starttls\r\n"},
			{"STARTTLS\r\n", "220-go\r\n220\r\n"},
		}},
		"lower case, lines between": {"imap", []turn{
			{"", "* ok hello\r\n"},
			{"A1 CAPABILITY\r\n", "* capability imap4rev2 starttls\r\n* OK [ALERT] mind the gap\r\na1 ok\r\n"},
			{"A2 STARTTLS\r\n", "* OK soon\r\na2 OK\r\n"},
		}},
	}
	for scheme, turns := range good {
		c := cases[scheme]
		c.scheme, c.turns = scheme, turns
		cases[scheme] = c
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if seen := Handshake(t.Context(), talk(t, c.scheme, c.turns, tlsServer)); seen.Err != nil || !seen.Leaf().Equal(leaf.Cert) {
				t.Errorf("saw %+v", seen)
			}
		})
	}
}

// TestInternationalDomain wants a domain to be asked for by its U-labels, and by its
// A-labels only where the server does not know it so.
func TestInternationalDomain(t *testing.T) {
	leaf := pki.SelfSigned(t)
	by := func(domain string) string { return strings.Replace(clientHeader, "a.example", domain, 1) }
	unknown := streamHeader + "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
	for _, conversations := range [][][]turn{
		{{{by("münchen.example"), streamHeader + offersTLS}, {startTLSTag, proceed}}},
		{{{by("münchen.example"), unknown}}, {{by("xn--mnchen-3ya.example"), streamHeader + offersTLS}, {startTLSTag, proceed}}},
	} {
		listener := listen(t, "127.0.0.1:0")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, turns := range conversations {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				if play(t, conn, turns) && len(turns) > 1 {
					tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair(t, leaf)}}).Handshake()
				}
				silence(conn)
				conn.Close()
			}
		}()
		e := endpoint.At("xmpp-client", netip.MustParseAddrPort(listener.Addr().String()), "xn--mnchen-3ya.example")
		if seen := Handshake(t.Context(), e); seen.Err != nil || !seen.Leaf().Equal(leaf.Cert) {
			t.Errorf("saw %+v", seen)
		}
		listener.Close()
		<-done
	}
}

// TestDialogueRefusesWhatIsBehind wants whatever comes behind the server's
// go-ahead to be refused before TLS starts, also what looks like TLS.
func TestDialogueRefusesWhatIsBehind(t *testing.T) {
	for scheme, turns := range good {
		for _, words := range []string{"250 injected\r\n", "\x16\x03\x03next", " "} {
			t.Run(scheme, func(t *testing.T) {
				seen := Handshake(t.Context(), talk(t, scheme, behind(turns, words), silence))
				if kindOfError(t, seen.Err) != NotTLS || !strings.Contains(seen.Err.Error(), fmt.Sprintf("agreed to start TLS, but before that began it said %q", words)) || seen.Leaf() != nil {
					t.Errorf("saw %+v", seen)
				}
			})
		}
	}
}

// TestDialogueWithLateWords wants words that come behind the go-ahead when TLS
// has started to make the handshake fail.
func TestDialogueWithLateWords(t *testing.T) {
	for scheme, turns := range good {
		t.Run(scheme, func(t *testing.T) {
			seen := Handshake(t.Context(), talk(t, scheme, turns, func(conn net.Conn) {
				if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // of the client's hello
					t.Error(err)
				}
				io.WriteString(conn, "250 injected\r\n")
				silence(conn)
			}))
			if kindOfError(t, seen.Err) != NotTLS || !strings.Contains(seen.Err.Error(), "what it sent then is not TLS") || seen.Leaf() != nil {
				t.Errorf("saw %+v", seen)
			}
		})
	}
}

// counted counts the calls that read from a connection.
type counted struct {
	net.Conn
	reads int
}

func (c *counted) Read(into []byte) (int, error) {
	c.reads++
	return c.Conn.Read(into)
}

// TestDialogueReadsInBlocks wants a read for what a server says at a time, and
// not one for each of its bytes.
func TestDialogueReadsInBlocks(t *testing.T) {
	for scheme, turns := range good {
		t.Run(scheme, func(t *testing.T) {
			e := talk(t, scheme, turns, silence)
			conn, err := net.Dial("tcp", e.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c := &counted{Conn: conn}
			if err := startTLS(t.Context(), c, e, e.Name); err != nil {
				t.Fatal(err)
			}
			if c.reads > len(turns) { // each turn is one write of the server
				t.Errorf("%d reads for %d answers", c.reads, len(turns))
			}
		})
	}
}

// TestDialogueInSmallPieces wants it not to matter how the server's words are cut
// into segments, and no byte to be read that is TLS's.
func TestDialogueInSmallPieces(t *testing.T) {
	for scheme, turns := range good {
		t.Run(scheme, func(t *testing.T) {
			e := talk(t, scheme, turns, func(conn net.Conn) { io.WriteString(conn, "rest") })
			conn, err := net.Dial("tcp", e.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := startTLS(t.Context(), byByte{conn}, e, e.Name); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(conn); string(rest) != "rest" || err != nil {
				t.Errorf("%q is left for TLS (%v)", rest, err)
			}
		})
	}
}

// byByte is a connection on which each byte comes alone.
type byByte struct{ net.Conn }

func (c byByte) Read(into []byte) (int, error) { return c.Conn.Read(into[:min(len(into), 1)]) }

// behind returns turns with words after what the server says last.
func behind(turns []turn, words string) []turn {
	turns = append([]turn{}, turns...)
	turns[len(turns)-1].says += words
	return turns
}

func TestDialogueFails(t *testing.T) {
	streamError := func(condition string) string {
		return streamHeader + "<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" +
			"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>no\x7f luck</text></stream:error></stream:stream>"
	}
	smtp, imap := good["smtp"], good["imap"]
	for _, c := range []struct {
		name   string
		scheme string
		turns  []turn
		then   func(net.Conn)
		kind   Kind
		says   string
	}{
		{name: "unknown domain", scheme: "xmpp-client", turns: []turn{{clientHeader, streamError("host-unknown")}}, kind: DomainUnknown, says: `does not serve the XMPP domain "a.example" (stream error host-unknown)`},
		{name: "other stream error", scheme: "xmpp-server", turns: []turn{{serverHeader, streamError("policy-violation")}}, kind: TurnedAway, says: `policy-violation "no\x7f luck"`},
		{name: "stream error after starttls", scheme: "xmpp-client", turns: []turn{{clientHeader, streamHeader + offersTLS}, {startTLSTag, strings.TrimPrefix(streamError("not-authorized"), streamHeader)}}, kind: TurnedAway, says: "not-authorized"},
		{name: "no starttls", scheme: "xmpp-client", turns: []turn{{clientHeader, streamHeader + "<stream:features/>"}}, kind: NoSTARTTLS, says: `no STARTTLS for the XMPP domain "a.example"`},
		{name: "nothing at all", scheme: "xmpp-client", turns: []turn{{clientHeader, strings.Replace(streamError("undefined-condition"), "no\x7f luck", "No stream features to proceed with", 1)}}, kind: NoSTARTTLS, says: "could not load certificate and key"},
		{name: "starttls of another namespace", scheme: "xmpp-client", turns: []turn{{clientHeader, streamHeader + "<stream:features><starttls/></stream:features>"}}, kind: NoSTARTTLS, says: "no STARTTLS"},
		{name: "failure", scheme: "xmpp-client", turns: []turn{{clientHeader, streamHeader + offersTLS}, {startTLSTag, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"}}, kind: TurnedAway, says: "refuses to go on"},
		{name: "closed at once", scheme: "xmpp-client", turns: []turn{{clientHeader, ""}}, kind: Closed, says: "closed before an XMPP stream came"},
		{name: "closed in the middle", scheme: "xmpp-client", turns: []turn{{clientHeader, streamHeader + "<stream:fea"}}, kind: Closed, says: `closed before an XMPP stream came; it only said "<?xml`},
		{name: "stream closed", scheme: "xmpp-client", turns: []turn{{clientHeader, streamHeader + "</stream:stream>"}}, then: silence, kind: Closed, says: "closed before"},
		{name: "closed after starttls", scheme: "xmpp-client", turns: []turn{{clientHeader, streamHeader + offersTLS}, {startTLSTag, ""}}, kind: Closed, says: "closed before the answer to starttls came"},
		{name: "half a proceed", scheme: "xmpp-client", turns: []turn{{clientHeader, streamHeader + offersTLS}, {startTLSTag, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'"}}, kind: Closed, says: "closed before"},
		{name: "proceed of another namespace", scheme: "xmpp-client", turns: []turn{{clientHeader, streamHeader + offersTLS}, {startTLSTag, "<proceed/>"}}, then: silence, kind: OtherProtocol, says: "<proceed>"},
		{name: "TLS at once", scheme: "xmpp-client", turns: []turn{{clientHeader, "\x15\x03\x03\x00\x02\x02\x46"}}, kind: OtherProtocol, says: "speaks TLS at once"},
		{name: "a web page", scheme: "xmpp-client", turns: []turn{{clientHeader, "HTTP/1.1 400 Bad Request\r\n\r\n<html>"}}, then: silence, kind: OtherProtocol, says: "does not speak XMPP: it said <html>"},
		{name: "entities", scheme: "xmpp-client", turns: []turn{{clientHeader, "<!DOCTYPE a [<!ENTITY b 'c'>]>" + streamHeader + "<stream:features>&b;"}}, then: silence, kind: OtherProtocol, says: "did not send an XMPP stream"},
		{name: "features without end", scheme: "xmpp-client", turns: []turn{{clientHeader, streamHeader + "<stream:features>" + strings.Repeat("<a/>", clearLimit)}}, kind: OtherProtocol, says: "65536 bytes without coming to an end"},

		{name: "greeting refuses", scheme: "smtp", turns: []turn{{"", "554 go away\r\n"}}, kind: TurnedAway, says: `answered the connection with "554 go away"`},
		{name: "no EHLO", scheme: "smtp", turns: []turn{smtp[0], {"EHLO [127.0.0.1]\r\n", "502 what?\r\n"}}, kind: TurnedAway, says: `answered EHLO with "502 what?"`},
		{name: "no STARTTLS", scheme: "smtp", turns: []turn{smtp[0], {"EHLO [127.0.0.1]\r\n", "250-x\r\n250 XSTARTTLS\r\n"}}, kind: NoSTARTTLS, says: "offers no STARTTLS"},
		{name: "TLS not available", scheme: "smtp", turns: []turn{smtp[0], smtp[1], {"STARTTLS\r\n", "454 4.7.0 TLS not available\x1b[2J\r\n"}}, kind: TurnedAway, says: `"454 4.7.0 TLS not available\x1b[2J"`},
		{name: "SSH", scheme: "smtp", turns: []turn{{"", "SSH-2.0-OpenSSH\r\n"}}, kind: OtherProtocol, says: "does not speak SMTP"},
		{name: "greeting without end", scheme: "smtp", turns: []turn{{"", strings.Repeat("220-hello\r\n", clearLimit)}}, kind: OtherProtocol, says: "65536 bytes"},
		{name: "line without end", scheme: "smtp", turns: []turn{{"", strings.Repeat("2", 2*clearLimit)}}, kind: OtherProtocol, says: "65536 bytes"},
		{name: "closed after EHLO", scheme: "smtp", turns: []turn{smtp[0], {"EHLO [127.0.0.1]\r\n", "250-x\r\n"}}, kind: Closed, says: "closed before the answer to EHLO came"},

		{name: "logged in already", scheme: "imap", turns: []turn{{"", "* PREAUTH hello\r\n"}}, kind: NoSTARTTLS, says: "PREAUTH"},
		{name: "bye", scheme: "imap", turns: []turn{{"", "* BYE too many\r\n"}}, kind: TurnedAway, says: `"* BYE too many"`},
		{name: "mail of another kind", scheme: "imap", turns: []turn{{"", "+OK POP3\r\n"}}, kind: OtherProtocol, says: "does not speak IMAP"},
		{name: "no capability", scheme: "imap", turns: []turn{imap[0], {"A1 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1\r\nA1 OK\r\n"}}, kind: NoSTARTTLS, says: "offers no STARTTLS"},
		{name: "STARTTLS refused", scheme: "imap", turns: []turn{imap[0], imap[1], {"A2 STARTTLS\r\n", "A2 BAD not now\r\n"}}, kind: TurnedAway, says: `answered STARTTLS with "A2 BAD not now"`},
		{name: "bye instead", scheme: "imap", turns: []turn{imap[0], imap[1], {"A2 STARTTLS\r\n", "* BYE\r\n"}}, kind: TurnedAway, says: "BYE"},
		{name: "answer to something else", scheme: "imap", turns: []turn{imap[0], {"A1 CAPABILITY\r\n", "a7 OK\r\n"}}, kind: OtherProtocol, says: "a7 OK"},

		{name: "turned away", scheme: "pop3", turns: []turn{{"", "-ERR too many\r\n"}}, kind: TurnedAway, says: `"-ERR too many"`},
		{name: "no STLS", scheme: "pop3", turns: []turn{{"", "+OK\r\n"}, {"STLS\r\n", "-ERR unknown\r\n"}}, kind: NoSTARTTLS, says: `"-ERR unknown"`},
		{name: "mail of another kind", scheme: "pop3", turns: []turn{{"", "220 x ESMTP\r\n"}}, kind: OtherProtocol, says: "does not speak POP3"},
		{name: "closed", scheme: "pop3", turns: []turn{{"", "+OK\r\n"}, {"STLS\r\n", ""}}, kind: Closed, says: "closed before the answer to STLS came"},
	} {
		t.Run(c.scheme+" "+c.name, func(t *testing.T) {
			seen := Handshake(t.Context(), talk(t, c.scheme, c.turns, c.then))
			if kind := kindOfError(t, seen.Err); kind != c.kind || seen.Leaf() != nil {
				t.Errorf("%v is of the kind %s, want %s", seen.Err, kind, c.kind)
			}
			if !strings.Contains(seen.Err.Error(), c.says) {
				t.Errorf("error %q does not say %q", seen.Err, c.says)
			}
		})
	}
}

func TestDialogueHasLimit(t *testing.T) {
	for scheme, awaited := range map[string]string{
		"xmpp-client": "an XMPP stream",
		"xmpp-server": "an XMPP stream",
		"smtp":        "an SMTP greeting",
		"imap":        "an IMAP greeting",
		"pop3":        "a POP3 greeting",
	} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // it has to connect before
			defer cancel()
			seen := Handshake(ctx, talk(t, scheme, nil, silence))
			if want := "connected, but " + awaited + " did not come in time"; kindOfError(t, seen.Err) != HandshakeTimeout || !strings.Contains(seen.Err.Error(), want) {
				t.Errorf("%v, which does not say %q", seen.Err, want)
			}
		})
	}
}

func TestAddressLiteral(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:25":      "[192.0.2.1]",
		"[2001:db8::1]:25":  "[IPv6:2001:db8::1]",
		"[fe80::1%eth0]:25": "[IPv6:fe80::1]",
	} {
		if got := addressLiteral(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

// readBefore is a connection of which something was read already.
type readBefore struct {
	net.Conn
	in io.Reader
}

func (b readBefore) Read(into []byte) (int, error) { return b.in.Read(into) }

// TestProxied wants a server that takes the PROXY protocol to be told first that the
// connection comes from here.
func TestProxied(t *testing.T) {
	leaf := pki.SelfSigned(t)
	listener := listen(t, "127.0.0.1:0")
	heard := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		line, _ := in.ReadString('\n')
		from, to := conn.RemoteAddr().(*net.TCPAddr), conn.LocalAddr().(*net.TCPAddr)
		if want := fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n", from.Port, to.Port); line != want {
			line = fmt.Sprintf("%q, want %q", line, want)
		} else {
			line = ""
		}
		heard <- line
		tls.Server(readBefore{conn, in}, &tls.Config{Certificates: []tls.Certificate{pair(t, leaf)}}).Handshake()
		silence(conn)
	}()
	e := endpoint.At("tls", netip.MustParseAddrPort(listener.Addr().String()), "a.example")
	e.Proxy = "v1"
	if seen := Handshake(t.Context(), e); seen.Err != nil || !seen.Leaf().Equal(leaf.Cert) {
		t.Errorf("saw %+v", seen)
	}
	if wrong := <-heard; wrong != "" {
		t.Errorf("the server heard %s", wrong)
	}
}
