package inspect

import (
	"fmt"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/state"
)

// This file looks whether what is remembered can be read and can be true.

// remembered reports damaged files, and a clock that was set back.
func (in Inspector) remembered(now time.Time) (checks []deployers.Check) {
	store := in.Site.Store
	st, unread, err := in.Site.State()
	checks = in.damagedState(st, unread, err)
	entries, damage, err := store.History()
	switch {
	case err != nil:
		checks = append(checks, warned(deployers.State, state.RemedyOf(err), "%v", err))
	case damage != nil:
		checks = append(checks, warned(deployers.State, "see what damaged it; the next deployment sets it aside and goes on with what can be read", "%v", damage))
	}
	if aside, err := store.Aside(); err != nil {
		checks = append(checks, warned(deployers.State, "", "%v", err))
	} else if len(aside) > 0 {
		checks = append(checks, warned(deployers.State, "see what damaged them (journalctl -k), then rm -r "+strings.Join(aside, " "), "damaged files were set aside: %s", strings.Join(aside, ", ")))
	}
	marks, err := store.Marks()
	if err != nil {
		checks = append(checks, warned(deployers.State, "move away what is in the place of "+store.MarksDir()+"; the directory is made anew", "%v", err))
	}
	return append(checks, setBack(st, entries, readSnapshot(in.Site.Config.Run), marks, now)...)
}

// damagedState says what is wrong with the state and its copy, given what came of
// reading it.
func (in Inspector) damagedState(st *state.State, unread, err error) []deployers.Check {
	switch {
	case err != nil:
		return []deployers.Check{wrong(deployers.State, state.RemedyOf(err), "%v", err)}
	case unread != nil:
		return []deployers.Check{wrong(deployers.State, state.RemedyOf(unread), "%v", unread)}
	case st.Damage != nil:
		return []deployers.Check{warned(deployers.State, "see what damaged it; the next deployment mends it from its copy", "%v; its copy, of %s, is used", st.Damage, st.Copied.Format(time.RFC3339))}
	}
	if damage := in.Site.Store.CheckCopy(); damage != nil {
		return []deployers.Check{warned(deployers.State, "see what damaged it; the next deployment makes it anew", "the copy of the state, %v", damage)}
	}
	return nil
}

// setBack reports times that had yet to come when they were read. They count as
// now, and are put right by the next run. The state is nil where it may not be
// read.
func setBack(st *state.State, entries []state.Entry, snapshot *state.Snapshot, marks []state.Mark, now time.Time) []deployers.Check {
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
	if at := snapshot.Ahead(now); !at.IsZero() {
		note(at, "the last look of the snapshot")
	}
	for _, mark := range marks {
		if state.Ahead(mark.Since(), now) {
			note(mark.Since(), "the mark of "+mark.Lineage)
		}
	}
	if of == nil {
		return nil
	}
	return []deployers.Check{warned(deployers.Clock,
		"if this clock is right, certlatch deploy --pending goes on, as such times count as now; if it is not, timedatectl set-ntp true",
		"it was set back, by %s: %s is the time of %s", roughly(from.Sub(now)), from.UTC().Format(time.RFC3339), listed(of))}
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
