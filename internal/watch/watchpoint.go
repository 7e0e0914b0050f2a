package watch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// place is a name in a directory. Without a name it is the directory itself.
type place struct{ dir, name string }

// mostLinks is the kernel's own limit (path_resolution(7)).
const mostLinks = 40

// trail gives the places whose change may change what a path leads to: every
// link on the way, the file or the first name that is missing, and the
// directories themselves. It also gives where the path leads, without links;
// empty: nowhere.
func trail(path string) (places []place, resolved string) {
	at, rest, links := "/", strings.Split(path, "/"), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			if errors.Is(err, fs.ErrNotExist) {
				places = append(places, place{at, name})
			}
			return places, ""
		case info.Mode().Type() == fs.ModeSymlink:
			places = append(places, place{at, name})
			to, err := os.Readlink(next)
			if links++; err != nil || links > mostLinks {
				return places, ""
			}
			if filepath.IsAbs(to) {
				at = "/"
			}
			rest = append(strings.Split(to, "/"), rest...)
		case info.IsDir():
			places, at = append(places, place{next, ""}), next
		default:
			return append(places, place{at, name}), next
		}
	}
	return places, at
}
