// Package kamailio knows how Kamailio takes certificates: by RPC, from the files
// that tls.cfg names, as far as its shared memory allows. It reads tls.cfg, and
// what matters of kamailio.cfg.
//
// It does not promise to know what kamailio.cfg leaves to Kamailio: what depends on
// its version or its environment is said to be not known where it matters.
package kamailio

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/sipscript"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Deployer deploys to Kamailio, which takes new files when it is told to by
// RPC: tls.reload reads tls.cfg and all files that it names, as the user that
// Kamailio runs as, and connections that are up go on with what they began
// with. A fault leaves the old files in use (src/modules/tls/tls_rpc.c, the
// same from 5.6.6 to 6.1.4). Kamailio ignores a HUP, and its packaged units
// have no reload.
type Deployer struct{}

// Options is the configuration's kamailio block.
type Options struct {
	RPC    RPC    `yaml:"rpc"`    // unset: the packaged ones, ctl's before jsonrpcs's
	Config string `yaml:"config"` // the main configuration file
	TLS    string `yaml:"tls"`    // tls.cfg, or a directory of such; where Kamailio runs, what it says counts
}

// RPC is a control channel of Kamailio: unix:PATH for the socket of
// its module ctl, jsonrpc:PATH for the datagram socket of its module jsonrpcs.
// The zero value is unset.
type RPC deployers.Channel

// UnmarshalText parses the form of the configuration.
func (r *RPC) UnmarshalText(text []byte) error {
	kind, path, _ := strings.Cut(string(text), ":")
	protocol, ok := map[string]deployers.Protocol{"unix": deployers.BinRPC, "jsonrpc": deployers.JSONRPC}[kind]
	switch {
	case len(text) == 0:
		*r = RPC{}
	case !ok || !filepath.IsAbs(path):
		return fmt.Errorf("%.80q is not a control channel of Kamailio; write unix:/PATH for the socket of its module ctl, or jsonrpc:/PATH for the datagram socket of its module jsonrpcs", text)
	default:
		*r = RPC{Protocol: protocol, Address: path}
	}
	return nil
}

// MarshalText returns the form of the configuration.
func (r RPC) MarshalText() ([]byte, error) {
	switch r.Protocol {
	case deployers.BinRPC:
		return []byte("unix:" + r.Address), nil
	case deployers.JSONRPC:
		return []byte("jsonrpc:" + r.Address), nil
	}
	return nil, nil
}

// channels returns the channels to be tried, in their order: the one that is
// configured for the target, or else those of Kamailio's configuration. The packaged
// paths are the defaults of the modules with the run directory of Debian's and the
// upstream's packages (ctl.c, jsonrpcs_mod.c).
func (o *Options) channels(script sipscript.Script) []deployers.Channel {
	if o.RPC != (RPC{}) {
		return []deployers.Channel{deployers.Channel(o.RPC)}
	}
	var own []deployers.Channel
	add := func(protocol deployers.Protocol, module string, params ...string) {
		for _, set := range script.Params(module) {
			address := set.Value()
			for _, prefix := range []string{"unix:", "unixs:"} {
				address = strings.TrimPrefix(address, prefix)
			}
			if slices.Contains(params, set.Args[1]) && filepath.IsAbs(address) {
				own = append(own, deployers.Channel{Protocol: protocol, Address: address})
			}
		}
	}
	add(deployers.BinRPC, "ctl", "binrpc")
	add(deployers.JSONRPC, "jsonrpcs", "dgram_socket")
	for _, usual := range []deployers.Channel{{Protocol: deployers.BinRPC, Address: "/run/kamailio/kamailio_ctl"}, {Protocol: deployers.JSONRPC, Address: "/run/kamailio/kamailio_rpc.sock"}} {
		if !slices.ContainsFunc(own, func(c deployers.Channel) bool { return c.Protocol == usual.Protocol }) {
			own = append(own, usual)
		}
	}
	return deployers.Distinct(own)
}

func (Deployer) Name() string { return "kamailio" }

// Where packages have the configuration.
const (
	usualConfig = "/etc/kamailio/kamailio.cfg"
	usualTLS    = "/etc/kamailio/tls.cfg"
)

