package sipscript

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// preprocessor is the state of Kamailio's (cfg.lex and ppcfg.c of 6.0.1).
type preprocessor struct {
	defines    map[string]definition
	substs     []substitution
	conditions []condition
	expanded   int  // bytes that names stood for
	bracing    bool // a name stands for what may begin or end a route
}

// definition is what a name stands for.
type definition struct {
	value   string
	unknown bool // what that is depends on what is not known
	maybe   bool // so does whether it is defined
}

// truth is whether a condition holds.
type truth int

const (
	no truth = iota
	yes
	maybe
)

// condition is one whose end has not been read.
type condition struct {
	holds truth
	depth int // of braces, where it began
}

// skips reports whether the text is in a branch that does not count.
func (p *preprocessor) skips() bool {
	return slices.ContainsFunc(p.conditions, func(c condition) bool { return c.holds == no })
}

// unsure reports whether the text is in a branch of which it is not known whether it
// counts.
func (p *preprocessor) unsure() bool {
	return slices.ContainsFunc(p.conditions, func(c condition) bool { return c.holds == maybe })
}

// skip goes on to the next directive that may end a branch which does not count. There
// are neither strings nor comments in one.
func (r *reader) skip(in *input) {
	for from := in.at; ; {
		n := strings.IndexByte(in.text[from:], '!')
		if n < 0 {
			in.at = len(in.text)
			return
		}
		from += n + 1
		if start := from - 2; start >= in.at && (in.text[start] == '#' || in.text[start] == '!') {
			before := in.at
			if in.at = start; r.conditional(in, wordAt(in.text, from)) {
				return
			}
			in.at = before
		}
	}
}

// directive reads a directive of the preprocessor, and reports whether there is one.
func (r *reader) directive(in *input) bool {
	name := wordAt(in.text, in.at+2)
	if r.conditional(in, name) {
		return true
	}
	behind := in.at + 2 + len(name)
	line := lineAt(in.text, behind)
	spaced := line != "" && isBlank(line[0])
	switch name {
	case "define", "def", "trydefine", "trydef", "redefine", "redef", "defexp", "defexps":
		if !spaced {
			return false
		}
		in.at = behind
		r.defineLine(in, name)
	case "defenv", "defenvs", "trydefenv", "trydefenvs":
		in.at = behind + len(line)
		r.line = true
		id, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		if id != "" {
			r.define(id, definition{unknown: true, maybe: strings.HasPrefix(name, "try") || r.unsure()})
		}
	case "subst", "substdef", "substdefs":
		in.at = behind
		if t := r.next(); t.kind == quoted {
			r.addSubst(name, t.text)
		} else {
			r.unread(t)
		}
	case "include_file", "import_file":
		in.at = behind
		r.include(in, name == "include_file")
	default:
		return false
	}
	return true
}

// conditional reads a directive that begins, turns or ends a branch, and reports
// whether there is one.
func (r *reader) conditional(in *input, name string) bool {
	behind := in.at + 2 + len(name)
	line := lineAt(in.text, behind)
	rest := strings.Trim(line, " \t\r\b")
	spaced := line != "" && isBlank(line[0])
	alone := rest == "\n" // so it needs a line's end, which the last line may lack
	last := len(r.conditions) - 1
	switch {
	case (name == "ifdef" || name == "ifndef" || name == "ifexp") && spaced:
		c := condition{depth: r.depth}
		rest = strings.TrimSpace(rest)
		switch {
		case r.skips(): // whatever it is
		case name == "ifexp":
			c.holds = r.expression(rest)
		default:
			c.holds = r.isDefined(wordAt(rest, 0))
		}
		if c.holds == maybe {
			r.doubt("whether #!%s %s holds is not known", name, rest)
		}
		if name == "ifndef" {
			c.holds = not(c.holds)
		}
		r.conditions = append(r.conditions, c)
	case name == "else" && alone:
		if last >= 0 {
			if r.conditions[last].holds == maybe {
				r.depth = r.conditions[last].depth // one branch counts, and not both
			}
			r.conditions[last].holds = not(r.conditions[last].holds)
		}
	case name == "endif" && alone:
		if last >= 0 {
			r.conditions = r.conditions[:last]
		}
	default:
		return false
	}
	in.at = behind + len(line)
	r.line = true
	return true
}

func not(t truth) truth { return map[truth]truth{no: yes, yes: no, maybe: maybe}[t] }

// defined returns what a name stands for. Kamailio's own names depend on its version
// and on its system (ppcfg.c, pp_define_core).
func (r *reader) defined(name string) (definition, bool) {
	if found, ok := r.defines[name]; ok {
		return found, true
	}
	if strings.HasPrefix(name, "KAMAILIO_") || name == "OS_NAME" {
		return definition{unknown: true, maybe: name != "KAMAILIO_VERSION" && name != "OS_NAME"}, true
	}
	return definition{}, false
}

func (r *reader) isDefined(name string) truth {
	switch found, ok := r.defined(name); {
	case !ok:
		return no
	case found.maybe:
		return maybe
	}
	return yes
}

