package control

import (
	"os"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
)

// TestMain sets a directory for temporary files in which sockets can be.
func TestMain(m *testing.M) {
	need.KeptTemp()
	os.Exit(m.Run())
}
