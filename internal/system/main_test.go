package system

import (
	"os"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
)

// TestMain sets a directory for temporary files that certlatch trusts.
func TestMain(m *testing.M) {
	need.KeptTemp()
	os.Exit(m.Run())
}
