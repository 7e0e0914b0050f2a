package nginx

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
)

// invocation is how an nginx is started, as far as it says which program reads which
// configuration (ngx_get_options in src/core/nginx.c of 1.26).
type invocation struct {
	binary     string
	config     string // -c; empty: the one compiled in
	prefix     string // -p; empty: the one compiled in
	directives string // -g; without those that every unit has
	errorLog   string // -e
}

// command returns the command line of that nginx with a flag in place of its service.
func (i invocation) command(flag string) []string {
	argv := []string{i.binary, flag, "-q"}
	for _, option := range [][2]string{{"-c", i.config}, {"-p", i.prefix}, {"-g", i.directives}, {"-e", i.errorLog}} {
		if option[1] != "" {
			argv = append(argv, option[0], option[1])
		}
	}
	return argv
}

// String returns the options that tell an nginx from the usual one, for people.
func (i invocation) String() string {
	words := slices.Delete(i.command(""), 1, 3)
	for n, word := range words {
		if strings.ContainsAny(word, " ;'\"") {
			words[n] = strconv.Quote(word)
		}
	}
	return strings.Join(words, " ")
}

// invocation returns how the target's nginx is started by what its options say.
func (o *Options) invocation() invocation {
	return invocation{binary: o.Binary, config: o.Config, prefix: o.Prefix}
}

