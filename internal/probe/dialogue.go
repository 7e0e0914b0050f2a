package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
)

// clearLimit is how many bytes a server may send before TLS starts. Real ones
// send less than two thousand.
const clearLimit = 64 << 10

var errTooMuch = fmt.Errorf("it sent %d bytes without coming to an end", clearLimit)

// dialogue is what is said in the clear before TLS starts.
//
// The client speaks first in TLS, so a server that agreed to start it says
// nothing more by itself. What comes behind its go-ahead all the same is refused:
// an attacker on the way can have put it there, and it must not pass for an
// answer that came through TLS (CVE-2011-0411 and its relatives). What comes too
// late to be seen here makes the handshake fail.
type dialogue struct {
	conn    net.Conn
	in      *bufio.Reader // of conn
	awaited string        // what the server is to answer
	heard   []byte        // what it answered so far
	left    int           // bytes that the server may still send
}

// startTLS says what an endpoint's scheme wants said before TLS starts, which
// for most schemes is nothing; for XMPP it is about a domain.
func startTLS(ctx context.Context, conn net.Conn, e endpoint.Endpoint, domain string) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	d := &dialogue{conn: conn, in: bufio.NewReader(conn), left: clearLimit}
	var err error
	if e.Proxy != "" {
		err = d.send(proxied(conn), "an answer behind the PROXY protocol")
	}
	if err != nil {
		return clearError(e, d, err)
	}
	switch e.Scheme {
	case "xmpp-client":
		err = d.xmpp("xmlns='jabber:client'", domain)
	case "xmpp-server":
		err = d.xmpp("xmlns='jabber:server' xmlns:db='jabber:server:dialback'", domain)
	case "smtp":
		err = d.smtp()
	case "imap":
		err = d.imap()
	case "pop3":
		err = d.pop3()
	}
	if err == nil {
		err = d.surplus()
	}
	if err != nil {
		return clearError(e, d, err)
	}
	return nil
}

// surplus returns an error where the server has said more than its go-ahead.
func (d *dialogue) surplus() error {
	if d.in.Buffered() == 0 {
		return nil
	}
	said, _ := d.in.Peek(d.in.Buffered())
	return refusal(NotTLS, "the server agreed to start TLS, but before that began it said %.80q, or somebody on the way did", said)
}

// send sends text, perhaps none, and notes what the server is to answer.
func (d *dialogue) send(text, awaited string) error {
	d.awaited, d.heard = awaited, nil
	_, err := io.WriteString(d.conn, text)
	return err
}

// ReadByte returns the next byte. Where the connection was closed it returns
// io.ErrUnexpectedEOF; package xml would make a syntax error of io.EOF.
func (d *dialogue) ReadByte() (byte, error) {
	if d.left == 0 {
		return 0, errTooMuch
	}
	b, err := d.in.ReadByte()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, err
	}
	d.left--
	d.heard = append(d.heard, b)
	return b, nil
}

// Read makes a dialogue an io.Reader for package xml, which calls ReadByte
// alone.
func (d *dialogue) Read(into []byte) (int, error) {
	if len(into) == 0 {
		return 0, nil
	}
	b, err := d.ReadByte()
	if err != nil {
		return 0, err
	}
	into[0] = b
	return 1, nil
}

// line returns the next line without its end.
func (d *dialogue) line() (string, error) {
	var line strings.Builder
	for {
		b, err := d.ReadByte()
		if err != nil {
			return "", err
		}
		if b == '\n' {
			return strings.TrimSuffix(line.String(), "\r"), nil
		}
		line.WriteByte(b)
	}
}
