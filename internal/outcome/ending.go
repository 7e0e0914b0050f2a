package outcome

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
	"github.com/certlatch/certlatch/internal/systemd"
)

// About is what an outcome says of a lineage at a target, however the
// deployment ended.
type About struct {
	Target, Lineage, Service string
	Plan                     deployers.Plan // for the words of remedies

	Previous, New *lineage.Leaf
	Generation    string
	Findings      []lineage.Finding
	Notes         []string
	Steps         []StepTaken
}

// Ending is how a deployment ended: one of the types of this file.
type Ending interface{ finish(*Outcome, Subject) }

// Of makes the outcome of a deployment that ended.
func Of(about About, ending Ending) Outcome {
	o := Outcome{
		Target: about.Target, Lineage: about.Lineage, Service: about.Service,
		Previous: about.Previous, New: about.New, Findings: about.Findings, Notes: about.Notes, Steps: about.Steps,
		NotOurs: about.Plan.NotOurs,
	}
	switch end := ending.(type) {
	case Served, Waits, NothingToDo:
		o.Generation = about.Generation
	case Crashed:
		if end.Stays {
			o.Generation = about.Generation
		}
	}
	ending.finish(&o, Subject{Target: about.Target, Plan: about.Plan})
	o.tellNotOurs()
	o.Detail = shortened(o.Detail)
	return o
}

// mostDetail bounds a detail, in bytes: what goes wrong with a group is told of each
// of its lineages, and remembered.
const mostDetail = 4000

func shortened(detail string) string {
	if len(detail) <= mostDetail {
		return detail
	}
	begins := strings.ToValidUTF8(detail[:mostDetail], "")
	return fmt.Sprintf("%s ... and %d bytes more", begins, len(detail)-len(begins))
}

// tellNotOurs says of what is served that it does not come from the target's files, in
// place of the note that would.
func (o *Outcome) tellNotOurs() {
	n := o.NotOurs
	if n == nil || o.Reason != "" || o.Result != Deployed && o.Result != Unchanged {
		return
	}
	o.Reason, o.Detail, o.Remedy = NotOurs, n.Says, n.Remedy
	o.Notes = slices.DeleteFunc(slices.Clone(o.Notes), func(note string) bool { return note == n.Check().String() })
}

// Served is a pair that was proven to be served.
type Served struct{}

func (Served) finish(o *Outcome, _ Subject) { o.Result = Deployed }

// Waits is a pair that stays installed and is not served yet.
type Waits struct {
	For       *WaitError
	Restarted bool // the service was restarted for it
}

func (e Waits) finish(o *Outcome, of Subject) {
	o.Result, o.Reason, o.Detail, o.Remedy = e.For.result(), e.For.Reason, e.For.Detail, e.For.Remedy(of)
	if e.Restarted {
		o.once()
	}
}

// once lets the service not be restarted again for the leaf by itself.
func (o *Outcome) once() {
	o.Once = true
	o.Remedy += "; the service is not restarted again for this certificate until certlatch deploy --target " + o.Target + " says so"
}

// NothingToDo is a pair that is installed and was proven before.
type NothingToDo struct{}

func (NothingToDo) finish(o *Outcome, _ Subject) { o.Result = Unchanged }

// OnHold is a target to which nothing is deployed.
type OnHold struct{ Hold state.Hold }

func (e OnHold) finish(o *Outcome, _ Subject) {
	o.Result, o.Reason = Held, Reason(e.Hold.Reason)
	o.Detail = "held since " + e.Hold.Since.Format(time.RFC3339)
	o.Remedy = "certlatch release " + o.Target + " lets it be deployed to again"
}

// ByAnother is what another run has noted of the same leaf meanwhile.
type ByAnother struct{ Failure state.Failure }

func (e ByAnother) finish(o *Outcome, _ Subject) {
	f := e.Failure
	o.Result, o.Reason, o.At, o.Detail, o.Remedy, o.Once = Result(f.Result), Reason(f.Reason), Step(f.Step), f.Detail, f.Remedy, f.Once
}

// DryRun is what would be done.
type DryRun struct{ Plan deployers.Plan }

func (e DryRun) finish(o *Outcome, of Subject) {
	o.Result, o.Plan = Planned, &e.Plan
	if a := e.Plan.Activate; a.Way == deployers.NoWay {
		o.Detail = a.Why
		if a.Wait != deployers.NothingToDo {
			o.Remedy = WaitFor(a).Remedy(of)
		}
	}
}

// Failure is a deployment that failed at a step, with the previous pair in place
// again.
type Failure struct {
	At  Step
	Err error
}

func (e Failure) finish(o *Outcome, of Subject) {
	of.Step = e.At
	o.At, o.Detail = e.At, e.Err.Error()
	o.Reason, o.Remedy = Explain(e.Err, of)
	if errors.Is(e.Err, syscall.EROFS) {
		o.ReadOnly = strings.TrimSpace(argument(e.Err))
	}
	switch e.At {
	case Commit, Test, Activate, Prove:
		o.Result = RolledBack
	default:
		o.Result = Failed
	}
	switch {
	case is[*StuckError](e.Err):
		o.Result = RollbackFailed
	case is[*RefusedError](e.Err):
		o.Result = Refused
	case is[*CrashedError](e.Err):
		o.Result = Failed
	}
}

func is[E error](err error) bool {
	_, is := errors.AsType[E](err)
	return is
}

// Crashed is a service that died of its activation.
type Crashed struct {
	Err   *CrashedError
	Stays bool // the new pair stays installed
}

func (e Crashed) finish(o *Outcome, of Subject) { Failure{Prove, e.Err}.finish(o, of) }

// Undone is a deployment that failed at a step and was undone.
type Undone struct {
	At    Step
	Cause error
	Back  bool  // a previous pair was put back; else the one that fails is that of an earlier run
	Lost  error // why the target's own pair is not back; nil: it is
	Err   error // what else went wrong on the way back

	Restarted bool // the service was restarted for the new pair
}

func (e Undone) finish(o *Outcome, of Subject) {
	Failure{e.At, e.Cause}.finish(o, of)
	if !e.Back {
		o.Result = Failed
	}
	short, cannotBeActivated := errors.AsType[*WaitError](e.Err)
	switch {
	case e.Lost == nil && cannotBeActivated:
		o.Result, o.Reason, o.Remedy = RollbackFailed, short.Reason, short.Remedy(of)
		o.Detail += "; the previous pair is in place again and not reloaded: " + e.Err.Error()
	case cmp.Or(e.Lost, e.Err) != nil:
		o.Result = RollbackFailed
		o.Detail += "; going back failed: " + errors.Join(e.Lost, e.Err).Error()
		o.Remedy = "look at once: compare what is installed and served (certlatch probe), then certlatch rollback " + o.Target
		if job, is := errors.AsType[*systemd.JobError](e.Err); is && e.Lost == nil && job.Verb == "restart" {
			o.Remedy = fmt.Sprintf("look at once: journalctl -u %s tells why it does not start; the previous pair is in place, so look at its configuration and script, then systemctl start %s", job.Unit, job.Unit)
		}
	}
	if e.Restarted && !is[*InterruptedError](e.Cause) {
		o.once()
	}
}
