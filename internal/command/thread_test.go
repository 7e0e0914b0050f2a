package command

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/fault"
	"github.com/certlatch/certlatch/internal/need"
)

// The IDs of the credentials below.
const (
	reader, somebody     = 61184, 4710 // the first of systemd's dynamic users (systemd.io/UIDS-GIDS)
	primary, extra, more = 4711, 4712, 4713
	strange              = 4714
)

// credentials are whom services run as, in the ways that matter to files.
func credentials() []Credential {
	return []Credential{
		{User: "stranger", UID: nobody, GID: nobody},
		{User: "reader", UID: reader, GID: primary},
		{User: "reader with groups", UID: reader, GID: primary, Groups: []uint32{extra, more}},
		{User: "reader of extra alone", UID: reader, GID: strange, Groups: []uint32{extra}},
		{User: "member", UID: somebody, GID: primary, Groups: []uint32{primary, extra}},
		{User: "with root's group", UID: somebody, GID: 0},
		{User: "with root's group beside", UID: somebody, GID: primary, Groups: []uint32{0}},
		{User: "the last user", UID: 1<<32 - 2, GID: 1<<32 - 2, Groups: []uint32{1<<32 - 2}},
		{User: "root"},
		{User: "root with groups", GID: primary, Groups: []uint32{extra}},
	}
}

