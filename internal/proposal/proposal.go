// Package proposal makes a first configuration out of what was found on a
// host: which lineage belongs into which service, and where its files go. The
// proposal is data, and [Proposal.Write] makes commented YAML of it.
//
// It does not look at the host itself. It does not promise that a proposal is
// what the operator wants: each target says what it was concluded from.
package proposal

import (
	"cmp"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/paths"
)

// Host is what was found.
type Host struct {
	Roots    []lineage.Root // where clients keep lineages
	Lineages []Lineage
	Services []Service       // the services that are installed
	Files    map[string]File // by the paths of certificates and keys that services name
	Unknown  []string        // what could not be found out, in sentences for people
}

// Lineage is a lineage with what it holds.
type Lineage struct {
	lineage.Lineage
	Leaf lineage.Leaf
}

// Service is a service and what its configuration says.
type Service struct {
	Name string
	Unit string // of an instance beside the usual one; empty: that one
	deployers.Discovery
}

// Called returns what the service is called: its preset, where it has one.
func (s Service) Called() string { return cmp.Or(s.Preset, s.Name) }

// String returns the service, with its unit where that tells it from others.
func (s Service) String() string {
	if s.Unit == "" {
		return s.Called()
	}
	return s.Called() + " (" + s.Unit + ")"
}

// File is what is at the path of a certificate, or of a key.
type File struct {
	Leaf       *lineage.Leaf // of a certificate; nil: none could be read
	SelfIssued bool
	Link       bool     // the path itself is a symlink
	LinkedAt   []string // the first link on the way to it below the service's tree; nil: there is none
	Foreign    bool     // of a configuration: others than root could have written it
	Kept       string   // the lineage, CLIENT:NAME, whose own file this is; empty: of none
	KeptBy     string   // the client in whose directory it lies; empty: none

	// Of a key that the service can read: the owner, group and mode that it has, as
	// far as a target would not give it those by default.
	User, Group string
	Mode        fs.FileMode
}

// Proposal is a configuration.
type Proposal struct {
	Roots   []lineage.Root
	Targets []Target
	Unused  []string // lineages that no target takes
	Unknown []string
	Secret  bool // a password is to be written into it
}

// Target is one target of the proposal.
type Target struct {
	Name, Service, Lineage      string
	Preset                      string // of generic; empty: none
	Unit                        string // empty: the service's usual one
	Directory, Certificate, Key string
	Combined                    string // a file with both, beside them; empty: there is none
	User, Group                 string // of the files; empty: what a target has by default
	Mode                        fs.FileMode
	Domain                      string // of a row of a database, in place of files
	Settings                    []deployers.Setting
	Probes                      []endpoint.Endpoint

	Idle  bool     // it is only shown, commented out
	About []string // comments: what it was concluded from, and what it means
	Steps []Step   // what the operator has to do
	of    lineage.Lineage
	Copy  string // the client whose own file the service takes, of which the target keeps a copy; empty: it does not
}

// Called returns what the target's service is called: its preset, where it has one.
func (t Target) Called() string { return cmp.Or(t.Preset, t.Service) }

// Step is something that the operator has to do.
type Step struct {
	Says  string
	Lines []string // commands, or lines of a service's configuration
}

// Make returns the proposal for a host.
func Make(host Host) Proposal {
	m := maker{Host: host, out: Proposal{Unknown: slices.Clone(host.Unknown)}}
	for _, root := range host.Roots {
		if m.hasLineages(root) {
			m.out.Roots = append(m.out.Roots, root)
		}
	}
	for _, s := range host.Services {
		passed := m.passedOver(s)
		for n, use := range s.Uses {
			if !passed[n] {
				m.propose(s, use)
			}
		}
		m.out.Unknown = append(m.out.Unknown, s.Unknown...)
	}
	for _, s := range host.Services {
		for _, use := range s.Plain {
			m.proposePlain(s, use)
		}
	}
	m.nameTargets()
	m.addUnused()
	return m.out
}

// Beyond returns the proposal without targets for lineages that are claimed already, but
// for those of services that have none yet, and with other names for those whose name is
// taken.
func (p Proposal) Beyond(isClaimed func(lineage.Lineage) bool, isServed func(service string) bool, isTaken func(name string) bool) Proposal {
	p.Targets = slices.DeleteFunc(slices.Clone(p.Targets), func(t Target) bool { return isClaimed(t.of) && isServed(t.Service) })
	given := map[string]bool{}
	for i := range p.Targets {
		name := p.Targets[i].Name
		for n := 2; isTaken(p.Targets[i].Name) || given[p.Targets[i].Name]; n++ {
			p.Targets[i].Name = fmt.Sprintf("%s-%d", name, n)
		}
		given[p.Targets[i].Name] = true
	}
	return p
}

