package prepare

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/command"
)

// Trial is whether an account can read some files, such as those of one pair.
type Trial struct {
	As    deployers.Account
	Paths []string
}

// Trials returns those of a plan's files: root's of what systemd hands over to the
// service, and the service's of the others. Now returns where a file is that is to
// be at a path.
func Trials(plan deployers.Plan, now func(path string) string) []Trial {
	if plan.Row != nil {
		return nil
	}
	var handed, read []string
	for _, f := range plan.Files {
		if f.Credential != "" {
			handed = append(handed, now(f.Path))
		} else {
			read = append(read, now(f.Path))
		}
	}
	var trials []Trial
	if read != nil {
		trials = append(trials, Trial{As: plan.Reader, Paths: read})
	}
	if handed != nil {
		trials = append(trials, Trial{Paths: handed})
	}
	return trials
}

// Tried is what came of a trial.
type Tried struct {
	User string // whose files were tried; empty: there is no such account
	Err  error  // nil: it can read them all
}

// mostTried keeps the paths of the trials that are made at once far below what an
// argument list may hold (execve(2), at least 128 KiB).
const mostTried = 100

// TryToRead tries to open files as the accounts of services, and returns what came
// of each trial. Those of many are made at once, since a trial may be a process.
func TryToRead(ctx context.Context, programs Programs, trials []Trial) []Tried {
	all := make([]Tried, len(trials))
	byAccount := map[string][]int{}
	for i, trial := range trials {
		as := fmt.Sprintf("%#v", trial.As)
		byAccount[as] = append(byAccount[as], i)
	}
	for _, those := range byAccount {
		credential, err := account.CredentialOf(trials[those[0]].As)
		for _, i := range those {
			all[i] = Tried{credential.User, err}
		}
		if err != nil {
			continue
		}
		for some := range slices.Chunk(those, mostTried) {
			tryToReadAs(ctx, programs, credential, trials, some, all)
		}
	}
	return all
}

// tryToReadAs makes some of the trials as one account, and puts down to those whose
// files it cannot read that it cannot.
func tryToReadAs(ctx context.Context, programs Programs, credential command.Credential, trials []Trial, some []int, all []Tried) {
	for some = slices.Clone(some); len(some) > 0; {
		of := map[string]int{}
		var paths []string
		for _, i := range some {
			for _, path := range trials[i].Paths {
				of[path] = i
			}
			paths = append(paths, trials[i].Paths...)
		}
		err := programs.CanRead(ctx, credential, paths)
		if err == nil {
			return
		}
		unreadable, is := errors.AsType[*command.UnreadableError](err)
		if is {
			if culprit, known := of[unreadable.Path]; known {
				all[culprit].Err = err
				some = slices.DeleteFunc(some, func(i int) bool { return i == culprit })
				continue
			}
		}
		for _, i := range some {
			all[i].Err = err
		}
		return
	}
}
