// Package nginx knows how nginx takes certificates: on a reload, from the files
// that its configuration names. It reads that configuration as nginx -T prints
// it.
//
// It does not promise to know what a variable stands for, or which server an
// address outside of this host reaches.
package nginx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// Deployer deploys to nginx, which takes new files on a reload: its master
// reads them as root, starts new workers, and lets the old ones finish; a bad
// pair leaves the old workers serving (nginx.org/en/docs/control.html;
// src/os/unix/ngx_process_cycle.c of 1.26).
type Deployer struct{}

// Options is the configuration's nginx block.
type Options struct {
	Binary string `yaml:"binary"` // the program
	Config string `yaml:"config"` // its configuration file; empty: the one compiled in
	Prefix string `yaml:"prefix"` // its -p; empty: the one compiled in
	PID    string `yaml:"pid"`    // the master's PID file, used where systemd does not manage it
}

// Program returns the program, as Binary has it.
func (o *Options) Program() string { return o.Binary }

// test returns the command that loads every certificate and key that the
// configuration names literally and checks that they belong together, as the
// reload will.
func (i invocation) test() []string { return i.command("-t") }

// dump returns the command that does what test does, and then prints the
// configuration (src/core/nginx.c of 1.26, ngx_get_options: T sets both
// ngx_test_config and ngx_dump_config). Where the test fails, it prints nothing
// of it.
func (i invocation) dump() []string { return i.command("-T") }

func (Deployer) Name() string { return "nginx" }

func (Deployer) Options() any {
	return &Options{Binary: "nginx", PID: defaultPID}
}

// defaultUnit is the unit of the packages.
const defaultUnit = "nginx.service"

func (Deployer) Defaults(t *deployers.Target) {
	if t.Unit == "" {
		t.Unit = defaultUnit
	}
}

// Wants asks for the configuration of the usual nginx at once, since reading it takes
// longest, and for that of another once it is known which one it is.
func (Deployer) Wants(t deployers.Target, f deployers.Facts) deployers.Wants {
	options := t.Options.(*Options)
	wants := deployers.Wants{
		Unit: t.Unit, PIDFile: options.PID, Program: options.Binary, Ports: []uint16{443, 8443}, Titles: true,
	}
	isKnown := !f.Systemd || t.Unit == "" || f.Unit.Name != ""
	if isUsual := t.Unit == defaultUnit && options.Config == "" && options.Prefix == ""; isKnown || isUsual {
		wants.Commands = [][]string{instanceOf(t, f).dump()}
	}
	return wants
}

func (Deployer) Plan(t deployers.Target, l lineage.Lineage, f deployers.Facts) (plan deployers.Plan, err error) {
	plan = deployers.NewPlan(t, l, f, "https")
	nginx := instanceOf(t, f)
	plan.Test.Command = nginx.test()
	dumped := f.Output(nginx.dump())
	plan.Test.Passed = dumped.Failed == "" && dumped.Stdout != ""
	nginx.tell(&plan, t, f)
	followConfiguration(&plan, nginx, t, f)
	countOldWorkers(&plan, f.Titles)
	plan.Proof.Accepting = acceptingWorker
	plan.Of = nginx.processes(plan.Of)
	plan.Activate, err = nginx.activation(t, f)
	return plan, err
}

// What the processes of nginx call themselves. A worker that is told to finish says
// so before it closes its listening sockets, and accepts nothing in between; until
// then it accepts beside the new ones, for 100 to 160 ms after a reload (measured
// with 1.26.3; src/os/unix/ngx_process_cycle.c, ngx_worker_process_cycle).
const (
	acceptingWorker = "nginx: worker process"
	finishingWorker = "nginx: worker process is shutting down"
)

// manyOldWorkers is the number of old workers, for each that takes new
// connections, at which a warning begins.
const manyOldWorkers = 4

// countOldWorkers adds a warning where workers from before earlier reloads pile
// up: each stays as long as a connection does that it has, WebSockets among
// them, with its memory (src/os/unix/ngx_process_cycle.c of 1.26,
// ngx_worker_process_cycle).
func countOldWorkers(plan *deployers.Plan, titles []string) {
	workers, old := 0, 0
	for _, title := range titles {
		switch title {
		case acceptingWorker:
			workers++
		case finishingWorker:
			old++
		}
	}
	if workers > 0 && old >= manyOldWorkers*workers {
		plan.Warn(deployers.Reload, "set worker_shutdown_timeout in its configuration, which ends them after a while",
			"%d workers from before earlier reloads go on with their connections, beside the %d that take new ones, and each keeps its memory", old, workers)
	}
}

