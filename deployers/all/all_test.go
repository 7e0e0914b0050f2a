package all_test

import (
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
