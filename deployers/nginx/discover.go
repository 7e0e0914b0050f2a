package nginx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
)

// Runs returns the program.
func (Deployer) Runs(t deployers.Target) string { return t.Options.(*Options).Binary }

// Serves reports whether a process of nginx is one that goes on.
func (Deployer) Serves(p deployers.Process) bool { return isMaster(p) }

func (Deployer) Discover(t deployers.Target, f deployers.Facts) deployers.Discovery {
	nginx := instanceOf(t, f)
	command := nginx.dump()
	dump := f.Output(command)
	d := deployers.Discovery{
		Installed: f.Unit.LoadState == "loaded" || f.Master != 0 || dump.Stdout != "",
		Role:      "web", Labels: []string{"www", "web"},
		Directory: "/etc/nginx/tls/{lineage}",
		Lines:     []string{"ssl_certificate     {certificate};", "ssl_certificate_key {key};"},
	}
	if t.Unit != "" && t.Unit != defaultUnit { // another instance, whose files are its own
		d.Directory = "/etc/nginx/tls-" + strings.NewReplacer("@", "-", "\\", "-").Replace(strings.TrimSuffix(t.Unit, ".service")) + "/{lineage}"
	}
	if nginx.several != nil {
		d.AddUnknown(fmt.Sprintf("%s does not run, and there are several master processes outside of it that read its configuration: %s", t.Unit, pids(nginx.several)))
	}
	if nginx.master != nil && nginx.says != "" && f.Systemd {
		d.AddUnknown(fmt.Sprintf("%s, outside of %s: certlatch sends it a HUP as long as it does. %s would not start beside it; to let that have it: %s", nginx.says, t.Unit, t.Unit, moveInto(t, []deployers.Process{*nginx.master})))
	}
	if isOther := t.Unit != "" && t.Unit != defaultUnit; isOther && nginx.says == "" {
		d.Installed = len(f.Unit.ExecStart) > 0 && isNginx(f.Unit.ExecStart[0]) // else it only has a name like that
		d.AddUnknown(fmt.Sprintf("%s starts nginx by way of variables, so while it is stopped it is not known with which configuration", t.Unit))
		return d
	}
	read := readServers(dump.Stdout)
	switch {
	case !d.Installed:
	case dump.Failed != "":
		d.AddUnknown("nginx refuses its configuration, so nothing is known of it: " + strings.Join(command, " ") + ": " + dump.Failed)
	case read.err != nil:
		d.AddUnknown("nginx's configuration could not be read: " + read.err.Error())
	default:
		for number := range read.servers {
			discoverServer(&d, read, number)
		}
		d.Plain = read.plain(d.Lines)
	}
	return d
}

// plain returns the web servers without TLS whose names no server has with TLS. The lines
// are those that name a pair.
func (s serversRead) plain(lines []string) (uses []deployers.Use) {
	var served []string
	for _, server := range s.servers {
		if !server.hasTLS() {
			continue
		}
		if server.certifiable() == nil {
			return nil // for whatever name
		}
		served = append(served, server.certifiable()...)
	}
	isServed := func(name string) bool {
		_, parent, _ := strings.Cut(name, ".")
		return slices.Contains(served, name) || slices.Contains(served, "*."+parent)
	}
	for _, server := range s.servers {
		names := server.exactNames()
		if server.scheme == "https" && !server.hasTLS() && names != nil && !slices.ContainsFunc(names, isServed) {
			uses = append(uses, deployers.Use{Where: server.where, Names: names, Lines: slices.Concat([]string{"listen 443 ssl;"}, lines)})
		}
	}
	return uses
}

// discoverServer adds the pairs of a server that has TLS.
func discoverServer(d *deployers.Discovery, read serversRead, number int) {
	server := read.servers[number]
	if server.rejects || !server.hasTLS() {
		return
	}
	for _, pair := range server.pairs {
		if !strings.HasPrefix(pair.certificate, "/") || strings.Contains(pair.certificate+pair.key, "$") {
			d.AddUnknown(server.where + ": the server takes its certificate from no file that has a fixed path")
			continue
		}
		probes, note := read.handshakes(number)
		use := deployers.Use{
			Where: server.where, Certificate: pair.certificate, Key: pair.key, Names: server.certifiable(),
			Twin: len(server.pairs) > 1, Probes: probes, Note: note,
		}
		read.yield(&use, number)
		d.Add(use)
	}
}

// yield notes for which of its names a server is ignored by nginx.
func (s serversRead) yield(use *deployers.Use, number int) {
	names := s.lostEverywhere(number)
	if names == nil {
		return
	}
	for _, l := range s.beaten(number) {
		winner := s.servers[l.winner]
		for _, name := range (serverBlock{names: []string{l.name}}).certifiable() {
			yield := deployers.Yield{Name: name, Where: winner.where}
			if len(winner.pairs) > 0 && !winner.rejects {
				yield.Certificate = winner.pairs[0].certificate
			}
			use.Yields = append(use.Yields, yield)
		}
		use.Note = strings.TrimSpace(use.Note + fmt.Sprintf(" nginx ignores the server name %s of %s, since %s comes before it and has that name too.", l.name, s.servers[number].where, winner.where))
	}
	left := s.servers[number]
	left.names = slices.DeleteFunc(slices.Clone(left.names), func(name string) bool { return slices.Contains(names, name) })
	if use.Ignored = len(left.names) == 0 && use.Yields != nil; !use.Ignored {
		use.Names = left.certifiable()
	}
}

// certifiable returns the names of a server that a certificate can have.
func (s serverBlock) certifiable() []string {
	names := s.exactNames()
	for _, name := range s.names {
		if domain, ok := strings.CutPrefix(name, "*."); ok && endpoint.IsHost(domain) {
			names = append(names, name)
		}
		if domain, ok := strings.CutPrefix(name, "."); ok && endpoint.IsHost(domain) {
			names = append(names, domain, "*"+name)
		}
	}
	return names
}

// handshakes returns the endpoints at which a server can be probed from this host, and
// what to know of its other listeners.
func (s serversRead) handshakes(number int) (found []endpoint.Endpoint, note string) {
	server := s.servers[number]
	single := server
	single.pairs = server.pairs[:min(1, len(server.pairs))] // of several, each gets its own probes
	for _, l := range server.listens {
		if !l.hasTLS() {
			continue
		}
		name, _, _ := s.nameAt(number, l, nil)
		if e, ok := s.fronts.through(l, server.scheme, name); ok && l.path != "" {
			found = append(found, e)
			continue
		}
		if why := unprobed(single, l, s); why != "" {
			note = strings.TrimSpace(note + fmt.Sprintf(" %s of %s is not probed: %s.", l, server.where, why))
			continue
		}
		found = append(found, l.probe(server, name))
	}
	return found, note
}