// maker makes a proposal, target by target.
type maker struct {
	Host
	out Proposal
}

// hasLineages reports whether lineages were found below a root.
func (m *maker) hasLineages(root lineage.Root) bool {
	return slices.ContainsFunc(m.Lineages, func(l Lineage) bool { return paths.Within(l.Fullchain, root.Dir) })
}

// propose adds a target for one use of a service, or adds the use to the target
// that writes the same files.
func (m *maker) propose(s Service, use deployers.Use) {
	found := m.match(s, use)
	concluded := fmt.Sprintf("%s: %s. %s", s, describeUse(use), found.why)
	if found.lineage == nil {
		m.out.Unknown = append(m.out.Unknown, concluded)
		return
	}
	t := Target{Service: s.Name, Preset: s.Preset, Unit: s.Unit, Lineage: m.nameOf(*found.lineage), About: []string{concluded}}
	t.Settings, t.of = use.Settings, found.lineage.Lineage
	if use.Note != "" {
		t.About = append(t.About, use.Note)
	}
	m.placeFiles(&t, s, use, *found.lineage)
	t.setProbes(use, found.lineage.Leaf)
	if found.rival != nil {
		t.Idle = true
		t.Steps = slices.Insert(t.Steps, 0, Step{Says: fmt.Sprintf(
			"say whether %s or %s is to be renewed, since both clients keep a lineage of that name and neither leaf is installed: write the one here as lineage, take the # away, and have the other client give its own up",
			found.lineage, found.rival)})
	}
	if m.Files[use.Source].Foreign {
		t.Idle = true
		t.Steps = slices.Insert(t.Steps, 0, Step{Says: fmt.Sprintf(
			"see that %s is meant for %s: others than root could have written that into %s. Then take the # away", found.lineage, s, use.Source)})
	}
	if same := m.sameTarget(t); same != nil {
		same.merge(t)
		return
	}
	if other := m.overlappingTarget(t); other != nil {
		t.Idle = true
		t.About = append(t.About, fmt.Sprintf("The target for %s writes these files already, and each file is one target's: give this service its own.", other.Called()))
	}
	m.out.Targets = append(m.out.Targets, t)
}

// proposePlain adds a target for a use that has no TLS so far, where a lineage is for
// all of its names and for no target.
func (m *maker) proposePlain(s Service, use deployers.Use) {
	found := m.match(s, use)
	if found.lineage == nil || found.rival != nil || !coversAll(*found.lineage, use.Names) {
		return
	}
	place := deployers.Place{Directory: s.Directory, Certificate: s.Certificate, Key: s.Key, Lines: use.Lines}
	t := Target{Service: s.Name, Unit: s.Unit, Lineage: m.nameOf(*found.lineage), of: found.lineage.Lineage}
	t.About = []string{fmt.Sprintf("%s: %s has no TLS yet. %s", s, use.Where, found.why)}
	t.ownFiles(place, use, found.lineage.Name)
	t.Steps = []Step{t.nameStep(s, use, place)}
	isTaken := slices.ContainsFunc(m.out.Targets, func(o Target) bool { return o.of == t.of })
	if same := m.sameTarget(t); same != nil {
		same.merge(t)
	} else if !isTaken {
		m.out.Targets = append(m.out.Targets, t)
	}
}

// describeUse returns what a use takes now, for people.
func describeUse(use deployers.Use) string {
	switch {
	case use.Domain != "":
		return use.Where + " comes from its database"
	case use.Certificate == "":
		return use.Where + " has no certificate yet"
	}
	return use.Where + " takes " + use.Certificate
}

// nameOf returns how a target names a lineage: with its client where another
// client has one with that name.
func (m *maker) nameOf(l Lineage) string {
	for _, other := range m.Lineages {
		if other.Name == l.Name && other.Client != l.Client {
			return l.Client + ":" + lineage.Pattern(l.Name)
		}
	}
	if slices.ContainsFunc(m.Roots, func(r lineage.Root) bool { return strings.HasPrefix(l.Name, r.Client+":") }) {
		return l.Client + ":" + lineage.Pattern(l.Name) // the name alone would be taken for another's
	}
	return lineage.Pattern(l.Name)
}

