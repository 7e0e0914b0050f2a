package inspect

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/generic"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// me returns the name of the user who runs the tests, whom /etc/passwd may not have.
func me() string {
	uid := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "uid " + uid
}

// checks returns what is found out about one lineage at one target.
func (s *scene) checks() []deployers.Check {
	s.t.Helper()
	found, err := s.Examine(s.t.Context(), prepare.Scope{})
	if err != nil || len(found) != 1 {
		s.t.Fatalf("%v, %v", found, err)
	}
	s.isClosed()
	return found[0].Checks
}

// Lineages are looked at side by side, in whose order they are told of, and what all
// of them serve in one go.
func TestExamineSideBySide(t *testing.T) {
	s := newSceneOf(t, `
  - {name: web, service: generic, unit: web.service, lineage: "*.example", certificate: "DIR/{lineage}.crt", key: "DIR/{lineage}.key", probe: ["tls://127.0.0.1:443"]}
  - {name: gone, service: generic, unit: web.service, lineage: gone.example2, certificate: "DIR/gone.crt", key: "DIR/gone.key", probe: ["tls://127.0.0.1:443"]}
`)
	for n := range 9 {
		s.renew(fmt.Sprintf("n%d.example", n))
	}
	found, err := s.Examine(t.Context(), prepare.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range found {
		first, _, _ := strings.Cut(says(e.Checks, deployers.Serving), " serves ")
		got = append(got, e.Lineage+" "+first)
	}
	var want []string
	for n := range 9 {
		want = append(want, fmt.Sprintf("n%d.example warning: tls://127.0.0.1:443?name=n%[1]d.example", n))
	}
	want = append(want, "web.example warning: tls://127.0.0.1:443?name=web.example", "gone.example2 ok: tls://127.0.0.1:443")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s.world.looks != 1 || s.world.asked != 11 {
		t.Errorf("%d looks and %d handshakes", s.world.looks, s.world.asked)
	}
}

// TestExamine is about what doctor says of a target.
func TestExamine(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(*scene)
		about   deployers.Aspect
		want    string // all that is said of it; with three dots, how that begins
	}{
		{"renewed", nil, deployers.Serving, "warning: tls://127.0.0.1:443?name=web.example serves FIRST, not what was issued; certlatch deploy web.example"},
		{"renewed", nil, deployers.Reading, "warning: what is installed differs from what was issued: DIR/cert.pem holds something else; ..."},
		{"renewed", nil, deployers.Issued, "ok: RENEWED is good, until UNTIL"},
		{"renewed", nil, deployers.Reload, "ok: reload web.service"},
		{"renewed", nil, deployers.OwnTest, ""},
		{"renewed", nil, deployers.State, ""},
		{"deployed", func(s *scene) { s.install(s.renewed); s.world.shows(s.renewed) }, deployers.Serving, "ok: tls://127.0.0.1:443?name=web.example serves what was issued"},
		{"deployed", func(s *scene) { s.install(s.renewed) }, deployers.Reading, "ok: what was issued is installed, and READER can read it"},
		{"not whole", func(s *scene) { s.remove("key.pem") }, deployers.Reading, "warning: nothing is installed yet, or not all of it; certlatch deploy web.example"},
		{"unreadable for the service", func(s *scene) {
			s.world.unreadable = &command.UnreadableError{Path: "/key.pem", At: "/", User: "www", Err: 13}
		}, deployers.Reading, "error: www cannot read /key.pem: stopped at /: permission denied; let www pass /, or set group: and mode: of target web"},
		{"another user's", func(s *scene) {
			unit := s.world.units["web.service"]
			unit.User, unit.Group = "nobody-of-that-name", "0"
			s.world.units["web.service"] = unit
		}, deployers.Reading, "error: user \"nobody-of-that-name\" does not exist..."},
		{"an owner that is not there", func(s *scene) { s.target.User = "nobody-of-that-name" }, deployers.Reading, "error: user \"nobody-of-that-name\" does not exist..."},
		{"silent", func(s *scene) { s.world.shown = nil }, deployers.Serving, "error: tls://127.0.0.1:443?name=web.example: nothing listens there; see whether the service runs, and whether the probe reaches it"},
		{"silent before the first deployment", func(s *scene) { s.world.shown = nil; s.remove("key.pem") }, deployers.Serving, "warning: tls://127.0.0.1:443?name=web.example: nothing listens there; certlatch deploy web.example first; then let the service serve the files there; certlatch deploy --pending then proves it"},
		{"without a directory", func(s *scene) { s.remove("key.pem"); s.target.Key = filepath.Join(s.dir, "tls", "key.pem") }, deployers.Reading, "warning: nothing is installed yet, or not all of it; certlatch deploy web.example\nok: directory DIR/tls is made (OWNER, 0755)"},
		{"a wildcard", func(s *scene) { s.renew("web.example", pki.Names("*.example")) }, deployers.Serving, "error: probe tls://127.0.0.1:443 names no host and every name of the leaf is a wildcard; add ?name=NAME to the probe"},
		{"stopped", func(s *scene) {
			s.world.units["web.service"] = deployers.Unit{LoadState: "loaded", ActiveState: "inactive"}
		}, deployers.Reload, "warning: web.service does not run; systemctl start web.service; certlatch deploy --pending then proves it"},
		{"no reload", func(s *scene) {
			s.world.units["web.service"] = deployers.Unit{LoadState: "loaded", ActiveState: "active"}
		}, deployers.Reload, "warning: web.service has no reload; restart web.service when it suits, or set allow_restart: true for target web"},
		{"a restart", func(s *scene) {
			s.world.units["web.service"] = deployers.Unit{LoadState: "loaded", ActiveState: "active"}
			s.target.AllowRestart = true
		}, deployers.Reload, "ok: restart web.service: web.service has no reload; allow_restart is set, so it is restarted"},
		{"no unit", func(s *scene) { s.target.Unit = "" }, deployers.Reload, "ok: not now: no-activation: neither unit nor generic.activate is set: the service must take the files by itself"},
		{"no systemd", func(s *scene) { s.Site.World.Systemd = nil }, deployers.Reload, "error: systemd does not run here, so web.service cannot be reloaded; set generic: {activate: [program, argument]} for this target"},
		{"no systemd", func(s *scene) { s.Site.World.Systemd = nil }, deployers.Serving, "warning: tls://127.0.0.1:443?name=web.example serves FIRST, not what was issued; certlatch deploy web.example"},
		{"no such unit", func(s *scene) { s.world.units = nil }, deployers.Reload, "error: unit web.service does not exist; install the service, or correct unit: of target web"},
		{"no such unit", func(s *scene) { s.world.units = nil }, deployers.Issued, "ok: RENEWED is good, until UNTIL"},
		{"no such unit", func(s *scene) { s.world.units = nil }, deployers.Serving, ""},
		{"held", func(s *scene) {
			s.remembers(func(st *state.State) { st.Hold("web", "by-hand", time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)) })
		}, deployers.Reload, "warning: the target is held since 2026-11-23T12:00:00Z (by-hand); certlatch release web lets it be deployed to again\nok: reload web.service"},
		{"no lineage", func(s *scene) { s.remove("live") }, deployers.Issued, "error: no client keeps a lineage web.example; issue it, or correct the target's lineage in DIR/certlatch.yaml"},
		{"cannot be read", func(s *scene) { s.truncate("live/web.example/fullchain.pem") }, deployers.Issued,
			"error: no-certificate: DIR/live/web.example/fullchain.pem: there is no certificate in it: it is empty; ..."},
		{"cannot be read", func(s *scene) { s.truncate("live/web.example/fullchain.pem") }, deployers.Serving, ""},
		{"expired", func(s *scene) {
			s.renew("web.example", pki.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)))
		}, deployers.Issued, "error: expired: ..."},
		{"accepted", func(s *scene) {
			s.target.Policy.Accept = []string{"expired"}
			s.remove("cert.pem")
			s.renew("web.example", pki.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)))
		}, deployers.Issued, "warning: expired: ..."},
		{"no roots", func(s *scene) { s.remove("root.pem") }, deployers.Issued, "error: trust \"DIR/root.pem\": open DIR/root.pem: no such file or directory; correct the configuration; certlatch config check looks at it\nok: RENEWED is good, until UNTIL"},
		{"a test that passes", func(s *scene) { s.tests(nil) }, deployers.OwnTest, "ok: check finds nothing wrong"},
		{"a test that fails", func(s *scene) { s.tests(errors.New("no")) }, deployers.OwnTest, "error: check fails: no; correct the service's configuration"},
		{"a test that fails without files", func(s *scene) { s.tests(errors.New("no")); s.remove("key.pem") }, deployers.OwnTest, "warning: check fails, perhaps for want of the first deployment: no; certlatch deploy web.example"},
	} {
		t.Run(test.name+" "+string(test.about), func(t *testing.T) {
			s := newScene(t, "")
			if test.prepare != nil {
				test.prepare(s)
			}
			got := says(s.checks(), test.about)
			renewed := lineage.Describe(s.renewed.Cert)
			want := strings.NewReplacer(
				"DIR", s.dir, "READER", me(), "OWNER", account.OwnerName(os.Geteuid(), os.Getegid()), "FIRST", lineage.Describe(s.first.Cert).Short(), "RENEWED", renewed.Short(), "UNTIL", renewed.NotAfter.Format("2006-01-02 15:04 MST"),
			).Replace(test.want)
			if begins, cut := strings.CutSuffix(want, "..."); cut && strings.HasPrefix(got, begins) {
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// tests sets a test of its own for the target's service, and how it ends.
func (s *scene) tests(ends error) {
	s.target.Options.(*generic.Options).Test = []string{"check"}
	s.world.failed = ends
}

// TestExamineOfSome is about what a scope names, and in which order what is found
// is said.
func TestExamineOfSome(t *testing.T) {
	s := newSceneOf(t, twoTargets)
	found, err := s.Examine(t.Context(), prepare.Scope{Targets: []string{"all"}})
	if err != nil || len(found) != 1 || found[0].Target != "all" || found[0].Lineage != "web.example" || found[0].Service != "generic" {
		t.Fatalf("%v, %v", found, err)
	}
	if diff := cmp.Diff([]string{"looking at all for web.example"}, s.told); diff != "" {
		t.Errorf("who watches is told: %s", diff)
	}
	sorted := append([]deployers.Check{}, found[0].Checks...)
	deployers.SortChecks(sorted)
	if diff := cmp.Diff(sorted, found[0].Checks); diff != "" || len(sorted) < 4 {
		t.Errorf("they are not in their order: %s", diff)
	}
	if _, err := s.Examine(t.Context(), prepare.Scope{Lineages: []string{"gone"}}); !isRequest(err) {
		t.Errorf("got %v", err)
	}
	s.remove("live")
	s.write("live", nil)
	if found, err := s.Examine(t.Context(), prepare.Scope{}); err == nil {
		t.Errorf("without a place of lineages %v is found", found)
	}
}

// Where nobody knows what is held, doctor says that nothing is deployed.
func TestExamineWithoutTheState(t *testing.T) {
	s := newScene(t, "")
	s.prove(s.first)
	for _, name := range []string{"state/state.json", "state/state.copy.json"} {
		s.truncate(name)
	}
	has(t, says(s.checks(), deployers.State), "error: nothing is deployed to the target: read state: ", "see in certlatch status and certlatch history which were")
}

// open finds out what there is to know of the target's lineage.
func (s *scene) open() (inspection, evidence) {
	s.t.Helper()
	prep := prepare.NewPreparer(s.Site.World)
	s.t.Cleanup(prep.Close)
	i, err := s.begin(prep)
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := prepare.Lineages(s.Site.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	return i, i.open(s.t.Context(), prepare.Assign(s.Site.Config, all)[0])
}

// say returns what there is to say in checks, a line each.
func say(checks ...deployers.Check) string {
	var all []string
	for _, c := range checks {
		all = append(all, string(c.Level)+": "+c.String())
	}
	return strings.Join(all, "\n")
}

// TestOwnTest is about services' own tests whose output is read, of others than
// the target too.
func TestOwnTest(t *testing.T) {
	others := []deployers.Other{{Name: "b.example", Says: "b\\.example", Probes: endpoints(t, "tls://127.0.0.1:444")}}
	for _, test := range []struct {
		name, output string
		served       bool // the other
		whole        bool // all files are installed
		others       []deployers.Other
		want         string
	}{
		{"something else", "error: c.example\n", false, true, others, "warning: check finds fault with what is not the target's: error: c.example"},
		{"another that is served", "error: b.example\n", true, true, others, "warning: b.example is served now and could not be loaded again (error: b.example); to reload web.service would take its TLS away; correct what is named, then certlatch deploy --pending; any other reload of web.service takes the new pair too, at that price"},
		{"another that is not served", "error: b.example\n", false, true, others, "warning: check finds fault with what is not the target's: error: b.example"},
		{"itself", "error: a.example\n", true, true, others, "error: check fails: error: a.example; correct the service's configuration"},
		{"itself, without files", "error: a.example\n", true, false, others, "warning: check fails, perhaps for want of the first deployment: error: a.example; certlatch deploy web.example"},
		{"itself without files, and another", "error: a.example\nerror: b.example\n", true, false, others, "warning: b.example is served now and could not be loaded again (error: b.example); to reload web.service would take its TLS away; correct what is named, then certlatch deploy --pending; any other reload of web.service takes the new pair too, at that price"},
		{"an expression that is none", "error: c.example\n", true, true, []deployers.Other{{Says: "("}}, "error: error parsing regexp: missing closing ): `(`; this may be a fault of certlatch's; the log has the details"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, "")
			if !test.whole {
				s.remove("key.pem")
			}
			if test.served {
				s.world.shown["127.0.0.1:444"] = s.first.Cert
			}
			s.world.output, s.world.failed = command.Output{Stdout: test.output}, errors.New("exit status 1")
			i, ev := s.open()
			ev.plan.Test = deployers.Test{Command: []string{"check", "config"}, Failures: "^error: .*", Own: "a\\.example", Others: test.others}
			if diff := cmp.Diff(test.want, say(i.ownTest(t.Context(), ev)...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestServing is about what is said of probes, found ones above all.
func TestServing(t *testing.T) {
	s := newScene(t, "")
	_, ev := s.open()
	urls := []string{"tls://127.0.0.1:1", "tls://127.0.0.1:2", "tls://127.0.0.1:3"}
	at := endpoints(t, urls...)
	renewed, first, nobody := s.renewed.Cert, s.first.Cert, (*x509.Certificate)(nil)
	const unreached = "; see whether the service runs, and whether the probe reaches it"
	proven := state.Record{Proven: &state.Proof{Leaf: lineage.Describe(first), Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Probes: urls[1:2]}}
	outage := "; see why the service completes no TLS handshake (journalctl -u web.service); it served " + lineage.Describe(first).Short() + " when it was proven at 2026-11-23T12:00:00Z"
	shows := func(leaves ...*x509.Certificate) (all []probe.Observation) {
		for i, leaf := range leaves {
			all = append(all, observed(at[i], leaf))
		}
		return all
	}
	for _, test := range []struct {
		name     string
		found    bool
		inactive bool
		record   state.Record
		seen     []probe.Observation
		want     string
	}{
		{"written down, and silent", false, false, state.Record{}, shows(renewed, nobody, first),
			"ok: " + urls[0] + " serves what was issued\nerror: " + urls[1] + ": nothing listens there" + unreached + "\nwarning: " + urls[2] + " serves " + lineage.Describe(first).Short() + ", not what was issued; certlatch deploy web.example"},
		{"written down, and proven", false, false, proven, shows(renewed, nobody), "ok: " + urls[0] + " serves what was issued\nerror: " + urls[1] + ": nothing listens there" + outage},
		{"one that is for something else", true, false, state.Record{}, shows(renewed, nobody), "ok: " + urls[0] + " serves what was issued"},
		{"one that was proven", true, false, proven, shows(renewed, nobody), "ok: " + urls[0] + " serves what was issued\nerror: " + urls[1] + ": nothing listens there" + outage},
		{"one that was proven, and answers", true, false, proven, shows(nobody, renewed), "ok: " + urls[1] + " serves what was issued"},
		{"one that is gone, beside what answers", true, false, proven, shows(renewed), "ok: " + urls[0] + " serves what was issued"},
		{"one that is gone", true, false, proven, shows(nobody), "error: " + urls[1] + ": the service does not listen there any more" + outage},
		{"one that is gone, since it is stopped", true, true, proven, nil, ""},
		{"nothing, and stopped", true, true, state.Record{}, nil, ""},
		{"nothing was found", true, false, state.Record{Proven: &state.Proof{Leaf: proven.Proven.Leaf, Time: proven.Proven.Time}}, nil, "error: the service has no TLS listener that could be probed" + outage},
		{"nothing was found, and never proven", true, false, state.Record{}, nil, "error: no TLS listener of the service completed a handshake, so nothing could prove that the new certificate is served; write probe: for target web, for example probe: [\"https://127.0.0.1:443\"], or probe: [] to prove nothing"},
		{"nothing is written down", false, false, state.Record{}, nil, ""},
	} {
		ev := ev
		ev.record, ev.plan.Found, ev.plan.Probes = test.record, test.found, prepare.Endpoints(test.seen)
		if test.inactive {
			ev.plan.Activate.Wait = deployers.ServiceInactive
		}
		if diff := cmp.Diff(test.want, say(ev.served(test.seen)...)); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// A service that has no pair yet may have no listener that completes a
// handshake.
func TestServingBeforeTheFirst(t *testing.T) {
	for name, want := range map[string]string{
		"key.pem": "warning: no listener of the service completes a TLS handshake yet; certlatch deploy web.example",
		"nothing": "error: no TLS listener of the service completed",
	} {
		s := newScene(t, "")
		s.remove(name)
		_, ev := s.open()
		ev.plan.Found = true
		seen := []probe.Observation{observed(ev.plan.Probes[0], nil)}
		has(t, say(ev.served(seen)...), want)
		ev.pairErr = errors.New("cannot be seen")
		has(t, say(ev.served(seen)...), "error: no TLS listener of the service completed")
		ev.pairErr, ev.plan.Probes = nil, nil
		has(t, say(ev.served(nil)...), "error: no TLS listener of the service completed")
	}
}

// What a client reads is compared with what is installed, where that can be
// seen.
func TestDowngradeIsSeen(t *testing.T) {
	s := newScene(t, "")
	older := s.renew("web.example", pki.Valid(time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)))
	has(t, says(s.checks(), deployers.Issued), "error: downgrade: ")
	i, ev := s.open()
	ev.pairErr = errors.New("cannot be seen")
	if got := say(i.issued(t.Context(), ev)...); !strings.HasPrefix(got, "ok: "+lineage.Describe(older.Cert).Short()) {
		t.Errorf("it is compared with what cannot be seen: %s", got)
	}
}

// A pair in a row is read by the service itself.
func TestReadingOfARow(t *testing.T) {
	s := newScene(t, "")
	i, ev := s.open()
	s.world.row = s.renewed.Fullchain
	ev.plan.Row = &deployers.Row{Table: "tls_mgm"}
	if ev.isReadByUser() || s.world.read != nil {
		t.Errorf("tried are %v", s.world.read)
	}
	has(t, say(i.reading(t.Context(), ev)...), "warning: what is installed differs from what was issued")
	s.install(s.renewed)
	i, ev = s.open()
	ev.plan.Row = &deployers.Row{Table: "tls_mgm"}
	has(t, say(i.reading(t.Context(), ev)...), "ok: what was issued is installed, and generic can read it")
	ev.plan.Row = nil
	if !ev.isReadByUser() {
		t.Error("files are not tried")
	}
	has(t, says(s.checks(), deployers.Reading), "ok: what was issued is installed, and "+me()+" can read it")
	if diff := cmp.Diff([]string{s.path("cert.pem"), s.path("key.pem")}, s.world.read); diff != "" {
		t.Error(diff)
	}
}

// Rights that the directory's owner could have given himself are told.
func TestRightsOfOthers(t *testing.T) {
	need.Root(t)
	s := newSceneOf(t, `
  - {name: web, service: generic, lineage: web.example, certificate: "DIR/its/cert.pem", key: "DIR/its/key.pem", probe: []}
`)
	if err := os.Mkdir(s.path("its"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("its/cert.pem", s.renewed.Fullchain)
	s.write("its/key.pem", s.renewed.Key)
	need.That(t, unix.Setxattr(s.path("its/cert.pem"), "user.note", []byte("x"), 0) == nil, "needs a file system with attributes")
	if got := says(s.checks(), deployers.Reading); strings.Contains(got, "user.note") {
		t.Errorf("in root's directory it says %s", got)
	}
	if err := os.Chown(s.path("its"), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	has(t, says(s.checks(), deployers.Reading), "warning: what is installed differs", "warning: attributes-not-carried: "+s.path("its/cert.pem")+": user.note could", "acl: of target web")

	i, ev := s.open()
	s.remove("its")
	s.write("its", nil)
	has(t, say(i.reading(t.Context(), ev)...), "error: ")
}

// TestVerdicts is about what is said of a bundle for each target, and without
// one.
func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(*scene)
		codes   []string
		refused bool
		leaf    bool
		says    string // in the log
	}{
		{"good", nil, nil, false, true, ""},
		{"cannot be read", func(s *scene) { s.truncate("live/web.example/fullchain.pem") }, []string{"no-certificate"}, true, false, ""},
		{"older than what is installed", func(s *scene) {
			s.renew("web.example", pki.Valid(time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)))
		}, []string{"downgrade"}, true, true, ""},
		{"nothing is installed", func(s *scene) {
			s.remove("cert.pem")
			s.renew("web.example", pki.Valid(time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)))
		}, nil, false, true, ""},
		{"no such unit", func(s *scene) {
			s.world.units = nil
			s.renew("web.example", pki.Valid(time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)))
		}, nil, false, true, "unit web.service does not exist"},
		{"cannot be seen", func(s *scene) {
			s.target.User = "nobody-of-that-name"
			s.renew("web.example", pki.Valid(time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)))
		}, nil, false, true, "nobody-of-that-name"},
		{"a wildcard", func(s *scene) {
			s.renew("web.example", pki.Names("*.example"), pki.Valid(time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)))
		}, nil, false, true, "names no host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, "")
			if test.prepare != nil {
				test.prepare(s)
			}
			l, err := prepare.Lineage(s.Site.Config, "web.example")
			if err != nil {
				t.Fatal(err)
			}
			verdicts, err := s.verdictsOn(l)
			if err != nil || len(verdicts) != 1 || verdicts[0].Target != "web" {
				t.Fatalf("%v, %v", verdicts, err)
			}
			s.isClosed()
			v := verdicts[0]
			var codes []string
			for _, f := range v.Findings {
				codes = append(codes, f.Code)
			}
			if diff := cmp.Diff(test.codes, codes); diff != "" || v.Refused() != test.refused || (v.Leaf != nil) != test.leaf {
				t.Errorf("refused is %t, the leaf %v: %s", v.Refused(), v.Leaf, diff)
			}
			if got := s.logged.String(); (got == "") != (test.says == "") || !strings.Contains(got, test.says) {
				t.Errorf("it says %s", got)
			}
		})
	}
}

// Where no target wants a bundle, it is judged by what is laid down for all.
func TestVerdictForNoTarget(t *testing.T) {
	s := newScene(t, "")
	other := s.renew("api.example")
	l, err := prepare.Lineage(s.Site.Config, "api.example")
	if err != nil {
		t.Fatal(err)
	}
	verdicts, err := s.verdictsOn(l)
	if err != nil || len(verdicts) != 1 || verdicts[0].Target != "" || verdicts[0].Findings != nil || verdicts[0].Leaf.Fingerprint != lineage.Fingerprint(other.Cert) {
		t.Errorf("%v, %v", verdicts, err)
	}
	if got := s.logged.String(); got != "" {
		t.Errorf("it says %s", got)
	}
	s.remove("root.pem")
	if _, err := s.Validate(t.Context(), l); !isConfig(err) {
		t.Errorf("without roots it says %v", err)
	}
	if l, err = prepare.Lineage(s.Site.Config, "web.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Validate(t.Context(), l); !isConfig(err) || !strings.HasPrefix(err.Error(), "target web: ") {
		t.Errorf("without roots it says %v", err)
	}
}

func isConfig(err error) bool {
	_, is := errors.AsType[*outcome.ConfigError](err)
	return is
}

// A target that is not the bundle's has no verdict.
func TestVerdictsOfTargets(t *testing.T) {
	s := newSceneOf(t, twoTargets+`
  - {name: other, service: generic, lineage: api.example, certificate: "DIR/a.pem", key: "DIR/b.pem", probe: []}
`)
	s.Site.World.Revoked = func(context.Context, *x509.Certificate, *x509.Certificate) (bool, error) { return true, nil }
	l, err := prepare.Lineage(s.Site.Config, "web.example")
	if err != nil {
		t.Fatal(err)
	}
	s.Site.Config.Targets[1].Policy = config.Policy{Trust: s.path("root.pem"), Accept: []string{"revoked"}}
	verdicts, err := s.verdictsOn(l)
	if err != nil || len(verdicts) != 2 || verdicts[0].Target != "web" || verdicts[1].Target != "all" {
		t.Fatalf("%v, %v", verdicts, err)
	}
	if !verdicts[0].Refused() || verdicts[1].Refused() {
		t.Errorf("%v", verdicts)
	}
}

// A service's own test is run once, however many lineages are examined that it is
// about.
func TestOwnTestOnce(t *testing.T) {
	s := newSceneOf(t, `
  - {name: web, service: generic, unit: web.service, lineage: "*.example", certificate: "DIR/{lineage}.pem", key: "DIR/{lineage}.key", generic: {test: [check]}}
  - {name: mail, service: generic, unit: web.service, lineage: web.example, certificate: "DIR/mail.pem", key: "DIR/mail.key", generic: {test: [other]}}
`)
	s.renew("mail.example")
	if _, err := s.Examine(t.Context(), prepare.Scope{}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(s.world.ran) // two services are examined side by side
	if got := strings.Join(s.world.ran, " "); got != "check other" {
		t.Errorf("run are %s", got)
	}
}

// verdictsOn validates one lineage.
func (s *scene) verdictsOn(l lineage.Lineage) ([]Verdict, error) {
	s.t.Helper()
	validated, err := s.Validate(s.t.Context(), l)
	if len(validated) != 1 || validated[0].Lineage != l {
		s.t.Fatalf("%+v, %v", validated, err)
	}
	return validated[0].Verdicts, err
}

// TestValidateMany wants each of many lineages to be told of in their order, and
// what kept it from that.
func TestValidateMany(t *testing.T) {
	s := newSceneOf(t, `
  - {name: web, service: generic, unit: web.service, lineage: "n*.example", certificate: "DIR/{lineage}.pem", key: "DIR/{lineage}.key"}
`)
	var all []lineage.Lineage
	for n := range 40 {
		name := fmt.Sprintf("n%02d.example", n)
		s.renew(name)
		l, err := prepare.Lineage(s.Site.Config, name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	validated, err := s.Validate(t.Context(), all...)
	if err != nil || len(validated) != len(all) {
		t.Fatalf("%d, %v", len(validated), err)
	}
	for n, v := range validated {
		if v.Lineage != all[n] || len(v.Verdicts) != 1 || v.Verdicts[0].Target != "web" || !slices.Contains(v.Verdicts[0].Leaf.Names, all[n].Name) {
			t.Errorf("%d: %+v", n, v)
		}
	}
	if want := "validating: 40 of 40 lineages"; !slices.Contains(s.told, want) {
		t.Errorf("nobody is told %q", want)
	}
	s.write("root.pem", []byte("none"))
	if _, err := s.Validate(t.Context(), all...); !isConfig(err) {
		t.Errorf("got %v", err)
	}
	if validated, err := s.Validate(t.Context()); len(validated) != 0 || err != nil {
		t.Errorf("of none: %v, %v", validated, err)
	}
}
