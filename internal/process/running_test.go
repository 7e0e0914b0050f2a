package process

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
)

// TestOfProgram wants a program's main process, not its children of the same program,
// and nothing of another.
func TestOfProgram(t *testing.T) {
	program := copyOf(t, "sh", "certlatch-of-program")
	cmd := exec.Command(program, "-c", "(sleep 1000; true) & echo; wait", "first", "second")
	start(t, cmd)
	found, err := OfProgram("/elsewhere/certlatch-of-program")
	if err != nil || len(found) != 1 {
		t.Fatalf("got %+v, %v", found, err)
	}
	started, err := Started(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	got := found[0]
	got.Unit = "" // of whoever runs the test
	if want := (Running{PID: cmd.Process.Pid, Started: started, Title: program + " -c (sleep 1000; true) & echo; wait first second", Program: program, Own: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if found, err := OfProgram("certlatch-of-nothing"); err != nil || found != nil {
		t.Errorf("got %+v, %v", found, err)
	}
}

// TestOfScript wants the process of an interpreter to be found by its script.
func TestOfScript(t *testing.T) {
	interpreter := copyOf(t, "sh", "lua5.4")
	script := filepath.Join(t.TempDir(), "certlatch-script")
	if err := os.WriteFile(script, []byte("sleep 1000 & echo; wait\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(interpreter, script, "--config", "x")
	start(t, cmd)
	found, err := OfProgram("certlatch-script")
	if err != nil || len(found) != 1 || found[0].PID != cmd.Process.Pid {
		t.Errorf("got %+v, %v", found, err)
	}
	if found, err := OfProgram("x"); err != nil || found != nil {
		t.Errorf("by another argument: %+v, %v", found, err)
	}
}

// TestUnitOf is about control groups as processes of systemd 257 have them.
func TestUnitOf(t *testing.T) {
	for groups, want := range map[string]string{
		"0::/system.slice/nginx.service\n":                                           "nginx.service",
		"0::/system.slice/system-nginx.slice/nginx@edge.service\n":                   "nginx@edge.service",
		"0::/system.slice/docker.service/below\n":                                    "docker.service",
		"0::/user.slice/user-0.slice/session-3.scope\n":                              "",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service\n": "user@1000.service",
		"4:memory:/x.service\n1:name=systemd:/system.slice/a.service\n0::/\n":        "a.service",
		"":          "",
		"0:\n\n::/": "",
	} {
		if got := unitOf(groups); got != want {
			t.Errorf("%q: %q, want %q", groups, got, want)
		}
	}
}

// TestListening wants who listens on a port, and nobody on one where nobody does.
func TestListening(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(listener.Addr().(*net.TCPAddr).Port)
	found, err := Listening([]uint16{port})
	if err != nil || len(found) != 1 || found[0].PID != os.Getpid() || found[0].Started == 0 {
		t.Errorf("got %+v, %v", found, err)
	}
	listener.Close()
	if found, err := Listening([]uint16{port}); err != nil || found != nil {
		t.Errorf("got %+v, %v", found, err)
	}
}

// TestOwn wants a process of another user not to count as certlatch's own user's.
func TestOwn(t *testing.T) {
	need.Root(t)
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "echo; sleep 1000; true")
	start(t, cmd)
	for name, test := range map[string]struct {
		pid  int
		want bool
	}{"another's": {cmd.Process.Pid, false}, "its own": {os.Getpid(), true}, "one that has ended": {ended(t), false}} {
		if got := Describe(test.pid); got.Own != test.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
