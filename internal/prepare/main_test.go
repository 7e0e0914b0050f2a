package prepare

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/need"
)

// TestMain lets the test binary be the child that tries to read files.
func TestMain(m *testing.M) {
	need.KeptTemp()
	if code, is := command.TryReadMain(); is {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// parse reads a configuration with targets, a line each, that takes lineages
// from the directory live beside the one for its state.
func parse(t *testing.T, dir string, targets ...string) *config.Config {
	t.Helper()
	text := fmt.Sprintf("state: %[1]s/state\nlineages: [certbot: %[1]s/live, lego: %[1]s/lego]\npolicy: {trust: any}\n", dir)
	if targets != nil {
		text += "targets:\n"
	}
	for _, target := range targets {
		text += "  - " + target + "\n"
	}
	cfg, err := config.Parse("/etc/certlatch.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// units is a systemd that has one unit, and counts what is done.
type units struct {
	mutex             sync.Mutex
	connected, closed int
	calls             []string
	fails             error // to connect
}

func (u *units) connect(context.Context) (Units, error) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.connected++
	if u.fails != nil {
		return nil, u.fails
	}
	return u, nil
}

func (u *units) note(call string) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.calls = append(u.calls, call)
}

func (u *units) Unit(_ context.Context, name string) (deployers.Unit, error) {
	u.note("look at " + name)
	return deployers.Unit{Name: name, LoadState: "loaded", ActiveState: "active", SubState: "running", CanReload: true}, nil
}
func (u *units) Reload(_ context.Context, name string) error  { u.note("reload " + name); return nil }
func (u *units) Restart(_ context.Context, name string) error { u.note("restart " + name); return nil }
func (u *units) Close()                                       { u.closed++ }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
