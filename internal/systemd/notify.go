package systemd

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Service is this process as a service that tells the service manager about
// itself (sd_notify(3)). Where nobody listens, telling does nothing. Every word
// of the protocol that is used here is known to systemd 249 and later; older
// ones pass over what they do not know.
type Service struct{}

// Ready tells that the service has started, or has ended a reload.
func (Service) Ready(status string) error { return notify(daemon.SdNotifyReady, "STATUS="+status) }

// Reloading tells that a reload begins; Ready ends it. The time is for units of
// Type=notify-reload, which systemd 253 and later have.
func (Service) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the monotonic clock: %w", err)
	}
	return notify(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// Status tells in one line what the service does.
func (Service) Status(status string) error { return notify("STATUS=" + status) }

// Alive feeds the watchdog.
func (Service) Alive() error { return notify(daemon.SdNotifyWatchdog) }

// Stopping tells that the service ends, and may take some time from now on: it
// is told again while it takes longer.
func (Service) Stopping(status string, within time.Duration) error {
	return notify(daemon.SdNotifyStopping, "STATUS="+status, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// Watchdog gives how long the service manager waits for Alive; 0: it does not
// (sd_watchdog_enabled(3)).
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
