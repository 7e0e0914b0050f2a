package deployers

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Wants is what a deployer asks to be found out before it plans. All of it is
// looked at, and nothing is changed by that.
type Wants struct {
	Unit     string     // look at this systemd unit
	PIDFile  string     // look at the process that this file names,
	Program  string     // if it runs this program; and at others that do outside of the unit, where it does not run
	Ports    []uint16   // of the service's listening sockets, those on these ports
	Titles   bool       // what the service's processes call themselves
	Argv     bool       // with what arguments its main process was started
	Commands [][]string // run these, for what they print
	Texts    []string   // read these files: absolute paths, or globs of path/filepath
	Queries  []Query    // ask these at the service's control channel
}

// Facts is what was found out.
type Facts struct {
	Systemd   bool             // systemd runs this host
	Unit      Unit             // as asked for; zero without systemd or unit
	Master    int              // the live process that the PID file names; 0: none
	Main      Process          // of the unit, if its program was asked for; zero: there is none
	Outside   []Process        // the main processes of the program, where the unit does not run or Master is not its own
	Holders   []Process        // where the unit does not run: who listens on the ports asked for all the same
	Listeners []netip.AddrPort // where the service's processes listen, of the ports asked for
	Apart     bool             // if ports were asked for: the processes have a network namespace of their own, not certlatch's
	Titles    []string         // if asked for
	Argv      []string         // if asked for, what of them can be believed, else empty words; nil: there is no main process
	Outputs   map[string]Output
	Texts     map[string][]Text // by the path or glob that was asked for; those that exist, by path
	Answers   map[Query]Answer
	Names     []string // of the new leaf; nil: it could not be read

	// Same is, by the path of a plan's file, what else the service's configuration names
	// that leads to the same place.
	Same map[string][]string

	// Activated is when certlatch last told the service to take new files; zero:
	// it is not known to have.
	Activated time.Time

	// Where systemd makes up whom the unit runs as (DynamicUser=): which of its User
	// and Group exist only while it runs, and what its main process runs under; that
	// also of a unit without a User.
	DynamicUser, DynamicGroup bool
	Runs                      IDs

	Made *Made // of texts, for all of a run; nil: nothing is kept
}

// Process is a main process of a service, in its unit or outside.
type Process struct {
	PID     int
	Started uint64 // in clock ticks since boot: with the PID, no other process
	Title   string // what it calls itself (proc_pid_cmdline(5))
	Program string // the path of what it runs, as the kernel has it (proc_pid_exe(5)); empty: it may not be seen
	Unit    string // the service of the system that it belongs to; empty: none

	// Own is set where it runs as whoever runs certlatch, root as a rule. What other
	// processes call themselves, and run, is not to be followed: a service's worker,
	// or any user, could have root run a program of its own.
	Own bool
}

// Output is what a command of Wants printed.
type Output struct {
	Stdout, Stderr string
	Failed         string // why it could not be run or ended with a failure; empty: it did not
}

// Output returns what a command printed; the zero Output where it was not asked
// for yet.
func (f Facts) Output(argv []string) Output { return f.Outputs[strings.Join(argv, "\x00")] }

// Text is a file of a service's configuration.
type Text struct {
	Path, Content string
	Real          string // the path without links; empty: it is Path
}

// At returns the path without links.
func (t Text) At() string { return cmp.Or(t.Real, t.Path) }

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

	DynamicUser bool // systemd makes up those of User and Group that this host lacks

	// What systemd reads as root and hands to the processes when they start, and
	// whether it does so again on a reload (RefreshOnReload=, seen with systemd 262).
	Credentials          []Credential
	RefreshesCredentials bool

	Hidden []Hidden // what it would not see when it is started; nil where it runs without a root of its own

	// ExecStart is the command that starts it, with systemd's specifiers resolved
	// and variables of the environment not, but for those of a unit that does not run
	// which root alone has set; nil: it is not known.
	ExecStart []string

	// What sets the variables of ExecStart; nil: it has none, or the unit runs.
	Environment      []string // NAME=VALUE
	EnvironmentFiles []EnvironmentFile
}

// EnvironmentFile is a path or glob of a unit's EnvironmentFile=.
type EnvironmentFile struct {
	Path     string
	Optional bool // it need not exist
}

// Running reports whether the unit's processes are up.
func (u Unit) Running() bool {
	return slices.Contains([]string{"active", "reloading", "activating"}, u.ActiveState)
}
