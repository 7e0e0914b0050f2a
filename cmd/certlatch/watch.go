package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/daemon"
	"github.com/certlatch/certlatch/internal/deploy"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/systemd"
)

func (p *program) watchCommand() *cli.Command {
	return &cli.Command{
		Name:  "watch",
		Usage: "the daemon: watch the lineages, deploy what changes, retry what is pending",
		Description: "Watches the directories of the lineages, deploys what has changed once it has come to\n" +
			"rest, and tries again what is pending when its time has come. SIGHUP reads the\n" +
			"configuration again, SIGTERM finishes or undoes the deployment in hand. Tells systemd\n" +
			"how it is (Type=notify). Needs root.\n\n" +
			"Example: certlatch --log-level debug watch\n\n" +
			"Exit codes: 0 it was told to end; 1 unexpected; 2 usage or configuration.",
		Action: func(c *cli.Context) error {
			if err := checkArguments(c, 0, 0); err != nil {
				return err
			}
			return p.watch(c)
		},
	}
}

func (p *program) watch(c *cli.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	// The context of other commands ends with SIGHUP, so the daemon has its own.
	ctx, stop := signal.NotifyContext(context.WithoutCancel(c.Context), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if c.Context.Err() != nil {
		return nil // it was asked to end before it had begun
	}
	d := daemon.Daemon{
		Load:    func() (*deploy.Engine, error) { return p.engine(c) },
		Tell:    p.logReport,
		Service: systemd.Service{},
		Log:     p.log,
		Pace:    daemon.UsualPace,
		Wall:    time.Now,
	}
	return d.Run(ctx, hangup)
}

// logReport logs what became of each lineage at each target.
func (p *program) logReport(became outcome.Report) {
	for _, o := range became.Outcomes {
		logOutcome(p.log, o)
	}
}