// makeFiles makes a file of each owner, group and mode that matters below a
// directory, and returns their paths.
func makeFiles(t *testing.T, dir string) (paths []string) {
	t.Helper()
	for _, uid := range []int{0, reader, somebody} {
		for _, gid := range []int{0, primary, extra, strange} {
			for _, mode := range []os.FileMode{0, 0o400, 0o040, 0o004, 0o044, 0o404, 0o440, 0o600} {
				path := filepath.Join(dir, fmt.Sprintf("%d-%d-%03o", uid, gid, mode))
				paths = append(paths, path)
				if err := errors.Join(os.WriteFile(path, []byte("key"), 0o600), os.Chown(path, uid, gid), os.Chmod(path, mode)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return paths
}

// makeWays makes files whose way, or whose ACL, decides, and returns their paths.
// A file is group primary's, and a way is root's, with the mode, and what setfacl
// adds.
func makeWays(t *testing.T, dir string) (paths []string) {
	t.Helper()
	setfacl := need.Program(t, "setfacl")
	for _, c := range []struct {
		name, way, file string // modes, and entries of ACLs
	}{
		{"no search", "0700", "0644"},
		{"search alone", "0711", "0644"},
		{"list without search", "0744", "0644"},
		{"sticky", "1777", "0644"},
		{"set-group-ID", "2755", "0640"},
		{"way of the group", "0710", "0640"},
		{"named user", "0755", "0600 u:reader:r"},
		{"named user without rights", "0755", "0644 u:reader:-"},
		{"named user by mask", "0755", "0600 u:reader:r m::-"},
		{"named user, masked to read", "0755", "0600 u:reader:rwx m::r"},
		{"named primary group", "0755", "0600 g:strange:r"},
		{"named supplementary group", "0755", "0600 g:extra:r"},
		{"named group without rights", "0755", "0604 g:extra:-"},
		{"one group of two", "0755", "0600 g:extra:- g:more:r"},
		{"owning group for a named one", "0755", "0640 g:extra:-"},
		{"named group by mask", "0755", "0600 g:extra:r m::-"},
		{"owning group by mask", "0755", "0640 u:somebody:r m::-"},
		{"others, not a named group", "0755", "0604 g:strange:-"},
		{"way of a named user", "0700 u:reader:x", "0644"},
		{"way of a named group", "0700 g:extra:x", "0644"},
		{"way of a group by mask", "0700 g:extra:x m::-", "0644"},
		{"way closed to a group", "0755 g:extra:-", "0644"},
		{"inherited", "0755 d:u:reader:r", "0600"},
	} {
		way := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-"))
		file := filepath.Join(way, "key")
		paths = append(paths, file)
		if err := errors.Join(os.Mkdir(way, 0o755), os.WriteFile(file, []byte("key"), 0o600), os.Chown(file, 0, primary), os.Chown(way, 0, primary)); err != nil {
			t.Fatal(err)
		}
		setUp := func(path, rights string) {
			mode, entries, _ := strings.Cut(rights, " ")
			bits, err := strconv.ParseUint(mode, 8, 32)
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Chmod(path, uint32(bits)); err != nil {
				t.Fatal(err)
			}
			ids := strings.NewReplacer("reader", fmt.Sprint(reader), "somebody", fmt.Sprint(somebody), "extra", fmt.Sprint(extra),
				"more", fmt.Sprint(more), "strange", fmt.Sprint(strange))
			for entry := range strings.FieldsSeq(ids.Replace(entries)) {
				if output, err := exec.Command(setfacl, "-n", "-m", entry, path).CombinedOutput(); err != nil {
					t.Fatalf("setfacl -m %s: %v\n%s", entry, err, output)
				}
			}
		}
		if strings.Contains(c.way, "d:") { // a file that is made later has what it inherits
			setUp(way, c.way)
			if err := errors.Join(os.Remove(file), os.WriteFile(file, []byte("key"), 0o640)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		setUp(file, c.file)
		setUp(way, c.way)
	}
	return append(paths, makeLinks(t, dir)...)
}

// makeLinks makes links that not everybody may follow (fs.protected_symlinks,
// proc_sys_fs(5)), or that lead past what not everybody may pass.
func makeLinks(t *testing.T, dir string) (paths []string) {
	t.Helper()
	sticky := filepath.Join(dir, "everybodys")
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Mkdir(sticky, 0o777), syscall.Chmod(sticky, 0o1777), os.WriteFile(open, nil, 0o644), os.Chmod(open, 0o644)); err != nil {
		t.Fatal(err)
	}
	for owner, target := range map[int]string{0: open, reader: open, somebody: "../open", nobody: "../no-search/key", strange: "../way-of-a-named-group/key"} {
		link := filepath.Join(sticky, fmt.Sprint(owner))
		if err := errors.Join(os.Symlink(target, link), os.Lchown(link, owner, owner)); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, link)
	}
	slices.Sort(paths)
	return append(paths, filepath.Join(dir, "none"), filepath.Join(dir, "no-search/none"), filepath.Join(open, "below"))
}

// readable returns those of the paths that a process can open which setpriv(1)
// gives a credential.
func readable(t *testing.T, cred Credential, paths []string) (can []string) {
	t.Helper()
	groups := "--clear-groups"
	if len(cred.Groups) > 0 {
		groups = "--groups=" + strings.Trim(strings.ReplaceAll(fmt.Sprint(cred.Groups), " ", ","), "[]")
	}
	cmd := exec.Command(need.Program(t, "setpriv"), fmt.Sprintf("--reuid=%d", cred.UID), fmt.Sprintf("--regid=%d", cred.GID), groups, "--",
		"/bin/sh", "-c", `for path; do if true <"$path"; then echo "$path"; fi; done`, "sh")
	cmd.Args = append(cmd.Args, paths...)
	output, err := cmd.Output()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return strings.Fields(string(output))
}

// TestThreadSeesWhatProcessSees compares what a thread can open with what a
// process can: one that setpriv starts, and, where something decides on the way,
// the child that is taken where a thread is not enough.
func TestThreadSeesWhatProcessSees(t *testing.T) {
	need.Root(t)
	for _, base := range []string{"/var/tmp", "/dev/shm"} { // a disk, in most cases, and memory
		dir, err := os.MkdirTemp(base, "certlatch-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		chmod(t, dir, 0o755)
		files, ways := makeFiles(t, dir), makeWays(t, dir)
		answers := map[string]int{}
		for _, cred := range credentials() {
			want := readable(t, cred, slices.Concat(files, ways))
			var got []string
			for _, path := range slices.Concat(files, ways) {
				err := tryAs(t.Context(), cred, []string{path})
				if err == nil {
					got = append(got, path)
				} else if _, ok := errors.AsType[*UnreadableError](err); !ok {
					t.Fatalf("%s: %v", cred.User, err)
				}
				answers[fmt.Sprint(err == nil)]++
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s can read, as a process (-) and as a thread (+):\n%s", cred.User, diff)
			}
			for _, path := range ways {
				child, thread := tryInChild(t.Context(), cred, []string{path}), tryAs(t.Context(), cred, []string{path})
				if fmt.Sprint(child) != fmt.Sprint(thread) {
					t.Errorf("of %s a child says %v, and a thread %v", path, child, thread)
				}
			}
		}
		t.Logf("below %s: %d can be read, %d cannot", base, answers["true"], answers["false"])
		if min(answers["true"], answers["false"]) < 200 {
			t.Error("that is not enough to compare")
		}
	}
}

// threadStatus returns what a thread runs with, by its ID (proc_pid_status(5)); false:
// it has ended.
func threadStatus(t *testing.T, tid int) (status string, exists bool) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", tid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	var has []string
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if slices.Contains([]string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb"}, key) {
			has = append(has, key+" "+strings.Join(strings.Fields(value), " "))
		}
	}
	return strings.Join(has, "; "), true
}

// threads returns what the threads of this process run with, by their IDs.
func threads(t *testing.T) map[int]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	all := map[int]string{}
	for _, entry := range entries {
		tid, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		if status, exists := threadStatus(t, tid); exists {
			all[tid] = status
		}
	}
	return all
}

// awaitEnd waits until threads have ended.
func awaitEnd(t *testing.T, tids map[int]bool) {
	t.Helper()
	for tid := range tids {
		for exists := true; exists; _, exists = threadStatus(t, tid) {
			if t.Context().Err() != nil {
				t.Fatal(t.Context().Err())
			}
			runtime.Gosched()
		}
	}
}

// TestThreadKeepsItsCredential makes many trials at once, among them some that
// end in unusual ways, and wants no thread to have another's credential but that of the
// trial, which ends.
func TestThreadKeepsItsCredential(t *testing.T) {
	need.Root(t)
	path := filepath.Join(tree(t, "key"), "key")
	own, _ := threadStatus(t, os.Getpid())
	cred := Credential{User: "reader", UID: reader, GID: primary, Groups: []uint32{extra, more}}
	const none = "0000000000000000"
	taken := fmt.Sprintf("Uid 0 0 0 %d; Gid 0 0 0 %d; Groups %d %d; CapInh %s; CapPrm %s; CapEff %s; CapAmb %s", reader, primary, extra, more, none, none, none, none)

	var mutex sync.Mutex
	trials := map[int]bool{} // by thread
	as := func(after func()) {
		done := make(chan struct{})
		onThread(func() {
			defer close(done)
			if unix.Gettid() == unix.Getpid() {
				t.Error("a trial has the first thread, which does not end, and is what others see")
				return
			}
			mutex.Lock()
			trials[unix.Gettid()] = true
			mutex.Unlock()
			err := tryOpenAs(cred, []string{path})
			if status, _ := threadStatus(t, unix.Gettid()); err != nil || status != taken {
				t.Errorf("the trial ends with %v, and has %s, not %s", err, status, taken)
			}
			after()
		})
		<-done
	}
	ends := []func(){
		func() {},
		runtime.Gosched,
		runtime.Goexit,
		func() { defer func() { _ = recover() }(); panic("in a trial") },
		func() { // what is started from there is not there
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
					if status, _ := threadStatus(t, unix.Gettid()); status != own {
						t.Errorf("a goroutine that a trial started has %s", status)
					}
				})
			}
			wg.Wait()
		},
	}
	var wg sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range 50 {
				as(ends[i%len(ends)])
			}
		})
	}
	over := make(chan struct{})
	go func() { wg.Wait(); close(over) }()
	watch := func() {
		all := threads(t)
		mutex.Lock()
		defer mutex.Unlock()
		maps.DeleteFunc(all, func(tid int, status string) bool { return status == own || trials[tid] })
		if len(all) > 0 {
			t.Fatalf("other threads have %v, not %s", all, own)
		}
	}
	for looks := 0; ; looks++ {
		select {
		case <-over:
			t.Logf("%d looks at %d trials", looks, len(trials))
			awaitEnd(t, trials)
			freshThreads(t, own)
			return
		default:
			watch()
		}
	}
}