// followConfiguration adds to a plan what nginx's own configuration says about
// the plan's files: the names that they are for, and where they are served.
// Where it does not say, the listeners that were found stay the probes.
func followConfiguration(plan *deployers.Plan, nginx instance, t deployers.Target, f deployers.Facts) {
	command := nginx.dump()
	dump := f.Output(command)
	read := deployers.Once(f, "nginx", dump.Stdout, readServers)
	if dump.Failed != "" || read.err != nil {
		why := dump.Failed
		if why == "" {
			why = read.err.Error()
		}
		plan.Warn(deployers.Configuration, "run "+strings.Join(command, " "), "nginx's configuration could not be read, so it is not known which of its servers use these files: %s", why)
		return
	}
	nginx.differs(plan, t.Options.(*Options), read.main)
	use := fileUse{plan: plan, read: read, asked: asked(f.Names), conflicts: deployers.Once(f, "nginx warnings", dump.Stderr, conflicts)}
	for _, number := range read.concerned(*plan) {
		use.consider(number)
	}
	plan.Names = use.names()
	if use.servers == nil {
		use.tellElsewhere(nginx.isKnown(t, f))
		return
	}
	if plan.Found {
		plan.Probes = use.probes()
		if len(plan.Probes) == 0 {
			plan.Unprobed = use.unprobed
		}
		return
	}
	use.tellUnlooked()
}

// tellElsewhere notes that no server names the files, and what those have that clients
// reach by the names of the leaf. What is known of the configuration may be of another nginx.
func (u *fileUse) tellElsewhere(known bool) {
	servers, sure := u.read.answering(u.asked)
	var takes []deployers.Taken
	for _, number := range servers {
		server := u.read.servers[number]
		if server.scripted {
			sure = false
		}
		for _, pair := range server.pairs {
			if !server.rejects {
				takes = append(takes, deployers.Taken{Where: server.where, File: pair.certificate, Key: pair.key})
			}
		}
	}
	for _, f := range u.plan.Files { // as the certificate of a client, or half of a pair
		sure = sure && !u.read.mentioned[f.Path] && !u.read.mentioned[f.Credential]
	}
	if !sure {
		takes = nil
	}
	u.plan.TakesElsewhere(known && sure, "let the server that should have it name both", fmt.Sprintf("no server of nginx's configuration names %s and its key", u.plan.Files[0].Path), takes...)
}

// fileUse is how nginx's servers use the files of a plan.
type fileUse struct {
	plan    *deployers.Plan
	read    serversRead
	asked   []string // the names of the new leaf, as clients may ask for them
	servers []int    // those that serve them, by their places

	conflicts map[string]bool // the server names that nginx says it ignores
	unprobed  string          // a listener that cannot be probed, and why; empty: there is none
}

// consider notes whether a server uses the files.
func (u *fileUse) consider(number int) {
	server := u.read.servers[number]
	for _, pair := range server.pairs {
		certificate, key := u.plan.Writes(pair.certificate, deployers.Fullchain, deployers.Combined), u.plan.Writes(pair.key, deployers.Key, deployers.Combined)
		switch {
		case certificate && key && server.rejects:
			u.plan.Fine(deployers.Configuration, "%s: the server names them, and refuses every handshake all the same (ssl_reject_handshake)", server.where)
			return
		case certificate && key && !server.hasTLS():
			u.plan.Fine(deployers.Configuration, "%s: the server names them, and has no listener with TLS", server.where)
			return
		case certificate && key:
			u.servers = append(u.servers, number)
			u.plan.Fine(deployers.Configuration, "%s: the server names them", server.where)
			u.tellIgnored(number)
			return
		case certificate:
			u.plan.Warn(deployers.Configuration, "let it name both files of one pair", "%s: the server names %s, but another key", server.where, pair.certificate)
		case key:
			u.plan.Warn(deployers.Configuration, "let it name both files of one pair", "%s: the server names %s, but another certificate", server.where, pair.key)
		case strings.Contains(pair.certificate, "$"):
			u.plan.Warn(deployers.Configuration, "write probes for the names that it is for", "%s: the server finds its certificate by a variable, at each handshake: whether it is this one is not known, and nginx's own test does not look at it", server.where)
		}
	}
}

// tellIgnored adds a check of the names of a server that nginx ignores, and which server it
// lets answer. It is an error where none is left.
func (u *fileUse) tellIgnored(number int) {
	server, lost := u.read.servers[number], u.read.lostEverywhere(number)
	level := deployers.Warned
	if len(lost) > 0 && len(lost) == len(deployers.Distinct(server.names)) {
		level = deployers.Wrong
	}
	explained := map[string]bool{}
	for _, l := range u.read.lost[number] {
		explained[l.name] = true
	}
	for _, l := range u.read.beaten(number) {
		winner, does := u.read.servers[l.winner].where, "answers for that name, with another pair"
		if u.read.servers[l.winner].rejects {
			does = "refuses every handshake for that name"
		}
		u.plan.Checks = append(u.plan.Checks, deployers.NewCheck(deployers.Configuration, level,
			fmt.Sprintf("take the name out of %s or of %s, whichever is not meant, and reload nginx", winner, server.where),
			"%s: nginx ignores the server name %s on %s, since %s comes before it and %s", server.where, l.name, l.listener, winner, does))
	}
	for _, name := range server.names {
		if u.conflicts[name] && !explained[name] && !u.wins(name) {
			u.plan.Warn(deployers.Configuration, "let one server alone have the name at each address",
				"%s: nginx says that it ignores the server name %s somewhere, since another server has it too: which one answers is not known", server.where, name)
		}
	}
}

