package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/state"
)

// drain takes what is in a channel, and returns how much that was. A question is
// there before its answer is.
func drain(asked <-chan string) (n int) {
	for len(asked) > 0 {
		<-asked
		n++
	}
	return n
}

// Only the reply of success counts, at the first channel that can be reached.
func TestCall(t *testing.T) {
	asked := make(chan string, 10)
	answers := channel(t, map[string]string{"good": `"result":"done"`, "other": `"result":"well"`, "fault": `"error":{"code":500,"message":"no"}`}, asked)
	nowhere := deployers.Channel{Protocol: deployers.JSONRPC, Address: "/nowhere"}
	is := func(kind any) func(error) bool { return func(err error) bool { return errors.As(err, kind) } }
	for _, test := range []struct {
		name     string
		channels []deployers.Channel
		method   string
		want     func(error) bool
		asked    int
	}{
		{"success", []deployers.Channel{answers, answers}, "good", func(err error) bool { return err == nil }, 1},
		{"success at the second", []deployers.Channel{nowhere, answers}, "good", func(err error) bool { return err == nil }, 1},
		{"another reply", []deployers.Channel{answers, answers}, "other", is(new(*answerError)), 1},
		{"a fault", []deployers.Channel{answers, answers}, "fault", is(new(*faultError)), 1},
		{"no answer", []deployers.Channel{answers, answers}, "nothing", is(new(*answerError)), 1},
		{"no channel", []deployers.Channel{nowhere}, "good", is(new(*unreachableError)), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			a := deployers.Activation{Success: "done"}
			for _, c := range test.channels {
				a.Calls = append(a.Calls, deployers.Query{Channel: c, Method: test.method})
			}
			if err := call(ctx, a); !test.want(err) {
				t.Errorf("got %v", err)
			}
			if got := drain(asked); got != test.asked {
				t.Errorf("%d calls were made", got)
			}
		})
	}
}

// TestExpected is about what a service must say of itself after its activation.
func TestExpected(t *testing.T) {
	asked := make(chan string, 10)
	query := deployers.Query{Channel: channel(t, map[string]string{"list": `"result":"one two"`}, asked), Method: "list"}
	expect := func(what string) deployers.Expect {
		return deployers.Expect{Query: query, Contains: what, Reason: "gone", Says: what + " is gone", Remedy: "look"}
	}
	beside := func(what string) deployers.Expect { e := expect(what); e.Warn = true; return e }
	for _, test := range []struct {
		name   string
		after  []deployers.Expect
		fails  string
		warned string
	}{
		{"nothing", nil, "", ""},
		{"what holds", []deployers.Expect{expect("one"), expect("two")}, "", ""},
		{"what does not hold", []deployers.Expect{expect("one"), expect("three")}, "three is gone", ""},
		{"beside", []deployers.Expect{beside("one"), beside("three")}, "", "three is gone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			it := &item{plan: deployers.Plan{Activate: deployers.Activation{After: test.after}}}
			tx := &transaction{run: &run{Engine: &Engine{Log: slog.New(slog.DiscardHandler)}}, items: []*item{it, it}}
			err := tx.expected(t.Context())
			if failed := new(expectError); errors.As(err, &failed) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("got %v", err)
			}
			var warned []string
			for _, f := range it.out.Findings {
				warned = append(warned, f.Detail)
			}
			if got := strings.Join(warned, " "); got != test.warned {
				t.Errorf("warned of %q", got)
			}
			if got := drain(asked); got != min(len(test.after), 1) {
				t.Errorf("%d questions were asked", got)
			}
		})
	}

	t.Run("what was warned of is mended by the next", func(t *testing.T) {
		it := &item{}
		tx := &transaction{run: &run{Engine: &Engine{Log: slog.New(slog.DiscardHandler)}}}
		tx.warn(it, beside("three"), true)
		tx.warn(it, beside("three"), false)
		if len(it.out.Findings) != 0 {
			t.Errorf("still warned of %v", it.out.Findings)
		}
	})
}

