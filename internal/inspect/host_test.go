package inspect

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/opensips"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/host"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/state"
)

// host returns what is found out about the host.
func (s *scene) host() (checks []deployers.Check, watched bool) {
	s.t.Helper()
	found, watched, err := s.ExamineHost(s.t.Context())
	if err != nil || found.Target+found.Lineage+found.Service != "" {
		s.t.Fatalf("%v, %v", found, err)
	}
	s.isClosed()
	return found.Checks, watched
}

// TestExamineHost is about what doctor says of the host.
func TestExamineHost(t *testing.T) {
	running := deployers.Unit{LoadState: "loaded", ActiveState: "active"}
	for _, test := range []struct {
		name    string
		prepare func(*scene)
		about   deployers.Aspect
		want    []string // a line each, as far as they are the same on every host
		watched bool
	}{
		{"all is well", nil, deployers.Configuration, []string{"ok: DIR/certlatch.yaml is well (targets: 1)"}, false},
		{"all is well", nil, deployers.Lineages, []string{"ok: certbot keeps 1 below DIR/live"}, false},
		{"all is well", nil, deployers.Watches, []string{"ok: 2 directories are to be watched, of "}, false},
		{"all is well", nil, deployers.State, []string{"ok: DIR/state holds no trace of a run that was cut off"}, false},
		{"all is well", nil, deployers.Space, []string{"ok: the file system of DIR/state has "}, false},
		{"two lineages", func(s *scene) { s.renew("api.example") }, deployers.Watches, []string{"ok: 3 directories are to be watched, of "}, false},
		{"no lineage", func(s *scene) { s.remove("live") }, deployers.Lineages, []string{"warning: certbot keeps no lineage below DIR/live; issue a certificate, or correct lineages in DIR/certlatch.yaml"}, false},
		{"the daemon", func(s *scene) { s.world.units[watchUnit], s.world.units[retryTimer] = running, running }, deployers.Retries, []string{"ok: certlatch-watch.service is active"}, true},
		{"the timer", func(s *scene) { s.world.units[retryTimer] = running }, deployers.Retries, []string{"ok: certlatch-retry.timer is active"}, false},
		{"neither", nil, deployers.Retries, []string{"warning: nothing tries again what did not end well: neither certlatch-watch.service nor certlatch-retry.timer is active; systemctl enable --now certlatch-watch.service, or certlatch-retry.timer"}, false},
		{"no systemd", func(s *scene) { s.Site.World.Systemd = nil }, deployers.Retries, []string{"warning: systemd does not run here, so nothing is known to try again what did not end well; let cron run certlatch deploy --pending every few minutes"}, false},
		{"systemd is gone", func(s *scene) { s.world.down = errors.New("gone") }, deployers.Retries, []string{"warning: gone"}, false},
		{"before the first deployment", func(s *scene) { s.remove("state") }, deployers.State, []string{"ok: DIR/state is made by the first deployment"}, false},
		{"a file in the place of the journal", func(s *scene) { s.remove("state/journal"); s.write("state/journal", nil) }, deployers.State, []string{"error: open directory DIR/state/journal: not a directory; see what keeps root out of it"}, false},
		{"a damaged journal", func(s *scene) { s.write("state/journal/intent.json", []byte("{")) }, deployers.State, []string{"error: journal DIR/state/journal/intent.json is damaged: unexpected end of JSON input; certlatch recover sets it aside; every target is looked at anew then"}, false},
	} {
		t.Run(test.name+" "+string(test.about), func(t *testing.T) {
			s := newScene(t, "")
			if test.prepare != nil {
				test.prepare(s)
			}
			checks, watched := s.host()
			got := strings.ReplaceAll(says(checks, test.about), s.dir, "DIR")
			lines := strings.Split(got, "\n")
			if len(lines) != len(test.want) || watched != test.watched {
				t.Fatalf("it is watched: %t; it says %s", watched, got)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("it says %q instead of %q", lines[i], want)
				}
			}
		})
	}
	s := newScene(t, "")
	checks, _ := s.host()
	sorted := append([]deployers.Check{}, checks...)
	deployers.SortChecks(sorted)
	if diff := cmp.Diff(sorted, checks); diff != "" {
		t.Errorf("they are not in their order: %s", diff)
	}
	if clock, confinement := says(checks, deployers.Clock), says(checks, deployers.Confinement); clock == "" || confinement == "" {
		t.Errorf("of the clock it says %q, of confinement %q", clock, confinement)
	}
	s.remove("live")
	s.write("live", nil)
	if found, _, err := s.ExamineHost(t.Context()); err == nil {
		t.Errorf("without a place of lineages %v is found", found)
	}
}

