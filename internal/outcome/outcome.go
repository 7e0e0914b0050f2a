// Package outcome holds what becomes of a lineage at a target: its result, the
// stable reason, what happened, and what to do. All outcomes are made here,
// from how a deployment ended ([Of]), and none is changed afterwards: what is
// added to one makes another.
//
// It looks at nothing and does nothing. Exit codes are the commands' part;
// an outcome has the [Class] that they are made from.
package outcome

import (
	"cmp"
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

// Result is how a deployment ended. The words are fixed by the contract.
type Result string

const (
	Deployed       Result = "deployed"
	Unchanged      Result = "unchanged"
	Refused        Result = "refused"
	RolledBack     Result = "rolled-back"
	RollbackFailed Result = "rollback-failed"
	WaitingRestart Result = "waiting-restart"
	Deferred       Result = "deferred"
	Held           Result = "held"
	Failed         Result = "failed"
	Planned        Result = "planned" // of a dry run: what would be done
)

// Step is a step of a deployment. The words are fixed by the contract.
type Step string

const (
	Validate Step = "validate"
	Baseline Step = "baseline"
	Stage    Step = "stage"
	Commit   Step = "commit"
	Test     Step = "test"
	Activate Step = "activate"
	Prove    Step = "prove"
	Undo     Step = "undo"
	Record   Step = "record"
)

// StepTaken is a step that was taken, and how.
type StepTaken struct {
	Step Step
	OK   bool
	Took time.Duration
}

// Outcome is what became of one lineage at one target.
type Outcome struct {
	Target, Lineage, Service string

	Result Result
	Reason Reason // empty where the result says it all
	Detail string // a sentence for people
	Remedy string // what to do about it
	At     Step   // where it failed; empty: it did not
	Once   bool   // the service was restarted for it, and is not again for this leaf by itself

	ReadOnly string // the directory on a read-only file system that it failed for; empty: for none

	Previous, New *lineage.Leaf // installed before, and to be installed
	Generation    string
	Findings      []lineage.Finding
	Notes         []string
	Steps         []StepTaken
	Plan          *deployers.Plan    // of a dry run
	NotOurs       *deployers.NotOurs // what the service takes in place of the files; nil: those, or it is not known
}

// Report is what a run did.
type Report struct {
	Outcomes []Outcome
	NotDue   []state.Pending // what it was asked for and left, since its time has not come
}

// Retriable reports whether an outcome is a failure after which the previous
// state is back, so that another attempt may do better.
func (o Outcome) Retriable() bool {
	return (o.Result == RolledBack || o.Result == Failed) && o.Reason != ServiceCrashed
}

// Installed reports whether the new pair is installed and stays, served or not
// yet.
func (o Outcome) Installed() bool {
	return slices.Contains([]Result{Deployed, Deferred, WaitingRestart}, o.Result)
}

// Happened reports whether there was anything to do.
func (o Outcome) Happened() bool { return o.Result != Unchanged && o.Result != Held }

// After returns the outcome with one more step taken.
func (o Outcome) After(step StepTaken) Outcome {
	o.Steps = append(slices.Clip(o.Steps), step)
	return o
}

// Noting returns the outcome with one more note.
func (o Outcome) Noting(note string) Outcome {
	o.Notes = append(slices.Clip(o.Notes), note)
	return o
}

// InSandbox returns the outcome with the remedy for a directory that is read-only to
// certlatch's caller alone. The remedy is empty where it is so to everybody.
func (o Outcome) InSandbox(remedy func(dir string) string) Outcome {
	if o.ReadOnly != "" {
		o.Remedy = cmp.Or(remedy(o.ReadOnly), o.Remedy)
	}
	return o
}

// Forgotten returns the outcome where it could not be noted in the state
// directory. A hold that is not remembered is the operator's to set.
func (o Outcome) Forgotten() Outcome {
	if o.Reason != ServiceCrashed {
		return o.Noting("this could not be noted in the state directory; it is looked at again")
	}
	o.Detail += "; that the target is held could not be noted"
	o.Remedy = "certlatch hold " + o.Target + ", as soon as the state directory can be written to; " + o.Remedy
	return o
}
