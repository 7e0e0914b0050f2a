package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// diagnosed returns the listening sockets that sock_diag tells.
func diagnosed(open func() (io.ReadWriteCloser, error)) (map[uint32]netip.AddrPort, error) {
	conn, err := open()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	found := map[uint32]netip.AddrPort{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := diagnose(found, conn, family); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// diagnose adds the addresses of the TCP sockets of a family in state LISTEN, by
// inode, as the kernel tells them over a netlink socket (sock_diag(7)).
func diagnose(found map[uint32]netip.AddrPort, conn io.ReadWriter, family uint8) error {
	if _, err := conn.Write(diagRequest(family)); err != nil {
		return err
	}
	part := make([]byte, diagPart)
	for {
		n, err := conn.Read(part)
		if err != nil {
			return err
		}
		done, err := addDiagnosed(found, part[:n], family)
		if done || err != nil {
			return err
		}
	}
}

const (
	// diagPart is room for the longest part of an answer, 32 KiB (Linux 6.12
	// net/netlink/af_netlink.c, netlink_recvmsg), and for more.
	diagPart = 64 << 10

	// diagSequence is the number of the request in the answers to it. There is one
	// request at a time.
	diagSequence = 1

	sizeofDiagRequest = 56 // struct inet_diag_req_v2, include/uapi/linux/inet_diag.h
	sizeofDiagMsg     = 72 // struct inet_diag_msg, the same

	stateListen = 10 // TCP_LISTEN, include/net/tcp_states.h
)

// diagRequest asks for all listening TCP sockets of a family.
func diagRequest(family uint8) []byte {
	native := binary.NativeEndian
	request := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+sizeofDiagRequest)
	native.PutUint32(request[0:], uint32(cap(request)))
	native.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	native.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	native.PutUint32(request[8:], diagSequence)
	request = append(request, family, unix.IPPROTO_TCP, 0, 0)
	request = native.AppendUint32(request, 1<<stateListen)
	return request[:cap(request)] // and no single socket
}

// errInterrupted says that sockets came and went while the kernel listed them, so
// that some may be missing.
var errInterrupted = errors.New("the list changed while it was made")

// addDiagnosed adds what one part of an answer tells, and reports whether it was
// the last.
func addDiagnosed(found map[uint32]netip.AddrPort, part []byte, family uint8) (done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(part)
	if err != nil {
		return false, fmt.Errorf("parse an answer of %d bytes: %w", len(part), err)
	}
	if len(messages) == 0 {
		return false, io.ErrUnexpectedEOF
	}
	for _, m := range messages {
		switch {
		case m.Header.Seq != diagSequence:
			return false, fmt.Errorf("an answer to request %d, which nobody made", m.Header.Seq)
		case m.Header.Flags&unix.NLM_F_DUMP_INTR != 0:
			return false, errInterrupted
		}
		switch m.Header.Type {
		case unix.NLMSG_DONE:
			return true, diagErrno(m.Data)
		case unix.NLMSG_ERROR:
			return false, fmt.Errorf("refused: %w", diagErrno(m.Data))
		case unix.SOCK_DIAG_BY_FAMILY:
			if err := addSocket(found, m.Data, family); err != nil {
				return false, err
			}
		default:
			return false, fmt.Errorf("an answer of type %d", m.Header.Type)
		}
	}
	return false, nil
}

// diagErrno returns the error that begins an NLMSG_ERROR or NLMSG_DONE, negative
// as the kernel has it; nil for 0.
func diagErrno(data []byte) error {
	if len(data) < 4 {
		return io.ErrUnexpectedEOF
	}
	if number := int32(binary.NativeEndian.Uint32(data)); number != 0 {
		return syscall.Errno(-number)
	}
	return nil
}

// addSocket adds the socket that a struct inet_diag_msg tells of.
func addSocket(found map[uint32]netip.AddrPort, msg []byte, family uint8) error {
	if len(msg) < sizeofDiagMsg {
		return io.ErrUnexpectedEOF
	}
	if msg[0] != family {
		return fmt.Errorf("a socket of family %d, where %d was asked for", msg[0], family)
	}
	// Behind the family and state come two ports and two addresses, each first
	// that of this side, in network order, and the interface that the socket is bound
	// to. One of a link-local address always is (Linux 6.12 net/ipv6/af_inet6.c,
	// __inet6_bind), and without it the address says nothing (RFC 4007, section 6).
	size := 4
	if family == unix.AF_INET6 {
		size = 16
	}
	addr, _ := netip.AddrFromSlice(msg[8 : 8+size])
	if link := binary.NativeEndian.Uint32(msg[40:]); addr.Is6() && addr.IsLinkLocalUnicast() && link != 0 {
		addr = addr.WithZone(strconv.FormatUint(uint64(link), 10))
	}
	inode := binary.NativeEndian.Uint32(msg[sizeofDiagMsg-4:])
	found[inode] = netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(msg[4:]))
	return nil
}

