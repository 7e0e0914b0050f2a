package process

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/certlatch/certlatch/internal/need"
)

// listen listens until the end of the test, and returns the address.
func listen(t *testing.T, network, address string) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen(network, address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		need.That(t, false, fmt.Sprintf("no %s here: %v", address, err))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// listenMapped listens at an IPv4 address on a socket of IPv6, as servers
// written in some languages do.
func listenMapped(t *testing.T) netip.AddrPort {
	t.Helper()
	addr := netip.MustParseAddr("127.0.0.3")
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		need.That(t, false, fmt.Sprintf("no IPv6 here: %v", err))
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet6{Addr: addr.As16()}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(addr, uint16(bound.(*syscall.SockaddrInet6).Port))
}

func TestListeners(t *testing.T) {
	four := listen(t, "tcp4", "127.0.0.2:0")
	six := listen(t, "tcp6", "[::1]:0")
	all := listen(t, "tcp4", "0.0.0.0:0")
	both := listen(t, "tcp", "[::]:0") // dual stack
	mapped := listenMapped(t)

	// An established connection has the port, and does not listen.
	conn, err := net.Dial("tcp", four.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	for _, c := range []struct {
		name  string
		pids  []int
		ports []uint16
		want  []netip.AddrPort
	}{
		{"all ports", []int{os.Getpid()}, nil, []netip.AddrPort{four, six, all, both, mapped}},
		{"some ports", []int{os.Getpid()}, []uint16{four.Port(), six.Port()}, []netip.AddrPort{four, six}},
		{"each once", []int{os.Getpid(), os.Getpid()}, []uint16{four.Port()}, []netip.AddrPort{four}},
		{"another process", []int{os.Getppid()}, []uint16{four.Port()}, nil},
		{"an ended process", []int{ended(t), os.Getpid()}, []uint16{six.Port()}, []netip.AddrPort{six}},
		{"no process", nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Listeners(c.pids, c.ports)
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(c.want, netip.AddrPort.Compare)
			if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("listeners (-want +got):\n%s", diff)
			}
		})
	}
}

// TestListenersInherited wants a child that inherited a socket to count as
// listening, as nginx's workers do.
func TestListenersInherited(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "echo; exec sleep 1000")
	cmd.ExtraFiles = []*os.File{file}
	start(t, cmd)
	listener.Close()
	file.Close()
	got, err := Listeners([]int{cmd.Process.Pid}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.AddrPort{netip.MustParseAddrPort(listener.Addr().String())}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, text := range []string{"", ":", "0100007F", "0100007F:", "0100007F:10000", "01007F:0050", "0100007F01:0050", "xyz0007F:0050"} {
		if addr, err := parseAddress(text); err == nil {
			t.Errorf("%q was read as %s", text, addr)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("0100007F:1F90")
	f.Add("00000000000000000000000001000000:01BB")
	f.Fuzz(func(t *testing.T, text string) {
		if addr, err := parseAddress(text); err == nil && !addr.IsValid() {
			t.Errorf("%q gave no address and no error", text)
		}
	})
}
