package progress

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen strings.Builder
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
