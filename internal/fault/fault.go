// Package fault lets a process meet what a disk does at its worst: in one run
// after the other, each system call that changes something fails, or all of its
// kind do from then on, or the process is killed. strace injects the faults. It
// is for tests alone.
//
// strace counts calls by thread, so the process does its work on its first one:
// its main function calls [Stay] first.
package fault

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/need"
)

// offFirstThread is the exit code of a process that is not on its first thread
// any more.
const offFirstThread = 99

// Stay keeps the caller on the process's first thread, where strace counts. In
// the rare case that the runtime has moved it already, the process exits, and
// the sweep starts another.
func Stay() {
	runtime.LockOSThread()
	if syscall.Gettid() != syscall.Getpid() {
		os.Exit(offFirstThread)
	}
	// A goroutine that sets a timer earlier than all others wakes the thread
	// that waits for timers by a write (package runtime, netpollBreak), which
	// is not to fail. This timer is nearly always earlier.
	go func() {
		for range time.Tick(time.Millisecond) {
		}
	}()
}

// changing are the system calls that change what is on disk, as far as
// certlatch may use them. openat does where it creates a file.
var changing = []string{
	"write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate",
	"fchown", "fchownat", "fchmod", "fchmodat", "utimensat", "fsetxattr", "fremovexattr",
	"mkdirat", "symlinkat", "linkat", "renameat", "renameat2", "unlinkat",
	"openat",
}

// needSpace are the system calls that may fail with ENOSPC or EDQUOT, by their
// manual pages.
var needSpace = []string{
	"write", "pwrite64", "fsync", "fdatasync", "fallocate", "fsetxattr",
	"mkdirat", "symlinkat", "linkat", "renameat", "renameat2",
	"openat",
}

// Kind is a kind of fault at a system call.
type Kind struct {
	Name   string
	inject string
	of     []string // the calls to which it can happen
	stays  bool     // it goes on happening to all of them, until the process ends
}

// Kinds are all kinds of faults. A disk that is full or has become read-only
// stays so. Other errors occur once, so that what is done about them can
// succeed.
var Kinds = []Kind{
	{Name: "SIGKILL", inject: "signal=KILL", of: changing},
	{Name: "EIO", inject: "error=EIO", of: changing},
	{Name: "EDQUOT", inject: "error=EDQUOT", of: needSpace},
	{Name: "ENOSPC", inject: "error=ENOSPC", of: needSpace, stays: true},
	{Name: "EROFS", inject: "error=EROFS", of: changing, stays: true},
}

// Call is a system call that changes something.
type Call struct {
	Name string
	Args string         // as strace shows them, the paths of descriptors too
	made map[string]int // how many calls of each name were made up to this one
}

// Case is a fault at a call.
type Case struct {
	Kind Kind
	Call Call
}

func (c Case) String() string {
	return fmt.Sprintf("%s at %s %d, %s(%s)", c.Kind.Name, c.Call.Name, c.Call.made[c.Call.Name], c.Call.Name, c.Call.Args)
}

// Ended is how a process ended.
type Ended struct {
	Killed bool
	Code   int
	Output string
}

// Process is a process that is to meet faults.
type Process struct {
	// Start returns the process, and the directory with what it finds, made
	// anew. It must do the same each time.
	Start func() (root string, cmd *exec.Cmd)

	// Part returns the calls to inject faults at, where a sweep of another
	// process covers the rest; nil: all.
	Part func([]Call) []Call
}

// Sweep runs the process again and again, each time with another fault, and
// calls check afterwards. It returns the number of cases of each kind.
func Sweep(t *testing.T, p Process, check func(Case, Ended)) (cases map[string]int) {
	t.Helper()
	NeedStrace(t)
	need.That(t, !race, "thousands of processes are run without the race detector: by make test-faults")
	trace := filepath.Join(t.TempDir(), "trace")
	calls := record(t, trace, p.Start)
	if p.Part != nil {
		calls = p.Part(calls)
	}
	cases = map[string]int{}
	for _, kind := range Kinds {
		for _, call := range calls {
			if !slices.Contains(kind.of, call.Name) {
				continue
			}
			c := Case{kind, call}
			check(c, c.run(t, trace, p.Start))
			cases[kind.Name]++
		}
	}
	return cases
}

// Count logs the number of cases of all sweeps. It fails the test where there
// were fewer than atLeast, which prove nothing.
func Count(t *testing.T, of string, atLeast int, sweeps ...map[string]int) {
	t.Helper()
	all, sum := map[string]int{}, 0
	for _, cases := range sweeps {
		for kind, n := range cases {
			all[kind] += n
			sum += n
		}
	}
	var kinds []string
	for _, kind := range Kinds {
		kinds = append(kinds, fmt.Sprintf("%d %s", all[kind.Name], kind.Name))
	}
	t.Logf("%d faults of %s: %s", sum, of, strings.Join(kinds, ", "))
	if sum < atLeast {
		t.Errorf("%d faults are not enough: at least %d are wanted", sum, atLeast)
	}
}

