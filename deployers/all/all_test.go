package all_test

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/deployers/deployertest"
	"github.com/certlatch/certlatch/internal/lineage"
)

func TestServices(t *testing.T) {
	for _, d := range all.Deployers() {
		t.Run(d.Name(), func(t *testing.T) { deployertest.Run(t, d) })
	}
}

// TestRoomsHaveRows holds that no service was forgotten in the table.
func TestRoomsHaveRows(t *testing.T) {
	rooms, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	besides := []string{"all", "deployertest", "sample", "sipscript"}
	for _, room := range rooms {
		if room.IsDir() && !slices.Contains(besides, room.Name()) && !slices.Contains(all.Names(), room.Name()) {
			t.Errorf("%s has no row in the table: add %[1]s.Deployer{} to Deployers in deployers/all/all.go", room.Name())
		}
	}
}

// TestListeners is about where each service is probed, of the addresses that its
// processes listen at: at the loopback address of a wildcard's family, and at others as
// they are, on their link where they are good on that alone (RFC 4007 section 6).
func TestListeners(t *testing.T) {
	hosts := map[string]string{
		"0.0.0.0": "127.0.0.1", "::": "::1", "::ffff:0.0.0.0": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::1": "::1",
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8::7": "2001:db8::7", "fe80::7%2": "fe80::7%2",
	}
	for _, d := range all.Deployers() {
		target := deployers.Target{Name: "web", Service: d.Name(), Certificate: "/x/cert.pem", Key: "/x/key.pem", Options: d.Options(), Unit: "x.service"}
		d.Defaults(&target)
		for at, host := range hosts {
			listener := netip.AddrPortFrom(netip.MustParseAddr(at), 443)
			if addr := listener.Addr(); d.Name() == "nginx" && (addr.Zone() != "" || addr.Is4In6()) {
				continue // its configuration has none such, and is what it is known by
			}
			facts := deployers.Facts{
				Systemd: true, Unit: deployers.Unit{Name: "x.service", LoadState: "loaded", ActiveState: "active", CanReload: true, MainPID: 63},
				Listeners: []netip.AddrPort{listener}, Argv: []string{"x"},
			}
			for range 5 {
				answer(&facts, d.Wants(target, facts))
			}
			plan, err := d.Plan(target, lineage.Lineage{Name: "web.example"}, facts)
			if err != nil {
				t.Fatal(err)
			}
			if len(plan.Probes) != 1 || plan.Probes[0].Host != host || plan.Probes[0].Port != 443 {
				t.Errorf("%s, which listens at %s, is probed at %v, want %s (%q)", d.Name(), listener, plan.Probes, host, plan.Notes())
			}
		}
	}
}

// answer answers what a service wants to know with the shortest configuration that takes
// the files at its only listener.
func answer(facts *deployers.Facts, wants deployers.Wants) {
	facts.Outputs, facts.Texts = map[string]deployers.Output{}, map[string][]deployers.Text{}
	for _, argv := range wants.Commands {
		facts.Outputs[strings.Join(argv, "\x00")] = deployers.Output{Stdout: "# configuration file /etc/nginx/nginx.conf:\nhttp { server { listen " +
			facts.Listeners[0].String() + " ssl; server_name web.example; ssl_certificate /x/cert.pem; ssl_certificate_key /x/key.pem; } }\n"}
	}
	for _, path := range wants.Texts {
		facts.Texts[path] = nil
		if path == "/etc/prosody/prosody.cfg.lua" {
			facts.Texts[path] = []deployers.Text{{Path: path, Content: `https_ports = { 443 } VirtualHost "web.example" certificate = "/x/cert.pem"`}}
		}
	}
}

// TestHolders wants it to be said of each service that is stopped who listens on its
// ports all the same.
func TestHolders(t *testing.T) {
	for _, d := range all.Deployers() {
		target := deployers.Target{Name: "web", Service: d.Name(), Certificate: "/x/cert.pem", Key: "/x/key.pem", Options: d.Options(), Unit: "x.service"}
		d.Defaults(&target)
		plan, err := d.Plan(target, lineage.Lineage{Name: "web.example"}, deployers.Facts{
			Systemd: true, Unit: deployers.Unit{Name: "x.service", LoadState: "loaded", ActiveState: "inactive"},
			Holders: []deployers.Process{{PID: 9, Title: "somebody"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if a := plan.Activate; a.Wait != deployers.ServiceInactive || !strings.Contains(a.Why, `process 9 ("somebody")`) || !strings.Contains(a.Remedy, "ps 9") {
			t.Errorf("%s: %+v: let its activation be deployers.AwaitStart", d.Name(), a)
		}
	}
}
