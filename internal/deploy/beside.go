package deploy

import "sync"

// beside does tasks side by side, and returns when all are done.
type beside func(tasks []func())

// mostBeside is how many services are renewed at once. Most of the time each is
// waited for.
const mostBeside = 16

// inGoroutines does tasks in goroutines, some at once, which begin in their order. A
// single one it does itself.
func inGoroutines(tasks []func()) {
	if len(tasks) == 1 {
		tasks[0]()
		return
	}
	var all sync.WaitGroup
	turns := make(chan struct{}, mostBeside)
	for _, task := range tasks {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			task()
		})
	}
	all.Wait()
}

// eachBeside does the same for each of some values, side by side, and returns what
// that returned in their order.
func eachBeside[V, R any](beside beside, values []V, do func(V) R) []R {
	returned := make([]R, len(values))
	tasks := make([]func(), len(values))
	for i, value := range values {
		tasks[i] = func() { returned[i] = do(value) }
	}
	beside(tasks)
	return returned
}
