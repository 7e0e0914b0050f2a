package hooks_test

import (
	"testing"

	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/hooks/hookstest"
)

// TestClients runs the suite for every client.
func TestClients(t *testing.T) {
	for _, c := range hooks.All() {
		t.Run(c.Name(), func(t *testing.T) { hookstest.Run(t, c) })
	}
}
