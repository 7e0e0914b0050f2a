package engine

import (
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
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

// Done is a step that was taken, and how.
type Done struct {
	Step Step
	OK   bool
	Took time.Duration
}

// Outcome is what became of one lineage at one target.
type Outcome struct {
	Target, Lineage, Service string

	Result Result
	Reason string // a stable code; empty where the result says it all
	Detail string // a sentence for people
	Remedy string // what to do about it
	At     Step   // where it failed; empty: it did not

	Previous, New *lineage.Leaf // installed before, and to be installed
	Generation    string
	Findings      []lineage.Finding
	Notes         []string
	Steps         []Done
	Plan          *deployers.Plan // of a dry run
}

// Report is what a run did.
type Report struct {
	Outcomes []Outcome
}
