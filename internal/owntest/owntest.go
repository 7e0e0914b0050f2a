// Package owntest runs services' own tests of their configuration, such as
// nginx -t, and tells what they say now from what they said before.
package owntest

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
)

// Programs runs programs for what they print.
type Programs interface {
	Ask(ctx context.Context, argv []string) (command.Output, error)
}

// Runner runs tests, each of them once, however many lineages it is about. What
// a test says may be otherwise once files or the configuration have changed; then a
// new Runner is needed.
type Runner struct {
	programs Programs

	mutex sync.Mutex
	said  map[string]error
}

// NewRunner returns a Runner that has not run anything yet.
func NewRunner(programs Programs) *Runner {
	return &Runner{programs: programs, said: map[string]error{}}
}

// Run is like the function [Run], for a test that may have been run before.
func (r *Runner) Run(ctx context.Context, test deployers.Test) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	key := strings.Join(append([]string{test.Failures, test.Beside}, test.Command...), "\x00")
	err, ran := r.said[key]
	if !ran {
		err = Run(ctx, r.programs, test)
		r.said[key] = err
	}
	return err
}

// Baseline returns what a test says before anything was touched. One that is
// known to pass is not run again.
func (r *Runner) Baseline(ctx context.Context, test deployers.Test) error {
	if test.Passed {
		return nil
	}
	return r.Run(ctx, test)
}

// Failures is what a test whose output is read says against the service.
type Failures []Failure

// Failure is one line of it.
type Failure struct {
	Line  string
	Tells string // the part by which it is known again
}

func (f Failures) Error() string {
	var all []string
	for _, failure := range f {
		all = append(all, failure.Line)
	}
	return strings.Join(all, "; ")
}

// About returns the failures that concern something else that is served.
func (f Failures) About(other deployers.Other) (Failures, error) {
	says, err := regexp.Compile(other.Says)
	if err != nil {
		return nil, err
	}
	var found Failures
	for _, failure := range f {
		if says.MatchString(failure.Line) {
			found = append(found, failure)
		}
	}
	return found, nil
}

// Run runs a service's own test. Where its output is read, it fails with
// [Failures]; otherwise, and where they cannot be found in the output, with an
// error of package command.
func Run(ctx context.Context, programs Programs, test deployers.Test) error {
	output, err := programs.Ask(ctx, test.Command)
	if test.Failures == "" || err == nil {
		return err
	}
	counts, bad := regexp.Compile(test.Failures)
	if bad != nil {
		return bad
	}
	beside, bad := regexp.Compile(test.Beside)
	if bad != nil {
		return bad
	}
	var found Failures
	explained := false
	for line := range strings.Lines(output.Stdout + "\n" + output.Stderr) {
		if tells := counts.FindString(line); tells != "" {
			found = append(found, Failure{strings.TrimSpace(line), strings.TrimSpace(tells)})
		}
		explained = explained || test.Beside != "" && beside.MatchString(line)
	}
	switch {
	case found != nil:
		return found
	case explained:
		return nil
	}
	return err // it fails, and not in a way that could be compared
}

// Against returns what a test says now that counts against the new files, and
// reports whether it said all of that before anything was touched. What it said
// before and what it says now are results of [Run].
func Against(test deployers.Test, before, now error) (counts error, saidBefore bool) {
	lines, isNow := now.(Failures)
	known, was := before.(Failures)
	if !isNow || !was {
		return now, before != nil
	}
	own, err := regexp.Compile(test.Own)
	if err != nil {
		return err, false
	}
	known = slices.Clone(known)
	var found Failures
	saidBefore = true
	for _, now := range lines {
		at := slices.IndexFunc(known, func(then Failure) bool { return then.Tells == now.Tells })
		if at >= 0 {
			known = slices.Delete(known, at, at+1) // the same words may be about two hosts
		}
		if at < 0 || test.Own != "" && own.MatchString(now.Line) {
			found = append(found, now)
			saidBefore = saidBefore && at >= 0
		}
	}
	if found == nil {
		return nil, false
	}
	return found, saidBefore
}

// Endangered returns something else that is served and of which a test says,
// with the new files in place, that it could not be loaded again; nil: there is
// none. Failed is the result of [Run], and serves reports whether one of the
// others is served now.
func Endangered(ctx context.Context, test deployers.Test, failed error, serves func(context.Context, deployers.Other) bool) (other *deployers.Other, about Failures, err error) {
	failures, _ := failed.(Failures)
	for _, other := range test.Others {
		about, err := failures.About(other)
		if err != nil {
			return nil, nil, err
		}
		if about != nil && serves(ctx, other) {
			return &other, about, nil
		}
	}
	return nil, nil, nil
}
