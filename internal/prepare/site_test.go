package prepare

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/process"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// TestState is about what there is to look with where the state cannot be read.
func TestState(t *testing.T) {
	dir := t.TempDir()
	site := Site{Store: state.View(dir)}
	if st, unread, err := site.State(); st == nil || unread != nil || err != nil {
		t.Errorf("at first: %v, %v, %v", st, unread, err)
	}
	for _, name := range []string{"state.json", "state.copy.json"} {
		write(t, filepath.Join(dir, name), "damaged")
	}
	if st, unread, err := site.State(); st == nil || len(st.Records) > 0 || !is[*state.UnreadableError](unread) || err != nil {
		t.Errorf("damaged: %v, %v, %v", st, unread, err)
	}
	asStranger(t, dir, func() {
		if st, unread, err := site.State(); st != nil || unread != nil || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("forbidden: %v, %v, %v", st, unread, err)
		}
	})
}

// asStranger does something that may not read a directory. As root it is done as
// another user, where files are concerned (setfsuid(2)), by a thread that ends
// with it.
func asStranger(t *testing.T, dir string, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0); err != nil {
			t.Fatal(err)
		}
		do()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := syscall.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		do()
	}()
	<-done
}

func TestMarks(t *testing.T) {
	dir := t.TempDir()
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	site := Site{Store: store, Log: slog.New(slog.NewTextHandler(&log, nil))}
	if err := store.Mark("certbot", "web.example"); err != nil {
		t.Fatal(err)
	}
	if marks := site.Marks(); len(marks) != 1 || marks["certbot:web.example"].Lineage != "certbot:web.example" || log.Len() > 0 {
		t.Errorf("marks are %v; %s", marks, log.String())
	}
	if err := os.RemoveAll(store.MarksDir()); err != nil {
		t.Fatal(err)
	}
	write(t, store.MarksDir(), "")
	if marks := site.Marks(); len(marks) != 0 || !strings.Contains(log.String(), "what hooks have asked for cannot be read") {
		t.Errorf("marks are %v; %s", marks, log.String())
	}
}

func TestTell(t *testing.T) {
	Site{}.Tell("nobody is there to hear of %s", "it")
	var told []string
	Site{Progress: func(doing string) { told = append(told, doing) }}.Tell("%d of %d", 1, 2)
	if !slices.Equal(told, []string{"1 of 2"}) {
		t.Errorf("told was %q", told)
	}
}

// One connection is made, by whoever needs it first, and made again after it was
// closed.
func TestConnection(t *testing.T) {
	systemd := &units{fails: errors.New("no bus")}
	c := &Connection{connect: systemd.connect}
	c.Close()
	for what, do := range map[string]func() error{
		"look":   func() error { _, err := c.Unit(t.Context(), "x.service"); return err },
		"reload": func() error { return c.Reload(t.Context(), "x.service") }, "restart": func() error { return c.Restart(t.Context(), "x.service") },
	} {
		if err := do(); !is[*outcome.SystemdError](err) || err.Error() != "no bus" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if systemd.connected != 3 {
		t.Errorf("it was tried %d times", systemd.connected)
	}

	systemd.fails, systemd.connected = nil, 0
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if unit, err := c.Unit(t.Context(), "x.service"); err != nil || unit.Name != "x.service" {
				t.Errorf("got %v, %v", unit, err)
			}
		})
	}
	all.Wait()
	if len(systemd.calls) != 20 || systemd.connected != 1 {
		t.Errorf("%d calls took %d connections", len(systemd.calls), systemd.connected)
	}
	systemd.calls = nil
	if err := errors.Join(c.Reload(t.Context(), "x.service"), c.Restart(t.Context(), "y.service")); err != nil {
		t.Error(err)
	}
	if got := strings.Join(systemd.calls, ", "); got != "reload x.service, restart y.service" {
		t.Errorf("done was %s", got)
	}
	c.Close()
	c.Close()
	if systemd.closed != 1 {
		t.Errorf("closed was %d times", systemd.closed)
	}
	if err := c.Reload(t.Context(), "x.service"); err != nil || systemd.connected != 2 {
		t.Errorf("after the end: %v, %d connections", err, systemd.connected)
	}
}

// crowd is a listener that keeps connections open, and never answers, until so
// many are there, and then for a moment, whether there are more.
type crowd struct {
	net.Listener
	size int
	full chan struct{}

	mutex      sync.Mutex
	open, most int
}

