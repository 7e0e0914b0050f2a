// Package command runs other programs: services' own tests of their
// configuration, control commands, and trials that an account can read a file.
// It is the only package that imports os/exec.
//
// A program gets an argument list, never a shell; a fixed environment; and
// nothing on its standard input. It does not promise that whatever a program
// has put into a process group of its own ends with it, nor that a secret is
// recognised in output that is not PEM.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const (
	// searchPath is where bare program names are looked for, and the PATH of
	// what runs. It has the sbin directories, which cron's PATH lacks.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	// outputLimit caps each of the two output streams, in bytes; askLimit
	// does where the output is what is asked for.
	outputLimit = 32 << 10
	askLimit    = 8 << 20

	// pipeDelay is how long output is still read after the program has ended
	// or was killed: a daemon that it left behind may hold the pipes open.
	pipeDelay = 2 * time.Second
)

// Output is what a program printed: the beginning of each stream, with private
// keys in PEM replaced by [REDACTED].
type Output struct{ Stdout, Stderr string }

// Run runs a program and waits for its end. The program is an absolute path or
// a bare name. When ctx ends, the program and all of its process group are
// killed. At most 32 KiB of each stream are kept.
//
// It fails with a *NotStartedError, an *ExitError where the exit status is not
// 0, a *KilledError where a signal ended the program, or a *TimeoutError where
// ctx did. The output is what there was up to then.
func Run(ctx context.Context, argv []string) (Output, error) {
	return start(ctx, argv, outputLimit)
}

// Ask is like Run for a program whose output is wanted: it keeps 8 MiB of each
// stream, and fails where there is more.
func Ask(ctx context.Context, argv []string) (Output, error) {
	output, err := start(ctx, argv, askLimit)
	if err == nil && max(len(output.Stdout), len(output.Stderr)) >= askLimit {
		err = fmt.Errorf("%s prints more than %d MiB", argv[0], askLimit>>20)
	}
	return output, err
}

// Feed is like [Ask] for a program that runs with a credential and gets input
// on its standard input. The input may hold secrets: it goes through a pipe,
// and is neither kept nor printed. Only root can become somebody else.
func Feed(ctx context.Context, as Credential, argv []string, input []byte) (Output, error) {
	cmd, err := commandFor(ctx, as, argv)
	if err != nil {
		return Output{}, err
	}
	cmd.Stdin = bytes.NewReader(input)
	return run(ctx, argv[0], cmd, askLimit)
}

func start(ctx context.Context, argv []string, limit int) (Output, error) {
	itself := Credential{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	cmd, err := commandFor(ctx, itself, argv)
	if err != nil {
		return Output{}, err
	}
	return run(ctx, argv[0], cmd, limit)
}

// commandFor returns the command that runs, with a credential, an argument list
// that begins with a path or a name.
func commandFor(ctx context.Context, as Credential, argv []string) (*exec.Cmd, error) {
	if len(argv) == 0 {
		return nil, &NotStartedError{Err: errors.New("the argument list is empty")}
	}
	path, err := findProgram(argv[0])
	if err != nil {
		return nil, &NotStartedError{argv[0], err}
	}
	if isConfined() {
		return systemdRun(ctx, as, path, argv), nil
	}
	cmd := prepare(ctx, path, argv)
	if int(as.UID) != os.Geteuid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.UID, Gid: as.GID, Groups: as.Groups}
	}
	return cmd, nil
}

// prepare returns the command that runs the program at an absolute path with an
// argument list, which begins with its name.
func prepare(ctx context.Context, path string, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path)
	cmd.Args = argv
	cmd.Env = []string{"PATH=" + searchPath, "LANG=C.UTF-8"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeDelay
	return cmd
}

// run starts a command, which errors call program, and waits for its end. It
// keeps limit bytes of each stream.
func run(ctx context.Context, program string, cmd *exec.Cmd, limit int) (Output, error) {
	stdout, stderr := headBuffer{limit: limit}, headBuffer{limit: limit}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Start()
	if cmd.SysProcAttr.Credential != nil {
		_ = forbidCoreDump() // the program has said so where the kernel does not
	}
	if err != nil {
		return Output{}, &NotStartedError{program, err}
	}
	err = cmd.Wait()
	output := Output{stdout.String(), stderr.String()}
	if cmd.ProcessState == nil {
		return output, fmt.Errorf("wait for %s: %w", program, err)
	}
	switch status := cmd.ProcessState.Sys().(syscall.WaitStatus); {
	case status.Exited() && status.ExitStatus() == 0:
		return output, nil
	case status.Exited():
		return output, &ExitError{program, status.ExitStatus(), output}
	case ctx.Err() != nil:
		return output, &TimeoutError{program, output, context.Cause(ctx)}
	default:
		return output, &KilledError{program, status.Signal(), output}
	}
}

// findProgram returns the path of a program by its name.
func findProgram(program string) (string, error) {
	if filepath.IsAbs(program) {
		return program, nil
	}
	if strings.Contains(program, "/") {
		return "", errors.New("it is neither a bare name nor an absolute path")
	}
	for _, dir := range filepath.SplitList(searchPath) {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w in %s", fs.ErrNotExist, searchPath)
}

// headBuffer keeps the beginning of what is written to it. Of the end, a part
// of a key might be kept without the line that shows it to be one.
type headBuffer struct {
	kept  bytes.Buffer
	limit int // bytes
}

func (h *headBuffer) Write(p []byte) (int, error) {
	h.kept.Write(p[:min(len(p), h.limit-h.kept.Len())])
	return len(p), nil
}

func (h *headBuffer) String() string {
	return privateKey().ReplaceAllLiteralString(h.kept.String(), "[REDACTED]")
}

// privateKey returns an expression that matches a private key in PEM (RFC 7468
// section 10 and its forerunners), also one whose end was cut off.
func privateKey() *regexp.Regexp {
	return regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY.*?(-----END [A-Z0-9 ]*-----|$)`)
}
