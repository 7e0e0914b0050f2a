package sipscript

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// Bounds of what is followed. Each level of files that include each other takes a
// round of questions, of which there are not many more; what is looked for lies above
// that.
const (
	mostLevels     = 5
	mostFiles      = 100
	mostExpansions = 32       // of names within what names stand for
	mostExpanded   = 64 << 10 // bytes that names stand for, in all
)

// reader reads a script. Kamailio's preprocessor works within its lexer, so that its
// directives may stand anywhere but in strings and comments; OpenSIPS puts the included
// files in place before it looks at anything else.
type reader struct {
	dialect Dialect
	texts   map[string][]deployers.Text
	script  Script
	files   int // that were included

	inputs  []input // what is being read, each from within the one before
	depth   int     // of braces
	pending token   // one that was read too early
	again   bool    // there is one
	line    bool    // a line began since the last token
	space   bool    // blanks stood since the last token
	tainted bool    // what was read of the statement depends on what is not known

	preprocessor
}

// input is a file, or what a name stands for.
type input struct {
	path, text string // path is empty for what a name stands for
	at         int
}

type kind int

const (
	end    kind = iota
	word        // of letters and digits, beginning with a letter
	quoted      // a string
	other       // a number, a variable, or one character
)

type token struct {
	kind        kind
	text        string
	line, space bool // a line began before it, or blanks stand there
}

func (t token) is(text string) bool { return t.kind == other && t.text == text }

// text returns a file of the script; false: it is not known, or cannot be read.
func (r *reader) text(path string) (string, bool) {
	for _, text := range r.texts[path] {
		if text.Path == path {
			return text.Content, true
		}
	}
	return "", false
}

// open has a text be read before what remains of the others.
func (r *reader) open(path, text string) {
	if path != "" {
		r.mention(path, text)
	}
	r.inputs = append(r.inputs, input{path: path, text: text})
}

// doubt notes what is not known, at the place where the reader is.
func (r *reader) doubt(format string, args ...any) {
	const most = 5 // they are for people
	says := fmt.Sprintf(format, args...)
	for i := len(r.inputs) - 1; i >= 0; i-- {
		if in := r.inputs[i]; in.path != "" {
			says = fmt.Sprintf("%s:%d: %s", in.path, strings.Count(in.text[:min(in.at, len(in.text))], "\n")+1, says)
			break
		}
	}
	if len(r.script.Doubts) < most {
		r.script.Doubts = append(r.script.Doubts, says)
	}
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }

