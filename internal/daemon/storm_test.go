package daemon

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/internal/deploy"
)

// TestStorm makes 1,000 renewals of 200 lineages in random order, with
// directories removed and made again and the kernel's queue overflowing on the
// way: in the end each name is served with its latest pair, and the daemon
// needs no more memory than before.
func TestStorm(t *testing.T) {
	const lineages, renewals = 200, 1000
	var names []string
	for n := range lineages {
		names = append(names, fmt.Sprintf("n%03d.example", n))
	}
	h := newMiniHost(t, names...)
	// Hundreds of handshakes in one run take longer than a run has for them, where
	// the race detector is on and the machine is busy.
	h.unprobed = true
	h.configure("*.example")
	var gate chan struct{} // the loop stands still while it reads the configuration, in vain
	load := h.daemon.Load
	h.daemon.Load = func() (*deploy.Engine, error) {
		if gate != nil {
			<-gate
			return nil, errors.New("there is a storm")
		}
		return load()
	}
	h.start()
	h.untilServed()
	before := heap()

	seed := rand.Uint64()
	t.Logf("the storm's seed is %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for n := range renewals {
		name := names[random.IntN(lineages)]
		switch {
		case n%7 == 0:
			for _, dir := range []string{"live", "archive"} {
				h.must(os.RemoveAll(filepath.Join(h.dir, dir, name)))
			}
		case n == renewals/4:
			h.must(os.Rename(filepath.Join(h.dir, "live"), filepath.Join(h.dir, "away")))
			h.must(os.Rename(filepath.Join(h.dir, "away"), filepath.Join(h.dir, "live")))
		case n == renewals/2:
			gate = make(chan struct{})
			h.hangup <- os.Interrupt
			h.flood(name)
			close(gate)
		}
		h.renew(name)
	}
	h.untilServed()
	h.until("it is at rest", func() bool {
		return strings.HasPrefix(h.told.last(), "watching 200 lineages for 1 target; the configuration is wrong")
	})
	if !strings.Contains(h.logged.String(), "event=events-overflowed") {
		t.Error("the queue did not overflow")
	}
	after := heap()
	t.Logf("%d activations; the heap had %.1f MB before and %.1f MB after", h.activations(), float64(before)/1e6, float64(after)/1e6)
	if after > before+before/4+1e6 {
		t.Error("the memory is not flat")
	}
}

// flood makes more events than the kernel's queue has room for.
func (h *miniHost) flood(name string) {
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	h.must(err)
	var room int
	_, err = fmt.Sscan(string(text), &room)
	h.must(err)
	from, to := filepath.Join(h.dir, "live", name, "x"), filepath.Join(h.dir, "live", name, "y")
	h.must(os.WriteFile(from, nil, 0o600))
	for range room { // each makes two events
		h.must(os.Rename(from, to))
		from, to = to, from
	}
	h.must(os.Remove(from))
}

// heap returns how many bytes of the heap are in use.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