// placeFiles sets where the files of a target go: where the service looks for
// them, or else to a place of their own, with the steps that the operator has
// to take for that.
func (m *maker) placeFiles(t *Target, s Service, use deployers.Use, l Lineage) {
	files := m.Files[use.Certificate].withKey(m.Files[use.Key])
	why := whyNotWritten(s, use, files)
	if other := m.overlappingTarget(Target{Certificate: use.Certificate, Key: use.Key}); why == "" && s.Preset != "" && other != nil && other.Called() != s.Called() {
		why = fmt.Sprintf("The target for %s writes these files already, and each file is one target's, so this one keeps a copy for the service.", other.Called())
	}
	directory, isManaged := managedDirectory(use)
	place, moves := m.placeFor(s, use)
	switch {
	case use.Domain != "":
		t.Domain, t.Idle, m.out.Secret = use.Domain, use.Incomplete, true
	case why == "" && isManaged:
		t.Directory = directory
		t.keepRights(m.Files[use.Key])
	case why == "" && use.Certificate != "":
		t.Certificate, t.Key = use.Certificate, use.Key
		if use.Key == use.Certificate {
			t.besideCombined(use)
		}
		t.keepRights(m.Files[use.Key])
	default:
		t.ownFiles(place, use, l.Name)
	}
	if why != "" {
		t.About, t.Copy = append(t.About, why), files.KeptBy
	}
	if len(use.Either) > 0 {
		t.About = append(t.About, fmt.Sprintf("It takes either of that and %s, which cover the same name.", strings.Join(use.Either, ", ")))
	}
	switch {
	case moves:
		t.About = append(t.About, fmt.Sprintf("It looks through %s before it looks at what its configuration names one by one, so another directory is to take the place of that.", s.Tree))
		t.Steps = append(t.Steps, t.nameStep(s, use, place))
	case use.InTree && !t.Idle && (why != "" || len(use.Either) > 0):
		t.Steps = append(t.Steps, leaveOne(s, use, files))
	case why != "":
		t.Steps = append(t.Steps, t.nameStep(s, use, place))
	}
}

// besideCombined lets the target write the file that holds both, and each alone beside
// it, or above where the service takes all files of its directory.
func (t *Target) besideCombined(use deployers.Use) {
	t.Combined = use.Certificate
	dir, name := filepath.Split(strings.TrimSuffix(use.Certificate, filepath.Ext(use.Certificate)))
	if use.InDirectory {
		dir = filepath.Dir(filepath.Clean(dir))
	}
	t.Certificate, t.Key = filepath.Join(dir, name+".fullchain.pem"), filepath.Join(dir, name+".privkey.pem")
}

// placeFor returns the place for files of the target's own, and reports whether the service's
// tree has to move there for that: in a client's directories there is none.
func (m *maker) placeFor(s Service, use deployers.Use) (place deployers.Place, moves bool) {
	place = deployers.Place{Directory: s.Directory, Certificate: s.Certificate, Key: s.Key, Combined: s.Combined, Lines: s.Lines}
	holdsRoot := slices.ContainsFunc(m.Roots, func(r lineage.Root) bool { return paths.Within(r.Dir, s.Tree) })
	if s.Tree != "" && (m.Files[s.Tree].KeptBy != "" || holdsRoot) {
		place, moves = s.Elsewhere, use.InTree || use.Certificate == ""
		if !moves {
			place.Lines = s.Lines
		}
	}
	if use.Lines != nil {
		place.Lines = use.Lines
	}
	return place, moves
}

// leaveOne returns the step that leaves the target's files alone in the service's tree.
func leaveOne(s Service, use deployers.Use, files File) Step {
	others := slices.Clone(files.LinkedAt)
	if others == nil {
		others = append(others, use.Either...)
	}
	return Step{fmt.Sprintf("take the others out of %s once the target's files are there: %s takes any", s.Tree, s.Name), []string{"rm " + strings.Join(others, " ")}}
}

// keepRights lets the files belong to whom the key belongs now.
func (t *Target) keepRights(key File) {
	t.User, t.Group, t.Mode = key.User, key.Group, key.Mode
	if key.User != "" || key.Group != "" || key.Mode != 0 {
		t.About = append(t.About, "The key keeps the owner and mode that it has: the service can read it so.")
	}
}