func (Deployer) Options() any {
	return &Options{Config: usualConfig, TLS: usualTLS}
}

func (Deployer) Defaults(t *deployers.Target) {
	if t.Unit == "" {
		t.Unit = "kamailio.service"
	}
}

func (Deployer) Wants(t deployers.Target, f deployers.Facts) deployers.Wants {
	options := t.Options.(*Options)
	seen := options.observe(f)
	wants := deployers.Wants{Unit: t.Unit, Argv: true, Ports: seen.ports(f), Texts: seen.script.Paths, Queries: seen.asked}
	if seen.unsure {
		return wants
	}
	if seen.answers() {
		for _, method := range []string{"core.version", "core.arg", "core.ps", "core.shmmem", "tls.info", "core.sockets_list"} {
			wants.Queries = append(wants.Queries, deployers.Query{Channel: seen.channel, Method: method})
		}
	}
	if seen.config != "" {
		wants.Texts = append(wants.Texts, seen.config, filepath.Join(seen.config, "*"))
	}
	for _, p := range seen.tls.profiles {
		if roots := seen.tls.path(p, "ca_list"); roots != "" {
			wants.Texts = append(wants.Texts, roots)
		}
	}
	return wants
}

func (Deployer) Plan(t deployers.Target, l lineage.Lineage, f deployers.Facts) (deployers.Plan, error) {
	options := t.Options.(*Options)
	seen := options.observe(f)
	plan := deployers.NewPlan(t, l, f, "sips")
	plan.NeverStaples = true // its modules tls and tls_wolfssl know nothing of OCSP (master of 2026-08-21)
	seen.describe(&plan, t, f)
	plan.Proof = proof()
	if runs := options.config(f); runs != options.Config && options.Config != usualConfig {
		plan.Warn(deployers.Configuration, "correct kamailio: {config: ...} of target "+t.Name, "Kamailio runs with %s, and the target names %s", runs, options.Config)
	}
	plan.Test = options.ownTest(f)
	activation, err := seen.activation(t, f)
	if half := seen.half(plan); half != "" && activation.Way == deployers.RestartUnit {
		return plan, &deployers.NoWayError{Target: t.Name, About: deployers.Configuration, Why: half + ", so Kamailio could not start with the new pair", Remedy: bothFiles}
	}
	plan.Activate = activation
	return plan, err
}

const bothFiles = "let it name both files of one pair"

// ownTest returns Kamailio's test of its configuration, which does not look at
// tls.cfg (main.c of 6.0.1: it ends before init_modules).
func (o *Options) ownTest(f deployers.Facts) deployers.Test {
	line := f.CommandLine()
	test := deployers.Test{Command: []string{line.OwnProgram("kamailio"), "-c", "-f", o.config(f)}, Start: true}
	for _, name := range []string{"-A", "-L"} { // definitions for the preprocessor, and the path of the modules
		for _, value := range line.Options(name) {
			test.Command = append(test.Command, name, value)
		}
	}
	return test
}

// isAnother reports whether the one that answers at a channel is another Kamailio than
// that of the unit, which does not run, or runs with another configuration.
func isAnother(channel deployers.Channel, f deployers.Facts) bool {
	if f.Unit.ActiveState == "inactive" || f.Unit.ActiveState == "failed" {
		return true
	}
	arguments := strings.Split(f.Answers[deployers.Query{Channel: channel, Method: "core.arg"}].Reply, "\n")
	its, ours := deployers.CommandLine{Argv: arguments}.File("-f"), f.CommandLine().File("-f")
	return its != "" && ours != "" && its != ours
}

// tlsConfig returns the path of tls.cfg for a Kamailio that does not tell it: the one
// that is configured for the target, or else that of its configuration.
func (o *Options) tlsConfig(script sipscript.Script, f deployers.Facts) (path string, maybe bool) {
	if o.TLS != usualTLS {
		return o.TLS, false
	}
	path = usualTLS
	for _, module := range []string{"tls", "tls_wolfssl"} {
		for _, set := range script.Params(module) {
			switch {
			case set.Args[1] != "config":
			case set.Value() == "":
				maybe = true
			default:
				path, maybe = set.Value(), set.Maybe
			}
		}
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(o.config(f)), path)
	}
	return path, maybe
}

