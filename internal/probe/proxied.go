package probe

import (
	"fmt"
	"net"
	"net/netip"
)

// proxied returns what a proxy says first of a connection, in version 1 of the PROXY
// protocol: that it came from here (section 2.1 of proxy-protocol.txt of HAProxy 3.0).
func proxied(conn net.Conn) string {
	from, errFrom := netip.ParseAddrPort(conn.LocalAddr().String())
	to, errTo := netip.ParseAddrPort(conn.RemoteAddr().String())
	if errFrom != nil || errTo != nil {
		return "PROXY UNKNOWN\r\n"
	}
	source, destination := from.Addr().Unmap().WithZone(""), to.Addr().Unmap().WithZone("")
	family := "TCP4"
	if source.Is6() {
		family = "TCP6"
	}
	return fmt.Sprintf("PROXY %s %s %s %d %d\r\n", family, source, destination, from.Port(), to.Port())
}
