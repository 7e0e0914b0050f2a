// Package deployers holds the words in which services are spoken of. A
// [Deployer] turns a bundle, a target and what was found out about the service
// into a [Plan], which is data: the files to write, the service's own test, how
// to activate, what to probe.
//
// It knows no service: each has a room below this one, and package all has the
// table of them. Nothing here or there reads, writes, runs or connects to
// anything, so a plan can be made, printed and compared without a service. Acting
// on plans is the engine's part.
package deployers

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Target is one service instance of this host as the configuration describes
// it, with the defaults that need no look at the host filled in.
type Target struct {
	Name    string
	Service string // a Deployer's name
	Lineage string // NAME, CLIENT:NAME, or a glob over names

	// The layout: Directory (managed), or Certificate and Key (in place).
	// Each may hold {lineage}.
	Directory   string
	Certificate string
	Key         string
	Chain       string // optional: intermediates alone
	Combined    string // optional: key and full chain in one file

	User  string      // owner of the files; empty: root, or who runs certlatch
	Group string      // empty: the unit's Group=, else the primary group of its User=
	Mode  fs.FileMode // of files that hold the key; 0640 by default

	// ACL names who may read the files beside owner, group and mode, and is
	// then all of their ACL. nil: what an ACL that is there grants stays, as far
	// as nobody else than root and User can have made it.
	ACL []Reader

	Unit         string   // systemd unit; empty: none
	Names        []string // must be covered by the leaf
	AllowRestart bool
	Window       *Window             // activate only then; nil: at once
	Probes       []endpoint.Endpoint // as written; nil: look for listeners
	ProveNothing bool                // probe: [] was written
	Contact      string

	// Options is what the block named after the service holds: what
	// Deployer.Options returned, filled in.
	Options any
}

// Reader is a user or group who may read files by an entry in their ACL.
type Reader struct {
	Kind string // user or group
	Name string // or number
}

// Window is a time of day, local time, in which a service may be activated.
// It may cross midnight.
type Window struct{ From, To time.Duration } // since midnight

// Contains tells whether t's time of day lies in the window.
func (w Window) Contains(t time.Time) bool {
	at := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
	if w.From <= w.To {
		return w.From <= at && at < w.To
	}
	return at >= w.From || at < w.To
}

// Opens gives the next time at which the window opens, after t.
func (w Window) Opens(t time.Time) time.Time {
	midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
	opens := midnight.Add(w.From)
	if !opens.After(t) {
		opens = midnight.AddDate(0, 0, 1).Add(w.From)
	}
	return opens
}

// String gives the form of the configuration: 02:00-04:30.
func (w Window) String() string {
	clock := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute) }
	return clock(w.From) + "-" + clock(w.To)
}

// Wants is what a deployer asks to be found out before it plans. All of it is
// looked at, and nothing is changed by that.
type Wants struct {
	Unit     string     // look at this systemd unit
	PIDFile  string     // look at the process that this file names,
	Program  string     // if it runs this program
	Ports    []uint16   // of the service's listening sockets, those on these ports
	Titles   bool       // what the service's processes call themselves
	Commands [][]string // run these, for what they print
	Texts    []string   // read these files: absolute paths, or globs of path/filepath
	Queries  []Query    // ask these at the service's control channel
}

// Facts is what was found out.
type Facts struct {
	Systemd   bool             // systemd runs this host
	Unit      Unit             // as asked for; zero without systemd or unit
	Master    int              // the live process that the PID file names; 0: none
	Listeners []netip.AddrPort // where the service's processes listen, of the ports asked for
	Titles    []string         // if asked for
	Outputs   map[string]Output
	Texts     map[string][]Text // by the path or glob that was asked for; those that exist, by path
	Answers   map[Query]Answer
	Names     []string // of the new leaf; nil: it could not be read

	// Activated is when certlatch last told the service to take new files; zero:
	// it is not known to have.
	Activated time.Time
}

// Output is what a command of Wants printed.
type Output struct {
	Stdout, Stderr string
	Failed         string // why it could not be run or ended with a failure; empty: it did not
}

// Output gives what a command printed; the zero Output where it was not asked
// for yet.
func (f Facts) Output(argv []string) Output { return f.Outputs[strings.Join(argv, "\x00")] }

// Text is a file of a service's configuration.
type Text struct{ Path, Content string }

// Protocol is a way of talking to a running service.
type Protocol string

const (
	BinRPC     Protocol = "binrpc"      // Kamailio's ctl module, over a UNIX stream socket
	JSONRPC    Protocol = "jsonrpc"     // Kamailio's jsonrpcs module, over a UNIX datagram socket
	MIFIFO     Protocol = "mi-fifo"     // OpenSIPS's mi_fifo
	MIDatagram Protocol = "mi-datagram" // OpenSIPS's mi_datagram, over a UNIX socket or UDP
	MIHTTP     Protocol = "mi-http"     // OpenSIPS's mi_http
)

