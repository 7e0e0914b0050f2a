package asterisk

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// category is a section of a configuration file.
type category struct {
	where    string
	name     string
	template bool
	values   map[string]string // by names in lower case; of several of one name the last
}

// maxIncludes is how deep files that include each other are followed: each step
// takes a round of questions. Asterisk goes on to 10 (main/config.c of 22.10.1,
// MAX_INCLUDE_LEVEL).
const maxIncludes = 5

// reader reads a configuration file and what it includes, in the words of
// main/config.c of 22.10.1.
type reader struct {
	texts      map[string][]deployers.Text
	dir        string // of asterisk.conf, to which paths are relative
	categories []category
	asked      []string // the files that are wanted
	unread     []string // what could not be read, for people
}

// read reads the files of a path or glob.
func (r *reader) read(pattern string, depth int) {
	if !slices.Contains(r.asked, pattern) {
		r.asked = append(r.asked, pattern)
	}
	for _, text := range r.texts[pattern] {
		r.file(text, depth)
	}
}

// file reads the lines of a file.
func (r *reader) file(text deployers.Text, depth int) {
	number := 0
	for line := range strings.Lines(withoutBlocks(text.Content)) {
		number++
		line = strings.TrimSpace(withoutComment(line))
		where := fmt.Sprintf("%s:%d", text.Path, number)
		switch {
		case line == "":
		case line[0] == '[':
			r.begin(where, line[1:])
		case line[0] == '#':
			r.directive(where, line[1:], depth)
		case len(r.categories) > 0:
			r.set(line)
		}
	}
}

// withoutBlocks returns a text without comments of several lines, but with
// their line ends.
func withoutBlocks(text string) string {
	var kept strings.Builder
	for {
		before, rest, found := strings.Cut(text, ";--")
		kept.WriteString(before)
		if !found {
			return kept.String()
		}
		if strings.HasPrefix(rest, "-") { // as a line of dashes, which is an ordinary comment
			kept.WriteString(";")
			text = rest
			continue
		}
		comment, after, _ := strings.Cut(rest, "--;")
		kept.WriteString(strings.Repeat("\n", strings.Count(comment, "\n")))
		text = after
	}
}

// withoutComment returns a line up to the first semicolon without a backslash
// before it.
func withoutComment(line string) string {
	for i := 0; i < len(line); i++ {
		if line[i] == ';' && (i == 0 || line[i-1] != '\\') {
			return strings.ReplaceAll(line[:i], `\;`, ";")
		}
	}
	return strings.ReplaceAll(line, `\;`, ";")
}

// begin begins a category: NAME], perhaps followed by (!,+,TEMPLATE).
func (r *reader) begin(where, line string) {
	name, rest, _ := strings.Cut(line, "]")
	fresh := category{where: where, name: name, values: map[string]string{}}
	options, isList := strings.CutPrefix(rest, "(")
	options, _, _ = strings.Cut(options, ")")
	if !isList {
		options = ""
	}
	for option := range strings.SplitSeq(options, ",") {
		switch {
		case option == "":
		case option == "!":
			fresh.template = true
		case option[0] == '+':
			if own := r.find(name); own >= 0 {
				fresh = r.categories[own]
				r.categories = slices.Delete(r.categories, own, own+1)
			}
		default:
			if at := r.find(option); at >= 0 {
				maps.Copy(fresh.values, r.categories[at].values)
			}
		}
	}
	r.categories = append(r.categories, fresh)
}

// find returns the index of the first category with a name, or -1.
func (r *reader) find(name string) int {
	return slices.IndexFunc(r.categories, func(c category) bool { return c.name == name })
}

// directive follows an include.
func (r *reader) directive(where, line string, depth int) {
	word, argument, _ := strings.Cut(line, " ")
	path := strings.Trim(strings.TrimSpace(argument), `"<>`)
	if path == "" {
		return
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.dir, path)
	}
	switch {
	case word == "exec":
		r.unread = append(r.unread, where+": what a program writes there (#exec) is not known")
	case word != "include" && word != "tryinclude":
	case depth == maxIncludes:
		r.unread = append(r.unread, where+": files that include each other are not followed any deeper")
	case len(r.categories) < mostCategories:
		r.read(path, depth+1)
	}
}

// mostCategories is how many categories of a configuration are read.
const mostCategories = 10_000

// set sets a variable of the last category.
func (r *reader) set(line string) {
	name, value, ok := strings.Cut(line, "=")
	if !ok {
		return
	}
	value = strings.TrimPrefix(value, ">")
	r.categories[len(r.categories)-1].values[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
}

// isTrue reports whether a value means yes (main/utils.c of 22.10.1, ast_true).
func isTrue(value string) bool {
	return slices.Contains([]string{"yes", "true", "y", "t", "1", "on"}, strings.ToLower(value))
}