// wins reports whether another server is known to be the one that lost a name.
func (u *fileUse) wins(name string) bool {
	for _, lost := range u.read.lost {
		if slices.ContainsFunc(lost, func(l ignored) bool { return l.name == name }) {
			return true
		}
	}
	return false
}

// names returns the names that the servers have, but for wildcards, regular
// expressions and what nginx ignores.
func (u *fileUse) names() []string {
	var names []string
	for _, number := range u.servers {
		lost := u.read.lostEverywhere(number)
		names = append(names, slices.DeleteFunc(u.read.servers[number].exactNames(), func(name string) bool { return slices.Contains(lost, name) })...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// mostNames is how many names are asked for at one address. A pair for hundreds of
// servers is loaded by all of them alike.
const mostNames = 16

// probes returns a probe for each listener at which the files are served, and at each
// for each of the servers there.
func (u *fileUse) probes() []endpoint.Endpoint {
	var probes []endpoint.Endpoint
	left, told := map[string]int{}, map[string]bool{}
	for _, number := range u.servers {
		for _, l := range u.read.servers[number].listens {
			if !l.hasTLS() {
				continue
			}
			e, why := u.read.probe(number, l, u.asked)
			switch {
			case why != "" && told[l.String()+why]:
			case why != "":
				told[l.String()+why] = true
				u.unprobed = u.read.servers[number].where + ": " + l.String() + " is not probed: " + why
				u.plan.Warn(deployers.Serving, "", "%s: %s is not probed: %s", u.read.servers[number].where, l, why)
			case slices.Contains(probes, e):
			case left[e.Address()] == mostNames:
				u.plan.Warn(deployers.Serving, "write probes for those that matter more", "%s is probed under %d names, those of the first servers, though more have this pair there", l, mostNames)
			default:
				left[e.Address()]++
				probes = append(probes, e)
			}
			if why == "" && l.last != l.port {
				u.plan.Warn(deployers.Serving, "", "%s: of %s, only the first port is probed", u.read.servers[number].where, l)
			}
		}
	}
	return probes
}

// tellUnlooked adds a check of listeners at which the files are served and which no probe that
// was written down looks at.
func (u *fileUse) tellUnlooked() {
	for _, number := range u.servers {
		for _, l := range u.read.servers[number].listens {
			looked := slices.ContainsFunc(u.plan.Probes, func(e endpoint.Endpoint) bool {
				return l.path == "" && !l.datagram() && l.port <= e.Port && e.Port <= l.last
			})
			if l.hasTLS() && !looked && len(u.plan.Probes) > 0 {
				u.plan.Fine(deployers.Serving, "%s: %s serves them too, and none of the target's probes looks there", u.read.servers[number].where, l)
			}
		}
	}
}

// probe returns the probe of a server at one of its listeners, given the names that
// others than the configuration know, or why there is none that proves anything.
func (s serversRead) probe(number int, l listener, others []string) (e endpoint.Endpoint, why string) {
	server := s.servers[number]
	name, instead, lost := s.nameAt(number, l, others)
	if e, ok := s.fronts.through(l, server.scheme, name); ok && l.path != "" && len(server.pairs) == 1 {
		return e, ""
	}
	if why := unprobed(server, l, s); why != "" {
		return e, why
	}
	if instead != number && !lost {
		return e, "no name is known that leads to the server there, and " + s.servers[instead].where + " answers for those that lead to none"
	}
	return l.probe(server, name), ""
}

// unprobed returns why a listener cannot be probed, or not so that it proves
// anything; empty: it can.
func unprobed(server serverBlock, l listener, all serversRead) string {
	switch {
	case l.quic:
		return "it is for QUIC"
	case l.udp:
		return "it is for DTLS"
	case l.path != "":
		return "it is a UNIX socket"
	case len(server.pairs) > 1:
		return "the server has certificates for several types of keys; write a probe with key=rsa or key=ecdsa"
	}
	for _, nearer := range all.at(l.endpoint("tls", "")) {
		if hides(nearer.listener, l) && !slices.ContainsFunc(server.listens, nearer.listener.same) {
			return "from this host, " + nearer.listener.String() + " of " + nearer.where + " would answer"
		}
	}
	return ""
}

// hides reports whether a listener gets the connections of this host that are
// meant for the wildcard address of another: the more exact address wins.
func hides(nearer, wildcard listener) bool {
	at := wildcard.endpoint("tls", "")
	exact := nearer.path == "" && !nearer.datagram() && nearer.host == at.Host && nearer.port == at.Port
	return exact && nearer.host != wildcard.host
}
