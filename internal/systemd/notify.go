package systemd

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Service reports this process's status to the service manager (sd_notify(3)).
// Without a service manager its methods do nothing. systemd 249 and later
// understand every message of the protocol that is used here; older versions
// pass over what they do not understand.
type Service struct{}

// Ready reports that the service has started, or has ended a reload.
func (Service) Ready(status string) error { return notify(daemon.SdNotifyReady, "STATUS="+status) }

// Reloading reports that a reload begins, which ends with Ready. It sends the
// time for units of Type=notify-reload, which systemd 253 and later have.
func (Service) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the monotonic clock: %w", err)
	}
	return notify(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// Status reports what the service does, in one line.
func (Service) Status(status string) error { return notify("STATUS=" + status) }

// Alive feeds the watchdog.
func (Service) Alive() error { return notify(daemon.SdNotifyWatchdog) }

// Stopping reports that the service is about to end, and may take some time
// from now on. It is called again while that takes longer.
func (Service) Stopping(status string, within time.Duration) error {
	return notify(daemon.SdNotifyStopping, "STATUS="+status, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// Watchdog returns how long the service manager waits between two calls of
// Alive; 0: it does not wait (sd_watchdog_enabled(3)).
func (Service) Watchdog() (time.Duration, error) { return daemon.SdWatchdogEnabled(false) }

func notify(lines ...string) error {
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, "\n", " ")
	}
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
