package prepare

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// SideBySide does something for each of n, as many at once as there are
// processors, in their order, and returns when all is done.
func SideBySide(n int, do func(int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers == 1 { // as for one lineage among thousands
		for i := range n {
			do(i)
		}
		return
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				do(int(i - 1))
			}
		})
	}
	all.Wait()
}
