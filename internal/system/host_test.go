package system

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bootLimit is far beyond the second or two that a boot takes.
const bootLimit = 2 * time.Minute

// host is a booted system of its own: processes, files, loopback network. Its
// files are in memory, above the root that all hosts share, and are gone with
// its first process.
type host struct {
	leader int     // its process 1, as this machine numbers it
	cgroup *cgroup // nil where it shares one with the other hosts
}

// booted counts the hosts, so that each has a name of its own.
var booted atomic.Int64

// boot starts a host with the given programs of this machine in /usr/bin, and
// waits until systemd has started everything. The host ends with the test.
func boot(t testing.TB, root string, programs ...string) *host {
	t.Helper()
	name := fmt.Sprintf("certlatch-%d-%d", os.Getpid(), booted.Add(1))
	// Through this socket the container manager and systemd in the container
	// send who the leader is and when it is ready (sd_notify(3);
	// systemd-nspawn(1), --notify-ready).
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@" + name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}

	args := []string{"--quiet", "--keep-unit", "--register=no", "--private-network", "--notify-ready=yes",
		"--machine=" + name, "--directory=" + root, "--read-only", "--volatile=overlay"}
	for _, program := range programs {
		args = append(args, "--bind-ro="+program+":/usr/bin/"+filepath.Base(program))
	}
	cmd := exec.Command("systemd-nspawn", append(args, "--boot", "--console=pipe")...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "NOTIFY_SOCKET=@"+name)
	group, err := newCgroup(name)
	if err != nil {
		t.Logf("host %s shares its control group with the others, and may kill their units with its own: %v", name, err)
	}
	cmd.SysProcAttr = group.attributes()
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console

	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// Pdeathsig is sent when the thread ends that started the process.
		runtime.LockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()     // it is always killed
			_ = notify.Close() // nobody will be ready any more
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(errors.Join(err, group.remove(t.Context())))
	}
	h := &host{cgroup: group}
	init := -1 // a file descriptor, so that no other process can be meant
	end := sync.OnceFunc(func() {
		if init < 0 {
			_ = cmd.Process.Kill() // the process may have ended by itself
		} else if err := unix.PidfdSendSignal(init, unix.SIGKILL, nil, 0); err != nil {
			t.Errorf("end host %s: %v", name, err)
		}
		<-ended
		_ = unix.Close(init)
		if err := group.remove(context.Background()); err != nil {
			t.Logf("host %s has ended: %v", name, err)
		}
	})
	t.Cleanup(end)
	if h.leader, err = awaitReady(notify); err == nil {
		init, err = unix.PidfdOpen(h.leader, 0)
		// Every daemon-reload says READY=1 again. With nobody to read it, the
		// queue fills, and the host's systemd waits for room for ever.
		go drain(notify)
	}
	if err != nil {
		end()
		t.Fatalf("boot host %s: %v\n%s", name, err, console.Bytes())
	}
	return h
}

// awaitReady reads notifications until both the leader's process ID and
// READY=1 have come.
func awaitReady(notify *net.UnixConn) (leader int, err error) {
	if err := notify.SetReadDeadline(time.Now().Add(bootLimit)); err != nil {
		return 0, err
	}
	buffer := make([]byte, 4096)
	for ready := false; leader == 0 || !ready; {
		n, err := notify.Read(buffer)
		if err != nil {
			return leader, err
		}
		for line := range strings.Lines(string(buffer[:n])) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "X_NSPAWN_LEADER_PID":
				if leader, err = strconv.Atoi(value); err != nil {
					return 0, err
				}
			case "READY":
				ready = value == "1"
			}
		}
	}
	return leader, nil
}

// drain reads notifications until the socket is closed.
func drain(notify *net.UnixConn) {
	if err := notify.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	for buffer := make([]byte, 4096); ; {
		if _, err := notify.Read(buffer); err != nil {
			return
		}
	}
}

// command returns the argument list that runs a program inside. Words of the
// form NAME=VALUE before it set its environment, which otherwise is that of a
// service.
func (h *host) command(args ...string) []string {
	return append([]string{"nsenter", "--target=" + strconv.Itoa(h.leader), "--all", "env", "--ignore-environment",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}, args...)
}

// run runs a program inside and returns its standard output.
func (h *host) run(args ...string) (string, error) {
	args = h.command(args...)
	return output(args[0], args[1:]...)
}

// write puts a file into the host, with the directories it needs.
func (h *host) write(path string, content []byte, mode, owner string) error {
	user, group, _ := strings.Cut(owner, ":")
	args := []string{"install", "-D", "-m", mode, "-o", user}
	if group != "" {
		args = append(args, "-g", group)
	}
	args = h.command(append(args, "/dev/stdin", path)...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = bytes.NewReader(content)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s into the host: %w\n%s", path, err, out)
	}
	return nil
}

// path returns the path by which this machine reaches a file of the host.
// Absolute links on the way would lead back to this machine.
func (h *host) path(inside string) string {
	return filepath.Join("/proc", strconv.Itoa(h.leader), "root", inside)
}

// dial connects from inside the host's network. The address is an IP address
// with a port.
func (h *host) dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	dialed := make(chan result, 1)
	go func() {
		// A socket belongs to the network that its thread is in when it is
		// made. The thread is not given back, so it ends with this goroutine.
		runtime.LockOSThread()
		conn, err := func() (net.Conn, error) {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.leader))
			if err != nil {
				return nil, err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, fmt.Errorf("enter the host's network: %w", err)
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}()
		dialed <- result{conn, err}
	}()
	r := <-dialed
	return r.conn, r.err
}

// served makes one TLS handshake and returns the leaf that is served.
func (h *host) served(ctx context.Context, address, name string) (*x509.Certificate, error) {
	conn, err := h.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The question here is what is served, not whether to trust it.
	client := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("handshake with %s: %w", address, err)
	}
	return client.ConnectionState().PeerCertificates[0], nil
}