// expression returns the truth of an expression, as far as it is a name or number or
// compares one name with a string (ppcfg.c, pp_ifexp_eval).
func (r *reader) expression(text string) truth {
	of := func(is bool) truth {
		if is {
			return yes
		}
		return no
	}
	if text == "0" || text == "1" {
		return of(text == "1")
	}
	name := wordAt(text, 0)
	if name == "" || !isLetter(name[0]) {
		return maybe
	}
	found, ok := r.defined(name)
	value := unquote(found.value)
	rest := strings.TrimSpace(text[len(name):])
	switch {
	case found.maybe || found.unknown:
		return maybe
	case rest == "":
		return of(ok && (found.value == "" || value != ""))
	case !ok || found.value == "" || len(rest) < 2:
		return maybe
	}
	operator, literal := rest[:2], strings.TrimSpace(rest[2:])
	plain := unquote(literal)
	if plain == literal || strings.ContainsAny(plain, `"'\`) {
		return maybe
	}
	switch operator {
	case "==":
		return of(value == plain)
	case "!=":
		return of(value != plain)
	}
	return maybe
}

// unquote returns what is in quotes without them, and else the text.
func unquote(text string) string {
	if n := len(text); n >= 2 && (text[0] == '"' || text[0] == '\'') && text[0] == text[n-1] {
		return text[1 : n-1]
	}
	return text
}

// defineLine reads a definition, whose value goes to the end of the line, comments
// included; a backslash hides the end.
func (r *reader) defineLine(in *input, directive string) {
	for in.at < len(in.text) && isBlank(in.text[in.at]) {
		in.at++
	}
	name := wordAt(in.text, in.at)
	in.at += len(name)
	var value strings.Builder
	for hidden := true; hidden; {
		line := lineAt(in.text, in.at)
		in.at += len(line)
		line = strings.TrimSuffix(line, "\n")
		line, hidden = strings.CutSuffix(line, "\\")
		value.WriteString(line)
	}
	r.line = true
	if name == "" {
		return
	}
	before, ok := r.defined(name)
	if ok && strings.HasPrefix(directive, "try") {
		if before.maybe {
			r.define(name, definition{unknown: true, maybe: r.unsure()})
		}
		return
	}
	r.define(name, definition{value: strings.Trim(value.String(), " \t\r\b"), unknown: strings.HasPrefix(directive, "defexp"), maybe: r.unsure()})
}

// define defines a name. In a branch of which it is not known whether it counts, what
// it stood for before may go on to.
func (r *reader) define(name string, d definition) {
	if before, ok := r.defines[name]; ok && d.maybe {
		d = definition{value: d.value, unknown: before.unknown || before.value != d.value, maybe: before.maybe}
	}
	r.defines[name] = d
	r.bracing = r.bracing || strings.ContainsAny(d.value, "{}")
}

// substitution is what is replaced within strings.
type substitution struct {
	plain       string // without a meaning of its own; else
	pattern     *regexp.Regexp
	replacement string
	all         bool
	maybe       bool // whether it counts, or what it does, is not known
}

// addSubst reads a substitution, /PATTERN/REPLACEMENT/FLAGS with any character in
// place of the slash; that of substdef is a definition too (ppcfg.c, pp_substdef_add).
func (r *reader) addSubst(directive, text string) {
	if text == "" {
		return
	}
	parts := split(text[1:], text[0])
	if len(parts) != 3 {
		return
	}
	s := substitution{replacement: parts[1], all: strings.Contains(parts[2], "g"), maybe: r.unsure()}
	evaluated := strings.ContainsAny(parts[1], `\$`)
	var err error
	switch {
	case parts[0] == "":
		return
	case !strings.ContainsAny(parts[0], `.*+?[](){}^$|\`) && !strings.Contains(parts[2], "i"):
		s.plain = parts[0]
	default:
		flags := "(?m"
		if strings.Contains(parts[2], "i") {
			flags += "i"
		}
		s.pattern, err = regexp.Compile(flags + ")" + parts[0])
	}
	if s.maybe = s.maybe || evaluated || err != nil; err != nil {
		s.pattern = nil
		r.doubt("what #!%s %q replaces is not known", directive, text)
	}
	r.substs = append(r.substs, s)
	if directive != "subst" {
		value := parts[1]
		if directive == "substdefs" {
			value = `"` + value + `"`
		}
		r.define(parts[0], definition{value: value, unknown: strings.Contains(parts[1], "$"), maybe: r.unsure()})
	}
}

// split splits a text at a separator that has no backslash before it.
func split(text string, separator byte) (parts []string) {
	from := 0
	for i := range len(text) {
		if text[i] == separator && (i == 0 || text[i-1] != '\\') {
			parts, from = append(parts, text[from:i]), i+1
		}
	}
	return append(parts, text[from:])
}

// substituted returns a string as the preprocessor leaves it.
func (r *reader) substituted(text string) string {
	for _, s := range r.substs {
		switch {
		case s.plain == "" && s.pattern == nil:
			r.tainted = true
			continue
		case s.plain != "" && !strings.Contains(text, s.plain), s.pattern != nil && !s.pattern.MatchString(text):
			continue
		}
		r.tainted = r.tainted || s.maybe
		done := false
		switch {
		case s.plain != "" && s.all:
			text = strings.ReplaceAll(text, s.plain, s.replacement)
		case s.plain != "":
			text = strings.Replace(text, s.plain, s.replacement, 1)
		default:
			text = s.pattern.ReplaceAllStringFunc(text, func(old string) string {
				if done && !s.all {
					return old
				}
				done = true
				return s.replacement
			})
		}
		const longest = 4 << 10 // of a value that counts
		if len(text) > longest {
			text, r.tainted = text[:longest], true
		}
	}
	return text
}

// include reads the path of a file, which is in double quotes, and has the file be read
// in this place. One that is imported need not exist (cfg.lex, sr_push_yy_state).
func (r *reader) include(in *input, needed bool) {
	for in.at < len(in.text) && (in.text[in.at] == ' ' || in.text[in.at] == '\t') {
		in.at++
	}
	if in.at >= len(in.text) || in.text[in.at] != '"' {
		return
	}
	n := strings.IndexAny(in.text[in.at:], " \t\r\n")
	if n < 0 {
		n = len(in.text) - in.at
	}
	name := r.substituted(in.text[in.at : in.at+n])
	in.at += n
	if len(name) < 3 || name[len(name)-1] != '"' {
		return
	}
	levels, from := 0, ""
	for _, input := range r.inputs {
		if input.path != "" {
			levels, from = levels+1, input.path
		}
	}
	r.follow(name[1:len(name)-1], from, levels, needed, r.open)
}

// follow has a file be opened that another includes. Where its path is relative, it
// begins at the directory that the program was started in, which is the root for a unit
// that does not say otherwise (systemd.exec(5), WorkingDirectory=), or else at that
// of the other file.
func (r *reader) follow(name, from string, levels int, needed bool, open func(path, text string)) {
	if r.files++; levels > mostLevels || r.files > mostFiles {
		r.doubt("%s and what it includes was not read: that is too much", name)
		return
	}
	for _, at := range candidates(name, from) {
		r.mentioned(at)
		if text, ok := r.text(at); ok {
			open(at, text)
			return
		}
	}
	if needed {
		r.doubt("%s could not be read", name)
	}
}

// candidates returns the paths at which an included file may be, in their order.
func candidates(name, from string) []string {
	if path.IsAbs(name) {
		return []string{path.Clean(name)}
	}
	return []string{path.Join("/", name), path.Join(path.Dir(from), name)}
}

// mentioned notes a path that the script is read from.
func (r *reader) mentioned(at string) {
	if !slices.Contains(r.script.Paths, at) && len(r.script.Paths) < 2*mostFiles {
		r.script.Paths = append(r.script.Paths, at)
	}
}

// mention notes the files that a text includes in any of its branches, so that those
// whose branch comes to count by what another file defines are read with that.
func (r *reader) mention(from, text string) {
	if r.dialect != Kamailio {
		return
	}
	const ends = "_file" // of both directives
	for at := 0; ; {
		n := strings.Index(text[at:], ends)
		if n < 0 {
			return
		}
		before := text[strings.LastIndexByte(text[:at+n], '\n')+1 : at+n]
		at += n + len(ends)
		start, is := strings.CutSuffix(before, "include")
		if !is {
			start, is = strings.CutSuffix(before, "import")
		}
		start = strings.TrimSpace(start)
		rest := strings.TrimLeft(lineAt(text, at), " \t")
		if !is || start != "" && start != "#!" && start != "!!" || !strings.HasPrefix(rest, `"`) {
			continue
		}
		if name, _, ok := strings.Cut(rest[1:], `"`); ok && name != "" {
			for _, candidate := range candidates(name, from) {
				r.mentioned(candidate)
			}
		}
	}
}

