package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/need"
)

// start starts a program, waits for the first line that it prints, and returns
// that and a reader of the rest. The program is killed at the end of the test.
func start(t *testing.T, cmd *exec.Cmd) (line string, rest *bufio.Reader) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	rest = bufio.NewReader(stdout)
	line, err = rest.ReadString('\n')
	if err != nil {
		t.Fatalf("%s printed nothing: %v", cmd, err)
	}
	return strings.TrimSpace(line), rest
}

// shell starts a shell script.
func shell(t *testing.T, script string) (*exec.Cmd, string, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	line, rest := start(t, cmd)
	return cmd, line, rest
}

// ended returns the PID of a process that has ended, and has been waited for.
func ended(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// copyOf returns the path of a copy of a program with another name.
func copyOf(t *testing.T, program, name string) string {
	t.Helper()
	from, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStarted(t *testing.T) {
	// This name looks like the fields behind it.
	odd := copyOf(t, "sh", "a) S 1 (b c")
	cmd := exec.Command(odd, "-c", "echo; sleep 1000 & wait")
	start(t, cmd)
	first, err := Started(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Started(cmd.Process.Pid)
	if err != nil || again != first {
		t.Errorf("started at %d, then at %d (%v)", first, again, err)
	}
	own, err := Started(os.Getpid())
	if err != nil || own == 0 || own > first {
		t.Errorf("the child was started at %d and its parent at %d (%v)", first, own, err)
	}
	if _, err := Started(ended(t)); !isGoneError(err) {
		t.Errorf("an ended process: %v", err)
	}
}

func isGoneError(err error) bool {
	_, ok := errors.AsType[*GoneError](err)
	return ok
}

// TestStartedOfZombie wants a process that has ended to be gone before its
// parent has waited for it.
func TestStartedOfZombie(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	// Until it has ended, and without noticing it.
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Started(cmd.Process.Pid); !isGoneError(err) {
		t.Errorf("got %v", err)
	}
}

func TestFromPIDFile(t *testing.T) {
	long := copyOf(t, "sh", "a-name-of-more-than-15-bytes")
	cmd := exec.Command(long, "-c", "echo; sleep 1000 & wait")
	start(t, cmd)
	pid := cmd.Process.Pid
	for _, c := range []struct {
		name    string
		content string
		program string
		want    int
		fails   bool
	}{
		{name: "alive", content: fmt.Sprintf("%d\n", pid), program: "a-name-of-more-than-15-bytes", want: pid},
		{name: "alive, by path", content: fmt.Sprint(pid), program: long, want: pid},
		{name: "another program", content: fmt.Sprint(pid), program: "nginx"},
		{name: "ended", content: fmt.Sprint(ended(t)), program: "true"},
		{name: "empty", content: "\n", program: "sh"},
		{name: "words", content: "pid 17", program: "sh", fails: true},
		{name: "a group", content: "-1", program: "sh", fails: true},
		{name: "zero", content: "0", program: "sh", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pid")
			if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := FromPIDFile(path, c.program)
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("got %d, %v", got, err)
			}
			if err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not name the file", err)
			}
		})
	}
	if got, err := FromPIDFile(filepath.Join(t.TempDir(), "none"), "sh"); got != 0 || err != nil {
		t.Errorf("no file: got %d, %v", got, err)
	}
	if _, err := FromPIDFile(t.TempDir(), "sh"); err == nil {
		t.Error("a directory is no error")
	}
}

