package architecture

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

const module = "github.com/certlatch/certlatch/"

// A rule is checked on the whole tree, and returns what breaks it.
type rule struct {
	name  string
	check func(tree) []string
}

var rules = []rule{
	{"imports go where they may", imports},
	{"rooms know only whom they should", directions},
	{"a service is known by the table alone", services},
	{"who only tells of something does not do it", tellers},
	{"effects have one gate each", effects},
	{"paths are compared in one place", comparisons},
	{"a reason is written once", reasons},
	{"an outcome has one writer", writers},
	{"processes are looked at in one place", proc},
	{"nothing happens at import", noInit},
	{"a package is introduced once", oneComment},
	{"a package is named by what it does", names},
}

// testTools are packages that only tests and people who work here run: they
// may start programs and write files as they like.
var testTools = []string{"deployers/deployertest", "deployers/sample", "hooks/hookstest", "internal/fault", "internal/architecture", "internal/need", "internal/pki", "internal/system", "internal/tools"}

// gates are the imports that only some packages may have, tests aside.
var gates = []struct {
	imports string // a regular expression over the whole path
	allowed []string
	why     string
}{
	{`os/exec`, []string{"internal/command"}, "programs are run in one place, without a shell and with a limit"},
	{`github.com/coreos/go-systemd/v22/(dbus|daemon|journal|activation|login1|machine1|sdjournal|unit|util)|github.com/godbus/dbus/v5`, []string{"internal/systemd"}, "systemd is talked to in one place"},
	{`github.com/fsnotify/fsnotify`, []string{"internal/watch"}, "files are watched in one place"},
	{`github.com/go-sql-driver/mysql|github.com/lib/pq|database/sql(/.*)?`, []string{"internal/rows"}, "databases are written to in one place"},
	{`net/http(/httptrace)?`, []string{"internal/revocation", "internal/control"}, "revocation lists and OpenSIPS's mi_http are what there is to fetch"},
	{`os/user`, []string{"internal/account"}, "users and groups are looked up in one place"},
	{`os/signal`, []string{"cmd/certlatch"}, "the process is told to end in one place"},
	{`github.com/urfave/cli/v2`, []string{"cmd/certlatch"}, "commands are for the command"},
	{`gopkg.in/yaml.v3`, []string{"internal/config"}, "the configuration is read in one place"},
	{`net/(http/(cgi|cookiejar|fcgi|httptest|httputil|pprof)|rpc(/.*)?|smtp)|log/syslog|expvar|io/ioutil|runtime/(coverage|pprof|trace)|testing(/.*)?`, nil, "it has effects of its own"},
	{module + `internal/pki`, nil, "it makes certificates for tests"},
	{module + `internal/need`, nil, "it skips tests"},
	{module + `internal/fault`, nil, "it lets disks fail for tests"},
	{module + `(internal/(system|architecture)|hooks/hookstest|deployers/(deployertest|sample))`, nil, "it is tests"},
	{`C|unsafe|plugin`, nil, "releases are built without C, and nothing here needs it"},
}

// imports checks the gates. A module of others needs one, since it may have
// effects; for those of x/sys there are the acts.
func imports(t tree) (found []string) {
	for _, f := range t {
		if f.test || f.in(testTools) {
			continue
		}
		for _, imported := range f.imports() {
			known := !thirdParty(imported) || imported == "golang.org/x/sys/unix"
			for _, gate := range gates {
				if !regexp.MustCompile("^(?:" + gate.imports + ")$").MatchString(imported) {
					continue
				}
				known = true
				if !f.in(gate.allowed) {
					found = append(found, fmt.Sprintf("%s imports %s: %s", f.path, imported, gate.why))
				}
			}
			if !known {
				found = append(found, fmt.Sprintf("%s imports %s, for which there is no gate", f.path, imported))
			}
		}
	}
	return found
}

// thirdParty reports whether a package is neither of the standard library nor
// of this module.
func thirdParty(imported string) bool {
	return strings.Contains(strings.Split(imported, "/")[0], ".") && !strings.HasPrefix(imported, module)
}

