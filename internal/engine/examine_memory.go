package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/state"
)

// This file looks whether what is remembered can be read and can be true.

// remembered reports damaged files, and a clock that was set back.
func (x *examiner) remembered(now time.Time) {
	st, unread, err := x.load()
	x.damagedState(st, unread, err)
	entries, damage, err := x.Store.History()
	switch {
	case err != nil:
		x.say(deployers.State, deployers.Warned, remedyOf(err), "%v", err)
	case damage != nil:
		x.say(deployers.State, deployers.Warned, "see what damaged it; the next deployment sets it aside and goes on with what can be read", "%v", damage)
	}
	if aside, err := x.Store.Aside(); err != nil {
		x.say(deployers.State, deployers.Warned, "", "%v", err)
	} else if len(aside) > 0 {
		x.say(deployers.State, deployers.Warned, "see what damaged them (journalctl -k), then rm -r "+strings.Join(aside, " "), "damaged files were set aside: %s", strings.Join(aside, ", "))
	}
	marks, err := x.Store.Marks()
	if err != nil {
		x.say(deployers.State, deployers.Warned, "move away what is in the place of "+x.Store.MarksDir()+"; the directory is made anew", "%v", err)
	}
	x.clockSetBack(st, entries, marks, now)
}

// damagedState says what is wrong with the state and its copy.
func (x *examiner) damagedState(st *state.State, unread, err error) {
	switch {
	case err != nil:
		x.say(deployers.State, deployers.Wrong, remedyOf(err), "%v", err)
	case unread != nil:
		x.say(deployers.State, deployers.Wrong, remedyOf(unread), "%v", unread)
	case st.Damage != nil:
		x.say(deployers.State, deployers.Warned, "see what damaged it; the next deployment mends it from its copy", "%v; its copy, of %s, is used", st.Damage, st.Copied.Format(time.RFC3339))
	default:
		if damage := x.Store.CheckCopy(); damage != nil {
			x.say(deployers.State, deployers.Warned, "see what damaged it; the next deployment makes it anew", "the copy of the state, %v", damage)
		}
	}
}

// clockSetBack reports times that had yet to come when they were read. They
// count as now, and are put right by the next run.
func (x *examiner) clockSetBack(st *state.State, entries []state.Entry, marks []state.Mark, now time.Time) {
	var from time.Time
	var of []string
	note := func(at time.Time, what ...string) {
		if at.After(from) {
			from = at
		}
		of = append(of, what...)
	}
	if st != nil && st.SetBack.Recent(now) {
		note(st.SetBack.From, st.SetBack.Where...)
	}
	if n := len(entries); n > 0 && state.Ahead(entries[n-1].Time, now) {
		note(entries[n-1].Time, "the last entry of the history")
	}
	if snapshot, err := state.ReadSnapshot(x.Config.Run); err == nil {
		if at := snapshot.Ahead(now); !at.IsZero() {
			note(at, "the last look of the snapshot")
		}
	}
	for _, mark := range marks {
		if state.Ahead(mark.Since(), now) {
			note(mark.Since(), "the mark of "+mark.Lineage)
		}
	}
	if of == nil {
		return
	}
	x.say(deployers.Clock, deployers.Warned,
		"if this clock is right, certlatch deploy --pending goes on, as such times count as now; if it is not, timedatectl set-ntp true",
		"it was set back, by %s: %s is the time of %s", roughly(from.Sub(now)), from.UTC().Format(time.RFC3339), listed(of))
}

// mostListed is how many of many things are named.
const mostListed = 5

func listed(of []string) string {
	if len(of) <= mostListed {
		return strings.Join(of, ", ")
	}
	return strings.Join(of[:mostListed], ", ") + ", and others"
}

// roughly says how long something is, for people.
func roughly(d time.Duration) string {
	if days := int(d.Hours() / 24); days > 1 {
		return fmt.Sprintf("%d days", days)
	}
	return d.Round(time.Minute).String()
}