// Channel is a control channel of a service.
type Channel struct {
	Protocol Protocol
	Address  string // a path, HOST:PORT, or URL
	ReplyDir string // of MIFIFO: the directory in which OpenSIPS looks for a caller's FIFO
}

// Query is a call at a control channel, without parameters.
type Query struct {
	Channel Channel
	Method  string
}

// Answer is what came back. At most one of Reply and Fault is set, and neither
// where the channel could not be reached or did not answer.
type Answer struct {
	Reply string // the values of the reply, a line each; JSON for JSON protocols
	Fault string // the service's words for why not
	Err   string // why there was no answer
	Sent  bool   // the call went out, so without an answer it may have had its effect
}

// Silent reports whether the service took the call and did not answer it: it
// hangs, or is very busy, and nothing is known of it.
func (a Answer) Silent() bool { return a.Sent && a.Err != "" }

// Unit is the state of a systemd service unit, in systemd's own words
// (org.freedesktop.systemd1(5)).
type Unit struct {
	Name                string
	LoadState           string // loaded, not-found, masked, bad-setting, error
	ActiveState         string // active, reloading, inactive, failed, activating, deactivating
	SubState            string // more of it, in words of the unit's type
	CanReload           bool
	NeedDaemonReload    bool
	User, Group         string // as written in the unit; may be empty
	SupplementaryGroups []string
	MainPID             int
	InvocationID        string
	NRestarts           uint32
	Since               time.Time // when it became active last; zero: never
	Result              string    // of its last run: success, exit-code, signal, core-dump, timeout and others
	Job                 bool      // one is under way or waits

	// It may be started so often within a time; zero: there is no limit.
	StartLimitBurst    uint32
	StartLimitInterval time.Duration
	ControlGroup       string
}

// Running tells whether the unit's processes are up.
func (u Unit) Running() bool {
	return slices.Contains([]string{"active", "reloading", "activating"}, u.ActiveState)
}

// Plan is all that is to be done for one target and one lineage.
type Plan struct {
	Target, Service, Lineage string

	Directory string // the managed directory; empty: in place
	Files     []File
	Reader    Account // who has to be able to read the files
	Row       *Row    // the pair goes into a database, and there are no files; nil: it does not

	Test     Test
	Activate Activation
	Probes   []endpoint.Endpoint
	Found    bool // the probes were found, not written down: those that fail at the baseline do not count

	Names      []string // that the service's own configuration needs the leaf to cover
	SIPDomains []string // of all names, those that are SIP domains, for which wildcards do not count

	Checks []Check // what was looked at for this plan, and what the operator should know
}

// Test is a service's own test of its configuration.
type Test struct {
	Command []string // argument list; nil: the service has no test

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

// HoldsKey tells whether the content is secret.
func (c Content) HoldsKey() bool { return c == Key || c == Combined }

// Known tells whether the word is one of the above.
func (c Content) Known() bool { return slices.Contains([]Content{Fullchain, Chain, Key, Combined}, c) }

// Of gives the bytes of the content in a bundle.
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
}

// Row is a row of a database from which a service takes its certificate.
type Row struct {
	Database DatabaseURL
	Table    string
	Domain   string // the row's column domain
	Type     int    // the row's column type
}

// DatabaseURL is where a database is: mysql://USER:PASSWORD@HOST:PORT/NAME,
// postgres://..., sqlite:///PATH. Its password is not printed.
type DatabaseURL string

// String gives the URL without its password.
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
}

// Way is a way of making a service take new files.
type Way string

const (
	NoWay       Way = "none"         // nothing can or need be done now; see Activation.Wait
	ReloadUnit  Way = "reload-unit"  // a systemd reload job
	RestartUnit Way = "restart-unit" // a systemd restart job
	RunCommand  Way = "run-command"  // an argument list; success is exit status 0
	SignalPID   Way = "signal"       // a signal to one process
	CallControl Way = "call-control" // a call at the service's control channel
)

// Activation is how a service is made to take new files.
type Activation struct {
	Way     Way
	Unit    string
	Command []string
	PID     int
	Signal  string  // HUP, USR1, USR2
	Calls   []Query // at the first channel that answers, the others are not asked
	Success string  // the reply that alone counts as success
	Faults  []Fault // what faults of a call, or of a command that says so, mean

	// After is what the service must say of itself after a call that it
	// answered with success. Otherwise the activation has failed, and may
	// have had an effect.
	After []Expect

	// FaultKeepsOld tells that a service which answers with a fault has
	// taken nothing, so an undo need not activate again.
	FaultKeepsOld bool
	// Twice tells that the service may need a second activation to take all of
	// the new files. It is made where the first leaves something unproven.
	Twice bool
	// Gap is the least time between two activations of the service.
	Gap time.Duration

	// Spends tells that the activation uses up what may be scarce, so that the
	// deployer is asked again right before each: what was planned may have
	// become a restart, or a wait.
	Spends bool
	// Left is how many more such activations the service can bear before it has
	// to be restarted; nil: there is no end to them that is known.
	Left *int

	Wait   Wait   // why nothing is activated, where Way is NoWay
	Why    string // said to the operator where the way is not the obvious one
	Remedy string // what to do, where Wait alone does not say it
}