// knows are the rooms that may import no others than some; what ends in a slash
// stands for all rooms below. Pure ones may have no effect either, so they import
// no other modules, nor the parts of the standard library that have effects.
var knows = []struct {
	rooms   []string
	allowed []string
	pure    bool
}{
	{[]string{"hooks"}, []string{"internal/lineage", "internal/endpoint"}, true},
	{[]string{"deployers"}, []string{"deployers", "deployers/", "internal/paths", "internal/lineage", "internal/endpoint"}, true},
	{[]string{"internal/proposal"}, []string{"internal/paths", "deployers", "internal/lineage", "internal/endpoint"}, true},
	{[]string{"internal/report"}, []string{
		"deployers", "internal/condition", "internal/inspect", "internal/lineage", "internal/outcome", "internal/proposal", "internal/served", "internal/srv", "internal/state",
	}, true},
	{[]string{"internal/condition"}, []string{"internal/lineage", "internal/outcome", "internal/state"}, true},
	{[]string{"internal/outcome"}, []string{
		"deployers", "internal/account", "internal/command", "internal/disk", "internal/install", "internal/lineage", "internal/process", "internal/rows", "internal/state", "internal/systemd",
		"templates", // a remedy names what prints the lines
	}, false},
	{[]string{"internal/facts"}, []string{"deployers", "internal/account", "internal/command", "internal/disk", "internal/process"}, false},
	{[]string{"internal/owntest"}, []string{"deployers", "internal/command"}, false},
	{[]string{"internal/pairs"}, []string{"deployers", "internal/account", "internal/install", "internal/lineage", "internal/outcome", "internal/rows", "internal/state"}, false},
	{[]string{"internal/completion", "internal/progress", "internal/spelling"}, nil, true},
	{[]string{"internal/served"}, []string{"internal/endpoint", "internal/lineage", "internal/policy", "internal/probe", "internal/srv"}, false},
	{[]string{"internal/endpoint", "internal/disk"}, nil, false},
	{[]string{"internal/command"}, []string{"internal/disk"}, false},
	{[]string{"internal/lineage"}, []string{"internal/disk", "internal/paths"}, false},
	{[]string{"internal/watch"}, []string{"internal/disk", "internal/lineage"}, false},
	{[]string{"internal/hookfiles"}, []string{"hooks", "deployers", "internal/disk", "internal/lineage"}, false},
	{[]string{"internal/daemon"}, []string{"internal/config", "internal/deploy", "internal/disk", "internal/inspect", "internal/lineage", "internal/outcome", "internal/prepare", "internal/rows", "internal/state", "internal/watch"}, false},
}

// strangers know nothing of each other; deployments and the commands bring
// them together.
var strangers = []string{
	"templates", "internal/command", "internal/control", "internal/host", "internal/install", "internal/policy", "internal/probe",
	"internal/process", "internal/revocation", "internal/rows", "internal/srv", "internal/state", "internal/systemd", "internal/watch",
}

// impure is the part of the standard library that reaches out of the process.
var impure = regexp.MustCompile(`^(os(/.*)?|net|net/(http|rpc|smtp|textproto)(/.*)?|crypto/tls|syscall|log/syslog|database/sql)$`)

// directions checks the tables of who may import whom.
func directions(t tree) (found []string) {
	for _, f := range t {
		if f.test || f.in(testTools) {
			continue
		}
		complain := func(imported, why string) {
			found = append(found, fmt.Sprintf("%s imports %s: %s", f.path, imported, why))
		}
		for _, imported := range f.imports() {
			room, ours := strings.CutPrefix(imported, module)
			for _, k := range knows {
				switch {
				case !f.in(k.rooms):
				case ours && !slices.ContainsFunc(k.allowed, func(a string) bool { return a == room || strings.HasSuffix(a, "/") && strings.HasPrefix(room, a) }):
					complain(imported, fmt.Sprintf("of this module it may only know %q", k.allowed))
				case k.pure && (thirdParty(imported) || impure.MatchString(imported)):
					complain(imported, "it says what to do, and does nothing")
				}
			}
			switch {
			case f.in(strangers) && slices.Contains(strangers, room) && !f.in([]string{room}):
				complain(imported, "they know nothing of each other")
			case room == "internal/deploy" && !f.in([]string{"cmd/certlatch", "internal/daemon"}):
				complain(imported, "deployments use the rooms, not the other way round")
			// What a report is about are its values; tellers holds that it is no more.
			case room == "internal/inspect" && !f.in([]string{"cmd/certlatch", "internal/daemon", "internal/deploy", "internal/report"}):
				complain(imported, "who looks uses the rooms, not the other way round")
			case room == "internal/prepare" && !f.in([]string{"cmd/certlatch", "internal/daemon", "internal/deploy", "internal/inspect"}):
				complain(imported, "a deployment and who only looks are prepared; nobody else is")
			case room == "internal/report" && !f.in([]string{"cmd/certlatch"}):
				complain(imported, "what people and scripts read is for the commands to show, and nobody decides by it")
			case strings.HasPrefix(room, "cmd/"):
				complain(imported, "a command is not a library")
			}
		}
	}
	return found
}

