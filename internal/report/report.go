// Package report makes what people, scripts and monitoring read of certlatch:
// JSON, text, the plugin's line, journal entries and exit codes. Fields, codes
// and words that scripts rely on are only ever added; what people read may
// change with any release. The schemas are documented where they are defined,
// and testdata holds them.
//
// It makes text of values. It looks at nothing, does not ask what time it is,
// and has no effect but on the writer that it is given.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
)

// A View is a result that can be shown in two ways.
type View interface {
	JSON() any    // for scripts, by a schema
	Text() string // for people
}

// Write shows a view as JSON or as text, in UTF-8.
func Write(w io.Writer, v View, asJSON bool) error {
	if !asJSON {
		_, err := io.WriteString(w, InUTF8(v.Text()))
		return err
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v.JSON())
}

// InUTF8 returns a text in which what is not UTF-8 is replaced. Programs print in
// encodings of their own, and a file's name has none (path_resolution(7)).
func InUTF8(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// orNull returns what JSON has for a text: null for an empty one.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// errorOrNull returns what JSON has for an error: null for none.
func errorOrNull(err error) *string {
	if err == nil {
		return nil
	}
	return orNull(err.Error())
}

// orDash returns what a table has for a text that may be missing.
func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Count returns a number of things in words: 1 target, 2 targets.
func Count(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}

const day = 24 * time.Hour

// roughly returns a duration in its largest unit, for people.
func roughly(d time.Duration) string {
	switch {
	case d >= 10*day:
		return fmt.Sprintf("%d d", d/day)
	case d >= 2*day:
		return fmt.Sprintf("%.1f d", float64(10*d/day)/10)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", max(d, 0)/time.Second)
}

// leafLine returns a line on a leaf.
func leafLine(l lineage.Leaf) string {
	names := strings.Join(l.Names, " ")
	if len(l.Names) > 4 {
		names = fmt.Sprintf("%s and %d more", strings.Join(l.Names[:4], " "), len(l.Names)-4)
	}
	return fmt.Sprintf("%s  %s  %s  until %s", l.Short(), names, l.Key, l.NotAfter.Format("2006-01-02 15:04 MST"))
}

// A block is text about one thing: a line that names it, and labelled lines
// below.
type block struct{ strings.Builder }

// addLine adds a line with a label, in printable characters: much of it comes
// from certificates, from programs, and from the network.
func (b *block) addLine(label, format string, args ...any) {
	fmt.Fprintf(b, "  %-10s %s\n", label, inLine(fmt.Sprintf(format, args...)))
}
