// Package process finds out from /proc which processes of a service live, and
// whether one is still the one that was seen before; and from the kernel's
// sock_diag, or /proc, where they listen. It also sends signals.
//
// It does not promise a consistent picture: processes come and go while it
// looks, and one that has gone is left out. Only root can see what other users'
// processes hold open.
package process

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// GoneError says that a process has ended, even if another one has its PID now.
type GoneError struct{ PID int }

func (e *GoneError) Error() string { return fmt.Sprintf("process %d has ended", e.PID) }

// Started returns the time at which a process was started, in clock ticks since
// boot. A PID and a start time together identify one process for good. It fails
// with a *GoneError where there is no such process.
func Started(pid int) (uint64, error) {
	s, err := readStat(pid)
	return s.started, err
}

// FromPIDFile returns the PID in a PID file, if that process lives and runs the
// program: its name in the kernel, of 15 bytes at most, is the base name of
// program. Otherwise, and where there is no file or it is empty, it returns 0.
func FromPIDFile(path, program string) (int, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read PID file: %w", err)
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return 0, nil // an empty file is one that the service is about to write
	}
	pid, err := strconv.Atoi(text)
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("PID file %s holds no process number", path)
	}
	s, err := readStat(pid)
	if _, gone := errors.AsType[*GoneError](err); gone {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if s.name != kernelName(program) {
		return 0, nil
	}
	return pid, nil
}

// Signal sends HUP, USR1 or USR2 to the process with a PID and a start time
// (see [Started]), and never to another one that has the PID now. It fails with
// a *GoneError where the process has ended.
func Signal(pid int, started uint64, name string) error {
	number, ok := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2}[name]
	if !ok {
		return fmt.Errorf("signal %q is none of HUP, USR1, USR2", name)
	}
	// FindProcess holds the process by a pidfd (Linux 5.3), so the process that
	// is checked next is the one that gets the signal.
	p, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("find process %d: %w", pid, err)
	}
	defer p.Release()
	now, err := Started(pid)
	if err != nil {
		return err
	}
	if now != started {
		return &GoneError{pid}
	}
	err = p.Signal(number)
	if errors.Is(err, os.ErrProcessDone) {
		return &GoneError{pid}
	}
	if err != nil {
		return fmt.Errorf("send %s to process %d: %w", name, pid, err)
	}
	return nil
}

// Titles returns the titles of processes (proc_pid_cmdline(5)): their
// arguments, or what they put in place of these. Those that have ended have
// none.
func Titles(pids []int) []string {
	var titles []string
	for _, pid := range pids {
		if title, err := readTitle(pid); err == nil && title != "" {
			titles = append(titles, title)
		}
	}
	return titles
}

// Arguments returns those that a process was started with, the program first, as
// long as it has not put anything in their place (proc_pid_cmdline(5)); nil: it has
// ended.
func Arguments(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if isGone(err) || err == nil && len(text) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the arguments of process %d: %w", pid, err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), nil
}

// readTitle returns the title of whichever process has a PID; empty: none does.
func readTitle(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if isGone(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the title of process %d: %w", pid, err)
	}
	return strings.TrimRight(strings.ReplaceAll(string(text), "\x00", " "), " "), nil
}

// ID is one process for good: no other has both its PID and its start time.
type ID struct {
	PID     int
	Started uint64 // as [Started] returns it
}

// Title returns the title of a process, as [Titles] does; empty: it has none, since
// it has ended, even if another one has its PID now.
func (id ID) Title() (string, error) {
	title, err := readTitle(id.PID)
	if err != nil {
		return "", err
	}
	// What was read was its own if it is still there.
	now, err := Started(id.PID)
	if _, gone := errors.AsType[*GoneError](err); gone || err == nil && now != id.Started {
		return "", nil
	}
	return title, err
}

// mostReads is how often a list of children is read until it says the same twice.
const mostReads = 10

