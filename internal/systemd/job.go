package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// The verbs of jobs.
const (
	reload  = "reload"
	restart = "restart"
)

// JobError says that a job ended with another result than done.
type JobError struct {
	Unit, Verb string
	Result     string // canceled, timeout, failed, dependency, skipped, invalid, ... (systemd 257 src/core/job.h)
	UnitResult string // the unit's own result of the verb: exit-code, timeout, ...; empty: success, or not known
	State      string // of the unit, in systemd's words; may be empty
}

func (e *JobError) Error() string {
	text := fmt.Sprintf("%s %s: the job ended with %q", e.Verb, e.Unit, e.Result)
	if e.State != "" {
		text += " (the unit is " + e.State + ")"
	}
	if e.UnitResult != "" {
		text += ", because of " + e.UnitResult
	}
	return text
}

// TimedOut reports whether the command of the verb did not end within the
// unit's own limit.
func (e *JobError) TimedOut() bool { return e.Result == "timeout" || e.UnitResult == "timeout" }

// NeverEndedError says that a job had not ended when the wait for it did. The
// job goes on.
type NeverEndedError struct {
	Unit, Verb string
	State      string // of the job and the unit, in systemd's words; may be empty
	Err        error  // why the wait ended
}

func (e *NeverEndedError) Error() string {
	text := fmt.Sprintf("%s %s: the job did not end in time", e.Verb, e.Unit)
	if e.State != "" {
		text += " (" + e.State + ")"
	}
	return text
}

func (e *NeverEndedError) Unwrap() error { return e.Err }

// GoneError says that the connection was lost during a job: the service
// manager was re-executed, or the bus went away. Whether and how the job ended
// is not known.
type GoneError struct{ Unit, Verb string }

func (e *GoneError) Error() string {
	return fmt.Sprintf("%s %s: the connection to systemd was lost, so the outcome is not known", e.Verb, e.Unit)
}

// RefusedError says that the service manager did not accept a job: the unit
// has no reload, does not exist, or polkit does not allow it.
type RefusedError struct {
	Unit, Verb string
	Err        error // a dbus.Error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s %s: systemd refused: %v", e.Verb, e.Unit, e.Err)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// Reload reloads a unit and waits for the end of the job. It fails with a
// *RefusedError, a *JobError, a *NeverEndedError or a *GoneError.
func (m *Manager) Reload(ctx context.Context, unit string) error {
	return m.runJob(ctx, reload, unit, m.conn.ReloadUnitContext)
}

// Restart restarts a unit, or starts it where it does not run, and waits for
// the end of the job. It fails as Reload does.
func (m *Manager) Restart(ctx context.Context, unit string) error {
	return m.runJob(ctx, restart, unit, m.conn.RestartUnitContext)
}

// runJob starts a job and waits for its end.
func (m *Manager) runJob(ctx context.Context, verb, unit string, start func(context.Context, string, string, chan<- string) (int, error)) error {
	// go-systemd sends into the channel under a lock, so it needs room for the
	// result even when nobody waits any more (its dbus/methods.go,
	// StartUnitContext). In mode "fail" the job replaces no other: a reload
	// does not cancel somebody else's stop.
	result := make(chan string, 1)
	id, err := start(ctx, unit, "fail", result)
	if err != nil {
		return m.startError(ctx, verb, unit, err)
	}
	lost := time.NewTicker(connectionPoll)
	defer lost.Stop()
	for {
		select {
		case how := <-result:
			if how != "done" {
				result, state := m.unitResult(ctx, verb, unit)
				return &JobError{unit, verb, how, result, state}
			}
			return nil
		case <-lost.C:
			if !m.conn.Connected() {
				return &GoneError{unit, verb}
			}
		case <-ctx.Done():
			return &NeverEndedError{unit, verb, m.jobState(ctx, id, verb, unit), context.Cause(ctx)}
		}
	}
}

const (
	// connectionPoll is the pause between two checks of the connection while a
	// job is waited for. A result that is lost with the connection never comes.
	connectionPoll = 250 * time.Millisecond

	// askLimit bounds the time that is spent on the details of an error.
	askLimit = 2 * time.Second
)

// startError returns the error for what went wrong before there was a job.
func (m *Manager) startError(ctx context.Context, verb, unit string, err error) error {
	if _, answered := errors.AsType[dbus.Error](err); answered {
		return &RefusedError{unit, verb, err}
	}
	if ctx.Err() != nil {
		return &NeverEndedError{unit, verb, "systemd did not answer", context.Cause(ctx)}
	}
	if !m.conn.Connected() {
		return &GoneError{unit, verb}
	}
	return fmt.Errorf("%s %s: %w", verb, unit, err)
}

// unitResult returns a unit's own result of a verb, and its state; both empty
// where systemd does not say.
func (m *Manager) unitResult(ctx context.Context, verb, unit string) (result, state string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	properties, err := m.conn.GetAllPropertiesContext(ctx, unit)
	if err != nil {
		return "", ""
	}
	result = property[string](properties, map[string]string{reload: "ReloadResult", restart: "Result"}[verb])
	if result == "success" {
		result = ""
	}
	return result, property[string](properties, "ActiveState") + "/" + property[string](properties, "SubState")
}

// jobState returns the states of a job that has not ended and of its unit, or
// "" where systemd does not say.
func (m *Manager) jobState(ctx context.Context, id int, verb, unit string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	jobs, err := m.conn.ListJobsContext(ctx)
	if err != nil {
		return ""
	}
	_, state := m.unitResult(ctx, verb, unit)
	for _, job := range jobs {
		if int(job.Id) == id {
			return fmt.Sprintf("job %d is still %s, the unit is %s", id, job.Status, state)
		}
	}
	return "the unit is " + state
}
