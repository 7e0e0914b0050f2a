package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/state"
)

// Deployment is what hook, deploy and rollback have to show.
type Deployment struct {
	Outcomes []outcome.Outcome
	NotDue   []state.Pending // what was left, since its time has not come
	Failure  error           // what kept the run from happening; nil: nothing did
	Exit     int
}

// Brief is a deployment of which people are shown one line a target: ACME
// clients show what their hooks print late, or in the middle of their own.
type Brief Deployment

// deployJSON is the schema certlatch.deploy/1: what became of a run.
type deployJSON struct {
	Schema  string       `json:"schema"`
	Exit    int          `json:"exit"`    // the exit code of the program
	Error   *string      `json:"error"`   // what kept the run from happening; null: nothing did
	Targets []targetJSON `json:"targets"` // empty: there was nothing to do, or an error
}

// targetJSON is what became of one lineage at one target.
type targetJSON struct {
	Target     string             `json:"target"`
	Lineage    string             `json:"lineage"`
	Service    string             `json:"service"`
	Result     string             `json:"result"`     // an outcome.Result
	Reason     *string            `json:"reason"`     // a stable code; null: the result says it all
	Detail     *string            `json:"detail"`     // a sentence for people
	Remedy     *string            `json:"remedy"`     // what to do about it
	Previous   *lineage.Leaf      `json:"previous"`   // installed before; null: nothing was
	New        *lineage.Leaf      `json:"new"`        // to be installed; null: none could be read
	Generation *string            `json:"generation"` // under which the previous pair is kept; null: none is
	NotOurs    *deployers.NotOurs `json:"not_ours"`   // what the service takes in place of the target's files; null: those, or it is not known
	Steps      []stepJSON         `json:"steps"`      // in the order in which they were taken
}

// stepJSON is a step that was taken.
type stepJSON struct {
	Step   string `json:"step"`   // an outcome.Step
	Result string `json:"result"` // ok or failed
	Ms     int64  `json:"ms"`     // how long it took, in milliseconds
}

// JSON returns the deployment in the schema certlatch.deploy/1.
func (d Deployment) JSON() any {
	view := deployJSON{Schema: "certlatch.deploy/1", Exit: d.Exit, Error: errorOrNull(d.Failure), Targets: []targetJSON{}}
	for _, o := range d.Outcomes {
		t := targetJSON{
			Target: o.Target, Lineage: o.Lineage, Service: o.Service, Result: string(o.Result),
			Reason: orNull(string(o.Reason)), Detail: orNull(o.Detail), Remedy: orNull(o.Remedy),
			Previous: o.Previous, New: o.New, Generation: orNull(o.Generation), NotOurs: o.NotOurs, Steps: []stepJSON{},
		}
		for _, s := range o.Steps {
			t.Steps = append(t.Steps, stepJSON{string(s.Step), okOrFailed(s.OK), s.Took.Milliseconds()})
		}
		view.Targets = append(view.Targets, t)
	}
	return view
}

// JSON returns the deployment in the schema certlatch.deploy/1.
func (b Brief) JSON() any { return Deployment(b).JSON() }

func okOrFailed(ok bool) string {
	if ok {
		return "ok"
	}
	return "failed"
}

// Text returns a few lines a target: what became of it.
func (d Deployment) Text() string {
	var text block
	if len(d.Outcomes) == 0 {
		fmt.Fprintf(&text, "nothing to do%s\n", d.notDue())
	}
	for _, o := range d.Outcomes {
		fmt.Fprintf(&text, "%s\n", verdict(o))
		if o.New != nil {
			text.addLine("new", "%s", leafLine(*o.New))
		}
		if o.Previous != nil && (o.New == nil || o.Previous.Fingerprint != o.New.Fingerprint) {
			text.addLine("previous", "%s", leafLine(*o.Previous))
		}
		if o.Plan != nil {
			text.plan(*o.Plan)
		}
		if o.Detail != "" {
			text.addLine("detail", "%s", o.Detail)
		}
		if o.Remedy != "" {
			text.addLine("remedy", "%s", o.Remedy)
		}
		text.findings(o)
		for _, note := range o.Notes {
			text.addLine("note", "%s", note)
		}
		if steps := stepLine(o.Steps); steps != "" && o.Result != outcome.Unchanged && o.Result != outcome.Planned {
			text.addLine("steps", "%s", steps)
		}
	}
	return text.String()
}

// notDue says what is pending and was left; empty: nothing.
func (d Deployment) notDue() string {
	if len(d.NotDue) == 0 {
		return ""
	}
	var next *time.Time
	for _, p := range d.NotDue {
		if p.Next != nil && (next == nil || p.Next.Before(*next)) {
			next = p.Next
		}
	}
	when := "not before the lineage changes"
	if next != nil {
		when = "the next from " + next.UTC().Format(time.RFC3339) + " on"
	}
	return fmt.Sprintf(" now: what is pending is not due (%d, %s); certlatch deploy --pending --all tries it at once", len(d.NotDue), when)
}

// Text returns one line a target.
func (b Brief) Text() string {
	var text strings.Builder
	for _, o := range b.Outcomes {
		text.WriteString(verdict(o))
		if o.Result == outcome.Deployed {
			fmt.Fprintf(&text, ": %s", stepLine(o.Steps))
		}
		for _, part := range []string{o.Detail, o.Remedy} {
			if part != "" {
				fmt.Fprintf(&text, "; %s", inLine(part))
			}
		}
		text.WriteString("\n")
	}
	return text.String()
}

// verdict returns the lineage and target of an outcome, and its result.
func verdict(o outcome.Outcome) string {
	text := fmt.Sprintf("%s: %s: %s", o.Target, quotedName(o.Lineage), o.Result)
	if o.Reason != "" {
		text += " (" + string(o.Reason) + ")"
	}
	return text
}

// findings adds the findings about the bundle.
func (b *block) findings(o outcome.Outcome) {
	told := o.Result != outcome.Refused // of a refused one, the first finding is the detail already
	for _, f := range o.Findings {
		if f.Severity == lineage.Refused && !told {
			told = true
			continue
		}
		b.addLine(string(f.Severity), "%s; %s", f, f.Remedy)
	}
}

// plan adds what a deployment by the plan would do.
func (b *block) plan(plan deployers.Plan) {
	if row := plan.Row; row != nil {
		b.addLine("write", "the row of domain %s, type %d, in table %s of %s", row.Domain, row.Type, row.Table, row.Database)
		plan.Files = nil
	}
	for _, f := range plan.Files {
		b.addLine("write", "%s (%s, %s:%s, %04o)", f.Path, f.Content, orWord(f.User, "root"), groupName(f), f.Mode)
	}
	if len(plan.Test.Command) > 0 {
		b.addLine("test", "%s", strings.Join(plan.Test.Command, " "))
	}
	b.addLine("activate", "%s", plan.Activate)
	for _, p := range plan.Probes {
		b.addLine("prove", "%s", p)
	}
	if len(plan.Probes) == 0 {
		b.addLine("prove", "nothing")
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

// stepLine returns a line with the steps that were taken, and how long they
// took.
func stepLine(steps []outcome.StepTaken) string {
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