// usualPort is where Kamailio listens for TLS if nothing else is written (tls_port_no
// of globals.h).
const usualPort = 5061

// ports returns those of Kamailio's sockets for TLS, WebSocket over TLS among them: as
// it lists them itself (core_cmd.c, core_sockets_list), and as its configuration has them.
func (k observed) ports(f deployers.Facts) []uint16 {
	ports := []uint16{usualPort}
	add := func(text string) {
		if n, err := strconv.ParseUint(cmp.Or(text, "0"), 10, 16); err == nil && n > 0 {
			ports = deployers.Distinct(append(ports, uint16(n)))
		}
	}
	protocol := ""
	for line := range strings.Lines(f.Answers[deployers.Query{Channel: k.channel, Method: "core.sockets_list"}].Reply) {
		switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); {
		case name == "proto":
			protocol = value
		case name == "port" && protocol == "tls":
			add(value)
		}
	}
	for _, set := range k.script.Set("listen", "socket.bind") {
		for _, text := range set.Args {
			if socket, ok := sipscript.ParseSocket(text); ok && socket.Protocol == "tls" {
				add(socket.Port)
			}
		}
	}
	return ports
}

// config returns the path of the configuration that runs, or would be started with.
func (o *Options) config(f deployers.Facts) string {
	return cmp.Or(f.CommandLine().File("-f"), o.Config)
}

// proof is what proves a reload: Kamailio's processes take each connection's
// certificate from one set in shared memory, which is exchanged before tls.reload
// answers (src/modules/tls/tls_rpc.c of 6.0.1, tls_reload). No handshake after
// that was stale in 50 reloads, the first having ended 3 ms later (measured); a
// second is for what is not known.
func proof() deployers.Proof {
	return deployers.Proof{InARow: 2, Pace: 25 * time.Millisecond}
}

// activation returns the activation by which this Kamailio takes new files.
func (k observed) activation(t deployers.Target, f deployers.Facts) (deployers.Activation, error) {
	switch {
	case f.Systemd && f.Unit.LoadState != "loaded":
		return deployers.Activation{}, &deployers.UnitError{Unit: t.Unit, LoadState: f.Unit.LoadState}
	case f.Systemd && !f.Unit.Running():
		return deployers.AwaitStart(t, f), nil
	case !f.Systemd && !k.answers():
		return deployers.Activation{Way: deployers.NoWay, Wait: deployers.ServiceInactive, Why: "no systemd here, and " + k.why}, nil
	case k.why == "":
		return k.reload(t, f), nil
	case f.Systemd && k.hangs:
		return deployers.Activation{}, deployers.NewSilentError(t, k.why)
	case f.Systemd && t.AllowRestart && k.about != deployers.Control: // not to know is no reason to restart it
		return deployers.Activation{Way: deployers.RestartUnit, Unit: t.Unit, Why: k.why + "; allow_restart is set, so it is restarted"}, nil
	case k.remedy != "":
		noWay := &deployers.NoWayError{Target: t.Name, About: k.about, Why: k.why, Remedy: k.remedy, NoTLS: k.noTLS}
		if k.about == deployers.Control {
			return deployers.Activation{}, &deployers.UnreachableError{NoWayError: noWay}
		}
		return deployers.Activation{}, noWay
	default:
		return deployers.Activation{Way: deployers.NoWay, Unit: t.Unit, Wait: deployers.RestartNotAllowed, Why: k.why}, nil
	}
}

