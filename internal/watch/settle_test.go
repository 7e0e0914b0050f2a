package watch

import (
	"testing"
	"time"
)

// TestSettling makes hints and looks at given times, in seconds, and checks
// what is due at each.
func TestSettling(t *testing.T) {
	began := time.Now()
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	pace := Pace{Quiet: 2 * time.Second, Longest: 30 * time.Second, Patience: time.Minute}
	r := ref{0, "a.example"}

	t.Run("rest", func(t *testing.T) {
		s := settling{}
		if !s.next(pace).IsZero() {
			t.Error("something is due though nothing happened")
		}
		s.hint(r, at(0))
		s.hint(r, at(1.5))
		if s.due(at(3.4), pace) != nil || len(s.due(at(3.5), pace)) != 1 || !s.next(pace).Equal(at(3.5)) {
			t.Errorf("it is not due two seconds after its last event, but at %s", s.next(pace).Sub(began))
		}
	})
	t.Run("restless", func(t *testing.T) {
		s := settling{}
		for second := range 100 {
			s.hint(r, at(float64(second)))
			if due := len(s.due(at(float64(second)), pace)); due != min(second/30, 1) {
				t.Fatalf("%d due after %d seconds", due, second)
			}
		}
	})
	t.Run("half written", func(t *testing.T) {
		s := settling{}
		s.hint(r, at(0))
		look := func(when float64, bears bool) {
			t.Helper()
			if next := s.next(pace); !next.Equal(at(when)) {
				t.Fatalf("the next look is at %s, not %g", next.Sub(began), when)
			}
			was := s[r]
			delete(s, r)
			if s.putOff(r, was, at(when), pace) != bears {
				t.Fatalf("at %g it is borne: %t", when, !bears)
			}
		}
		look(2, true)
		s.hint(r, at(50)) // the client writes on
		look(52, true)
		look(62, false) // a minute after the first look
	})
	t.Run("apart", func(t *testing.T) {
		s := settling{}
		s.hint(r, at(0))
		s.hint(everything, at(1))
		if due := s.due(at(2), pace); len(due) != 1 || due[0] != r {
			t.Errorf("due are %v", due)
		}
	})
}
