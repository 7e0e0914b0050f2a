package disk

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// FIFO is a named pipe to which somebody else is to write.
type FIFO struct {
	*os.File // never at its end, since it is open for writing too
	dir      *Dir
	name     string
}

// NewFIFO makes a FIFO that nobody but the given user and root may open, in a
// directory to which everybody may write. For another user than the effective
// one only root can make it.
//
// The sysctl fs.protected_fifos (kernel documentation, sysctl/fs.rst) concerns
// opens with O_CREAT only. None is used here, and a writer should use none
// either.
func NewFIFO(directory string, user int) (*FIFO, error) {
	dir, err := Open(directory)
	if err != nil {
		return nil, err
	}
	f := &FIFO{dir: dir, name: "certlatch-" + rand.Text()}
	if err := retry(func() error { return unix.Mkfifoat(dir.fd, f.name, 0o600) }); err != nil {
		return nil, errors.Join(dir.fail("make FIFO", f.name, err), dir.Close())
	}
	if err := f.open(user); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// errSwapped says that the FIFO of a name is not the one that was made.
var errSwapped = errors.New("somebody has put something else in its place")

// open opens the FIFO and hands it to the user. Where the directory is not
// sticky, others may have replaced it meanwhile, and what they have put there
// keeps its owner.
func (f *FIFO) open(user int) (err error) {
	if f.File, err = f.dir.open("open FIFO", f.name, unix.O_RDWR|unix.O_NONBLOCK); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode().Type() != fs.ModeNamedPipe, int(st.Uid) != os.Geteuid(), st.Nlink != 1:
		return f.dir.fail("open FIFO", f.name, errSwapped)
	case int(st.Uid) == user:
		return nil
	}
	return f.Chown(user, -1)
}

// Name is the FIFO's name in its directory. It holds letters, digits and -.
func (f *FIFO) Name() string { return f.name }

// Close removes the FIFO.
func (f *FIFO) Close() error {
	err := f.dir.Remove(f.name)
	if f.File != nil {
		err = errors.Join(err, f.File.Close())
	}
	return errors.Join(err, f.dir.Close())
}
