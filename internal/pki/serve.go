package pki

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
)

// Serve makes handshakes with whoever connects, until the end of the test, and
// returns the address.
func Serve(t testing.TB, config *tls.Config) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go func() {
					defer conn.Close()
					_ = conn.(*tls.Conn).Handshake() // the client sees whether it failed
				}()
			}
		}
	}()
	return listener.Addr().String()
}
