package deploy

import (
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

// memory is what a run knows from others and leaves for others: the state, the
// history and the marks. All that a run writes there goes through it, and it may
// be used by several goroutines. What only informs ends no run: where it cannot be
// read or written, that is said.
type memory struct {
	site   prepare.Site
	by     string                // who asked for the run
	marks  map[string]state.Mark // at the beginning of the run, by CLIENT:NAME
	unread error                 // why the state cannot be read; nil: it was

	mutex     sync.Mutex
	state     *state.State
	touched   []install.Ref // what the snapshot tells about is no longer so
	forgotten []key         // what became of them could not be noted
}

// remember reads what is remembered. Where the state cannot be read that is no
// error, but for who may not read it.
func remember(site prepare.Site, by string) (*memory, error) {
	return rememberWith(site, by, site.State)
}

func rememberWith(site prepare.Site, by string, read func() (st *state.State, unread, err error)) (*memory, error) {
	st, unread, err := read()
	if err != nil {
		return nil, err
	}
	return &memory{site: site, by: by, marks: site.Marks(), unread: unread, state: st}, nil
}

// get returns what is known of a lineage at a target.
func (m *memory) get(ref install.Ref) state.Record {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.state.Get(ref.Target, ref.Lineage)
}

// held returns the hold of a target; nil: it is not held.
func (m *memory) held(target string) *state.Hold {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.state.Held(target)
}

// marked reports whether somebody has asked for a lineage before the run began.
func (m *memory) marked(l lineage.Lineage) bool {
	_, is := m.marks[l.String()]
	return is
}

// takenAlong returns the names of lineages that a run may take along: those that
// somebody has marked, and those whose deployment was cut off.
func (m *memory) takenAlong() []string {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	names := slices.Collect(maps.Keys(m.marks))
	for _, record := range m.state.Records {
		if record.Pending != nil && record.Pending.Reason == string(outcome.Interrupted) {
			names = append(names, record.Lineage)
		}
	}
	return names
}

// pending returns what is pending of some, but for what is held.
func (m *memory) pending(some func(install.Ref) bool) (found []state.Pending) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, record := range m.state.Records {
		if record.Pending != nil && m.state.Held(record.Target) == nil && some(install.Ref{Target: record.Target, Lineage: record.Lineage}) {
			found = append(found, *record.Pending)
		}
	}
	return found
}

// lastActivation returns when certlatch last activated a target's service.
func (m *memory) lastActivation(t config.Target) time.Time {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return prepare.LastActivation(m.state, t)
}

// pause returns how long a service is to be left alone yet, of which activations
// must lie a gap apart.
func (m *memory) pause(service string, gap time.Duration, now time.Time) time.Duration {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.state.Pause(service, gap, now)
}

// noteActivation notes that a service is activated now.
func (m *memory) noteActivation(service string, now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.state.NoteActivation(service, now)
	m.saveOrSay()
}

// hold holds a target.
func (m *memory) hold(target, reason string, now time.Time) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.state.Hold(target, reason, now)
	return m.save()
}

// postpone sets the time of the next attempt of something that is pending.
func (m *memory) postpone(ref install.Ref, next time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if pending := m.state.Record(ref.Target, ref.Lineage).Pending; pending != nil {
		pending.Next = &next
	}
}

// flush writes the state, or says that it cannot.
func (m *memory) flush() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.saveOrSay()
}

// save writes the state. One that was not read is never written over.
func (m *memory) save() error {
	if m.unread != nil {
		return m.unread
	}
	return m.site.Store.Save(m.state)
}

// saveOrSay writes the state, or says that it cannot, and reports which.
func (m *memory) saveOrSay() bool {
	err := m.save()
	if err == nil {
		return true
	}
	m.site.Log.Error("what was done cannot be noted; it is looked at again", "error", err, "remedy", state.RemedyOf(err))
	return false
}

// mend puts the state in order that was read from its copy, or holds times that
// cannot be true.
func (m *memory) mend() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	damage := m.state.Damage
	if damage == nil && !m.state.Corrected {
		return
	}
	if m.state.SetBack != nil && m.state.Corrected {
		m.site.Log.Warn("the clock was set back: times were noted that have yet to come, and count as now", "from", m.state.SetBack.From, "of", m.state.SetBack.Where)
	}
	m.saveOrSay()
	if damage != nil {
		m.site.Log.Error("the state was damaged; its copy is used", "damage", damage.Error(), "copied", m.state.Copied, "kept", damage.Aside)
	}
}

