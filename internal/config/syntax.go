package config

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// read returns the root of the one YAML document that data must be, or reports
// problems and returns nil.
func (r *report) read(data []byte) *yaml.Node {
	if len(data) > maxSize {
		r.add(Problem{What: "the file is larger than 1 MiB", Remedy: "check that it is a configuration of certlatch"})
		return nil
	}
	if line := badByte(data); line > 0 {
		r.add(Problem{Line: line, What: "the line holds bytes that are no text", Remedy: "save the file as plain text in UTF-8"})
		return nil
	}
	documents, err := parseYAML(data)
	switch {
	case err != nil:
		r.add(syntaxProblem(err, data))
	case len(documents) == 2:
		r.add(Problem{Line: documents[1].Line, What: "a second document begins here", Remedy: "remove the line --- and what follows, or merge it with what stands above"})
	case len(documents) == 0 || documents[0].Content[0].Tag == "!!null":
		r.add(Problem{What: "the file holds no configuration", Remedy: "write at least one entry below targets; certlatch init --print shows what to put there"})
	default:
		return documents[0].Content[0]
	}
	return nil
}

// badByte returns the line of the first byte that no text has, or 0.
func badByte(data []byte) int {
	for at := 0; at < len(data); {
		c, size := utf8.DecodeRune(data[at:])
		if c == utf8.RuneError && size == 1 || c < utf8.RuneSelf && unicode.IsControl(c) && !strings.ContainsRune("\t\r\n", c) {
			return lineOf(data, at)
		}
		at += size
	}
	return 0
}

func lineOf(data []byte, at int) int { return 1 + bytes.Count(data[:at], []byte("\n")) }

// parseYAML returns the first two YAML documents in data, or fewer where there
// are fewer.
func parseYAML(data []byte) ([]yaml.Node, error) {
	var documents []yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for len(documents) < 2 {
		var document yaml.Node
		if err := decoder.Decode(&document); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
	return documents, nil
}

var (
	yamlError     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`) })
	unknownAnchor = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^unknown anchor '(.*)' referenced$`) })
	tabIndent     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^ *\t`) })
)

// syntaxProblem returns the problem that an error of the YAML library means.
func syntaxProblem(err error, data []byte) Problem {
	if at := tabIndent().FindIndex(data); at != nil {
		return Problem{Line: lineOf(data, at[0]), What: "the line is indented with a tab, which YAML does not allow", Remedy: "use spaces"}
	}
	line, message := splitError(err)
	p := Problem{Line: cmp.Or(firstRefused(data, message), line)}
	if anchor := unknownAnchor().FindStringSubmatch(message); anchor != nil {
		p.What = fmt.Sprintf("*%s refers to nothing", anchor[1])
		p.Remedy = fmt.Sprintf("put the text into quotes, or mark what is meant with &%s further up", anchor[1])
	} else if message == "did not find expected alphabetic or numeric character" {
		p.What, p.Remedy = "a text that begins with * or & stands here without quotes", "put it into quotes"
	} else {
		p.What, p.Remedy = "this is not YAML: "+message, "look at the indentation, quotes and brackets of this line and of the one before"
	}
	return p
}

// splitError returns the line and the message of an error of the YAML library,
// which leaves the line out where it is the first.
func splitError(err error) (line int, message string) {
	found := yamlError().FindStringSubmatch(err.Error())
	if found == nil {
		return 1, err.Error()
	}
	line, err = strconv.Atoi(found[1])
	if err != nil {
		line = 1
	}
	return line, found[2]
}

// firstRefused returns the first line with which the beginning of data is
// refused for the same reason as the whole, or 0. The library names the line
// where the list or block begins that the wrong line cuts short, which may be
// pages above it.
func firstRefused(data []byte, message string) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	refusal := func(n int) error {
		_, err := parseYAML(bytes.Join(lines[:n], nil))
		return err
	}
	n := 1 + sort.Search(len(lines)-1, func(i int) bool { return refusal(i+1) != nil })
	if err := refusal(n); err != nil {
		if _, same := splitError(err); same == message {
			return n
		}
	}
	return 0
}
