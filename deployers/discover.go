package deployers

import (
	"slices"
	"strings"

	"github.com/certlatch/certlatch/internal/endpoint"
)

// Discoverer is a Deployer that can find out what its service takes
// certificates from before there is a target. From that a first configuration
// is proposed.
type Discoverer interface {
	Deployer

	// Discover returns what the service's own configuration says. The target
	// has the defaults of the service, and the facts are what Wants asked for
	// with it.
	Discover(Target, Facts) Discovery
}

// Instanced is a Discoverer whose service may run several times on a host, each time in
// a unit of another name, with a configuration of its own.
type Instanced interface {
	Discoverer

	// Runs returns the program of a target's service, by its name or path.
	Runs(Target) string

	// Serves reports whether a process of that program serves, and does not only
	// test something.
	Serves(Process) bool
}

// Several is a Deployer of several services, which are looked for each by itself.
type Several interface {
	Deployer

	// Each returns them, with the name of the Deployer.
	Each() []Discoverer
}

// Discovery is what a service's own configuration takes its certificates from.
type Discovery struct {
	Installed bool   // there is such a service on this host
	Preset    string // of generic, that is for it; empty: it has a deployer of its own
	Role      string // what a target for it is called
	Exact     bool   // a wildcard is no name for it

	// Labels are the first labels that names for such a service usually have.
	Labels []string

	// Where a pair would go that certlatch keeps for the service, holding
	// {lineage}: a managed directory, or a certificate and a key, and beside them a
	// file with both where the service takes one.
	Directory, Certificate, Key, Combined string

	// Lines are those of the service's configuration that name a pair, at
	// {certificate} and {key}.
	Lines []string

	// Tree is a directory that the service looks through for certificates before it
	// looks at those that are named to it; empty: it has none. Elsewhere is the place for
	// a pair where the tree is not the service's own.
	Tree      string
	Elsewhere Place

	Uses []Use

	// Plain are uses that have no TLS so far, by the names that clients know. Nothing says
	// that they are to have it but a lineage which is for these names, and which nothing
	// else takes.
	Plain []Use

	Unknown []string // what could not be found out, and what to know, for people
}

// Place is a place for a pair, and what leads a service to it, as in a Discovery.
type Place struct {
	Directory, Certificate, Key, Combined string
	Lines                                 []string
}

// Use is a place in a service's configuration that takes a certificate.
type Use struct {
	Where            string // for people
	Certificate, Key string // as the service would open them, of a file with both the same; empty: it has none yet
	InDirectory      bool   // it is one of all files of a directory, which the service takes whatever they are
	Source           string // the file that says so, of which the service's own user may be the owner; empty: root reads it too
	Domain           string // of a database, which holds the certificate; empty: it is in files

	InTree bool     // the certificate was found in Discovery.Tree, by its names
	Either []string // other certificates that were found there for it, of which the service takes any
	Lines  []string // in place of those of the Place, where these would have no effect

	Names []string // by which clients come, in lower case; nil: it is for whatever name
	Hints []string // names that the service counts as its own; one of them may be meant
	Note  string   // what else an operator should know, in sentences

	// Yields are names for which the service prefers another use. Those that it does so
	// for wherever the pair is served are left out of Names, unless none would be left:
	// then the pair is ignored, and served to nobody.
	Yields  []Yield
	Ignored bool

	Settings   []Setting // of the block named after the service
	Incomplete bool      // of these something has to be filled in

	Twin   bool                // the same names are also served with a key of another type
	Probes []endpoint.Endpoint // where that can be seen, as far as it must be known beforehand

	Unusual bool // the probes are at ports that are not the service's usual ones
}

// Setting is a key of a block and its value.
type Setting struct{ Key, Value string }

// SetProbes sets where a use can be seen, if that is not at the usual port alone: then
// the configuration has to say so.
func (u *Use) SetProbes(usual uint16, probes []endpoint.Endpoint) {
	if slices.ContainsFunc(probes, func(e endpoint.Endpoint) bool { return e.Port != usual }) {
		u.Probes, u.Unusual = probes, true
	}
}

// Yield is a name for which a service prefers another use.
type Yield struct {
	Name        string
	Where       string // of the other use
	Certificate string // of the other use
}

// Add adds a use, or merges it with that of the same pair.
func (d *Discovery) Add(use Use) {
	at := slices.IndexFunc(d.Uses, func(u Use) bool {
		return use.Certificate != "" && u.Certificate == use.Certificate && u.Key == use.Key
	})
	if at < 0 {
		d.Uses = append(d.Uses, use)
		return
	}
	same := &d.Uses[at]
	if !slices.Contains(strings.Split(same.Where, ", "), use.Where) {
		same.Where += ", " + use.Where
	}
	same.Names = Distinct(append(same.Names, use.Names...))
	same.InDirectory = same.InDirectory || use.InDirectory
	same.Either = Distinct(append(same.Either, use.Either...))
	same.Twin, same.Unusual = same.Twin || use.Twin, same.Unusual || use.Unusual
	same.Yields = Distinct(append(same.Yields, use.Yields...))
	same.Ignored = same.Ignored && use.Ignored
	if use.Note != "" && !strings.Contains(same.Note, use.Note) {
		same.Note = strings.TrimSpace(same.Note + " " + use.Note)
	}
	same.Probes = Distinct(append(same.Probes, use.Probes...))
}

// AddUnknown adds what could not be found out.
func (d *Discovery) AddUnknown(what string) {
	if !slices.Contains(d.Unknown, what) {
		d.Unknown = append(d.Unknown, what)
	}
}

// Distinct returns a list without repetitions, in its order.
func Distinct[T comparable](all []T) []T {
	var kept []T
	for _, one := range all {
		if !slices.Contains(kept, one) {
			kept = append(kept, one)
		}
	}
	return kept
}
