package process

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPeers(t *testing.T) {
	exact := listen(t, "tcp4", "127.0.0.2:0")
	all := listen(t, "tcp4", "0.0.0.0:0")
	both := listen(t, "tcp", "[::]:0") // dual stack
	six := listen(t, "tcp6", "[::1]:0")
	at := func(text string, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(text), port)
	}
	self, other := []int{os.Getpid()}, []int{os.Getppid()}
	for _, test := range []struct {
		name string
		pids []int
		at   netip.AddrPort
		want Peer
	}{
		{"its own", self, exact, Own},
		{"of another", other, exact, Another},
		{"of nobody that is known", nil, exact, Another},
		{"beside it", self, at("127.0.0.3", exact.Port()), Nobody},
		{"its wildcard", self, at("127.0.0.1", all.Port()), Own},
		{"its wildcard of both families", self, at("127.0.0.1", both.Port()), Own},
		{"its wildcard of IPv6", self, at("::1", both.Port()), Own},
		{"of IPv6", self, six, Own},
		{"of IPv6, and of another", other, six, Another},
		{"a wildcard of IPv4 has none of IPv6", self, at("::1", all.Port()), Nobody},
		{"mapped", self, at("::ffff:127.0.0.2", exact.Port()), Own},
		{"of another host", self, at("192.0.2.1", exact.Port()), NotHere},
		{"of another host, by its wildcard", self, at("192.0.2.1", all.Port()), NotHere},
		{"of another host, by IPv6", self, at("2001:db8::1", six.Port()), NotHere},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Peers(test.pids, []netip.AddrPort{test.at})
			if err != nil {
				t.Fatal(err)
			}
			if got[0] != test.want {
				t.Errorf("it is %d, and not %d", got[0], test.want)
			}
		})
	}
}

// The most exact address gets a connection, so another process's hides a wildcard.
func TestPeersHidden(t *testing.T) {
	ours, theirs, elsewhere := netip.MustParseAddrPort("0.0.0.0:443"), netip.MustParseAddrPort("127.0.0.1:443"), netip.MustParseAddrPort("127.0.0.2:443")
	all := map[uint32]netip.AddrPort{1: ours, 2: theirs}
	own := map[uint32]bool{1: true}
	if got, _ := listener(all, own, theirs); got != Another {
		t.Errorf("the exact one is %d", got)
	}
	if got, beside := listener(all, own, elsewhere); got != Own || beside != nil {
		t.Errorf("the wildcard is %d, beside %d", got, beside)
	}
	all[3], own[3] = theirs, true // SO_REUSEPORT
	if got, beside := listener(all, own, theirs); got != Own || !slices.Equal(beside, []uint32{2}) {
		t.Errorf("one of two at an address is %d, beside %d", got, beside)
	}
}

// Every address of an interface is this host's.
func TestIsHere(t *testing.T) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			t.Fatal(err)
		}
		if here, err := isHere(openRoute, prefix.Addr()); err != nil || !here {
			t.Errorf("%s: %v, %v", prefix.Addr(), here, err)
		}
		if here, err := isHereByTables(prefix.Addr(), fibTrie, ipv6Route); err != nil || !here {
			t.Errorf("%s, by the tables: %v, %v", prefix.Addr(), here, err)
		}
	}
}

func TestIsHereByTables(t *testing.T) {
	dir := t.TempDir()
	trie, route := dir+"/trie", dir+"/route"
	for path, content := range map[string]string{
		// As Linux 6.18 prints them.
		trie: "Local:\n  +-- 192.0.2.0/24 2 0 2\n     |-- 192.0.2.0\n        /24 link UNICAST\n     |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 198.51.100.0\n        /24 host LOCAL\n     |-- x\n        /32 host LOCAL\n",
		route: "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n" +
			"20010db8000000000000000000000007 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001     eth0\nnot a route\n" +
			"00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000004 00000000 80200001       lo\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]bool{
		"127.0.0.9": true, "::1": true, "0.0.0.0": true, "192.0.2.7": true, "::ffff:192.0.2.7": true, "198.51.100.9": true, "2001:db8::7": true,
		"192.0.2.8": false, "203.0.113.1": false, "2001:db8::8": false, "fe80::1%2": false,
	} {
		if here, err := isHereByTables(netip.MustParseAddr(text), trie, route); err != nil || here != want {
			t.Errorf("%s: %v, %v", text, here, err)
		}
	}
	for _, text := range []string{"2001:db8::7", "::1"} {
		if here, err := isHereByTables(netip.MustParseAddr(text), trie, dir+"/none"); err != nil || here {
			t.Errorf("%s without IPv6: %v, %v", text, here, err)
		}
	}
	if _, err := isHereByTables(netip.MustParseAddr("192.0.2.7"), dir+"/none", route); err == nil {
		t.Error("without a table it is known")
	}
}

func TestIsHereFails(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	if _, err := isHere(func() (io.ReadWriteCloser, error) { return nil, syscall.EAFNOSUPPORT }, addr); !errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Errorf("without netlink: %v", err)
	}
	route := func(kind byte) []byte {
		return message(unix.RTM_NEWROUTE, 0, diagSequence, unix.AF_INET, 32, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0)
	}
	for _, test := range []struct {
		name  string
		parts [][]byte
		here  bool
		fails bool
	}{
		{"local", [][]byte{route(unix.RTN_LOCAL)}, true, false},
		{"elsewhere", [][]byte{route(unix.RTN_UNICAST)}, false, false},
		{"nowhere", [][]byte{errorMessage(unix.NLMSG_ERROR, unix.ENETUNREACH)}, false, false},
		{"forbidden", [][]byte{errorMessage(unix.NLMSG_ERROR, unix.EPERM)}, false, true},
		{"no error", [][]byte{errorMessage(unix.NLMSG_ERROR, 0)}, false, true},
		{"of another type", [][]byte{message(unix.RTM_NEWLINK, 0, diagSequence, make([]byte, 16)...)}, false, true},
		{"short", [][]byte{message(unix.RTM_NEWROUTE, 0, diagSequence, make([]byte, 4)...)}, false, true},
		{"nothing", [][]byte{{}}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			kernel := &fakeKernel{answers: [][][]byte{test.parts}}
			here, err := isHere(kernel.open, addr)
			if here != test.here || (err != nil) != test.fails {
				t.Errorf("%v, %v", here, err)
			}
		})
	}
}
