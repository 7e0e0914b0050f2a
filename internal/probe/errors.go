package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/certlatch/certlatch/internal/endpoint"
)

// Kind is a kind of reason why a handshake showed no proven leaf.
type Kind string

const (
	Refused          Kind = "refused"           // nothing listens there
	Unreachable      Kind = "unreachable"       // no connection for any other reason, such as an unknown host
	ConnectTimeout   Kind = "connect-timeout"   // no connection in time
	HandshakeTimeout Kind = "handshake-timeout" // connected, and then no answer in time
	NotTLS           Kind = "not-tls"           // the answer is of another protocol
	Closed           Kind = "closed"            // the connection was closed without an answer
	NoSTARTTLS       Kind = "no-starttls"       // the server's protocol is right, but it offers no TLS
	DomainUnknown    Kind = "domain-unknown"    // the server does not serve the XMPP domain
	TurnedAway       Kind = "turned-away"       // the server said in the clear that it does not go on
	OtherProtocol    Kind = "other-protocol"    // what was said in the clear is not the scheme's protocol
	NameUnknown      Kind = "name-unknown"      // alert unrecognized_name: no certificate for the SNI name
	NoSuchKey        Kind = "no-such-key"       // no certificate with the type of key asked for
	KeyUnprovable    Kind = "key-unprovable"    // only TLS 1.3, in which the type of key cannot be asked for
	Alert            Kind = "alert"             // any other alert from the server
	Broken           Kind = "broken"            // the server's part of the handshake is wrong
)

// Error says why a handshake showed no proven leaf.
type Error struct {
	Endpoint endpoint.Endpoint
	Kind     Kind
	Err      error // what the network, the server or crypto/tls said
	inClear  bool  // TLS had not started yet, and Err says it all
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Endpoint, e.explanation()) }
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) explanation() string {
	if e.inClear {
		return e.Err.Error()
	}
	switch e.Kind {
	case Refused:
		return "connection refused: nothing listens there"
	case ConnectTimeout:
		return "no connection in time"
	case HandshakeTimeout:
		return "connected, but the TLS handshake did not end in time"
	case NotTLS:
		if scheme, _ := endpoint.SchemeOf(e.Endpoint.Scheme); scheme.StartTLS {
			return "the server agreed to start TLS, but what it sent then is not TLS"
		}
		return "what listens there does not speak TLS at once"
	case Closed:
		return "the connection was closed during the TLS handshake"
	case NameUnknown:
		return fmt.Sprintf("the server has no certificate for the name %q (alert unrecognized_name)", e.Endpoint.Name)
	case NoSuchKey:
		return fmt.Sprintf("the server offers no certificate with an %s key in TLS 1.2", strings.ToUpper(e.Endpoint.Key))
	case KeyUnprovable:
		return fmt.Sprintf("the server speaks only TLS 1.3, in which certlatch cannot ask for an %s key: leave key=%s out", strings.ToUpper(e.Endpoint.Key), e.Endpoint.Key)
	case Alert:
		return fmt.Sprintf("the server refused the handshake: %v", e.Err)
	case Broken:
		return fmt.Sprintf("the TLS handshake failed: %v", e.Err)
	default:
		return fmt.Sprintf("no connection: %v", e.Err)
	}
}

// connectError returns the Error for an error of connecting.
func connectError(e endpoint.Endpoint, err error) *Error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Endpoint: e, Kind: Refused, Err: err}
	case isTimeout(err):
		return &Error{Endpoint: e, Kind: ConnectTimeout, Err: err}
	default:
		return &Error{Endpoint: e, Kind: Unreachable, Err: err}
	}
}

// refusal returns the Error for what a server said in the clear, as a whole
// sentence.
func refusal(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// clearError returns the Error for what kept a dialogue from coming to TLS.
func clearError(e endpoint.Endpoint, d *dialogue, err error) *Error {
	instead := ""
	if len(d.heard) > 0 {
		instead = fmt.Sprintf("; it only said %.80q", d.heard)
	}
	said, ok := errors.AsType[*Error](err)
	switch {
	case ok:
	case bytes.HasPrefix(d.heard, []byte{21, 3}): // an alert record of TLS (RFC 8446 section 5.1), as ejabberd sends
		said = refusal(OtherProtocol, "what listens there speaks TLS at once: probe it with a scheme for direct TLS")
	case isTimeout(err):
		said = refusal(HandshakeTimeout, "connected, but %s did not come in time%s", d.awaited, instead)
	case isClosed(err):
		said = refusal(Closed, "the connection was closed before %s came%s", d.awaited, instead)
	default:
		said = refusal(OtherProtocol, "what listens there did not send %s: %w", d.awaited, err)
	}
	return &Error{Endpoint: e, Kind: said.Kind, Err: said.Err, inClear: true}
}

// handshakeError returns the Error for an error of crypto/tls.
func handshakeError(e endpoint.Endpoint, err error) *Error {
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	switch alert, ok := alertOf(err); {
	case ok:
		return &Error{Endpoint: e, Kind: kindOf(alert, e.Key), Err: err}
	case notTLS:
		return &Error{Endpoint: e, Kind: NotTLS, Err: err}
	case isTimeout(err):
		return &Error{Endpoint: e, Kind: HandshakeTimeout, Err: err}
	case isClosed(err):
		return &Error{Endpoint: e, Kind: Closed, Err: err}
	default:
		return &Error{Endpoint: e, Kind: Broken, Err: err}
	}
}

// kindOf returns the kind that an alert (RFC 8446 section 6) means in answer to
// a request for a type of key, which may be "".
func kindOf(alert tls.AlertError, key string) Kind {
	const (
		handshakeFailure     tls.AlertError = 40
		protocolVersion      tls.AlertError = 70
		insufficientSecurity tls.AlertError = 71
		unrecognizedName     tls.AlertError = 112
	)
	switch {
	case alert == unrecognizedName:
		return NameUnknown
	case key != "" && alert == protocolVersion:
		return KeyUnprovable
	case key != "" && (alert == handshakeFailure || alert == insufficientSecurity):
		return NoSuchKey
	default:
		return Alert
	}
}

// alertOf returns the alert that the server sent, if an error of crypto/tls is
// one. Its type is not exported, but has the texts of tls.AlertError.
func alertOf(err error) (tls.AlertError, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return 0, false
	}
	for number := range 256 {
		if alert := tls.AlertError(number); alert.Error() == op.Err.Error() {
			return alert, true
		}
	}
	return 0, false
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded)
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
