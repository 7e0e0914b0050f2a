package facts

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/process"
)

// asker is who wants to know something: a deployer for a target and its unit, as
// of the last activation.
type asker struct {
	service, target, unit string
	activated             time.Time
}

// service is what several targets may be about: a unit, and the process that it
// has, or else a process of which a file tells.
type service struct {
	unit string
	main int
}

func serviceOf(facts deployers.Facts, wants deployers.Wants) service {
	return service{wants.Unit, cmp.Or(facts.Unit.MainPID, facts.Master)}
}

// listening is what is asked about where a service listens.
type listening struct {
	service
	ports string
}

// text is a path or glob that a unit's deployer wants to be read, or a program or ports
// whose processes it wants to be looked for.
type text struct{ unit, path string }

// turn waits until nobody else finds out about a service, and returns a function
// that lets others do so.
func (f *Finder) turn(who asker) (done func()) {
	f.mutex.Lock()
	key := cmp.Or(who.unit, "target "+who.target)
	turn, ok := f.turns[key]
	if !ok {
		turn = new(sync.Mutex)
		f.turns[key] = turn
	}
	f.mutex.Unlock()
	turn.Lock()
	return turn.Unlock
}

// network is where a service's processes listen, and whether they have a network
// namespace of their own.
type network struct {
	listeners []netip.AddrPort
	apart     bool
}

// listeners returns where the service's processes listen, and whether they have a
// network namespace of their own.
func (f *Finder) listeners(facts deployers.Facts, wants deployers.Wants) ([]netip.AddrPort, bool, error) {
	found, err := once(f, f.listening, listening{serviceOf(facts, wants), fmt.Sprint(wants.Ports)}, wants.Unit, func() (network, error) {
		pids, err := processes(facts)
		if err != nil {
			return network{}, err
		}
		listeners, err := process.Listeners(pids, wants.Ports)
		return network{listeners, process.AreApart(pids)}, err
	})
	return found.listeners, found.apart, err
}

// outside returns the main processes of a program.
func (f *Finder) outside(wants deployers.Wants) ([]deployers.Process, error) {
	return once(f, f.running, text{wants.Unit, wants.Program}, wants.Unit, func() (found []deployers.Process, err error) {
		all, err := process.OfProgram(wants.Program)
		for _, p := range all {
			found = append(found, deployers.Process(p))
		}
		return found, err
	})
}

// holding returns who listens on ports.
func (f *Finder) holding(wants deployers.Wants) ([]deployers.Process, error) {
	return once(f, f.running, text{wants.Unit, fmt.Sprint(wants.Ports)}, wants.Unit, func() (found []deployers.Process, err error) {
		all, err := process.Listening(wants.Ports)
		for _, p := range all {
			found = append(found, deployers.Process(p))
		}
		return found, err
	})
}

// Listener is a process and at which ports it listens.
type Listener struct {
	Process deployers.Process
	Ports   []uint16
}

// Listening returns the processes that listen at some of the ports.
func (f *Finder) Listening(ports []uint16) (found []Listener, err error) {
	all, err := process.Listening(ports)
	for _, p := range all {
		at, err := process.Listeners([]int{p.PID}, ports)
		if err != nil {
			return nil, err
		}
		l := Listener{Process: deployers.Process(p)}
		for _, address := range at {
			l.Ports = append(l.Ports, address.Port())
		}
		slices.Sort(l.Ports)
		l.Ports = slices.Compact(l.Ports)
		if l.Ports != nil { // it has not ended since
			found = append(found, l)
		}
	}
	return found, err
}

// titlesOf returns what the service's processes call themselves.
func (f *Finder) titlesOf(facts deployers.Facts, wants deployers.Wants) ([]string, error) {
	return once(f, f.titles, serviceOf(facts, wants), wants.Unit, func() ([]string, error) {
		pids, err := processes(facts)
		return process.Titles(pids), err
	})
}

// textsAt reads the files that a path or glob names.
func (f *Finder) textsAt(path string, wants deployers.Wants) []deployers.Text {
	texts, _ := once(f, f.texts, text{wants.Unit, path}, wants.Unit, func() ([]deployers.Text, error) { return Texts(path), nil })
	return texts
}

// Systemd reports whether systemd runs this host.
func (f *Finder) Systemd() bool { return f.units != nil }

// Unit looks at a systemd unit.
func (f *Finder) Unit(ctx context.Context, name string) (deployers.Unit, error) {
	return once(f, f.seen, name, name, func() (deployers.Unit, error) { return f.units.Unit(ctx, name) })
}

// output runs a command for what it prints.
func (f *Finder) output(ctx context.Context, key string, argv []string) deployers.Output {
	output, since, ok := known(f, f.outputs, key, "")
	if ok {
		return output
	}
	got, err := f.programs.Ask(ctx, argv)
	output = deployers.Output{Stdout: got.Stdout, Stderr: got.Stderr}
	if err != nil {
		output.Failed = err.Error()
	}
	remember(f, f.outputs, key, output, since)
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
	answer, since, ok := known(f, f.answers, query, unit)
	if ok {
		return answer
	}
	if answer, _, ok := known(f, f.silent, query.Channel, unit); ok {
		return answer
	}
	limited, cancel := context.WithTimeout(ctx, f.ask(unit, query.Channel))
	defer cancel()
	began := time.Now()
	answer = f.channels.Call(limited, query)
	switch {
	case answer.Err == "":
		remember(f, f.answers, query, answer, since)
	case ctx.Err() == nil:
		remember(f, f.silent, query.Channel, answer, since)
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
	f.forgotten[unit]++
	delete(f.seen, unit)
	maps.DeleteFunc(f.found, func(who asker, _ deployers.Facts) bool { return who.unit == unit })
	maps.DeleteFunc(f.listening, func(of listening, _ network) bool { return of.unit == unit })
	maps.DeleteFunc(f.titles, func(of service, _ []string) bool { return of.unit == unit })
	maps.DeleteFunc(f.texts, func(of text, _ []deployers.Text) bool { return of.unit == unit })
	maps.DeleteFunc(f.running, func(of text, _ []deployers.Process) bool { return of.unit == unit })
	for _, channel := range f.asked[unit] {
		delete(f.silent, channel)
		for query := range f.answers {
			if query.Channel == channel {
				delete(f.answers, query)
			}
		}
	}
}

// once returns what was found out of a unit, or finds it out.
func once[K comparable, V any](f *Finder, in map[K]V, key K, unit string, find func() (V, error)) (V, error) {
	value, since, ok := known(f, in, key, unit)
	if ok {
		return value, nil
	}
	value, err := find()
	if err == nil {
		remember(f, in, key, value, since)
	}
	return value, err
}

// age is how often a unit was forgotten, so that what was asked before that is
// not remembered after it.
type age struct {
	unit  string // empty: of a service without one, and of no service
	times int
}

// known returns what was found out of a unit, and its age.
func known[K comparable, V any](f *Finder, in map[K]V, key K, unit string) (value V, now age, ok bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	value, ok = in[key]
	return value, age{unit, f.forgotten[unit]}, ok
}

// remember remembers what was found out since an age.
func remember[K comparable, V any](f *Finder, in map[K]V, key K, value V, since age) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.forgotten[since.unit] == since.times {
		in[key] = value
	}
}
