package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/beside"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// street is a host with services side by side, each activated by a command of its
// name, and with one lineage for all of them. It lives in a bubble of package
// synctest.
type street struct {
	t      *testing.T
	engine *Engine
	dir    string
	ca     *pki.CA
	doors  []string // the services

	mutex   sync.Mutex
	takes   map[string]time.Duration // by service: how long an activation takes; the others: none
	fails   map[string]bool          // and then fails
	active  int                      // activations under way
	most    int                      // at once
	entered []string                 // services that were activated
}

func inStreet(t *testing.T, doors []string, test func(*street)) {
	t.Helper()
	dir, ca := memoryDir(t), pki.NewCA(t, "Root")
	before, next := ca.Leaf(t, pki.Names("a.example")), ca.Leaf(t, pki.Names("a.example"))
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(before.Cert.NotBefore.Add(time.Hour))) // a bubble begins in 2000
		s := &street{t: t, dir: dir, ca: ca, doors: doors, takes: map[string]time.Duration{}, fails: map[string]bool{}}
		s.settle()
		pki.WriteCertbot(t, filepath.Join(dir, "live"), "a.example", before)
		if became := s.deploy(); strings.Contains(became, "fail") {
			t.Fatal(became)
		}
		pki.WriteCertbot(t, filepath.Join(dir, "live"), "a.example", next)
		s.most, s.entered = 0, nil
		test(s)
	})
}

// settle makes the engine.
func (s *street) settle() {
	s.t.Helper()
	text := fmt.Sprintf("state: %[1]s/state\nlineages: [certbot: %[1]s/live]\npolicy: {trust: %[1]s/root.pem}\ntargets:\n", s.dir)
	for _, door := range s.doors {
		text += fmt.Sprintf("  - {name: %[1]s, service: generic, lineage: a.example, directory: %[2]s/tls/%[1]s, probe: [], generic: {activate: [%[1]s]}}\n", door, s.dir)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "root.pem"), s.ca.PEM(), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cfg, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		s.t.Fatal(err)
	}
	store, err := state.Open(cfg.State)
	if err != nil {
		s.t.Fatal(err)
	}
	world := prepare.RealWorld(nil, rows.Databases{})
	world.Programs = s
	s.engine = &Engine{Site: prepare.Site{Config: cfg, Store: store, Log: slog.New(slog.DiscardHandler), World: world}}
}

func (*street) Ask(context.Context, []string) (command.Output, error)       { return command.Output{}, nil }
func (*street) CanRead(context.Context, command.Credential, []string) error { return nil }

// Run activates a service.
func (s *street) Run(ctx context.Context, argv []string) (command.Output, error) {
	s.mutex.Lock()
	s.entered = append(s.entered, argv[0])
	s.active++
	s.most = max(s.most, s.active)
	takes, fails := s.takes[argv[0]], s.fails[argv[0]]
	s.mutex.Unlock()
	defer func() {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.active--
	}()
	select {
	case <-ctx.Done():
		return command.Output{}, ctx.Err()
	case <-time.After(takes):
	}
	if fails {
		return command.Output{}, errors.New("status 1")
	}
	return command.Output{}, nil
}

// deploy deploys to all services, and returns what became of each.
func (s *street) deploy() string {
	s.t.Helper()
	report, err := s.engine.Deploy(s.t.Context(), Request{By: "test", Limits: worldLimits})
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for _, o := range report.Outcomes {
		all = append(all, o.Target+" "+string(o.Result))
	}
	return strings.Join(all, ", ")
}

