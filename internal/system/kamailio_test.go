package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// reloadKamailio makes Kamailio reload its TLS configuration a number of times,
// one after the other, as its administrators do.
func (s *scenario) reloadKamailio(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return errUsage
	}
	for range count {
		if out, err := s.host.run("kamcmd", "tls.reload"); err != nil || !strings.HasPrefix(out, "Ok.") {
			return fmt.Errorf("reload: %v: %s", err, out)
		}
	}
	return nil
}

// renewals renews a lineage again and again, each time with certbot's hook,
// while handshakes are made all the time. The service must complete each of
// them; what became of the renewals and how long the hooks took is logged.
func (s *scenario) renewals(ts *testscript.TestScript, args []string) error {
	if len(args) != 3 {
		return errUsage
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return errUsage
	}
	name, address := args[1], args[2]
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	var looks int
	var failed []error
	var looking sync.WaitGroup
	looking.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; looks++ {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			if _, err := s.host.served(s.Context(), address, name); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", time.Now().Format("15:04:05.000"), err))
			}
		}
	})
	results, longest := map[string]int{}, time.Duration(0)
	for range count {
		if err := s.lineage(ts, []string{name}); err != nil {
			return err
		}
		began := time.Now()
		out, err := s.host.run("RENEWED_LINEAGE=/etc/letsencrypt/live/"+name, "certlatch", "hook", "certbot", "--json")
		longest = max(longest, time.Since(began))
		var report struct {
			Exit    int
			Targets []struct{ Result, Reason string }
		}
		if err := errors.Join(ignoreStatus(err), json.Unmarshal([]byte(out), &report)); err != nil {
			return fmt.Errorf("hook: %w\n%s", err, out)
		}
		for _, target := range report.Targets {
			results[strings.TrimSpace(target.Result+" "+target.Reason)]++
		}
	}
	cancel()
	looking.Wait()
	ts.Logf("%d renewals: %v; the longest hook took %s; %d looks, %d without a handshake", count, results, longest.Round(time.Millisecond), looks, len(failed))
	if len(failed) > 0 {
		return mismatchf("%d of %d looks saw no handshake, the first at %v", len(failed), looks, failed[0])
	}
	if longest > 100*time.Second {
		return mismatchf("a hook took %s", longest)
	}
	return nil
}

// ignoreStatus returns an error, but nil for an exit status, which a program's
// JSON has too.
func ignoreStatus(err error) error {
	if errors.As(err, new(*exec.ExitError)) {
		return nil
	}
	return err
}
