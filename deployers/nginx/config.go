package nginx

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// configuration is a configuration as nginx -T prints it: every file that is
// read, once, each behind a line with its path (src/core/nginx.c of 1.26,
// ngx_dump_config). The include directives still stand in the files.
type configuration struct {
	main  string // the path of the file that nginx begins with
	files map[string][]directive
}

// directive is a simple directive or a block.
type directive struct {
	words []string // its name and its parameters
	block []directive
	where string // FILE:LINE
}

func (d directive) name() string { return d.words[0] }

// maxDepth bounds how deep blocks may be nested. No configuration that a
// person has written comes near it.
const maxDepth = 32

// parse returns the configuration that nginx -T prints. Its errors name a line
// and never quote it, since it may be secret.
func parse(dump string) (configuration, error) {
	config := configuration{files: map[string][]directive{}}
	headers := regexp.MustCompile(`(?m)^# configuration file (/.*):$`).FindAllStringSubmatchIndex(dump, -1)
	if headers == nil {
		return configuration{}, errors.New("no file of it was printed")
	}
	config.main = filepath.Clean(dump[headers[0][2]:headers[0][3]])
	for i, header := range headers {
		end := len(dump)
		if i+1 < len(headers) {
			end = headers[i+1][0]
		}
		reader := reader{path: dump[header[2]:header[3]], text: dump[header[1]:end]}
		directives, err := reader.block(0)
		if err != nil {
			return configuration{}, err
		}
		config.files[filepath.Clean(reader.path)] = directives
	}
	return config, nil
}

// path returns a path of the configuration as an absolute one: it is relative
// to the directory of the first file (ngx_conf_full_name with its conf_prefix).
func (c configuration) path(name string) string {
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(c.main), name)
	}
	return filepath.Clean(name)
}

// top returns the directives outside of all blocks.
func (c configuration) top() iter.Seq[directive] { return c.in(c.files[c.main]) }

// in returns the directives of a block, those of the files that it includes in
// their places, each file once.
func (c configuration) in(block []directive) iter.Seq[directive] {
	return func(yield func(directive) bool) { c.each(block, map[string]bool{}, yield) }
}

func (c configuration) each(block []directive, seen map[string]bool, yield func(directive) bool) bool {
	for _, d := range block {
		if d.name() != "include" || len(d.words) != 2 {
			if !yield(d) {
				return false
			}
			continue
		}
		for _, path := range c.included(d.words[1]) {
			if seen[path] {
				continue
			}
			seen[path] = true
			if !c.each(c.files[path], seen, yield) {
				return false
			}
		}
	}
	return true
}

// mention notes the paths in the directives about certificates, in all blocks.
func (c configuration) mention(block []directive, paths map[string]bool) {
	for _, d := range block {
		if strings.Contains(d.name(), "certificate") {
			for _, word := range d.words[1:] {
				paths[c.path(word)] = true
			}
		}
		c.mention(d.block, paths)
	}
}

