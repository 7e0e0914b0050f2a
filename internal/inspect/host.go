package inspect

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
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/host"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
)

// This file looks at what all targets of a host depend on.

// ExamineHost looks at what all targets depend on: the configuration and the
// places of lineages, the state directory, what tries again, the disks, the
// clock, and what the kernel allows. Watched reports whether the daemon watches
// the lineages. The error is for what kept it from looking.
func (in Inspector) ExamineHost(ctx context.Context) (found Examination, watched bool, err error) {
	prep := prepare.NewPreparer(in.Site.World)
	defer prep.Close()
	lineages, err := lineageRoots(in.Site.Config)
	if err != nil {
		return Examination{}, false, err
	}
	again, watched := retries(ctx, prep)
	checks := slices.Concat(
		[]deployers.Check{configuration(in.Site.Config)}, shared(in.Site.Config), loose(ctx, prep, in.Site.Config), lineages, []deployers.Check{again},
		in.unfinished(), in.remembered(time.Now()), space(in.Site.Config), kernel(in.Site.Config.Targets),
	)
	deployers.SortChecks(checks)
	return Examination{Checks: checks}, watched, nil
}

// configuration says who may read passwords in it.
func configuration(cfg *config.Config) deployers.Check {
	info, err := os.Stat(cfg.Path)
	if err == nil && info.Mode().Perm()&0o044 != 0 && slices.ContainsFunc(cfg.Targets, hasPassword) {
		return warned(deployers.Configuration, "chmod 0600 "+cfg.Path, "%s holds a database's password, and others than root may read it", cfg.Path)
	}
	return fine(deployers.Configuration, "%s is well (targets: %d)", cfg.Path, len(cfg.Targets))
}

// shared says which targets write to one place.
func shared(cfg *config.Config) (checks []deployers.Check) {
	for _, s := range cfg.Shared() {
		level := deployers.Warned
		if s.Differ {
			level = deployers.Wrong
		}
		checks = append(checks, deployers.NewCheck(deployers.Configuration, level, s.Remedy+" in "+cfg.Path, "%s", s.What))
	}
	return checks
}

func hasPassword(t config.Target) bool {
	options, ok := t.Options.(deployers.RowOptions)
	if !ok {
		return false
	}
	database, err := url.Parse(string(options.RowKeys().Database))
	if err != nil || database.User == nil {
		return false
	}
	_, has := database.User.Password()
	return has
}

// lineageRoots says how many lineages there are, and whether they can be
// watched.
func lineageRoots(cfg *config.Config) (checks []deployers.Check, err error) {
	watched := 0
	var kept []lineage.Lineage
	for _, root := range cfg.Roots {
		found, err := root.List()
		if err != nil {
			return nil, err
		}
		watched, kept = watched+1+len(found), append(kept, found...)
		checks = append(checks, unnamed(root)...)
		if len(found) == 0 {
			checks = append(checks, warned(deployers.Lineages, "issue a certificate, or correct lineages in "+cfg.Path, "%s keeps no lineage below %s", root.Client, root.Dir))
			continue
		}
		if keeper, is := hooks.KeeperFor(root.Client); is && keeper.Serves != "" {
			checks = append(checks, fine(deployers.Lineages, "%s keeps %d below %s, and %s serves them itself", root.Client, len(found), root.Dir, keeper.Serves))
			continue
		}
		checks = append(checks, fine(deployers.Lineages, "%s keeps %d below %s", root.Client, len(found), root.Dir))
	}
	for _, double := range cfg.Doubles {
		checks = append(checks, warned(deployers.Lineages, double.Remedy+" in "+cfg.Path, "%s", double.What))
	}
	checks = append(checks, unclaimedChecks(cfg, kept)...)
	limit, err := host.WatchLimit()
	return append(checks, watches(watched, limit, err)), nil
}

// watches says whether so many directories can be watched.
func watches(wanted, limit int, err error) deployers.Check {
	switch {
	case err != nil:
		return warned(deployers.Watches, "", "%v", err)
	case wanted > limit/2:
		return warned(deployers.Watches, fmt.Sprintf("sysctl -w fs.inotify.max_user_watches=%d, and the same in /etc/sysctl.d", 4*wanted),
			"%d directories are to be watched, and this kernel lets root watch %d in all", wanted, limit)
	}
	return fine(deployers.Watches, "%d directories are to be watched, of %d that the kernel allows", wanted, limit)
}

// What tries again what is pending: the daemon, or else a timer.
const (
	watchUnit  = "certlatch-watch.service"
	retryTimer = "certlatch-retry.timer"
)

// retries says what tries again. Watched reports whether that is the daemon.
func retries(ctx context.Context, prep *prepare.Preparer) (check deployers.Check, watched bool) {
	if !prep.Facts.Systemd() {
		return warned(deployers.Retries, "let cron run certlatch deploy --pending every few minutes", "systemd does not run here, so nothing is known to try again what did not end well"), false
	}
	for _, name := range []string{watchUnit, retryTimer} {
		unit, err := prep.Facts.Unit(ctx, name)
		switch {
		case err != nil:
			return warned(deployers.Retries, "", "%v", err), false
		case unit.Running():
			return fine(deployers.Retries, "%s is active", name), name == watchUnit
		}
	}
	return warned(deployers.Retries, "systemctl enable --now "+watchUnit+", or "+retryTimer, "nothing tries again what did not end well: neither %s nor %s is active", watchUnit, retryTimer), false
}

// unfinished reports runs that were cut off.
func (in Inspector) unfinished() []deployers.Check {
	journal, dir := in.Site.Store.JournalDir(), in.Site.Config.State
	found, err := install.New(journal).Unfinished()
	if err != nil {
		return []deployers.Check{wrong(deployers.State, "see what keeps root out of it", "%v", err)}
	}
	if _, err := os.Stat(journal); errors.Is(err, fs.ErrNotExist) {
		return []deployers.Check{fine(deployers.State, "%s is made by the first deployment", dir)}
	}
	return cutOff(found, dir)
}

