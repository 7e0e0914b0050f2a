package watch

import (
	"errors"
	"io/fs"

	"github.com/certlatch/certlatch/internal/disk"
)

// watchPoint is a name in a directory; without a name, the directory itself.
type watchPoint struct{ dir, name string }

// watchPoints returns the points whose change may change what a path leads to:
// every link on the way, the file or the first name that is missing, and the
// directories themselves. It also returns where the path leads, without links;
// empty: nowhere.
func watchPoints(path string) (points []watchPoint, end string) {
	steps, end, _ := disk.Trace(path) // where it leads nowhere, the last step says how far it does
	for _, s := range steps {
		switch {
		case s.Err != nil && !errors.Is(s.Err, fs.ErrNotExist): // it cannot be watched either
		case s.Err == nil && s.Type == fs.ModeDir:
			points = append(points, watchPoint{dir: s.Path()})
		default:
			points = append(points, watchPoint{s.Dir, s.Name})
		}
	}
	return points, end
}