// tableReaders may look a service up. All others are handed what they need in
// the words of deployers.
var tableReaders = []string{"cmd/certlatch", "internal/config", "internal/inspect/survey.go", "internal/prepare"}

// sharedReaders are rooms below deployers that read what several services have in
// common, and those services.
var sharedReaders = map[string][]string{
	"sipscript": {"deployers/kamailio", "deployers/opensips"}, // both come from SER
}

// services holds that the words know no service, that no service knows another,
// and who may look one up.
func services(t tree) (found []string) {
	for _, f := range t {
		if f.test || f.in(testTools) {
			continue
		}
		for _, imported := range f.imports() {
			switch room, ok := strings.CutPrefix(imported, module+"deployers/"); {
			case !ok:
			case room == "all" && !f.in(tableReaders):
				found = append(found, fmt.Sprintf("%s imports %s: it needs the words of deployers alone", f.path, imported))
			case slices.Contains(sharedReaders[room], f.dir()):
			case room != "all" && f.dir() != "deployers/all":
				found = append(found, fmt.Sprintf("%s imports %s: a service is found in the table, and what others must know of its options is an interface of package deployers", f.path, imported))
			}
		}
	}
	return found
}

// classes are the constants of outcome.Class, and its name.
const classes = `Class|ClassOK|ClassUnexpected|ClassUsage|ClassRefused|ClassInstall|ClassActivation|ClassNotProven|ClassUndoFailed|ClassWaiting`

// told is what internal/report may mention of rooms that have effects: values,
// and functions of values alone.
var told = map[string]string{
	"time":                        `Time|Duration|Millisecond|Second|Minute|Hour|RFC3339|DateOnly`,
	module + "internal/outcome":   `Outcome|Reason|AddressNotHere|NetworkApart|StepTaken|Deployed|Unchanged|Refused|Held|Planned|` + classes,
	module + "internal/condition": `Condition|Conditions|Expiry|Presented|Ends|At|Crashed|InSync|Changed|Stale|NotOurs|Waiting|HeldBack|Broken|Expiring|Expired|Unknown`,
	module + "internal/inspect":   `Examination|Verdict`,
	module + "internal/served":    `Probe|Domain`,
	module + "internal/srv":       `Answer`,
	module + "internal/state":     `Certificate|Entry|Pending|Sighting|Snapshot|Unclaimed|Ahead`,
	module + "internal/lineage":   `Leaf|Finding|Refused|Describe`,
}

// tellers checks that a report neither deploys nor looks at anything, nor asks
// what time it is.
func tellers(t tree) (found []string) {
	for _, f := range t {
		if f.test || !f.in([]string{"internal/report"}) {
			continue
		}
		f.mentions(func(imported, name string) {
			may, limited := told[imported]
			if limited && !regexp.MustCompile("^(?:"+may+")$").MatchString(name) {
				found = append(found, fmt.Sprintf("%s uses %s of %s: it knows values alone", f.path, name, imported))
			}
		})
	}
	return found
}

// An act is something with an effect, and the only places that may mention it,
// tests aside.
type act struct {
	packages string   // a regular expression over the whole import path; noPackage: a method of any value
	names    string   // a regular expression over the whole name
	besides  string   // names that match names, and are harmless
	allowed  []string // directories or files
	why      string
}

const (
	// noPackage is the package of methods: what they belong to is not known.
	noPackage = "-"
	// kernel is where system calls are.
	kernel = `syscall|golang.org/x/sys/unix`
)

