package system

import (
	"flag"
	"os"
	"strconv"
	"testing"

	"github.com/certlatch/certlatch/internal/need"
)

// hosts is how many are up at once where -parallel does not say so: a host is a
// whole system, which waits more than it works.
const hosts = 4

// TestMain sets a directory for temporary files that certlatch trusts.
func TestMain(m *testing.M) {
	need.KeptTemp()
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", strconv.Itoa(hosts)); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
