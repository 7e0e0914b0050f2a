package owntest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
)

// printed is programs that print this.
type printed struct {
	stdout, stderr string
	err            error
}

func (p printed) Ask(_ context.Context, argv []string) (command.Output, error) {
	if !slices.Equal(argv, []string{"nginx", "-t"}) {
		return command.Output{}, errors.New("another program")
	}
	return command.Output{Stdout: p.stdout, Stderr: p.stderr}, p.err
}

var errStatus = errors.New("status 1")

func line(text, tells string) Failure { return Failure{Line: text, Tells: tells} }

func TestRun(t *testing.T) {
	reads := deployers.Test{Command: []string{"nginx", "-t"}, Failures: `bad \S+ ?`, Beside: `^note: `}
	with := func(change func(*deployers.Test)) deployers.Test { changed := reads; change(&changed); return changed }
	for _, test := range []struct {
		name string
		test deployers.Test
		says printed
		want error // nil: it passes
	}{
		{"passes", reads, printed{stdout: "bad weather"}, nil},
		{"fails, and is not read", with(func(t *deployers.Test) { t.Failures, t.Beside = "", "" }), printed{stdout: "bad key", err: errStatus}, errStatus},
		{"fails in both outputs", reads, printed{"  bad key here\nfine", "bad cert\n", errStatus}, Failures{line("bad key here", "bad key"), line("bad cert", "bad cert")}},
		{"fails beside", reads, printed{"note: whatever", "", errStatus}, nil},
		{"fails at both", reads, printed{"note: whatever\nbad key", "", errStatus}, Failures{line("bad key", "bad key")}},
		{"fails, and nobody knows how", reads, printed{"so", "what", errStatus}, errStatus},
		{"fails, and nothing is beside", with(func(t *deployers.Test) { t.Beside = "" }), printed{"so", "what", errStatus}, errStatus},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Run(t.Context(), test.says, test.test); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v", got)
			}
		})
	}
	for name, change := range map[string]func(*deployers.Test){
		"failures": func(t *deployers.Test) { t.Failures = "(" },
		"beside":   func(t *deployers.Test) { t.Beside = "(" },
	} {
		err := Run(t.Context(), printed{stdout: "bad key\nnote: x", err: errStatus}, with(change))
		if _, reads := err.(Failures); err == nil || reads || errors.Is(err, errStatus) {
			t.Errorf("a wrong expression for %s is not told: %v", name, err)
		}
	}
}

func TestFailures(t *testing.T) {
	f := Failures{line("one", "1"), line("two", "2")}
	if got := f.Error(); got != "one; two" {
		t.Errorf("got %s", got)
	}
	about, err := f.About(deployers.Other{Says: "^tw"})
	if err != nil || !slices.Equal(about, Failures{line("two", "2")}) {
		t.Errorf("got %v, %v", about, err)
	}
	if about, err := f.About(deployers.Other{Says: "three"}); about != nil || err != nil {
		t.Errorf("got %v, %v", about, err)
	}
	if about, err := f.About(deployers.Other{Says: "("}); about != nil || err == nil {
		t.Errorf("got %v, %v", about, err)
	}
}

// TestAgainst is about what counts against new files.
func TestAgainst(t *testing.T) {
	a, b, own := line("a here", "a"), line("b here", "b"), line("own: a", "a")
	for _, test := range []struct {
		name        string
		own         string // the expression for the target's own lines
		before, now error
		counts      error
		saidBefore  bool
	}{
		{"nothing", "", nil, nil, nil, false},
		{"mended", "", errStatus, nil, nil, true},
		{"broken", "", nil, errStatus, errStatus, false},
		{"as before", "", errStatus, errStatus, errStatus, true},
		{"new lines", "", nil, Failures{a}, Failures{a}, false},
		{"other words before", "", errStatus, Failures{a}, Failures{a}, true},
		{"other words now", "", Failures{a}, errStatus, errStatus, true},
		{"the same lines", "", Failures{a, b}, Failures{b, a}, nil, false},
		{"one is new", "", Failures{a}, Failures{a, b}, Failures{b}, false},
		{"once more", "", Failures{a}, Failures{a, a}, Failures{a}, false},
		{"twice as before", "", Failures{a, a}, Failures{a, a}, nil, false},
		{"its own, as before", "^own:", Failures{a, b}, Failures{own, b}, Failures{own}, true},
		{"its own, and new", "^own:", Failures{b}, Failures{own, b}, Failures{own}, false},
		{"its own as before, another new", "^own:", Failures{a}, Failures{own, b}, Failures{own, b}, false},
		{"another new, its own as before", "^own:", Failures{a}, Failures{b, own}, Failures{b, own}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			known, _ := test.before.(Failures)
			kept := slices.Clone(known)
			counts, saidBefore := Against(deployers.Test{Own: test.own}, test.before, test.now)
			if !reflect.DeepEqual(counts, test.counts) || saidBefore != test.saidBefore {
				t.Errorf("got %v, said before: %v", counts, saidBefore)
			}
			if !slices.Equal(known, kept) {
				t.Errorf("what it said before was changed to %v", known)
			}
		})
	}
	if counts, saidBefore := Against(deployers.Test{Own: "("}, Failures{a}, Failures{a}); counts == nil || saidBefore {
		t.Errorf("a wrong expression is not told: %v, %v", counts, saidBefore)
	}
}

