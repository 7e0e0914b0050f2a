package all_test

import (
	"os"
	"slices"
	"testing"

	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/deployers/deployertest"
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
	besides := []string{"all", "deployertest", "sample"}
	for _, room := range rooms {
		if room.IsDir() && !slices.Contains(besides, room.Name()) && !slices.Contains(all.Names(), room.Name()) {
			t.Errorf("%s has no row in the table: add %[1]s.Deployer{} to Deployers in deployers/all/all.go", room.Name())
		}
	}
}
