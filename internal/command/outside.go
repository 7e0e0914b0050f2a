package command

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// isConfined reports whether certlatch runs in a unit that lets it become nobody
// else, as its own units do. What a service's test needs is not known: it may
// write logs and PID files, change its user, or compile code at run time. So
// there systemd is asked to run it, and the unit need not allow for it.
func isConfined() bool {
	if os.Geteuid() != 0 {
		return false
	}
	may, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SETUID, 0, 0, 0)
	if err != nil || may == 1 {
		return false
	}
	_, err = os.Stat("/run/systemd/system") // sd_booted(3)
	return err == nil
}

// longestOutside limits programs whose context has no deadline.
const longestOutside = time.Hour

// systemdRun returns a command that has systemd run a program (its path, and its
// arguments with its name first) in a unit of its own (systemd-run(1)). Its
// output and its exit status are the program's, but a program that a signal
// ended has the status 255. To the environment systemd adds variables of its
// own. A moment after ctx's deadline systemd ends the program; where ctx ends
// before that, the program runs on until then, and nobody listens.
func systemdRun(ctx context.Context, as Credential, path string, argv []string) *exec.Cmd {
	limit := longestOutside
	if deadline, ok := ctx.Deadline(); ok {
		limit = max(time.Until(deadline), 0) + time.Second
	}
	args := []string{
		"systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--service-type=exec",
		"--description=" + argv[0] + ", for certlatch",
		fmt.Sprintf("--property=RuntimeMaxSec=%d", int(limit.Seconds())),
		fmt.Sprintf("--uid=%d", as.UID), fmt.Sprintf("--gid=%d", as.GID),
		"--setenv=PATH=" + searchPath, "--setenv=LANG=C.UTF-8",
	}
	if len(as.Groups) > 0 {
		args = append(args, "--property=SupplementaryGroups="+strings.Trim(fmt.Sprint(as.Groups), "[]"))
	}
	args = append(args, "--", path)
	for _, arg := range argv[1:] {
		args = append(args, strings.ReplaceAll(arg, "$", "$$")) // systemd.service(5), COMMAND LINES
	}
	return prepare(ctx, "/usr/bin/systemd-run", args)
}