func newCrowd(t *testing.T, size int) *crowd {
	t.Helper()
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	c := &crowd{Listener: listener, size: size, full: make(chan struct{})}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.enter()
			go func() {
				<-c.full
				c.leave()
				conn.Close()
			}()
		}
	}()
	return c
}

func (c *crowd) enter() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.open++
	if c.open > c.most {
		if c.most = c.open; c.most == c.size {
			time.AfterFunc(100*time.Millisecond, func() { close(c.full) })
		}
	}
}

func (c *crowd) leave() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.open--
}

// No more handshakes go on at once than should, and all come to their end, in
// their order.
func TestObserveMany(t *testing.T) {
	c := newCrowd(t, 32)
	var many []endpoint.Endpoint
	e := at(t, "tls://"+c.Addr().String())
	for i := range 65 {
		e.Host = fmt.Sprintf("127.0.0.%d", i+1) // of one address, one is looked at before the others
		many = append(many, e)
	}
	var done atomic.Int64
	seen := RealWorld(nil, rows.Databases{}).Network.Observe(t.Context(), many, func() { done.Add(1) })
	if got := Endpoints(seen); !slices.Equal(got, many) || done.Load() != int64(len(many)) {
		t.Errorf("%d handshakes, and %d were told of", len(got), done.Load())
	}
	for _, o := range seen {
		if o.Err == nil {
			t.Error("one was completed")
		}
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.most != 32 {
		t.Errorf("%d went on at once", c.most)
	}
}

// TestRealWorld takes the ways to services that packages have.
func TestRealWorld(t *testing.T) {
	asked := false
	world := RealWorld(func(context.Context) (Units, error) { return &units{}, nil }, rows.Databases{
		SQLite: func(context.Context, rows.Keeper, []string, []byte) (string, string, error) {
			asked = true
			return "", "", errors.New("no database")
		},
	})
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if units, err := world.Systemd(t.Context()); units == nil || err != nil || world.Revoked != nil {
		t.Errorf("got %v, %v", units, err)
	}
	if _, _, err := world.Databases.Read(t.Context(), deployers.Row{Database: deployers.DatabaseURL("sqlite://" + file), Table: "t"}); err == nil || !asked {
		t.Errorf("the database is another: %v", err)
	}
	for name, run := range map[string]func(context.Context, []string) (command.Output, error){"asked": world.Programs.Ask, "run": world.Programs.Run} {
		if output, err := run(t.Context(), []string{"echo", name}); err != nil || output.Stdout != name+"\n" {
			t.Errorf("%s: %q, %v", name, output.Stdout, err)
		}
	}
	self := command.Credential{User: "self", UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if err := world.Programs.CanRead(t.Context(), self, []string{file}); err != nil {
		t.Error(err)
	}
	if err := world.Programs.CanRead(t.Context(), self, []string{file + "s"}); !is[*command.UnreadableError](err) {
		t.Errorf("got %v", err)
	}
	channel := deployers.Channel{Protocol: deployers.JSONRPC, Address: file + "s"}
	if answer := world.Channels.Call(t.Context(), deployers.Query{Channel: channel, Method: "a"}); !strings.Contains(answer.Err, file+"s") {
		t.Errorf("got %+v", answer)
	}
	started, err := world.Processes.Started(os.Getpid())
	if want, _ := process.Started(os.Getpid()); err != nil || started != want {
		t.Errorf("got %d, %v", started, err)
	}
	own := process.ID{PID: os.Getpid(), Started: started}
	title, err := world.Processes.Title(own)
	if want, _ := own.Title(); err != nil || title != want {
		t.Errorf("got %q, %v", title, err)
	}
	if _, err := world.Processes.Children(0); err == nil {
		t.Error("there is a process 0")
	}
	if err := world.Processes.Signal(os.Getpid(), started+1, "HUP"); !is[*process.GoneError](err) {
		t.Errorf("got %v", err)
	}

	leaf := pki.SelfSigned(t)
	pair, err := tls.X509KeyPair(leaf.Fullchain, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	e := at(t, "tls://"+pki.Serve(t, &tls.Config{Certificates: []tls.Certificate{pair}})+"?name=a.example")
	want := probe.Want{Endpoint: e, Fingerprints: []string{lineage.Fingerprint(leaf.Cert)}, InARow: 2, Pace: time.Millisecond}
	if seen := world.Network.Prove(t.Context(), time.Now().Add(time.Hour), []probe.Want{want}); len(seen) != 1 || !seen[0].Proven {
		t.Errorf("seen is %+v", seen)
	}
}