// forgetGone lets go of what failed for lineages that are gone, of targets that
// take whatever there is: who may write to a client's directory can give it as
// many names as he likes.
func (m *memory) forgetGone(cfg *config.Config, all []lineage.Lineage, stuck map[install.Ref]error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	there := map[string]bool{}
	for _, l := range all {
		there[l.Name] = true
	}
	globs := map[string]bool{}
	for _, t := range cfg.Targets {
		globs[t.Name] = t.IsGlob()
	}
	m.state.Records = slices.DeleteFunc(m.state.Records, func(record state.Record) bool {
		return globs[record.Target] && !there[record.Lineage] && record.Proven == nil && stuck[install.Ref{Target: record.Target, Lineage: record.Lineage}] == nil
	})
}

// interrupt makes a lineage at a target due, whose service may hold either pair.
func (m *memory) interrupt(ref install.Ref, now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	due := now.UTC()
	record := m.state.Record(ref.Target, ref.Lineage)
	record.Proven = nil
	record.Fail(state.Failure{Result: string(outcome.Failed), Reason: string(outcome.Interrupted), Next: &due}, now)
	m.touched = append(m.touched, ref)
}

// interruptAll takes nothing for proven any more.
func (m *memory) interruptAll(now time.Time) {
	m.mutex.Lock()
	records := slices.Clone(m.state.Records)
	m.mutex.Unlock()
	for _, record := range records {
		if record.Proven != nil {
			m.interrupt(install.Ref{Target: record.Target, Lineage: record.Lineage}, now)
		}
	}
}

// stuck notes that the previous pair of a set is not back, for status and check
// where no run has yet.
func (m *memory) stuck(ref install.Ref, stuck error, now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	record := m.state.Record(ref.Target, ref.Lineage)
	if record.Pending != nil && record.Pending.Reason == string(outcome.NotRecovered) {
		return
	}
	o := outcome.Of(outcome.About{Target: ref.Target, Lineage: ref.Lineage}, outcome.Failure{At: outcome.Commit, Err: stuck})
	record.Proven = nil
	record.Fail(failureOf(o, "", record.Retry("", now), false), now)
	m.touched = append(m.touched, ref)
}

// record notes what became of jobs, in the state and in the history, and returns
// it with that step. Where nothing happened, nothing is written. That it cannot be
// noted ends no run.
func (m *memory) record(became []ended) []ended {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	began := time.Now()
	changed := false
	var entries []state.Entry
	for _, e := range became {
		if e.recorded {
			continue
		}
		if m.note(e, began) {
			changed = true
			m.touched = append(m.touched, e.job.ref())
		}
		if e.outcome.Happened() && !e.again {
			entries = append(entries, m.entry(e, began))
		}
	}
	noted := !changed || m.saveOrSay()
	if len(entries) > 0 {
		m.append(entries)
	}
	step := outcome.StepTaken{Step: outcome.Record, OK: noted, Took: time.Since(began)}
	recorded := slices.Clone(became)
	for i, e := range recorded {
		if noted {
			recorded[i].noted = began
		}
		if e.recorded || !e.outcome.Happened() {
			continue
		}
		if !noted {
			recorded[i].outcome = m.forget(e)
		}
		recorded[i].outcome = recorded[i].outcome.After(step)
		logStep(m.site, e.job, step)
	}
	return recorded
}

// note changes the state by one outcome, and reports whether it did.
func (m *memory) note(e ended, now time.Time) bool {
	o := e.outcome
	if o.Result == outcome.Held {
		return false
	}
	record := m.state.Record(o.Target, o.Lineage)
	was := *record
	switch {
	case o.Result == outcome.Unchanged, o.Result == outcome.Deployed:
		record.Pending = nil
		if e.proof != nil {
			record.Proven, record.Left = e.proof, ""
		}
		return o.Result == outcome.Deployed || was.Pending != nil || !reflect.DeepEqual(was.Proven, record.Proven)
	case o.Reason == outcome.ServiceCrashed:
		m.state.Release(o.Target) // of a hold for less, such as that of a rollback before
		m.state.Hold(o.Target, string(o.Reason), now)
	}
	if o.Installed() || o.Result == outcome.RollbackFailed {
		record.Left = e.fingerprint
	}
	alone := e.alone || isAlone(was, e.fingerprint)
	record.Fail(failureOf(o, e.fingerprint, nextAttempt(e, record, now), alone), now)
	return true
}

