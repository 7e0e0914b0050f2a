package config

import (
	"fmt"
	"os"
	"path"
	"slices"
	"syscall"

	"github.com/certlatch/certlatch/internal/lineage"
)

// Shared is two targets that write to one place under two names, since a directory
// on the way to it is a link. [Load] passes it: such a host works as long as both
// bring the same there.
type Shared struct {
	Problem
	Differ bool // one would undo what the other did: they take different lineages, or a directory's generations are for one
}

// Shared returns the targets that write to one place under two names, as of now.
func (c *Config) Shared() (found []Shared) {
	writers := c.Writers()
	for i, t := range c.Targets {
		_, mine := selector(t.Lineage).split()
		name := placeholder
		if !mine.glob() {
			name = mine.literal()
		}
		for _, s := range writers.with(i, name) {
			other := c.Targets[s.target]
			_, its := selector(other.Lineage).split()
			found = append(found, Shared{
				Problem: Problem{
					Line: t.Line, Where: s.where,
					What:   fmt.Sprintf("%s is the place of %s of target %s in line %d by a link", s.mine, s.path, other.Name, other.Line),
					Remedy: "give each target a path of its own, or let one of the two go",
				},
				Differ: s.inTree || t.Lineage != other.Lineage && !(mine.glob() && its.glob()),
			})
		}
	}
	return found
}

// Writers is where the targets of a configuration write to, by directories and not by
// their names. Of a target that takes several lineages that depends on the lineage.
type Writers struct {
	cfg    *Config
	places map[string][]written // of targets that take one lineage
	globs  []int                // other targets, by index
	known  map[string]string    // identities of directories
}

// written is what a target writes.
type written struct {
	target int    // by index
	path   string // as its keys have it
	where  string // the key
	tree   bool
}

// shared is a place that another target writes to as well.
type shared struct {
	written
	mine, where string
	inTree      bool // it is within a directory whose generations are one target's
}

// Writers looks at the directories that the targets write to.
func (c *Config) Writers() Writers {
	w := Writers{c, map[string][]written{}, nil, map[string]string{}}
	for i, t := range c.Targets {
		if t.IsGlob() {
			w.globs = append(w.globs, i)
			continue
		}
		for _, mine := range w.of(i, t.LineageName()) {
			place := w.identity(mine.path)
			w.places[place] = append(w.places[place], mine)
		}
	}
	return w
}

// Before returns the target, and its path, that already writes another lineage to where a
// target would write one, and comes before it in the file. There is none where it would
// write the same lineage there, but in a directory: each target lets go of generations there
// that are not its own.
func (w Writers) Before(t Target, l lineage.Lineage, exists func(client, name string) bool) (other Target, path string, is bool) {
	i := slices.IndexFunc(w.cfg.Targets, func(o Target) bool { return o.Name == t.Name })
	for _, s := range w.with(i, l.Name) {
		other := w.cfg.Targets[s.target]
		client, names := selector(other.Lineage).split()
		name := l.Name
		if !names.glob() {
			name = names.literal()
		}
		if (s.inTree || !other.Wants(l)) && exists(client, name) {
			return other, s.path, true
		}
	}
	return Target{}, "", false
}

// of returns what a target writes of a lineage.
func (w Writers) of(i int, name string) (all []written) {
	t := w.cfg.Targets[i]
	for _, c := range t.claims(fmt.Sprintf("targets[%d]", i)) {
		if !c.row {
			c.path = fill(c.path, name)
			all = append(all, written{i, c.path, c.where, c.tree})
		}
	}
	return all
}

// with returns the places to which another target writes as well as one: one before it
// in the file, and wherever it would write into the directory of another.
func (w Writers) with(i int, name string) (found []shared) {
	for _, mine := range w.of(i, name) {
		tell := func(other written) {
			if !slices.ContainsFunc(found, func(s shared) bool { return s.target == other.target }) {
				found = append(found, shared{other, mine.path, mine.where, mine.tree || other.tree})
			}
		}
		for _, other := range w.at(mine.path, name, i) {
			if other.target < i {
				tell(other)
			}
		}
		for dir := path.Dir(mine.path); dir != "/"; dir = path.Dir(dir) {
			for _, other := range w.at(dir, name, i) {
				if other.tree {
					tell(other)
				}
			}
		}
	}
	return found
}

// at returns what is written to a place by targets but for one: by those that take
// several lineages, of the lineage with a name.
func (w Writers) at(path, name string, but int) (found []written) {
	place := w.identity(path)
	for _, other := range w.places[place] {
		if other.target != but {
			found = append(found, other)
		}
	}
	for _, i := range w.globs {
		if i == but {
			continue
		}
		_, names := selector(w.cfg.Targets[i].Lineage).split()
		if name != placeholder && !names.matches(name) {
			continue
		}
		for _, other := range w.of(i, name) {
			if w.identity(other.path) == place {
				found = append(found, other)
			}
		}
	}
	return found
}

// identity returns what is alike for all paths of one place: the file system's name of
// the last directory on the way that there is, and the rest of the path.
func (w Writers) identity(name string) string {
	if known, ok := w.known[name]; ok {
		return known
	}
	place := ""
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		stat := info.Sys().(*syscall.Stat_t)
		place = fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
	case name != path.Dir(name):
		place = w.identity(path.Dir(name)) + "/" + path.Base(name)
	}
	w.known[name] = place
	return place
}