// included returns the files that an include directive means, in the order of
// glob(3), by which nginx finds them.
func (c configuration) included(pattern string) []string {
	pattern = c.path(pattern)
	if _, ok := c.files[pattern]; ok {
		return []string{pattern}
	}
	var paths []string
	for path := range c.files {
		if ok, err := filepath.Match(pattern, path); ok && err == nil {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// reader reads the directives of one file by the rules of
// ngx_conf_read_token (src/core/ngx_conf_file.c of 1.26).
type reader struct {
	path string
	text string // what is left of the file
	line int    // where that begins; the first is behind the header's line break
}

func (r *reader) where() string { return r.path + ":" + strconv.Itoa(r.line) }

// take returns the next n bytes.
func (r *reader) take(n int) string {
	taken := r.text[:n]
	r.text = r.text[n:]
	r.line += strings.Count(taken, "\n")
	return taken
}

// skip skips white space and comments.
func (r *reader) skip() {
	for {
		rest := strings.TrimLeft(r.text, " \t\r\n")
		if strings.HasPrefix(rest, "#") {
			_, rest, _ = strings.Cut(rest, "\n")
			r.take(len(r.text) - len(rest))
			continue
		}
		r.take(len(r.text) - len(rest))
		return
	}
}

// block reads directives up to the brace that closes the block, or up to the
// end of the file.
func (r *reader) block(depth int) ([]directive, error) {
	var directives []directive
	var d directive
	for {
		r.skip()
		switch {
		case r.text == "" && (depth > 0 || d.words != nil), depth > maxDepth:
			return nil, fmt.Errorf("%s: a block or directive has no end", r.where())
		case r.text == "":
			return directives, nil
		case r.text[0] == '}':
			if depth == 0 || d.words != nil {
				return nil, fmt.Errorf("%s: there is a brace that closes nothing", r.where())
			}
			r.take(1)
			return directives, nil
		case r.text[0] == ';' || r.text[0] == '{':
			if d.words == nil {
				return nil, fmt.Errorf("%s: a directive has no name", r.where())
			}
			if r.take(1) == "{" {
				if err := r.body(&d, depth); err != nil {
					return nil, err
				}
			}
			directives, d = append(directives, d), directive{}
		default:
			if d.words == nil {
				d.where = r.where()
			}
			word, err := r.word()
			if err != nil {
				return nil, err
			}
			d.words = append(d.words, word)
		}
	}
}

// body reads the content of a block, which is Lua for blocks of the Lua module.
func (r *reader) body(d *directive, depth int) (err error) {
	if strings.HasSuffix(d.name(), "_by_lua_block") {
		return r.lua()
	}
	d.block, err = r.block(depth + 1)
	return err
}

// word reads one word, quoted or not.
func (r *reader) word() (string, error) {
	quote := r.text[0]
	if quote != '"' && quote != '\'' {
		end := r.wordEnd()
		return unescape(r.take(end)), nil
	}
	for i := 1; i < len(r.text); i++ {
		switch r.text[i] {
		case '\\':
			i++
		case quote:
			word := r.take(i + 1)
			return unescape(word[1:i]), nil
		}
	}
	return "", fmt.Errorf("%s: a quoted word has no end", r.where())
}

// wordEnd returns where an unquoted word ends. The brace of ${variable} is part
// of the word, and so is every closing one.
func (r *reader) wordEnd() int {
	for i := 0; i < len(r.text); i++ {
		switch r.text[i] {
		case '\\':
			i++
		case ' ', '\t', '\r', '\n', ';':
			return i
		case '{':
			if i == 0 || r.text[i-1] != '$' {
				return i
			}
		}
	}
	return len(r.text)
}

// unescape returns a word without the backslashes that nginx resolves; others
// stay.
func unescape(word string) string {
	if !strings.Contains(word, `\`) { // as nearly all
		return word
	}
	return strings.NewReplacer(`\"`, `"`, `\'`, `'`, `\\`, `\`, `\t`, "\t", `\r`, "\r", `\n`, "\n").Replace(word)
}

// lua skips a block of Lua: braces count where they are neither in a text nor
// in a comment (Lua 5.1 manual, section 2.1).
func (r *reader) lua() error {
	for depth := 1; depth > 0; {
		i := strings.IndexAny(r.text, `{}"'[-`)
		if i < 0 {
			return fmt.Errorf("%s: a block of Lua has no end", r.where())
		}
		r.take(i)
		switch at := r.text; {
		case at[0] == '{':
			depth++
			r.take(1)
		case at[0] == '}':
			depth--
			r.take(1)
		case at[0] == '"' || at[0] == '\'':
			if _, err := r.word(); err != nil {
				return err
			}
		case strings.HasPrefix(at, "--") && longBracket(at[2:]) == "":
			comment, _, _ := strings.Cut(at, "\n")
			r.take(len(comment))
		case longBracket(at) != "":
			closing := longBracket(at)
			end := strings.Index(at, closing)
			if end < 0 {
				return fmt.Errorf("%s: a text of Lua has no end", r.where())
			}
			r.take(end + len(closing))
		default:
			r.take(1)
		}
	}
	return nil
}

// longBracket returns what closes the long bracket that a text begins with,
// such as ]==]; empty: it begins with none.
func longBracket(text string) string {
	level, ok := strings.CutPrefix(text, "[")
	rest := strings.TrimLeft(level, "=")
	if !ok || !strings.HasPrefix(rest, "[") {
		return ""
	}
	return "]" + level[:len(level)-len(rest)] + "]"
}
