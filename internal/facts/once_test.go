package facts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
)

// A question is asked once, and again once its service was activated.
func TestAskedOnce(t *testing.T) {
	a, b := queryAt("/run/ctl", "a"), queryAt("/run/ctl", "b")
	other := queryAt("/run/other", "a")
	w := &world{
		units:    map[string]deployers.Unit{"sip.service": {MainPID: 1}, "web.service": {MainPID: 2}},
		programs: map[string]command.Output{"x": {Stdout: "1"}},
		channels: map[deployers.Query]deployers.Answer{a: {Reply: "1"}, b: {Fault: "2"}, other: {Reply: "3"}},
	}
	f := w.finder()
	wants := deployers.Wants{Unit: "sip.service", Commands: [][]string{{"x"}}, Queries: []deployers.Query{a, b}}
	of := func(target string, wants deployers.Wants, want string) {
		t.Helper()
		facts, err := f.Of(t.Context(), wanting(wants), deployers.Target{Name: target, Unit: wants.Unit}, time.Time{})
		if err != nil || facts.Answers[a].Reply != "1" && facts.Answers[other].Reply != "3" || facts.Unit.MainPID == 0 {
			t.Errorf("found is %+v, %v", facts, err)
		}
		if got := w.drain(); got != want {
			t.Errorf("asked was %s, and not %s", got, want)
		}
	}
	look := func(wants deployers.Wants, want string) { t.Helper(); of("one", wants, want); of("two", wants, "") }
	look(wants, "call a at /run/ctl, call b at /run/ctl, run x, unit sip.service")
	look(wants, "")
	look(deployers.Wants{Unit: "web.service", Queries: []deployers.Query{other}}, "call a at /run/other, unit web.service")
	f.Forget("web.service")
	look(wants, "")
	f.Forget("sip.service")
	look(wants, "call a at /run/ctl, call b at /run/ctl, unit sip.service")
	look(deployers.Wants{Unit: "web.service", Queries: []deployers.Query{other}}, "call a at /run/other, unit web.service")
}

// What is found out for a target is so for all its lineages: its deployer is not
// asked again what it wants, until its service was activated, by this run or by
// another.
func TestFoundOnce(t *testing.T) {
	w := &world{units: map[string]deployers.Unit{"sip.service": {MainPID: 1}}}
	f := w.finder()
	asked := 0
	sip := deployers.Target{Name: "sip", Unit: "sip.service"}
	wants := func(int, deployers.Facts) deployers.Wants {
		asked++
		return deployers.Wants{Unit: "sip.service"}
	}
	for _, step := range []struct {
		name      string
		target    deployers.Target
		activated time.Time
		before    func()
		asks      bool
	}{
		{"at first", sip, time.Time{}, func() {}, true},
		{"again", sip, time.Time{}, func() {}, false},
		{"for another target", deployers.Target{Name: "phone", Unit: "sip.service"}, time.Time{}, func() {}, true},
		{"after another service was activated", sip, time.Time{}, func() { f.Forget("web.service") }, false},
		{"after it was activated", sip, time.Time{}, func() { f.Forget("sip.service") }, true},
		{"as of another activation", sip, time.Unix(1, 0), func() {}, true},
	} {
		step.before()
		was := asked
		facts, err := f.Of(t.Context(), curious(wants), step.target, step.activated)
		if err != nil || facts.Unit.MainPID != 1 || !facts.Activated.Equal(step.activated) {
			t.Errorf("%s: found is %+v, %v", step.name, facts, err)
		}
		if got := asked > was; got != step.asks {
			t.Errorf("%s: asked is %v", step.name, got)
		}
	}
}

// A unit that could not be looked at is looked at again.
func TestUnitAgain(t *testing.T) {
	w := &world{}
	f := w.finder()
	for range 2 {
		if _, err := f.Unit(t.Context(), "x.service"); err == nil || w.drain() != "unit x.service" {
			t.Errorf("it is not looked at: %v", err)
		}
	}
}

// A channel that gives no answer is asked nothing else, and costs the time of
// one answer.
func TestSilentChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		talks := queryAt("/run/talks", "a")
		w := &world{channels: map[deployers.Query]deployers.Answer{talks: {Reply: "1"}}}
		f := w.finder()
		ask := func(query deployers.Query, want string, takes time.Duration) {
			t.Helper()
			began := time.Now()
			answer := f.answer(t.Context(), "sip.service", query)
			if got := answer.Reply + answer.Err; got != want || answer.Sent != (answer.Err != "") {
				t.Errorf("got %+v", answer)
			}
			if took := time.Since(began); took != takes {
				t.Errorf("it took %s", took)
			}
		}
		ask(queryAt("/run/one", "a"), "no answer to a", patience)
		ask(queryAt("/run/one", "a"), "no answer to a", 0)
		ask(queryAt("/run/one", "b"), "no answer to a", 0)
		ask(talks, "1", 0)
		ask(queryAt("/run/two", "a"), "no answer to a", lastPatience)
		ask(queryAt("/run/three", "a"), "no answer to a", lastPatience)
		w.drain()
		f.Forget("web.service")
		ask(queryAt("/run/one", "b"), "no answer to a", 0)
		f.Forget("sip.service")
		ask(queryAt("/run/one", "b"), "no answer to b", lastPatience)
		ask(talks, "1", 0)
		if got := w.drain(); got != "call a at /run/talks, call b at /run/one" {
			t.Errorf("asked was %s", got)
		}
	})
}

