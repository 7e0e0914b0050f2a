package engine

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/process"
	"github.com/certlatch/certlatch/internal/state"
)

// Bounds of what a deployer may ask for.
const (
	mostRounds = 10
	mostTexts  = 500     // files for one path or glob
	textLimit  = 1 << 20 // bytes of a file; a longer one is left out
)

// facts finds out what a deployer wants to know about a target's service, in
// rounds: what comes out of one may raise the questions of the next.
func (r *run) facts(ctx context.Context, d deployers.Deployer, t deployers.Target) (deployers.Facts, error) {
	facts := deployers.Facts{
		Systemd: r.Units != nil,
		Outputs: map[string]deployers.Output{}, Texts: map[string][]deployers.Text{}, Answers: map[deployers.Query]deployers.Answer{},
	}
	if r.state != nil { // else nothing is known but what the host shows
		if at := r.state.Activations[unitKey(t.Unit)]; !state.Ahead(at, time.Now()) {
			facts.Activated = at
		}
	}
	asked := map[string]bool{}
	for range mostRounds {
		news, err := r.learn(ctx, &facts, d.Wants(t, facts), asked)
		if err != nil || !news {
			return facts, err
		}
	}
	return facts, fmt.Errorf("deployer %s goes on asking after %d rounds", d.Name(), mostRounds)
}

// learn finds out what has not been asked for before, and tells whether there
// was anything.
func (r *run) learn(ctx context.Context, facts *deployers.Facts, wants deployers.Wants, asked map[string]bool) (news bool, err error) {
	first := func(format string, args ...any) bool {
		key := fmt.Sprintf(format, args...)
		if asked[key] {
			return false
		}
		asked[key], news = true, true
		return true
	}
	if facts.Systemd && wants.Unit != "" && first("unit %s", wants.Unit) {
		if facts.Unit, err = r.unit(ctx, wants.Unit); err != nil {
			return news, err
		}
	}
	if wants.PIDFile != "" && first("process %s", wants.PIDFile) {
		if facts.Master, err = process.FromPIDFile(wants.PIDFile, wants.Program); err != nil {
			return news, err
		}
	}
	if len(wants.Ports) > 0 && first("ports %v", wants.Ports) {
		if facts.Listeners, err = listeners(*facts, wants.Ports); err != nil {
			return news, err
		}
	}
	if wants.Titles && first("titles") {
		pids, err := processes(*facts)
		if err != nil {
			return news, err
		}
		facts.Titles = process.Titles(pids)
	}
	for _, argv := range wants.Commands {
		if key := strings.Join(argv, "\x00"); first("command %s", key) {
			facts.Outputs[key] = r.seen.output(ctx, key, argv)
		}
	}
	for _, path := range wants.Texts {
		if first("text %s", path) {
			facts.Texts[path] = texts(path)
		}
	}
	for _, query := range wants.Queries {
		if first("query %v", query) {
			facts.Answers[query] = r.seen.answer(ctx, wants.Unit, query)
		}
	}
	return news, ctx.Err()
}

// processes returns those of the service.
func processes(facts deployers.Facts) ([]int, error) {
	switch {
	case facts.Unit.Running():
		return process.Members(facts.Unit.ControlGroup)
	case facts.Master != 0:
		return process.Descendants(facts.Master)
	}
	return nil, nil
}

// listeners returns where the service's processes listen.
func listeners(facts deployers.Facts, ports []uint16) ([]netip.AddrPort, error) {
	pids, err := processes(facts)
	if err != nil {
		return nil, err
	}
	return process.Listeners(pids, ports)
}

// texts reads the regular files that a path or glob names.
func texts(path string) []deployers.Text {
	names, err := filepath.Glob(path)
	if err != nil {
		return nil // a glob that is none matches nothing
	}
	slices.Sort(names)
	var found []deployers.Text
	for _, name := range names[:min(len(names), mostTexts)] {
		if content, _, err := disk.ReadFile(name, textLimit+1); err == nil && len(content) <= textLimit {
			found = append(found, deployers.Text{Path: name, Content: string(content)})
		}
	}
	return found
}

// unit looks at a systemd unit, once a run.
func (r *run) unit(ctx context.Context, name string) (deployers.Unit, error) {
	if seen, ok := r.seen.units[name]; ok {
		return seen, nil
	}
	units, err := r.manager(ctx)
	if err != nil {
		return deployers.Unit{}, err
	}
	unit, err := units.Unit(ctx, name)
	if err == nil {
		r.seen.units[name] = unit
	}
	return unit, err
}

// manager gives the connection to systemd, made when it is first needed.
func (r *run) manager(ctx context.Context) (Units, error) {
	if r.units == nil {
		units, err := r.Units(ctx)
		if err != nil {
			return nil, &systemdError{err}
		}
		r.units = units
	}
	return r.units, nil
}