// acts are looked at in their order, and the first that is meant counts. So what
// no act of the kernel speaks of belongs to those rooms that call it at all.
// First come those of this module: who may have one of its rooms do something.
var acts = []act{
	{
		packages: module + `internal/disk`, names: `.*`,
		besides: `ReadFile|OpenStore|Store|Trace|Step|IsRoots|Grant|ACLName|ErrLeased|[A-Z]\w*Error`,
		allowed: []string{
			"internal/install", "internal/state", "internal/hookfiles", "internal/sandbox",
			"internal/control/mififo.go", // where OpenSIPS answers
			"cmd/certlatch/init.go",      // the first configuration
		},
		why: "pairs are written by internal/install, and what is remembered by internal/state",
	},
	{
		packages: module + `internal/lineage`, names: `Read|Unreadable|Digest`,
		allowed: []string{"internal/prepare", "internal/deploy/undo.go", "internal/watch"}, why: "keys are read by whom they are for: others get what was read",
	},
	{
		packages: module + `internal/install`, names: `New|Installer|Transaction`,
		allowed: []string{
			"internal/pairs", "internal/prepare/site.go",
			"internal/deploy",  // puts back what another run began, and compares what it had installed
			"internal/inspect", // looks for runs that were cut off
		},
		why: "pairs are installed by internal/pairs",
	},
	{
		packages: module + `internal/state`, names: `Open|WriteSnapshot`,
		allowed: []string{"internal/inspect", "cmd/certlatch/deploy.go"}, why: "what is remembered is changed by runs",
	},
	{
		packages: module + `internal/process`, names: `Signal`,
		allowed: []string{"internal/prepare/site.go"}, why: "only a service that is activated gets a signal",
	},
	{
		packages: module + `internal/command`, names: `.*`, besides: `Credential|Output|TryReadMain|[A-Z]\w*Error`,
		allowed: []string{
			"internal/prepare/site.go",
			"internal/account/lookup.go", // getent
			"cmd/certlatch/deploy.go",    // SQLite's shell
			"cmd/certlatch/template.go",  // the versions of services
		},
		why: "programs are run for what is deployed",
	},
	{
		packages: module + `internal/probe`, names: `Handshake|Prove`,
		allowed: []string{"internal/prepare/site.go", "internal/served"}, why: "handshakes are made by deployments, and by who asks for one",
	},
	{
		packages: module + `internal/control`, names: `Call`,
		allowed: []string{"internal/prepare/site.go"}, why: "services are called by deployments",
	},
	{
		packages: module + `internal/systemd`, names: `Connect|Manager|Service`,
		allowed: []string{"cmd/certlatch"}, why: "the engine is given its units, and the daemon its service manager",
	},
	{
		packages: module + `internal/revocation`, names: `Check`,
		allowed: []string{"cmd/certlatch/deploy.go"}, why: "policy is given what fetches lists",
	},
	{
		packages: module + `internal/srv`, names: `Lookup`,
		allowed: []string{"internal/served"}, why: "records are looked up for probes",
	},
	{
		packages: module + `internal/rows`, names: `Databases`,
		allowed: []string{"internal/pairs", "internal/prepare/site.go", "cmd/certlatch/deploy.go"}, why: "rows are changed by internal/pairs",
	},
	{
		packages: module + `internal/host`, names: `.*`, besides: `ErrHidden|Room`,
		allowed: []string{
			"internal/inspect",
			"cmd/certlatch/errors.go", // whether a sandbox is why something failed
		},
		why: "the host is looked at by who examines it",
	},
	{
		packages: module + `internal/watch`, names: `New`,
		allowed: []string{"internal/daemon"}, why: "lineages are watched by the daemon",
	},
	{
		packages: module + `internal/(hookfiles|sandbox)`, names: `In|Usual`,
		allowed: []string{"cmd/certlatch"}, why: "hooks and units are changed on command",
	},
	{
		packages: module + `internal/served`, names: `Probe(Endpoint|Domain)`,
		allowed: []string{"cmd/certlatch"}, why: "it is looked at what is served on command",
	},
	{packages: `fmt`, names: `Print(f|ln)?|Scan(f|ln)?`, why: "results are printed to where the commands say"},
	{
		packages: `os`, names: `Std(in|out|err)`,
		allowed: []string{
			"cmd/certlatch/main.go", "cmd/certlatch/hook.go", "cmd/certlatch/log.go",
			"internal/command/canread.go", // the child's words
		},
		why: "the commands have the terminal",
	},
	{
		packages: `path/filepath`, names: `EvalSymlinks`,
		allowed: []string{"internal/inspect/survey.go"}, why: "links are followed by internal/disk, which has [disk.Trace] for who wants to know where they lead",
	},
	{
		packages: `os`, names: `Readlink`,
		allowed: []string{
			"internal/process/listeners.go",   // what descriptors are is in links,
			"internal/process/running.go",     // as are programs and namespaces
			"internal/hookfiles/hookfiles.go", // whether a link is certlatch's own; it is not followed
		},
		why: "links are followed by internal/disk",
	},
	{packages: kernel, names: `Readlink(at)?`, allowed: []string{"internal/disk"}, why: "links are followed by internal/disk"},
	{
		packages: `path/filepath`, names: `Rel`,
		allowed: []string{"internal/lineage/files.go"}, why: "what is below a directory is for internal/paths to say",
	},
	{
		packages: `os`,
		names: `WriteFile|Create|CreateTemp|Rename|Remove(All)?|Mkdir(All|Temp)?|Chmod|L?chown|Chown|Chtimes|Symlink|Link|Truncate|CopyFS|` +
			`Root|OpenRoot|OpenInRoot|NewFile|Pipe|O_CREATE|O_TRUNC|O_RDWR|O_APPEND|O_EXCL|O_SYNC`,
		allowed: []string{"internal/disk"}, why: "files are changed in one place",
	},
	{
		packages: `os`, names: `OpenFile|O_WRONLY`,
		allowed: []string{
			"internal/disk",
			"internal/control/mififo.go", // calls to OpenSIPS are written into its FIFO
		},
		why: "files are opened to be written to in one place",
	},
	{
		packages: kernel,
		names: `Creat|Rename(at2?)?|Unlink(at)?|Rmdir|Mkdir(at)?|Mkfifo(at)?|Mknod(at)?|[FL]?[Cc]hown|Fchownat|F?[Cc]hmod|Fchmodat2?|Link(at)?|Symlink(at)?|` +
			`F?[Tt]runcate|Fallocate|[FL]?(Set|Remove)xattr|[FL](set|remove)xattr|[FL]?(Get|List)xattr|[FL](get|list)xattr|Utimes?|UtimesNano(At)?|Futimes(at)?|Lutimes|` +
			`Flock|FcntlFlock|Fsync|Fdatasync|Sync|Syncfs|SyncFileRange|P?[Ww]rite|Pwritev2?|Writev|Sendfile|Splice|CopyFileRange|Tee|Vmsplice|IoctlFi.*|` +
			`OpenByHandleAt|O_(CREAT|TRUNC|TMPFILE|RDWR|WRONLY|APPEND|EXCL|SYNC|DSYNC)`,
		allowed: []string{"internal/disk"}, why: "files are changed, locked and given attributes in one place",
	},
	{
		packages: kernel, names: `Open(at2?)?`,
		allowed: []string{
			"internal/disk",
			"internal/command/canread.go", // whether a service's user may read a file, only opening it shows
		},
		why: "files are opened to be written to in one place",
	},
	{
		packages: kernel, names: `Inotify.*|Fanotify.*|IN_.*|FAN_.*`,
		why: "files are watched by fsnotify, in internal/watch",
	},
	{
		packages: `os`, names: `FindProcess|Process`,
		allowed: []string{"internal/process"}, why: "signals are sent in one place, to processes that were looked at",
	},
	{
		packages: kernel, names: `Kill|Tgkill|Tkill|Pidfd.*|RtSigqueueinfo|RtTgsigqueueinfo`,
		// What command has started it ends, with all that this has started.
		allowed: []string{"internal/command/command.go"}, why: "signals are sent in one place, to processes that were looked at",
	},
	{
		packages: `os`, names: `StartProcess|ProcAttr`,
		why: "programs are run by internal/command, without a shell and with a limit",
	},
	{
		packages: kernel, names: `ForkExec|StartProcess|Exec(ve(at)?)?|ProcAttr|SysProcAttr|Credential|Clone.*|Fork`,
		allowed: []string{"internal/command"}, why: "programs are run in one place, without a shell and with a limit",
	},
	{
		packages: `golang.org/x/sys/unix`, names: `Setgroups|Setfs[ug]idRet[GU]id|Cap[sg]et`,
		allowed: []string{"internal/command/thread.go"}, why: "one thread becomes somebody else, and ends",
	},
	{
		packages: kernel, names: `(Raw)?(Syscall|VSyscall).*|Set(re|res|fs)?[ug]id.*|Cap[sg]et|Setgroups|Chroot|PivotRoot|Unshare|Setns|Mount(Setattr)?|Unmount|Umask|Ptrace.*|ProcessVM.*|Reboot|Bpf.*|(Init|Finit|Delete)[Mm]odule|Keyctl.*|AddKey|Mmap.*|Memfd.*|PerfEventOpen|Io[Uu]ring.*`,
		why: "nothing here needs it",
	},
	{
		packages: kernel, names: `Socket(pair)?|Connect|Bind|Listen|Accept4?|Send(to|msg.*|mmsg)|Recv(from|msg.*|mmsg)|Setsockopt.*|Sockaddr.*|AF_.*|SOCK_.*`,
		allowed: []string{"internal/process/netlink.go", "internal/process/ends.go"}, // to the kernel, which package net does not connect to
		why:     "connections are package net's",
	},
	{
		packages: `net`, names: `Dial.*|Listen.*|Dialer|ListenConfig|File(Conn|Listener|PacketConn)`,
		allowed: []string{"internal/probe", "internal/control"}, why: "handshakes and control channels are the only connections, and have a home each",
	},
	{
		packages: `crypto/tls`, names: `Dial.*|Dialer|Listen|NewListener|Server|QUIC.*`,
		why: "internal/probe makes handshakes, over connections of its own",
	},
	{packages: `crypto/tls`, names: `Client`, allowed: []string{"internal/probe"}, why: "handshakes are made in one place"},
	{
		packages: `net`, names: `Lookup.*|Resolver|DefaultResolver|Resolve.*Addr`,
		allowed: []string{"internal/srv", "internal/served", "internal/probe"}, why: "names are looked up in one place, but for those that handshakes are made at",
	},
	{
		packages: kernel, names: `Adjtimex|Clock(Adjtime|Settime)|Settimeofday|Stime|F?[Ss]tatfs(_t)?|F?[Ss]tatvfs|[GS]etrlimit|Prlimit|Sysinfo(_t)?`,
		allowed: []string{"internal/host"}, why: "what the host is like is looked at in one place",
	},
	{
		packages: kernel, names: `.*`,
		besides: `E[A-Z0-9]+|Errno|SIG[A-Z0-9]+|Signal|S_[A-Z]+|[FL]?[Ss]tat(_t)?|O_(RDONLY|CLOEXEC|NOFOLLOW|NONBLOCK|DIRECTORY|PATH|NOCTTY)`,
		allowed: []string{
			"internal/disk", "internal/command", "internal/host",
			"internal/control/mififo.go",  // waits for the one who reads the FIFO
			"internal/process/netlink.go", // asks the kernel for listeners
			"internal/process/ends.go",    // and for connections
			"internal/systemd/notify.go",  // the clock by which systemd knows a reload
			"cmd/certlatch/main.go",       // no core dumps
			"cmd/certlatch/terminal.go",   // how wide the terminal is
		},
		why: "the kernel is called in few places",
	},
	{
		packages: noPackage, names: `Ch(mod|own)|Fd|SyscallConn`,
		allowed: []string{"internal/disk", "internal/control/mififo.go", "cmd/certlatch/terminal.go"}, why: "what can be done with an open file is done in one place",
	},
	{
		packages: `os`, names: `Setenv|Unsetenv|Clearenv|Chdir`,
		why: "whoever comes later relies on it",
	},
	{
		packages: `os`, names: `Getenv|LookupEnv|Environ|ExpandEnv`,
		allowed: []string{"cmd/certlatch"}, why: "what the environment says is hostile, and heard in one place",
	},
	{packages: `os`, names: `Exit`, allowed: []string{"cmd/certlatch/main.go"}, why: "the process ends in one place"},
	{packages: `log`, names: `Fatal(f|ln)?|Panic(f|ln)?`, why: "errors are returned"},
}