func isWord(c byte) bool { return isLetter(c) || '0' <= c && c <= '9' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\b' }

// wordAt returns the word that begins somewhere.
func wordAt(text string, at int) string {
	to := at
	for to < len(text) && isWord(text[to]) {
		to++
	}
	return text[at:to]
}

// lineAt returns what remains of the line, with its end.
func lineAt(text string, at int) string {
	if n := strings.IndexByte(text[at:], '\n'); n >= 0 {
		return text[at : at+n+1]
	}
	return text[at:]
}

// next returns the next token.
func (r *reader) next() token {
	if r.again {
		r.again = false
		return r.pending
	}
	for {
		in := &r.inputs[len(r.inputs)-1]
		switch {
		case in.at < len(in.text):
		case len(r.inputs) == 1:
			return token{kind: end}
		default:
			r.line = r.line || in.path != ""
			r.inputs = r.inputs[:len(r.inputs)-1]
			continue
		}
		if r.skips() {
			r.skip(in)
			continue
		}
		if r.depth > 0 && !r.bracing && !r.passRoute(in) {
			continue
		}
		if t, ok := r.scan(in); ok {
			t.line, t.space = r.line, r.space
			r.line, r.space = false, false
			return t
		}
	}
}

// unread has a token be read again.
func (r *reader) unread(t token) { r.pending, r.again = t, true }

// passRoute goes on to what may end a route or hide its end, and reports whether
// there is something.
func (r *reader) passRoute(in *input) bool {
	for ; in.at < len(in.text); in.at++ {
		switch c := in.text[in.at]; c {
		case '"', '\'', '#', '/', '!', '$', '{', '}', '\\':
			return true
		case 'i':
			if in.at == 0 || !isWord(in.text[in.at-1]) {
				if name := wordAt(in.text, in.at); name == "include_file" || name == "import_file" {
					return true
				}
			}
		}
	}
	return false
}

// scan reads a token, or what is none and is left out.
func (r *reader) scan(in *input) (t token, ok bool) {
	c := in.text[in.at]
	rest := in.text[in.at:]
	switch {
	case c == '\n':
		r.line = true
		in.at++
	case isBlank(c):
		r.space = true
		in.at++
	case strings.HasPrefix(rest, "\\\n"):
		r.space = true
		in.at += 2
	case strings.HasPrefix(rest, "/*"):
		r.space = true
		in.comment()
	case r.dialect == Kamailio && (strings.HasPrefix(rest, "#!") || strings.HasPrefix(rest, "!!")) && r.directive(in):
	case c == '#', r.dialect == Kamailio && strings.HasPrefix(rest, "//"):
		in.at += len(strings.TrimSuffix(lineAt(in.text, in.at), "\n"))
	case c == '"' || c == '\'':
		text := in.quoted()
		if r.depth == 0 {
			text = r.substituted(text)
		}
		return token{kind: quoted, text: text}, true
	case c == '$':
		return token{kind: other, text: in.variable()}, true
	case isLetter(c):
		return r.named(in)
	case isWord(c):
		text := wordAt(in.text, in.at)
		in.at += len(text)
		return token{kind: other, text: text}, true
	default:
		in.at++
		return token{kind: other, text: rest[:1]}, true
	}
	return token{}, false
}

// named reads a word, or puts in place what it stands for.
func (r *reader) named(in *input) (t token, ok bool) {
	name := wordAt(in.text, in.at)
	in.at += len(name)
	if r.dialect == OpenSIPS {
		return token{kind: word, text: name}, true
	}
	if name == "include_file" || name == "import_file" {
		r.include(in, name == "include_file")
		return token{}, false
	}
	definition, defined := r.defined(name)
	if !defined {
		return token{kind: word, text: name}, true
	}
	r.tainted = r.tainted || definition.maybe || definition.unknown
	if r.expanded += len(definition.value); definition.unknown || r.expanded > mostExpanded || len(r.inputs) > mostExpansions {
		r.tainted = true
		return token{kind: other, text: "?"}, true
	}
	r.open("", definition.value)
	return token{}, false
}

// comment goes on behind a comment in slashes and stars, in which there may be others.
func (in *input) comment() {
	nested := 0
	for in.at < len(in.text) {
		switch rest := in.text[in.at:]; {
		case strings.HasPrefix(rest, "/*"):
			nested++
			in.at += 2
		case strings.HasPrefix(rest, "*/"):
			nested--
			in.at += 2
		default:
			in.at++
		}
		if nested == 0 {
			return
		}
	}
}

// variable reads a variable of a route, such as $(ru{s.len}); what is in its brackets
// may be anything.
func (in *input) variable() string {
	from, nested := in.at, 0
	for in.at++; in.at < len(in.text); in.at++ {
		switch c := in.text[in.at]; {
		case c == '(':
			nested++
		case c == ')':
			if nested--; nested <= 0 {
				in.at += nested + 1
				return in.text[from:in.at]
			}
		case c == '\n', nested == 0 && !isWord(c):
			return in.text[from:in.at]
		}
	}
	return in.text[from:]
}

// quoted reads a string. Those in double quotes that follow each other are one.
func (in *input) quoted() string {
	quote := in.text[in.at]
	from := in.at + 1
	if quote == '\'' {
		return in.until(from, strings.IndexByte(in.text[from:], quote))
	}
	var text []byte
	plain := true // nothing had to be written in another way yet
	for in.at = from; in.at < len(in.text); {
		switch c := in.text[in.at]; {
		case c == '"':
			to := in.at
			in.at++
			if n := in.between(); n > 0 {
				if plain {
					text, plain = append(text, in.text[from:to]...), false
				}
				in.at += n
				continue
			}
			if plain {
				return in.text[from:to]
			}
			return string(text)
		case c == '\\':
			if plain {
				text, plain = append(text, in.text[from:in.at]...), false
			}
			text = append(text, in.escape()...)
		default:
			if !plain {
				text = append(text, c)
			}
			in.at++
		}
	}
	if plain {
		return in.text[from:]
	}
	return string(text)
}

// until reads to a place behind from, and passes the character there; to the end where
// there is none.
func (in *input) until(from, n int) string {
	if n < 0 {
		in.at = len(in.text)
		return in.text[from:]
	}
	in.at = from + n + 1
	return in.text[from : from+n]
}

// between returns how many bytes there are to the text of a string that goes on.
func (in *input) between() int {
	for i := in.at; i < len(in.text); i++ {
		switch c := in.text[i]; {
		case c == '"':
			return i + 1 - in.at
		case !isBlank(c) && c != '\n':
			return 0
		}
	}
	return 0
}

// escape reads what begins with a backslash (the state STRING1 of both cfg.lex).
func (in *input) escape() string {
	rest := in.text[in.at:]
	if len(rest) < 2 {
		in.at++
		return rest[:1]
	}
	if i := strings.IndexByte("nrat\"\\\n", rest[1]); i >= 0 {
		in.at += 2
		return []string{"\n", "\r", "\a", "\t", "\"", "\\", ""}[i]
	}
	digits := func(base, from, least, most int) (string, bool) {
		for n := most; n >= least; n-- {
			if from+n > len(rest) || rest[from] == '+' || rest[from] == '-' {
				continue
			}
			if value, err := strconv.ParseUint(rest[from:from+n], base, 16); err == nil {
				in.at += from + n
				return string([]byte{byte(value)}), true
			}
		}
		return "", false
	}
	if rest[1] == 'x' {
		if text, ok := digits(16, 2, 1, 2); ok {
			return text
		}
	} else if text, ok := digits(8, 1, 2, 3); ok {
		return text
	}
	in.at++
	return rest[:1]
}