// netlinkSocket is a netlink socket to the kernel.
type netlinkSocket struct{ fd int }

func openDiag() (io.ReadWriteCloser, error) { return openNetlink(unix.NETLINK_SOCK_DIAG) }

func openRoute() (io.ReadWriteCloser, error) { return openNetlink(unix.NETLINK_ROUTE) }

func openNetlink(protocol int) (io.ReadWriteCloser, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	return netlinkSocket{fd}, nil
}

func (s netlinkSocket) Write(request []byte) (int, error) {
	err := unix.Sendto(s.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err != nil {
		return 0, fmt.Errorf("sendto: %w", err)
	}
	return len(request), nil
}

// Read reads one part of an answer. It waits for none: the kernel has the first
// part ready when it has taken the request, and each next one when one is read
// (Linux 6.12 net/netlink/af_netlink.c, netlink_dump).
func (s netlinkSocket) Read(part []byte) (int, error) {
	n, _, flags, from, err := unix.Recvmsg(s.fd, part, nil, unix.MSG_DONTWAIT)
	if err != nil {
		return 0, fmt.Errorf("recvmsg: %w", err)
	}
	if flags&unix.MSG_TRUNC != 0 {
		return 0, io.ErrShortBuffer
	}
	if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 {
		return 0, errors.New("an answer that is not the kernel's")
	}
	return n, nil
}

func (s netlinkSocket) Close() error { return unix.Close(s.fd) }

// isHere reports whether the kernel delivers to this host itself what is sent to an
// address, by the type of the route that it has there (rtnetlink(7), RTM_GETROUTE).
func isHere(open func() (io.ReadWriteCloser, error), addr netip.Addr) (bool, error) {
	addr = addr.Unmap()
	if addr.Is4() && addr.IsLoopback() || addr.IsUnspecified() {
		return true, nil // ::1 is not, where IPv6 is turned off
	}
	conn, err := open()
	if err != nil {
		return false, fmt.Errorf("ask for the route to %s: %w", addr, err)
	}
	defer conn.Close()
	if _, err := conn.Write(routeRequest(addr)); err != nil {
		return false, fmt.Errorf("ask for the route to %s: %w", addr, err)
	}
	part := make([]byte, diagPart)
	n, err := conn.Read(part)
	if err != nil {
		return false, fmt.Errorf("ask for the route to %s: %w", addr, err)
	}
	kind, err := routeType(part[:n])
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EINVAL):
		return false, nil // there is none, or one that ends in such an error (fib_props of net/ipv4/fib_semantics.c)
	case err != nil:
		return false, fmt.Errorf("ask for the route to %s: %w", addr, err)
	}
	return kind == unix.RTN_LOCAL, nil
}

// routeRequest asks for the route to an address.
func routeRequest(addr netip.Addr) []byte {
	family, bytes := byte(unix.AF_INET6), addr.AsSlice()
	if addr.Is4() {
		family = unix.AF_INET
	}
	attribute := unix.SizeofRtAttr + len(bytes)
	native := binary.NativeEndian
	request := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg, unix.SizeofNlMsghdr+unix.SizeofRtMsg+attribute)
	native.PutUint32(request[0:], uint32(cap(request)))
	native.PutUint16(request[4:], unix.RTM_GETROUTE)
	native.PutUint16(request[6:], unix.NLM_F_REQUEST)
	native.PutUint32(request[8:], diagSequence)
	// struct rtmsg: the family, and how many bits of the destination count.
	request[unix.SizeofNlMsghdr], request[unix.SizeofNlMsghdr+1] = family, byte(8*len(bytes))
	request = native.AppendUint16(request, uint16(attribute))
	request = native.AppendUint16(request, unix.RTA_DST)
	return append(request, bytes...)
}

// routeType returns the type of the route that an answer tells, such as RTN_LOCAL.
func routeType(answer []byte) (byte, error) {
	messages, err := syscall.ParseNetlinkMessage(answer)
	switch {
	case err != nil:
		return 0, fmt.Errorf("parse an answer of %d bytes: %w", len(answer), err)
	case len(messages) == 0:
		return 0, io.ErrUnexpectedEOF
	}
	m := messages[0]
	switch {
	case m.Header.Type == unix.NLMSG_ERROR:
		if err := diagErrno(m.Data); err != nil {
			return 0, err
		}
		return 0, io.ErrUnexpectedEOF
	case m.Header.Type != unix.RTM_NEWROUTE:
		return 0, fmt.Errorf("an answer of type %d", m.Header.Type)
	case len(m.Data) < unix.SizeofRtMsg:
		return 0, io.ErrUnexpectedEOF
	}
	return m.Data[7], nil // rtm_type of struct rtmsg, include/uapi/linux/rtnetlink.h
}
