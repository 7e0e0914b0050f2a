package main

import (
	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/deploy"
)

func (p *program) recoverCommand() *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "put back what a run that was cut off had begun to replace",
		Description: "Every run does this first. certlatch-recover.service does it at boot, before the services\n" +
			"start, so that none reads half of a pair. What was cut off is pending then. Needs root.\n\n" +
			"Example: certlatch recover\n\n" +
			"Exit codes: 0 nothing is half done any more; 1 unexpected; 2 usage or configuration;\n" +
			"7 something could not be put back; 8 another run held the lock too long.",
		Action: func(c *cli.Context) error {
			if err := checkArguments(c, 0, 0); err != nil {
				return err
			}
			e, err := p.engine(c)
			if err != nil {
				return err
			}
			return e.Recover(c.Context, deploy.Request{By: "recover", Limits: deploy.HandLimits})
		},
	}
}
