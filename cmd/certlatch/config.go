package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/report"
)

func (p *program) configCommand() *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "check or show the configuration, or let the units follow it",
		Description: "Example: certlatch config check\n\nExit codes: 0 it is well; 1 unexpected; 2 it is not.",
		Subcommands: []*cli.Command{
			{
				Name: "check", Usage: "say everything that is wrong with the configuration",
				Description: "Example: certlatch --config ./config.yaml config check\n\nExit codes: 0 it is well; 1 unexpected; 2 it is not.",
				Action: func(c *cli.Context) error {
					cfg, err := p.loadConfig(c)
					if err != nil {
						return err
					}
					problems := cfg.Doubles
					for _, shared := range cfg.Shared() {
						problems = append(problems, shared.Problem)
					}
					if problems != nil {
						return &config.Error{Path: cfg.Path, Problems: problems}
					}
					fmt.Fprintf(p.stdout, "%s: %s, no problem found\n", cfg.Path, report.Count(len(cfg.Targets), "target", "targets"))
					p.tellEmpty(cfg)
					return nil
				},
			},
			{
				Name: "show", Usage: "print the configuration that is in effect, defaults included",
				Description: "Example: certlatch config show\n\nExit codes: 0; 1 unexpected; 2 it is not well.",
				Action: func(c *cli.Context) error {
					cfg, err := p.loadConfig(c)
					if err != nil {
						return err
					}
					return cfg.Show(p.stdout)
				},
			},
			p.configSystemdCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return noCommand("config ", c.Args().First(), c.Command.Subcommands)
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

func (p *program) loadConfig(c *cli.Context) (*config.Config, error) {
	if err := checkArguments(c, 0, 0); err != nil {
		return nil, err
	}
	return config.Load(c.String("config"))
}
