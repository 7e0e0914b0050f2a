package hookstest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing/iotest"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/hooks"
)

// recording is what a client said once, in a file of hooks/testdata: after a
// comment a line for the client ("client: ..."), each variable (NAME=VALUE), each
// argument ("argument: ..."), each line of input ("input: ...") and each path
// that is meant ("means: ...").
type recording struct {
	file, client            string
	variables, args, inputs []string
	means                   []string
	quiet                   bool // it may mean nothing: its event is another, or there is no input
}

func parseRecording(file, text string) recording {
	r := recording{file: filepath.Base(file)}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		word, value, _ := strings.Cut(line, ": ")
		switch {
		case strings.HasPrefix(line, "#"):
		case word == "client":
			r.client = value
		case word == "argument":
			r.args = append(r.args, value)
		case word == "input":
			r.inputs = append(r.inputs, value)
		case word == "means":
			r.means = append(r.means, value)
		default:
			r.variables = append(r.variables, line)
		}
	}
	return r
}

// call returns the call that was recorded.
func (r recording) call() hooks.Call {
	env := map[string]string{}
	for _, variable := range r.variables {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	return hooks.Call{
		Env:   func(name string) string { return env[name] },
		Args:  r.args,
		Input: strings.NewReader(strings.Join(append(slices.Clone(r.inputs), ""), "\n")),
	}
}

// recordings returns what was recorded of the client.
func (s *suite) recordings() []recording {
	files, err := filepath.Glob(filepath.Join(s.dir, "testdata/*.env"))
	if err != nil {
		s.flaw("find recordings: %v", err)
	}
	var its []recording
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			s.flaw("read a recording: %v", err)
		}
		if r := parseRecording(file, string(text)); r.client == s.client.Name() {
			its = append(its, r)
			if !source.MatchString(strings.SplitN(string(text), "\n", 2)[0]) {
				s.flaw("testdata/%s does not say which version of the client was recorded: begin it with a comment", r.file)
			}
		}
	}
	if its == nil {
		s.flaw("no call was recorded: run the client with a hook that prints its environment, arguments and input, and write them to testdata/NAME.env as the others are")
	}
	return its
}

// checkRecorded wants recorded calls to be understood, with and without the
// client's name, and to mean lineages.
func (s *suite) checkRecorded(recorded []recording) {
	for _, r := range recorded {
		events, err := s.events(r.call())
		var paths []string
		for _, event := range events {
			paths = append(paths, event.Path)
			s.checkMeant(r, event)
		}
		if diff := cmp.Diff(r.means, paths); diff != "" || err != nil {
			s.flaw("testdata/%s is not understood: correct Events: %v (-meant +understood)\n%s", r.file, err, diff)
		}
		if evidence := s.client.Evidence(r.call()); r.call().Env(evidence) != "" {
			s.checkText("packaging/man/certlatch.8.md", "**"+evidence+"**", "name the variable under ENVIRONMENT")
		}
		if as, err := hooks.Detect(r.call()); err != nil || as.Name() != s.client.Name() {
			s.flaw("testdata/%s is not taken for its call: correct Evidence: %v", r.file, err)
		}
	}
}

// checkMeant wants the path of an event to be that of a lineage, and the
// lineage of that name to lie there.
func (s *suite) checkMeant(r recording, event hooks.Event) {
	root := hooks.Keeper{Name: s.client.Name(), Layout: s.client.Layout()}.Root(path.Dir(event.Path))
	name := root.NameAt(event.Path)
	l, err := root.Lineage(name)
	if err != nil || lineagePath(root, l) != event.Path {
		s.flaw("testdata/%s means %s, which is no place of a lineage: let Events and Layout agree: %v", r.file, event.Path, err)
	}
}

// hostile returns what an attacker may put in place of a client's word.
func hostile(word string) []string {
	return []string{
		"", "live/a", "-rf", "--config=/tmp/x", "~/a", "$(id)", ".", "..", "/..",
		word + "/../../../etc/shadow", word + "\n", word + "\x00", "/a\x1b[2J" + word, word + "\x7f",
		"/" + strings.Repeat("x", 5000), "/" + strings.Repeat("x/", 5000),
	}
}

