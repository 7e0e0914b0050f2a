package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/hooks"
)

// shells are those that completion knows.
var shells = map[string]func([]level) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print what lets a shell complete certlatch's command lines", ArgsUsage: "SHELL",
		Description: "SHELL is bash, fish or zsh. The packages have installed it already.\n\n" +
			"Example: certlatch completion bash > /etc/bash_completion.d/certlatch\n\nExit codes: 0; 2 usage.",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			script, ok := shells[c.Args().First()]
			if !ok {
				return &usageError{fmt.Sprintf("there is no completion for %q", c.Args().First()), "use one of bash, fish and zsh"}
			}
			fmt.Fprint(p.stdout, script(levels("", c.App.Commands, c.App.Flags, "")))
			return nil
		},
	}
}

// level is a place on the command line: what may follow a command.
type level struct {
	path  string // the words that lead there, a space before each
	words []word
}

// word is something that may stand at a level.
type word struct {
	text, about string
	value       bool // a flag that takes one
}

// levels lists a level and all below it.
func levels(path string, commands []*cli.Command, flags []cli.Flag, arguments string) []level {
	here := level{path: path}
	var below []level
	for _, c := range commands {
		here.words = append(here.words, word{text: c.Name, about: c.Usage})
		below = append(below, levels(path+" "+c.Name, c.Subcommands, c.Flags, c.ArgsUsage)...)
	}
	for _, text := range choices(arguments) {
		here.words = append(here.words, word{text: text})
	}
	for _, f := range flags {
		if f.Names()[0] == "help" {
			continue // only some have it by now
		}
		about := strings.ReplaceAll(f.(cli.DocGenerationFlag).GetUsage(), "`", "")
		here.words = append(here.words, word{text: "--" + f.Names()[0], about: about, value: f.(cli.DocGenerationFlag).TakesValue()})
	}
	here.words = append(here.words, word{text: "--help", about: "show help"})
	return append([]level{here}, below...)
}

// choices gives what may stand for the first argument, where that is one of few.
func choices(arguments string) []string {
	switch first, _, _ := strings.Cut(strings.Trim(arguments, "["), " "); first {
	case "CLIENT":
		return hooks.Names()
	case "SERVICE":
		return templateNames()
	case "SHELL":
		return slices.Sorted(maps.Keys(shells))
	}
	return nil
}

// texts gives those words of a level that are wanted.
func (l level) texts(only func(word) bool) string {
	var texts []string
	for _, w := range l.words {
		if only(w) {
			texts = append(texts, w.text)
		}
	}
	return strings.Join(texts, " ")
}

// walked gives a pattern of bash's and zsh's case for the ways that lead to a
// level.
func walked(levels []level) string {
	var paths []string
	for _, l := range levels[1:] {
		paths = append(paths, `"`+l.path+`"`)
	}
	return strings.Join(paths, "|")
}

func bashCompletion(levels []level) string {
	var s strings.Builder
	fmt.Fprintf(&s, `# bash completion for certlatch(8)
_certlatch() {
    local at= values= words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${COMP_WORDS[i]}" in
        %s) at+=" ${COMP_WORDS[i]}" ;;
        esac
    done
    case "$at" in
`, walked(levels))
	for _, l := range levels {
		fmt.Fprintf(&s, "    %q) words=%q values=%q ;;\n", l.path, l.texts(func(word) bool { return true }), l.texts(func(w word) bool { return w.value }))
	}
	s.WriteString(`    esac
    # Without a word here, the shell completes file names.
    [[ " $values " == *" ${COMP_WORDS[COMP_CWORD - 1]} "* ]] && return
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _certlatch certlatch
`)
	return s.String()
}

func zshCompletion(levels []level) string {
	var s strings.Builder
	fmt.Fprintf(&s, `#compdef certlatch
local at word
local -a known
for word in ${words[2,CURRENT-1]}; do
    case "$at $word" in
    (%s) at+=" $word" ;;
    esac
done
case "$at" in
`, walked(levels))
	quote := strings.NewReplacer(`'`, `'\''`).Replace
	for _, l := range levels {
		fmt.Fprintf(&s, "(%q) known=(", l.path)
		for _, w := range l.words {
			fmt.Fprintf(&s, "\n    '%s:%s'", w.text, quote(w.about))
		}
		s.WriteString("\n) ;;\n")
	}
	s.WriteString(`esac
_describe certlatch known || _files
`)
	return s.String()
}

func fishCompletion(levels []level) string {
	var s strings.Builder
	quote := func(text string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
	}
	var paths []string
	for _, l := range levels[1:] {
		paths = append(paths, quote(l.path))
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
complete -c certlatch -f
`, strings.Join(paths, " "))
	for _, l := range levels {
		for _, w := range l.words {
			at := "complete -c certlatch -n " + quote("__certlatch_at "+quote(l.path))
			flag, isFlag := strings.CutPrefix(w.text, "--")
			switch {
			case w.value:
				fmt.Fprintf(&s, "%s -l %s -r -F -d %s\n", at, flag, quote(w.about))
			case isFlag:
				fmt.Fprintf(&s, "%s -l %s -d %s\n", at, flag, quote(w.about))
			default:
				fmt.Fprintf(&s, "%s -a %s -d %s\n", at, w.text, quote(w.about))
			}
		}
	}
	return s.String()
}
