package process

import (
	"encoding/binary"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/need"
)

var tables = []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"}

// fakeKernel answers each request with parts, and reads as one of sock_diag's
// sockets does.
type fakeKernel struct {
	opened  int
	refuses error
	answers [][][]byte // to each request its parts
	parts   [][]byte
}

func (k *fakeKernel) open() (io.ReadWriteCloser, error) {
	k.opened++
	return k, k.refuses
}

func (k *fakeKernel) Write(request []byte) (int, error) {
	k.parts, k.answers = k.answers[0], k.answers[1:]
	return len(request), nil
}

func (k *fakeKernel) Read(part []byte) (int, error) {
	if len(k.parts) == 0 {
		return 0, syscall.EAGAIN // the kernel's, where there is no more
	}
	n := copy(part, k.parts[0])
	k.parts = k.parts[1:]
	return n, nil
}

func (k *fakeKernel) Close() error { return nil }

// message returns a netlink message.
func message(kind, flags uint16, sequence uint32, data ...byte) []byte {
	native := binary.NativeEndian
	m := native.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(data)))
	m = native.AppendUint16(native.AppendUint16(m, kind), flags)
	m = native.AppendUint32(native.AppendUint32(m, sequence), 4711)
	return append(m, data...)
}

// told returns the message that tells of a listening socket.
func told(inode uint32, at string) []byte {
	addr := netip.MustParseAddrPort(at)
	data := make([]byte, sizeofDiagMsg)
	data[0], data[1] = unix.AF_INET, 10
	if addr.Addr().Is6() {
		data[0] = unix.AF_INET6
	}
	binary.BigEndian.PutUint16(data[4:], addr.Port())
	copy(data[8:], addr.Addr().AsSlice())
	binary.NativeEndian.PutUint32(data[sizeofDiagMsg-4:], inode)
	return message(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, 1, data...)
}

var done = message(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, 0, 0, 0, 0)

func errorMessage(kind uint16, err syscall.Errno) []byte {
	return message(kind, 0, 1, binary.NativeEndian.AppendUint32(nil, uint32(-int32(err)))...)
}

// TestListenersBothWays wants both ways to tell the same of all sockets of this
// host, and of more than one part of an answer holds.
func TestListenersBothWays(t *testing.T) {
	own := map[netip.AddrPort]bool{}
	for range 400 {
		own[listen(t, "tcp4", "127.0.0.2:0")] = true
	}
	own[listen(t, "tcp4", "0.0.0.0:0")] = true
	own[listen(t, "tcp6", "[::1]:0")] = true
	own[listen(t, "tcp6", "[::]:0")] = true // IPv6 alone
	own[listen(t, "tcp", "[::]:0")] = true  // dual stack
	own[listenMapped(t)] = true

	// Others on this host may begin or end to listen between two looks, but not
	// around all of several.
	for try := 0; ; try++ {
		diagnosed, err := diagnosed(openDiag)
		if err != nil {
			need.That(t, false, "no sock_diag here: "+err.Error())
		}
		tabled, err := tabled(tables)
		if err != nil {
			t.Fatal(err)
		}
		diff := cmp.Diff(tabled, diagnosed, cmpopts.EquateComparable(netip.AddrPort{}))
		if diff != "" && try < 10 {
			continue
		}
		if diff != "" {
			t.Errorf("/proc and sock_diag (-want +got):\n%s", diff)
		}
		for _, addr := range diagnosed {
			delete(own, addr)
		}
		if len(own) > 0 {
			t.Errorf("%d listeners are missing: %v", len(own), own)
		}
		return
	}
}

