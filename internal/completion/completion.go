// Package completion writes what lets shells complete command lines: it knows
// three shells, and nothing of what the commands are.
package completion

import (
	"cmp"
	"fmt"
	"strings"
)

// Level is a place on the command line: what may follow a command.
type Level struct {
	Path  string // the words that lead there, a space before each; empty: the first level
	Words []Word
	Of    string // what else may stand there, of a kind that is asked for; empty: nothing
}

// Word is something that may stand at a level.
type Word struct {
	Text, About string
	Value       bool   // a flag that takes one
	Of          string // what its value is one of, of a kind that is asked for; empty: files
}

// Kinds are asked for when they are needed, by certlatch completion --values KIND,
// which prints a word a line. Shells expand the words that they are given here, so
// these must be none that mean anything to a shell.

// A Shell writes a script for the levels of a program, the first before all
// others.
type Shell func([]Level) string

// Shells returns the shells that can be helped, by name.
func Shells() map[string]Shell {
	return map[string]Shell{"bash": bash, "zsh": zsh, "fish": fish}
}

// joinWords returns the words of a level, with spaces between them.
func (l Level) joinWords() string {
	var texts []string
	for _, w := range l.Words {
		texts = append(texts, w.Text)
	}
	return strings.Join(texts, " ")
}

// joinAsked returns the flags of a level that take a value, each with the kind of that
// behind a colon, or with "files".
func (l Level) joinAsked() string {
	var texts []string
	for _, w := range l.Words {
		if w.Value {
			texts = append(texts, w.Text+":"+cmp.Or(w.Of, "files"))
		}
	}
	return strings.Join(texts, " ")
}

// pathPattern returns a pattern for case, as bash and zsh have it, that matches
// the paths of all levels but the first.
func pathPattern(levels []Level) string {
	var paths []string
	for _, l := range levels[1:] {
		paths = append(paths, `"`+l.Path+`"`)
	}
	return strings.Join(paths, "|")
}

// bash returns a function for bash's complete.
func bash(levels []Level) string {
	var s strings.Builder
	fmt.Fprintf(&s, `# bash completion for certlatch(8)
_certlatch() {
    local at= asks= of= words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${COMP_WORDS[i]}" in
        %s) at+=" ${COMP_WORDS[i]}" ;;
        esac
    done
    case "$at" in
`, pathPattern(levels))
	for _, l := range levels {
		fmt.Fprintf(&s, "    %q) words=%q asks=%q of=%s ;;\n", l.Path, l.joinWords(), l.joinAsked(), l.Of)
	}
	s.WriteString(`    esac
    for i in $asks; do
        [[ $i == "${COMP_WORDS[COMP_CWORD - 1]}:"* ]] && of=${i#*:} words=
    done
    # Without a word here, the shell completes file names.
    [[ $of == files ]] && return
    [[ $of ]] && words+=" $("${COMP_WORDS[0]}" completion --values "$of" -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)"
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _certlatch certlatch
`)
	return s.String()
}

// zsh returns a function for zsh's completion system.
func zsh(levels []Level) string {
	var s strings.Builder
	fmt.Fprintf(&s, `#compdef certlatch
local at word asks of
local -a known
for word in ${words[2,CURRENT-1]}; do
    case "$at $word" in
    (%s) at+=" $word" ;;
    esac
done
case "$at" in
`, pathPattern(levels))
	quote := strings.NewReplacer(`'`, `'\''`).Replace
	for _, l := range levels {
		fmt.Fprintf(&s, "(%q) known=(", l.Path)
		for _, w := range l.Words {
			fmt.Fprintf(&s, "\n    '%s:%s'", w.Text, quote(w.About))
		}
		fmt.Fprintf(&s, "\n) asks=%q of=%s ;;\n", l.joinAsked(), l.Of)
	}
	s.WriteString(`esac
for word in ${=asks}; do
    [[ $word == "${words[CURRENT-1]}:"* ]] && of=${word#*:} known=()
done
[[ $of == files ]] && { _files; return }
[[ -n $of ]] && known+=(${(f)"$($words[1] completion --values $of -- ${words[2,CURRENT-1]} 2>/dev/null)"})
_describe certlatch known || _files
`)
	return s.String()
}

// fish returns complete commands for fish.
func fish(levels []Level) string {
	var s strings.Builder
	quote := func(text string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
	}
	var paths []string
	for _, l := range levels[1:] {
		paths = append(paths, quote(l.Path))
	}
	fmt.Fprintf(&s, `# fish completion for certlatch(8)
function __certlatch_at
    set -l at
    for word in (commandline -opc)[2..]
        contains -- "$at $word" %s
        and set at "$at $word"
    end
    test "$at" = "$argv[1]"
end
function __certlatch_values
    set -l words (commandline -opc)
    $words[1] completion --values $argv[1] -- $words[2..] 2>/dev/null
end
complete -c certlatch -f
`, strings.Join(paths, " "))
	for _, l := range levels {
		at := "complete -c certlatch -n " + quote("__certlatch_at "+quote(l.Path))
		if l.Of != "" {
			fmt.Fprintf(&s, "%s -a '(__certlatch_values %s)'\n", at, l.Of)
		}
		for _, w := range l.Words {
			flag, isFlag := strings.CutPrefix(w.Text, "--")
			switch {
			case w.Value && w.Of != "":
				fmt.Fprintf(&s, "%s -l %s -x -a '(__certlatch_values %s)' -d %s\n", at, flag, w.Of, quote(w.About))
			case w.Value:
				fmt.Fprintf(&s, "%s -l %s -r -F -d %s\n", at, flag, quote(w.About))
			case isFlag:
				fmt.Fprintf(&s, "%s -l %s -d %s\n", at, flag, quote(w.About))
			default:
				fmt.Fprintf(&s, "%s -a %s -d %s\n", at, w.Text, quote(w.About))
			}
		}
	}
	return s.String()
}
