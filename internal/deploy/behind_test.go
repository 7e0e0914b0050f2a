package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/prepare"
)

// behind gives the names of the lineages that are marked.
func (s *shop) behind(t *testing.T, changed ...lineage.Lineage) string {
	t.Helper()
	n, err := s.MarkOutdated(changed)
	if err != nil {
		t.Fatal(err)
	}
	marks, err := s.Site.Store.Marks()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, mark := range marks {
		names = append(names, strings.TrimPrefix(mark.Lineage, "certbot:"))
		if err := s.Site.Store.Unmark(mark); err != nil {
			t.Fatal(err)
		}
	}
	if n != len(names) {
		t.Errorf("%d are behind, and %d marked", n, len(names))
	}
	return strings.Join(names, " ")
}

func TestMarkOutdated(t *testing.T) {
	s := newShop(t, "")
	if got := s.behind(t); got != strings.Join(s.names, " ") {
		t.Errorf("behind are %s", got)
	}
	a, err := prepare.Lineage(s.Site.Config, "a.example")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.behind(t, a); got != "a.example" {
		t.Errorf("of a.example alone, behind are %s", got)
	}
	s.write(t, "stuck", "b.example\n", 0o644)
	s.expect(t, s.deploy(t, Request{}), "deployed rolled-back deployed deployed deployed")
	b, err := prepare.Lineage(s.Site.Config, "b.example")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.behind(t) + s.behind(t, a, b); got != "" {
		t.Errorf("what was proven, or tried in vain, is behind: %s", got)
	}
	s.renew(t, "a.example", "b.example")
	if got := s.behind(t); got != "a.example" {
		t.Errorf("what is pending has its own time, but behind are %s", got)
	}
	if got := s.behind(t, a, b); got != "a.example b.example" {
		t.Errorf("after a change, behind are %s", got)
	}
	if err := os.Remove(filepath.Join(s.dir, "installed", "c.example.key")); err != nil {
		t.Fatal(err)
	}
	if got := s.behind(t); got != "a.example c.example" {
		t.Errorf("after a loss, behind are %s", got)
	}
	st, err := s.Site.Store.Load()
	if err != nil {
		t.Fatal(err)
	}
	st.Hold("shop", "by-hand", st.Records[0].Proven.Time)
	if err := s.Site.Store.Save(st); err != nil {
		t.Fatal(err)
	}
	if got := s.behind(t) + s.behind(t, a, b); got != "" {
		t.Errorf("the target is held, but behind are %s", got)
	}
}

// A lineage that is not there yet is one failure, not one of every run of what
// is pending.
func TestMissingLineageIsToldOnce(t *testing.T) {
	s := newShop(t, "")
	s.deploy(t, Request{})
	s.Site.Config.Targets[0].Lineage = "certbot:gone.example"
	s.expect(t, s.deploy(t, Request{Pending: true}), "")
	s.expect(t, s.deploy(t, Request{}), "failed")
	s.expect(t, s.deploy(t, Request{Pending: true}), "")
	s.overdue(t)
	s.expect(t, s.deploy(t, Request{Pending: true}), "failed")
	s.renew(t, "gone.example")
	outcomes := s.deploy(t, Request{Pending: true})
	if len(outcomes) != 1 || outcomes[0].Lineage != "gone.example" {
		t.Fatalf("it came, and was not deployed: %v", outcomes)
	}
	for _, record := range s.records(t) {
		if record.Lineage == "certbot:gone.example" {
			t.Errorf("there is a record that nothing will ever end: %+v", record)
		}
	}
}
