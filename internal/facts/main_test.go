package facts

import (
	"os"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
)

// TestMain lets files be made where they are trusted.
func TestMain(m *testing.M) {
	need.KeptTemp()
	os.Exit(m.Run())
}