// matcher returns a function that reports whether the act is what a name of a
// package stands for.
func (a act) matcher() func(imported, name string) bool {
	whole := func(pattern string) func(string) bool { return regexp.MustCompile("^(?:" + pattern + ")$").MatchString }
	packages, names, besides := whole(a.packages), whole(a.names), whole(a.besides)
	return func(imported, name string) bool { return packages(imported) && names(name) && !besides(name) }
}

// actOf returns a function that returns the index of the first act that a name
// of a package stands for, or -1.
func actOf() func(imported, name string) int {
	var matchers []func(string, string) bool
	for _, a := range acts {
		matchers = append(matchers, a.matcher())
	}
	return func(imported, name string) int {
		return slices.IndexFunc(matchers, func(is func(string, string) bool) bool { return is(imported, name) })
	}
}

// mentions calls see with each name of another package in a file, and with each
// field or method of a value.
func (s source) mentions(see func(imported, name string)) {
	names := s.importNames()
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		imported := noPackage
		if base, ok := selector.X.(*ast.Ident); ok && names[base.Name] != "" {
			imported = names[base.Name]
		}
		see(imported, selector.Sel.Name)
		return true
	})
}

// effects checks the table of acts.
func effects(t tree) []string { return effectsBy(actOf(), t) }

func effectsBy(find func(imported, name string) int, t tree) (found []string) {
	for _, f := range t {
		if f.test || f.in(testTools) {
			continue
		}
		f.mentions(func(imported, name string) {
			i := find(imported, name)
			if i >= 0 && !f.in(acts[i].allowed) {
				found = append(found, fmt.Sprintf("%s uses %s of %s: %s", f.path, name, imported, acts[i].why))
			}
		})
	}
	return found
}

