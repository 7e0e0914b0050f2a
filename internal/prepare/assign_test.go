package prepare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
)

func taking(name, lineages string) config.Target {
	return config.Target{Target: deployers.Target{Name: name, Lineage: lineages}}
}

func kept(all ...string) (found []lineage.Lineage) {
	for i := 0; i < len(all); i += 2 {
		found = append(found, lineage.Lineage{Client: all[i], Name: all[i+1]})
	}
	return found
}

// TestAssign is about which targets take which lineages.
func TestAssign(t *testing.T) {
	all := kept("certbot", "a.example", "certbot", "b.example", "lego", "b.example", "acme", "b.example", "lego", "c.test", "lego", "c.test")
	for _, test := range []struct {
		name    string
		targets []config.Target
		want    []string
	}{
		{"one", []config.Target{taking("web", "a.example")}, []string{"web certbot:a.example"}},
		{"in the order of targets", []config.Target{taking("web", "c.test"), taking("mail", "a.example")},
			[]string{"web lego:c.test", "web lego:c.test", "mail certbot:a.example"}},
		{"a glob, with twins", []config.Target{taking("web", "*.example")}, []string{
			"web certbot:a.example", "web certbot:b.example: both certbot:b.example and acme:b.example match",
			"web lego:b.example: both lego:b.example and acme:b.example match", "web acme:b.example: both acme:b.example and lego:b.example match"}},
		{"one of twins", []config.Target{taking("web", "lego:b.example")}, []string{"web lego:b.example"}},
		{"none", []config.Target{taking("web", "d.example"), taking("mail", "lego:a.example")},
			[]string{"web :d.example: no client keeps a lineage d.example", "mail :a.example: no client keeps a lineage lego:a.example"}},
		{"none by a glob", []config.Target{taking("web", "*.org"), taking("mail", "c.test")}, []string{"mail lego:c.test", "mail lego:c.test"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, a := range Assign(&config.Config{Path: "/etc/certlatch.yaml", Targets: test.targets}, all) {
				text := a.Target.Name + " " + a.Lineage.String()
				if a.Err != nil {
					text += ": " + a.Err.Error()
				}
				got = append(got, text)
				missing, is := errors.AsType[*outcome.LineageMissingError](a.Err)
				if is != a.Missing() || is && missing.Config != "/etc/certlatch.yaml" {
					t.Errorf("%s: missing is %v", text, a.Missing())
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q", got)
			}
		})
	}
	if got := kept("certbot", "a.example", "certbot", "b.example", "lego", "b.example"); !slices.Equal(all[:3], got) {
		t.Error("what the clients keep was changed")
	}
}

// Ten times as many lineages take ten times as long, or not much more.
func TestAssignMany(t *testing.T) {
	took := map[int]time.Duration{}
	for _, many := range []int{4_000, 40_000} {
		var all []lineage.Lineage
		for i := range many {
			all = append(all, lineage.Lineage{Client: "certbot", Name: fmt.Sprintf("host-%d.example", i)})
		}
		began := time.Now()
		assigned := Assign(&config.Config{Targets: []config.Target{taking("web", "*")}}, all)
		if took[many] = time.Since(began); len(assigned) != many {
			t.Errorf("%d of %d are assigned", len(assigned), many)
		}
	}
	if took[40_000] > 40*took[4_000]+time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestScope is about what a request names.
func TestScope(t *testing.T) {
	l := lineage.Lineage{Client: "certbot", Name: "a.example"}
	for _, test := range []struct {
		scope Scope
		want  bool
	}{
		{Scope{}, true},
		{Scope{Targets: []string{"mail", "web"}}, true}, {Scope{Targets: []string{"mail"}}, false},
		{Scope{Lineages: []string{"b.example", "a.example"}}, true}, {Scope{Lineages: []string{"certbot:a.example"}}, true}, {Scope{Lineages: []string{"lego:a.example"}}, false},
		{Scope{Targets: []string{"web"}, Lineages: []string{"a.example"}}, true},
		{Scope{Targets: []string{"mail"}, Lineages: []string{"a.example"}}, false}, {Scope{Targets: []string{"web"}, Lineages: []string{"b.example"}}, false},
	} {
		if got := test.scope.Names("web", l); got != test.want {
			t.Errorf("%+v: %v", test.scope, got)
		}
	}

	cfg := &config.Config{Path: "/etc/certlatch.yaml", Targets: []config.Target{taking("web", "*")}, Roots: []lineage.Root{{Dir: "/one"}, {Dir: "/two"}}}
	for _, test := range []struct {
		scope        Scope
		what, remedy string
	}{
		{Scope{}, "", ""}, {Scope{[]string{"a.example", "certbot:a.example"}, []string{"web"}}, "", ""},
		{Scope{[]string{"b.example"}, []string{"web", "mail"}}, "there is no target mail", "certlatch config show lists the targets"},
		{Scope{[]string{"a.example", "b.example"}, []string{"web"}}, "there is no lineage b.example below /one, /two",
			"name one that is there, or add the client's directory to lineages in /etc/certlatch.yaml"},
	} {
		err := test.scope.Check(cfg, []lineage.Lineage{l})
		wrong, is := errors.AsType[*RequestError](err)
		if is != (test.what != "") || is && (wrong.Error() != test.what || wrong.Remedy != test.remedy) {
			t.Errorf("%+v: %v", test.scope, err)
		}
	}
}

// TestLineages finds what clients keep.
func TestLineages(t *testing.T) {
	dir := t.TempDir()
	cfg := parse(t, dir)
	ca := pki.NewCA(t, "Root")
	for _, name := range []string{"b.example", "a.example"} {
		pki.WriteCertbot(t, filepath.Join(dir, "live"), name, ca.Leaf(t))
	}
	all, err := Lineages(cfg)
	if err != nil || len(all) != 2 || all[0].String() != "certbot:a.example" || all[1].String() != "certbot:b.example" {
		t.Fatalf("got %v, %v", all, err)
	}
	for _, name := range []string{"b.example", "certbot:b.example"} {
		if l, err := Lineage(cfg, name); err != nil || l != all[1] {
			t.Errorf("%s: got %v, %v", name, l, err)
		}
	}
	twin := ca.Leaf(t)
	for name, content := range map[string][]byte{"b.example.crt": twin.Fullchain, "b.example.key": twin.Key} {
		write(t, filepath.Join(dir, "lego", name), string(content))
	}
	for names, want := range map[string]string{
		"b.example":                             "certbot:b.example lego:b.example",
		"lego:b.example":                        "certbot:b.example lego:b.example", // whoever has one of that name is a twin
		"b.example a.example certbot:a.example": "certbot:a.example certbot:b.example lego:b.example",
		"c.example ../a.example":                "",
	} {
		named, err := LineagesNamed(cfg, strings.Fields(names))
		var got []string
		for _, l := range named {
			got = append(got, l.String())
		}
		if strings.Join(got, " ") != want || err != nil {
			t.Errorf("named %s: got %s, %v", names, got, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "lego")); err != nil {
		t.Fatal(err)
	}
	if l, err := Lineage(cfg, "c.example"); l.Name != "" || !is[*RequestError](err) {
		t.Errorf("got %v, %v", l, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lego"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all, err = Lineages(cfg)
	if _, other := Lineage(cfg, "a.example"); err == nil || all != nil || other == nil || is[*RequestError](other) {
		t.Errorf("what cannot be listed is not told: %v, %v", err, other)
	}
}

func is[E error](err error) bool {
	_, is := errors.AsType[E](err)
	return is
}
