package prosody

import (
	"fmt"
	"path/filepath"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
)

func (Deployer) Discover(t deployers.Target, f deployers.Facts) deployers.Discovery {
	path := t.Options.(*Options).Config
	certs := filepath.Join(filepath.Dir(path), "certs")
	d := deployers.Discovery{
		Installed: f.Unit.LoadState == "loaded" || len(f.Texts[path]) > 0,
		Role:      "xmpp", Labels: []string{"xmpp", "chat", "jabber", "im"},
		Certificate: filepath.Join(certs, "{lineage}.crt"), Key: filepath.Join(certs, "{lineage}.key"),
		Lines: []string{`certificate = "{certificate}"`},
	}
	if !d.Installed {
		return d
	}
	config := readConfiguration(path, f.Texts)
	view := newView(config, deployers.Target{Options: t.Options}, &deployers.Plan{}, f)
	for _, host := range config.hosts {
		if host.options["enabled"] == false || host.name == "localhost" {
			continue
		}
		use := deployers.Use{Where: "host " + host.name, Names: []string{host.name}}
		if !endpoint.IsHost(host.name) {
			d.AddUnknown(fmt.Sprintf("%s is not a name in ASCII, so nothing is proposed for it", host.name))
			continue
		}
		pairs := deployers.Distinct(view.chosen(host, listenerKind{}))
		if len(pairs) > 0 {
			use.Certificate, use.Key = pairs[0].certificate, pairs[0].key
		}
		if len(pairs) > 1 {
			d.AddUnknown(fmt.Sprintf("for host %s Prosody takes either of %s and %s: move one of them out of %s", host.name, pairs[0].certificate, pairs[1].certificate, view.tree()))
		}
		d.Add(use)
	}
	d.Unknown = append(d.Unknown, config.unread...)
	return d
}