// procs are the places that may name files of /proc.
var procs = []string{
	"internal/process",
	"internal/disk",                  // its own descriptors
	"internal/host",                  // limits of the kernel
	"internal/command/canread.go",    // its own program
	"deployers/asterisk/asterisk.go", // names one, and does not read it
	"deployers/generic/generic.go",   // the same
}

// proc checks that processes are looked at in one place.
func proc(t tree) (found []string) {
	for _, f := range t {
		if f.test || f.in(testTools) || f.in(procs) {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && regexp.MustCompile("^[\"`]/proc\\b").MatchString(text.Value) {
				found = append(found, fmt.Sprintf("%s names %s: processes are looked at in one place", f.path, text.Value))
			}
			return true
		})
	}
	return found
}

// noInit forbids func init, imports whose only use is theirs, and regular
// expressions that are compiled before anybody needs them: each command of the
// program, and each hook that has nothing to do, would pay for them.
func noInit(t tree) (found []string) {
	for _, f := range t {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, f.path+" has a func init")
			}
			if !f.test && !f.in(testTools) && compiles(d) {
				found = append(found, f.path+" compiles a regular expression at import; let sync.OnceValue do that when it is used")
			}
		}
		for _, spec := range f.syntax.Imports {
			if spec.Name != nil && (spec.Name.Name == "_" || spec.Name.Name == ".") && spec.Path.Value != `"embed"` {
				found = append(found, fmt.Sprintf("%s imports %s as %s", f.path, spec.Path.Value, spec.Name.Name))
			}
		}
	}
	return found
}

