package process

import "net/netip"

// Peer is whom a connection from here to an address reaches.
type Peer int

const (
	Own     Peer = iota // one of the processes that are asked about
	Nobody              // this host, where nobody listens there
	Another             // another process of this host
	Apart               // not the processes, which have a network namespace of their own
	NotHere             // another host, or none: the address is none of this host's
)

// Peers returns whom connections from here to some addresses reach, seen from some
// processes. An address is this host's where its kernel delivers to itself what is
// sent there, which is so for loopback and whatever an interface has, or a local
// route names (ip-route(8), "local"). Of several sockets at a port the one with the
// most exact address gets a connection, so a wildcard counts only beside no other.
//
// It does not look through rules that redirect connections, such as those of
// nftables.
func Peers(pids []int, at []netip.AddrPort) ([]Peer, error) {
	listening, err := listeningSockets(openDiag, "/proc/self/net/tcp", "/proc/self/net/tcp6")
	if err != nil {
		return nil, err
	}
	own := map[uint32]bool{}
	for _, pid := range pids {
		inodes, err := sockets(pid)
		if err != nil {
			return nil, err
		}
		for _, inode := range inodes {
			own[inode] = true
		}
	}
	apart := AreApart(pids)
	peers := make([]Peer, len(at))
	for i, address := range at {
		here, err := isHere(openRoute, address.Addr())
		switch {
		case err != nil:
			return nil, err
		case !here:
			peers[i] = NotHere
			continue
		}
		peers[i] = listener(listening, own, address)
		if peers[i] != Own && apart {
			peers[i] = Apart
		}
	}
	return peers, nil
}

// listener returns who gets the connections to an address of this host.
func listener(listening map[uint32]netip.AddrPort, own map[uint32]bool, at netip.AddrPort) Peer {
	for _, ip := range nearest(at.Addr()) {
		found := Nobody
		for inode, addr := range listening {
			switch {
			case addr.Port() != at.Port() || addr.Addr().WithZone("") != ip:
			case own[inode]:
				return Own
			default:
				found = Another
			}
		}
		if found != Nobody {
			return found
		}
	}
	return Nobody
}

// nearest returns the addresses at which a socket gets the connections to one, the
// most exact first. A wildcard of IPv6 has those of IPv4 too (ipv6(7),
// IPV6_V6ONLY).
func nearest(addr netip.Addr) []netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return []netip.Addr{addr, netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	return []netip.Addr{addr, netip.IPv6Unspecified()}
}