// spoiled returns copies of the recording, each with one hostile word.
func (r recording) spoiled() (all []recording) {
	for i, variable := range r.variables {
		name, value, _ := strings.Cut(variable, "=")
		for _, word := range hostile(value) {
			other := r
			other.variables = withWord(r.variables, i, name+"="+word)
			all = append(all, other)
		}
	}
	for i, arg := range r.args {
		for _, word := range hostile(arg) {
			other, fewer := r, r
			other.args, fewer.args = withWord(r.args, i, word), r.args[:i]
			other.quiet = i == 0
			all = append(all, other, fewer)
		}
	}
	for i, input := range r.inputs {
		for _, word := range hostile(input) {
			other := r
			other.inputs, other.quiet = withWord(r.inputs, i, word), true
			all = append(all, other)
		}
	}
	if r.inputs != nil {
		endless := r
		endless.inputs = slices.Repeat([]string{"x"}, 1<<20)
		all = append(all, endless)
	}
	more := r
	more.args = append(slices.Clone(r.args), "--config", "../../etc/shadow", "", "x", "y")
	return append(all, more)
}

func withWord(words []string, i int, word string) []string {
	words = slices.Clone(words)
	words[i] = word
	return words
}

// checkHostile wants hostile words to be refused, or to make no difference.
func (s *suite) checkHostile(recorded []recording) {
	if _, err := s.events(recording{}.call()); !errors.As(err, new(*hooks.NotCalledError)) {
		s.flaw("an empty call ends with %v: let Events return a *NotCalledError where the client's words are missing", err)
	}
	refused := false
	for _, r := range recorded {
		for _, other := range r.spoiled() {
			refused = s.checkSpoiled(other, other.call()) || refused
		}
		broken := r.call()
		broken.Input = io.MultiReader(broken.Input, iotest.ErrReader(io.ErrUnexpectedEOF))
		s.checkSpoiled(r, broken)
	}
	if !refused && len(recorded) > 0 {
		s.flaw("nothing that it is given is ever refused: let Events take each path through cleanPath")
	}
}

// checkSpoiled checks what the client makes of a call with a hostile word, and
// reports whether the call was refused.
func (s *suite) checkSpoiled(r recording, call hooks.Call) (refused bool) {
	events, err := s.events(call)
	if err != nil {
		control := strings.ContainsFunc(err.Error(), unicode.IsControl)
		if events != nil || control || len(err.Error()) > 400 || !known(err) {
			s.flaw("testdata/%s with a hostile word: %d events and %q: let Events return no events, and an *InputError of few plain words", r.file, len(events), err)
		}
		return errors.As(err, new(*hooks.InputError))
	}
	if events == nil && !r.quiet {
		s.flaw("testdata/%s with a hostile word means nothing, and nobody is told: let Events return an *InputError", r.file)
	}
	for _, event := range events {
		plain := path.IsAbs(event.Path) && path.Clean(event.Path) == event.Path && !strings.ContainsFunc(event.Path, unicode.IsControl)
		stray := event.LineageName() != "" && !slices.ContainsFunc(r.means, func(meant string) bool { return path.Dir(meant) == path.Dir(event.Path) })
		if !plain || stray || event.Client != s.client.Name() {
			s.flaw("testdata/%s with a hostile word means %+.200v: let Events take each path through cleanPath", r.file, event)
		}
	}
	return false
}

func known(err error) bool {
	return errors.As(err, new(*hooks.InputError)) || errors.As(err, new(*hooks.NotCalledError)) || errors.As(err, new(*hooks.UnsupportedError))
}

// events returns the client's events for a call. A panic is returned as an
// error.
func (s *suite) events(call hooks.Call) (events []hooks.Event, err error) {
	defer func() {
		if caught := recover(); caught != nil {
			events, err = nil, fmt.Errorf("a panic in Events: %v", caught)
		}
	}()
	return s.client.Events(call)
}