// compiles reports whether the values of a declaration of variables compile a
// regular expression, other than in functions.
func compiles(d ast.Decl) (does bool) {
	variables, ok := d.(*ast.GenDecl)
	if !ok || variables.Tok != token.VAR {
		return false
	}
	ast.Inspect(variables, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			selector, ok := call.Fun.(*ast.SelectorExpr)
			does = does || ok && selector.Sel.Name == "MustCompile"
		}
		_, function := n.(*ast.FuncLit)
		return !function
	})
	return does
}

// oneComment checks that each package has exactly one package comment, those of
// its tests not counted.
func oneComment(t tree) (found []string) {
	comments := map[string]int{}
	for _, f := range t {
		if f.test {
			continue
		}
		n := 0
		if f.syntax.Doc != nil {
			n = 1
		}
		comments[f.dir()] += n
	}
	for dir, n := range comments {
		if n != 1 {
			found = append(found, fmt.Sprintf("%s has %d package comments", dir, n))
		}
	}
	slices.Sort(found)
	return found
}

// names forbids packages that could hold anything.
func names(t tree) (found []string) {
	for _, f := range t {
		if regexp.MustCompile(`^(utils?|commons?|helpers?|managers?|types|misc|shared|base)(_test)?$`).MatchString(f.syntax.Name.Name) {
			found = append(found, fmt.Sprintf("%s is in package %s, which could hold anything", f.path, f.syntax.Name.Name))
		}
	}
	return found
}
