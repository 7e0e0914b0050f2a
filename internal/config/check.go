package config

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/paths"
)

// build fills in the effective configuration from what was written, and checks
// keys against each other.
func (r *report) build(cfg *Config, doc *document, on host) {
	cfg.State = cmp.Or(string(doc.State), DefaultState)
	if cfg.Run = DefaultRun; cfg.State != DefaultState {
		cfg.Run = path.Join(cfg.State, "run")
	}
	cfg.Roots, cfg.Doubles = r.roots(doc.Lineages, on)
	cfg.Policy = doc.Policy.overlay(Policy{Trust: "system"})
	for i, keys := range doc.Targets {
		where := fmt.Sprintf("targets[%d]", i)
		target := r.target(where, keys, cfg.Policy)
		r.checkTarget(where, keys, target.Target)
		cfg.Targets = append(cfg.Targets, target)
	}
	r.checkRoots(cfg, doc.Lineages != nil)
	r.checkNames(cfg)
	r.checkPaths(cfg)
}

// roots returns the roots that are written, or the usual ones that exist where
// none are; the directory of a wrong one is empty. Doubles are those that are another
// name of one.
func (r *report) roots(written *[]rootKeys, on host) (roots []lineage.Root, doubles []Problem) {
	if written == nil {
		for _, keeper := range hooks.Keepers() {
			if len(keeper.Places) > 0 && !keeper.OnlyAsked && on.exists(keeper.Places[0]) {
				roots = append(roots, keeper.Root(keeper.Places[0]))
			}
		}
		return roots, nil
	}
	for i, keys := range *written {
		where := fmt.Sprintf("lineages[%d]", i)
		if n := len(keys.Dirs); n > 1 || n == 0 && !r.wrongBelow(where) {
			r.problemAt(where, fmt.Sprintf("an entry is one place, and here are %d", n), `write each place as an entry of its own, such as "- certbot: /etc/letsencrypt/live"`)
		}
		for _, keeper := range hooks.Keepers() {
			dir, ok := keys.Dirs[keeper.Name]
			if !ok {
				continue
			}
			if before := slices.IndexFunc(roots, func(r lineage.Root) bool { return *dir != "" && r.Dir == string(*dir) }); before >= 0 {
				r.problemAt(where, fmt.Sprintf("%s is named above already, as a place of %s", *dir, roots[before].Client), "remove one of the two entries")
			}
			if one := slices.IndexFunc(roots, func(r lineage.Root) bool { return r.Dir != string(*dir) && on.isSame(r.Dir, string(*dir)) }); one >= 0 {
				doubles = append(doubles, Problem{
					Line: r.lineOf(where), Where: where,
					What:   fmt.Sprintf("%s is the directory that is named above already, as %s of %s", *dir, roots[one].Dir, roots[one].Client),
					Remedy: "remove one of the two entries",
				})
				continue
			}
			roots = append(roots, keeper.Root(string(*dir)))
		}
	}
	return roots, doubles
}

// overlay returns a policy with the keys that are written in place of its own.
func (k policyKeys) overlay(p Policy) Policy {
	p.Trust = cmp.Or(string(k.Trust), p.Trust)
	if k.Accept != nil {
		p.Accept = texts[string](*k.Accept)
	}
	return p
}

// texts converts a list to one of type To.
func texts[To, From ~string](list []From) []To {
	var texts []To
	for _, text := range list {
		texts = append(texts, To(text))
	}
	return texts
}

func (r *report) target(where string, k targetKeys, global Policy) Target {
	t := Target{Policy: k.Policy.overlay(global), Line: r.lineOf(where)}
	t.Target = deployers.Target{
		Name: string(k.Name), Service: k.Service, Lineage: string(k.Lineage),
		Directory: string(k.Directory), Certificate: string(k.Certificate), Key: string(k.Key),
		Chain: string(k.Chain), Combined: string(k.Combined),
		User: string(k.User), Group: string(k.Group), Mode: fs.FileMode(defaultMode),
		Unit: string(k.Unit), Names: texts[string](k.Names), AllowRestart: k.AllowRestart,
		Window: (*deployers.Window)(k.Window), Contact: k.Contact,
	}
	if k.Mode != nil {
		t.Mode = fs.FileMode(*k.Mode)
	}
	if k.ACL != nil {
		t.ACL = []deployers.Reader{}
		for _, r := range *k.ACL {
			t.ACL = append(t.ACL, deployers.Reader(r))
		}
	}
	if k.Probe != nil {
		t.ProveNothing = len(*k.Probe) == 0
		for _, p := range *k.Probe {
			t.Probes = append(t.Probes, endpoint.Endpoint(p))
		}
	}
	if deployer, ok := all.For(k.Service); ok {
		t.Options = deployer.Options()
		if block, ok := k.Blocks[k.Service]; ok {
			t.Options = block
		}
		deployer.Defaults(&t.Target)
	}
	return t
}

