package command

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// tryAs is CanRead by a thread of this process.
//
// What a file system asks of whoever opens a file are the thread's own
// fsuid, fsgid, supplementary groups and effective capabilities (path_resolution(7),
// credentials(7)), for ACLs too (acl(5)), so it answers as it would answer a
// process. The other IDs of the thread stay root's: with them, the user could send
// it signals, and so end this process (kill(2)).
func tryAs(ctx context.Context, cred Credential, paths []string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("open files as %s: %w", cred.User, context.Cause(ctx))
	}
	tried := make(chan error, 1)
	onThread(func() { tried <- tryOpenAs(cred, paths) })
	select {
	case err := <-tried:
		return err
	case <-ctx.Done(): // the file system does not answer: its thread ends when it does
		return fmt.Errorf("open files as %s: %w", cred.User, context.Cause(ctx))
	}
}

// onThread calls do on a thread that ends with it. Nothing else runs there, and
// no thread comes of it (package runtime, LockOSThread: a goroutine that exits
// while locked ends its thread, and threads are started by one without such
// state).
func onThread(do func()) {
	placed := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread would not end, and is what others see of the
			// process. While it is held here, another is taken.
			onThread(do)
			runtime.UnlockOSThread()
			close(placed)
			return
		}
		close(placed)
		do()
	}()
	<-placed
}

// tryOpenAs tries to open files on a thread that is given up then.
func tryOpenAs(cred Credential, paths []string) error {
	if os.Geteuid() == 0 || cred.UID != uint32(os.Geteuid()) {
		if err := become(cred); err != nil {
			return &NotStartedError{tryRead, fmt.Errorf("becoming %s takes CAP_SETUID and CAP_SETGID: %w", cred.User, err)}
		}
	}
	if refusal := tryOpenAll(paths); refusal != nil {
		refusal.User = cred.User
		return refusal
	}
	return nil
}

// become sets the credential of the calling thread, and of no other, for all that
// it does to files. After an error the thread may have any part of it.
func become(cred Credential) error {
	groups := make([]int, len(cred.Groups))
	for i, group := range cred.Groups {
		groups[i] = int(group)
	}
	// Unlike that of package syscall, this is the system call alone, which is
	// the thread's.
	if err := unix.Setgroups(groups); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := setFileID(unix.SetfsgidRetGid, cred.GID); err != nil {
		return os.NewSyscallError("setfsgid", err)
	}
	if err := setFileID(unix.SetfsuidRetUid, cred.UID); err != nil {
		return os.NewSyscallError("setfsuid", err)
	}
	if cred.UID != 0 {
		// setfsuid took those that are about files (capabilities(7)), but not
		// where securebits keep them. None is left, as after an execve(2).
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			return os.NewSyscallError("capset", err)
		}
	}
	return forbidCoreDump()
}

// forbidCoreDump lets the kernel write no core dump of this process, since keys
// pass through it. A thread that changes its IDs undoes that for the whole
// process, and so does a child before its execve(2): the process is then what
// fs.suid_dumpable says (Linux 6.12 kernel/cred.c, commit_creds).
func forbidCoreDump() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// setFileID sets the fsuid or fsgid of the calling thread. The system call does
// not say whether it did so, but what the ID was, and -1 is no ID that it could
// change it to (setfsuid(2)).
func setFileID(set func(int) (int, error), id uint32) error {
	if _, err := set(int(id)); err != nil {
		return err
	}
	if now, err := set(-1); err != nil || uint32(now) != id {
		return unix.EPERM
	}
	return nil
}
