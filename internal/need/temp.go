package need

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// longest is how long the path of TMPDIR may be, so that a socket in a test's own
// directory has one of less than 108 bytes (unix(7)).
const longest = 30

// KeptTemp sets TMPDIR to a directory in which nobody else can replace files,
// where it is not one, since certlatch trusts no file that somebody else could
// have put there; and where its path is too long for sockets. It must be called
// before the first directory for a test is made.
func KeptTemp() {
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp", "/dev/shm"} {
		if len(dir) <= longest && kept(dir) {
			if err := os.Setenv("TMPDIR", dir); err != nil {
				panic(err)
			}
			return
		}
	}
}

// kept reports whether only root and the effective user decide what is at a
// path. In a directory with the sticky bit, others cannot replace what is
// theirs.
func kept(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for ; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			return false
		}
		owner := int(info.Sys().(*syscall.Stat_t).Uid)
		if owner != 0 && owner != os.Geteuid() || info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return false
		}
		if path == "/" {
			return true
		}
	}
}
