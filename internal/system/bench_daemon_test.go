package system

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/system/bench"
)

// daemon measures what the daemon needs until it is ready, and while nothing
// happens. The target of its lineages is held, so that nothing is deployed.
func (b *bencher) daemon() (rows []bench.Row) {
	few, many := b.watched(1000), b.watched(10_000)
	var seen [2][]rest
	for range rounds {
		for i, dir := range []string{few, many} {
			seen[i] = append(seen[i], b.rest(dir))
		}
	}
	of := func(i int, figure func(rest) float64) (all []float64) {
		for _, r := range seen[i] {
			all = append(all, figure(r))
		}
		return all
	}
	for _, row := range []struct {
		name, unit string
		figure     func(rest) float64
	}{
		{"watch, until it is ready", "ms", func(r rest) float64 { return ms(r.ready) }},
		{"watch, resident memory", "MB", func(r rest) float64 { return r.memory }},
		{"watch, CPU of a second at rest", "ms", func(r rest) float64 { return ms(r.cpu) }},
	} {
		rows = append(rows,
			bench.NewRow(row.name+", 1,000 lineages", row.unit, of(0, row.figure)),
			bench.NewRow(row.name+", 10,000 lineages", row.unit, of(1, row.figure)))
	}
	return rows
}

// watched returns a directory with a configuration and lineages as certbot keeps
// them, which all hold the same pair.
func (b *bencher) watched(lineages int) string {
	b.Helper()
	dir := b.TempDir()
	leaf := pki.SelfSigned(b, pki.Names("rest.example"))
	for n := range lineages {
		pki.WriteCertbot(b, filepath.Join(dir, "live"), fmt.Sprintf("n%05d.example", n), leaf)
	}
	config := fmt.Sprintf(`
state: %[1]s/state
lineages: [certbot: %[1]s/live]
policy: {trust: any}
targets:
  - name: rest
    service: generic
    lineage: "*.example"
    certificate: %[1]s/{lineage}.crt
    key: %[1]s/{lineage}.key
    probe: []
    generic: {activate: ["true"]}
`, dir)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	if _, err := output(b.program, "--config", filepath.Join(dir, "config.yaml"), "hold", "rest"); err != nil {
		b.Fatal(err)
	}
	return dir
}

// rest is what was seen of a daemon at rest.
type rest struct {
	ready  time.Duration // from its start
	memory float64       // MB
	cpu    time.Duration // of a second
}

// rest starts the daemon, looks at it once it has come to rest, and ends it.
func (b *bencher) rest(dir string) (r rest) {
	b.Helper()
	socket := filepath.Join(dir, "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket})
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(socket)
	defer notify.Close()
	daemon := exec.Command(b.program, "--config", filepath.Join(dir, "config.yaml"), "watch")
	daemon.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	var log bytes.Buffer
	daemon.Stderr = &log
	began := time.Now()
	if err := daemon.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = daemon.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		if err := daemon.Wait(); err != nil {
			b.Errorf("watch: %v\n%s", err, log.Bytes())
		}
	}()
	if err := awaitWord(notify, "READY=1"); err != nil {
		b.Errorf("wait until the daemon is ready: %v", err)
		return r
	}
	r.ready = time.Since(began)
	// What it does at its start is over when it does next to nothing for a second.
	if err := until(b.Context(), func() (err error) {
		if r.cpu, err = processor(daemon.Process.Pid, time.Second); err == nil && r.cpu > 2*time.Millisecond {
			err = fmt.Errorf("the daemon does not come to rest: %v of processor time in a second", r.cpu)
		}
		return err
	}); err != nil {
		b.Error(err)
	}
	if r.cpu, err = processor(daemon.Process.Pid, time.Second); err != nil {
		b.Error(err)
	}
	if r.memory, err = resident(daemon.Process.Pid); err != nil {
		b.Error(err)
	}
	return r
}

// awaitWord waits for a notification that begins with a word (sd_notify(3)).
func awaitWord(notify *net.UnixConn, word string) error {
	if err := notify.SetReadDeadline(time.Now().Add(waitLimit)); err != nil {
		return err
	}
	for buffer := make([]byte, 4096); ; {
		n, err := notify.Read(buffer)
		if err != nil || bytes.HasPrefix(buffer[:n], []byte(word)) {
			return err
		}
	}
}

// processor returns the processor time that a process uses in some time.
func processor(pid int, in time.Duration) (time.Duration, error) {
	before, err := onProcessor(pid)
	if err != nil {
		return 0, err
	}
	time.Sleep(in)
	after, err := onProcessor(pid)
	return after - before, err
}

// onProcessor returns the processor time that the threads of a process have had
// (Linux, Documentation/scheduler/sched-stats.rst: nanoseconds first).
func onProcessor(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += ns
	}
	return time.Duration(sum), nil
}

// resident returns how much of a process is in memory, in MB (proc_pid_status(5)).
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	var kB float64
	_, err = fmt.Sscan(after, &kB)
	return kB / 1e3, err
}