// reload returns the activation of a Kamailio that can be called: tls.reload,
// unless that would end its TLS for want of shared memory. Then it is a
// restart, which frees all of that.
func (k observed) reload(t deployers.Target, f deployers.Facts) deployers.Activation {
	m, known := k.memory(f)
	a := deployers.Activation{Unit: t.Unit, Spends: true}
	if known {
		a.Left = m.left()
	}
	switch {
	case !known || m.fits():
		options := t.Options.(*Options)
		a.Way, a.Success, a.Faults, a.FaultKeepsOld, a.Gap = deployers.CallControl, k.success(f), reloadFaults(), true, k.gap()
		for _, channel := range options.channels(k.script) {
			a.Calls = append(a.Calls, deployers.Query{Channel: channel, Method: "tls.reload"})
		}
	case f.Systemd && t.AllowRestart && !m.tooSmall():
		a.Way, a.Why = deployers.RestartUnit, m.short()+"; allow_restart is set, so it is restarted"
	default:
		a.Way, a.Wait, a.Why, a.Remedy = deployers.NoWay, deployers.SharedMemoryLow, m.short(), m.remedy(t)
	}
	return a
}

// success returns the reply to a reload that succeeded. Before 5.6.0 it is
// empty, while a fault is still a fault (tls_rpc.c; Kamailio's commit
// 89958e9350 of January 2022; 5.4.4 does so).
func (k observed) success(f deployers.Facts) string {
	if numbers := k.version(f).numbers; numbers != nil && slices.Compare(numbers, []int{5, 6, 0}) < 0 {
		return ""
	}
	return "Ok. TLS configuration reloaded."
}

// reloadFaults returns the faults of tls.reload (tls_rpc.c of 6.0.1, and what
// master of August 2026 adds), and of the RPC modules (rpc_lookup.c,
// binrpc_run.c, jsonrpcs_mod.c).
func reloadFaults() []deployers.Fault {
	return []deployers.Fault{
		{Says: "No TLS configuration file configured", Reason: "tls-config-missing", Remedy: `certificates are set by modparam only: give the module tls a config file (modparam("tls", "config", "/etc/kamailio/tls.cfg")), or set allow_restart: true`},
		{Says: "Error while loading TLS configuration file", Reason: "tls-config-malformed", Remedy: "Kamailio cannot read its tls.cfg; its log tells the line. If the file is right, only a restart helps"},
		{Says: "Error while fixing TLS configuration", Reason: "tls-config-rejected", Remedy: "a file or setting of tls.cfg cannot be used, not necessarily one of this target, or shared memory is short; Kamailio's log tells which"},
		{Says: "No server listening socket found", Reason: "tls-listener-missing", Remedy: "tls.cfg has a [server:ADDRESS:PORT] where Kamailio does not listen; correct it, or add a listen line and restart"},
		{Says: "Command Executed Too Fast", Reason: "reload-too-soon", Remedy: "certlatch deploy --pending tries again; rpc_exec_delta of kamailio.cfg sets the distance of two reloads"},
		{Says: "HSM/engine key reload failed", Reason: "engine-key-failed", Remedy: "the new certificate may be in use without its key; see whether the HSM or engine answers, and what Kamailio's log says"},
		{Says: "Out of shared memory", Reason: "out-of-shared-memory", Remedy: "restart Kamailio with more shared memory (SHM_MEMORY= in /etc/default/kamailio)"},
		{Says: "PROC_TCP_MAIN", Reason: "reload-not-dispatched", Remedy: "the main TCP process does not answer; Kamailio's log tells more"},
		{Says: "configuration file path too long", Reason: "tls-config-path-too-long", Remedy: "give tls.cfg a path below 256 bytes"},
		{Says: "not found", Reason: "tls-module-missing", Remedy: "let Kamailio load its module tls"},
		{Says: "Not Found", Reason: "tls-module-missing", Remedy: "let Kamailio load its module tls"},
	}
}

// gap returns the least time between two reloads: close ones have crashed
// Kamailio, or left it unable to load tls.cfg (github.com/kamailio/kamailio
// issues 3305 and 3319). From 5.7.0 the core's rpc_exec_delta, in whole
// seconds, may demand more; no RPC returns it.
func (k observed) gap() time.Duration {
	gap := 10 * time.Second
	for _, set := range k.script.Set("rpc_exec_delta") {
		if seconds, err := strconv.ParseUint(set.Value(), 10, 16); err == nil {
			gap = max(gap, time.Duration(seconds+1)*time.Second)
		}
	}
	return gap
}

