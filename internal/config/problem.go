package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is everything that is wrong with a configuration file.
type Error struct {
	Path     string
	Problems []Problem // by line; at least one
}

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	Line   int    // from 1; 0: the file as a whole
	Where  string // the key, such as targets[0].mode; empty: no key in particular
	What   string // one sentence, no period
	Remedy string // what to do, imperative
}

// Error returns a line for each problem: PATH:LINE: WHERE: WHAT; REMEDY.
func (e *Error) Error() string {
	var lines []string
	for _, p := range e.Problems {
		place := e.Path
		if p.Line > 0 {
			place = fmt.Sprintf("%s:%d", e.Path, p.Line)
		}
		lines = append(lines, place+": "+p.String())
	}
	return strings.Join(lines, "\n")
}

func (p Problem) String() string {
	text := p.What + "; " + p.Remedy
	if p.Where != "" {
		text = p.Where + ": " + text
	}
	return text
}

// complaint is an error about a value, which does not know where the value
// stands.
type complaint struct{ what, remedy string }

func (c *complaint) Error() string { return c.what + "; " + c.remedy }

// complaintOf returns a complaint with the text of an error, and the remedy
// that follows a semicolon in it, or else the given one.
func complaintOf(err error, remedy string) *complaint {
	what, own, ok := strings.Cut(err.Error(), "; ")
	if ok {
		remedy = own
	}
	return &complaint{what, remedy}
}

// report collects what is wrong with a file.
type report struct {
	problems []Problem
	wrong    map[string]bool // the keys that have a problem already
	lines    map[string]int  // where each key that was written stands
}

func (r *report) add(p Problem) {
	r.problems = append(r.problems, p)
	if r.wrong == nil {
		r.wrong = map[string]bool{}
	}
	r.wrong[p.Where] = true
}

// problemAt reports a problem of a key, written or not, unless the key has one
// already, from which the new one may only follow.
func (r *report) problemAt(where, what, remedy string) {
	if !r.wrong[where] {
		r.add(Problem{Line: r.lineOf(where), Where: where, What: what, Remedy: remedy})
	}
}

// isGiven reports whether a key has a value, be it a wrong one.
func (r *report) isGiven(where, value string) bool { return value != "" || r.wrong[where] }

// wrongBelow reports whether a key in the block or list at where has a problem.
func (r *report) wrongBelow(where string) bool {
	for key := range r.wrong {
		if strings.HasPrefix(key, where) {
			return true
		}
	}
	return false
}

// lineOf returns the line of a key, or that of the nearest key around it.
func (r *report) lineOf(where string) int {
	for {
		if line, ok := r.lines[where]; ok || where == "" {
			return line
		}
		where = where[:max(0, strings.LastIndexAny(where, ".["))]
	}
}

func (r *report) err(path string) error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &Error{Path: path, Problems: r.problems}
}
