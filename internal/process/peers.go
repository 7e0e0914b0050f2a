package process

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
)

// Peer is whom a connection from here to an address reaches.
type Peer int

const (
	Own      Peer = iota // one of the processes that are asked about
	Nobody               // this host, where nobody listens there
	Another              // another process of this host
	Shared               // now one of the processes, and now another one
	Apart                // not the processes, which have a network namespace of their own
	NotHere              // another host, or none: the address is none of this host's
	Diverted             // whoever a packet filter of this host leads to; see EndsAt
)

// Peers returns whom connections from here to some addresses reach, seen from some
// processes. An address is this host's where its kernel delivers to itself what is
// sent there, which is so for loopback and whatever an interface has, or a local
// route names (ip-route(8), "local"). Of several sockets at a port the one with the
// most exact address gets a connection, so a wildcard counts only beside no other; of
// several with the same one each gets some (socket(7), SO_REUSEPORT).
//
// It does not look through rules that redirect connections, such as those of
// nftables; EndsAt does, for one connection.
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
		if err != nil {
			here, err = isHereByTables(address.Addr(), fibTrie, ipv6Route)
		}
		switch {
		case err != nil:
			return nil, err
		case !here:
			peers[i] = NotHere
			continue
		}
		var beside []uint32
		if peers[i], beside = listener(listening, own, address); peers[i] == Own && anyHolds(beside) {
			peers[i] = Shared
		}
		if peers[i] != Own && peers[i] != Shared && apart {
			peers[i] = Apart
		}
	}
	return peers, nil
}

// listener returns who gets the connections to an address of this host, and where that
// is Own, which sockets beside it that are not own get some of them.
func listener(listening map[uint32]netip.AddrPort, own map[uint32]bool, at netip.AddrPort) (found Peer, beside []uint32) {
	for _, ip := range nearest(at.Addr()) {
		found = Nobody
		for inode, addr := range listening {
			switch {
			case addr.Port() != at.Port() || addr.Addr().WithZone("") != ip:
			case own[inode]:
				found = Own
			default:
				beside = append(beside, inode)
			}
		}
		switch {
		case found == Own:
			return Own, beside
		case beside != nil:
			return Another, nil
		}
	}
	return Nobody, nil
}

// anyHolds reports whether some process holds one of some sockets. One that ended since
// they were listed does not.
func anyHolds(inodes []uint32) bool {
	if inodes == nil {
		return false
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(entries, func(entry os.DirEntry) bool {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			return false
		}
		held, err := sockets(pid)
		return err == nil && slices.ContainsFunc(held, func(inode uint32) bool { return slices.Contains(inodes, inode) })
	})
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