// String says what is done, for people.
func (a Activation) String() string {
	switch a.Way {
	case ReloadUnit:
		return "reload " + a.Unit
	case RestartUnit:
		return "restart " + a.Unit
	case RunCommand:
		return "run " + strings.Join(a.Command, " ")
	case SignalPID:
		return fmt.Sprintf("send %s to process %d", a.Signal, a.PID)
	case CallControl:
		return fmt.Sprintf("call %s at %s", a.Calls[0].Method, a.Calls[0].Channel.Address)
	}
	return "not now: " + string(a.Wait)
}

// Expect is what the reply to a query must hold.
type Expect struct {
	Query          Query
	Contains       string
	Reason, Remedy string // where it does not: a stable code, and what to do
	Says           string // and what has happened, in a sentence

	// Warn tells that this is about something beside the target: it is told
	// to the operator, and the activation has not failed.
	Warn bool
}

// Fault is what one of a service's faults means.
type Fault struct {
	Says           string // part of the service's words
	Reason, Remedy string // a stable code, and what to do
}

// Wait is a reason for installing files without activating them. The texts
// are reason codes of the JSON output.
type Wait string

const (
	ServiceInactive   Wait = "service-inactive"    // its next start takes them
	RestartNotAllowed Wait = "restart-not-allowed" // only a restart would do
	SharedMemoryLow   Wait = "shared-memory-low"   // a reload would take from the service what it needs to serve
	NothingToDo       Wait = "no-activation"       // the service takes them by itself
)

// UnitError says that a unit cannot be used as it is.
type UnitError struct {
	Unit, LoadState string
}

func (e *UnitError) Error() string {
	if e.LoadState == "not-found" {
		return "unit " + e.Unit + " does not exist"
	}
	return "unit " + e.Unit + " cannot be used: systemd says " + e.LoadState
}

// NoWayError says that a deployer knows no way to make a target's service
// take new files.
type NoWayError struct {
	Target, Why, Remedy string
	About               Aspect // what keeps it from that
}

func (e *NoWayError) Error() string { return "target " + e.Target + ": " + e.Why }

// SilentError is the NoWayError of a service that takes calls and does not
// answer them. Not to know is no reason to restart it.
type SilentError struct{ *NoWayError }

func (e *SilentError) Unwrap() error { return e.NoWayError }

func NewSilentError(t Target, why string) *SilentError {
	return &SilentError{&NoWayError{Target: t.Name, About: Control, Why: why, Remedy: "see why it hangs (journalctl -u " + t.Unit + "); certlatch deploy --pending tries again"}}
}

// Deployer knows one kind of service.
type Deployer interface {
	// Name is the word for the configuration's service key.
	Name() string

	// Options gives a new value for the block named after the service, a
	// pointer to a struct with yaml tags and the defaults set.
	Options() any

	// Defaults fills in what the configuration left out.
	Defaults(*Target)

	// Wants says what must be known before a plan can be made. It is asked
	// again with what was found out, until it wants nothing more.
	Wants(Target, Facts) Wants

	// Plan says what is to be done. It fails with a *UnitError or a
	// *NoWayError; the plan then holds its Checks, and nothing to act on.
	Plan(Target, lineage.Lineage, Facts) (Plan, error)
}

// RowOptions is implemented by a service's options that can name a row of a
// database, into which the pair goes in place of files.
type RowOptions interface {
	// RowKeys returns what the keys of the block hold about the row.
	RowKeys() RowKeys
}

// RowKeys is what a service's options say of a row, by keys of their block.
type RowKeys struct {
	DatabaseKey string
	Database    DatabaseURL // empty: the pair goes into files
	DomainKey   string
	Domain      string // names the row; may hold {lineage}

	// FilesWhere says where files are right, in a clause.
	FilesWhere string
}

// MeetingOptions is implemented by a service's options that name a control
// channel which is met in the file system.
type MeetingOptions interface {
	// Meeting returns the directories where certlatch and the service meet: that
	// of the control channel, and that of the replies.
	Meeting() []string
}

// ProgramOptions is implemented by a service's options that name its program.
type ProgramOptions interface {
	// Program returns the name or path of the program.
	Program() string
}
