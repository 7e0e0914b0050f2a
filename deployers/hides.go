package deployers

import (
	"fmt"
	"strings"

	"github.com/certlatch/certlatch/internal/paths"
)

// Hidden is a directive of a unit that puts something else in the place of a path of
// this host when the unit is started (systemd.exec(5)).
type Hidden struct {
	Path string // what is below it is not what this host has there
	By   string // the directive; empty: what is below it is what this host has there
}

// Hides returns the directive by which a unit does not see a file, without links on the
// way to it, as this host does; empty: none. Of two the one with the longer path counts,
// since that is mounted later, and of equal ones what shows the file.
func (u Unit) Hides(file string) (by string) {
	longest := -1
	for _, h := range u.Hidden {
		if n := len(strings.TrimSuffix(h.Path, "/")); paths.Within(file, h.Path) && (n > longest || n == longest && h.By == "") {
			longest, by = n, h.By
		}
	}
	return by
}

// HiddenCheck returns the check of a unit that does not run and would not see files
// of a target.
func (u Unit) HiddenCheck(by, dir string) Check {
	return NewCheck(Reading, Warned,
		fmt.Sprintf("take %s away from what systemctl cat %s shows, or let the target write where the unit does read", by, u.Name),
		"%s will not see %s as this host does when it is started: %s", u.Name, dir, by)
}
