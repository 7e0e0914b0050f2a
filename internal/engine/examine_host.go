package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/host"
	"github.com/certlatch/certlatch/internal/install"
)

// This file looks at what all targets of a host depend on.

// Of the file systems that are written to. A run writes some ten files of a
// few KiB for each lineage and target.
const (
	scarceRoom  = 50 << 20 // bytes
	scarceFiles = 1000
)

// ExamineHost looks at what all targets depend on: the configuration and the
// places of lineages, the state directory, what tries again, the disks, the
// clock, and what the kernel allows. It also tells whether the daemon watches
// the lineages. The error is for what kept it from looking.
func (e *Engine) ExamineHost(ctx context.Context) (found Examination, watched bool, err error) {
	r := &run{Engine: e, seen: newLookups()}
	defer r.close()
	x := examiner{run: r}
	x.configuration()
	if err := x.lineageRoots(); err != nil {
		return Examination{}, false, err
	}
	watched = x.retries(ctx)
	x.stateDirectory()
	x.remembered(time.Now())
	x.space()
	x.kernel()
	deployers.SortChecks(x.checks)
	return Examination{Checks: x.checks}, watched, nil
}

// configuration tells who may read passwords in it.
func (x *examiner) configuration() {
	path := x.Config.Path
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o044 != 0 && slices.ContainsFunc(x.Config.Targets, hasPassword) {
		x.say(deployers.Configuration, deployers.Warned, "chmod 0600 "+path, "%s holds a database's password, and others than root may read it", path)
		return
	}
	x.say(deployers.Configuration, deployers.Fine, "", "%s is well (targets: %d)", path, len(x.Config.Targets))
}

func hasPassword(t config.Target) bool {
	options, ok := t.Options.(*deployers.OpenSIPSOptions)
	if !ok {
		return false
	}
	database, err := url.Parse(string(options.Database))
	if err != nil || database.User == nil {
		return false
	}
	_, has := database.User.Password()
	return has
}

// lineageRoots tells how many lineages there are, and whether they can be
// watched.
func (x *examiner) lineageRoots() error {
	watched := 0
	for _, root := range x.Config.Roots {
		found, err := root.List()
		if err != nil {
			return err
		}
		watched += 1 + len(found)
		if len(found) == 0 {
			x.say(deployers.Lineages, deployers.Warned, "issue a certificate, or correct lineages in "+x.Config.Path, "%s keeps no lineage below %s", root.Client, root.Dir)
			continue
		}
		x.say(deployers.Lineages, deployers.Fine, "", "%s keeps %d below %s", root.Client, len(found), root.Dir)
	}
	switch limit, err := host.WatchLimit(); {
	case err != nil:
		x.say(deployers.Watches, deployers.Warned, "", "%v", err)
	case watched > limit/2:
		x.say(deployers.Watches, deployers.Warned, fmt.Sprintf("sysctl -w fs.inotify.max_user_watches=%d, and the same in /etc/sysctl.d", 4*watched),
			"%d directories are to be watched, and this kernel lets root watch %d in all", watched, limit)
	default:
		x.say(deployers.Watches, deployers.Fine, "", "%d directories are to be watched, of %d that the kernel allows", watched, limit)
	}
	return nil
}

// What tries again what is pending: the daemon, or else a timer.
const (
	watchUnit  = "certlatch-watch.service"
	retryTimer = "certlatch-retry.timer"
)

// retries tells what tries again, and whether that is the daemon.
func (x *examiner) retries(ctx context.Context) (watched bool) {
	if x.Units == nil {
		x.say(deployers.Retries, deployers.Warned, "let cron run certlatch deploy --pending every few minutes", "systemd does not run here, so nothing is known to try again what did not end well")
		return false
	}
	for _, name := range []string{watchUnit, retryTimer} {
		unit, err := x.unit(ctx, name)
		switch {
		case err != nil:
			x.say(deployers.Retries, deployers.Warned, "", "%v", err)
			return false
		case unit.Running():
			x.say(deployers.Retries, deployers.Fine, "", "%s is active", name)
			return name == watchUnit
		}
	}
	x.say(deployers.Retries, deployers.Warned, "systemctl enable --now "+watchUnit+", or "+retryTimer, "nothing tries again what did not end well: neither %s nor %s is active", watchUnit, retryTimer)
	return false
}