// freshThreads holds many threads at once, more than there were, and wants each to
// run as the process does.
func freshThreads(t *testing.T, own string) {
	t.Helper()
	release := make(chan struct{})
	var held, ended sync.WaitGroup
	for range 4*runtime.GOMAXPROCS(0) + len(threads(t)) {
		held.Add(1)
		ended.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if status, _ := threadStatus(t, unix.Gettid()); status != own {
				t.Errorf("a thread has %s, not %s", status, own)
			}
			held.Done()
			<-release
		})
	}
	held.Wait()
	close(release)
	ended.Wait()
}

// refusedVariable has this program make the trial of TestRefusedTrial.
const refusedVariable = "CERTLATCH_TEST_REFUSED"

// TestRefusedTrial refuses each of the system calls by which a thread becomes
// somebody else, in word or in silence, and wants an error, not that root can
// read the file.
func TestRefusedTrial(t *testing.T) {
	need.Root(t)
	if path := os.Getenv(refusedVariable); path != "" {
		err := tryAs(t.Context(), Credential{User: "nobody", UID: nobody, GID: nobody}, []string{path})
		if _, ok := errors.AsType[*NotStartedError](err); !ok {
			t.Errorf("the trial ends with %v", err)
		}
		return
	}
	fault.NeedStrace(t)
	dir := tree(t, "key")
	chmod(t, filepath.Join(dir, "key"), 0o600)
	strace := func(what string) []string {
		return []string{need.Program(t, "strace"), "-f", "-qq", "-o", "/dev/null", "-e", "inject=" + what}
	}
	setpriv := need.Program(t, "setpriv")
	for name, under := range map[string][]string{
		"no CAP_SETGID":       {setpriv, "--bounding-set=-setgid", "--"},
		"no CAP_SETUID":       {setpriv, "--bounding-set=-setuid", "--"},
		"setgroups":           strace("setgroups:error=EPERM"),
		"setfsgid":            strace("setfsgid:error=EPERM"),
		"setfsgid in silence": strace("setfsgid:retval=0"),
		"setfsuid":            strace("setfsuid:error=EPERM"),
		"setfsuid in silence": strace("setfsuid:retval=0"),
		"capset":              strace("capset:error=EPERM"),
	} {
		cmd := exec.Command(under[0], append(under[1:], os.Args[0], "-test.run=^TestRefusedTrial$", "-test.v")...)
		cmd.Env = append(os.Environ(), refusedVariable+"="+filepath.Join(dir, "key"))
		if output, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(output, []byte("--- PASS: TestRefusedTrial")) {
			t.Errorf("%s: %v\n%s", name, err, output)
		}
	}
}