// withKey returns what is true of a certificate and its key together.
func (f File) withKey(key File) File {
	f.Link = f.Link || key.Link
	f.KeptBy = cmp.Or(f.KeptBy, key.KeptBy)
	f.LinkedAt = deployers.Distinct(slices.Concat(f.LinkedAt, key.LinkedAt))
	return f
}

// managedDirectory returns the managed directory that a service takes its pair
// from, as after an earlier configuration, and reports whether it does so.
func managedDirectory(use deployers.Use) (directory string, is bool) {
	directory, is = strings.CutSuffix(use.Certificate, "/current/fullchain.pem")
	return directory, is && use.Key == directory+"/current/privkey.pem"
}

// ownFiles sets files of the target's own.
func (t *Target) ownFiles(at deployers.Place, use deployers.Use, lineage string) {
	fill := func(pattern string) string { return strings.ReplaceAll(pattern, "{lineage}", plainName(lineage)) }
	t.Directory, t.Certificate, t.Key, t.Combined = fill(at.Directory), fill(at.Certificate), fill(at.Key), fill(at.Combined)
	t.Idle = t.Certificate != "" && t.Certificate == use.Certificate // the file that is in the way has to be removed first
}

// plainName returns a lineage's name as the name of a directory that services'
// configurations take without quotes.
func plainName(lineage string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Letter, unicode.Mark, unicode.Digit) || strings.ContainsRune("._:@+-", r) {
			return r
		}
		return '_'
	}, lineage)
}

// nameStep returns the step that makes the service take the target's files.
func (t *Target) nameStep(s Service, use deployers.Use, at deployers.Place) Step {
	if t.Idle {
		return Step{"remove the links, and the # before these lines; certlatch deploy then puts files there", []string{"rm " + use.Certificate + " " + use.Key}}
	}
	certificate, key := cmp.Or(t.Combined, t.Certificate), t.Key
	if t.Directory != "" {
		certificate, key = t.Directory+"/current/fullchain.pem", t.Directory+"/current/privkey.pem"
	}
	var lines []string
	for _, line := range at.Lines {
		lines = append(lines, strings.NewReplacer("{certificate}", certificate, "{key}", key).Replace(line))
	}
	return Step{fmt.Sprintf("let %s name the target's files, for %s", s, use.Where), lines}
}

// setProbes sets probes where those that a deployment finds are not enough: these
// do not distinguish types of keys, and as long as the service does not name
// the target's files, there is no name to probe with for a wildcard. Those at ports
// that are not the usual ones are written too, for whoever reads the configuration.
func (t *Target) setProbes(use deployers.Use, leaf lineage.Leaf) {
	if !use.Twin && !use.Unusual && (len(t.Steps) == 0 || slices.ContainsFunc(leaf.Names, isPlainName)) {
		return
	}
	for _, probe := range use.Probes {
		if use.Twin {
			probe.Key = keyFamily(leaf.Key)
		}
		if t.Preset != "" && !(ranking{}).covers(Lineage{Leaf: leaf}, probe.Name) {
			probe.Name = "" // the service serves the certificate under other names too
		}
		t.Probes = append(t.Probes, probe)
	}
}

// whyNotWritten returns why certlatch cannot write where the service looks;
// empty: it can.
func whyNotWritten(s Service, use deployers.Use, file File) string {
	switch {
	case use.Certificate == "":
		return ""
	case file.KeptBy != "":
		return fmt.Sprintf("That is %s's own file, so this target keeps a copy for the service: see above.", file.KeptBy)
	case isSnakeoil(use.Certificate):
		return "That is the self-signed certificate which Debian's package ssl-cert makes for whichever service, so certlatch leaves it alone and keeps a pair of the service's own."
	case file.Link:
		return "That is a link, or its key is one, which certlatch does not replace; it keeps a copy for the service."
	case use.Key == use.Certificate && s.Preset == "":
		return "That file holds certificate and key in one; certlatch keeps the two apart."
	case use.Key == "":
		return "Where its key lies could not be found out; certlatch keeps a pair of the service's own."
	case !canBeConfigured(use.Certificate) || !canBeConfigured(use.Key):
		return "certlatch writes to no path of that form, and keeps a copy for the service."
	}
	return ""
}

// canBeConfigured reports whether a path may stand in a configuration.
func canBeConfigured(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && !strings.ContainsAny(path, "{}*?") &&
		!strings.ContainsFunc(path, unicode.IsControl) && utf8.ValidString(path)
}

