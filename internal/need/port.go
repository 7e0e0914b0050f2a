package need

import (
	"fmt"
	"net"
	"os"
	"testing"
)

// Port returns a TCP port on which nothing listens. Until the test ends, neither
// the kernel gives it to anybody, nor does Port to another test on this machine;
// where the kernel may give every port, it is only free for now.
func Port(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	var first int // of those that the kernel gives (ip(7))
	if _, err := fmt.Sscan(string(text), &first); err != nil {
		t.Fatalf("read the range of local ports %q: %v", text, err)
	}
	for port := first - 1; port > 1024; port-- {
		if reserve(t, port) {
			return port
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// reserve takes the socket that stands for a port, and reports whether it and the
// port itself were free.
func reserve(t testing.TB, port int) bool {
	held, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("@certlatch-test-port-%d", port)})
	if err != nil {
		return false
	}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		held.Close()
		return false
	}
	t.Cleanup(func() { held.Close() })
	return listener.Close() == nil
}
