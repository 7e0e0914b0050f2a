package inspect

import (
	"crypto/x509"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

// look takes the inventory, of one certificate.
func (s *scene) look() state.Sighting {
	s.t.Helper()
	seen, _, err := s.Inventory(s.t.Context(), prepare.Scope{})
	if err != nil || len(seen) != 1 {
		s.t.Fatalf("%d certificates, %v", len(seen), err)
	}
	return seen[0]
}

// word returns a leaf's in a line for people.
func word(s *scene, leaf *lineage.Leaf) string {
	switch {
	case leaf == nil:
		return "none"
	case leaf.Fingerprint == lineage.Fingerprint(s.first.Cert):
		return "first"
	case leaf.Fingerprint == lineage.Fingerprint(s.renewed.Cert):
		return "renewed"
	}
	return "another"
}

// summary returns what was served, a word each.
func summary(s *scene, seen state.Sighting) string {
	words := []string{"issued " + word(s, seen.Issued), "installed " + word(s, seen.Installed)}
	for _, p := range seen.Served {
		switch {
		case p.Leaf != nil:
			words = append(words, *p.Probe+" "+word(s, p.Leaf))
		case p.Probe != nil:
			words = append(words, *p.Error)
		default:
			words = append(words, "blind: "+*p.Error)
		}
	}
	return strings.Join(append(words, seen.State), ", ")
}

// TestInventory is about what is seen of one certificate.
func TestInventory(t *testing.T) {
	const shown = "tls://127.0.0.1:443?name=web.example"
	for _, test := range []struct {
		name    string
		options string
		prepare func(*scene)
		want    string
	}{
		{"renewed", "", func(*scene) {}, "issued renewed, installed first, " + shown + " first, pending"},
		{"deployed", "", func(s *scene) { s.install(s.renewed); s.world.shows(s.renewed) }, "issued renewed, installed renewed, " + shown + " renewed, in-sync"},
		{"silent", "", func(s *scene) { s.install(s.renewed); s.world.shown = nil }, "issued renewed, installed renewed, " + shown + ": nothing listens there, unknown"},
		{"proven, and silent", "", func(s *scene) { s.install(s.renewed); s.prove(s.renewed); s.world.shown = nil }, "issued renewed, installed renewed, " + shown + ": nothing listens there, stale"},
		{"proven, and stopped", "", func(s *scene) {
			s.install(s.renewed)
			s.prove(s.renewed)
			s.world.shown = nil
			s.world.units["web.service"] = deployers.Unit{LoadState: "loaded", ActiveState: "inactive"}
		}, "issued renewed, installed renewed, " + shown + ": nothing listens there, unknown"},
		{"proven, and failed", "", func(s *scene) {
			s.install(s.renewed)
			s.prove(s.renewed)
			s.world.shown = nil
			s.world.units["web.service"] = deployers.Unit{LoadState: "loaded", ActiveState: "failed"}
		}, "issued renewed, installed renewed, " + shown + ": nothing listens there, stale"},
		{"not installed", "", func(s *scene) { s.remove("cert.pem") }, "issued renewed, installed none, " + shown + " first, pending"},
		{"cannot be reloaded", "", func(s *scene) { s.install(s.renewed); s.Site.World.Systemd = nil }, "issued renewed, installed renewed, " + shown + " first, blind: no-activation-way, pending"},
		{"no such unit", "", func(s *scene) { delete(s.world.units, "web.service") }, "issued renewed, installed first, " + shown + " first, blind: unit-not-found, pending"},
		{"systemd is gone", "", func(s *scene) { s.world.down = errors.New("gone") }, "issued renewed, installed none, " + shown + " first, blind: systemd-unreachable, pending"},
		{"cannot be read", "", func(s *scene) { s.truncate("live/web.example/fullchain.pem") }, "issued none, installed first, " + shown + " first, blind: no-certificate, unknown"},
		{"neither can be read", "", func(s *scene) { s.truncate("live/web.example/fullchain.pem"); s.truncate("cert.pem") }, "issued none, installed none, tls://127.0.0.1:443 first, blind: no-certificate, unknown"},
		{"no lineage", "", func(s *scene) { s.remove("live") }, "issued none, installed first, " + shown + " first, blind: lineage-not-found, unknown"},
		{"no lineage, and silent", "", func(s *scene) { s.remove("live"); s.prove(s.first); s.world.shown = nil }, "issued none, installed first, " + shown + ": nothing listens there, blind: lineage-not-found, stale"},
		{"no lineage, and nothing is installed", "", func(s *scene) { s.remove("live"); s.remove("cert.pem") }, "issued none, installed none, tls://127.0.0.1:443 first, blind: lineage-not-found, unknown"},
		{"no such unit, and what was found is remembered", ", probe: ", func(s *scene) {
			delete(s.world.units, "web.service")
			s.install(s.renewed)
			s.prove(s.renewed, "tls://127.0.0.1:443?name=web.example")
			s.world.shown = nil
		}, "issued renewed, installed renewed, " + shown + ": nothing listens there, blind: unit-not-found, stale"},
		{"a wildcard", "", func(s *scene) { s.renewed = s.renew("web.example", pki.Names("*.example")) }, "issued renewed, installed first, tls://127.0.0.1:443 first, blind: no-probe-name, pending"},
		{"not where files are", "", func(s *scene) { s.remove("cert.pem"); s.link("cert.pem", "loop"); s.link("loop", "cert.pem") }, "issued renewed, installed none, " + shown + " first, blind: path-refused, pending"},
		{"nothing is to be proven", ", probe: []", func(s *scene) { s.install(s.renewed) }, "issued renewed, installed renewed, in-sync"},
		{"nothing to probe", ", probe: ", func(s *scene) { s.install(s.renewed) }, "issued renewed, installed renewed, blind: no-probe, unknown"},
		{"nothing left to probe", ", probe: ", func(s *scene) { s.install(s.renewed); s.prove(s.renewed) }, "issued renewed, installed renewed, blind: outage, stale"},
		{"nothing to probe, since it is stopped", ", probe: ", func(s *scene) {
			s.install(s.renewed)
			s.prove(s.renewed)
			s.world.units["web.service"] = deployers.Unit{LoadState: "loaded", ActiveState: "inactive"}
		}, "issued renewed, installed renewed, blind: service-inactive, unknown"},
		{"a probe that is lost", ", probe: ", func(s *scene) {
			s.install(s.renewed)
			s.prove(s.renewed, "tls://127.0.0.1:444?name=web.example")
		}, "issued renewed, installed renewed, tls://127.0.0.1:444?name=web.example: nothing listens there, stale"},
		{"a probe that is lost, with its address", ", probe: ", func(s *scene) {
			s.install(s.renewed)
			s.prove(s.renewed, "tls://192.0.2.10:443?name=web.example")
			s.world.shown["192.0.2.10:443"] = s.first.Cert // by whoever has it now
		}, "issued renewed, installed renewed, address-not-here, unknown"},
		{"a written probe, at an address of another host", "", func(s *scene) {
			s.install(s.renewed)
			s.target.Probes[0].Host = "192.0.2.10"
			s.world.shown["192.0.2.10:443"] = s.renewed.Cert
		}, "issued renewed, installed renewed, tls://192.0.2.10:443?name=web.example renewed, in-sync"},
		{"held", "", func(s *scene) { s.remembers(func(st *state.State) { st.Hold("web", "by-hand", time.Now()) }) }, "issued renewed, installed first, " + shown + " first, held"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, "")
			switch test.options {
			case ", probe: []":
				s.target.Probes, s.target.ProveNothing = nil, true
			case ", probe: ":
				s.target.Probes = nil // and a generic service has no usual ports
			}
			if err := s.Site.Store.Mark("certbot", "web.example"); err != nil {
				t.Fatal(err)
			}
			test.prepare(s)
			seen := s.look()
			if diff := cmp.Diff(test.want, summary(s, seen)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func (s *scene) truncate(name string) {
	s.t.Helper()
	if err := os.Truncate(s.path(name), 0); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) link(name, to string) {
	s.t.Helper()
	if err := os.Symlink(s.path(to), s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// A sighting says whose certificate it is, how long it has been so, and when it
// was looked.
func TestSighting(t *testing.T) {
	s := newScene(t, ", contact: ops@example.org")
	written := time.Now().Add(-3 * time.Hour).UTC().Truncate(time.Second)
	if err := os.Chtimes(s.path("live/web.example/fullchain.pem"), written, written); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	seen := s.look()
	if seen.Target != "web" || seen.Lineage != "web.example" || seen.Service != "generic" || seen.Contact == nil || *seen.Contact != "ops@example.org" {
		t.Errorf("it is of %s at %s (%s), and to be told to %v", seen.Lineage, seen.Target, seen.Service, seen.Contact)
	}
	if seen.Looked.Before(before) || seen.Looked.Location() != time.UTC {
		t.Errorf("it was looked at %s", seen.Looked)
	}
	if issued := s.renewed.Cert.NotBefore; seen.Since == nil || !seen.Since.Equal(later(written, issued)) {
		t.Errorf("it is %s since %v, written at %s", seen.State, seen.Since, written)
	}
	if diff := cmp.Diff([]string{"looking: 1 of 1 targets", "looking: 1 of 1 handshakes"}, s.told); diff != "" {
		t.Errorf("who watches is told: %s", diff)
	}
	s.isClosed()
	s.target.Contact = ""
	if seen := s.look(); seen.Contact != nil {
		t.Errorf("it is to be told to %q", *seen.Contact)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b.UTC().Truncate(time.Second)
}

// A mark counts from when it was made, and is that of its own lineage.
func TestMarked(t *testing.T) {
	s := newScene(t, "")
	if err := s.Site.Store.Mark("certbot", "another.example"); err != nil {
		t.Fatal(err)
	}
	if seen := s.look(); seen.State != string(condition.Stale) {
		t.Errorf("with the mark of another it is %s", seen.State)
	}
	if err := s.Site.Store.Mark("certbot", "web.example"); err != nil {
		t.Fatal(err)
	}
	if seen := s.look(); seen.State != string(condition.Waiting) || seen.Pending == nil || seen.Pending.Reason != "marked" {
		t.Errorf("it is %s, %v", seen.State, seen.Pending)
	}
}

// twoTargets are such that one takes a lineage which two clients keep.
const twoTargets = `
  - {name: web, service: generic, lineage: web.example, certificate: "DIR/cert.pem", key: "DIR/key.pem", probe: ["tls://127.0.0.1:443"]}
  - {name: all, service: generic, lineage: "*", directory: "DIR/all/{lineage}", probe: []}
`

// TestInventoryOfSome is about what a scope names.
func TestInventoryOfSome(t *testing.T) {
	s := newSceneOf(t, twoTargets)
	s.renew("api.example")
	for _, test := range []struct {
		scope prepare.Scope
		want  []string
	}{
		{prepare.Scope{}, []string{"web web.example", "all api.example", "all web.example"}},
		{prepare.Scope{Targets: []string{"all"}}, []string{"all api.example", "all web.example"}},
		{prepare.Scope{Lineages: []string{"certbot:web.example"}}, []string{"web web.example", "all web.example"}},
	} {
		seen, _, err := s.Inventory(t.Context(), test.scope)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range seen {
			got = append(got, c.Target+" "+c.Lineage)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v: %s", test.scope, diff)
		}
	}
	snapshot, err := state.ReadSnapshot(s.Site.Config.Run)
	if err != nil || len(snapshot.Certificates) != 3 {
		t.Errorf("in the snapshot is %v, %v", snapshot, err)
	}
	if _, _, err := s.Inventory(t.Context(), prepare.Scope{Targets: []string{"gone"}}); !isRequest(err) {
		t.Errorf("got %v", err)
	}
	s.remove("live")
	s.write("live", nil)
	if seen, _, err := s.Inventory(t.Context(), prepare.Scope{}); err == nil {
		t.Errorf("without a place of lineages there are %v", seen)
	}
}

func isRequest(err error) bool {
	_, is := errors.AsType[*prepare.RequestError](err)
	return is
}

// A lineage that two clients keep goes to no target that would take either.
func TestInventoryOfTwins(t *testing.T) {
	s := newScene(t, "")
	twin := s.Site.Config.Roots[0]
	twin.Client = "lego"
	s.Site.Config.Roots = append(s.Site.Config.Roots, twin)
	seen, _, err := s.Inventory(t.Context(), prepare.Scope{})
	if err != nil || len(seen) != 1 {
		t.Fatalf("%v, %v", seen, err)
	}
	if got := summary(s, seen[0]); got != "issued none, installed first, tls://127.0.0.1:443?name=web.example first, blind: lineage-ambiguous, unknown" {
		t.Error(got)
	}
	if snapshot := readSnapshot(s.Site.Config.Run); len(snapshot.Certificates) != 1 {
		t.Errorf("in the snapshot are %v", snapshot.Certificates)
	}
	if seen, _, err := s.Inventory(t.Context(), prepare.Scope{Lineages: []string{"lego:web.example"}}); err != nil || len(seen) != 1 {
		t.Errorf("of the twin there are %v, %v", seen, err)
	}
}

// A lineage that is gone is told of as long as its files are installed, also at a
// target that takes whatever there is.
func TestInventoryOfGone(t *testing.T) {
	s := newSceneOf(t, `
  - {name: web, service: generic, lineage: "*.example", certificate: "DIR/{lineage}.pem", key: "DIR/{lineage}.key", probe: ["tls://127.0.0.1:443"]}`)
	s.write("web.example.pem", s.first.Fullchain)
	s.write("web.example.key", s.first.Key)
	s.prove(s.first)
	s.remembers(func(st *state.State) {
		st.Record("web", "other.test").Proven = st.Record("web", "web.example").Proven // nothing that it takes
		st.Record("web", "never.example")
	})
	s.remove("live/web.example")
	seen, _, err := s.Inventory(t.Context(), prepare.Scope{Lineages: []string{"web.example"}})
	if err != nil || len(seen) != 1 {
		t.Fatalf("%v, %v", seen, err)
	}
	if got := summary(s, seen[0]); got != "issued none, installed first, tls://127.0.0.1:443?name=web.example first, blind: lineage-not-found, unknown" {
		t.Error(got)
	}
	if snapshot := readSnapshot(s.Site.Config.Run); len(snapshot.Certificates) != 1 {
		t.Errorf("in the snapshot are %v", snapshot.Certificates)
	}
	s.remove("web.example.pem")
	if seen, _, err := s.Inventory(t.Context(), prepare.Scope{}); err != nil || len(seen) != 0 {
		t.Errorf("with nothing installed there are %v, %v", seen, err)
	}
	if snapshot := readSnapshot(s.Site.Config.Run); len(snapshot.Certificates) != 0 {
		t.Errorf("in the snapshot are still %v", snapshot.Certificates)
	}
}

// Whoever looks goes on without the state, and leaves the snapshot that knows
// what is held.
func TestInventoryWithoutTheState(t *testing.T) {
	s := newScene(t, "")
	s.remembers(func(st *state.State) { st.Hold("web", "by-hand", time.Now()) })
	s.look()
	before, err := os.ReadFile(state.SnapshotFile(s.Site.Config.Run))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"state/state.json", "state/state.copy.json"} {
		s.truncate(name)
	}
	seen, _, err := s.Inventory(t.Context(), prepare.Scope{})
	if _, is := errors.AsType[*state.UnreadableError](err); !is || len(seen) != 1 || seen[0].State != string(condition.HeldBack) {
		t.Errorf("%v, %v", seen, err)
	}
	if after, err := os.ReadFile(state.SnapshotFile(s.Site.Config.Run)); err != nil || string(after) != string(before) {
		t.Errorf("the snapshot, which knows what was held, was written over (%v)", err)
	}
}

// TestServed is about what a look tells of probes that were found.
func TestServed(t *testing.T) {
	leaf := pki.SelfSigned(t, pki.Names("web.example")).Cert
	urls := []string{"tls://127.0.0.1:1", "tls://127.0.0.1:2", "tls://127.0.0.1:3", "tls://127.0.0.1:4", "tls://127.0.0.1:5"}
	all := endpoints(t, urls...)
	talks, silent, proved, gone, foreign := observed(all[0], leaf), observed(all[1], nil), observed(all[2], nil), observed(all[3], nil), observed(all[4], leaf)
	for _, test := range []struct {
		name          string
		planned, lost []probe.Observation
		want          []string
	}{
		{"what answers", []probe.Observation{talks, silent}, nil, []string{urls[0]}},
		{"what proved it, beside what answers", []probe.Observation{talks, proved}, nil, []string{urls[0], urls[2] + ": nothing listens there"}},
		{"what is gone, beside what answers", []probe.Observation{talks}, []probe.Observation{gone}, []string{urls[0]}},
		{"nothing answers", []probe.Observation{silent}, []probe.Observation{gone}, []string{urls[1] + ": nothing listens there", urls[3] + ": nothing listens there"}},
		{"what is written down", []probe.Observation{talks, silent}, nil, []string{urls[0], urls[1] + ": nothing listens there"}},
		{"another service in its place", nil, []probe.Observation{foreign}, []string{urls[4] + ": another service answers there"}},
		{"nothing", nil, nil, []string{}},
	} {
		g := glance{
			areFound: test.name != "what is written down",
			planned:  prepare.Endpoints(test.planned), lost: prepare.Endpoints(test.lost),
			proved: prepare.Endpoints([]probe.Observation{talks, proved, gone, foreign}),
		}
		got := []string{}
		for _, p := range g.served(slices.Concat(test.planned, test.lost)) {
			switch {
			case p.Leaf == nil:
				got = append(got, *p.Error)
			case p.Leaf.Fingerprint == lineage.Fingerprint(leaf) && p.Error == nil:
				got = append(got, *p.Probe)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
	if got := (glance{}).served(nil); got == nil {
		t.Error("where nothing is served, JSON has null instead of a list")
	}
}

// What a plan says of a service is told with its certificate, and each of them has
// what its own probes saw.
func TestConclude(t *testing.T) {
	s := newSceneOf(t, `
  - {name: web, service: generic, lineage: web.example, certificate: "DIR/cert.pem", key: "DIR/key.pem", probe: ["tls://127.0.0.1:1", "tls://127.0.0.1:2"]}
  - {name: two, service: generic, lineage: web.example, certificate: "DIR/cert2.pem", key: "DIR/key2.pem", probe: ["tls://127.0.0.1:3"]}
`)
	s.world.shown = map[string]*x509.Certificate{"127.0.0.1:2": s.first.Cert, "127.0.0.1:3": s.renewed.Cert}
	seen, _, err := s.Inventory(t.Context(), prepare.Scope{})
	if err != nil || len(seen) != 2 || len(seen[0].Served) != 2 || len(seen[1].Served) != 1 {
		t.Fatalf("%v, %v", seen, err)
	}
	if a, b, c := seen[0].Served[0].Leaf, seen[0].Served[1].Leaf, seen[1].Served[0].Leaf; a != nil || word(s, b) != "first" || word(s, c) != "renewed" {
		t.Errorf("seen are %s, %s, %s", word(s, a), word(s, b), word(s, c))
	}

	left := 3
	i := inspection{site: s.Site, state: new(state.State), began: time.Now()}
	if got := i.conclude(glance{reloadsLeft: &left}, nil, new(state.Snapshot).Lookup(), nil).ReloadsLeft; got == nil || *got != 3 {
		t.Errorf("it bears %v reloads", got)
	}
}
