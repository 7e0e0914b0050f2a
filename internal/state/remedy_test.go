package state

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
)

// An error of the directory has its own remedy, however it is wrapped, and others
// have none.
func TestRemedyOf(t *testing.T) {
	full := &DirectoryError{Dir: "/var/lib/certlatch", Err: syscall.ENOSPC}
	unreadable := &UnreadableError{Files: []*Damage{{Path: "/var/lib/certlatch/state.json", What: "is empty"}}}
	for _, test := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("deploy: %w", full), full.Remedy()},
		{fmt.Errorf("deploy: %w", unreadable), unreadable.Remedy()},
		{&DirectoryError{Dir: "/var/lib/certlatch", Err: errors.New("no")}, ""},
		{syscall.ENOSPC, ""},
	} {
		if got := RemedyOf(test.err); got != test.want {
			t.Errorf("%v: %q instead of %q", test.err, got, test.want)
		}
	}
	if full.Remedy() == "" || unreadable.Remedy() == "" {
		t.Error("there is no remedy to compare with")
	}
}