// isSnakeoil reports whether a path is that of Debian's package ssl-cert.
func isSnakeoil(path string) bool { return path == "/etc/ssl/certs/ssl-cert-snakeoil.pem" }

// sameTarget returns the target that writes the same files of the same lineage
// for the same service, or nil.
func (m *maker) sameTarget(t Target) *Target {
	at := slices.IndexFunc(m.out.Targets, func(o Target) bool {
		return o.Called() == t.Called() && o.Unit == t.Unit && o.Lineage == t.Lineage && o.Domain == t.Domain &&
			o.Directory == t.Directory && o.Certificate == t.Certificate && o.Key == t.Key && o.Combined == t.Combined
	})
	if at < 0 {
		return nil
	}
	return &m.out.Targets[at]
}

// merge adds a target that a second use made to the one that writes the same
// files.
func (t *Target) merge(o Target) {
	for _, step := range o.Steps {
		if !slices.ContainsFunc(t.Steps, func(s Step) bool { return s.Says == step.Says }) {
			t.Steps = append(t.Steps, step)
		}
	}
	t.About = slices.Insert(t.About, 1, o.About[0])
	for _, text := range o.About[1:] {
		if !slices.Contains(t.About, text) {
			t.About = append(t.About, text)
		}
	}
	t.Idle = t.Idle || o.Idle
	for _, probe := range o.Probes {
		if !slices.Contains(t.Probes, probe) {
			t.Probes = append(t.Probes, probe)
		}
	}
}

// overlappingTarget returns a target that writes one of the files of another
// too, or nil.
func (m *maker) overlappingTarget(t Target) *Target {
	for i, o := range m.out.Targets {
		if o.Idle {
			continue
		}
		for _, mine := range t.paths() {
			for _, its := range o.paths() {
				if paths.Within(mine, its) || paths.Within(its, mine) {
					return &m.out.Targets[i]
				}
			}
		}
	}
	return nil
}

func (t Target) paths() []string {
	return slices.DeleteFunc([]string{t.Directory, t.Certificate, t.Key, t.Combined}, func(path string) bool { return path == "" })
}

// targetName matches the names that a target may have.
var targetName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._-]+$`) })

// nameTargets names the targets: by the role of their service, or by the
// service where two share a role, and by a unit that is not the usual one; where that leaves several with one name, with
// their lineage, or a number.
func (m *maker) nameTargets() {
	role := func(called string) string {
		at := slices.IndexFunc(m.Services, func(s Service) bool { return s.Called() == called })
		return m.Services[at].Role
	}
	of := func(t Target) string {
		if slices.ContainsFunc(m.out.Targets, func(o Target) bool { return o.Called() != t.Called() && role(o.Called()) == role(t.Called()) }) {
			return t.Called() + instance(t.Unit)
		}
		return role(t.Called()) + instance(t.Unit)
	}
	several := map[string]int{}
	for _, t := range m.out.Targets {
		several[of(t)]++
	}
	taken := map[string]bool{}
	for i := range m.out.Targets {
		t := &m.out.Targets[i]
		name := of(*t)
		if long := name + "-" + strings.ReplaceAll(t.Lineage, ":", "-"); several[name] > 1 && len(long) <= 60 && targetName().MatchString(long) {
			name = long
		}
		t.Name = name
		for n := 2; taken[t.Name]; n++ {
			t.Name = fmt.Sprintf("%s-%d", name, n)
		}
		taken[t.Name] = true
	}
}

// instance returns what a unit adds to the name of a target: what is behind the @ of
// one that is made of a template (systemd.unit(5)), or else its name.
func instance(unit string) string {
	label := strings.TrimSuffix(unit, ".service")
	if _, of, ok := strings.Cut(label, "@"); ok {
		label = of
	}
	if label == "" || !targetName().MatchString(label) {
		return ""
	}
	return "-" + label
}

// addUnused adds the lineages that no target takes to the proposal.
func (m *maker) addUnused() {
	for _, l := range m.Lineages {
		if !slices.ContainsFunc(m.out.Targets, func(t Target) bool {
			name, _ := lineage.Literal(t.Lineage)
			return l.Is(name)
		}) {
			m.out.Unused = append(m.out.Unused, fmt.Sprintf("%s, for %s", l, strings.Join(l.Leaf.Names, ", ")))
		}
	}
}
