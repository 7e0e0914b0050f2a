package report

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Screen is what text is shown on.
type Screen struct {
	Width    int // in columns
	Coloured bool
}

// A colour is the number of an ANSI foreground colour; 0: none.
type colour int

const (
	red     colour = 31
	green   colour = 32
	yellow  colour = 33
	magenta colour = 35
	grey    colour = 90
)

// paint returns a text in a colour, where the screen shows colours.
func (s Screen) paint(c colour, text string) string {
	if !s.Coloured || c == 0 || text == "" {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, text)
}

// Printable returns a text in which what a terminal might take for a command is
// replaced.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || unicode.Is(unicode.Join_Control, r) { // an emoji may be joined from others
			return r
		}
		return '?'
	}, text)
}

// quotedName returns the name of a lineage as people are shown it: in quotes where it would
// not be told from what stands around it.
func quotedName(name string) string {
	odd := func(r rune) bool {
		return !unicode.IsPrint(r) || unicode.IsSpace(r) || r == '"' || r == '\'' || r == '\\'
	}
	if name != "" && !strings.ContainsFunc(name, odd) {
		return name
	}
	return strconv.Quote(name)
}

// inLine returns a text as printable text of one line: what a program has
// printed, and names that others gave to files, make no lines of their own.
func inLine(text string) string {
	return Printable(strings.ReplaceAll(strings.TrimSpace(text), "\n", " "))
}

// cut returns a text cut to a width, with a mark where it was longer.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:max(width-1, 0)]) + "~"
}

// wrap breaks a text into lines at blanks. A word that is longer than a line
// stays whole.
func wrap(text string, width int) []string {
	var lines []string
	for utf8.RuneCountInString(text) > width {
		at := strings.LastIndex(string([]rune(text)[:width+1]), " ")
		if at <= 0 {
			at = strings.Index(text, " ")
		}
		if at <= 0 {
			break
		}
		lines, text = append(lines, strings.TrimRight(text[:at], " ")), strings.TrimLeft(text[at:], " ")
	}
	return append(lines, text)
}
