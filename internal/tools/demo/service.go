package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// service is a TLS server that takes new files when it is told to.
type service interface {
	title() string
	address() string
	config() string // its lines of certlatch's target

	// start starts the server and returns when it serves the pair.
	start(context.Context, pair, *children) error
	// point makes the server serve the pair at other paths.
	point(context.Context, pair) error
}

func newService(kind, dir string) (service, error) {
	address, err := freePort()
	if err != nil {
		return nil, err
	}
	binary := nginxBinary()
	switch {
	case kind == "nginx" && binary == "":
		return nil, errors.New("there is no nginx on this machine; leave -server out")
	case kind == "nginx", kind == "" && binary != "":
		return &nginx{dir: filepath.Join(dir, "nginx"), binary: binary, listen: address}, nil
	case kind == "embedded", kind == "":
		program, err := os.Executable()
		return &embedded{program: program, paths: filepath.Join(dir, "served"), socket: filepath.Join(dir, "control"), listen: address}, err
	default:
		return nil, fmt.Errorf("-server is nginx or embedded, not %q", kind)
	}
}

// nginxBinary returns the path of nginx, or "". It looks in the administrator's
// directory too, which other users may not have in their PATH.
func nginxBinary() string {
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// nginx is an nginx of the demo's own, beside any that the machine runs.
type nginx struct {
	dir, binary, listen string
}

func (n *nginx) title() string   { return "this machine's nginx, with a configuration of its own" }
func (n *nginx) address() string { return n.listen }
func (n *nginx) pid() string     { return filepath.Join(n.dir, "nginx.pid") }

func (n *nginx) config() string {
	return fmt.Sprintf("    service: nginx\n    nginx: {binary: %s, config: %s, prefix: %s, pid: %s}\n", n.binary, n.file(), n.dir, n.pid())
}

func (n *nginx) file() string { return filepath.Join(n.dir, "nginx.conf") }

func (n *nginx) start(ctx context.Context, p pair, children *children) error {
	if err := n.write(p); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, n.binary, "-c", n.file(), "-p", n.dir, "-g", "daemon off;")
	if err := children.start(cmd); err != nil {
		return err
	}
	return awaitServed(ctx, n.listen, p)
}

func (n *nginx) point(ctx context.Context, p pair) error {
	if err := n.write(p); err != nil {
		return err
	}
	text, err := os.ReadFile(n.pid())
	if err != nil {
		return err
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		return fmt.Errorf("read %s: %w", n.pid(), err)
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("reload nginx: %w", err)
	}
	return awaitServed(ctx, n.listen, p)
}

func (n *nginx) write(p pair) error {
	user := "" // only root may set it
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	return writeFile(n.file(), fmt.Appendf(nil, `%[1]spid %[2]s;
error_log %[3]s/error.log;
events {}
http {
    access_log off;
    client_body_temp_path %[3]s/body;
    proxy_temp_path %[3]s/proxy;
    fastcgi_temp_path %[3]s/fastcgi;
    uwsgi_temp_path %[3]s/uwsgi;
    scgi_temp_path %[3]s/scgi;
    server {
        listen %[4]s ssl;
        server_name %[5]s;
        ssl_certificate %[6]s;
        ssl_certificate_key %[7]s;
    }
}
`, user, n.pid(), n.dir, n.listen, name, p.certificate, p.key))
}

// embedded is this program as a TLS server of its own. It reads the paths of
// its pair from a file whenever it is told to reload.
type embedded struct {
	program, paths, socket, listen string
}

func (e *embedded) title() string   { return "a small TLS server of this demo" }
func (e *embedded) address() string { return e.listen }

func (e *embedded) config() string {
	return fmt.Sprintf("    service: generic\n    generic: {activate: [%s, reload, %s]}\n", e.program, e.socket)
}

func (e *embedded) start(ctx context.Context, p pair, children *children) error {
	if err := e.write(p); err != nil {
		return err
	}
	if err := children.start(exec.CommandContext(ctx, e.program, "serve", e.listen, e.paths, e.socket)); err != nil {
		return err
	}
	return awaitServed(ctx, e.listen, p)
}

func (e *embedded) point(ctx context.Context, p pair) error {
	if err := e.write(p); err != nil {
		return err
	}
	if err := reload(e.socket); err != nil {
		return err
	}
	return awaitServed(ctx, e.listen, p)
}

func (e *embedded) write(p pair) error {
	return writeFile(e.paths, []byte(p.certificate+"\n"+p.key+"\n"))
}

// serve runs the embedded server: TLS on an address, and a control socket,
// where every connection means a reload and is sent the result.
func serve(ctx context.Context, address, paths, socket string) error {
	var current atomic.Pointer[tls.Certificate]
	load := func() error {
		text, err := os.ReadFile(paths)
		if err != nil {
			return err
		}
		certificate, key, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		loaded, err := tls.LoadX509KeyPair(certificate, key)
		if err == nil {
			current.Store(&loaded)
		}
		return err
	}
	if err := load(); err != nil {
		return err
	}
	control, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", address, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil },
	})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { control.Close(); listener.Close() })

	var serving sync.WaitGroup
	serving.Go(func() {
		accept(control, func(conn net.Conn) {
			answer := reloaded
			if err := load(); err != nil {
				answer = err.Error()
			}
			fmt.Fprintln(conn, answer)
		})
	})
	serving.Go(func() {
		accept(listener, func(conn net.Conn) {
			// Where the client hangs up, or does not trust the certificate,
			// that is for the client to report.
			_ = conn.(*tls.Conn).HandshakeContext(ctx)
		})
	})
	serving.Wait()
	return nil
}

// accept calls do with each connection, and closes it, until the listener is
// closed.
func accept(listener net.Listener, do func(net.Conn)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if conn.SetDeadline(time.Now().Add(10*time.Second)) == nil {
				do(conn)
			}
		}()
	}
}

const reloaded = "reloaded"

// reload makes the embedded server load the files that it is pointed at.
func reload(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != reloaded {
		return errors.New("the server says: " + answer)
	}
	return nil
}

// awaitServed waits until the server serves the pair at the paths. An nginx
// that reloads may still serve the old one once.
func awaitServed(ctx context.Context, address string, p pair) error {
	want, err := tls.LoadX509KeyPair(p.certificate, p.key)
	if err != nil {
		return err
	}
	return retry(ctx, func() error {
		// The question here is which certificate is served, not whether to
		// trust it.
		dialer := tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("wait for the service: %w", err)
		}
		defer conn.Close()
		if got := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]; fingerprint(got.Raw) != fingerprint(want.Leaf.Raw) {
			return errors.New("wait for the service: it serves another certificate")
		}
		return nil
	})
}

// freePort returns the address of a loopback port that nobody listens on.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// children are the processes that the demo has started.
type children struct {
	running []*exec.Cmd
}

// start starts a process. It is sent a SIGTERM when its context ends or the
// demo is over.
func (c *children) start(cmd *exec.Cmd) error {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	c.running = append(c.running, cmd)
	return nil
}

// end ends them all and waits for each.
func (c *children) end() {
	for _, cmd := range c.running {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		_ = cmd.Wait()
	}
}
