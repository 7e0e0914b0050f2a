// Package daemon keeps the services of this host on the newest pairs of their
// lineages: it watches the lineages, has the engine deploy those that have
// changed, tries again what is pending when that is due, and reports its status
// to systemd.
//
// It decides nothing about a deployment. It marks what has changed, as a hook
// does that only defers, and then asks the engine for what is pending. So
// nothing is lost when the daemon ends, and any other run may take the marks
// along. It does not promise that a change is seen before the next resync.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/deploy"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/state"
	"github.com/certlatch/certlatch/internal/watch"
)

// Service reports the daemon's status to the service manager.
type Service interface {
	Ready(status string) error
	Reloading() error
	Status(status string) error
	Alive() error
	Stopping(status string, within time.Duration) error
	Watchdog() (time.Duration, error) // how long the service manager waits for Alive; 0: it does not
}

// Daemon is a daemon and what it works with.
type Daemon struct {
	Load    func() (*deploy.Engine, error) // reads the configuration
	Tell    func(outcome.Report)           // is called with what became of each run
	Service Service
	Log     *slog.Logger
	Pace    Pace
	Wall    func() time.Time // the time of day, which somebody may set
}

// Pace is how long the daemon waits for what.
type Pace struct {
	watch.Pace
	Resync time.Duration // between two looks at everything, and up to a tenth longer
	Poll   time.Duration // between two looks at everything while there are no events
	Again  time.Duration // before another run where one could not begin
}

// UsualPace is the pace on real hosts.
var UsualPace = Pace{Pace: watch.UsualPace, Resync: 10 * time.Minute, Poll: 30 * time.Second, Again: 15 * time.Second}

// limits are the limits of a run. It does not wait long for the lock: the run
// that holds it takes along what is marked, or ends soon.
var limits = deploy.Limits{Lock: time.Second, Work: 10 * time.Minute, Total: 15 * time.Minute, Activation: 100 * time.Second, Proof: 15 * time.Second}

// tick is the longest pause between two steps, and so how long the daemon may
// take to notice that the clock was set.
const tick = time.Minute

// Run runs the daemon until ctx ends and the deployment at work is finished or
// undone, and then returns nil. A signal from hangup makes it read the
// configuration again. An error means that it could not begin.
func (d *Daemon) Run(ctx context.Context, hangup <-chan os.Signal) error {
	l := &loop{Daemon: d, ended: make(chan finishedRun, 1)}
	e, err := d.Load()
	if err != nil {
		return err
	}
	l.adopt(e)
	defer func() { l.watcher.Close() }()
	every, err := d.Service.Watchdog()
	if err != nil {
		return fmt.Errorf("ask for the watchdog: %w", err)
	}
	l.feed = every / 2
	d.Log.Info("watching", "event", Started, "lineages", l.watcher.Lineages(), "targets", len(e.Site.Config.Targets))
	l.ready()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hangup:
			l.reload()
		case batch, ok := <-l.watcher.Events():
			switch {
			case !ok:
				l.watcher.Lost(time.Now())
			case l.watcher.Note(batch, time.Now()):
				l.Log.Warn("more happened than could be noted; everything is looked at again", "event", Overflow)
			}
		case run := <-l.ended:
			l.finish(run)
		case <-timer.C:
		}
		l.step(ctx, time.Now())
		timer.Reset(time.Until(l.nextStep()))
	}
	l.stop()
	return nil
}

// loop is the state of the daemon's one goroutine.
type loop struct {
	*Daemon
	engine  *deploy.Engine
	loaded  time.Time // when its configuration was read, by the time of day
	wrong   bool      // the one that was read since then is
	watcher *watch.Watcher
	blind   bool // it was at the last look

	feed             time.Duration // the pause between two words to the watchdog; 0: it does not listen
	fed              time.Time     // the last of them
	resyncAt, pollAt time.Time     // the next looks at everything
	wall, mono       time.Time     // the time at the last step, on both clocks

	running   bool
	began     time.Time // the last run
	ended     chan finishedRun
	task      task      // of the next run
	hinted    bool      // somebody may have left a mark
	notBefore time.Time // when it may begin
	tried     time.Time // time of day when pending ones were tried last
	failure   string    // why the last one did not happen

	lacking int       // targets whose one lineage was not there at the last look
	pending int       // deployments
	next    time.Time // time of day when the next of them is due; zero: none will be
	said    string    // the last status
}

// adopt replaces the engine by one for another configuration.
func (l *loop) adopt(e *deploy.Engine) {
	if l.watcher != nil {
		l.watcher.Close()
	}
	l.watcher = watch.New(e.Site.Config.Roots, e.Site.Config.Demand().Takes, e.Site.Store.MarksDir(), l.Pace.Pace)
	l.engine, l.loaded, l.wrong = e, l.Wall(), false
	l.task = task{compare: true, pending: true} // there may be marks, and what an interrupted run left
	for _, t := range l.targetsWithoutLineage() {
		l.Log.Warn("no client keeps the lineage of this target yet", "event", LineageMissing, "target", t.Name, "lineage", t.Lineage)
	}
	l.resyncAt = l.nextResync(time.Now())
	l.countPending()
}