// background matches what the units of packages say in -g, which is about processes
// alone (Debian's nginx.service: daemon on; master_process on;).
var background = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(^|[\s;])(daemon|master_process)\s+(on|off)\s*;`)
})

// parameters are the options of nginx that have one.
const parameters = "cpges"

// invoked returns how an nginx is started by some arguments. Spread: the arguments were
// put together with spaces between, and what a parameter holds may have become several.
func invoked(argv []string, spread bool) invocation {
	i := invocation{binary: argv[0]}
	for n := 1; n < len(argv); n++ {
		option, ok := strings.CutPrefix(argv[n], "-")
		at := strings.IndexAny(option, parameters)
		if !ok || at < 0 {
			continue
		}
		var value []string
		if rest := option[at+1:]; rest != "" {
			value = append(value, rest)
		} else if n+1 < len(argv) {
			n++
			value = append(value, argv[n])
		}
		for spread && n+1 < len(argv) && !strings.HasPrefix(argv[n+1], "-") {
			n++
			value = append(value, argv[n])
		}
		i.set(option[at], strings.Join(value, " "))
	}
	return i
}

func (i *invocation) set(option byte, value string) {
	switch option {
	case 'c':
		i.config = value
	case 'p':
		i.prefix = value
	case 'e':
		i.errorLog = value
	case 'g':
		for background().MatchString(value) {
			value = background().ReplaceAllString(value, "$1")
		}
		i.directives = strings.TrimSpace(value)
	}
}

// masterTitle begins what a master process calls itself; its arguments follow
// (ngx_master_process_cycle in src/os/unix/ngx_process_cycle.c of 1.26).
const masterTitle = "nginx: master process "

// titled returns how a process was started by what it calls itself; the zero
// invocation: it is no master. Where the arguments are those of a command, they are
// not guessed from the spaces between.
func titled(title string, command []string) invocation {
	arguments, is := strings.CutPrefix(title, masterTitle)
	fields := strings.Fields(arguments)
	switch {
	case !is || len(fields) == 0:
		return invocation{}
	case len(command) > 0 && arguments == strings.Join(command, " "):
		return invoked(command, false)
	}
	return invoked(fields, true)
}

// byUnit returns how a unit starts nginx; ok: it is known, since it does so without a
// program or a variable in between.
func byUnit(u deployers.Unit) (i invocation, ok bool) {
	if len(u.ExecStart) == 0 || !isNginx(u.ExecStart[0]) {
		return i, false
	}
	i = invoked(u.ExecStart, false)
	return i, !strings.Contains(i.config+i.prefix, "$")
}

// isNginx reports whether a program is nginx, or one that is made of it, by its name.
func isNginx(program string) bool {
	name := filepath.Base(program)
	return name == "nginx" || name == "nginx-debug" || name == "openresty"
}

// usual returns the invocation with the target's name for its program, where that would
// be found by it: in the directories that every PATH has.
func (i invocation) usual(o *Options) invocation {
	usual := []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	if filepath.Base(i.binary) == o.Binary && slices.Contains(usual, filepath.Dir(i.binary)) {
		i.binary = o.Binary
	}
	return i
}

// instance is the nginx that a target is about.
type instance struct {
	invocation
	says string      // how that is known, for people; empty: by the options alone
	next *invocation // how the unit starts it the next time, where that is otherwise

	// Where it does not run in its unit:
	master  *deployers.Process  // that runs outside of it; nil: none is known
	unsafe  string              // why the master is not told anything; empty: it can be
	several []deployers.Process // masters, any of which may be meant
	others  []deployers.Process // masters outside of all units that read something else
}

// instanceOf returns the nginx that a target is about: the one that runs, or else the
// one that its unit starts, or else the one of its options.
func instanceOf(t deployers.Target, f deployers.Facts) instance {
	options := t.Options.(*Options)
	found := instance{invocation: options.invocation()}
	unit, known := byUnit(f.Unit)
	if unit = unit.usual(options); known {
		found.invocation, found.says = unit, f.Unit.Name+" starts "+unit.String()
	}
	if !options.runsInUnit(f) {
		found.lookOutside(t, f, known)
		return found
	}
	if !f.Main.Own {
		return found // what it calls itself is not root's word
	}
	if running := titled(f.Main.Title, f.Unit.ExecStart).usual(options); running.binary != "" {
		if known && running != unit {
			found.next = &unit
		}
		found.invocation, found.says = running, f.Unit.Name+" runs "+running.String()
	}
	return found
}

// isKnown reports whether it is known which configuration the target's nginx reads.
func (i instance) isKnown(t deployers.Target, f deployers.Facts) bool {
	isGuessed := i.says == "" && f.Systemd && (f.Unit.Running() || t.Unit != defaultUnit)
	return !isGuessed && i.several == nil && i.others == nil
}

// defaultPID is the PID file of Debian's and Fedora's packages (their nginx.conf: pid
// /run/nginx.pid).
const defaultPID = "/run/nginx.pid"

// runsInUnit reports whether the target's nginx runs in its unit: not where a PID file
// of its own names a master beside the unit's.
func (o *Options) runsInUnit(f deployers.Facts) bool {
	beside := o.PID != defaultPID && f.Master != 0 && f.Master != f.Unit.MainPID
	ended := f.Unit.ActiveState == "activating" && f.Unit.MainPID == 0 // it is tried again and again
	return f.Systemd && f.Unit.Running() && !beside && !ended
}

// lookOutside finds the master of an nginx that does not run in its unit. Those of
// other units that read something else are other instances, and so are all of them
// where a unit of another name does not say what it starts, as one that is masked. What
// a unit has left behind as it was stopped is its own.
func (i *instance) lookOutside(t deployers.Target, f deployers.Facts, known bool) {
	o := t.Options.(*Options)
	var same, loose []deployers.Process
	own := o.PID != defaultPID && f.Master != 0 // the PID file was written for it
	isUntold := !known && t.Unit != defaultUnit && i.invocation == (&Options{Binary: o.Binary}).invocation()
	masters := slices.Clone(f.Outside)
	for _, p := range f.Holders { // by another name
		known := slices.ContainsFunc(masters, func(m deployers.Process) bool { return m.PID == p.PID })
		if strings.HasPrefix(p.Title, masterTitle) && !known {
			masters = append(masters, p)
		}
	}
	masters = slices.DeleteFunc(masters, func(p deployers.Process) bool { return !isMaster(p) })
	for _, p := range masters {
		isNamed, isLeft := p.PID == f.Master, p.Unit != "" && p.Unit == t.Unit
		switch reads := ofProcess(p).readsAs(i.invocation); {
		case isUntold && isLeft:
			same = append(same, p)
		case isUntold && p.Unit != "" && !own:
		case isNamed && (reads || own):
			i.take(p, o)
			return
		case own:
		case reads:
			same = append(same, p)
		case p.Unit == "":
			loose = append(loose, p)
		}
	}
	if f.Master != 0 && len(masters) == 0 {
		i.master = &deployers.Process{PID: f.Master} // another user's, or not to be seen: the options say what it reads
		return
	}
	if isUsual := i.config == "" && i.prefix == ""; isUsual && same == nil && len(loose) == 1 {
		same, loose = loose, nil
	}
	i.others = loose
	switch len(same) {
	case 0:
	case 1:
		i.take(same[0], o)
	default:
		i.several = same
	}
}

// take makes a process outside of the unit the instance's master.
func (i *instance) take(p deployers.Process, o *Options) {
	started := ofProcess(p).usual(o)
	i.master, i.invocation = &p, started
	i.says = fmt.Sprintf("process %d runs %s", p.PID, started)
	switch {
	case strings.HasSuffix(p.Program, deleted):
		i.unsafe = "the program that it runs was replaced since, so another would be tested"
	case p.Program == "" || p.Title == "" || p.Started == 0:
		i.unsafe = "what it runs cannot be seen"
	case started.prefix != "" && !filepath.IsAbs(started.prefix):
		i.unsafe = "its prefix is relative to a directory that is not known"
	}
}

// readsAs reports whether two nginxes read the same configuration.
func (i invocation) readsAs(other invocation) bool {
	return i.config == other.config && i.prefix == other.prefix && i.directives == other.directives
}

// isMaster reports whether a process is an nginx that goes on, and root's: certlatch runs
// the program that it runs, with the configuration that it names.
func isMaster(p deployers.Process) bool {
	return p.Own && isNginx(strings.TrimSuffix(p.Program, deleted)) && goesOn(p.Title)
}

// deleted ends the path of a program that was removed or replaced (proc_pid_exe(5)).
const deleted = " (deleted)"

// goesOn reports whether a process that calls itself something serves, and is not one
// that only tests or signals, such as certlatch's own, nor a worker that lost its master.
func goesOn(title string) bool {
	if own, ok := strings.CutPrefix(title, "nginx: "); ok {
		return strings.HasPrefix("nginx: "+own, masterTitle)
	}
	fields := strings.Fields(title)
	for n := 1; n < len(fields); n++ {
		option, ok := strings.CutPrefix(fields[n], "-")
		flags := option[:max(0, strings.IndexAny(option+parameters, parameters))]
		if ok && (strings.ContainsAny(flags, "tTvVh?") || strings.HasPrefix(option[len(flags):], "s")) {
			return false
		}
	}
	return len(fields) > 0
}

// ofProcess returns how a process was started.
func ofProcess(p deployers.Process) invocation {
	i := titled(p.Title, nil)
	if fields := strings.Fields(p.Title); i.binary == "" && len(fields) > 0 { // without a master process it has no title
		i = invoked(fields, true)
	}
	if p.Program != "" {
		i.binary = strings.TrimSuffix(p.Program, deleted)
	}
	return i
}