// history returns what is noted of the renewal.
func (s *street) history() string {
	entries, _, err := s.engine.Site.Store.History()
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for _, e := range entries[len(s.doors):] {
		all = append(all, e.Target+" "+e.Result)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// nothingLeft wants no journal, and no name of certlatch's own making.
func (s *street) nothingLeft() {
	s.t.Helper()
	for _, pattern := range []string{"state/journal/*", "tls/.certlatch-*", "tls/*/.certlatch-*"} {
		if left, _ := filepath.Glob(filepath.Join(s.dir, pattern)); left != nil {
			s.t.Errorf("there is %q", left)
		}
	}
}

// TestServicesSideBySide wants services to be renewed in the time of the slowest,
// each with an end of its own.
func TestServicesSideBySide(t *testing.T) {
	for _, test := range []struct {
		name  string
		takes map[string]time.Duration
		fails map[string]bool
		want  string
		in    time.Duration
	}{
		{"all take it", map[string]time.Duration{"web": 3 * time.Second, "sip": 4 * time.Second, "chat": 5 * time.Second}, nil,
			"web deployed, sip deployed, chat deployed", 5 * time.Second},
		{"one fails, and is undone", map[string]time.Duration{"web": 3 * time.Second, "sip": 4 * time.Second, "chat": 5 * time.Second}, map[string]bool{"sip": true},
			"web deployed, sip rollback-failed, chat deployed", 8 * time.Second},
		{"one fails, whose undo outlasts the others", map[string]time.Duration{"web": 20 * time.Second}, map[string]bool{"web": true},
			"web rollback-failed, sip deployed, chat deployed", 40 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inStreet(t, []string{"web", "sip", "chat"}, func(s *street) {
				s.takes, s.fails = test.takes, test.fails
				began := time.Now()
				if became := s.deploy(); became != test.want {
					t.Errorf("%s, and not %s", became, test.want)
				}
				if took := time.Since(began); took != test.in {
					t.Errorf("it took %v, and not %v", took, test.in)
				}
				s.nothingLeft()
			})
		})
	}
}

// TestOneHangs wants what became of the others to be noted while a service is
// waited for that does not answer, and the pair of that one to be put back.
func TestOneHangs(t *testing.T) {
	inStreet(t, []string{"sip", "web", "chat"}, func(s *street) {
		s.takes["sip"] = time.Hour
		s.takes["web"] = time.Second
		ended := make(chan string)
		go func() { ended <- s.deploy() }()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if noted := s.history(); noted != "chat deployed, web deployed" {
			t.Errorf("meanwhile %s is noted", noted)
		}
		if became := <-ended; became != "sip rollback-failed, web deployed, chat deployed" {
			t.Error(became)
		}
		s.nothingLeft()
	})
}

// TestMostBeside wants no more than so many services to be activated at once, and
// those of one service one after the other.
func TestMostBeside(t *testing.T) {
	var doors []string
	for n := range beside.Most + 4 {
		doors = append(doors, fmt.Sprint("service", n))
	}
	inStreet(t, doors, func(s *street) {
		for _, door := range doors {
			s.takes[door] = time.Second
		}
		began := time.Now()
		if became := s.deploy(); strings.Count(became, " deployed") != len(doors) {
			t.Error(became)
		}
		if took := time.Since(began); took != 2*time.Second || s.most != beside.Most {
			t.Errorf("%d at once, in %v", s.most, took)
		}
	})
}

// TestByService wants groups of one service to be kept together, in their order.
func TestByService(t *testing.T) {
	group := func(service string, targets ...string) (group []prepared) {
		for _, target := range targets {
			p := prepared{}
			p.plan.Activate.Unit, p.job.target.Name = service, target
			group = append(group, p)
		}
		return group
	}
	var got []string
	for _, service := range byService([][]prepared{group("web", "a", "b"), group("sip", "c"), group("web", "d"), group("sip", "e")}) {
		var names []string
		for _, group := range service {
			for _, p := range group {
				names = append(names, p.job.target.Name)
			}
			names = append(names, ".")
		}
		got = append(got, strings.Join(names, ""))
	}
	if diff := cmp.Diff([]string{"ab.d.", "c.e."}, got); diff != "" {
		t.Error(diff)
	}
}
