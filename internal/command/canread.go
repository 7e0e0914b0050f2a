package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"github.com/certlatch/certlatch/internal/disk"
)

// tryRead is the first argument by which the program becomes the child of
// CanRead.
const tryRead = "certlatch-try-read"

// Credential is what a process runs under, as setgroups(2), setgid(2) and
// setuid(2) take it.
type Credential struct {
	User     string // for messages
	UID, GID uint32
	Groups   []uint32 // supplementary
}

// UnreadableError says that an account cannot open a file.
type UnreadableError struct {
	Path string        // the file
	At   string        // what stops it: the file, a directory, or a link on the way
	User string        // who was refused
	Err  syscall.Errno // what open(2) said
}

func (e *UnreadableError) Error() string {
	if e.At == e.Path {
		return fmt.Sprintf("%s cannot read %s: %v", e.User, e.Path, e.Err)
	}
	return fmt.Sprintf("%s cannot read %s: stopped at %s: %v", e.User, e.Path, e.At, e.Err)
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// CanRead returns nil if a process with a credential can open every path, which
// must be absolute, for reading. Nothing is read from the files.
//
// The trial is made by a thread of this process, see [tryAs], or by a child
// process that runs this program once more where a thread is not known to show
// the same: on FUSE, and in a unit where only systemd can become somebody else.
// So the main function must call [TryReadMain] first.
//
// Only root can become somebody else (CAP_SETUID and CAP_SETGID); without root, a
// credential with the uid of the process is tried with the groups that the
// process has.
//
// It fails with an *UnreadableError for the first path that cannot be opened,
// or as Run does where the trial itself could not be made.
func CanRead(ctx context.Context, cred Credential, paths []string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if isConfined() || err != nil || askForIDs(mounts) {
		return tryInChild(ctx, cred, paths)
	}
	return tryAs(ctx, cred, paths)
}

// askForIDs reports whether among mounts (proc_pid_mountinfo(5)) there is a file
// system that asks for all IDs of a process, not only for those that a thread takes
// on. FUSE does so where not everyone is to be let in (Linux 6.12 fs/fuse/dir.c,
// fuse_permissible_uidgid).
func askForIDs(mounts []byte) bool {
	for line := range bytes.Lines(mounts) {
		_, of, _ := bytes.Cut(line, []byte(" - "))
		kind, _, _ := bytes.Cut(of, []byte(" "))
		isFUSE := string(kind) == "fuse" || string(kind) == "fuseblk" || bytes.HasPrefix(kind, []byte("fuse."))
		if isFUSE && !bytes.Contains(of, []byte("allow_other")) {
			return true
		}
	}
	return false
}

// tryInChild is CanRead by a child process.
func tryInChild(ctx context.Context, cred Credential, paths []string) error {
	cmd, done, err := readTrial(ctx, cred, paths)
	if err != nil {
		return &NotStartedError{tryRead, err}
	}
	defer done()
	output, err := run(ctx, tryRead, cmd, outputLimit)
	if errors.Is(err, fs.ErrPermission) {
		return &NotStartedError{tryRead, fmt.Errorf("becoming %s takes CAP_SETUID and CAP_SETGID, and a certlatch that everyone may execute: %w", cred.User, fs.ErrPermission)}
	}
	if exit, ok := errors.AsType[*ExitError](err); ok && exit.Code == exitUnreadable {
		var refusal UnreadableError
		if err := json.Unmarshal([]byte(output.Stdout), &refusal); err != nil {
			return fmt.Errorf("understand %s: %w", tryRead, err)
		}
		refusal.User = cred.User
		return &refusal
	}
	return err
}

// readTrial returns the command of the child process of CanRead. done closes what
// was opened for it.
func readTrial(ctx context.Context, cred Credential, paths []string) (cmd *exec.Cmd, done func(), err error) {
	if isConfined() {
		program, err := os.Executable()
		return systemdRun(ctx, cred, program, append([]string{program, tryRead}, paths...)), func() {}, err
	}
	// The child is started through a descriptor, because the account may not
	// be able to reach the path of the program.
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, nil, err
	}
	cmd = prepare(ctx, "/proc/self/fd/3", append([]string{program.Name(), tryRead}, paths...))
	cmd.ExtraFiles = []*os.File{program} // descriptor 3
	if os.Geteuid() == 0 || cred.UID != uint32(os.Geteuid()) {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: cred.UID, Gid: cred.GID, Groups: cred.Groups}
	}
	return cmd, func() { program.Close() }, nil
}

// exitUnreadable is the child's exit status where a path cannot be opened. The
// UnreadableError, all but its user, is then on standard output.
const exitUnreadable = 1

// TryReadMain does the work of the child process of [CanRead] and returns its
// exit status, if this process is one, which handled reports.
func TryReadMain() (code int, handled bool) {
	if len(os.Args) < 2 || os.Args[1] != tryRead {
		return 0, false
	}
	if refusal := tryOpenAll(os.Args[2:]); refusal != nil {
		if err := json.NewEncoder(os.Stdout).Encode(refusal); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2, true
		}
		return exitUnreadable, true
	}
	return 0, true
}

// tryOpenAll tries to open files for reading; it returns nil where that works.
func tryOpenAll(paths []string) *UnreadableError {
	for _, path := range paths {
		if refusal := tryOpen(path); refusal != nil {
			return refusal
		}
	}
	return nil
}

// tryOpen tries to open a file for reading; it returns nil where that works.
func tryOpen(path string) *UnreadableError {
	// O_NONBLOCK: a FIFO must not hold the trial up.
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		errno, _ := errors.AsType[syscall.Errno](err)
		return &UnreadableError{Path: path, At: obstacle(path), Err: errno}
	}
	syscall.Close(fd)
	return nil
}

// obstacle returns the first component on the way to a path that cannot be
// passed: a directory that may not be searched, a name that does not exist, or
// else the file that the path leads to.
func obstacle(path string) string {
	steps, end, err := disk.Trace(path)
	if err == nil || len(steps) == 0 {
		return end
	}
	last := steps[len(steps)-1]
	if errors.Is(last.Err, syscall.EACCES) {
		return last.Dir
	}
	return last.Path()
}
