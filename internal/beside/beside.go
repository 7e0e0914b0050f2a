// Package beside does things side by side, a bounded number of them at once.
package beside

import (
	"sync"
	"sync/atomic"
)

// Way is a way to do tasks side by side. It returns when all are done.
type Way func(tasks []func())

// Most is how many tasks are done at once. Most of the time each waits for a
// service, a disk or a host.
const Most = 16

// Goroutines does tasks in goroutines, some at once, which begin in their order. A
// single one it does itself.
func Goroutines(tasks []func()) {
	if len(tasks) == 1 {
		tasks[0]()
		return
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(Most, len(tasks)) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(tasks)); i = next.Add(1) - 1 {
				tasks[i]()
			}
		})
	}
	all.Wait()
}

// Each does the same for each of some values, side by side, and returns what that
// returned, in their order.
func Each[V, R any](way Way, values []V, do func(V) R) []R {
	returned := make([]R, len(values))
	tasks := make([]func(), len(values))
	for i, value := range values {
		tasks[i] = func() { returned[i] = do(value) }
	}
	way(tasks)
	return returned
}