// flattened returns a script of OpenSIPS with the files in place that it includes.
// OpenSIPS does this line by line, whatever the lines are part of (cfg_pp.c of 3.6.8,
// mk_included_file_path).
func (r *reader) flattened(text, from string, levels int) string {
	if !strings.Contains(text, "include_file") && !strings.Contains(text, "import_file") {
		return text
	}
	var flat strings.Builder
	for line := range strings.Lines(text) {
		name, is := includedBy(line)
		if !is {
			flat.WriteString(line)
			continue
		}
		r.follow(name, from, levels+1, true, func(path, text string) {
			flat.WriteString(strings.TrimSuffix(r.flattened(text, path, levels+1), "\n") + "\n")
		})
	}
	return flat.String()
}

// includedBy returns the path that a line of an OpenSIPS's script includes.
func includedBy(line string) (name string, is bool) {
	line = strings.TrimLeft(line, " \t\r\n")
	rest, is := strings.CutPrefix(line, "include_file")
	if !is {
		rest, is = strings.CutPrefix(line, "import_file")
	}
	rest = strings.TrimLeft(rest, " \t\r\n\v\f")
	if !is || rest == "" || rest[0] != '"' && rest[0] != '\'' {
		return "", false
	}
	name, _, closed := strings.Cut(rest[1:], rest[:1])
	return name, closed && len(name) >= 2
}
