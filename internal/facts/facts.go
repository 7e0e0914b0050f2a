// Package facts finds out about services what deployers want to know: units,
// processes, files, the output of commands, answers of control channels. It
// changes nothing, and asks nothing twice that no activation has changed since.
//
// It does not promise that a service is still as it was found to be.
package facts

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/process"
)

// Units looks at systemd's units. One that does not exist has the LoadState
// not-found; that is no error.
type Units interface {
	Unit(ctx context.Context, name string) (deployers.Unit, error)
}

// Programs runs programs for what they print.
type Programs interface {
	Ask(ctx context.Context, argv []string) (command.Output, error)
}

// Channels asks services at their control channels.
type Channels interface {
	Call(ctx context.Context, query deployers.Query) deployers.Answer
}

// Finder finds out about the services of one run. What it has found out it
// remembers, until [Finder.Forget]. It may be used by several goroutines: of those
// that ask about one service at once, one has it found out, and the others wait.
type Finder struct {
	units    Units // nil: systemd does not run this host
	programs Programs
	channels Channels

	made deployers.Made

	mutex     sync.Mutex
	turns     map[string]*sync.Mutex // to find out about a service, by its unit or target
	found     map[asker]deployers.Facts
	listening map[listening]network
	titles    map[service][]string
	texts     map[text][]deployers.Text
	running   map[text][]deployers.Process // of programs, and on ports
	seen      map[string]deployers.Unit
	outputs   map[string]deployers.Output
	answers   map[deployers.Query]deployers.Answer
	silent    map[deployers.Channel]deployers.Answer // channels without an answer, and what was to be said of that
	asked     map[string][]deployers.Channel         // by the service's unit
	forgotten map[string]int                         // how often, by unit
	left      time.Duration                          // of the patience with silent channels
}

// NewFinder returns a Finder that has not found out anything yet. Without
// systemd units is nil.
func NewFinder(units Units, programs Programs, channels Channels) *Finder {
	return &Finder{
		units: units, programs: programs, channels: channels,
		seen: map[string]deployers.Unit{}, outputs: map[string]deployers.Output{}, answers: map[deployers.Query]deployers.Answer{},
		turns: map[string]*sync.Mutex{}, listening: map[listening]network{}, titles: map[service][]string{}, texts: map[text][]deployers.Text{}, running: map[text][]deployers.Process{},
		found: map[asker]deployers.Facts{}, silent: map[deployers.Channel]deployers.Answer{}, asked: map[string][]deployers.Channel{}, forgotten: map[string]int{}, left: patience,
	}
}

// Bounds of what a deployer may ask for.
const (
	mostRounds = 10
	mostTexts  = 500      // files for one path or glob
	textLimit  = 1 << 20  // bytes of a file; a longer one is left out
	globLimit  = 16 << 20 // bytes of all files of a glob; those behind are left out
)

// Of finds out what a deployer wants to know about a target's service, in
// rounds: what comes out of one may raise the questions of the next. Activated
// is when certlatch last told the service to take new files; zero: it is not
// known to have. It fails with an error of systemd, or where a deployer goes on
// asking. What it returns is for all lineages of the target, and is not to be
// written to.
func (f *Finder) Of(ctx context.Context, d deployers.Deployer, t deployers.Target, activated time.Time) (deployers.Facts, error) {
	who := asker{d.Name(), t.Name, t.Unit, activated}
	defer f.turn(who)()
	return once(f, f.found, who, t.Unit, func() (deployers.Facts, error) { return f.find(ctx, d, t, activated) })
}

// find asks a deployer what it wants to know until it wants nothing more.
func (f *Finder) find(ctx context.Context, d deployers.Deployer, t deployers.Target, activated time.Time) (deployers.Facts, error) {
	facts := deployers.Facts{
		Systemd: f.units != nil, Activated: activated, Made: &f.made,
		Outputs: map[string]deployers.Output{}, Texts: map[string][]deployers.Text{}, Answers: map[deployers.Query]deployers.Answer{},
	}
	asked := map[string]bool{}
	for range mostRounds {
		news, err := f.learn(ctx, &facts, d.Wants(t, facts), asked)
		if err != nil || !news {
			return facts, err
		}
	}
	return facts, fmt.Errorf("deployer %s goes on asking after %d rounds", d.Name(), mostRounds)
}