// failureOf returns what is remembered of an outcome that is not the end of it.
func failureOf(o outcome.Outcome, fingerprint string, next *time.Time, alone bool) state.Failure {
	return state.Failure{
		Result: string(o.Result), Reason: string(o.Reason), Step: string(o.At),
		Detail: o.Detail, Remedy: o.Remedy, Fingerprint: fingerprint, Next: next, Alone: alone, Once: o.Once,
	}
}

// addressRetry is how soon it is looked again whether a service can be reached, as when
// an address has come.
const addressRetry = 2 * time.Minute

// nextAttempt returns the time to try a job again that did not end well; nil:
// when its lineage changes, or when somebody says so.
func nextAttempt(e ended, record *state.Record, now time.Time) *time.Time {
	switch {
	case e.outcome.Result == outcome.Refused:
		return mends(e.outcome, now)
	case e.outcome.Reason == outcome.ServiceCrashed, e.outcome.Once:
		return nil
	case e.outcome.Reason == outcome.AddressNotHere, e.outcome.Reason == outcome.NetworkApart: // to look again costs the service nothing
		next := now.Add(addressRetry)
		return &next
	case e.outcome.Reason == outcome.Interrupted:
		return &now
	case e.outcome.Reason == outcome.OutsideWindow:
		opens := e.job.target.Window.Opens(now)
		return &opens
	}
	next := record.Retry(e.fingerprint, now).Add(time.Duration(e.turn) * state.FirstRetry)
	return notAfter(next, now.Add(state.LongestRetry))
}

// mends returns the time at which a refused bundle may pass without a change of
// its files, or is looked at again because this clock may be the one that is
// wrong; nil: never.
func mends(o outcome.Outcome, now time.Time) *time.Time {
	refused := slices.DeleteFunc(slices.Clone(o.Findings), func(f lineage.Finding) bool { return f.Severity != lineage.Refused })
	if len(refused) == 1 && refused[0].Code == "not-yet-valid" {
		return notAfter(o.New.NotBefore, now.Add(state.LongestRetry))
	}
	return nil
}

// notAfter returns the earlier of two times, as they are stored.
func notAfter(a, b time.Time) *time.Time {
	if b.Before(a) {
		a = b
	}
	a = a.UTC().Truncate(time.Second)
	return &a
}

// forget returns the outcome of a job that could not be noted. The marks of its
// lineage stay, so that a later run looks again; but not that of a service that
// crashed, which is better left alone.
func (m *memory) forget(e ended) outcome.Outcome {
	if e.outcome.Reason != outcome.ServiceCrashed {
		m.forgotten = append(m.forgotten, e.job.key())
	}
	return e.outcome.Forgotten()
}

// entry returns what the history says of a job that ended.
func (m *memory) entry(e ended, now time.Time) state.Entry {
	o := e.outcome
	entry := state.Entry{
		Time: now.UTC().Truncate(time.Second), Target: o.Target, Lineage: o.Lineage, Result: string(o.Result), Leaf: o.New, By: m.by,
	}
	if o.Generation != "" {
		entry.Generation = &o.Generation
	}
	if o.Reason != "" {
		reason := string(o.Reason)
		entry.Reason = &reason
	}
	return entry
}

// append writes to the history.
func (m *memory) append(entries []state.Entry) {
	damage, err := m.site.Store.Append(entries...)
	if damage != nil {
		m.site.Log.Error("the history was damaged; it goes on with what can be read", "damage", damage.Error(), "kept", damage.Aside)
	}
	if err != nil {
		m.site.Log.Error("the history cannot be written; deployments go on without", "error", err, "remedy", state.RemedyOf(err))
	}
}

// notNoted returns the jobs of which it could not be noted what became of them.
func (m *memory) notNoted() []key {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Clone(m.forgotten)
}

// touchedRefs returns what the snapshot tells about that is no longer so.
func (m *memory) touchedRefs() []install.Ref {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Clone(m.touched)
}
