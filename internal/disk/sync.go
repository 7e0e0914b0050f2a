package disk

import "sync"

// Unsynced is something open that Sync makes durable: a new file, or the names in a
// [Dir].
type Unsynced interface {
	Sync() error
	Close() error
}

const (
	// mostSyncs is how many are synced at once.
	mostSyncs = 16

	// fewSyncs are made one after the other, in their order, which a sweep of
	// faults goes by.
	fewSyncs = 8
)

// SyncTogether makes things durable, many at once: a file system writes what it has
// to for several in the time of one. It returns an error for each, in their order.
//
// A syncfs(2) would be faster still, and wait for all that everybody has written
// to the file system, and before Linux 5.8 it does not say what failed.
func SyncTogether(all []Unsynced) []error {
	errs := make([]error, len(all))
	if len(all) <= fewSyncs {
		for i, one := range all {
			errs[i] = one.Sync()
		}
		return errs
	}
	var workers sync.WaitGroup
	todo := make(chan int)
	for range mostSyncs {
		workers.Go(func() {
			for i := range todo {
				errs[i] = all[i].Sync()
			}
		})
	}
	for i := range all {
		todo <- i
	}
	close(todo)
	workers.Wait()
	return errs
}
