package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/fault"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/need"
)

// helperVariable is set for the test binary where it is the process that meets
// faults.
const helperVariable = "CERTLATCH_TEST_HELPER"

func TestMain(m *testing.M) {
	need.KeptTemp()
	if work := os.Getenv(helperVariable); work != "" {
		fault.Stay()
		err := help(work, os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(helperCode(err))
	}
	os.Exit(m.Run())
}

// The work of the helper process. A layout follows it, as in "deploy in-place".
const (
	helpDeploy  = "deploy"
	helpUndo    = "undo" // deploy, and take it back
	helpRecover = "recover"

	// Beside another transaction, which is staged before and kept after.
	helpDeployBeside = "deploy-beside"
	helpUndoBeside   = "undo-beside"
)

// The exit codes of the helper process. 2 is that of a panic (package runtime).
const (
	codeDone = iota
	codeFailed
	_
	codeNotKept
	codeKept // kept, but something could not be removed
	codeNotRestored
	codeLeft // undone or recovered, but something could not be removed
)

// besideCode is what the code of another transaction counts in that of the helper.
const besideCode = 10

func helperCode(err error) int {
	restore, left := new(RestoreError), new(LeftError)
	if both, is := err.(besideError); is {
		return helperCode(both.err) + besideCode*helperCode(both.neighbour)
	}
	switch {
	case err == nil:
		return codeDone
	case errors.As(err, &restore):
		return codeNotRestored
	case errors.As(err, new(*NotKeptError)):
		return codeNotKept
	case errors.As(err, new(keepError)):
		return codeKept
	case errors.As(err, &left):
		return codeLeft
	}
	return codeFailed
}

// keepError says that Keep failed, and not what came before.
type keepError struct{ error }

func (e keepError) Unwrap() error { return e.error }

// besideError says how two transactions side by side ended.
type besideError struct{ err, neighbour error }

func (e besideError) Error() string { return fmt.Sprintf("%v, beside %v", e.err, e.neighbour) }

// help does the work of the helper process in a place.
func help(work, root string) error {
	p := place{root}
	work, l, _ := strings.Cut(work, " ")
	set, in := p.renewal(layout(l)), p.installer()
	switch work {
	case helpRecover:
		_, err := in.Recover()
		return err
	case helpDeployBeside, helpUndoBeside:
		var ends besideError
		var other *Transaction
		other, ends.neighbour = in.Stage([]Set{p.neighbour(layout(l), neighbourName, newPair)})
		ends.err = carry(in, set, work == helpUndoBeside, func() {
			if ends.neighbour == nil {
				ends.neighbour = other.Commit()
			}
		})
		if ends.neighbour == nil {
			ends.neighbour = keep(other)
		}
		if ends == (besideError{}) {
			return nil
		}
		return ends
	}
	return carry(in, set, work == helpUndo, func() {})
}

// neighbourName is the target that the helper deploys to beside another.
const neighbourName = "neighbour"

// carry carries a transaction through, with something that comes to pass between
// its stage and its commit.
func carry(in *Installer, set Set, undo bool, between func()) error {
	t, err := in.Stage([]Set{set})
	between()
	if err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return err
	}
	if undo {
		return t.Undo()
	}
	return keep(t)
}

func keep(t *Transaction) error {
	if err := t.Keep(); err != nil {
		return keepError{err}
	}
	return nil
}

type layout string

const (
	inPlace layout = "in-place" // in two directories
	inNew   layout = "in-new"   // in place, in directories that are missing, and their parent too
	managed layout = "managed"  // in a directory whose parent is missing too
)

// pair is a pair of contents that belong together.
type pair struct{ generation, key, cert string }

var (
	oldPair = pair{"20260101T000000Z-aaaaaaaa", "old key\n", "old certificate\n"}
	newPair = pair{"20260201T000000.000001Z-bbbbbbbb", "new key\n", "new certificate\n"}
)

// place is a directory of a test that stands for a host's file system.
type place struct{ root string }

func (p place) installer() *Installer { return New(filepath.Join(p.root, "state", "journal")) }

func (p place) key() string  { return filepath.Join(p.root, "etc", "private", "key.pem") }
func (p place) cert() string { return filepath.Join(p.root, "etc", "certs", "cert.pem") }

func (p place) directory() string { return filepath.Join(p.root, "etc", "tls", "sip.example") }

// set returns the pair as a set. The certificate comes first, as in a plan.
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

// renewal returns the new pair as a set, which somebody else may read too.
func (p place) renewal(l layout) Set {
	set := p.set(l, newPair)
	for i := range set.Files {
		set.Files[i].Grants = []disk.Grant{{ID: 9999}}
	}
	return set
}
