package system

import (
	"os"
	"path/filepath"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/certlatch/certlatch/internal/need"
)

// effects are the system calls that change files or speak to somebody. Files
// that are opened to be written to are not among them: a lock is one.
const effects = "socket,connect,sendto,sendmsg,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat," +
	"mkdir,mkdirat,mknod,mknodat,truncate,ftruncate,pwrite64,fsync,chmod,fchmod,fchmodat,chown,fchown,fchownat,utimensat"

// someCall matches a line of strace's that is about a call, and not about a
// thread that ended meanwhile: PID ???( <detached ...>
var someCall = regexp.MustCompile(`(?m)^\d+ +[a-z]`)

// quiet runs a program inside, and wants it to succeed without an effect.
// strace runs on this machine, since the hosts have none.
func (s *scenario) quiet(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 || args[0] != "host" {
		return errUsage
	}
	need.Program(s, "strace")
	trace := filepath.Join(s.TempDir(), "trace")
	argv := append([]string{"-f", "-qq", "-e", "signal=none", "-e", "trace=" + effects, "-o", trace}, s.host.command(args[1:]...)...)
	if err := ts.Exec("strace", argv...); err != nil {
		return err
	}
	calls, err := os.ReadFile(trace)
	if err == nil && someCall.Match(calls) {
		err = mismatchf("%s:\n%s", args[1:], calls)
	}
	return err
}