// learn finds out what has not been asked for before, and reports whether there
// was anything.
func (f *Finder) learn(ctx context.Context, facts *deployers.Facts, wants deployers.Wants, asked map[string]bool) (news bool, err error) {
	first := func(format string, args ...any) bool {
		key := fmt.Sprintf(format, args...)
		if asked[key] {
			return false
		}
		asked[key], news = true, true
		return true
	}
	outputs := f.begin(ctx, wants.Commands, first)
	defer func() { maps.Copy(facts.Outputs, outputs()) }()
	if facts.Systemd && wants.Unit != "" && first("unit %s", wants.Unit) {
		if facts.Unit, err = f.Unit(ctx, wants.Unit); err != nil {
			return news, err
		}
		if err = lookAtUser(facts); err != nil {
			return news, err
		}
	}
	if wants.PIDFile != "" && first("process %s", wants.PIDFile) {
		if facts.Master, err = process.FromPIDFile(wants.PIDFile, wants.Program); err != nil {
			return news, err
		}
	}
	if wants.Program != "" && facts.Unit.Running() && facts.Unit.MainPID != 0 && first("main process") {
		facts.Main = deployers.Process(process.Describe(facts.Unit.MainPID))
	}
	if wants.Program != "" && isElsewhere(*facts) && first("processes of %s", wants.Program) {
		if facts.Outside, err = f.outside(wants); err != nil {
			return news, err
		}
	}
	if stopped := facts.Unit.LoadState == "loaded" && !facts.Unit.Running(); stopped && len(wants.Ports) > 0 && first("holders %v", wants.Ports) {
		if facts.Holders, err = f.holding(wants); err != nil {
			return news, err
		}
	}
	if len(wants.Ports) > 0 && first("ports %v", wants.Ports) {
		if facts.Listeners, facts.Apart, err = f.listeners(*facts, wants); err != nil {
			return news, err
		}
	}
	if wants.Titles && first("titles") {
		if facts.Titles, err = f.titlesOf(*facts, wants); err != nil {
			return news, err
		}
	}
	if wants.Argv && facts.Unit.Running() && facts.Unit.MainPID != 0 && first("arguments") {
		if facts.Argv, err = arguments(facts.Unit); err != nil {
			return news, err
		}
	}
	if wants.Argv && hasVariables(facts.Unit) && first("variables") {
		facts.Unit.ExecStart = resolved(facts.Unit)
	}
	for _, path := range wants.Texts {
		if first("text %s", path) {
			facts.Texts[path] = f.textsAt(path, wants)
		}
	}
	for _, query := range wants.Queries {
		if first("query %v", query) {
			facts.Answers[query] = f.answer(ctx, wants.Unit, query)
		}
	}
	return news, ctx.Err()
}

// begin runs those commands that are asked for for the first time, and returns what
// waits for what they print: meanwhile something else can be found out.
func (f *Finder) begin(ctx context.Context, commands [][]string, first func(format string, args ...any) bool) (outputs func() map[string]deployers.Output) {
	var all sync.WaitGroup
	keys, printed := make([]string, len(commands)), make([]deployers.Output, len(commands))
	for i, argv := range commands {
		if key := strings.Join(argv, "\x00"); first("command %s", key) {
			keys[i] = key
			all.Go(func() { printed[i] = f.output(ctx, key, argv) })
		}
	}
	return func() map[string]deployers.Output {
		all.Wait()
		byKey := map[string]deployers.Output{}
		for i, key := range keys {
			if key != "" {
				byKey[key] = printed[i]
			}
		}
		return byKey
	}
}

// lookAtUser finds out whom a unit runs as, where systemd makes that up, and what it has
// become, where it is started as root.
func lookAtUser(facts *deployers.Facts) (err error) {
	unit := facts.Unit
	if unit.User == "" && unit.Running() && unit.MainPID != 0 {
		facts.Runs, err = process.IDs(unit.MainPID)
		return err
	}
	if !unit.DynamicUser {
		return nil
	}
	facts.DynamicUser, facts.DynamicGroup, err = account.Dynamic(unit.User, unit.Group)
	if err != nil || !facts.DynamicUser || !unit.Running() || unit.MainPID == 0 {
		return err
	}
	ids, err := process.IDs(unit.MainPID)
	if ids.Known && account.IsDynamic(int(ids.UID)) { // else it is still becoming that user
		facts.Runs = ids
	}
	return err
}

// isElsewhere reports whether a service's processes have to be looked for outside of
// its unit too.
func isElsewhere(facts deployers.Facts) bool {
	return !facts.Unit.Running() || facts.Unit.MainPID == 0 || facts.Master != 0 && facts.Master != facts.Unit.MainPID
}

// processes returns those of the service, in its unit or else outside of any.
func processes(facts deployers.Facts) (pids []int, err error) {
	switch {
	case facts.Unit.Running():
		return process.Members(facts.Unit.ControlGroup)
	case facts.Master != 0:
		return process.Descendants(facts.Master)
	}
	for _, p := range facts.Outside {
		if p.Unit != "" {
			continue
		}
		family, err := process.Descendants(p.PID)
		if err != nil {
			return nil, err
		}
		pids = append(pids, family...)
	}
	return pids, nil
}

// Texts reads the regular files that a path or glob names, by path. What cannot
// be read, is longer than 1 MiB, or lies behind 16 MiB of others, is left out.
func Texts(path string) []deployers.Text {
	names, err := filepath.Glob(path)
	if err != nil {
		return nil // a glob that is none matches nothing
	}
	slices.Sort(names)
	var found []deployers.Text
	total := 0
	for _, name := range names[:min(len(names), mostTexts)] {
		if content, _, err := disk.ReadFile(name, textLimit+1); err == nil && len(content) <= textLimit && total+len(content) <= globLimit {
			total += len(content)
			text := deployers.Text{Path: name, Content: string(content)}
			if _, end, err := disk.Trace(name); err == nil && end != name {
				text.Real = end
			}
			found = append(found, text)
		}
	}
	return found
}
