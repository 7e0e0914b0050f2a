package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/inspect"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/report"
)

func (p *program) doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "try everything short of deploying, and say what to do",
		ArgsUsage: "[LINEAGE...]",
		Description: "Looks at what a deployment depends on, a line a finding, the worst first: the bundle, the service's own\n" +
			"configuration and control channel, how it can be made to take new files, whether its\n" +
			"user can read what is installed, and what is served; and where no lineage and no target\n" +
			"is named at the host too: clients' hooks, what tries again, disks, clock. Changes\n" +
			"nothing. Needs root.\n\n" +
			"Example: certlatch doctor --target sip\n\n" +
			"Exit codes: 0 all is well; 1 warnings; 2 errors, or usage and configuration.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "target", Usage: "only the target `NAME`; may be repeated"},
			jsonFlag(),
		},
		Action: p.doctor,
	}
}

func (p *program) doctor(c *cli.Context) error {
	site, err := p.site(c)
	if err != nil {
		return err
	}
	p.tellEmpty(site.Config)
	scope := prepare.Scope{Lineages: c.Args().Slice(), Targets: c.StringSlice("target")}
	tell, done := p.showProgress()
	site.Progress = tell
	found, err := inspect.Inspector{Site: site}.Examine(c.Context, scope)
	done()
	if err != nil {
		return err
	}
	if len(scope.Lineages)+len(scope.Targets) == 0 {
		host, err := examineHost(c.Context, site)
		if err != nil {
			return err
		}
		found = slices.Insert(found, 0, host)
	}
	examined := report.Examined{Of: found}
	if width, terminal := terminalWidth(p.stdout); terminal {
		examined.Screen = report.Screen{Width: width, Coloured: wantsColours()}
	}
	return p.print(c, examined, examined.Exit())
}
