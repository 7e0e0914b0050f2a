package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
)

// release is set when a release is built: -ldflags "-X main.release=1.2.3".
var release = ""

func version() string {
	if release == "" {
		return "unreleased"
	}
	return release
}

func (p *program) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version",
		Description: "Example: certlatch version\n\nExit codes: 0.",
		Action: func(c *cli.Context) error {
			if err := checkArguments(c, 0, 0); err != nil {
				return err
			}
			fmt.Fprintf(p.stdout, "certlatch %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
