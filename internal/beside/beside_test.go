package beside

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestGoroutines wants tasks to begin in their order, so many at once and no more.
func TestGoroutines(t *testing.T) {
	for n, took := range map[int]time.Duration{0: 0, 1: 1, Most: 1, Most + 1: 2, 3 * Most: 3} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			values := make([]int, n)
			for i := range values {
				values[i] = i
			}
			var mutex sync.Mutex
			var order []int
			doubled := Each(Goroutines, values, func(i int) int {
				mutex.Lock()
				order = append(order, i/Most)
				mutex.Unlock()
				time.Sleep(time.Second)
				return 2 * i
			})
			if got := time.Since(began); got != took*time.Second {
				t.Errorf("%d took %v", n, got)
			}
			if !slices.IsSorted(order) || len(order) != n {
				t.Errorf("they begin %v", order)
			}
			for i, double := range doubled {
				if double != 2*i {
					t.Errorf("%d is returned for %d", double, i)
				}
			}
		})
	}
}