// nextResync returns when to look at everything next, spread by a tenth of the
// pause so that hosts do not resync in step.
func (l *loop) nextResync(now time.Time) time.Time {
	return now.Add(l.Pace.Resync + rand.N(l.Pace.Resync/10))
}

// targetsWithoutLineage returns the targets whose one lineage is not there.
func (l *loop) targetsWithoutLineage() (lacking []config.Target) {
	for _, t := range l.engine.Site.Config.Targets {
		if !t.IsGlob() && !l.watcher.Knows(t.Wants) {
			lacking = append(lacking, t)
		}
	}
	l.lacking = len(lacking)
	return lacking
}

// reload reads the configuration again, and keeps the old one if the new one is
// wrong. A run in progress goes on with that which it began with.
func (l *loop) reload() {
	l.warnUnnotified(l.Service.Reloading())
	e, err := l.Load()
	if err != nil {
		l.wrong = true
		for _, problem := range problems(err) {
			l.Log.Error("the configuration is wrong, the one before stays in effect", "event", ReloadFailed, "error", problem)
		}
	} else {
		l.adopt(e)
		l.Log.Info("the configuration was read again", "event", Reloaded, "lineages", l.watcher.Lineages(), "targets", len(e.Site.Config.Targets))
	}
	l.ready()
}

// problems returns the problems of a configuration, or the one error that it
// is.
func problems(err error) []string {
	bad, ok := errors.AsType[*config.Error](err)
	if !ok {
		return []string{err.Error()}
	}
	return strings.Split(bad.Error(), "\n")
}

func (l *loop) ready() {
	l.said = l.status().String()
	l.warnUnnotified(l.Service.Ready(l.said))
}

// warnUnnotified logs that the service manager could not be told something, on
// which the daemon's work does not depend.
func (l *loop) warnUnnotified(err error) {
	if err != nil {
		l.Log.Warn("systemd was not told", "error", err)
	}
}

// step does everything that is due.
func (l *loop) step(ctx context.Context, now time.Time) {
	l.feedWatchdog(now)
	l.checkClock(now)
	switch {
	case l.running:
	case !now.Before(l.resyncAt):
		l.watcher.Rescan(now)
		l.targetsWithoutLineage()
		l.task.compare, l.task.pending = true, l.task.pending || l.pending > 0
		l.resyncAt = l.nextResync(now)
	case l.blind && !now.Before(l.pollAt):
		l.watcher.Poll(now)
		l.pollAt = now.Add(l.Pace.Poll)
	}
	l.checkBlind(now)

	changes := l.watcher.Ready(now)
	if len(changes.Lineages) > 0 {
		l.task = l.task.merge(task{changed: changes.Lineages, since: now})
		l.targetsWithoutLineage()
	}
	l.hinted = l.hinted || changes.Marks
	if !l.running {
		l.begin(ctx, now)
	}
	if status := l.status().String(); status != l.said {
		l.said = status
		l.warnUnnotified(l.Service.Status(status))
	}
}

// begin starts a run if there is something to do. It looks for marks only now,
// since the run before has taken its own away. It waits for lineages that are
// about to come to rest, so that renewals in quick succession cost one run.
func (l *loop) begin(ctx context.Context, now time.Time) {
	if l.hinted && l.hasMarks() || l.due() {
		l.task.pending = true
	}
	l.hinted = false
	next := l.watcher.Next()
	more := !next.IsZero() && next.Sub(now) <= l.Pace.Quiet && len(l.task.changed) > 0 && now.Sub(l.task.since) < l.Pace.Longest
	if !l.task.empty() && !more && !now.Before(l.notBefore) {
		l.start(ctx)
	}
}

// nextStep returns the time at which the next step is due, if nothing happens
// before.
func (l *loop) nextStep() time.Time {
	wake := l.mono.Add(tick)
	earlier := func(at time.Time) {
		if !at.IsZero() && at.Before(wake) {
			wake = at
		}
	}
	earlier(l.watcher.Next())
	if l.feed > 0 {
		earlier(l.fed.Add(l.feed))
	}
	if l.running {
		return wake
	}
	earlier(l.resyncAt)
	if l.blind {
		earlier(l.pollAt)
	}
	if !l.task.empty() && l.notBefore.After(l.mono) {
		earlier(l.notBefore)
	}
	if l.next.After(l.wall) {
		earlier(l.mono.Add(l.next.Sub(l.wall)))
	}
	return wake
}