// checkTarget checks the keys of one target against each other, and against
// what the service's defaults make of them.
func (r *report) checkTarget(where string, k targetKeys, t deployers.Target) {
	if r.wrong[where] {
		return // a problem of the keys themselves is reported already
	}
	if !r.isGiven(where+".name", string(k.Name)) {
		r.problemAt(where+".name", "the target has no name", "write one, such as name: web")
	}
	r.checkService(where, k)
	if !r.isGiven(where+".lineage", string(k.Lineage)) {
		r.problemAt(where+".lineage", "the target takes no lineage", "write the lineage's name, or a glob")
	}
	r.checkLayout(where, k, t)
	for _, p := range k.paths() {
		if _, names := k.Lineage.split(); names.glob() && p.path != "" && !strings.Contains(p.path, placeholder) {
			r.problemAt(where+"."+p.key, fmt.Sprintf("the lineages that %q takes would all be written to this path", k.Lineage), "put {lineage} into the path")
		}
	}
}

func (r *report) checkService(where string, k targetKeys) {
	known := strings.Join(all.Names(), ", ")
	if !r.isGiven(where+".service", k.Service) {
		r.problemAt(where+".service", "the target has no service", "write one of "+known)
		return
	}
	if !slices.Contains(all.Names(), k.Service) {
		r.problemAt(where+".service", fmt.Sprintf("%.80q is not a known service", k.Service), "use one of "+known+"; generic fits any service")
		return
	}
	for _, other := range slices.Sorted(maps.Keys(k.Blocks)) {
		if other != k.Service {
			r.problemAt(where+"."+other, fmt.Sprintf("this block belongs to the service %s, and the target's is %s", other, k.Service), "remove the block, or correct service")
		}
	}
}

func (r *report) checkLayout(where string, k targetKeys, t deployers.Target) {
	managed := r.isGiven(where+".directory", string(k.Directory))
	certificate := r.isGiven(where+".certificate", string(k.Certificate))
	key := r.isGiven(where+".key", string(k.Key))
	switch {
	case r.checkRow(where, k):
	case managed && (certificate || key || k.Chain != "" || k.Combined != ""):
		r.problemAt(where, "directory stands beside certificate, key, chain or combined", "keep either directory (certlatch names the files) or the paths of the files")
	case !managed && t.Certificate == "" && !key:
		r.problemAt(where, "nothing says where the files go", "set certificate and key, or directory")
	case certificate && !key:
		r.problemAt(where+".key", "certificate is set and key is not", "set both, or only directory")
	case key && !certificate:
		r.problemAt(where+".certificate", "key is set and certificate is not", "set both, or only directory")
	}
}

// checkRow checks a target whose pair goes into a database, and reports whether
// it is one.
func (r *report) checkRow(where string, k targetKeys) bool {
	for _, service := range slices.Sorted(maps.Keys(k.Blocks)) {
		if options, ok := k.Blocks[service].(deployers.RowOptions); ok && r.checkRowKeys(where, service, k, options.RowKeys()) {
			return true
		}
	}
	return false
}

// checkRowKeys checks what a service's block says of a row, and reports whether
// the pair goes there.
func (r *report) checkRowKeys(where, service string, k targetKeys, row deployers.RowKeys) bool {
	database, domain := service+"."+row.DatabaseKey, service+"."+row.DomainKey
	if !r.isGiven(where+"."+database, string(row.Database)) {
		return false
	}
	for _, p := range k.paths() {
		if p.path != "" {
			r.problemAt(where+"."+p.key, "the pair goes into a database, and not into files", "remove this key, or "+database+" where "+row.FilesWhere)
		}
	}
	if _, names := k.Lineage.split(); names.glob() && !strings.Contains(row.Domain, placeholder) {
		r.problemAt(where+"."+domain, fmt.Sprintf("the lineages that %q takes would all be written to this row", k.Lineage), "put {lineage} into the domain")
	}
	return true
}

// checkRoots checks that every target has places to take lineages from.
func (r *report) checkRoots(cfg *Config, written bool) {
	const remedy = `name a place below lineages, such as "- certbot: /etc/letsencrypt/live"`
	switch {
	case len(cfg.Targets) == 0 || len(cfg.Roots) == 0 && r.wrongBelow("lineages"):
	case len(cfg.Roots) == 0 && written:
		r.problemAt("lineages", "the list is empty, so the targets get no certificates", remedy)
	case len(cfg.Roots) == 0:
		r.problemAt("targets", "there is no place to take lineages from: lineages is not set, and none of the usual places exists", remedy)
	default:
		for i, t := range cfg.Targets {
			client, _ := selector(t.Lineage).split()
			if client != "" && !slices.ContainsFunc(cfg.Roots, func(root lineage.Root) bool { return root.Client == client }) {
				r.problemAt(fmt.Sprintf("targets[%d].lineage", i), "there is no place of "+client+" to take it from", fmt.Sprintf(`add "- %s: DIRECTORY" to lineages`, client))
			}
		}
	}
}

