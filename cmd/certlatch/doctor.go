package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/engine"
)

func (p *program) doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "try everything short of deploying, and say what to do",
		ArgsUsage: "[LINEAGE...]",
		Description: "Looks at what a deployment depends on, a line a finding: the bundle, the service's own\n" +
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
	e, err := p.viewer(c)
	if err != nil {
		return err
	}
	req := engine.Request{Lineages: c.Args().Slice(), Targets: c.StringSlice("target")}
	done := p.watched(e)
	found, err := e.Examine(c.Context, req)
	done()
	if err != nil {
		return err
	}
	if len(req.Lineages)+len(req.Targets) == 0 {
		host, err := examineHost(c.Context, e)
		if err != nil {
			return err
		}
		found = slices.Insert(found, 0, host)
	}
	if c.Bool("json") {
		err = printJSON(p.stdout, doctorView(found))
	} else {
		err = printExaminations(p.stdout, found)
	}
	if code := exitOfExaminations(found); err == nil && code != exitOK {
		return exitStatus(code)
	}
	return err
}

// The JSON of doctor: certlatch.doctor/1.
type doctorJSON struct {
	Schema string            `json:"schema"`
	Exit   int               `json:"exit"`
	Checks []doctorCheckJSON `json:"checks"`
}

type doctorCheckJSON struct {
	Target  *string `json:"target"` // null: the host
	Lineage *string `json:"lineage"`
	Service *string `json:"service"`
	About   string  `json:"about"`
	Level   string  `json:"level"` // ok, warning or error
	Says    string  `json:"says"`
	Remedy  *string `json:"remedy"`
}

func doctorView(found []engine.Examination) doctorJSON {
	view := doctorJSON{Schema: "certlatch.doctor/1", Exit: exitOfExaminations(found), Checks: []doctorCheckJSON{}}
	for _, x := range found {
		for _, c := range x.Checks {
			view.Checks = append(view.Checks, doctorCheckJSON{orNull(x.Target), orNull(x.Lineage), orNull(x.Service), string(c.About), string(c.Level), c.Says, orNull(c.Remedy)})
		}
	}
	return view
}

// printExaminations says a line a finding.
func printExaminations(w io.Writer, found []engine.Examination) error {
	var text strings.Builder
	for _, x := range found {
		if x.Target == "" {
			text.WriteString("this host\n")
		} else {
			fmt.Fprintf(&text, "%s: %s (%s)\n", x.Target, x.Lineage, x.Service)
		}
		for _, c := range x.Checks {
			fmt.Fprintf(&text, "  %-8s %-14s %s\n", c.Level, c.About, inLine(c.String()))
		}
	}
	if !slices.ContainsFunc(found, func(x engine.Examination) bool { return x.Target != "" }) {
		text.WriteString("no target, so nothing to look at\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}
