package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error says all that is wrong with a configuration file.
type Error struct {
	Path     string
	Problems []Problem // by line; at least one
}

// Problem is one thing that is wrong.
type Problem struct {
	Line   int    // from 1; 0: the file as a whole
	Where  string // the key, such as targets[0].mode; empty: no key in particular
	What   string // one sentence, no period
	Remedy string // what to do, imperative
}

// Error gives one line a problem: PATH:LINE: WHERE: WHAT; REMEDY.
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

// complaint is what is wrong with a value, wherever it stands.
type complaint struct{ what, remedy string }

func (c *complaint) Error() string { return c.what + "; " + c.remedy }

// complaintOf makes a complaint of an error from elsewhere, which may say its
// remedy itself: WHAT; REMEDY.
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

// at reports a problem of a key, written or not, unless the key has one
// already: what follows from a mistake is no news.
func (r *report) at(where, what, remedy string) {
	if !r.wrong[where] {
		r.add(Problem{Line: r.line(where), Where: where, What: what, Remedy: remedy})
	}
}

// given tells whether a key has a value, be it a wrong one.
func (r *report) given(where, value string) bool { return value != "" || r.wrong[where] }

// wrongBelow tells whether a key in the block or list at where has a problem.
func (r *report) wrongBelow(where string) bool {
	for key := range r.wrong {
		if strings.HasPrefix(key, where) {
			return true
		}
	}
	return false
}

// line finds the line of a key, or that of the nearest one around it.
func (r *report) line(where string) int {
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