// TestGap keeps a service from being activated in quick succession.
func TestGap(t *testing.T) {
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	known, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		it := &item{plan: deployers.Plan{Activate: deployers.Activation{Unit: "sip.service", Gap: 10 * time.Second}}}
		tx := &transaction{run: &run{Engine: &Engine{Store: store}, state: known}, items: []*item{it}}
		keep := func(ctx context.Context, want time.Duration) error {
			t.Helper()
			began := time.Now()
			err := tx.keepGap(ctx)
			if err == nil {
				err = tx.noteActivation(ctx)
			}
			if took := time.Since(began); took != want {
				t.Errorf("it waited for %s instead of %s", took, want)
			}
			return err
		}
		tx.state.NoteActivation("unit sip.service", time.Now().Add(-4*time.Second))
		for _, want := range []time.Duration{6 * time.Second, 10 * time.Second} {
			if err := keep(t.Context(), want); err != nil {
				t.Error(err)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := keep(short, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without time: %v", err)
		}
		saved, err := store.Load()
		if err != nil || time.Since(saved.Activations["unit sip.service"]) != 0 {
			t.Errorf("saved is %v, %v", saved, err)
		}
		it.plan.Activate.Unit = "other.service"
		if err := keep(t.Context(), 0); err != nil {
			t.Error(err)
		}
	})
}

// TestSpareOthers puts an activation off only where something else would go off
// the air that is on it.
func TestSpareOthers(t *testing.T) {
	leaf := pki.SelfSigned(t, pki.Names("other.example"))
	on, err := netip.ParseAddrPort(serve(t, leaf))
	if err != nil {
		t.Fatal(err)
	}
	off := netip.MustParseAddrPort("127.0.0.1:1")
	for _, test := range []struct {
		name   string
		tested error
		at     netip.AddrPort
		spares bool
	}{
		{"could not be loaded again", failures{{line: "other.example: no key"}}, on, true},
		{"is not served anyway", failures{{line: "other.example: no key"}}, off, false},
		{"something else fails", failures{{line: "third.example: no key"}}, on, false},
		{"nothing fails", nil, on, false},
	} {
		it := &item{tested: test.tested}
		it.plan.Test.Others = []deployers.Other{{
			Name: "other.example", Says: `^other\.example: `,
			Probes: []endpoint.Endpoint{endpoint.At("tls", test.at, "other.example")},
		}}
		err := it.spareOthers(t.Context())
		if wait := new(waitError); errors.As(err, &wait) != test.spares || err != nil && wait.reason != otherHostReason {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestWantedBack is about what the probes must see after an undo.
func TestWantedBack(t *testing.T) {
	was, previous := pki.SelfSigned(t, pki.Names("web.example")), pki.SelfSigned(t, pki.Names("web.example"))
	saw, silent := at(t, "127.0.0.1:1", &was), at(t, "127.0.0.1:2", nil)
	it := &item{previous: previous.Cert, baseline: append([]observation{}, saw, silent)}
	it.plan.Probes = endpoints(it.baseline)
	wants := (&transaction{items: []*item{it}}).wantedBack()
	if len(wants) != 1 || wants[0].Endpoint != saw.Endpoint {
		t.Fatalf("wanted is %v", wants)
	}
	want := []string{fingerprintOf(was), fingerprintOf(previous)}
	if !slices.Equal(wants[0].Fingerprints, want) {
		t.Errorf("wanted is %v and not %v", wants[0].Fingerprints, want)
	}
}

// TestAsBefore looks whether an undo has to activate anything.
func TestAsBefore(t *testing.T) {
	leaf, other := pki.SelfSigned(t, pki.Names("web.example")), pki.SelfSigned(t, pki.Names("web.example"))
	pair, err := tls.X509KeyPair(leaf.Fullchain, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	address := pki.Serve(t, &tls.Config{Certificates: []tls.Certificate{pair}})
	for _, test := range []struct {
		name string
		was  *pki.Leaf
		want bool
	}{{"the same", &leaf, true}, {"another", &other, false}, {"nothing", nil, true}} {
		it := &item{baseline: []observation{at(t, address, test.was)}}
		it.plan.Probes = endpoints(it.baseline)
		if got := (&transaction{items: []*item{it}}).asBefore(t.Context()); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