// TestEndangered finds what would go off the air that is on it.
func TestEndangered(t *testing.T) {
	others := []deployers.Other{{Name: "one", Says: "^one:"}, {Name: "two", Says: "^two:"}, {Name: "three", Says: "^three:"}}
	two := Failures{line("two: no key", "no key")}
	for _, test := range []struct {
		name   string
		failed error
		served []string
		want   string
	}{
		{"could not be loaded again", append(Failures{line("x", "x")}, two...), []string{"one", "two"}, "two"},
		{"is not served anyway", two, []string{"one", "three"}, ""},
		{"the first of two", append(Failures{line("three: no", "no")}, two...), []string{"three", "two"}, "two"},
		{"the one of two that is served", append(Failures{line("three: no", "no")}, two...), []string{"three"}, "three"},
		{"it cannot be told", errStatus, []string{"one", "two", "three"}, ""},
		{"nothing fails", nil, []string{"one", "two", "three"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			serves := func(_ context.Context, other deployers.Other) bool { return slices.Contains(test.served, other.Name) }
			other, about, err := Endangered(t.Context(), deployers.Test{Others: others}, test.failed, serves)
			got := ""
			if other != nil {
				got = other.Name
			}
			if got != test.want || err != nil {
				t.Errorf("got %s, %v", got, err)
			}
			if (other == nil) != (about == nil) || test.want == "two" && !slices.Equal(about, two) {
				t.Errorf("because of %v", about)
			}
		})
	}
	broken := deployers.Test{Others: []deployers.Other{{Says: "("}}}
	if other, about, err := Endangered(t.Context(), broken, two, nil); other != nil || about != nil || err == nil {
		t.Errorf("a wrong expression is not told: %v", err)
	}
}

// A test is run once by a Runner, and another one by itself.
func TestRunner(t *testing.T) {
	programs := &counting{fails: errors.New("no")}
	r := NewRunner(programs)
	for range 3 {
		for _, test := range []deployers.Test{{Command: []string{"a", "-t"}}, {Command: []string{"a", "-t"}, Failures: "x"}, {Command: []string{"a"}}} {
			if err := r.Run(t.Context(), test); err == nil || err.Error() != "no" {
				t.Errorf("%v: %v", test, err)
			}
		}
	}
	if programs.calls != 3 {
		t.Errorf("%d tests were run", programs.calls)
	}
}

// counting is programs that all fail, and are counted.
type counting struct {
	calls int
	fails error
}

func (c *counting) Ask(context.Context, []string) (command.Output, error) {
	c.calls++
	return command.Output{}, c.fails
}

func TestBaseline(t *testing.T) {
	test := deployers.Test{Command: []string{"nginx", "-t"}}
	runner := NewRunner(printed{err: errStatus})
	if err := runner.Baseline(t.Context(), test); !errors.Is(err, errStatus) {
		t.Errorf("got %v", err)
	}
	test.Passed = true
	if err := runner.Baseline(t.Context(), test); err != nil {
		t.Errorf("what is known to pass was run: %v", err)
	}
	if err := runner.Run(t.Context(), test); !errors.Is(err, errStatus) {
		t.Errorf("what passed before was not run: %v", err)
	}
}
