package lineage

import (
	"sync"

	"github.com/certlatch/certlatch/internal/disk"
)

// Reader reads many lineages, and opens the roots that they are in once. It may
// be used by several goroutines, and must be closed.
type Reader struct {
	mutex  sync.Mutex
	stores map[Root]*disk.Store
}

// Read is as [Read].
func (r *Reader) Read(l Lineage) (*Bundle, []Finding) { return read(l, r.storeOf) }

// Close closes the roots. Nothing may be read any more.
func (r *Reader) Close() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, store := range r.stores {
		store.Close()
	}
	clear(r.stores)
}

// storeOf returns the store of a root. Whoever may decide what is in it is judged
// anew each time.
func (r *Reader) storeOf(root Root) (*disk.Store, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.stores[root] == nil {
		store, err := root.store()
		if err != nil {
			return nil, err
		}
		if r.stores == nil {
			r.stores = map[Root]*disk.Store{}
		}
		r.stores[root] = store
	}
	return r.stores[root].Again()
}