// TestListenersByTables wants the tables to be read where sock_diag gives no
// answer that can be trusted, and only there.
func TestListenersByTables(t *testing.T) {
	table := filepath.Join(t.TempDir(), "tcp")
	text := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0\n"
	if err := os.WriteFile(table, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	inTable := map[uint32]string{77: "127.0.0.1:443"}
	one := told(7, "192.0.2.1:443")
	intr := slices.Clone(one)
	binary.NativeEndian.PutUint16(intr[6:], unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR)
	with := func(at int, b byte) []byte {
		m := slices.Clone(one)
		m[at] = b
		return m
	}
	type parts = [][]byte
	none := parts{done}
	for _, c := range []struct {
		name   string
		kernel fakeKernel
		want   map[uint32]string
		opened int // 1 where it is 0
	}{
		{name: "no such family", kernel: fakeKernel{refuses: syscall.EAFNOSUPPORT}, want: inTable},
		{name: "no such protocol", kernel: fakeKernel{refuses: syscall.EPROTONOSUPPORT}, want: inTable},
		{name: "not permitted", kernel: fakeKernel{refuses: syscall.EPERM}, want: inTable},
		{name: "no module for TCP", kernel: fakeKernel{answers: []parts{{errorMessage(unix.NLMSG_ERROR, unix.ENOENT)}}}, want: inTable},
		{name: "no module for IPv6", kernel: fakeKernel{answers: []parts{{one, done}, {errorMessage(unix.NLMSG_ERROR, unix.ENOENT)}}}, want: inTable},
		{name: "failed halfway", kernel: fakeKernel{answers: []parts{{one, errorMessage(unix.NLMSG_DONE, unix.ENOMEM)}}}, want: inTable},
		{name: "no end", kernel: fakeKernel{answers: []parts{{one}}}, want: inTable},
		{name: "nothing", kernel: fakeKernel{answers: []parts{{{}}}}, want: inTable},
		{name: "half a header", kernel: fakeKernel{answers: []parts{{one[:10]}}}, want: inTable},
		{name: "half a socket", kernel: fakeKernel{answers: []parts{{one[:40]}}}, want: inTable},
		{name: "a short socket", kernel: fakeKernel{answers: []parts{{message(unix.SOCK_DIAG_BY_FAMILY, 0, 1, one[16:60]...)}}}, want: inTable},
		{name: "a length of 0", kernel: fakeKernel{answers: []parts{{with(0, 0)}}}, want: inTable},
		{name: "another family", kernel: fakeKernel{answers: []parts{{with(16, unix.AF_INET6), done}}}, want: inTable},
		{name: "another request", kernel: fakeKernel{answers: []parts{{with(8, 2), done}}}, want: inTable},
		{name: "another type", kernel: fakeKernel{answers: []parts{{with(4, 99), done}}}, want: inTable},
		{name: "an end without a result", kernel: fakeKernel{answers: []parts{{one, message(unix.NLMSG_DONE, 0, 1)}}}, want: inTable},
		{name: "interrupted each time", kernel: fakeKernel{answers: []parts{{intr, done}, {intr, done}, {intr, done}}}, want: inTable, opened: 3},

		{name: "interrupted once", kernel: fakeKernel{answers: []parts{{intr, done}, {one, done}, none}}, want: map[uint32]string{7: "192.0.2.1:443"}, opened: 2},
		{name: "none", kernel: fakeKernel{answers: []parts{none, none}}, want: map[uint32]string{}},
		{
			name: "in several parts",
			kernel: fakeKernel{answers: []parts{
				{slices.Concat(one, told(8, "0.0.0.0:80")), slices.Concat(told(9, "127.0.0.1:25"), done)},
				{told(10, "[::]:80"), told(11, "[::ffff:192.0.2.1]:81"), done},
			}},
			want: map[uint32]string{7: "192.0.2.1:443", 8: "0.0.0.0:80", 9: "127.0.0.1:25", 10: "[::]:80", 11: "192.0.2.1:81"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := listeningSockets(c.kernel.open, table)
			if err != nil {
				t.Fatal(err)
			}
			got := map[uint32]string{}
			for inode, addr := range found {
				got[inode] = addr.String()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("listening (-want +got):\n%s", diff)
			}
			if want := max(c.opened, 1); c.kernel.opened != want {
				t.Errorf("the kernel was asked %d times, want %d", c.kernel.opened, want)
			}
		})
	}
}

// TestUnitsAllowNetlink holds the units that look for listeners to allow it: in
// one that does not, each look would be slow, and say nothing of that.
func TestUnitsAllowNetlink(t *testing.T) {
	for _, unit := range []string{"certlatch-watch.service", "certlatch-retry.service"} {
		text, err := os.ReadFile(filepath.Join("../../packaging/systemd", unit))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(string(text), "\nRestrictAddressFamilies=")
		families, _, _ := strings.Cut(rest, "\n")
		if !found || !slices.Contains(strings.Fields(families), "AF_NETLINK") {
			t.Errorf("%s allows only %s", unit, families)
		}
	}
}

func FuzzAddDiagnosed(f *testing.F) {
	f.Add(slices.Concat(told(7, "192.0.2.1:443"), done))
	f.Add(errorMessage(unix.NLMSG_ERROR, unix.ENOENT))
	f.Fuzz(func(t *testing.T, part []byte) {
		found := map[uint32]netip.AddrPort{}
		addDiagnosed(found, part, unix.AF_INET)
		for _, addr := range found {
			if !addr.IsValid() {
				t.Errorf("%x gave no address", part)
			}
		}
	})
}

func BenchmarkListeningSockets(b *testing.B) {
	for name, open := range map[string]func() (io.ReadWriteCloser, error){
		"sock_diag": openDiag,
		"proc":      func() (io.ReadWriteCloser, error) { return nil, syscall.EAFNOSUPPORT },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := listeningSockets(open, tables...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
