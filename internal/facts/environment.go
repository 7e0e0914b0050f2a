package facts

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/disk"
)

// hasVariables reports whether a unit that does not run would be started with variables
// of its environment.
func hasVariables(unit deployers.Unit) bool {
	return !unit.Running() && slices.ContainsFunc(unit.ExecStart, func(word string) bool { return strings.Contains(word, "$") })
}

// resolved returns a unit's ExecStart with the variables of its environment in place,
// as systemd would start it (systemd.service(5), "COMMAND LINES"). What decides which
// configuration root tests may come from nobody but root: where others could have
// written one of the files, or it is not known what they say, nothing is resolved.
func resolved(unit deployers.Unit) []string {
	variables := map[string]string{}
	for _, assignment := range unit.Environment {
		name, value, _ := strings.Cut(assignment, "=")
		variables[name] = value
	}
	for _, file := range unit.EnvironmentFiles {
		more, ok := variablesOf(file)
		if !ok {
			return unit.ExecStart
		}
		maps.Copy(variables, more)
	}
	var argv []string
	for i, word := range unit.ExecStart {
		if i == 0 { // the program's path
			argv = append(argv, word)
			continue
		}
		argv = append(argv, expanded(word, variables)...)
	}
	return argv
}

// expanded returns the words that one of a command line stands for. A $NAME alone is
// as many as its value has, a ${NAME} is what it stands for in its place. A word with
// what is not known stays as it is: systemd sets variables too, and so does its own
// environment.
func expanded(word string, variables map[string]string) []string {
	name, alone := strings.CutPrefix(word, "$")
	if alone && isVariable(name) {
		value, known := variables[name]
		if !known || strings.ContainsAny(value, `"'\`) { // in which systemd splits otherwise
			return []string{word}
		}
		return strings.Fields(value)
	}
	var text strings.Builder
	for rest := word; ; {
		before, behind, more := strings.Cut(rest, "$")
		text.WriteString(before)
		if !more {
			return []string{text.String()}
		}
		inside, after, closed := strings.Cut(strings.TrimPrefix(behind, "{"), "}")
		value, known := variables[inside]
		if !strings.HasPrefix(behind, "{") || !closed || !known {
			return []string{word}
		}
		text.WriteString(value)
		rest = after
	}
}

// isVariable reports whether a text is the name of a variable.
func isVariable(text string) bool {
	return text != "" && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// variablesOf returns what the files set that an EnvironmentFile= names, by a path or a
// glob; ok is false where that is not known, or others than root could have written it.
func variablesOf(file deployers.EnvironmentFile) (variables map[string]string, ok bool) {
	names, err := filepath.Glob(file.Path)
	if err != nil || len(names) == 0 && !file.Optional {
		return nil, false
	}
	variables = map[string]string{}
	for _, name := range names {
		if !disk.IsRoots(name) {
			return nil, false
		}
		content, _, err := disk.ReadFile(name, textLimit+1)
		if err != nil || len(content) > textLimit || !assign(variables, string(content)) {
			return nil, false
		}
	}
	return variables, true
}

// assign reads lines of NAME=VALUE (systemd.exec(5), EnvironmentFile=), and reports
// whether they have a form that is known: a value goes to the end of its line, perhaps
// in quotes.
func assign(variables map[string]string, text string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, is := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[0] == value[n-1] {
			value = value[1 : n-1]
		}
		if !is || !isVariable(name) || strings.ContainsAny(value, `"'\`) {
			return false
		}
		variables[name] = value
	}
	return true
}
