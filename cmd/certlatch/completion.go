package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/completion"
)

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print what lets a shell complete certlatch's command lines", ArgsUsage: "SHELL",
		Description: "SHELL is bash, fish or zsh. The packages have installed it already.\n\n" +
			"Example: certlatch completion bash > /etc/bash_completion.d/certlatch\n\nExit codes: 0; 2 usage.",
		Action: func(c *cli.Context) error {
			if err := checkArguments(c, 1, 1); err != nil {
				return err
			}
			script, ok := completion.Shells()[c.Args().First()]
			if !ok {
				return &usageError{fmt.Sprintf("there is no completion for %q", c.Args().First()), "use one of bash, fish and zsh"}
			}
			fmt.Fprint(p.stdout, script(completionLevels("", c.App.Commands, c.App.Flags, "")))
			return nil
		},
	}
}

// completionLevels returns the level at a path of commands, and all levels
// below it.
func completionLevels(path string, commands []*cli.Command, flags []cli.Flag, arguments string) []completion.Level {
	here := completion.Level{Path: path}
	var below []completion.Level
	for _, c := range commands {
		here.Words = append(here.Words, completion.Word{Text: c.Name, About: c.Usage})
		below = append(below, completionLevels(path+" "+c.Name, c.Subcommands, c.Flags, c.ArgsUsage)...)
	}
	for _, text := range choices(arguments) {
		here.Words = append(here.Words, completion.Word{Text: text})
	}
	for _, f := range flags {
		if f.Names()[0] == "help" {
			continue // cli adds the flag to some commands before completion runs
		}
		about := strings.ReplaceAll(f.(cli.DocGenerationFlag).GetUsage(), "`", "")
		here.Words = append(here.Words, completion.Word{Text: "--" + f.Names()[0], About: about, Value: f.(cli.DocGenerationFlag).TakesValue()})
	}
	here.Words = append(here.Words, completion.Word{Text: "--help", About: "show help"})
	return append([]completion.Level{here}, below...)
}

// choices returns the words that the first argument may be, where they are few.
func choices(arguments string) []string {
	switch first, _, _ := strings.Cut(arguments, " "); first {
	case "[CLIENT":
		return hooks.Names() // that call a hook
	case "CLIENT":
		return hooks.CallerNames()
	case "SERVICE":
		return templateNames()
	case "SHELL":
		return slices.Sorted(maps.Keys(completion.Shells()))
	}
	return nil
}
