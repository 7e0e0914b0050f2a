// Package asterisk knows how Asterisk takes certificates: on a reload of the
// module whose configuration names their files. It reads pjsip.conf and
// http.conf.
//
// It does not promise to know transports that are kept in a database, or that a
// program writes (#exec).
package asterisk

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Deployer deploys to Asterisk, whose TLS transports take new files when their
// module is reloaded, and its web server when its own is. The transport listens
// anew on the same socket address if the size or time of a file has changed
// under its name, whatever its allow_reload; connections that are up stay up
// (res/res_pjsip/config_transport.c, transport_apply, and main/http.c,
// __ast_http_load, of 22.10.1; tried with Debian's).
//
// It takes them whatever they are: with a pair that does not match, the transport
// serves nothing until the next reload with a good one, the web server until a
// restart, and asterisk -rx ends with 0 all the same. A file that it cannot read
// leaves the transport as it was. It has no test of its configuration.
type Deployer struct{}

// Options is the configuration's asterisk block.
type Options struct {
	Config string `yaml:"config"` // asterisk.conf, which says where the others are
}

// usualConfig is the path of the configuration where asterisk is not told
// another (main/asterisk.c of 22.10.1).
const usualConfig = "/etc/asterisk/asterisk.conf"

// command returns the command line that runs a command of Asterisk's in the one
// that runs.
func (o *Options) command(text string) []string {
	argv := []string{"asterisk"}
	if o.Config != usualConfig {
		argv = append(argv, "-C", o.Config)
	}
	return append(argv, "-rx", text)
}

// version returns the command line of a command that any Asterisk answers.
func (o *Options) version() []string { return o.command("core show version") }

func (Deployer) Name() string { return "asterisk" }

func (Deployer) Options() any { return &Options{Config: usualConfig} }

func (Deployer) Defaults(t *deployers.Target) {
	if t.Unit == "" {
		t.Unit = "asterisk.service"
	}
}

func (Deployer) Wants(t deployers.Target, f deployers.Facts) deployers.Wants {
	options := t.Options.(*Options)
	seen := options.observe(f)
	wants := deployers.Wants{Unit: t.Unit, Ports: seen.ports(), Texts: slices.Concat(seen.asked, seen.sources, unitFiles(t.Unit))}
	if f.Unit.MainPID > 0 {
		wants.Texts = append(wants.Texts, statusFile(f.Unit.MainPID))
	}
	if f.Unit.Running() {
		wants.Commands = [][]string{options.version()}
	}
	return wants
}

func (Deployer) Plan(t deployers.Target, l lineage.Lineage, f deployers.Facts) (deployers.Plan, error) {
	options := t.Options.(*Options)
	seen := options.observe(f)
	f.Unit.User, f.Unit.Group = seen.account(t, f)
	plan := deployers.NewPlan(t, l, f, "sips")
	ours := seen.describe(&plan, t, f)
	var err error
	plan.Activate, err = options.activation(t, f, ours)
	return plan, err
}

// activation returns the activation by which this Asterisk takes the files of
// the uses.
func (o *Options) activation(t deployers.Target, f deployers.Facts, ours []use) (deployers.Activation, error) {
	if unit, err := deployers.UnitActivation(t, f); err != nil || unit.Wait == deployers.ServiceInactive {
		return unit, err
	}
	printed := f.Output(o.version())
	why := ""
	switch number := versionNumber(printed.Stdout); {
	case printed.Failed != "":
		why = "Asterisk cannot be reached: " + printed.Failed
	case number != nil && !reloads(number) && !onlyWeb(ours):
		why = fmt.Sprintf("Asterisk %d.%d reads the certificates of its transports only when it starts", number[0], number[1])
	}
	switch {
	case why == "":
		command, about := o.reload(ours)
		return deployers.Activation{Way: deployers.RunCommand, Unit: t.Unit, Command: command, Why: about}, nil
	case t.AllowRestart:
		return deployers.Activation{Way: deployers.RestartUnit, Unit: t.Unit, Why: why + "; allow_restart is set, so it is restarted"}, nil
	case printed.Failed != "":
		return deployers.Activation{}, &deployers.NoWayError{
			Target: t.Name, About: deployers.Control, Why: why,
			Remedy: "see why " + strings.Join(o.version(), " ") + " fails, or set asterisk: {config: PATH} to the asterisk.conf that it runs with",
		}
	}
	return deployers.Activation{Way: deployers.NoWay, Unit: t.Unit, Wait: deployers.RestartNotAllowed, Why: why}, nil
}

