package disk

import (
	"io/fs"
	"path/filepath"
)

// IsRoots reports whether a path is that of a file or directory which nobody but root
// and the effective user could have written, or put there in the place of another.
// Where that cannot be found out, or the path is that of a link, it is not.
func IsRoots(path string) bool {
	d, err := Open(filepath.Dir(path))
	if err != nil {
		return false
	}
	defer d.Close()
	info, err := d.Stat(filepath.Base(path))
	return err == nil && d.KeptBy(0) && info.UID == 0 && info.Mode.Type() != fs.ModeSymlink && info.Mode.Perm()&0o022 == 0
}
