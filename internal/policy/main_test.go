package policy_test

import (
	"os"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
)

// TestMain has the tests make their files where certlatch trusts them.
func TestMain(m *testing.M) {
	need.KeptTemp()
	os.Exit(m.Run())
}
