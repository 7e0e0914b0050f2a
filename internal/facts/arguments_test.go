package facts

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/need"
)

func TestIsRoots(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	its, link := filepath.Join(dir, "its"), filepath.Join(dir, "link")
	write(t, its, "")
	if err := os.Chown(its, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", link); err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]bool{
		"-f": true, "64": true, "": true,
		"/etc/passwd": true, "-f/etc/passwd": true, "--config=/etc/passwd": true, "/etc": true, "/etc/../etc/passwd": true,
		its: false, "-f" + its: false, "CONFIG=" + its: false, link: false,
		"/tmp": false, "/etc/nosuch": false, "its/passwd": false, "../etc/passwd": false, "-fetc/passwd": false, "a=/etc:" + its: false,
	} {
		if got := isRoots(word); got != want {
			t.Errorf("%q: %v", word, got)
		}
	}
}

// TestArguments wants what a process says of itself to count as far as root could
// have said it.
func TestArguments(t *testing.T) {
	need.Root(t)
	started := func(uid uint32, argv ...string) deployers.Unit {
		cmd := exec.Command("tail", argv[1:]...)
		cmd.Args[0] = argv[0]
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		if _, err := out.Read(make([]byte, 1)); err != nil { // until then it may have no arguments yet
			t.Fatal(err)
		}
		return deployers.Unit{MainPID: cmd.Process.Pid, ExecStart: []string{"/usr/bin/tail", "-f"}}
	}
	its := filepath.Join(t.TempDir(), "its")
	write(t, its, "")
	if err := os.Chown(its, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	argv := []string{its, "-f", "/etc/passwd", its}
	for uid, want := range map[uint32][]string{0: argv, 65534: {"/usr/bin/tail", "-f", "/etc/passwd", ""}} {
		unit := started(uid, argv...)
		got, err := arguments(unit)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("user %d: %v\n%s", uid, err, diff)
		}
		unit.ExecStart = nil
		if got, err := arguments(unit); err != nil || uid != 0 && got[0] != "" {
			t.Errorf("user %d: the program is %q, %v", uid, got[0], err)
		}
	}
}

// TestUserThatIsNotYet wants a process that systemd has not yet let become its dynamic
// user not to be taken for that.
func TestUserThatIsNotYet(t *testing.T) {
	facts := deployers.Facts{Unit: deployers.Unit{DynamicUser: true, User: "nobody-of-that-name", ActiveState: "active", MainPID: os.Getpid()}}
	if err := lookAtUser(&facts); err != nil || !facts.DynamicUser || facts.Runs.Known {
		t.Errorf("%+v, %v", facts, err)
	}
}
