package proposal

import (
	"embed"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"unicode"
)

//go:embed config.yaml.tmpl
var files embed.FS

// width is the longest line of a comment, in characters.
const width = 96

// Write writes the proposal as a configuration with comments.
func (p Proposal) Write(w io.Writer) error {
	text, err := execute(file, p)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

// Entry returns a target as an element of the list of targets, which is indented by two
// spaces and begins with an empty line, with comments.
func (t Target) Entry() (string, error) {
	text, err := execute("target", t)
	return text + "\n", err
}

const file = "config.yaml.tmpl"

// execute returns the text of one of the templates.
func execute(name string, of any) (string, error) {
	parsed, err := template.New(file).Funcs(template.FuncMap{"value": yamlValue, "wrap": wrapComment, "line": oneLine}).ParseFS(files, file)
	if err != nil {
		return "", fmt.Errorf("read the template of the configuration: %w", err)
	}
	var text strings.Builder
	if err := parsed.ExecuteTemplate(&text, name, of); err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	return text.String(), nil
}

// Active reports whether any target is not commented out.
func (p Proposal) Active() bool {
	for _, t := range p.Targets {
		if !t.Idle {
			return true
		}
	}
	return false
}

// Copies returns the names of the clients whose own files services take, for
// people.
func (p Proposal) Copies() string {
	var clients []string
	for _, t := range p.Targets {
		if t.Copy != "" && !slices.Contains(clients, t.Copy) {
			clients = append(clients, t.Copy)
		}
	}
	return strings.Join(clients, " and ")
}

// plainValue matches texts that need no quotes in YAML, in a block or in a
// list.
var plainValue = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)?$`) })

// otherValue matches words that YAML takes for something else than a text.
var otherValue = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?i:true|false|null|yes|no|on|off|y|n)$`) })

// yamlValue returns a text as a value of YAML, whose double-quoted style has the
// escapes of Go (YAML 1.2.2 section 7.3.1).
func yamlValue(text string) string {
	if plainValue().MatchString(text) && !otherValue().MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}

// oneLine returns a text without control characters, which a path may hold and
// which would end a comment.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == 0x2028 || r == 0x2029 || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, text)
}

// wrapComment returns a text as a comment: lines that begin with a prefix, the
// first one with first.
func wrapComment(first, further, text string) string {
	var lines []string
	at, empty := first, true
	for _, word := range strings.Fields(oneLine(text)) {
		if !empty && len(at)+1+len(word) > width {
			lines, at, empty = append(lines, at), further, true
		}
		at, empty = at+" "+word, false
	}
	return strings.Join(append(lines, at), "\n")
}
