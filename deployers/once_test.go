package deployers

import (
	"sync"
	"testing"
)

// TestOnce wants a text to be parsed once for each who does, and each time where
// nothing is kept.
func TestOnce(t *testing.T) {
	for name, test := range map[string]struct {
		facts Facts
		want  int
	}{
		"kept":     {Facts{Made: new(Made)}, 3},
		"not kept": {Facts{}, 6},
	} {
		calls := 0
		length := func(text string) int { calls++; return len(text) }
		twice := func(text string) int { return 2 * length(text) }
		for range 2 {
			if Once(test.facts, "length", "abc", length) != 3 || Once(test.facts, "length", "abcd", length) != 4 || Once(test.facts, "twice", "abc", twice) != 6 {
				t.Errorf("%s: it is not what was made of the text", name)
			}
		}
		if calls != test.want {
			t.Errorf("%s: parsed %d times", name, calls)
		}
	}
	var all sync.WaitGroup
	facts := Facts{Made: new(Made)}
	for range 8 {
		all.Go(func() {
			if got := Once(facts, "length", "abc", func(text string) int { return len(text) }); got != 3 {
				t.Errorf("got %d", got)
			}
		})
	}
	all.Wait()
}
