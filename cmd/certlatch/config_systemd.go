package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/sandbox"
	"github.com/certlatch/certlatch/internal/systemd"
)

func (p *program) configSystemdCommand() *cli.Command {
	return &cli.Command{
		Name: "systemd", Usage: "let certlatch's units write where the configuration says, and nowhere else",
		Description: "Writes the drop-in paths.conf of certlatch-recover, certlatch-retry and certlatch-watch. Run it\n" +
			"again when the paths of targets have changed. Needs root.\n\n" +
			"Example: certlatch config systemd --print\n\nExit codes: 0; 1 unexpected; 2 the configuration is not well.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "print", Usage: "only show it"}},
		Action: func(c *cli.Context) error {
			cfg, err := p.loadConfig(c)
			if err != nil {
				return err
			}
			if c.Bool("print") {
				fmt.Fprint(p.stdout, sandbox.DropIn(cfg))
				return nil
			}
			if err := p.writeDropIns(c.Context, cfg); err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.stdout, "\nsystemctl try-restart certlatch-watch.service lets the daemon have it too, where it runs")
			return err
		},
	}
}

// writeDropIns writes the units' drop-ins for a configuration; they hold from
// the units' next start on.
func (p *program) writeDropIns(ctx context.Context, cfg *config.Config) error {
	written, err := sandbox.Usual().Write(cfg)
	for _, path := range written {
		fmt.Fprintln(p.stdout, path)
	}
	if err != nil || !systemd.Booted() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	manager, err := systemd.Connect(ctx)
	if err != nil {
		return err
	}
	defer manager.Close()
	return manager.ReadUnitFiles(ctx)
}
