package process

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
)

// TestEndsAt asks about connections over loopback, by every kind of listener.
func TestEndsAt(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		listener, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		listens := netip.MustParseAddrPort(listener.Addr().String())
		to := []netip.Addr{listens.Addr()}
		if listens.Addr().IsUnspecified() {
			to = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
		}
		for _, ip := range to {
			conn, err := net.Dial("tcp", netip.AddrPortFrom(ip, listens.Port()).String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			server, client := netip.MustParseAddrPort(conn.RemoteAddr().String()), netip.MustParseAddrPort(conn.LocalAddr().String())
			if !EndsAt(server, client) {
				t.Errorf("%s to %s is said not to end there", client, server)
			}
			if elsewhere := netip.AddrPortFrom(server.Addr(), 1); !EndsAt(elsewhere, client) {
				t.Errorf("%s to %s is no connection, so where it ends is not known", client, elsewhere)
			}
		}
	}
	unknown := func() (io.ReadWriteCloser, error) { return nil, errors.New("no netlink here") }
	if !endsAt(unknown, netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")) {
		t.Error("what nobody tells counts as diverted")
	}
}
