package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/internal/disk"
)

// errHungUp says that nobody reads OpenSIPS's FIFO any more, so no answer will
// come.
var errHungUp = errors.New("OpenSIPS stopped reading its FIFO before it answered")

// callMIFIFO calls a method at the FIFO of module mi_fifo. The answer goes to
// a FIFO of the caller's in the directory that is mi_fifo's reply_dir, which
// must have no dot, slash or backslash in its name, not be linked, and be open
// already (fifo_fnc.c from 3.2.19 to 4.0.1: get_reply_filename, mi_fifo_check,
// mi_open_reply_pipe). OpenSIPS opens it without O_CREAT, so
// fs.protected_fifos does not keep it out of root's FIFO in /tmp.
//
// The FIFO of OpenSIPS belongs to the user that it runs as, so that user gets
// the caller's. Whoever can put a FIFO there in its stead can answer for it.
func callMIFIFO(ctx context.Context, path, replyDir, method string) (string, error) {
	request, id, err := miRequest(method)
	if err != nil {
		return "", err
	}
	fifo, user, err := openFIFO(path)
	if err != nil {
		return "", err
	}
	defer fifo.Close()
	replies, err := disk.NewFIFO(replyDir, user)
	if err != nil {
		return "", err
	}
	defer replies.Close() // closing it removes it, and loses nothing

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer boundByContext(ctx, fifo)()
	defer boundByContext(ctx, replies)()
	// Less than PIPE_BUF bytes go out as a whole or not at all (pipe(7)).
	if _, err := fmt.Fprintf(fifo, ":%s:%s", replies.Name(), request); err != nil {
		return "", err
	}
	if err := onHangUp(fifo, func() { cancel(errHungUp) }); err != nil {
		return "", &sentError{err}
	}
	// The end of the answer is that of its JSON: OpenSIPS may open and close
	// the FIFO several times (mi_fifo_write).
	var answer json.RawMessage
	if err := json.NewDecoder(io.LimitReader(replies, miAnswerLimit)).Decode(&answer); err != nil {
		return "", &sentError{fmt.Errorf("read the answer: %w", cmp.Or(context.Cause(ctx), err))}
	}
	return miDecode(answer, id)
}

// openFIFO opens a FIFO for writing and returns it with its owner's ID. It
// fails where nobody reads the FIFO, and creates nothing.
func openFIFO(path string) (fifo *os.File, user int, err error) {
	fifo, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENXIO) {
		return nil, 0, fmt.Errorf("open %s: nobody reads it", path)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := fifo.Stat()
	if err == nil && info.Mode().Type() != fs.ModeNamedPipe {
		err = fmt.Errorf("%s is not a FIFO", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, fifo.Close())
	}
	return fifo, int(info.Sys().(*syscall.Stat_t).Uid), nil
}

// onHangUp calls act once nobody reads the FIFO any more, unless the FIFO is
// closed before. The kernel reports that by POLLERR (poll(2)), which wakes who
// waits to read, even though this end can only be written to.
func onHangUp(fifo *os.File, act func()) error {
	raw, err := fifo.SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		err := raw.Read(func(fd uintptr) bool {
			polled := []unix.PollFd{{Fd: int32(fd)}}
			n, err := unix.Poll(polled, 0)
			return err == nil && n > 0 && polled[0].Revents&unix.POLLERR != 0
		})
		if err == nil {
			act()
		}
	}()
	return nil
}
