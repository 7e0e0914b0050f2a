package deployers

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// NewPlan begins a plan with what is alike for every service: the files of
// the target's layout, their owner and mode, and the probes that were written
// down or that follow from listeners of the given scheme.
func NewPlan(t Target, l lineage.Lineage, f Facts, scheme string) Plan {
	expand := func(path string) string { return strings.ReplaceAll(path, "{lineage}", l.Name) }
	plan := Plan{Target: t.Name, Service: t.Service, Lineage: l.Name, Directory: expand(t.Directory), Probes: t.Probes}

	group := t.Group
	if group == "" {
		group = f.Unit.Group
	}
	if group == "" && f.Unit.User != "" {
		group = f.Unit.User + ":" // the primary group of that user
	}
	add := func(content Content, path string) {
		if path == "" {
			return
		}
		file := File{Path: expand(path), Content: content, User: t.User, Group: group, Mode: 0o644}
		if content.HoldsKey() {
			file.Mode = t.Mode
		}
		plan.Files = append(plan.Files, file)
	}
	if t.Directory != "" {
		current := filepath.Join(t.Directory, "current")
		add(Fullchain, filepath.Join(current, "fullchain.pem"))
		add(Chain, filepath.Join(current, "chain.pem"))
		add(Key, filepath.Join(current, "privkey.pem"))
	} else {
		add(Fullchain, t.Certificate)
		add(Chain, t.Chain)
		add(Key, t.Key)
		add(Combined, t.Combined)
	}

	plan.Reader = Account{User: f.Unit.User, Group: f.Unit.Group, SupplementaryGroups: f.Unit.SupplementaryGroups}
	if t.Probes == nil && !t.ProveNothing {
		plan.Found = true
		for _, addr := range f.Listeners {
			plan.Probes = append(plan.Probes, endpoint.At(scheme, addr, ""))
		}
	}
	if t.ProveNothing {
		plan.Warn(Serving, "leave probe out, or write one", "probe: [] is set, so nothing will prove that the new certificate is served")
	}
	if f.Unit.NeedDaemonReload {
		plan.Warn(Reload, "systemctl daemon-reload lets it count", "%s was changed on disk since systemd read it", f.Unit.Name)
	}
	return plan
}

// Writes reports whether the plan writes a file with one of the contents at a
// path.
func (p Plan) Writes(path string, contents ...Content) bool {
	return slices.ContainsFunc(p.Files, func(f File) bool { return f.Path == path && slices.Contains(contents, f.Content) })
}

// UnitActivation is the way of a service that systemd manages: a reload job
// where the unit has one, else a restart where that is allowed.
func UnitActivation(t Target, f Facts) (Activation, error) {
	switch u := f.Unit; {
	case !f.Systemd:
		return Activation{}, &NoWayError{
			Target: t.Name, About: Reload,
			Why:    "systemd does not run here, so " + t.Unit + " cannot be reloaded",
			Remedy: "use service: generic with generic: {activate: [program, argument]} for this target",
		}
	case u.LoadState != "loaded":
		return Activation{}, &UnitError{Unit: t.Unit, LoadState: u.LoadState}
	case !u.Running():
		return Activation{Way: NoWay, Unit: t.Unit, Wait: ServiceInactive}, nil
	case u.CanReload:
		return Activation{Way: ReloadUnit, Unit: t.Unit}, nil
	case t.AllowRestart:
		return Activation{Way: RestartUnit, Unit: t.Unit, Why: t.Unit + " has no reload; allow_restart is set, so it is restarted"}, nil
	default:
		return Activation{Way: NoWay, Unit: t.Unit, Wait: RestartNotAllowed, Why: t.Unit + " has no reload"}, nil
	}
}

// SIPDomains are the names that are SIP domains: all but those of probes that
// do not speak SIP.
func SIPDomains(t Target, plan Plan) []string {
	names := slices.Concat(t.Names, plan.Names)
	for _, e := range plan.Probes {
		if e.Scheme == "sips" && e.Name != "" {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