// cutOff says what runs that were cut off have left, as it was found in a state
// directory.
func cutOff(found install.Recovery, dir string) (checks []deployers.Check) {
	for _, s := range found.Stuck {
		stuck := &outcome.StuckError{Err: s.Err}
		checks = append(checks, wrong(deployers.State, stuck.Remedy(s.Target), "target %s, lineage %s: an earlier run was cut off, and the previous pair is not back: %v", s.Target, s.Lineage, s.Err))
	}
	for _, d := range found.Damaged {
		checks = append(checks, wrong(deployers.State, "certlatch recover sets it aside; every target is looked at anew then", "%v", d))
	}
	for _, i := range found.Interrupted {
		checks = append(checks, warned(deployers.State, "certlatch recover puts the previous pair back, certlatch deploy --pending tries again", "target %s, lineage %s: a run is under way, or was cut off", i.Target, i.Lineage))
	}
	for _, path := range found.Left {
		checks = append(checks, warned(deployers.State, "remove it; it does no harm", "a file of an earlier run could not be removed: %s", path))
	}
	if checks == nil {
		return []deployers.Check{fine(deployers.State, "%s holds no trace of a run that was cut off", dir)}
	}
	return checks
}

// Of the file systems that are written to. A run writes some ten files of a
// few KiB for each lineage and target.
const (
	scarceRoom  = 50 << 20 // bytes
	scarceFiles = 1000
)

// space looks at each file system that is written to.
func space(cfg *config.Config) (checks []deployers.Check) {
	paths := []string{cfg.State}
	for _, t := range cfg.Targets {
		switch {
		case t.Directory != "":
			paths = append(paths, beforeLineage(t.Directory))
		case t.Certificate != "":
			paths = append(paths, beforeLineage(t.Certificate), beforeLineage(t.Key))
		}
	}
	seen := map[uint64]bool{}
	for _, path := range paths {
		switch at, err := host.RoomAt(path); {
		case err != nil:
			checks = append(checks, wrong(deployers.Space, "", "%v", err))
		case !seen[at.Device]:
			checks = append(checks, room(path, at))
			seen[at.Device] = true
		}
	}
	return checks
}

// room says what is left on the file system of a path.
func room(path string, at host.Room) deployers.Check {
	switch {
	case at.ReadOnly:
		return wrong(deployers.Space, "mount it writable, or choose another place", "the file system of %s is read-only", path)
	case at.Files == 0 || at.Free < 1<<20:
		return wrong(deployers.Space, "make room", "the file system of %s is full", path)
	case at.Files < scarceFiles || at.Free < scarceRoom:
		return warned(deployers.Space, "make room", "the file system of %s has %d MiB left, and room for %d files", path, at.Free>>20, at.Files)
	}
	return fine(deployers.Space, "the file system of %s has %d MiB left", path, at.Free>>20)
}

// beforeLineage returns the directory of a path up to where it depends on the
// lineage.
func beforeLineage(path string) string {
	fixed, _, _ := strings.Cut(path, "{lineage}")
	return filepath.Dir(fixed)
}

// kernel returns checks of the clock, and of what may keep services from files
// that owner and mode would let them read.
func kernel(targets []config.Target) []deployers.Check {
	synchronised, hidden := host.ClockSynchronised()
	profiles, unknown := host.AppArmorProfiles()
	return []deployers.Check{clock(synchronised, hidden), confinement(host.SELinuxEnforces(), profiles, unknown, targets)}
}

// clock says whether something keeps the clock right, as [host.ClockSynchronised]
// has found.
func clock(synchronised bool, err error) deployers.Check {
	switch {
	case errors.Is(err, host.ErrHidden):
		return fine(deployers.Clock, "it is not this system's, so whether it is synchronised is not known")
	case err != nil:
		return warned(deployers.Clock, "", "%v", err)
	case !synchronised:
		return warned(deployers.Clock, "timedatectl set-ntp true, or see what chronyc tracking says", "nothing keeps the clock right: certificates would be taken for expired, or not yet valid, at the wrong time")
	}
	return fine(deployers.Clock, "it is synchronised")
}

// confinement says whether the kernel may keep the targets' services from files,
// as [host.SELinuxEnforces] and [host.AppArmorProfiles] have found.
func confinement(selinux bool, profiles []string, err error, targets []config.Target) deployers.Check {
	confined := slices.DeleteFunc(slices.Clone(profiles), func(name string) bool {
		return !slices.ContainsFunc(targets, func(t config.Target) bool { return confines(name, t) })
	})
	switch {
	case selinux:
		return fine(deployers.Confinement, "SELinux enforces: a file that is replaced keeps its label, and a new one gets that of its directory; where a service may not read it, semanage fcontext and restorecon set another")
	case len(confined) > 0:
		return warned(deployers.Confinement, "see that they allow the target's paths (/etc/apparmor.d/local)", "AppArmor enforces profiles of these services: %s", strings.Join(confined, ", "))
	case errors.Is(err, host.ErrHidden):
		return fine(deployers.Confinement, "which AppArmor profiles are enforced is not told here")
	}
	return fine(deployers.Confinement, "neither SELinux nor AppArmor confines a target's service")
}

// confines reports whether an AppArmor profile is that of a target's service, by
// its name or that of the unit: profiles are called by the path of the
// program, or by a word.
func confines(profile string, t config.Target) bool {
	word := filepath.Base(strings.Split(profile, "//")[0])
	return word == t.Service || word == strings.TrimSuffix(t.Unit, ".service")
}
