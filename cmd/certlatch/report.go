package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/lineage"
)

// The JSON of deploy, hook and rollback: certlatch.deploy/1.
type deployJSON struct {
	Schema  string       `json:"schema"`
	Exit    int          `json:"exit"`
	Error   *string      `json:"error"`
	Targets []targetJSON `json:"targets"`
}

type targetJSON struct {
	Target     string        `json:"target"`
	Lineage    string        `json:"lineage"`
	Service    string        `json:"service"`
	Result     string        `json:"result"`
	Reason     *string       `json:"reason"`
	Detail     *string       `json:"detail"`
	Remedy     *string       `json:"remedy"`
	Previous   *lineage.Leaf `json:"previous"`
	New        *lineage.Leaf `json:"new"`
	Generation *string       `json:"generation"`
	Steps      []stepJSON    `json:"steps"`
}

type stepJSON struct {
	Step   string `json:"step"`
	Result string `json:"result"` // ok or failed
	Ms     int64  `json:"ms"`
}

func deployView(report engine.Report, code int, failure *string) deployJSON {
	view := deployJSON{Schema: "certlatch.deploy/1", Exit: code, Error: failure, Targets: []targetJSON{}}
	for _, o := range report.Outcomes {
		t := targetJSON{
			Target: o.Target, Lineage: o.Lineage, Service: o.Service, Result: string(o.Result),
			Reason: orNull(o.Reason), Detail: orNull(o.Detail), Remedy: orNull(o.Remedy),
			Previous: o.Previous, New: o.New, Generation: orNull(o.Generation), Steps: []stepJSON{},
		}
		for _, s := range o.Steps {
			t.Steps = append(t.Steps, stepJSON{string(s.Step), okOrFailed(s.OK), s.Took.Milliseconds()})
		}
		view.Targets = append(view.Targets, t)
	}
	return view
}

// The JSON of validate: certlatch.validate/1.
type validateJSON struct {
	Schema   string        `json:"schema"`
	Lineage  string        `json:"lineage"`
	Leaf     *lineage.Leaf `json:"leaf"`
	Findings []findingJSON `json:"findings"`
}

type findingJSON struct {
	Code     string  `json:"code"`
	Severity string  `json:"severity"`
	Target   *string `json:"target"`
	Detail   string  `json:"detail"`
	Remedy   string  `json:"remedy"`
}

func findingViews(target string, findings []lineage.Finding) []findingJSON {
	views := []findingJSON{}
	for _, f := range findings {
		views = append(views, findingJSON{f.Code, string(f.Severity), orNull(target), f.Detail, f.Remedy})
	}
	return views
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func okOrFailed(ok bool) string {
	if ok {
		return "ok"
	}
	return "failed"
}

// printReport says for each target what became of it.
func printReport(w io.Writer, report engine.Report) error {
	var text strings.Builder
	if len(report.Outcomes) == 0 {
		text.WriteString("nothing to do\n")
	}
	for _, o := range report.Outcomes {
		fmt.Fprintf(&text, "%s: %s: %s", o.Target, o.Lineage, o.Result)
		if o.Reason != "" {
			fmt.Fprintf(&text, " (%s)", o.Reason)
		}
		text.WriteString("\n")
		say := func(label, format string, args ...any) {
			fmt.Fprintf(&text, "  %-10s %s\n", label, inLine(fmt.Sprintf(format, args...)))
		}
		if o.New != nil {
			say("new", "%s", leafLine(*o.New))
		}
		if o.Previous != nil && (o.New == nil || o.Previous.Fingerprint != o.New.Fingerprint) {
			say("previous", "%s", leafLine(*o.Previous))
		}
		if o.Plan != nil {
			printPlan(say, *o.Plan)
		}
		if o.Detail != "" {
			say("detail", "%s", o.Detail)
		}
		if o.Remedy != "" {
			say("remedy", "%s", o.Remedy)
		}
		printFindings(say, o)
		for _, note := range o.Notes {
			say("note", "%s", note)
		}
		if steps := stepLine(o.Steps); steps != "" && o.Result != engine.Unchanged && o.Result != engine.Planned {
			say("steps", "%s", steps)
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// printBriefly says one line a target: ACME clients show what their hooks print
// late, or in the middle of their own.
func printBriefly(w io.Writer, report engine.Report) error {
	var text strings.Builder
	for _, o := range report.Outcomes {
		fmt.Fprintf(&text, "%s: %s: %s", o.Target, o.Lineage, o.Result)
		if o.Reason != "" {
			fmt.Fprintf(&text, " (%s)", o.Reason)
		}
		for _, part := range []string{o.Detail, o.Remedy} {
			if part != "" {
				fmt.Fprintf(&text, "; %s", inLine(part))
			}
		}
		if o.Result == engine.Deployed {
			fmt.Fprintf(&text, ": %s", stepLine(o.Steps))
		}
		text.WriteString("\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func printFindings(say func(label, format string, args ...any), o engine.Outcome) {
	told := o.Result != engine.Refused // its first finding is the detail already
	for _, f := range o.Findings {
		if f.Severity == lineage.Refused && !told {
			told = true
			continue
		}
		say(string(f.Severity), "%s; %s", f, f.Remedy)
	}
}

// printPlan shows what a dry run would do.
func printPlan(say func(label, format string, args ...any), plan deployers.Plan) {
	if row := plan.Row; row != nil {
		say("write", "the row of domain %s, type %d, in table %s of %s", row.Domain, row.Type, row.Table, row.Database)
		plan.Files = nil
	}
	for _, f := range plan.Files {
		say("write", "%s (%s, %s:%s, %04o)", f.Path, f.Content, orWord(f.User, "root"), groupName(f), f.Mode)
	}
	if len(plan.Test.Command) > 0 {
		say("test", "%s", strings.Join(plan.Test.Command, " "))
	}
	say("activate", "%s", plan.Activate)
	for _, p := range plan.Probes {
		say("prove", "%s", p)
	}
	if len(plan.Probes) == 0 {
		say("prove", "nothing")
	}
}

func groupName(f deployers.File) string {
	if user, ok := strings.CutSuffix(f.Group, ":"); ok {
		return "group of " + user
	}
	return orWord(f.Group, orWord(f.User, "root"))
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}

func leafLine(l lineage.Leaf) string {
	names := strings.Join(l.Names, " ")
	if len(l.Names) > 4 {
		names = fmt.Sprintf("%s and %d more", strings.Join(l.Names[:4], " "), len(l.Names)-4)
	}
	return fmt.Sprintf("%s  %s  %s  until %s", l.Short(), names, l.Key, l.NotAfter.Format("2006-01-02 15:04 MST"))
}

func stepLine(steps []engine.Done) string {
	var parts []string
	for _, s := range steps {
		part := fmt.Sprintf("%s %s", s.Step, s.Took.Round(time.Millisecond))
		if !s.OK {
			part += " failed"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}