func TestSignal(t *testing.T) {
	for _, name := range []string{"HUP", "USR1", "USR2"} {
		cmd, _, rest := shell(t, "trap 'echo got "+name+"' "+name+"; echo; sleep 1000 & wait")
		started, err := Started(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := Signal(cmd.Process.Pid, started, name); err != nil {
			t.Fatal(err)
		}
		if line, err := rest.ReadString('\n'); line != "got "+name+"\n" {
			t.Errorf("the process says %q (%v)", line, err)
		}
	}
}

func TestSignalRefuses(t *testing.T) {
	cmd, _, _ := shell(t, "echo; sleep 1000 & wait") // every signal would end it
	pid := cmd.Process.Pid
	started, err := Started(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := Signal(pid, started+1, "HUP"); !isGoneError(err) {
		t.Errorf("a reused number: %v", err)
	}
	if err := Signal(ended(t), started, "HUP"); !isGoneError(err) {
		t.Errorf("an ended process: %v", err)
	}
	for _, name := range []string{"KILL", "SIGHUP", "hup", ""} {
		if err := Signal(pid, started, name); err == nil {
			t.Errorf("signal %q was sent", name)
		}
	}
	if err := Signal(pid, started, "HUP"); err != nil {
		t.Fatalf("it did not live to here: %v", err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGHUP {
		t.Errorf("it ended with %v", err)
	}
}

func TestDescendants(t *testing.T) {
	cmd, line, _ := shell(t, `sh -c 'sleep 1000 & echo $$ $!; wait' & wait`)
	want := []int{cmd.Process.Pid}
	for _, field := range strings.Fields(line) {
		want = append(want, number(t, field))
	}
	slices.Sort(want)
	got, err := Descendants(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("descendants (-want +got):\n%s", diff)
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMembers(t *testing.T) {
	group, dir := makeGroup(t)
	below := filepath.Join(dir, "below")
	mkdir(t, below)
	var want []int
	for _, at := range []string{dir, below} {
		cmd, _, _ := shell(t, "echo; exec sleep 1000")
		pid := strconv.Itoa(cmd.Process.Pid)
		if err := os.WriteFile(filepath.Join(at, "cgroup.procs"), []byte(pid), 0); err != nil {
			t.Fatal(err)
		}
		want = append(want, cmd.Process.Pid)
	}
	slices.Sort(want)
	got, err := Members(group)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

// makeGroup makes a control group and returns its name and its directory.
func makeGroup(t *testing.T) (group, dir string) {
	t.Helper()
	group = fmt.Sprintf("/certlatch-test-%d", os.Getpid())
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(filepath.Join(mount, "cgroup.procs")); err != nil {
			continue
		}
		dir = filepath.Join(mount, group)
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			t.Cleanup(func() { os.Remove(dir) })
			return group, dir
		}
		need.That(t, false, fmt.Sprintf("no control group can be made: %v", err))
	}
	need.That(t, false, "there are no control groups")
	return "", ""
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
}

func TestMembersOfNothing(t *testing.T) {
	for _, group := range []string{"", "/certlatch.slice/no-such.service"} {
		if got, err := Members(group); len(got) != 0 || err != nil {
			t.Errorf("group %q has %v, %v", group, got, err)
		}
	}
}

// TestTitles wants a process to be called by its arguments, and one that has
// ended by nothing.
func TestTitles(t *testing.T) {
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	want := []string{"sleep 1000"}
	if got := Titles([]int{ended.Process.Pid, child.Process.Pid}); !slices.Equal(got, want) {
		t.Errorf("%q instead of %q", got, want)
	}
}

// renamed starts a shell that has another with the same title as its child, until
// it reads a line; then the child calls itself by a number.
func renamed(t *testing.T) (parent int, tell func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `(read -r _; exec sleep 1000) <&3 & echo; wait`)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { write.Close() })
	cmd.ExtraFiles = []*os.File{read}
	start(t, cmd)
	read.Close()
	return cmd.Process.Pid, func() {
		if _, err := write.WriteString("\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestChildren wants the children of a process with their titles: that of their
// parent until they have one of their own, and none when they have ended or another
// has their number.
func TestChildren(t *testing.T) {
	parent, tell := renamed(t)
	children, err := Children(parent)
	if err != nil || len(children) != 1 {
		t.Fatalf("%v, %v", children, err)
	}
	child := children[0]
	started, err := Started(parent)
	if err != nil {
		t.Fatal(err)
	}
	of, err := ID{parent, started}.Title()
	if err != nil || !strings.HasPrefix(of, "sh -c (read") {
		t.Errorf("the parent is called %q (%v)", of, err)
	}
	if title, err := child.Title(); title != of || err != nil {
		t.Errorf("the child is called %q (%v) and its parent %q", title, err, of)
	}
	tell()
	for title := of; title != "sleep 1000"; {
		if title, err = child.Title(); err != nil {
			t.Fatalf("the child is called %q (%v)", title, err)
		}
	}
	if title, err := (ID{child.PID, child.Started + 1}).Title(); title != "" || err != nil {
		t.Errorf("another one is called %q (%v)", title, err)
	}
	if title, err := (ID{ended(t), 1}).Title(); title != "" || err != nil {
		t.Errorf("one that has ended is called %q (%v)", title, err)
	}
	if none, err := Children(child.PID); len(none) != 0 || err != nil {
		t.Errorf("the child has the children %v (%v)", none, err)
	}
	if none, err := Children(ended(t)); err == nil {
		t.Errorf("one that has ended has the children %v", none)
	}
}

// TestChildrenWithoutZombies wants a child that has ended to be left out, also
// before its parent has waited for it.
func TestChildrenWithoutZombies(t *testing.T) {
	cmd, line, _ := shell(t, `true & echo $!; exec sleep 1000`)
	zombie := number(t, line)
	for {
		if _, err := Started(zombie); isGoneError(err) {
			break
		}
	}
	if children, err := Children(cmd.Process.Pid); len(children) != 0 || err != nil {
		t.Errorf("%v, %v", children, err)
	}
}

// TestUnitIn finds the unit in what kernels with each of systemd's setups say.
func TestUnitIn(t *testing.T) {
	for groups, want := range map[string]string{
		"0::/system.slice/certbot.service\n":                                            "certbot.service",
		"0::/system.slice/certbot.service/payload\n":                                    "certbot.service",
		"0::/user.slice/user-0.slice/session-3.scope\n":                                 "",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/renew.service\n":    "renew.service",
		"12:pids:/other.service\n1:name=systemd:/system.slice/acmetool.service\n0::/\n": "acmetool.service",
		"0::/\n": "",
		"":       "",
	} {
		if got := unitIn(groups); got != want {
			t.Errorf("%q: %q instead of %q", groups, got, want)
		}
	}
}
