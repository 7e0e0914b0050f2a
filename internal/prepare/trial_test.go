package prepare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
)

// trier is Programs that only tries to read, and cannot read some paths.
type trier struct {
	Programs
	closed []string
	err    error // of every other trial
	trials []string
}

func (t *trier) CanRead(_ context.Context, as command.Credential, paths []string) error {
	t.trials = append(t.trials, fmt.Sprint(as.UID, " ", len(paths)))
	for _, path := range paths {
		if slices.Contains(t.closed, path) {
			return &command.UnreadableError{Path: path, User: as.User}
		}
	}
	return t.err
}

// TestTrials wants root to be tried with what systemd hands over, and the service
// with the rest.
func TestTrials(t *testing.T) {
	as := deployers.Account{User: "daemon"}
	plan := deployers.Plan{Reader: as, Files: []deployers.File{{Path: "/cert"}, {Path: "/key", Credential: "/run/credentials/a.service/key"}, {Path: "/chain"}}}
	staged := func(path string) string { return path + ".new" }
	want := []Trial{{as, []string{"/cert.new", "/chain.new"}}, {deployers.Account{}, []string{"/key.new"}}}
	if diff := cmp.Diff(want, Trials(plan, staged)); diff != "" {
		t.Errorf("trials (-want +got):\n%s", diff)
	}
	plan.Row = new(deployers.Row)
	if got := Trials(plan, staged); got != nil {
		t.Errorf("of a row: %v", got)
	}
}

// TestTryToRead wants the trials of one account to be made at once, and each to get
// its own answer.
func TestTryToRead(t *testing.T) {
	var many []Trial
	for n := range mostTried + 1 {
		many = append(many, Trial{deployers.Account{User: "daemon"}, []string{fmt.Sprint("/", n), fmt.Sprint("/key/", n)}})
	}
	other := Trial{deployers.Account{User: "bin"}, []string{"/other"}}
	nobody := Trial{deployers.Account{User: "nobody-of-that-name"}, []string{"/other"}}
	for _, c := range []struct {
		name   string
		trials []Trial
		closed []string
		err    error
		asked  []string // by account
		failed string   // which trials
	}{
		{"none", nil, nil, nil, nil, ""},
		{"all is well", append(many, other), nil, nil, []string{"1 200", "1 2", "2 1"}, ""},
		{"one that is closed", []Trial{many[0], many[1], many[2], other}, []string{"/key/1"}, nil, []string{"1 6", "1 4", "2 1"}, "1: daemon cannot read"},
		{"two", many[:3], []string{"/2", "/key/1"}, nil, []string{"1 6", "1 4", "1 2"}, "1: daemon cannot read, 2: daemon cannot read"},
		{"nothing can be tried", []Trial{many[0], many[1], other}, nil, errors.New("no"), []string{"1 4", "2 1"}, "0: no, 1: no, 2: no"},
		{"nobody", []Trial{nobody, other}, nil, nil, []string{"2 1"}, `0: user "nobody-of-that-name" does not exist`},
	} {
		programs := &trier{closed: c.closed, err: c.err}
		tried := TryToRead(t.Context(), programs, c.trials)
		slices.SortStableFunc(programs.trials, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
		if diff := cmp.Diff(c.asked, programs.trials); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		var failed []string
		for i, got := range tried {
			if got.Err != nil {
				says, _, _ := strings.Cut(got.Err.Error(), " /")
				says, _, _ = strings.Cut(says, " on this host")
				failed = append(failed, fmt.Sprint(i, ": ", says))
			}
		}
		if got := strings.Join(failed, ", "); got != c.failed {
			t.Errorf("%s: failed are %s", c.name, got)
		}
	}
}
