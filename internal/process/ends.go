package process

import (
	"encoding/binary"
	"io"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// EndsAt reports whether a TCP connection from this host to an address of its own ends in
// a socket at that address, while it is up. Where a rule leads it to another port or
// another host (REDIRECT, DNAT), there is none. Where that cannot be found out, it does.
func EndsAt(server, client netip.AddrPort) bool {
	if server.Addr().Zone() != "" {
		return true
	}
	return endsAt(openDiag, server, client)
}

// loopback is the interface that connections of a host to itself come by
// (include/net/flow.h of Linux 6.12, LOOPBACK_IFINDEX).
const loopback = 1

func endsAt(open func() (io.ReadWriteCloser, error), server, client netip.AddrPort) bool {
	conn, err := open()
	if err != nil {
		return true
	}
	defer conn.Close()
	// The first question is answered with yes, as a rule. Who does not find this side of
	// it either finds nothing: a kernel without tcp_diag says so in the same way.
	return isThere(conn, server, client, 0) || isThere(conn, server, client, loopback) || !isThere(conn, client, server, 0)
}

// isThere reports whether there is the socket of one side of a connection, bound to no
// interface or to one.
func isThere(conn io.ReadWriter, local, remote netip.AddrPort, link uint32) bool {
	part := make([]byte, diagPart)
	if _, err := conn.Write(sideRequest(local, remote, link)); err != nil {
		return false
	}
	n, err := conn.Read(part)
	if err != nil {
		return false
	}
	// In place of a connection that is not there, the answer is who listens at its
	// address (Linux 6.12 net/ipv4/inet_diag.c, inet_diag_find_one_icsk).
	messages, err := syscall.ParseNetlinkMessage(part[:n])
	return err == nil && len(messages) > 0 && messages[0].Header.Type == unix.SOCK_DIAG_BY_FAMILY &&
		len(messages[0].Data) >= sizeofDiagMsg && messages[0].Data[1] != stateListen
}

// sideRequest asks for the socket of one side of a connection.
func sideRequest(local, remote netip.AddrPort, link uint32) []byte {
	family := uint8(unix.AF_INET6)
	if local.Addr().Is4() {
		family = unix.AF_INET
	}
	request := diagRequest(family)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST)
	id := request[unix.SizeofNlMsghdr+8:] // struct inet_diag_sockid, include/uapi/linux/inet_diag.h
	binary.BigEndian.PutUint16(id, local.Port())
	binary.BigEndian.PutUint16(id[2:], remote.Port())
	copy(id[4:], local.Addr().AsSlice())
	copy(id[20:], remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(id[36:], link)
	binary.NativeEndian.PutUint64(id[40:], ^uint64(0)) // INET_DIAG_NOCOOKIE
	return request
}
