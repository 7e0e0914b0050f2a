package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/outcome"
)

// What workers of a world call themselves.
const (
	accepting = "worker"
	finishing = "worker is shutting down"
	helping   = "cache manager"
	unnamed   = "master" // a child that has not named itself yet
)

// overlap is how long workers of a world go on after their service was told.
const overlap = 100 * time.Millisecond

// succeeding lets something happen to a worker a while after the service was told.
func succeeding(worker int, change func(*world)) on {
	var told time.Time
	return on{
		"tell": after(func(*world) { told = time.Now() }),
		fmt.Sprintf("title of %d", worker): after(func(w *world) {
			if !told.IsZero() && time.Since(told) >= overlap {
				change(w)
			}
		}),
	}
}

// with returns what happens besides.
func (o on) with(more on) on {
	all := maps.Clone(o)
	maps.Copy(all, more)
	return all
}

// TestWorkers proves by the processes of a service where they tell, and else by
// handshakes in a row.
func TestWorkers(t *testing.T) {
	const row = 3 * pace // of four handshakes
	hangs := worldLimits.Proof * 4 / 5
	titled := func(worker int, title string) func(*world) { return func(w *world) { w.workers[worker] = title } }
	ends := func(w *world) { delete(w.started, 11) }
	issued := issue(t)
	for _, test := range []struct {
		name    string
		workers map[int]string
		on      on
		want    string
		looks   int           // handshakes with each endpoint for the proof
		took    time.Duration // the proof
		notes   bool          // that one hangs
	}{
		{"all finish", map[int]string{11: accepting, 12: accepting}, succeeding(11, func(w *world) { w.workers[11], w.workers[12] = finishing, finishing }), "deployed", 1, overlap, false},
		{"one finishes later", map[int]string{11: accepting, 12: accepting}, succeeding(12, titled(12, finishing)).with(on{"title of 11 2": after(titled(11, finishing))}), "deployed", 1, overlap, false},
		{"one finishes", map[int]string{11: accepting}, succeeding(11, titled(11, finishing)), "deployed", 1, overlap, false},
		{"one finishes, and another since long", map[int]string{11: accepting, 12: finishing}, succeeding(11, titled(11, finishing)), "deployed", 1, overlap, false},
		{"one finishes beside a helper", map[int]string{11: accepting, 12: helping}, succeeding(11, titled(11, finishing)), "deployed", 1, overlap, false},
		{"one ends", map[int]string{11: accepting}, succeeding(11, ends), "deployed", 1, overlap, false},
		{"its number is another's now", map[int]string{11: accepting}, succeeding(11, func(w *world) { w.started[11] = 3 }), "deployed", 1, overlap, false},
		{"a new one comes", map[int]string{11: accepting}, succeeding(11, func(w *world) { ends(w); w.started[13], w.workers[13] = 3, accepting }), "deployed", 1, overlap, false},
		{"one had no name yet", map[int]string{11: finishing, 12: accepting, 14: unnamed}, succeeding(14, titled(14, finishing)).with(on{"title of 12": after(func(w *world) {
			if len(w.told) > 0 {
				w.workers[12] = finishing
			}
		})}), "deployed", 1, overlap, false},

		{"there are none", nil, on{}, "deployed", 4, row, false},
		{"there are others", map[int]string{11: "httpd", 12: helping}, on{}, "deployed", 4, row, false},
		{"all are finishing", map[int]string{11: finishing}, on{}, "deployed", 4, row, false},
		{"they are hidden", map[int]string{11: accepting}, on{"children": fails(errors.New("no"))}, "deployed", 4, row, false},
		{"their main process is hidden", map[int]string{11: accepting}, on{"title of 100": fails(errors.New("no"))}, "deployed", 4, row, false},
		{"their main process is another", map[int]string{11: accepting}, on{"tell": ignored(), "test 2": after(func(w *world) { w.started[100] = 2 })}, "failed (service-crashed) at prove", 100, worldLimits.Proof, false},
		{"they become hidden", map[int]string{11: accepting}, on{"title of 11": func(_ context.Context, w *world) error {
			if len(w.told) > 0 {
				return errors.New("no")
			}
			return nil
		}}, "deployed", 4, row, false},
		{"there is no main process", map[int]string{11: accepting}, on{"before": after(func(w *world) { w.unit.MainPID = 0 })}, "deployed", 4, row, false},
		{"the service is told by name", map[int]string{11: accepting}, on{"before": after(func(w *world) { w.plan.Proof.Accepting = "" })}, "deployed", 4, row, false},

		{"one hangs", map[int]string{11: accepting}, on{}, "deployed", 4, hangs + row, true},
		{"one hangs and serves", map[int]string{11: accepting}, on{"tell 1": ignored()}, "rolled-back (not-proven) at prove", 0, worldLimits.Proof, false},
		{"one hangs and wakes up", map[int]string{11: accepting}, on{"title of 11 30": after(ends)}, "deployed", 1, 28 * workerTick, false},
	} {
		for _, many := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d", test.name, many), func(t *testing.T) {
				inWorld(t, issued, many, func(w *world) {
					w.plan.Proof.Accepting, w.on = accepting, test.on
					for worker, title := range test.workers {
						w.started[worker], w.workers[worker] = 2, title
					}
					for _, e := range w.deploy() {
						at := slices.IndexFunc(e.outcome.Steps, func(s outcome.StepTaken) bool { return s.Step == outcome.Prove })
						if got, took := verdict(e.outcome), e.outcome.Steps[at].Took; got != test.want || took != test.took {
							t.Errorf("it came to %s, %s after the activation", got, took)
						}
						if looks := w.count[tlsAt(443, e.outcome.Lineage).String()] - 1; test.looks > 0 && looks != test.looks {
							t.Errorf("%d handshakes", looks)
						}
						if got := strings.Contains(words(e.outcome), "process 11 was there before"); got != test.notes {
							t.Errorf("it says %s", words(e.outcome))
						}
					}
				})
			})
		}
	}
}

// TestWorkersAreLookedAtOnce wants no more looks at processes for many lineages of a
// service than for one.
func TestWorkersAreLookedAtOnce(t *testing.T) {
	issued := issue(t)
	looks := map[int]int{}
	for _, many := range []int{1, 5} {
		inWorld(t, issued, many, func(w *world) {
			w.plan.Proof.Accepting = accepting
			w.started[11], w.workers[11] = 2, accepting
			w.on = succeeding(11, func(w *world) { w.workers[11] = finishing })
			w.deploy()
			looks[many] = w.count["title of 11"] + w.count["children"]
		})
	}
	if looks[1] == 0 || looks[1] != looks[5] {
		t.Errorf("looks by lineages: %v", looks)
	}
}

// TestWorkersOfFailedActivation wants nobody to wait for workers that were never
// told.
func TestWorkersOfFailedActivation(t *testing.T) {
	issued := issue(t)
	inWorld(t, issued, 1, func(w *world) {
		w.plan.Proof.Accepting = accepting
		w.started[11], w.workers[11] = 2, accepting
		w.on = on{"tell": fails(jobEnded("failed"))}
		e := w.deploy()[0]
		if got := verdict(e.outcome); got != "rolled-back (reload-failed) at activate" {
			t.Errorf("it came to %s", got)
		}
		if took := time.Since(w.began); took > worldLimits.Proof/2 {
			t.Errorf("it took %s", took)
		}
	})
}
