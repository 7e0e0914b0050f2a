package process

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Where the kernel has its routes in text (Linux 6.12 net/ipv4/fib_trie.c,
// fib_trie_seq_show; net/ipv6/ip6_fib.c, ipv6_route_native_seq_show).
const (
	fibTrie   = "/proc/self/net/fib_trie"
	ipv6Route = "/proc/self/net/ipv6_route"
)

// isHereByTables is [isHere] where a sandbox allows no netlink: by the local routes in
// two tables.
func isHereByTables(addr netip.Addr, trie, route string) (bool, error) {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() && addr.IsLoopback() || addr.IsUnspecified() {
		return true, nil
	}
	table, parse := trie, new(trieReader).local
	if addr.Is6() {
		table, parse = route, localRoute
	}
	file, err := os.Open(table)
	if errors.Is(err, fs.ErrNotExist) && addr.Is6() {
		return false, nil // a kernel may lack IPv6
	}
	if err != nil {
		return false, fmt.Errorf("look for the address %s: %w", addr, err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if prefix, is := parse(strings.Fields(lines.Text())); is && prefix.Contains(addr) {
			return true, nil
		}
	}
	return false, lines.Err()
}

// trieReader reads fib_trie, where an address stands above the routes that begin with it.
type trieReader struct{ at netip.Addr }

// local returns the local route of a line, if it has one.
func (r *trieReader) local(fields []string) (prefix netip.Prefix, is bool) {
	switch {
	case len(fields) == 2 && fields[0] == "|--":
		r.at, _ = netip.ParseAddr(fields[1])
	case len(fields) == 3 && fields[2] == "LOCAL":
		bits, err := strconv.Atoi(strings.TrimPrefix(fields[0], "/"))
		return netip.PrefixFrom(r.at, bits), err == nil && r.at.IsValid()
	}
	return prefix, false
}

// localRoute returns the local route of a line of ipv6_route, if it has one:
// destination, its length, four of no matter here, two counters, flags, device.
func localRoute(fields []string) (prefix netip.Prefix, is bool) {
	const local = 0x80000000 // RTF_LOCAL, include/uapi/linux/ipv6_route.h
	if len(fields) < 10 {
		return prefix, false
	}
	flags, errFlags := strconv.ParseUint(fields[8], 16, 32)
	bits, errBits := strconv.ParseUint(fields[1], 16, 8)
	raw, errRaw := hex.DecodeString(fields[0])
	addr, ok := netip.AddrFromSlice(raw)
	if err := errors.Join(errFlags, errBits, errRaw); err != nil || !ok {
		return prefix, false
	}
	return netip.PrefixFrom(addr, int(bits)), flags&local != 0
}