// TestTrialLeavesNoCore wants the process to become undumpable again after each
// change of a user, since keys pass through it (see TestNoCoreDump of the program).
// What that makes of it before depends on the host (fs.suid_dumpable, proc_sys_fs(5)).
func TestTrialLeavesNoCore(t *testing.T) {
	need.Root(t)
	fault.NeedStrace(t)
	for test, change := range map[string]string{
		"^TestCanReadAsAnother$/^open_to_all$": "setfsuid(65534",
		"^TestFeedAsAnother$":                  "setuid(65534",
	} {
		trace := filepath.Join(t.TempDir(), "trace")
		cmd := exec.Command(need.Program(t, "strace"), "-f", "-qq", "-o", trace, "-e", "trace=setuid,setfsuid,prctl", os.Args[0], "-test.run="+test)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		calls, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		_, after, changed := strings.Cut(string(calls), change)
		if !changed || !strings.Contains(after, "prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE)") {
			t.Errorf("%s: nothing forbids core dumps after %s in\n%s", test, change, calls)
		}
	}
}

func TestFeedAsAnother(t *testing.T) {
	need.Root(t)
	output, err := Feed(t.Context(), Credential{User: "nobody", UID: nobody, GID: nobody}, []string{"sh", "-c", "id -u; cat"}, []byte("input"))
	if want := fmt.Sprintf("%d\ninput", nobody); err != nil || output.Stdout != want {
		t.Errorf("the program prints %q (%v), not %q", output.Stdout, err, want)
	}
}

func BenchmarkCanRead(b *testing.B) {
	need.Root(b)
	cred := Credential{User: "nobody", UID: nobody, GID: nobody}
	b.Run("thread", func(b *testing.B) {
		for b.Loop() {
			if err := CanRead(b.Context(), cred, []string{"/etc/passwd", "/etc/group"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("child", func(b *testing.B) {
		for b.Loop() {
			if err := tryInChild(b.Context(), cred, []string{"/etc/passwd", "/etc/group"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
