package facts

import (
	"context"
	"slices"
	"time"

	"github.com/certlatch/certlatch/deployers"
)

// Systemd reports whether systemd runs this host.
func (f *Finder) Systemd() bool { return f.units != nil }

// Unit looks at a systemd unit.
func (f *Finder) Unit(ctx context.Context, name string) (deployers.Unit, error) {
	if unit, ok := known(f, f.seen, name); ok {
		return unit, nil
	}
	unit, err := f.units.Unit(ctx, name)
	if err == nil {
		remember(f, f.seen, name, unit)
	}
	return unit, err
}

// output runs a command for what it prints.
func (f *Finder) output(ctx context.Context, key string, argv []string) deployers.Output {
	if output, ok := known(f, f.outputs, key); ok {
		return output
	}
	got, err := f.programs.Ask(ctx, argv)
	output := deployers.Output{Stdout: got.Stdout, Stderr: got.Stderr}
	if err != nil {
		output.Failed = err.Error()
	}
	remember(f, f.outputs, key, output)
	return output
}

// How long answers that do not come are waited for: in all, and then once more
// for each further channel. A Kamailio that loads its domains is busy for
// seconds.
const (
	patience     = 10 * time.Second
	lastPatience = time.Second
)

// answer asks a question at a unit's control channel. One that gave no answer
// is not asked anything else: it would cost as much again, and tell as little.
func (f *Finder) answer(ctx context.Context, unit string, query deployers.Query) deployers.Answer {
	if answer, ok := known(f, f.answers, query); ok {
		return answer
	}
	if answer, ok := known(f, f.silent, query.Channel); ok {
		return answer
	}
	limited, cancel := context.WithTimeout(ctx, f.ask(unit, query.Channel))
	defer cancel()
	began := time.Now()
	answer := f.channels.Call(limited, query)
	switch {
	case answer.Err == "":
		remember(f, f.answers, query, answer)
	case ctx.Err() == nil:
		remember(f, f.silent, query.Channel, answer)
		f.waited(time.Since(began))
	}
	return answer
}

// ask notes that a unit's channel is asked, and returns how long its answer is
// waited for.
func (f *Finder) ask(unit string, channel deployers.Channel) time.Duration {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if !slices.Contains(f.asked[unit], channel) {
		f.asked[unit] = append(f.asked[unit], channel)
	}
	return max(lastPatience, f.left)
}

// waited notes that an answer was waited for in vain.
func (f *Finder) waited(long time.Duration) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.left -= long
}

// Forget forgets what an activation of a unit may have changed.
func (f *Finder) Forget(unit string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	delete(f.seen, unit)
	for _, channel := range f.asked[unit] {
		delete(f.silent, channel)
		for query := range f.answers {
			if query.Channel == channel {
				delete(f.answers, query)
			}
		}
	}
}

func known[K comparable, V any](f *Finder, in map[K]V, key K) (V, bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	value, ok := in[key]
	return value, ok
}

func remember[K comparable, V any](f *Finder, in map[K]V, key K, value V) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	in[key] = value
}
