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
		Name: "validate", Usage: "say every finding about a bundle; touch nothing", ArgsUsage: "[LINEAGE... | --all | --cert FILE --key FILE]",
		Description: "Holds lineages, or all where none is named, against every target that would get them,\n" +
			"or two files against the policy for all targets. Reading the keys of clients needs root.\n\n" +
			"Example: certlatch validate --cert fullchain.pem --key privkey.pem\n\n" +
			"Exit codes: 0 nothing refused; 1 unexpected; 2 usage or configuration; 3 refused.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "all lineages, as where none is named; those without a finding are only counted"},
			&cli.StringFlag{Name: "cert", Usage: "leaf and intermediates in PEM: `FILE`"},
			&cli.StringFlag{Name: "key", Usage: "the private key in PEM: `FILE`"},
			jsonFlag(),
		},
		Action: p.validate,
	}
}

func (p *program) validate(c *cli.Context) error {
	files := c.IsSet("cert") || c.IsSet("key")
	every := !files && !c.Args().Present()
	if c.Bool("all") && !every || files && (c.Args().Present() || !c.IsSet("cert") || !c.IsSet("key")) {
		return &usageError{"name lineages, or nothing for all of them, or both --cert FILE and --key FILE", "for example: certlatch validate api.example"}
	}
	site, err := p.site(c)
	if err != nil {
		return err
	}
	if !files {
		p.tellEmpty(site.Config)
	}
	wanted, err := validated(c, site)
	if err != nil {
		return err
	}
	tell, done := p.showProgress()
	site.Progress = tell
	found, err := inspect.Inspector{Site: site}.Validate(c.Context, wanted...)
	done()
	if err != nil {
		return err
	}
	if len(found) == 1 && !every {
		validation := report.Validation{Lineage: found[0].Lineage.Name, Verdicts: found[0].Verdicts}
		return p.print(c, validation, validation.Exit())
	}
	validations := report.Validations{Every: every}
	for _, v := range found {
		validations.Of = append(validations.Of, report.Validation{Lineage: v.Lineage.String(), Verdicts: v.Verdicts})
	}
	return p.print(c, validations, validations.Exit())
}

// validated returns the lineages that the command line names.
func validated(c *cli.Context, site prepare.Site) ([]lineage.Lineage, error) {
	switch {
	case c.IsSet("cert"):
		return []lineage.Lineage{{Client: "files", Name: c.String("cert"), Fullchain: c.String("cert"), Key: c.String("key")}}, nil
	case !c.Args().Present():
		return prepare.Lineages(site.Config)
	}
	var wanted []lineage.Lineage
	for _, name := range c.Args().Slice() {
		l, err := prepare.Lineage(site.Config, name)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, l)
	}
	return wanted, nil
}
