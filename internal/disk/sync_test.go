package disk

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// counted is something that is synced, and notes that.
type counted struct {
	id    int
	err   error
	mutex *sync.Mutex
	order *[]int
}

func (c counted) Close() error { return nil }

func (c counted) Sync() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	*c.order = append(*c.order, c.id)
	return c.err
}

// TestSyncTogether wants each thing to be synced once, its error in its place, and a
// few in their order.
func TestSyncTogether(t *testing.T) {
	for _, n := range []int{0, 1, fewSyncs, fewSyncs + 1, 500} {
		var mutex sync.Mutex
		var order, ids []int
		var all []Unsynced
		var want []error
		for i := range n {
			var err error
			if i%3 == 1 {
				err = fmt.Errorf("of %d", i)
			}
			ids, want = append(ids, i), append(want, err)
			all = append(all, counted{i, err, &mutex, &order})
		}
		if errs := SyncTogether(all); !slices.EqualFunc(errs, want, errors.Is) {
			t.Errorf("of %d: %v", n, errs)
		}
		if n > fewSyncs {
			slices.Sort(order)
		}
		if !slices.Equal(order, ids) {
			t.Errorf("of %d there were synced %v", n, order)
		}
	}
}
