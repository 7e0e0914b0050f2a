package daemon

import (
	"fmt"
	"strings"
	"time"
)

// Event is a kind of entry in the daemon's log.
type Event string

const (
	Started        Event = "watch-started"
	Stopped        Event = "watch-stopped"
	Reloaded       Event = "configuration-read"
	ReloadFailed   Event = "configuration-wrong"
	LineageMissing Event = "lineage-missing"
	Overflow       Event = "events-overflowed"
	Blind          Event = "events-lost"
	Seeing         Event = "events-back"
	ClockSetBack   Event = "clock-set-back"
	RunFailed      Event = "run-failed"
)

// statusLine is the daemon's status, for the one line of it that systemctl shows.
type statusLine struct {
	lineages, targets, lacking int
	poll                       time.Duration // 0: there are events
	running                    bool
	pending                    int
	next                       time.Time // zero: none has a time
	wrong                      bool
	loaded                     time.Time
	failure                    string
}

func (l *loop) status() statusLine {
	s := statusLine{
		lineages: l.watcher.Lineages(), targets: len(l.engine.Site.Config.Targets), lacking: l.lacking, running: l.running,
		pending: l.pending, next: l.next, wrong: l.wrong, loaded: l.loaded, failure: l.failure,
	}
	if l.watcher.Blind() != nil {
		s.poll = l.Pace.Poll
	}
	return s
}

func (s statusLine) String() string {
	parts := []string{fmt.Sprintf("watching %s for %s", count(s.lineages, "lineage"), count(s.targets, "target"))}
	add := func(is bool, format string, args ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(s.running, "deploying")
	add(s.pending > 0 && !s.next.IsZero(), "%d pending, next try %s", s.pending, s.next.Local().Format("15:04"))
	add(s.pending > 0 && s.next.IsZero(), "%d pending, until something changes", s.pending)
	add(s.lacking > 0, "%s without a lineage", count(s.lacking, "target"))
	add(s.poll > 0, "looking every %s, since inotify has no room", s.poll)
	add(s.wrong, "the configuration is wrong, that of %s stays in effect", s.loaded.Local().Format("15:04"))
	add(s.failure != "", "failing: %s", s.failure)
	return strings.Join(parts, "; ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
