package install

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
)

// helperVariable makes the test binary a process that the crash tests kill.
const helperVariable = "CERTLATCH_TEST_HELPER"

func TestMain(m *testing.M) {
	need.KeptTemp()
	if work := os.Getenv(helperVariable); work != "" {
		// strace counts system calls by thread.
		runtime.LockOSThread()
		if err := help(work, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// help is the work of the helper process in a place: to deploy the new pair
// into one of the layouts, or to recover.
func help(work, root string) error {
	p := place{root}
	if work == "recover" {
		_, err := p.installer().Recover()
		return err
	}
	t, err := p.installer().Stage([]Set{p.set(layout(work), newPair)})
	if err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return err
	}
	return t.Keep()
}

type layout string

const (
	inPlace layout = "in-place" // in two directories
	managed layout = "managed"  // in a directory whose parent is missing too
)

// pair is a pair of contents that belong together.
type pair struct{ generation, key, cert string }

var (
	oldPair = pair{"20260101T000000Z-aaaaaaaa", "old key\n", "old certificate\n"}
	newPair = pair{"20260201T000000.000001Z-bbbbbbbb", "new key\n", "new certificate\n"}
)

// place is a host's file system in a directory of a test.
type place struct{ root string }

func (p place) installer() *Installer { return New(filepath.Join(p.root, "state", "journal")) }

func (p place) key() string  { return filepath.Join(p.root, "etc", "private", "key.pem") }
func (p place) cert() string { return filepath.Join(p.root, "etc", "certs", "cert.pem") }

func (p place) directory() string { return filepath.Join(p.root, "etc", "tls", "sip.example") }

// set gives the pair as a set. The certificate comes first, as in a plan.
func (p place) set(l layout, pair pair) Set {
	set := Set{Target: "sip", Lineage: "sip.example"}
	cert, key := p.cert(), p.key()
	if l == managed {
		set.Directory, set.Generation, set.Group = p.directory(), pair.generation, os.Getegid()
		cert, key = filepath.Join(set.Directory, current, "fullchain.pem"), filepath.Join(set.Directory, current, "privkey.pem")
	}
	file := func(path, data string, mode fs.FileMode) File {
		return File{Path: path, Data: lineage.Secret(data), UID: os.Geteuid(), GID: os.Getegid(), Mode: mode}
	}
	set.Files = []File{file(cert, pair.cert, 0o644), file(key, pair.key, 0o640)}
	set.Files[1].HoldsKey = true
	return set
}
