package lineage

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/paths"
)

// This file is about layouts that may hold several certificates of one name: one of
// each issuer, or one of each set of names that it was issued for. The newest counts.

// wildcard returns what wildcards are written with in place of "*.".
func (l Layout) wildcard() string {
	switch {
	case l.Literal:
		return "*."
	case l.Wildcard != "":
		return l.Wildcard
	}
	return "_."
}

// mayHoldSeveral reports whether there may be several of one name.
func (l Layout) mayHoldSeveral() bool {
	return l.Above != "" || strings.Contains(l.Fullchain, "{tail}")
}

// place is where the files of a lineage are: a directory, and the end of their names.
type place struct{ dir, tail string }

// newest returns the place of the newest lineage that is called dir in the file system,
// by when its leaf begins to be valid, or where it would be if it had a place. One of
// the client's own CA counts only where it is valid for longer than the newest of the
// others: it is short-lived, and stays for a while where another took its place.
func (r Root) newest(dir string) place {
	found, own := candidate{place: place{dir: r.Dir}}, candidate{}
	if !r.Layout.mayHoldSeveral() {
		return found.place
	}
	for _, at := range r.places(dir) {
		name := strings.NewReplacer("{dir}", dir, "{tail}", at.tail).Replace(r.Layout.Fullchain)
		begins, ends, is := validityOf(filepath.Join(at.dir, name))
		newest := &found
		if r.Layout.Own != "" && filepath.Base(at.dir) == r.Layout.Own {
			newest = &own
		}
		if is && !begins.Before(newest.begins) {
			*newest = candidate{at, begins, ends, true}
		}
	}
	if own.exists && (!found.exists || own.ends.After(found.ends)) {
		return own.place
	}
	return found.place
}

// candidate is a place where a lineage may be, and from when until when its leaf is valid.
type candidate struct {
	place
	begins, ends time.Time
	exists       bool
}

// places returns the places in which a lineage may be that is called dir.
func (r Root) places(dir string) (all []place) {
	for _, above := range append(r.above(), r.Dir) {
		before, _, tailed := strings.Cut(r.Layout.Fullchain, "{tail}")
		if !tailed {
			all = append(all, place{dir: above})
			continue
		}
		entries, err := os.ReadDir(above)
		if err != nil {
			continue
		}
		suffix := strings.TrimPrefix(r.Layout.Fullchain, before+"{tail}")
		for _, entry := range entries {
			if name, tail, is := cutTail(strings.TrimSuffix(entry.Name(), suffix)); is && name == dir {
				all = append(all, place{above, tail})
			}
		}
	}
	return all
}

// validityOf returns the time from which the first certificate of a file is valid, and
// until when, and reports whether there is such a file. It only helps to choose: what is
// read of it later is judged then.
func validityOf(file string) (begins, ends time.Time, is bool) {
	data, _, err := disk.ReadFile(file, maxFile+1)
	if err != nil {
		return time.Time{}, time.Time{}, false
	}
	certs, err := ParseCertificates(data)
	if err != nil {
		return time.Time{}, time.Time{}, true // half of it is written yet, or it is nothing
	}
	return certs[0].NotBefore, certs[0].NotAfter, true
}

// above returns the directories between the root's and its lineages.
func (r Root) above() []string {
	first, rest, _ := strings.Cut(r.Layout.Above, "/")
	pattern := r.Layout.Above
	switch _, err := os.Stat(filepath.Join(r.Dir, first)); {
	case first == "":
		return nil
	case filepath.Base(r.Dir) == first:
		pattern = rest
	case err != nil:
		return nil // the root's is the last of them
	}
	found, _ := filepath.Glob(filepath.Join(Pattern(r.Dir), pattern)) // which is the layout's own
	return found
}

// entriesAbove returns what lies in the directories between the root's and its lineages.
func (r Root) entriesAbove() (all []fs.DirEntry) {
	for _, dir := range r.above() {
		entries, err := os.ReadDir(dir)
		if err == nil {
			all = append(all, entries...)
		}
	}
	return all
}

// isAbove reports whether lineages of the root may lie directly in a directory. It does
// not look at the file system.
func (r Root) isAbove(dir string) bool {
	if dir == r.Dir {
		return true
	}
	pattern := r.Layout.Above
	if first, rest, _ := strings.Cut(pattern, "/"); filepath.Base(r.Dir) == first {
		pattern = rest
	}
	below, is := paths.Below(dir, r.Dir)
	match, _ := path.Match(pattern, below)
	return is && match
}

// entryOf returns the name of the directory or file that is a lineage, as its client
// has it.
func (r Root) entryOf(l Lineage) string {
	parts := strings.Split(l.Fullchain, "/")
	return parts[len(parts)-1-strings.Count(r.Layout.Fullchain, "/")]
}

// tail matches a name and what follows it where there may be several of it.
var tail = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(.+)(-[0-9a-f]{1,16})$`) })

// cutTail cuts a name from what follows it, and reports whether anything does.
func cutTail(text string) (name, end string, is bool) {
	parts := tail().FindStringSubmatch(text)
	if parts == nil {
		return "", "", false
	}
	return parts[1], parts[2], true
}
