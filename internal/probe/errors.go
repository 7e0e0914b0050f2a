package probe

import (
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

// Kind is why a handshake showed no proven leaf.
type Kind string

const (
	Refused          Kind = "refused"           // nothing listens there
	Unreachable      Kind = "unreachable"       // no connection for any other reason, such as an unknown host
	ConnectTimeout   Kind = "connect-timeout"   // no connection in time
	HandshakeTimeout Kind = "handshake-timeout" // connected, and then no answer in time
	NotTLS           Kind = "not-tls"           // the answer is of another protocol
	Closed           Kind = "closed"            // the connection was closed without an answer
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
	Err      error // what the network or crypto/tls said
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Endpoint, e.what()) }
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) what() string {
	switch e.Kind {
	case Refused:
		return "connection refused: nothing listens there"
	case ConnectTimeout:
		return "no connection in time"
	case HandshakeTimeout:
		return "connected, but the TLS handshake did not end in time"
	case NotTLS:
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

// connectError sorts what dial said.
func connectError(e endpoint.Endpoint, err error) *Error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Error{e, Refused, err}
	case isTimeout(err):
		return &Error{e, ConnectTimeout, err}
	default:
		return &Error{e, Unreachable, err}
	}
}

// handshakeError sorts what crypto/tls said.
func handshakeError(e endpoint.Endpoint, err error) *Error {
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	switch alert, ok := alertOf(err); {
	case ok:
		return &Error{e, kindOf(alert, e.Key), err}
	case notTLS:
		return &Error{e, NotTLS, err}
	case isTimeout(err):
		return &Error{e, HandshakeTimeout, err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &Error{e, Closed, err}
	default:
		return &Error{e, Broken, err}
	}
}

// kindOf sorts the alerts of RFC 8446 section 6 that mean something here.
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

// alertOf finds an alert that the server sent. crypto/tls gives it a type of
// its own that is not exported, but has the texts of tls.AlertError.
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
