package deployers

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Plan is all that is to be done for one target and one lineage.
type Plan struct {
	Target, Service, Lineage string

	Directory string // the managed directory; empty: in place
	Files     []File
	Reader    Account // who has to be able to read the files
	Row       *Row    // the pair goes into a database, and there are no files; nil: it does not
	Beside    []Beside

	Test     Test
	Activate Activation
	Probes   []endpoint.Endpoint
	Example  string // a probe as it may be written for the service, in remedies
	Found    bool   // the probes were found, not written down: those that fail at the baseline do not count
	Unprobed string // why the service's own configuration has the files only where no found probe can look; empty: that is not so
	Of       Processes
	Proof    Proof

	Names      []string // that the service's own configuration needs the leaf to cover
	SIPDomains []string // of all names, those that are SIP domains, for which wildcards do not count

	// NeverStaples is set where no version of the service can send an OCSP response
	// with its certificate.
	NeverStaples bool

	Checks  []Check  // what was looked at for this plan, and what the operator should know
	NotOurs *NotOurs // nil: something takes the files, or that is not known
}

// Test is a service's own test of its configuration.
type Test struct {
	Command []string // argument list; nil: the service has no test
	// Start says that it is about what the service reads when it starts, and never
	// again: it counts where the service is restarted.
	Start bool

	// Passed says that the test is known to pass as things are: it did when facts
	// were found out, as part of another command.
	Passed bool

	// Failures is a regular expression for those lines of the output that
	// tell a failure. Where it is set, one that was there at the baseline does
	// not count; the part that matches is what it is known by. Where it is
	// empty, the exit status counts.
	Failures string

	// Beside is one for lines that make the test fail as well and do not count
	// here, because the policy judges what they are about.
	Beside string

	// Own is one for those of them that are about what the target itself
	// serves. They count even where they were there at the baseline: the
	// running service may be better than its files, until it is activated.
	Own string

	// Others is what the service serves besides. Where one of them is served
	// although a line says, with the new files in place, that it could not be
	// loaded again, the activation would end that, and is put off.
	Others []Other
}

// Other is something else that a service serves.
type Other struct {
	Name   string              // for people
	Says   string              // a regular expression for the failures that are about it
	Probes []endpoint.Endpoint // where it is served, if it is
}

// Content is what a file holds.
type Content string

const (
	Fullchain Content = "fullchain" // leaf and intermediates
	Chain     Content = "chain"     // intermediates
	Key       Content = "key"
	Combined  Content = "combined" // key, leaf and intermediates
)

// HoldsKey reports whether the content is secret.
func (c Content) HoldsKey() bool { return c == Key || c == Combined }

// Known reports whether the word is one of the above.
func (c Content) Known() bool { return slices.Contains([]Content{Fullchain, Chain, Key, Combined}, c) }

// Of returns the bytes of the content in a bundle.
func (c Content) Of(b *lineage.Bundle) lineage.Secret {
	switch c {
	case Fullchain:
		return b.FullchainPEM()
	case Chain:
		return b.ChainPEM()
	case Key:
		return b.KeyPEM()
	case Combined:
		return slices.Concat(b.KeyPEM(), b.FullchainPEM())
	}
	panic("deployers: unknown content " + string(c))
}

// File is one file to be installed.
type File struct {
	Path    string // absolute; in a managed directory, through its current link
	Content Content
	User    string // empty: root, or who runs certlatch
	Group   string // empty: the primary group of User
	Mode    fs.FileMode

	// Credential is where the service finds it, if systemd reads it and hands it to
	// the unit as a credential; empty: the service reads the file itself.
	Credential string

	Also []string // other paths that lead to the same file
}

// IsAt reports whether the service finds the file at a path.
func (f File) IsAt(path string) bool {
	return f.Path == path || f.Credential != "" && f.Credential == path || slices.Contains(f.Also, path)
}

// Proof is what shows that a service serves the new files for good, and not an old
// process of it beside a new one.
type Proof struct {
	// Accepting is the title of those children of the main process that accept
	// connections, as long as they do. Where they can be seen, none of those from
	// before the activation may have it any more, and one handshake proves. Empty:
	// they cannot be told by their title.
	Accepting string

	// InARow is how many fresh handshakes in a row must show the new leaf where
	// the processes do not tell, and Pace the time from one to the next.
	InARow int
	Pace   time.Duration
}

// carefulProof is for services of which nothing was measured, and was found with
// one whose old and new processes share a listener: 4 handshakes 25 ms apart were
// never too early in 100 reloads of nginx 1.26.3 with 2 and with 8 workers, while
// 8 back to back were (measured).
func carefulProof() Proof { return Proof{InARow: 4, Pace: 25 * time.Millisecond} }

// Processes are those of a service: found probes count only where one of them is
// whom they reach.
type Processes struct {
	ControlGroup string // of the unit; empty: it does not run
	Main         int    // the live process that the PID file names; 0: none
	Apart        bool   // they have a network namespace of their own
}

// Row is a row of a database from which a service takes its certificate.
type Row struct {
	Database DatabaseURL
	Table    string
	Domain   string // the row's column domain
	Type     int    // the row's column type
}

// Beside is a pair of something else, which the service has in memory, and which
// an activation of the target makes it load anew: that of a row at each, that in
// files at a restart.
type Beside struct {
	Name             string              // for people
	Row              *Row                // that holds the pair; nil: it is in files
	Certificate, Key string              // empty: there is no pair, only what is read too
	Probes           []endpoint.Endpoint // where it is served; none: that cannot be seen

	// Called reports whether a control call loads the files as well, and is refused as a
	// whole where one of them cannot be used: the service then goes on with what it has.
	Called bool
	Reads  []string // other files that are read with them
	Reader *Account // who reads the files; nil: root
}