func (r *report) checkNames(cfg *Config) {
	first := map[string]int{}
	for i, t := range cfg.Targets {
		if before, ok := first[t.Name]; ok && t.Name != "" {
			r.problemAt(fmt.Sprintf("targets[%d].name", i), fmt.Sprintf("the target in line %d has the name %q too", cfg.Targets[before].Line, t.Name), "give each target a name of its own")
			continue
		}
		first[t.Name] = i
	}
}

// claim is what a target writes: a path, everything below a directory, or a row
// of a database.
type claim struct {
	where string
	names selector // the lineages that may come here, without a client
	path  string   // {lineage} is filled in, unless names is a glob
	tree  bool     // everything below path is claimed too
	row   bool     // path is a row of a database
}

// checkPaths reports files that two targets would write, and those that an ACME
// client or certlatch itself keeps.
func (r *report) checkPaths(cfg *Config) {
	var claims []claim
	for i, t := range cfg.Targets {
		for _, c := range t.claims(fmt.Sprintf("targets[%d]", i)) {
			if !c.row {
				r.checkKept(cfg, c)
			}
			if before := slices.IndexFunc(claims, c.collides); before >= 0 {
				where, remedy := claims[before].where, "give each a path of its own"
				if c.row {
					remedy = "give each a domain of its own"
				}
				r.problemAt(c.where, fmt.Sprintf("it overlaps with %s in line %d", where, r.lineOf(where)), remedy)
			}
			claims = append(claims, c)
		}
	}
	for _, root := range cfg.Roots {
		if paths.Within(cfg.State, root.Dir) || paths.Within(root.Dir, cfg.State) {
			r.problemAt("state", fmt.Sprintf("%s and the lineages of %s in %s lie in each other", cfg.State, root.Client, root.Dir), "keep them apart, as with state: "+DefaultState)
		}
	}
}

func (r *report) checkKept(cfg *Config, c claim) {
	kept := func(dir, by string) {
		switch {
		case paths.Within(c.path, dir):
			r.problemAt(c.where, fmt.Sprintf("the path lies in %s, where %s keeps its own files", dir, by), "choose one outside, in a directory of the service")
		case c.tree && paths.Within(dir, c.path):
			r.problemAt(c.where, fmt.Sprintf("%s lies in this directory, and %s keeps its own files there", dir, by), "choose a directory that holds nothing else")
		}
	}
	for _, root := range cfg.Roots {
		by := root.Client
		if _, ok := hooks.For(by); !ok {
			by = "an ACME client"
		}
		kept(root.Dir, by)
	}
	kept(cfg.State, "certlatch")
}

// claims returns the claims of a target.
func (t Target) claims(where string) []claim {
	_, names := selector(t.Lineage).split()
	var claims []claim
	for _, p := range t.keys().paths() {
		claims = append(claims, claim{where: where + "." + p.key, names: names, path: p.path, tree: p.key == "directory"})
	}
	if options, ok := t.Options.(deployers.RowOptions); ok && options.RowKeys().Database != "" {
		row := options.RowKeys()
		claims = append(claims, claim{where: where + "." + t.Service + "." + row.DatabaseKey, names: names, path: fmt.Sprintf("%s %s %d %s", row.Domain, row.Table, row.Type, row.Database.Place()), row: true})
	}
	for i, c := range claims {
		if !names.glob() {
			claims[i].path = c.pathFor(names)
		}
	}
	return slices.DeleteFunc(claims, func(c claim) bool { return c.path == "" })
}

func (c claim) pathFor(name selector) string { return fill(c.path, name.literal()) }

// fill returns a path with the name of a lineage in it.
func fill(path, lineage string) string { return strings.ReplaceAll(path, placeholder, lineage) }

// collides reports whether both claims may mean one path for one lineage.
func (c claim) collides(other claim) bool {
	switch mine, its := c.names.glob(), other.names.glob(); {
	case mine && its:
		return c.names.mayOverlap(other.names) && c.touches(other)
	case mine:
		c.path = c.pathFor(other.names)
		return c.names.matches(other.names.literal()) && c.touches(other)
	case its:
		return other.collides(c)
	default:
		return c.touches(other)
	}
}

func (c claim) touches(other claim) bool {
	return c.row == other.row && c.path == other.path || c.tree && paths.Within(other.path, c.path) || other.tree && paths.Within(c.path, other.path)
}