// Who may read a database's password is told.
func TestPasswords(t *testing.T) {
	for _, test := range []struct {
		database string
		mode     os.FileMode
		warns    bool
	}{
		{"mysql://opensips:secret@localhost/opensips", 0o644, true},
		{"mysql://opensips:secret@localhost/opensips", 0o640, true},
		{"mysql://opensips:secret@localhost/opensips", 0o604, true},
		{"mysql://opensips:secret@localhost/opensips", 0o600, false},
		{"mysql://opensips@localhost/opensips", 0o644, false},
		{"mysql://localhost/opensips", 0o644, false},
		{"", 0o644, false},
	} {
		s := newScene(t, "")
		s.write("certlatch.yaml", nil)
		if err := os.Chmod(s.path("certlatch.yaml"), test.mode); err != nil {
			t.Fatal(err)
		}
		other := *s.target
		other.Options = &opensips.Options{Database: deployers.DatabaseURL(test.database)}
		s.Site.Config.Targets = append(s.Site.Config.Targets, other)
		got := configuration(s.Site.Config).String()
		want := s.path("certlatch.yaml") + " holds a database's password, and others than root may read it; chmod 0600 " + s.path("certlatch.yaml")
		if (got == want) != test.warns {
			t.Errorf("with %s and mode %o it says %s", test.database, test.mode, got)
		}
	}
	if hasPassword(config.Target{Target: deployers.Target{Options: &opensips.Options{Database: "://"}}}) {
		t.Error("what is no URL has a password")
	}
}

