package lineage

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/certlatch/certlatch/internal/disk"
)

// Outside is the code of the finding that a file of a lineage leads out of the
// client's directories.
const Outside = "outside"

// files opens the files of one lineage.
type files struct {
	root  string
	store *disk.Store // of the root; nil where there is none
	err   error       // why it could not be opened
}

// openFiles opens the files of a lineage in the store of its root.
func openFiles(l Lineage, storeOf func(Root) (*disk.Store, error)) files {
	if l.Root == (Root{}) {
		return files{}
	}
	store, err := storeOf(l.Root)
	return files{l.Root.Dir, store, err}
}

func (f files) close() {
	if f.store != nil {
		f.store.Close()
	}
}

// content is what a file held and was when it was read.
type content struct {
	data []byte
	mode os.FileMode // permission bits
}

// read reads a regular file up to one byte beyond the limit, so that Parse sees
// what is too large. It fails with a *refusal, whose code is the given one or
// that of the reason.
func (f files) read(path, code string) (content, error) {
	got, err := f.open(path)
	var outside *disk.OutsideError
	var owner *disk.OwnerError
	switch {
	case err == nil:
		return got, nil
	case errors.As(err, &outside):
		return content{}, refuse(Outside, "let the client keep its files below "+f.root+", or copy them there",
			"%s leads out of %s, to %s", path, f.root, outside.To)
	case errors.As(err, &owner):
		return content{}, refuse("owner-mismatch", "let the file and the directories below "+f.root+" that lead to it belong to the same user, and let nobody else write to them",
			"%s: it belongs to uid %d, and %s could have put it, or a link to it, there", path, owner.Owner, owner.By)
	}
	return content{}, refuse(code, "check that the client has written this file and that certlatch runs as root",
		"%s: cannot be read: %v", path, withoutPath(err))
}

func (f files) open(path string) (content, error) {
	switch {
	case f.err != nil:
		return content{}, f.err
	case f.store == nil:
		data, mode, err := disk.ReadFile(path, maxFile+1)
		return content{data, mode}, err
	}
	name, err := filepath.Rel(f.root, path)
	if err != nil {
		return content{}, err
	}
	data, mode, err := f.store.Read(name, maxFile+1)
	return content{data, mode}, err
}

var errIrregular = errors.New("it is not a regular file")

// withoutPath returns an error without its path, which the finding names already.
func withoutPath(err error) error {
	if _, ok := errors.AsType[*disk.IrregularError](err); ok {
		return errIrregular
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}