// Children returns the child processes of a process of one thread. Those that have
// ended are left out.
func Children(pid int) ([]ID, error) {
	// While a child ends, others may be missing from what is read
	// (Documentation/filesystems/proc.rst of Linux, section 3.7).
	list, err := readChildren(pid)
	for range mostReads {
		before := list
		if list, err = readChildren(pid); err != nil {
			break
		}
		if list == before {
			return identified(list)
		}
	}
	if err == nil {
		err = errors.New("they come and go")
	}
	return nil, fmt.Errorf("list the children of process %d: %w", pid, err)
}

// readChildren returns the PIDs of a process's children, as the kernel lists them.
func readChildren(pid int) (string, error) {
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	return string(list), err
}

// identified returns the processes of a list of PIDs that live.
func identified(list string) ([]ID, error) {
	var found []ID
	for field := range strings.FieldsSeq(list) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		started, err := Started(pid)
		if _, gone := errors.AsType[*GoneError](err); gone {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, ID{pid, started})
	}
	return found, nil
}

// Unit returns the name of the service unit of systemd in which this process runs;
// empty: in none.
func Unit() string {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	return unitIn(string(content))
}

// unitIn returns the service unit in the list of a process's control groups
// (cgroups(7), /proc/[pid]/cgroup). What systemd has put it into is in the unified
// hierarchy, or in one of that name; below a unit there may be further groups.
func unitIn(groups string) string {
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) < 3 || parts[1] != "" && parts[1] != "name=systemd" {
			continue
		}
		for _, group := range slices.Backward(strings.Split(parts[2], "/")) {
			if strings.HasSuffix(group, ".service") {
				return group
			}
		}
	}
	return ""
}

// Members returns the PIDs in a control group, named as in systemd's property
// ControlGroup, and in the groups below it, sorted. There are none in "", nor
// in a group that does not exist.
func Members(controlGroup string) ([]int, error) {
	if controlGroup == "" {
		return nil, nil
	}
	// Where systemd keeps its hierarchy: unified, legacy, and hybrid
	// (systemd.io/CGROUP_DELEGATION, "Three Different Tree Setups").
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"} {
		group := filepath.Join(mount, controlGroup)
		if _, err := os.Stat(filepath.Join(group, "cgroup.procs")); err == nil {
			return groupMembers(group)
		}
	}
	return nil, nil
}

func groupMembers(group string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "cgroup.procs" {
			var content []byte
			content, err = os.ReadFile(path)
			for _, field := range strings.Fields(string(content)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
					pids = append(pids, pid)
				}
			}
		}
		// A group below may vanish, and a threaded one has no list of its
		// own (cgroups(7)).
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the processes of control group %s: %w", group, err)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// Descendants returns the PIDs of a process, its children, their children, and
// so on, sorted.
func Descendants(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	children := map[int][]int{}
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(child); err == nil {
			children[s.parent] = append(children[s.parent], child)
		}
	}
	found := []int{pid}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	slices.Sort(found)
	return found, nil
}

// stat is what is used of proc_pid_stat(5).
type stat struct {
	name    string
	parent  int
	started uint64 // clock ticks since boot
}

// readStat returns a process's stat. It fails with a *GoneError where the process
// has ended, also where its parent has not waited for it yet.
func readStat(pid int) (stat, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return stat{}, &GoneError{pid}
	}
	if err != nil {
		return stat{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	// The name is in parentheses and may hold anything, parentheses too.
	line := string(content)
	from, to := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	fields := strings.Fields(line[to+1:]) // counted from 3 in the manual
	if from < 0 || to < from || len(fields) < 20 {
		return stat{}, fmt.Errorf("look at process %d: /proc/%d/stat is not in the known form", pid, pid)
	}
	if state := fields[0]; state == "Z" || state == "X" {
		return stat{}, &GoneError{pid}
	}
	parent, errParent := strconv.Atoi(fields[1])
	started, errStarted := strconv.ParseUint(fields[19], 10, 64)
	if err := cmp.Or(errParent, errStarted); err != nil {
		return stat{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return stat{name: line[from+1 : to], parent: parent, started: started}, nil
}
