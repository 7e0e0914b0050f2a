package hookstest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/paths"
)

// checkLayout wants each lineage's name to lead to its files, and the files to
// the name.
func (s *suite) checkLayout() {
	layout := s.client.Layout()
	if layout.Fullchain == "" || layout.Key == "" {
		s.flaw("it has no layout: return from Layout where the full chain and the key of a lineage lie below a place, such as {dir}/fullchain.pem")
		return
	}
	root := hooks.Keeper{Name: s.client.Name(), Layout: layout}.Root(s.temp())
	names := []string{"_.a.example", "a.example", "a.example-0001", "bücher.example"}
	if layout.Suffix != "" {
		names = append(names, "a.example"+layout.Suffix)
		slices.Sort(names)
	}
	owner := map[string]string{}
	for _, name := range names {
		l, err := root.Lineage(name)
		if err != nil {
			s.flaw("it makes no lineage of the name %s: %v", name, err)
			return
		}
		if at := lineagePath(root, l); !paths.Within(at, root.Dir) || root.NameAt(at) != name {
			s.flaw("the lineage %s lies at %s, and what lies there is called %q: correct Layout", name, at, root.NameAt(at))
		}
		for _, file := range []string{l.Fullchain, l.Key} {
			if other, taken := owner[file]; taken || !paths.Within(file, root.Dir) {
				s.flaw("the lineages %s and %q have the file %s: let Layout's patterns hold {dir} or {base}", name, other, file)
			}
			owner[file] = name
			if err := touch(file); err != nil {
				s.flaw("make a lineage: %v", err)
			}
		}
	}
	listed, err := root.List()
	var found []string
	for _, l := range listed {
		found = append(found, l.Name)
	}
	if diff := cmp.Diff(names, found); diff != "" || err != nil {
		s.flaw("lineages that lie there are not found: correct Layout: %v (-there +found)\n%s", err, diff)
	}
}

// lineagePath returns the path by which a client names a lineage: the first
// below the root on the way to its full chain.
func lineagePath(root lineage.Root, l lineage.Lineage) string {
	rest, _ := paths.Below(l.Fullchain, root.Dir)
	first, _, _ := strings.Cut(rest, "/")
	return filepath.Join(root.Dir, first)
}

func touch(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o600)
}