// NeedStrace ends the test where strace cannot trace.
func NeedStrace(t *testing.T) {
	t.Helper()
	err := exec.Command("strace", "-qq", "-o", "/dev/null", "true").Run()
	need.That(t, err == nil, "needs strace that may trace")
}

// traced matches a line of strace's with a system call.
var traced = regexp.MustCompile(`(?m)^(\w+)\((.*)\) += .*$`)

// record returns the calls below root of a process that meets no fault.
func record(t *testing.T, trace string, start func() (string, *exec.Cmd)) (calls []Call) {
	t.Helper()
	root, ended := run(t, trace, start, "-e", "trace="+strings.Join(changing, ","))
	if ended.Killed || ended.Code == offFirstThread {
		t.Fatalf("without a fault the process ends with %+v", ended)
	}
	made := map[string]int{}
	for _, line := range traced.FindAllStringSubmatch(lines(t, trace), -1) {
		made[line[1]]++
		if isChange(line[0], root) {
			calls = append(calls, Call{line[1], strings.ReplaceAll(line[2], root, ""), maps.Clone(made)})
		}
	}
	return calls
}

// isChange reports whether a line of strace's is of a call that changes
// something below root.
func isChange(line, root string) bool {
	below := strings.Contains(line, "<"+root+"/") || strings.Contains(line, "<"+root+">") || strings.Contains(line, `"`+root+"/")
	return below && (!strings.HasPrefix(line, "openat") || strings.Contains(line, "O_CREAT"))
}

// run runs the process under its fault, up to five times where that hits
// another thread or a call of the runtime's own.
func (c Case) run(t *testing.T, trace string, start func() (string, *exec.Cmd)) (ended Ended) {
	t.Helper()
	for range 5 {
		var root string
		root, ended = run(t, trace, start, c.options()...)
		if ended.Killed && c.Kind.Name == "SIGKILL" || hitChange(lines(t, trace), root) {
			return ended
		}
	}
	t.Fatalf("%v: it does not come to pass: %+v", c, ended)
	return ended
}

// hitChange reports whether the first call with a fault is one that changes
// something below root, and none with a fault is the runtime's own.
func hitChange(trace, root string) bool {
	hit := false
	for line := range strings.Lines(trace) {
		switch {
		case !strings.HasSuffix(line, "(INJECTED)\n"):
		case strings.Contains(line, "<anon_inode:[eventfd]>"):
			return false
		case !hit && !isChange(line, root):
			return false
		default:
			hit = true
		}
	}
	return hit
}

// options returns strace's options that inject the fault. Faults that stay
// spare openat, since strace cannot tell calls that create from others: the
// file is made then, and cannot be filled or removed.
func (c Case) options() (options []string) {
	names := []string{c.Call.Name}
	options = append(options, "-e", fmt.Sprintf("inject=%s:%s:when=%d", c.Call.Name, c.Kind.inject, c.Call.made[c.Call.Name]))
	if c.Kind.stays {
		options = nil
		for _, name := range c.Kind.of {
			switch {
			case name == c.Call.Name && name == "openat":
				options = append(options, "-e", fmt.Sprintf("inject=%s:%s:when=%d", name, c.Kind.inject, c.Call.made[name]))
			case name == c.Call.Name:
				options = append(options, "-e", fmt.Sprintf("inject=%s:%s:when=%d+", name, c.Kind.inject, c.Call.made[name]))
			case name != "openat":
				options = append(options, "-e", fmt.Sprintf("inject=%s:%s:when=%d+", name, c.Kind.inject, c.Call.made[name]+1))
				names = append(names, name)
			}
		}
	}
	return append(options, "-e", "trace="+strings.Join(names, ","))
}

// run runs the process under strace, on its first thread alone: the programs
// that it starts meet no fault.
func run(t *testing.T, trace string, start func() (string, *exec.Cmd), options ...string) (root string, ended Ended) {
	t.Helper()
	for range 5 {
		var cmd *exec.Cmd
		root, cmd = start()
		program := slices.Concat([]string{"strace", "-qq", "-y", "-o", trace}, options, []string{cmd.Path}, cmd.Args[1:])
		under := exec.Command(program[0], program[1:]...)
		under.Env, under.Dir = cmd.Env, cmd.Dir
		output, err := under.CombinedOutput()
		exit, failed := errors.AsType[*exec.ExitError](err)
		if err != nil && !failed {
			t.Fatal(err)
		}
		ended = Ended{Output: string(output)}
		if failed {
			ended.Code = exit.ExitCode()
			ended.Killed = exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		}
		if ended.Code != offFirstThread {
			break
		}
	}
	return root, ended
}

func lines(t *testing.T, trace string) string {
	t.Helper()
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
