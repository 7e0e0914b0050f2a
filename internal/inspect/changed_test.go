package inspect

import (
	"os"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/state"
)

// proveFiles notes that a leaf was proven in the target's files.
func (s *scene) proveFiles(certificate string) {
	s.t.Helper()
	s.remembers(func(st *state.State) {
		st.Record("web", "web.example").Proven = &state.Proof{
			Leaf: lineage.Describe(s.first.Cert), Generation: "first", Time: time.Now().Add(-time.Hour).UTC().Truncate(time.Second),
			Files: []state.File{{Path: s.path(certificate)}, {Path: s.path("key.pem")}},
		}
	})
}

// What a run is putting there, or has put there since, is no change by others; nor is what
// the target's files hold that were others when the leaf was proven.
func TestChangedByOthers(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(*scene)
		want    condition.Condition
	}{
		{"proven is what is installed", func(s *scene) { s.proveFiles("cert.pem"); s.install(s.first) }, condition.Stale},
		{"another pair", func(s *scene) { s.proveFiles("cert.pem"); s.install(s.renewed) }, condition.Changed},
		{"other files were proven", func(s *scene) { s.proveFiles("other.pem"); s.install(s.renewed) }, condition.Stale},
		{"left there by certlatch", func(s *scene) {
			s.proveFiles("cert.pem")
			s.install(s.renewed)
			s.remembers(func(st *state.State) {
				st.Record("web", "web.example").Left = lineage.Fingerprint(s.renewed.Cert)
			})
		}, condition.Stale},
		{"a run is under way", func(s *scene) {
			s.proveFiles("cert.pem")
			s.commit()
		}, condition.Stale},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, "")
			test.prepare(s)
			seen := s.look()
			if seen.State != string(test.want) || (seen.Changed != nil) != (test.want == condition.Changed) {
				t.Errorf("%s, %v instead of %s", seen.State, seen.Changed, test.want)
			}
		})
	}
}

// A run that has ended since the state was read has put there what it has proven.
func TestChangedByRunSince(t *testing.T) {
	s := newScene(t, "")
	s.proveFiles("cert.pem")
	s.install(s.renewed)
	i, _ := s.open()
	all, err := prepare.Lineages(s.Site.Config)
	if err != nil {
		t.Fatal(err)
	}
	g := i.glance(t.Context(), prepare.Assign(s.Site.Config, all)[0])
	s.remembers(func(st *state.State) {
		st.Record("web", "web.example").Proven.Leaf = lineage.Describe(s.renewed.Cert)
	})
	if i.isChanged(g) {
		t.Error("it is put down to others")
	}
}

// What is issued may have been put into a row by a run that is under way; another pair not.
func TestChangedRow(t *testing.T) {
	s := newScene(t, "")
	s.prove(s.first)
	i, _ := s.open()
	all, err := prepare.Lineages(s.Site.Config)
	if err != nil {
		t.Fatal(err)
	}
	leaf := lineage.Describe(s.renewed.Cert)
	g := glance{assigned: prepare.Assign(s.Site.Config, all)[0], place: pairs.Place{Row: new(deployers.Row)}, installed: &leaf, issued: &leaf}
	if i.isChanged(g) {
		t.Error("the issued pair is put down to others")
	}
	g.issued = nil
	if !i.isChanged(g) {
		t.Error("another pair is not put down to others")
	}
}

// commit puts the renewed pair there, in a transaction that has not ended.
func (s *scene) commit() {
	s.t.Helper()
	file := func(name string, data []byte, mode os.FileMode) install.File {
		return install.File{Path: s.path(name), Data: data, UID: os.Geteuid(), GID: os.Getegid(), Mode: mode, HoldsKey: name == "key.pem"}
	}
	tx, err := install.New(s.Site.Store.JournalDir()).Stage([]install.Set{{
		Target: "web", Lineage: "web.example",
		Files: []install.File{file("cert.pem", s.renewed.Fullchain, 0o644), file("key.pem", s.renewed.Key, 0o640)},
	}})
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}
