package process

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Running is a process that runs a program.
type Running struct {
	PID     int
	Started uint64 // as of [Started]
	Title   string // as of [Titles]
	Program string // the path of what it runs, as the kernel has it (proc_pid_exe(5)); empty: it may not be seen
	Unit    string // the system's unit that it belongs to, a service; empty: none

	// Own is set where it runs as whoever runs certlatch, root as a rule: what others
	// call their processes may be anything.
	Own bool
}

// OfProgram returns the processes that run a program and whose parents do not, sorted:
// of one that has workers, the main process. They are told by their name in the kernel,
// as in [FromPIDFile], or as scripts of an interpreter. Those of containers are left out.
func OfProgram(program string) ([]Running, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	parents := map[int]int{} // of those that run it
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil && (s.name == kernelName(program) || interprets(pid, s.name, program)) {
			parents[pid] = s.parent
		}
	}
	return mains(parents), nil
}

// Listening returns the processes that listen on one of the ports and whose parents do
// not, sorted. Those of other users are left out where they may not be looked at.
func Listening(ports []uint16) ([]Running, error) {
	listening, err := listeningSockets(openDiag, "/proc/self/net/tcp", "/proc/self/net/tcp6")
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(listening, func(_ uint32, at netip.AddrPort) bool { return !slices.Contains(ports, at.Port()) })
	if len(listening) == 0 {
		return nil, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	parents := map[int]int{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		inodes, err := sockets(pid)
		if err != nil || !slices.ContainsFunc(inodes, func(inode uint32) bool { _, is := listening[inode]; return is }) {
			continue
		}
		if s, err := readStat(pid); err == nil {
			parents[pid] = s.parent
		}
	}
	return mains(parents), nil
}

// mains describes those of some processes, with their parents, whose parents are not
// among them.
func mains(parents map[int]int) (found []Running) {
	for pid, parent := range parents {
		if _, isChild := parents[parent]; !isChild && inOwnNamespace(pid) {
			found = append(found, Describe(pid))
		}
	}
	slices.SortFunc(found, func(a, b Running) int { return a.PID - b.PID })
	return found
}

// interprets reports whether a process is that of an interpreter, by its name in the
// kernel, which runs a program as a script: as one that env(1) was asked for it has the
// interpreter's name, and the script's path for an argument.
func interprets(pid int, name, program string) bool {
	known := []string{"lua", "perl", "python", "ruby"}
	if !slices.ContainsFunc(known, func(interpreter string) bool { return strings.HasPrefix(name, interpreter) }) {
		return false
	}
	argv, err := Arguments(pid)
	return err == nil && len(argv) > 1 && filepath.Base(argv[1]) == filepath.Base(program)
}

// kernelName returns the name that the kernel has for processes of a program
// (TASK_COMM_LEN without its final zero, proc_pid_comm(5)).
func kernelName(program string) string {
	const limit = 15
	name := filepath.Base(program)
	return name[:min(len(name), limit)]
}

// inOwnNamespace reports whether a process is not of a container, as far as can be
// seen (pid_namespaces(7)).
func inOwnNamespace(pid int) bool {
	own, errOwn := os.Readlink("/proc/self/ns/pid")
	its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	return errOwn != nil || err != nil || own == its
}

// Describe returns what is to be known of a process. What may not be seen, or of one
// that has ended, is left out.
func Describe(pid int) Running {
	r := Running{PID: pid, Own: isOwn(pid)}
	r.Started, _ = Started(pid)
	r.Title, _ = readTitle(pid)
	r.Program, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	r.Unit = unitOf(string(groups))
	return r
}

// isOwn reports whether all user IDs of a process are that of certlatch: of a program
// that changes its user as it is run (set-user-ID), the real one is another's.
func isOwn(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // proc_pid_status(5)
	if err != nil {
		return false
	}
	own := strconv.Itoa(os.Geteuid())
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			return !slices.ContainsFunc(strings.Fields(ids), func(id string) bool { return id != own })
		}
	}
	return false
}

// unitOf returns the service of the system to which a process belongs, by its control
// groups (cgroups(7), "/proc/pid/cgroup"; systemd.io/CONTROL_GROUP_INTERFACE): the
// hierarchy without a controller, or that named systemd.
func unitOf(groups string) string {
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 || parts[1] != "" && parts[1] != "name=systemd" {
			continue
		}
		for part := range strings.SplitSeq(parts[2], "/") {
			if strings.HasSuffix(part, ".service") {
				return part
			}
		}
	}
	return ""
}
