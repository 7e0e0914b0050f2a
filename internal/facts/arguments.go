package facts

import (
	"path/filepath"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/process"
)

// arguments returns those with which a unit's main process was started, the program
// first; nil: there is none.
//
// They decide which program root runs to test which configuration, which may load
// programs, and a process can write into its arguments whatever it likes
// (proc_pid_cmdline(5)). Where it is not root's, the program is therefore that of the
// unit, and words are left empty that lead to what others than root could have written.
func arguments(unit deployers.Unit) ([]string, error) {
	argv, err := process.Arguments(unit.MainPID)
	if err != nil || argv == nil || process.Describe(unit.MainPID).Own {
		return argv, err
	}
	argv[0] = ""
	if len(unit.ExecStart) > 0 {
		argv[0] = unit.ExecStart[0]
	}
	for i, word := range argv[1:] {
		if !isRoots(word) {
			argv[i+1] = ""
		}
	}
	return argv, nil
}

// isRoots reports whether an argument leads to nothing that others than root could
// have written: it has no path, or that of a file or directory of root's, as in FILE,
// -fFILE or NAME=FILE.
func isRoots(word string) bool {
	at := strings.IndexByte(word, '/')
	switch {
	case at < 0:
		return true
	case at > 0 && word[at-1] != '=' && (at != 2 || word[0] != '-'):
		return false // relative to wherever the process says that it is
	}
	return disk.IsRoots(filepath.Clean(word[at:]))
}
