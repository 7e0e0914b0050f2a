package main

import (
	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/report"
)

func (p *program) validateCommand() *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "say every finding about a bundle; touch nothing", ArgsUsage: "[LINEAGE | --cert FILE --key FILE]",
		Description: "Holds a lineage against every target that would get it, or two files against the\n" +
			"policy for all targets. Reading the keys of clients needs root.\n\n" +
			"Example: certlatch validate --cert fullchain.pem --key privkey.pem\n\n" +
			"Exit codes: 0 nothing refused; 1 unexpected; 2 usage or configuration; 3 refused.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cert", Usage: "leaf and intermediates in PEM: `FILE`"},
			&cli.StringFlag{Name: "key", Usage: "the private key in PEM: `FILE`"},
			jsonFlag(),
		},
		Action: p.validate,
	}
}

func (p *program) validate(c *cli.Context) error {
	if err := checkArguments(c, 0, 1); err != nil {
		return err
	}
	files := c.IsSet("cert") || c.IsSet("key")
	if files == c.Args().Present() || files && !(c.IsSet("cert") && c.IsSet("key")) {
		return &usageError{"name a lineage, or both --cert FILE and --key FILE", "for example: certlatch validate api.example"}
	}
	site, err := p.site(c)
	if err != nil {
		return err
	}
	l := lineage.Lineage{Client: "files", Name: c.String("cert"), Fullchain: c.String("cert"), Key: c.String("key")}
	if !files {
		if l, err = prepare.Lineage(site.Config, c.Args().First()); err != nil {
			return err
		}
	}
	verdicts, err := inspect.Inspector{Site: site}.Validate(c.Context, l)
	if err != nil {
		return err
	}
	validation := report.Validation{Lineage: l.Name, Verdicts: verdicts}
	return p.print(c, validation, validation.Exit())
}