// DatabaseURL is where a database is: mysql://USER:PASSWORD@HOST:PORT/NAME,
// postgres://..., sqlite:///PATH. Its password is not printed.
type DatabaseURL string

// String returns the URL without its password.
func (u DatabaseURL) String() string {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return "(a database URL that cannot be read)"
	}
	return parsed.Redacted()
}

// Place is alike for URLs of one database, whoever they log in as. Two URLs
// may mean the same one all the same: a socket or a name say little of it.
func (u DatabaseURL) Place() string {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return string(u)
	}
	host, port := parsed.Hostname(), parsed.Port()
	if host == "localhost" {
		host = ""
	}
	if usual := map[string]string{"mysql": "3306", "postgres": "5432"}; port == usual[parsed.Scheme] {
		port = ""
	}
	query := parsed.Query()
	return fmt.Sprintf("%s %s:%s%s%s %s", parsed.Scheme, strings.ToLower(host), port, query.Get("socket"), query.Get("host"), parsed.Path)
}

// UnmarshalText reads the form of the configuration.
func (u *DatabaseURL) UnmarshalText(text []byte) error {
	parsed, err := url.Parse(string(text))
	if err != nil || !slices.Contains([]string{"mysql", "postgres", "sqlite"}, parsed.Scheme) {
		return errors.New("this is not the URL of a database; write mysql://USER:PASSWORD@HOST:PORT/NAME, postgres://USER:PASSWORD@HOST:PORT/NAME or sqlite:///PATH")
	}
	*u = DatabaseURL(text)
	return nil
}

// MarshalText is what config show prints.
func (u DatabaseURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Account names whom a service runs as, for the trial that it can read its
// files. An empty User is root.
type Account struct {
	User, Group         string
	SupplementaryGroups []string

	// Dynamic is set where there is such a user only while the unit runs. An empty
	// Group comes and goes with it.
	Dynamic bool

	Runs IDs // what its main process runs under, where that goes before the names
}

// IDs is what a process runs under; the zero IDs are not known.
type IDs struct {
	Known    bool
	UID, GID uint32
	Groups   []uint32 // supplementary
	ReadsAll bool     // by a capability
}

// NewPlan begins a plan with what is alike for every service: the files of
// the target's layout, their owner and mode, and the probes that were written
// down or that follow from listeners of the given scheme.
func NewPlan(t Target, l lineage.Lineage, f Facts, scheme string) Plan {
	expand := func(path string) string { return strings.ReplaceAll(path, "{lineage}", l.Name) }
	plan := Plan{Target: t.Name, Service: t.Service, Lineage: l.Name, Directory: expand(t.Directory), Probes: t.Probes, Example: exampleProbe(scheme), Proof: carefulProof()}

	reader := f.account()
	add := func(content Content, path string) {
		if path == "" {
			return
		}
		path = expand(path)
		file := File{Path: path, Content: content, User: t.User, Group: t.Group, Mode: 0o644, Credential: f.Unit.handsOver(path), Also: f.Same[path]}
		if t.Group == "" && file.Credential == "" {
			file.Group = reader.fileGroup()
		}
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

	if f.Unit.Running() {
		plan.Of.ControlGroup = f.Unit.ControlGroup
	}
	plan.Of.Main, plan.Of.Apart = f.Master, f.Apart
	plan.Reader = reader
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

// account returns whom the unit runs as.
func (f Facts) account() Account {
	a := Account{User: f.Unit.User, Group: f.Unit.Group, SupplementaryGroups: f.Unit.SupplementaryGroups, Dynamic: f.DynamicUser}
	if f.DynamicUser {
		a.Runs = f.Runs
	}
	if f.DynamicGroup {
		a.Group = ""
	}
	return a
}

// ReadAgain returns a plan as it is for a service that was started as root and is root no
// more, where that process is told to read the files again: coturn with proc-user, for
// one, then keeps what it has. Who reads after a reload or a command is not known.
func (p Plan) ReadAgain(f Facts) Plan {
	reads := f.Unit.User == "" && f.Runs.Known && f.Runs.UID != 0 && !f.Runs.ReadsAll
	if way := p.Activate.Way; reads && p.Reader.User == "" && (way == SignalPID || way == CallControl) {
		p.Reader = Account{Runs: f.Runs}
	}
	return p
}

// fileGroup returns the group of files that an account is to read, where none was
// written: its own, unless that goes when the unit stops; then root's.
func (a Account) fileGroup() string {
	if a.Group == "" && a.User != "" && !a.Dynamic {
		return a.User + ":" // the primary group of that user
	}
	return a.Group
}

// exampleProbe returns a probe as it may be written for a service that is probed by a
// scheme; empty: by several, or at no usual port.
func exampleProbe(scheme string) string {
	known, ok := endpoint.SchemeOf(scheme)
	if !ok || known.Port == 0 {
		return ""
	}
	return fmt.Sprintf("%s://127.0.0.1:%d", scheme, known.Port)
}

// Writes reports whether the plan writes a file with one of the contents at a
// path, or one that the service finds there.
func (p Plan) Writes(path string, contents ...Content) bool {
	return slices.ContainsFunc(p.Files, func(f File) bool {
		return f.IsAt(path) && slices.Contains(contents, f.Content)
	})
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
