package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/completion"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print what lets a shell complete certlatch's command lines", ArgsUsage: "SHELL",
		Description: "SHELL is bash, fish or zsh. The packages have installed it already.\n\n" +
			"Example: certlatch completion bash > /etc/bash_completion.d/certlatch\n\nExit codes: 0; 1 unexpected; 2 usage or configuration.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "values", Usage: "print what may stand on a command line, of which the arguments are the words so far: targets, lineages, generations, levels or formats: `KIND`"},
		},
		Action: func(c *cli.Context) error {
			if c.IsSet("values") {
				return p.completeValues(c, c.String("values"))
			}
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
	here := completion.Level{Path: path, Of: argumentKind(arguments)}
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
		here.Words = append(here.Words, completion.Word{Text: "--" + f.Names()[0], About: about, Value: f.(cli.DocGenerationFlag).TakesValue(), Of: flagKinds()[f.Names()[0]]})
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

// The kinds of values that completion asks for.
const (
	ofTargets     = "targets"
	ofLineages    = "lineages"
	ofGenerations = "generations"
	ofLevels      = "levels"
	ofFormats     = "formats"
)

// flagKinds returns what the values of flags are one of, where that is known.
func flagKinds() map[string]string {
	return map[string]string{"target": ofTargets, "lineage": ofLineages, "to": ofGenerations, "log-level": ofLevels, "log-format": ofFormats}
}

// argumentKind returns what the first argument is one of; empty: that is not known.
func argumentKind(arguments string) string {
	switch first, _, _ := strings.Cut(strings.Trim(arguments, "[]"), " "); strings.Trim(first, ".]") {
	case "LINEAGE":
		return ofLineages
	case "TARGET":
		return ofTargets
	}
	return ""
}

// completeValues prints what may stand on a command line, a word a line. A shell
// expands what it is given, and whoever may write to a client's directory names
// lineages: so names that could mean anything to a shell are left out.
func (p *program) completeValues(c *cli.Context, kind string) error {
	var values []string
	switch kind {
	case ofLevels:
		values = []string{"debug", "info", "warn", "error"}
	case ofFormats:
		values = []string{"auto", "text", "json", "journal"}
	case ofTargets, ofLineages, ofGenerations:
		line := takeApart(c.App, c.Args().Slice())
		cfg, err := config.Load(line.config(c.String("config")))
		if err != nil {
			return err
		}
		if values, err = configuredValues(cfg, kind, line.arguments); err != nil {
			return err
		}
	default:
		return &usageError{fmt.Sprintf("there are no values of the kind %q", kind), "use one of targets, lineages, generations, levels and formats"}
	}
	slices.Sort(values)
	plain := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	for _, value := range slices.Compact(values) {
		if plain.MatchString(value) {
			fmt.Fprintln(p.stdout, value)
		}
	}
	return nil
}

// configuredValues returns what of a kind there is on this host. Generations are those
// of the target, and lineage, that the arguments name.
func configuredValues(cfg *config.Config, kind string, arguments []string) (values []string, err error) {
	switch kind {
	case ofTargets:
		for _, t := range cfg.Targets {
			values = append(values, t.Name)
		}
	case ofLineages:
		all, err := prepare.Lineages(cfg)
		if err != nil {
			return nil, err
		}
		for _, l := range all {
			values = append(values, l.Name)
		}
	case ofGenerations:
		at := slices.IndexFunc(cfg.Targets, func(t config.Target) bool { return len(arguments) > 0 && t.Name == arguments[0] })
		switch {
		case at >= 0 && len(arguments) > 1:
			return state.View(cfg.State).Generations(arguments[0], arguments[1])
		case at >= 0 && !cfg.Targets[at].IsGlob():
			return state.View(cfg.State).Generations(arguments[0], cfg.Targets[at].LineageName())
		}
	}
	return values, nil
}
