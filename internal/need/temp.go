package need

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// KeptTemp has tests make their files where nobody else can put any, since
// certlatch trusts none that lies elsewhere: where TMPDIR may be written to by
// others, or lies below such a directory, another takes its place. It is to be
// called before the first test.
func KeptTemp() {
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp", "/dev/shm"} {
		if kept(dir) {
			if err := os.Setenv("TMPDIR", dir); err != nil {
				panic(err)
			}
			return
		}
	}
}

// kept reports whether only root and who runs the tests decide what is at a
// path. In a directory with the sticky bit everybody decides of his own.
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