// reload returns the command that makes the uses take new files, and what an
// operator should know of it.
func (o *Options) reload(ours []use) (command []string, about string) {
	switch {
	case onlyWeb(ours):
		return o.command("module reload http"), ""
	case slices.ContainsFunc(ours, func(u use) bool { return u.web }):
		return o.command("core reload"), "a transport and the web server take these files, so all modules of Asterisk read their configuration again"
	}
	return o.command("module reload res_pjsip.so"), ""
}

// versionReply matches the version in what core show version prints: Asterisk
// 22.10.1+dfsg built by ...
var versionReply = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^Asterisk (?:certified[/-])?(\d+)\.(\d+)`) })

// versionNumber returns the major and minor version; nil: they are not known.
func versionNumber(printed string) []int {
	match := versionReply().FindStringSubmatch(printed)
	if match == nil {
		return nil
	}
	major, majorErr := strconv.Atoi(match[1])
	minor, minorErr := strconv.Atoi(match[2])
	if cmp.Or(majorErr, minorErr) != nil {
		return nil
	}
	return []int{major, minor}
}

// reloads reports whether the transports of a version look at the time of their
// files when they are reloaded: from 16.29, 18.15, 19.7 and 20.0 on
// (config_transport.c, file_stat_cmp, of those and of the releases before them).
func reloads(version []int) bool {
	since := map[int]int{16: 29, 17: 1 << 30, 18: 15, 19: 7}
	minor, late := since[version[0]]
	return version[0] >= 16 && (!late || version[1] >= minor)
}

// statusFile returns the file with the IDs that a process runs under
// (proc_pid_status(5)).
func statusFile(pid int) string { return fmt.Sprintf("/proc/%d/status", pid) }

// unitFiles returns where a unit may be, unless a generator made it
// (systemd.unit(5)).
func unitFiles(unit string) []string {
	if unit == "" {
		return nil
	}
	return []string{filepath.Join("/etc/systemd/system", unit), filepath.Join("/usr/lib/systemd/system", unit)}
}

var (
	statusUser  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^Uid:\t\d+\t(\d+)`) })
	statusGroup = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^Gid:\t\d+\t(\d+)`) })
	startUser   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^ExecStart=.*\s-U\s?(\S+)`) })
	startGroup  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^ExecStart=.*\s-G\s?(\S+)`) })
)

// account returns the account that Asterisk runs as, which its unit does not
// say: it starts as root, and changes its user by an option of its own
// (asterisk(8), -U and -G). A running one shows it; else the options of the
// unit say so, which go before asterisk.conf's.
func (s observed) account(t deployers.Target, f deployers.Facts) (user, group string) {
	if f.Unit.User != "" {
		return f.Unit.User, f.Unit.Group
	}
	if status := f.Texts[statusFile(f.Unit.MainPID)]; len(status) > 0 {
		return rootless(first(statusUser(), status[0].Content)), rootless(first(statusGroup(), status[0].Content))
	}
	for _, path := range unitFiles(t.Unit) {
		for _, text := range f.Texts[path] {
			user, group = cmp.Or(user, first(startUser(), text.Content)), cmp.Or(group, first(startGroup(), text.Content))
		}
	}
	return cmp.Or(user, s.runUser), cmp.Or(group, s.runGroup, f.Unit.Group)
}

// rootless returns the ID of a user or group, and "" for root's.
func rootless(number string) string {
	if number == "0" {
		return ""
	}
	return number
}

// first returns the first group of an expression in a text; empty: there is none.
func first(expression *regexp.Regexp, text string) string {
	if match := expression.FindStringSubmatch(text); match != nil {
		return match[1]
	}
	return ""
}