// feedWatchdog feeds the watchdog, unless a run has taken longer than any limit
// allows.
func (l *loop) feedWatchdog(now time.Time) {
	if l.feed == 0 || now.Sub(l.fed) < l.feed {
		return
	}
	l.fed = now
	if !l.running || now.Sub(l.began) < limits.Total+time.Minute {
		l.warnUnnotified(l.Service.Alive())
	}
}

// checkClock has what is pending tried again where somebody has set the clock
// back, since the next attempt may be far away by now. Where it was set
// forward, the attempt is due.
func (l *loop) checkClock(now time.Time) {
	wall := l.Wall().Round(0) // without the monotonic clock
	if back := now.Sub(l.mono) - wall.Sub(l.wall); !l.mono.IsZero() && back > tick {
		l.Log.Warn("the clock was set back; what is pending is tried now", "event", ClockSetBack, "by", back.Round(time.Second))
		l.task.pending, l.task.all = true, true
	}
	l.wall, l.mono = wall, now
}

// checkBlind logs that the watcher has gone blind, or sees again.
func (l *loop) checkBlind(now time.Time) {
	err := l.watcher.Blind()
	switch blind := err != nil; {
	case blind == l.blind:
		return
	case blind:
		l.Log.Warn("there are no events to be had; the lineages are looked at again and again instead", "event", Blind, "every", l.Pace.Poll, "error", err)
		l.pollAt = now.Add(l.Pace.Poll)
	default:
		l.Log.Info("there are events again", "event", Seeing)
	}
	l.blind = err != nil
}

// hasMarks reports whether there are pending marks.
func (l *loop) hasMarks() bool {
	marks, err := l.engine.Site.Store.Marks()
	if err != nil {
		l.runFailed(err)
	}
	return len(marks) > 0
}

// due reports whether something pending is to be tried by now.
func (l *loop) due() bool { return !l.next.IsZero() && !l.wall.Before(l.next) }

// start starts a run.
func (l *loop) start(ctx context.Context) {
	l.running, l.began = true, l.mono
	if l.task.pending {
		l.tried = l.wall
	}
	go func(t task, e *deploy.Engine) { l.ended <- t.run(ctx, e) }(l.task, l.engine)
	l.task = task{}
}

// finish takes the end of a run. What the run could not do stays to do.
func (l *loop) finish(run finishedRun) {
	l.running, l.failure = false, ""
	if run.err != nil {
		l.task = run.task.merge(l.task)
	}
	locked, isLocked := errors.AsType[*disk.LockedError](run.err)
	switch {
	case isLocked:
		l.Log.Info("another run is at work", "error", locked)
		l.notBefore = time.Now().Add(l.Pace.Again)
	case run.err != nil:
		l.runFailed(run.err)
	default:
		l.Tell(run.report)
	}
	l.countPending()
}

// runFailed logs why a run did not happen, and sets when to try again.
func (l *loop) runFailed(err error) {
	l.failure = err.Error()
	about := []any{"event", RunFailed, "error", err}
	var known interface{ Remedy() string }
	if errors.As(err, &known) {
		about = append(about, "remedy", known.Remedy())
	}
	l.Log.Error("nothing can be deployed", about...)
	l.notBefore = time.Now().Add(state.FirstRetry)
}

// countPending counts the pending deployments, and notes when the next is due.
func (l *loop) countPending() {
	l.pending, l.next = 0, time.Time{}
	st, err := l.engine.Site.Store.Load()
	if err != nil {
		l.runFailed(err)
		return
	}
	for _, r := range st.Records {
		configured := slices.ContainsFunc(l.engine.Site.Config.Targets, func(t config.Target) bool { return t.Name == r.Target })
		if r.Pending == nil || !configured || st.Held(r.Target) != nil {
			continue
		}
		l.pending++
		// What was due at the last run and still is, such as a lineage that has
		// gone, is left to the resync.
		if next := r.Pending.Next; next != nil && next.After(l.tried) && (l.next.IsZero() || next.Before(l.next)) {
			l.next = *next
		}
	}
}

// stopping is how much more time to end the daemon asks for each time.
const stopping = 30 * time.Second

// stop waits until the run in progress has come to its end: its context is
// cancelled, so it undoes what it cannot finish, within the engine's limits.
func (l *loop) stop() {
	status := "stopping"
	if l.running {
		status = "finishing or undoing the deployment in hand"
	}
	l.Log.Info(status, "event", Stopped)
	every := time.NewTicker(stopping / 3)
	defer every.Stop()
	for l.warnUnnotified(l.Service.Stopping(status, stopping)); l.running; {
		select {
		case run := <-l.ended:
			l.finish(run)
		case now := <-every.C:
			l.feedWatchdog(now)
			l.warnUnnotified(l.Service.Stopping(status, stopping))
		}
	}
}