// What several channels are waited for is no more than the patience in all, and
// the last for each of them.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFinder(nil, nil, slow(4*time.Second))
		for i, want := range []time.Duration{4 * time.Second, 4 * time.Second, 2 * time.Second, lastPatience, lastPatience} {
			began := time.Now()
			f.answer(t.Context(), "sip.service", queryAt(fmt.Sprint(i), "a"))
			if took := time.Since(began); took != want {
				t.Errorf("channel %d took %s", i, took)
			}
		}
	})
}

// slow is channels that fail after a while.
type slow time.Duration

func (s slow) Call(ctx context.Context, _ deployers.Query) deployers.Answer {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(s)):
	}
	return deployers.Answer{Err: "no answer"}
}

// That nobody waits any longer says nothing of the channel.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		f := w.finder()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		query := queryAt("/run/ctl", "a")
		if got := f.answer(ctx, "sip.service", query); got.Err == "" {
			t.Errorf("got %+v", got)
		}
		began := time.Now()
		f.answer(t.Context(), "sip.service", query)
		if took := time.Since(began); took != patience || w.drain() != "call a at /run/ctl, call a at /run/ctl" {
			t.Errorf("it took %s", took)
		}
	})
}

// What was asked before an activation is not remembered after it.
func TestForgottenMeanwhile(t *testing.T) {
	query := queryAt("/run/ctl", "a")
	w := &world{units: map[string]deployers.Unit{"sip.service": {MainPID: 1}}, channels: map[deployers.Query]deployers.Answer{query: {Reply: "1"}}}
	f := w.finder()
	f.units, f.channels = forgetting{w, f.Forget}, forgetting{w, f.Forget}
	for range 2 {
		unit, err := f.Unit(t.Context(), "sip.service")
		answer := f.answer(t.Context(), "sip.service", query)
		if err != nil || unit.MainPID != 1 || answer.Reply != "1" {
			t.Errorf("found is %v, %v, %v", unit, err, answer)
		}
		if got := w.drain(); got != "call a at /run/ctl, unit sip.service" {
			t.Errorf("asked was %q", got)
		}
	}
}

// forgetting is a world in which a service is activated while it is asked.
type forgetting struct {
	world  *world
	forget func(unit string)
}

func (w forgetting) Unit(ctx context.Context, name string) (deployers.Unit, error) {
	defer w.forget(name)
	return w.world.Unit(ctx, name)
}

func (w forgetting) Call(ctx context.Context, query deployers.Query) deployers.Answer {
	defer w.forget("sip.service")
	return w.world.Call(ctx, query)
}

// Several may ask at once.
func TestAskedAtOnce(t *testing.T) {
	a := queryAt("/run/ctl", "a")
	w := &world{units: map[string]deployers.Unit{"sip.service": {MainPID: 1}}, channels: map[deployers.Query]deployers.Answer{a: {Reply: "1"}}}
	f := w.finder()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			wants := deployers.Wants{Unit: "sip.service", Commands: [][]string{{"x"}}, Queries: []deployers.Query{a}}
			facts, err := f.Of(t.Context(), wanting(wants), deployers.Target{}, time.Time{})
			if err != nil || facts.Unit.MainPID != 1 || facts.Answers[a].Reply != "1" {
				t.Errorf("found is %+v, %v", facts, err)
			}
			f.Forget("sip.service")
		})
	}
	all.Wait()
}

// Of goroutines that ask about one service at once, one has it found out, for
// whichever target.
func TestAskedOnceAtOnce(t *testing.T) {
	w := &world{units: map[string]deployers.Unit{"web.service": {MainPID: 1}}, programs: map[string]command.Output{"x": {Stdout: "1"}}}
	f := w.finder()
	wants := wanting(deployers.Wants{Unit: "web.service", Commands: [][]string{{"x"}}})
	var all sync.WaitGroup
	for n := range 64 {
		all.Go(func() {
			found, err := f.Of(t.Context(), wants, deployers.Target{Name: fmt.Sprint(n % 2), Unit: "web.service"}, time.Time{})
			if err != nil || found.Unit.MainPID != 1 || found.Outputs["x"].Stdout != "1" {
				t.Errorf("found is %+v, %v", found, err)
			}
		})
	}
	all.Wait()
	if got := w.drain(); got != "run x, unit web.service" {
		t.Errorf("asked was %s", got)
	}
}

// Files are read once for all targets of a service, until it was activated.
func TestReadOnce(t *testing.T) {
	w := &world{units: map[string]deployers.Unit{"web.service": {}, "sip.service": {}}}
	f := w.finder()
	path := filepath.Join(t.TempDir(), "conf")
	read := func(target, unit, want string) {
		t.Helper()
		found, err := f.Of(t.Context(), wanting(deployers.Wants{Unit: unit, Texts: []string{path}}), deployers.Target{Name: target, Unit: unit}, time.Time{})
		if err != nil || len(found.Texts[path]) != 1 || found.Texts[path][0].Content != want {
			t.Errorf("%s reads %v, and not %s (%v)", target, found.Texts, want, err)
		}
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1")
	read("one", "web.service", "1")
	write("2")
	read("two", "web.service", "1")
	read("three", "sip.service", "2")
	f.Forget("web.service")
	read("two", "web.service", "2")
}
