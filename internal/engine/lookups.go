package engine

import (
	"context"
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/control"
)

// lookups is what was found out about services in a run: nothing is looked at
// twice, unless an activation has changed it since.
type lookups struct {
	units   map[string]deployers.Unit
	outputs map[string]deployers.Output
	answers map[deployers.Query]deployers.Answer

	silent   map[deployers.Channel]deployers.Answer // control channels without an answer, and what was to be said of that
	channels map[string][]deployers.Channel         // that were asked, by the service's unit
	left     time.Duration                          // of the patience with them
}

func newLookups() *lookups {
	return &lookups{
		units: map[string]deployers.Unit{}, outputs: map[string]deployers.Output{}, answers: map[deployers.Query]deployers.Answer{},
		silent: map[deployers.Channel]deployers.Answer{}, channels: map[string][]deployers.Channel{}, left: patience,
	}
}

// How long a run waits for answers that do not come: in all, and then once more
// for each further channel. A Kamailio that loads its domains is busy for
// seconds.
const (
	patience     = 10 * time.Second
	lastPatience = time.Second
)

// answer asks a question at a unit's control channel. One that gave no answer
// is not asked anything else: it would cost as much again, and tell as little.
func (l *lookups) answer(ctx context.Context, unit string, query deployers.Query) deployers.Answer {
	if answer, ok := l.answers[query]; ok {
		return answer
	}
	if answer, ok := l.silent[query.Channel]; ok {
		return answer
	}
	if !slices.Contains(l.channels[unit], query.Channel) {
		l.channels[unit] = append(l.channels[unit], query.Channel)
	}
	limited, cancel := context.WithTimeout(ctx, max(lastPatience, l.left))
	defer cancel()
	began := time.Now()
	answer := control.Call(limited, query)
	switch {
	case answer.Err == "":
		l.answers[query] = answer
	case ctx.Err() == nil:
		l.silent[query.Channel] = answer
		l.left -= time.Since(began)
	}
	return answer
}

// output runs a command for what it prints.
func (l *lookups) output(ctx context.Context, key string, argv []string) deployers.Output {
	if seen, ok := l.outputs[key]; ok {
		return seen
	}
	got, err := command.Ask(ctx, argv)
	output := deployers.Output{Stdout: got.Stdout, Stderr: got.Stderr}
	if err != nil {
		output.Failed = err.Error()
	}
	l.outputs[key] = output
	return output
}

// forget forgets what an activation of a unit may have changed.
func (l *lookups) forget(unit string) {
	delete(l.units, unit)
	for _, channel := range l.channels[unit] {
		delete(l.silent, channel)
		for query := range l.answers {
			if query.Channel == channel {
				delete(l.answers, query)
			}
		}
	}
}
