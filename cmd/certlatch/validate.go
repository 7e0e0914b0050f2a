package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/lineage"
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
	if err := arguments(c, 0, 1); err != nil {
		return err
	}
	files := c.IsSet("cert") || c.IsSet("key")
	if files == c.Args().Present() || files && !(c.IsSet("cert") && c.IsSet("key")) {
		return &usageError{"name a lineage, or both --cert FILE and --key FILE", "for example: certlatch validate api.example"}
	}
	e, err := p.viewer(c)
	if err != nil {
		return err
	}
	l := lineage.Lineage{Client: "files", Name: c.String("cert"), Fullchain: c.String("cert"), Key: c.String("key")}
	if !files {
		if l, err = e.Lineage(c.Args().First()); err != nil {
			return err
		}
	}
	verdicts, err := e.Validate(c.Context, l)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		view := validateJSON{Schema: "certlatch.validate/1", Lineage: l.Name, Leaf: verdicts[0].Leaf, Findings: []findingJSON{}}
		for _, v := range verdicts {
			view.Findings = append(view.Findings, findingViews(v.Target, v.Findings)...)
		}
		err = printJSON(p.stdout, view)
	} else {
		err = printVerdicts(p.stdout, l, verdicts)
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(verdicts, engine.Verdict.Refused) {
		return exitStatus(exitRefused)
	}
	return nil
}

func printVerdicts(w io.Writer, l lineage.Lineage, verdicts []engine.Verdict) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", l.Name)
	if leaf := verdicts[0].Leaf; leaf != nil {
		fmt.Fprintf(&text, "  %-10s %s\n", "leaf", leafLine(*leaf))
	}
	for _, v := range verdicts {
		whom := "for any target"
		if v.Target != "" {
			whom = "for target " + v.Target
		}
		if len(v.Findings) == 0 {
			fmt.Fprintf(&text, "  %-10s %s: no findings\n", "good", whom)
		}
		for _, f := range v.Findings {
			fmt.Fprintf(&text, "  %-10s %s: %s; %s\n", f.Severity, whom, inLine(f.String()), inLine(f.Remedy))
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}