// TestJudgements is about what is said of numbers and words that the kernel, or
// the journal, has for the host.
func TestJudgements(t *testing.T) {
	const mib = 1 << 20
	lost, nginx := errors.New("lost"), config.Target{Target: deployers.Target{Service: "nginx", Unit: "web.service"}}
	const made = "; sysctl -w fs.inotify.max_user_watches=44, and the same in /etc/sysctl.d"
	const confined = "warning: AppArmor enforces profiles of these services: "
	const allow = "; see that they allow the target's paths (/etc/apparmor.d/local)"
	for _, test := range []struct {
		got  deployers.Check
		want string
	}{
		{watches(10, 20, nil), "ok: 10 directories are to be watched, of 20 that the kernel allows"},
		{watches(11, 20, nil), "warning: 11 directories are to be watched, and this kernel lets root watch 20 in all" + made},
		{watches(1, 20, lost), "warning: lost"},

		{room("/srv", host.Room{Files: scarceFiles, Free: scarceRoom}), "ok: the file system of /srv has 50 MiB left"},
		{room("/srv", host.Room{Files: scarceFiles - 1, Free: scarceRoom}), "warning: the file system of /srv has 50 MiB left, and room for 999 files; make room"},
		{room("/srv", host.Room{Files: scarceFiles, Free: scarceRoom - 1}), "warning: the file system of /srv has 49 MiB left, and room for 1000 files; make room"},
		{room("/srv", host.Room{Files: 1, Free: mib}), "warning: the file system of /srv has 1 MiB left, and room for 1 files; make room"},
		{room("/srv", host.Room{Files: 0, Free: scarceRoom}), "error: the file system of /srv is full; make room"},
		{room("/srv", host.Room{Files: scarceFiles, Free: mib - 1}), "error: the file system of /srv is full; make room"},
		{room("/srv", host.Room{ReadOnly: true}), "error: the file system of /srv is read-only; mount it writable, or choose another place"},

		{clock(true, nil), "ok: it is synchronised"},
		{clock(false, nil), "warning: nothing keeps the clock right: certificates would be taken for expired, or not yet valid, at the wrong time; timedatectl set-ntp true, or see what chronyc tracking says"},
		{clock(false, host.ErrHidden), "ok: it is not this system's, so whether it is synchronised is not known"},
		{clock(false, lost), "warning: lost"},

		{confinement(false, nil, nil, []config.Target{nginx}), "ok: neither SELinux nor AppArmor confines a target's service"},
		{confinement(false, []string{"/usr/sbin/mysqld", "docker-default"}, nil, []config.Target{nginx}), "ok: neither SELinux nor AppArmor confines a target's service"},
		{confinement(false, []string{"/usr/sbin/nginx", "mysqld", "web//sub"}, nil, []config.Target{nginx}), confined + "/usr/sbin/nginx, web//sub" + allow},
		{confinement(false, []string{"nginx"}, nil, nil), "ok: neither SELinux nor AppArmor confines a target's service"},
		{confinement(false, nil, host.ErrHidden, nil), "ok: which AppArmor profiles are enforced is not told here"},
		{confinement(true, []string{"nginx"}, nil, []config.Target{nginx}), "ok: SELinux enforces: a file that is replaced keeps its label, and a new one gets that of its directory; where a service may not read it, semanage fcontext and restorecon set another"},
	} {
		if diff := cmp.Diff(test.want, say(test.got)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestCutOff is about what is said of what runs have left that were cut off.
func TestCutOff(t *testing.T) {
	later := &install.JournalError{Path: "/var/lib/certlatch/journal/later"}
	got := say(cutOff(install.Recovery{
		Stuck:       []install.Stuck{{Target: "web", Lineage: "web.example", Err: errors.New("no")}},
		Damaged:     []*install.JournalError{later},
		Interrupted: []install.Interrupted{{Target: "sip", Lineage: "sip.example"}},
		Left:        []string{"/etc/web/.draft"},
	}, "/var/lib/certlatch")...)
	want := "error: target web, lineage web.example: an earlier run was cut off, and the previous pair is not back: no; look at once: mend what keeps the files from being put back; every run tries it again first, and certlatch recover does nothing else\n" +
		"error: " + later.Error() + "; certlatch recover sets it aside; every target is looked at anew then\n" +
		"warning: target sip, lineage sip.example: a run is under way, or was cut off; certlatch recover puts the previous pair back, certlatch deploy --pending tries again\n" +
		"warning: a file of an earlier run could not be removed: /etc/web/.draft; remove it; it does no harm"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Each file system that is written to is looked at once.
func TestSpace(t *testing.T) {
	dir := t.TempDir()
	at := func(d deployers.Target) config.Target { return config.Target{Target: d} }
	cfg := &config.Config{State: filepath.Join(dir, "state"), Targets: []config.Target{
		at(deployers.Target{Directory: filepath.Join(dir, "{lineage}")}),
		at(deployers.Target{Certificate: "/proc/cert.pem", Key: "/proc/key.pem"}),
		at(deployers.Target{}),
	}}
	checks := space(cfg)
	if len(checks) != 2 || !strings.Contains(checks[0].Says, cfg.State) || !strings.Contains(checks[1].Says, "/proc ") {
		t.Errorf("%q", say(checks...))
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Targets = []config.Target{at(deployers.Target{Directory: filepath.Join(dir, "file", "below", "{lineage}")}), at(deployers.Target{Certificate: "/proc/cert.pem", Key: filepath.Join(dir, "file", "below", "key.pem")})}
	if got := say(space(cfg)...); strings.Count(got, "error: look at the file system of "+filepath.Join(dir, "file")) != 2 {
		t.Errorf("%q", got)
	}
	for path, want := range map[string]string{"/etc/web/{lineage}": "/etc/web", "/etc/web/{lineage}/cert.pem": "/etc/web", "/etc/{lineage}-web/cert.pem": "/etc", "/etc/web/cert.pem": "/etc/web"} {
		if got := beforeLineage(path); got != want {
			t.Errorf("of %s it is %s", path, got)
		}
	}
}

// TestRemembered is about what doctor says of what is remembered.
func TestRemembered(t *testing.T) {
	now := time.Now()
	ahead := now.Add(49 * time.Hour)
	for _, test := range []struct {
		name    string
		prepare func(*scene)
		about   deployers.Aspect
		want    []string // parts of a line each
	}{
		{"well", func(*scene) {}, deployers.State, nil},
		{"the state", func(s *scene) { s.truncate("state/state.json") }, deployers.State, []string{"warning: DIR/state/state.json is empty; its copy, of ", "is used; see what damaged it; the next deployment mends it from its copy"}},
		{"the copy", func(s *scene) { s.truncate("state/state.copy.json") }, deployers.State, []string{"warning: the copy of the state, DIR/state/state.copy.json is empty; see what damaged it; the next deployment makes it anew"}},
		{"both", func(s *scene) { s.truncate("state/state.json"); s.truncate("state/state.copy.json") }, deployers.State, []string{"error: read state: DIR/state/state.json is empty; ", "nothing is deployed, since nobody knows which targets are held"}},
		{"the history", func(s *scene) { s.write("state/history.jsonl", []byte("{\n")) }, deployers.State, []string{"warning: DIR/state/history.jsonl ", "; see what damaged it; the next deployment sets it aside and goes on with what can be read"}},
		{"no history", func(s *scene) { s.mkdir("state/history.jsonl") }, deployers.State, []string{"warning: "}},
		{"set aside", func(s *scene) { s.write("state/state.json.damaged-1", nil); s.write("state/state.json.damaged-2", nil) }, deployers.State, []string{"warning: damaged files were set aside: ", "; see what damaged them (journalctl -k), then rm -r "}},
		{"the marks", func(s *scene) { s.remove("state/marks"); s.write("state/marks", nil) }, deployers.State, []string{"warning: read marks: ", "; move away what is in the place of DIR/state/marks; the directory is made anew"}},
		{"a mark of 2100", func(s *scene) { s.mark(ahead) }, deployers.Clock, []string{"warning: it was set back, by 2 days: " + ahead.UTC().Format(time.RFC3339) + " is the time of the mark of certbot:web.example; if this clock is right, certlatch deploy --pending goes on, as such times count as now; if it is not, timedatectl set-ntp true"}},
		{"a mark of now", func(s *scene) { s.mark(now) }, deployers.Clock, nil},
		{"the history of 2100", func(s *scene) { s.append(now.Add(-time.Hour), ahead) }, deployers.Clock, []string{"warning: it was set back, by 2 days: ", " is the time of the last entry of the history;"}},
		{"a history of now", func(s *scene) { s.append(ahead, now) }, deployers.Clock, nil},
		{"the snapshot of 2100", func(s *scene) { s.setSnapshot(state.Sighting{Looked: ahead}) }, deployers.Clock, []string{"warning: it was set back, by 2 days: ", " is the time of the last look of the snapshot;"}},
		{"the state of 2100", func(s *scene) { s.remembers(func(st *state.State) { st.Hold("web", "by-hand", ahead) }) }, deployers.Clock, []string{"warning: it was set back, by 2 days: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, "")
			s.prove(s.first)
			test.prepare(s)
			got := strings.ReplaceAll(says(s.remembered(now), test.about), s.dir, "DIR")
			if (got == "") != (test.want == nil) || strings.Contains(got, "\n") {
				t.Errorf("it says %s", got)
			}
			has(t, got, test.want...)
		})
	}
}

func (s *scene) mkdir(name string) {
	s.t.Helper()
	if err := os.Mkdir(s.path(name), 0o700); err != nil {
		s.t.Fatal(err)
	}
}

// mark marks the lineage, as of a time.
func (s *scene) mark(at time.Time) {
	s.t.Helper()
	if err := s.Site.Store.Mark("certbot", "web.example"); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(s.Site.Store.MarksDir(), "certbot:web.example"), at, at); err != nil {
		s.t.Fatal(err)
	}
}

// append writes entries of some times to the history.
func (s *scene) append(times ...time.Time) {
	s.t.Helper()
	for _, at := range times {
		if damage, err := s.Site.Store.Append(state.Entry{Time: at, Target: "web", Lineage: "web.example", Result: "deployed"}); damage != nil || err != nil {
			s.t.Fatal(damage, err)
		}
	}
}

// Of times that cannot be true the latest is told, and so many things at most.
func TestSetBack(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	hours := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
	st := &state.State{SetBack: &state.SetBack{Noticed: now.Add(-time.Hour), From: hours(5), Where: []string{"a", "b", "c", "d"}}}
	entries := []state.Entry{{Time: hours(30)}, {Time: hours(7)}}
	snapshot := &state.Snapshot{Certificates: []state.Sighting{{Looked: hours(6)}}}
	for _, test := range []struct {
		name     string
		st       *state.State
		entries  []state.Entry
		snapshot *state.Snapshot
		want     string
	}{
		{"all", st, entries, snapshot, "it was set back, by 7h0m0s: 2026-11-23T19:00:00Z is the time of a, b, c, d, the last entry of the history, and others"},
		{"five", st, entries, new(state.Snapshot), "it was set back, by 7h0m0s: 2026-11-23T19:00:00Z is the time of a, b, c, d, the last entry of the history"},
		{"long ago", &state.State{SetBack: &state.SetBack{Noticed: hours(-25), From: hours(5), Where: []string{"a"}}}, nil, snapshot, "it was set back, by 6h0m0s: 2026-11-23T18:00:00Z is the time of the last look of the snapshot"},
		{"not the state", nil, nil, snapshot, "it was set back, by 6h0m0s: 2026-11-23T18:00:00Z is the time of the last look of the snapshot"},
		{"the state", st, nil, new(state.Snapshot), "it was set back, by 5h0m0s: 2026-11-23T17:00:00Z is the time of a, b, c, d"},
	} {
		checks := setBack(test.st, test.entries, test.snapshot, nil, now)
		if len(checks) != 1 || checks[0].Says != test.want {
			t.Errorf("%s: %q instead of %q", test.name, say(checks...), test.want)
		}
	}
	if checks := setBack(new(state.State), nil, new(state.Snapshot), nil, now); checks != nil {
		t.Errorf("of a clock that is right it says %v", checks)
	}
	for long, want := range map[time.Duration]string{47 * time.Hour: "47h0m0s", 48 * time.Hour: "2 days", 50 * time.Hour: "2 days", 90*time.Minute + 29*time.Second: "1h30m0s"} {
		if got := roughly(long); got != want {
			t.Errorf("%s is called %s", long, got)
		}
	}
}
