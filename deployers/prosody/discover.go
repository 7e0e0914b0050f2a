package prosody

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
)

// Runs returns the program, a script of Lua.
func (Deployer) Runs(deployers.Target) string { return "prosody" }

// Serves reports whether a process of that serves: all do.
func (Deployer) Serves(deployers.Process) bool { return true }

func (Deployer) Discover(t deployers.Target, f deployers.Facts) deployers.Discovery {
	path := instanceOf(t, f).config
	config := readConfiguration(path, f.Texts)
	own := config.ownPlace()
	d := deployers.Discovery{
		Installed: f.Unit.LoadState == "loaded" || len(f.Texts[path]) > 0,
		Role:      "xmpp", Labels: []string{"xmpp", "chat", "jabber", "im"},
		Certificate: own.Certificate, Key: own.Key, Lines: own.Lines,
	}
	if !d.Installed {
		return d
	}
	d.Tree, d.Elsewhere = config.tree(), config.elsewhere()
	view := newView(config, deployers.Target{Options: t.Options}, &deployers.Plan{}, f)
	taken := certificatesTaken(f.Output(ownTest(path, f).Command).Stdout)
	for _, host := range config.hosts {
		if host.options["enabled"] == false || host.name == "localhost" {
			continue
		}
		if !isHost(host.name) {
			d.AddUnknown(fmt.Sprintf("%s is no name that can be asked for, so nothing is proposed for it", host.name))
			continue
		}
		d.Add(view.use(host, taken[host.name], &d))
		https := view.kinds[slices.IndexFunc(view.kinds, func(k listenerKind) bool { return k.service == "https" })]
		if name := view.nameAt(host, https); name != host.name && isHost(name) {
			d.Add(view.useOf("https of host "+host.name, name, view.chosen(host, https)))
		}
	}
	view.addServices(&d)
	d.Unknown = append(d.Unknown, config.unread...)
	return d
}

// ownPlace returns the place for a pair in the tree, where Prosody finds it by its names.
func (c *configuration) ownPlace() deployers.Place {
	return placeIn(c.tree(), `certificate = "{certificate}"`)
}

// elsewhere returns a place for a pair that the tree is to be moved to.
func (c *configuration) elsewhere() deployers.Place {
	dir := c.resolve("certs")
	if dir == c.tree() {
		dir = c.resolve("tls")
	}
	return placeIn(dir, fmt.Sprintf("certificates = %q", dir))
}

func placeIn(dir, line string) deployers.Place {
	return deployers.Place{Certificate: filepath.Join(dir, "{lineage}.crt"), Key: filepath.Join(dir, "{lineage}.key"), Lines: []string{line}}
}

// use returns what a host takes for STARTTLS: as Prosody's own test says, or else as its
// configuration leads to.
func (v *view) use(host *section, taken string, d *deployers.Discovery) deployers.Use {
	pairs := deployers.Distinct(v.chosen(host, listenerKind{}))
	if taken != "" && !slices.ContainsFunc(pairs, func(pair pairFiles) bool { return pair.certificate == taken }) {
		if len(pairs) > 0 {
			d.AddUnknown(fmt.Sprintf("prosodyctl check certs says that host %s takes %s, while %s was read to lead to %s", host.name, taken, v.path, pairs[0].certificate))
		}
		pairs = []pairFiles{{certificate: taken}}
		if indexed(v.tree(), taken) {
			pairs[0].key = matchingKey(taken)
		}
	}
	use := v.useOf("host "+host.name, host.name, pairs)
	if _, is := v.byOption(host); is {
		use.InTree, use.Lines = false, []string{`ssl = { certificate = "{certificate}", key = "{key}" }`}
	}
	return use
}

// useOf returns the use of pairs of which any is taken under a name.
func (v *view) useOf(where, name string, pairs []pairFiles) deployers.Use {
	name, _ = endpoint.ASCII(name)
	use := deployers.Use{Where: where, Names: []string{name}}
	if len(pairs) > 0 {
		use.Certificate, use.Key = pairs[0].certificate, pairs[0].key
		use.InTree = indexed(v.tree(), use.Certificate)
		for _, other := range pairs[1:] {
			use.Either = append(use.Either, other.certificate)
		}
	}
	return use
}

// addServices adds the pairs that services of direct TLS have by an option of their own,
// which Prosody looks at only where the tree holds no certificate.
func (v *view) addServices(d *deployers.Discovery) {
	for _, service := range v.kinds {
		option := service.service + "_certificate"
		pairs := v.ofService(service)
		bases := v.serviceBases(service)
		switch {
		case len(bases) == 0:
		case len(v.index) > 0:
			d.AddUnknown(fmt.Sprintf("%s names %s, which Prosody looks at only where %s holds no certificate, so it is not proposed", option, strings.Join(bases, ", "), v.tree()))
		case len(pairs) == 0:
			d.AddUnknown(fmt.Sprintf("%s names %s, where no certificate is", option, strings.Join(bases, ", ")))
		}
		if len(v.index) > 0 {
			continue
		}
		for _, pair := range pairs {
			d.Add(deployers.Use{Where: option, Certificate: pair.certificate, Key: pair.key, Lines: []string{option + ` = "{certificate}"`}})
		}
	}
}

// certificatesTaken returns what prosodyctl check certs says that hosts take
// (util/prosodyctl/check.lua of 0.12.3 and 13.0.1).
func certificatesTaken(printed string) map[string]string {
	taken := map[string]string{}
	var host string
	for line := range strings.Lines(printed) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "Checking certificate for "); ok {
			host = name
		} else if path, ok := strings.CutPrefix(line, "  Certificate: "); ok && host != "" {
			taken[host] = filepath.Clean(path)
		}
	}
	return taken
}
