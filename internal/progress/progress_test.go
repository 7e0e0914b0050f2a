package progress

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// screen is a terminal on which several may write.
type screen struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (s *screen) Write(text []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.text.Write(text)
}

func (s *screen) String() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.text.String()
}

func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen screen
		shows := func(want string) {
			t.Helper()
			synctest.Wait()
			if screen.String() != want {
				t.Errorf("%q instead of %q", screen.String(), want)
			}
		}
		short := Begin(&screen)
		short.Tell("short")
		time.Sleep(after - time.Nanosecond)
		short.End()
		time.Sleep(after)
		shows("")

		long := Begin(&screen)
		long.Tell("one")
		long.Tell("two")
		time.Sleep(after - time.Nanosecond)
		shows("")
		time.Sleep(time.Nanosecond)
		shows("\r\x1b[Ktwo")
		long.Tell("three")
		shows("\r\x1b[Ktwo\r\x1b[Kthree")
		long.End()
		shows("\r\x1b[Ktwo\r\x1b[Kthree\r\x1b[K")
	})
}
