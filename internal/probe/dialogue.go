package probe

import (
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
// It reads byte by byte, and so never a byte that belongs to TLS. What an
// attacker on the way has put behind the server's go-ahead makes the handshake
// fail, instead of passing for an answer that came through TLS (CVE-2011-0411
// and its relatives).
type dialogue struct {
	conn    net.Conn
	awaited string // what the server is to answer
	heard   []byte // what it answered so far
	left    int    // bytes that the server may still send
}

// startTLS says what an endpoint's scheme wants said before TLS starts, which
// for most schemes is nothing.
func startTLS(ctx context.Context, conn net.Conn, e endpoint.Endpoint) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	d := &dialogue{conn: conn, left: clearLimit}
	var err error
	switch e.Scheme {
	case "xmpp-client":
		err = d.xmpp("xmlns='jabber:client'", e.Name)
	case "xmpp-server":
		err = d.xmpp("xmlns='jabber:server' xmlns:db='jabber:server:dialback'", e.Name)
	case "smtp":
		err = d.smtp()
	case "imap":
		err = d.imap()
	}
	if err != nil {
		return clearError(e, d, err)
	}
	return nil
}

// send sends text, perhaps none, and notes what the server is to answer.
func (d *dialogue) send(text, awaited string) error {
	d.awaited, d.heard = awaited, nil
	_, err := io.WriteString(d.conn, text)
	return err
}

// ReadByte reads one byte and no more. Where the connection was closed it
// returns io.ErrUnexpectedEOF; package xml would make a syntax error of io.EOF.
func (d *dialogue) ReadByte() (byte, error) {
	if d.left == 0 {
		return 0, errTooMuch
	}
	var one [1]byte
	if _, err := io.ReadFull(d.conn, one[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	d.left--
	d.heard = append(d.heard, one[0])
	return one[0], nil
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