// stateDirectory reports runs that were cut off.
func (x *examiner) stateDirectory() {
	found, err := install.New(x.Store.JournalDir()).Unfinished()
	if err != nil {
		x.say(deployers.State, deployers.Wrong, "see what keeps root out of it", "%v", err)
		return
	}
	if _, err := os.Stat(x.Store.JournalDir()); errors.Is(err, fs.ErrNotExist) {
		x.say(deployers.State, deployers.Fine, "", "%s is made by the first deployment", x.Config.State)
		return
	}
	for _, s := range found.Stuck {
		x.say(deployers.State, deployers.Wrong, (&stuckError{s.Err}).remedy(s.Target), "target %s, lineage %s: an earlier run was cut off, and the previous pair is not back: %v", s.Target, s.Lineage, s.Err)
	}
	for _, d := range found.Damaged {
		x.say(deployers.State, deployers.Wrong, "certlatch recover sets it aside; every target is looked at anew then", "%v", d)
	}
	for _, i := range found.Interrupted {
		x.say(deployers.State, deployers.Warned, "certlatch recover puts the previous pair back, certlatch deploy --pending tries again", "target %s, lineage %s: a run is under way, or was cut off", i.Target, i.Lineage)
	}
	for _, path := range found.Left {
		x.say(deployers.State, deployers.Warned, "remove it; it does no harm", "a file of an earlier run could not be removed: %s", path)
	}
	if len(found.Stuck)+len(found.Damaged)+len(found.Interrupted)+len(found.Left) == 0 {
		x.say(deployers.State, deployers.Fine, "", "%s holds no trace of a run that was cut off", x.Config.State)
	}
}

// space looks at each file system that is written to.
func (x *examiner) space() {
	paths := []string{x.Config.State}
	for _, t := range x.Config.Targets {
		switch {
		case t.Directory != "":
			paths = append(paths, beforeLineage(t.Directory))
		case t.Certificate != "":
			paths = append(paths, beforeLineage(t.Certificate), beforeLineage(t.Key))
		}
	}
	seen := map[uint64]bool{}
	for _, path := range paths {
		room, err := host.RoomAt(path)
		switch {
		case err != nil:
			x.say(deployers.Space, deployers.Wrong, "", "%v", err)
		case seen[room.Device]:
		case room.ReadOnly:
			x.say(deployers.Space, deployers.Wrong, "mount it writable, or choose another place", "the file system of %s is read-only", path)
		case room.Files == 0 || room.Free < 1<<20:
			x.say(deployers.Space, deployers.Wrong, "make room", "the file system of %s is full", path)
		case room.Files < scarceFiles || room.Free < scarceRoom:
			x.say(deployers.Space, deployers.Warned, "make room", "the file system of %s has %d MiB left, and room for %d files", path, room.Free>>20, room.Files)
		default:
			x.say(deployers.Space, deployers.Fine, "", "the file system of %s has %d MiB left", path, room.Free>>20)
		}
		seen[room.Device] = true
	}
}

// beforeLineage is the directory of a path up to where it depends on the
// lineage.
func beforeLineage(path string) string {
	fixed, _, _ := strings.Cut(path, "{lineage}")
	return filepath.Dir(fixed)
}

// kernel tells of the clock, and of what may keep services from files that
// owner and mode would let them read.
func (x *examiner) kernel() {
	switch synchronised, err := host.ClockSynchronised(); {
	case errors.Is(err, host.ErrHidden):
		x.say(deployers.Clock, deployers.Fine, "", "it is not this system's, so whether it is synchronised is not known")
	case err != nil:
		x.say(deployers.Clock, deployers.Warned, "", "%v", err)
	case !synchronised:
		x.say(deployers.Clock, deployers.Warned, "timedatectl set-ntp true, or see what chronyc tracking says", "nothing keeps the clock right: certificates would be taken for expired, or not yet valid, at the wrong time")
	default:
		x.say(deployers.Clock, deployers.Fine, "", "it is synchronised")
	}
	profiles, err := host.AppArmorProfiles()
	confined := slices.DeleteFunc(profiles, func(name string) bool {
		return !slices.ContainsFunc(x.Config.Targets, func(t config.Target) bool { return confines(name, t) })
	})
	switch {
	case host.SELinuxEnforces():
		x.say(deployers.Confinement, deployers.Fine, "", "SELinux enforces: a file that is replaced keeps its label, and a new one gets that of its directory; where a service may not read it, semanage fcontext and restorecon set another")
	case len(confined) > 0:
		x.say(deployers.Confinement, deployers.Warned, "see that they allow the target's paths (/etc/apparmor.d/local)", "AppArmor enforces profiles of these services: %s", strings.Join(confined, ", "))
	case errors.Is(err, host.ErrHidden):
		x.say(deployers.Confinement, deployers.Fine, "", "which AppArmor profiles are enforced is not told here")
	default:
		x.say(deployers.Confinement, deployers.Fine, "", "neither SELinux nor AppArmor confines a target's service")
	}
}

// confines tells whether an AppArmor profile is that of a target's service, by
// its name or that of the unit: profiles are called by the path of the
// program, or by a word.
func confines(profile string, t config.Target) bool {
	word := filepath.Base(strings.Split(profile, "//")[0])
	return word == t.Service || t.Unit != "" && word == strings.TrimSuffix(t.Unit, ".service")
}
