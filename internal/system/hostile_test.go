package system

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/certlatch/certlatch/internal/need"
)

// runLimit bounds every run of certlatch, hooks included, whatever an attacker
// does: a client waits for it.
const runLimit = 100 * time.Second

// clock measures a command in which certlatch runs, until stop is called.
func (s *scenario) clock(args []string) (stop func()) {
	began := time.Now()
	return func() {
		if took := time.Since(began); slices.Contains(args, "certlatch") && took > s.longest {
			s.longest, s.longestRun = took, args
		}
	}
}

// judgeLongest logs how long the longest run took, and fails where that was
// longer than runLimit.
func (s *scenario) judgeLongest() {
	s.Helper()
	if s.longest > 0 {
		s.Logf("longest run: %v (%s)", s.longest.Round(time.Millisecond), strings.Join(s.longestRun, " "))
	}
	if s.longest > runLimit {
		s.Errorf("a run took %v, more than %v", s.longest, runLimit)
	}
}

// as runs a program inside under a user of the host, with that user's groups.
func (s *scenario) as(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	return s.runHost(ts, append([]string{"setpriv", "--reuid=" + args[0], "--regid=" + args[0], "--init-groups"}, args[1:]...))
}

// hostile starts an attack of a user of the host. With stop in place of the
// attack, it ends all of the user's attacks, and fails where one had ended by
// itself.
func (s *scenario) hostile(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	slice := "hostile-" + args[0] + ".slice"
	if args[1] == "stop" {
		if failed, err := s.host.run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "hostile-"+args[0]+"-*"); err != nil || failed != "" {
			log, _ := s.host.run("journalctl", "--output=cat", "_COMM=hostile")
			return fmt.Errorf("an attack has ended: %v%s\n%s", err, failed, log)
		}
		_, err := s.host.run("systemctl", "stop", slice)
		return err
	}
	s.attacks++
	return s.runHost(ts, slices.Concat([]string{
		"systemd-run", "--quiet", "--service-type=exec", "--slice=" + slice, "--uid=" + args[0],
		fmt.Sprintf("--unit=hostile-%s-%d", args[0], s.attacks), "/usr/bin/hostile",
	}, args[1:]))
}

// rounds runs a program again and again, and logs the exit codes. No round may
// take longer than runLimit; the script checks afterwards what became of them.
func (s *scenario) rounds(ts *testscript.TestScript, args []string) error {
	if len(args) < 3 || args[1] != "host" {
		return errUsage
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return errUsage
	}
	ended, said := map[int]int{}, map[int]string{}
	for range count {
		cmd := s.host.command(args[2:]...)
		stop := s.clock(args[2:])
		out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput()
		stop()
		status := 0
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			status = exit.ExitCode()
		} else if err != nil {
			return err
		}
		ended[status]++
		said[status] = string(out)
	}
	for _, status := range slices.Sorted(maps.Keys(ended)) {
		ts.Logf("[%d of %d rounds: exit status %d; the last one:]\n%s", ended[status], count, status, said[status])
	}
	return nil
}

// timed runs a program, however it ends, and logs how long that took. It fails
// where that was longer than a limit.
func (s *scenario) timed(ts *testscript.TestScript, args []string) error {
	if len(args) < 3 || args[1] != "host" {
		return errUsage
	}
	limit, err := time.ParseDuration(args[0])
	if err != nil {
		return errUsage
	}
	began := time.Now()
	status, err := s.status(ts, args[2:])
	took := time.Since(began)
	ts.Logf("[%v, exit status %d]", took.Round(time.Millisecond), status)
	if err == nil && took > limit {
		err = mismatchf("it took %v, more than %v", took, limit)
	}
	return err
}

// sweep runs a program again and again, each time killed at the next system
// call of one kind, until it gets to its end; then on to the next kind. After
// each run a program in the host checks whether all is well.
func (s *scenario) sweep(ts *testscript.TestScript, args []string) error {
	if len(args) < 4 || args[2] != "host" {
		return errUsage
	}
	need.Program(s, "strace")
	points := 0
	for call := range strings.SplitSeq(args[0], ",") {
		for n := 1; ; n++ {
			when := fmt.Sprintf("%s:signal=KILL:when=%d", call, n)
			killed, err := s.killed(when, args[3:])
			if err != nil {
				return err
			}
			if out, err := s.host.run(args[1], call, strconv.Itoa(n)); err != nil {
				return mismatchf("after %s: %v\n%s", when, err, out)
			}
			if !killed {
				break
			}
			points++
		}
	}
	ts.Logf("[killed at %d points]", points)
	if points == 0 {
		return errors.New("it was never killed")
	}
	return nil
}

// killed runs a program until strace kills it, and reports whether it did.
// nsenter(1) ends as its child did.
func (s *scenario) killed(when string, args []string) (bool, error) {
	call, _, _ := strings.Cut(when, ":")
	argv := append([]string{"-f", "-qq", "-o", filepath.Join(s.TempDir(), "trace"), "-e", "trace=" + call, "-e", "inject=" + when}, s.host.command(args...)...)
	out, err := exec.Command("strace", argv...).CombinedOutput()
	exit := new(exec.ExitError)
	switch {
	case err == nil:
		return false, nil
	case !errors.As(err, &exit):
		return false, err
	case exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return true, nil
	}
	return false, fmt.Errorf("%s: %v: %w\n%s", when, args, err, out)
}