// read reads kamailio.cfg, from the texts that are known.
func (o *Options) read(f deployers.Facts) sipscript.Script {
	return sipscript.Read(sipscript.Kamailio, o.config(f), f.CommandLine().Options("-A"), f.Texts)
}

// observed is what the facts say about a Kamailio.
type observed struct {
	script  sipscript.Script  // kamailio.cfg
	asked   []deployers.Query // for tls.options, one after the other until one is answered
	unsure  bool              // the last of them has not been asked yet
	channel deployers.Channel // that answered; zero: none
	config  string            // tls.cfg, or a directory of such; empty: there is none
	guessed bool              // whether that is the one depends on what is not known
	tls     tlsConfig
	flaw    error // where Kamailio would stop reading tls.cfg; nil: nowhere

	hangs  bool             // it took a call and did not answer
	why    string           // why it cannot be told to reload; empty: it can
	about  deployers.Aspect // what that is about
	remedy string           // where nothing can be done before that is mended
	noTLS  bool             // it has not loaded its module tls
}

func (k observed) answers() bool { return k.channel != deployers.Channel{} }

// observe returns what the facts tell.
func (o *Options) observe(f deployers.Facts) observed {
	seen := observed{script: o.read(f), tls: tlsConfig{base: filepath.Dir(o.config(f))}}
	seen.config, seen.guessed = o.tlsConfig(seen.script, f)
	var silent []string
	for _, channel := range o.channels(seen.script) {
		query := deployers.Query{Channel: channel, Method: "tls.options"}
		seen.asked = append(seen.asked, query)
		answer, known := f.Answers[query]
		if !known {
			seen.unsure = true
			return seen
		}
		if answer.Err == "" && isAnother(channel, f) {
			silent = append(silent, channel.Address+" is the control socket of another Kamailio than "+f.Unit.Name)
			continue
		}
		if answer.Err == "" {
			seen.channel, seen.guessed = channel, false
			seen.take(answer)
			break
		}
		silent = append(silent, answer.Err)
		seen.hangs = seen.hangs || answer.Silent()
	}
	switch {
	case seen.answers():
		seen.hangs = false
	case seen.hangs:
		seen.about, seen.why = deployers.Control, "Kamailio does not answer: "+strings.Join(silent, "; ")
	default:
		seen.about, seen.why = deployers.Control, "Kamailio cannot be reached: "+strings.Join(silent, "; ")
		seen.remedy = `let Kamailio load its module ctl or jsonrpcs, or set kamailio: {rpc: "unix:/PATH"} to the control socket that it has`
	}
	if seen.config != "" {
		seen.readTLS(f)
	}
	return seen
}

// take adds what Kamailio says of its TLS settings.
func (k *observed) take(options deployers.Answer) {
	if k.noTLS = options.Fault != ""; k.noTLS {
		k.about, k.why = deployers.Domains, "Kamailio answers tls.options with "+strconv.Quote(options.Fault)
		k.remedy = "let Kamailio load its module tls (in Debian's kamailio.cfg: #!define WITH_TLS), and restart it"
		return
	}
	k.tls.modparam = replyValues(options.Reply)
	if k.config = k.tls.modparam["config"]; k.config == "" {
		k.about, k.why = deployers.Domains, "certificates are set by modparam only, which Kamailio reads when it starts"
	}
}

// readTLS reads tls.cfg.
func (k *observed) readTLS(f deployers.Facts) {
	texts := f.Texts[k.config]
	if len(texts) == 0 {
		texts = f.Texts[filepath.Join(k.config, "*")]
	}
	for _, text := range texts {
		profiles, err := parseTLS(text)
		k.tls.profiles = append(k.tls.profiles, profiles...)
		k.flaw = cmp.Or(k.flaw, err)
	}
}

// replyValues reads the "name: value" lines of a reply. What is not set is
// "<null string>" there (binrpc_run.c), and empty here.
func replyValues(reply string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(reply) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if value != "<null string>" {
			values[name] = value
		}
	}
	return values
}
