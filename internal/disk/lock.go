package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// LockedError says that somebody else held a lock for as long as it was waited
// for.
type LockedError struct {
	Path   string
	Waited time.Duration
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("waited %s for %s, which another run holds", e.Waited.Round(time.Second), e.Path)
}

// lockPoll is how often a held lock is tried again. flock(2) can wait by
// itself, but not with a limit.
const lockPoll = 20 * time.Millisecond

// Lock takes an exclusive lock on the file at path, which it creates where it
// is missing, and returns a function that releases it. The kernel releases it
// too when the process ends, however it ends. When ctx ends first, the error is
// a *LockedError.
func Lock(ctx context.Context, path string) (release func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	began := time.Now()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { file.Close() }, nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, &LockedError{Path: path, Waited: time.Since(began)}
		case <-time.After(lockPoll):
		}
	}
}
