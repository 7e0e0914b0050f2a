package engine

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/state"
)

// A unit is never restarted so often that systemd would refuse to start it again.
func TestStartLimit(t *testing.T) {
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		way      deployers.Way
		burst    uint32
		interval time.Duration
		gap      time.Duration // that is between two activations
	}{
		{"the usual limit", deployers.RestartUnit, 5, 10 * time.Second, 2 * time.Second},
		{"none", deployers.RestartUnit, 0, 10 * time.Second, 0},
		{"another way", deployers.ReloadUnit, 5, 10 * time.Second, 0},
		{"longer than the run", deployers.RestartUnit, 3, time.Hour, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				unit := deployers.Unit{ActiveState: "active", StartLimitBurst: test.burst, StartLimitInterval: test.interval}
				r := &run{
					Engine: &Engine{Store: store, Log: slog.New(slog.DiscardHandler), Units: func(context.Context) (Units, error) { return &unitStates{states: []deployers.Unit{unit}}, nil }},
					state:  &state.State{}, req: Request{Limits: quick}, seen: newLookups(),
				}
				tx := &transaction{run: r, items: []*item{{plan: deployers.Plan{Activate: deployers.Activation{Way: test.way, Unit: "x.service"}}}}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := tx.act(ctx); err != nil {
					t.Fatal(err)
				}
				first := time.Now()
				err := tx.act(ctx)
				if took := time.Since(first); test.gap >= 0 && (took != test.gap || err != nil) {
					t.Errorf("the second comes after %s: %v", took, err)
				}
				if test.gap < 0 && (!errors.Is(err, context.DeadlineExceeded) || !time.Now().Equal(first)) {
					t.Errorf("it was waited for in vain, for %s: %v", time.Since(first), err)
				}
			})
		})
	}
}

// What was planned is not borne any more when its turn comes: the service is asked
// again, and nothing is activated.
func TestReplan(t *testing.T) {
	asked := make(chan string, 100)
	text := func(reply string) string { return `"result":` + reply }
	talks := channel(t, map[string]string{
		"tls.options":  text(`{"config":"/nowhere/tls.cfg","low_mem_threshold1":13107200,"low_mem_threshold2":6553600}`),
		"core.version": text(`"kamailio 6.0.1 (x86_64/linux)"`), "core.arg": text(`["/usr/sbin/kamailio"]`), "core.ps": text(`[1,"main process"]`),
		"core.shmmem": text(`{"total":67108864,"free":13200000}`), "tls.info": text(`{"opened_connections":0}`),
		"tls.reload": text(`"Ok. TLS configuration reloaded."`),
	}, asked)
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &run{Engine: &Engine{Store: store, Log: slog.New(slog.DiscardHandler)}, state: &state.State{}, req: Request{Limits: quick}, seen: newLookups()}
	it := &item{target: config.Target{Target: deployers.Target{
		Name: "sip", Service: "kamailio", Unit: "kamailio.service", Certificate: "/nowhere/cert.pem", Key: "/nowhere/key.pem",
		Options: &deployers.KamailioOptions{RPC: deployers.KamailioRPC(talks), Config: "/nowhere/kamailio.cfg"},
	}}}
	shmmem := deployers.Query{Channel: talks, Method: "core.shmmem"}
	r.seen.answers[shmmem] = deployers.Answer{Reply: "total: 67108864\nfree: 60000000"}
	if err := r.ask(t.Context(), it); err != nil || it.plan.Activate.Way != deployers.CallControl {
		t.Fatalf("planned is %s, %v", it.plan.Activate, err)
	}

	tx := &transaction{run: r, items: []*item{it}}
	err = tx.act(t.Context())
	if wait := new(waitError); !errors.As(err, &wait) || wait.reason != string(deployers.SharedMemoryLow) || wait.remedy(it) == "" || tx.activated {
		t.Errorf("it was activated: %v, %v", tx.activated, err)
	}
	for len(asked) > 0 {
		if method := <-asked; method == "tls.reload" {
			t.Error("it was reloaded")
		}
	}
	if !r.state.Activations[unitKey("kamailio.service")].IsZero() {
		t.Error("an activation was noted that was none")
	}
}

// A time that has yet to come does not tell when the service was activated.
func TestFactsOfTheLastActivation(t *testing.T) {
	last := time.Now().Add(-time.Hour)
	for name, test := range map[string]struct{ noted, want time.Time }{
		"noted": {last, last}, "never": {}, "of a clock that was ahead": {time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			known := &state.State{Activations: map[string]time.Time{"unit x.service": test.noted}}
			r := &run{Engine: &Engine{}, state: known, seen: newLookups()}
			generic, _ := deployers.For("generic")
			facts, err := r.facts(t.Context(), generic, deployers.Target{Unit: "x.service", Options: generic.Options()})
			if err != nil || !facts.Activated.Equal(test.want) {
				t.Errorf("%s instead of %s, %v", facts.Activated, test.want, err)
			}
		})
	}
}
