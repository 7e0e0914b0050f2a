// Package all is the table of the services that certlatch knows.
package all

import (
	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/asterisk"
	"github.com/certlatch/certlatch/deployers/generic"
	"github.com/certlatch/certlatch/deployers/kamailio"
	"github.com/certlatch/certlatch/deployers/nginx"
	"github.com/certlatch/certlatch/deployers/opensips"
	"github.com/certlatch/certlatch/deployers/prosody"
)

// Deployers returns the table: one deployer for each service.
func Deployers() []deployers.Deployer {
	return []deployers.Deployer{
		nginx.Deployer{},
		kamailio.Deployer{},
		opensips.Deployer{},
		prosody.Deployer{},
		asterisk.Deployer{},
		generic.Deployer{},
	}
}

// Discoverers returns the services that are looked for on a host, each by itself.
func Discoverers() (found []deployers.Discoverer) {
	for _, d := range Deployers() {
		if one, ok := d.(deployers.Discoverer); ok {
			found = append(found, one)
		}
		if several, ok := d.(deployers.Several); ok {
			found = append(found, several.Each()...)
		}
	}
	return found
}

// For returns the deployer of a service, and reports whether there is one.
func For(service string) (deployers.Deployer, bool) {
	for _, d := range Deployers() {
		if d.Name() == service {
			return d, true
		}
	}
	return nil, false
}

// Names returns the names of the services, in the order of the table.
func Names() []string {
	var names []string
	for _, d := range Deployers() {
		names = append(names, d.Name())
	}
	return names
}
