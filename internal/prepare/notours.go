package prepare

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/disk"
)

// sameFiles returns, by the path of a plan's file, what the service takes in its place by
// other names that lead to it, and to what a renewal puts there; nil: nothing does.
func sameFiles(plan deployers.Plan) map[string][]string {
	var same map[string][]string
	for _, f := range plan.Files {
		for _, t := range plan.NotOurs.Takes {
			for _, path := range []string{t.File, t.Key} {
				if path != "" && leadsTo(path, f.Path, plan.Directory != "") && !slices.Contains(same[f.Path], path) {
					if same == nil {
						same = map[string][]string{}
					}
					same[f.Path] = append(same[f.Path], path)
				}
			}
		}
	}
	return same
}

// leadsTo reports whether a path leads to a file by the name that a renewal replaces: its
// own, or in a managed directory that of the link current, or to the directory of all such
// files. A generation's own name does not.
func leadsTo(path, file string, managed bool) bool {
	steps, end := trace(path)
	replaced := file
	if managed {
		replaced = filepath.Dir(file)
	}
	_, dir := trace(filepath.Dir(replaced))
	passes := slices.ContainsFunc(steps, func(s disk.Step) bool { return s.Name == filepath.Base(replaced) && isSameDir(s.Dir, dir) })
	if managed {
		_, generation := trace(replaced)
		return passes && end != "" && (end == generation || filepath.Base(end) == filepath.Base(file))
	}
	_, own := trace(file) // which may be a link itself
	return passes || end != "" && (end == own || isSameDir(end, dir))
}

// trace returns the names on the way to a path, and where it leads; empty: nowhere.
func trace(path string) ([]disk.Step, string) {
	steps, end, err := disk.Trace(path)
	if err != nil {
		return steps, ""
	}
	return steps, end
}

// isSameDir reports whether two paths are of one directory, perhaps mounted twice.
func isSameDir(a, b string) bool {
	if a == b {
		return true
	}
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// notOurs returns what a service takes in place of a plan's files, as far as people read;
// nil: it may find something else by those names than this host does.
func (p *Preparer) notOurs(unit deployers.Unit, n deployers.NotOurs) *deployers.NotOurs {
	for _, t := range n.Takes {
		_, real := trace(t.File)
		if real == "" || unit.Hides(real) != "" {
			return nil
		}
		if unit.MainPID != 0 {
			if another, _ := p.processes.SeesAnother(unit.MainPID, real); another {
				return nil
			}
		}
	}
	n.Takes = append([]deployers.Taken{}, n.Takes[:min(len(n.Takes), deployers.MostTaken)]...)
	return &n
}
