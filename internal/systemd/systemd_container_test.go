//go:build systemdtest

package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/account"
	programs "github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/process"
)

// inContainer is set where this host is only for these tests. They make units,
// add a user and re-execute the service manager, as root:
//
//	go test -c -tags systemdtest -o systemd.test ./internal/systemd
//	CERTLATCH_SYSTEMD_TEST=1 ./systemd.test
const inContainer = "CERTLATCH_SYSTEMD_TEST"

// patience is far longer than anything takes that does not hang.
const patience = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(inContainer) != "1" {
		fmt.Fprintf(os.Stderr, "these tests change the host that they run on; run them in a container, with %s=1\n", inContainer)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// run runs a program, which must succeed, and returns what it prints.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	output, err := programs.Run(t.Context(), argv)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(output.Stdout)
}

// unit makes a service of the lines of its [Service] section, with a name of
// its own, and removes it at the end of the test.
func unit(t *testing.T, lines ...string) string {
	t.Helper()
	name := "certlatch-" + strconv.FormatInt(time.Now().UnixNano(), 36) + ".service"
	writeUnit(t, name, lines)
	t.Cleanup(func() {
		programs.Run(context.Background(), []string{"systemctl", "kill", "--signal=KILL", name})
		programs.Run(context.Background(), []string{"systemctl", "stop", name})
		os.Remove(unitPath(name))
	})
	return name
}

func unitPath(name string) string { return filepath.Join("/run/systemd/system", name) }

func writeUnit(t *testing.T, name string, lines []string) {
	t.Helper()
	text := "[Service]\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(unitPath(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// started makes a service, starts it, and returns its name.
func started(t *testing.T, lines ...string) string {
	t.Helper()
	name := unit(t, lines...)
	run(t, "systemctl", "start", name)
	return name
}

const sleeps = "ExecStart=sleep infinity"

func manager(t *testing.T) *Manager {
	t.Helper()
	m, err := Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func state(t *testing.T, m *Manager, name string) deployers.Unit {
	t.Helper()
	u, err := m.Unit(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestBooted(t *testing.T) {
	if !Booted() {
		t.Error("systemd runs here, and Booted does not say so")
	}
}

func TestUnit(t *testing.T) {
	name := started(t, sleeps, "ExecReload=true", "User=daemon", "Group=audio", "SupplementaryGroups=video cdrom")
	show := func(property string) string {
		return run(t, "systemctl", "show", "--value", "--property="+property, name)
	}
	pid, err := strconv.Atoi(show("MainPID"))
	if err != nil {
		t.Fatal(err)
	}
	// systemd's own defaults (systemd-system.conf(5), DefaultStartLimitBurst=).
	want := deployers.Unit{
		Name: name, LoadState: "loaded", ActiveState: "active", SubState: "running", Result: "success", CanReload: true,
		StartLimitBurst: 5, StartLimitInterval: 10 * time.Second,
		User: "daemon", Group: "audio", SupplementaryGroups: []string{"video", "cdrom"},
		MainPID: pid, InvocationID: show("InvocationID"), ControlGroup: show("ControlGroup"),
		ExecStart: []string{"sleep", "infinity"},
	}
	got := state(t, manager(t), name)
	if ago := time.Since(got.Since); ago < 0 || ago > time.Minute {
		t.Errorf("it runs since %v", got.Since)
	}
	want.Since = got.Since
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unit (-want +got):\n%s", diff)
	}
	if len(got.InvocationID) != 32 || got.MainPID == 0 || !got.Running() {
		t.Errorf("got %+v", got)
	}
	if members, err := process.Members(got.ControlGroup); err != nil || !slices.Equal(members, []int{pid}) {
		t.Errorf("in its control group are %v (%v)", members, err)
	}
}

func TestUnitStates(t *testing.T) {
	m := manager(t)
	if u := state(t, m, "certlatch-no-such.service"); u.LoadState != "not-found" || u.CanReload || u.Running() {
		t.Errorf("missing: %+v", u)
	}
	if u := state(t, m, unit(t, sleeps)); u.LoadState != "loaded" || u.ActiveState != "inactive" || u.MainPID != 0 || u.CanReload || u.ControlGroup != "" {
		t.Errorf("inactive: %+v", u)
	}
	if u := state(t, m, "basic.target"); u.LoadState != "loaded" || u.ActiveState != "active" || u.MainPID != 0 {
		t.Errorf("no service: %+v", u)
	}
	masked := unit(t)
	if err := os.Remove(unitPath(masked)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", unitPath(masked)); err != nil {
		t.Fatal(err)
	}
	if u := state(t, m, masked); u.LoadState != "masked" || u.Running() {
		t.Errorf("masked: %+v", u)
	}
	changed := started(t, sleeps)
	writeUnit(t, changed, []string{sleeps, "ExecReload=true"})
	if u := state(t, m, changed); !u.NeedDaemonReload || u.CanReload {
		t.Errorf("changed on disk: %+v", u)
	}
	if _, err := m.Unit(t.Context(), "not a unit"); err == nil || !strings.Contains(err.Error(), "not a unit") {
		t.Errorf("no unit name: %v", err)
	}
}

func TestReload(t *testing.T) {
	for _, c := range []struct {
		name  string
		unit  func(*testing.T) string
		check func(*testing.T, string, error)
	}{
		{"good", func(t *testing.T) string { return started(t, sleeps, "ExecReload=true") }, succeeds},
		{"refused by the service", func(t *testing.T) string { return started(t, sleeps, "ExecReload=false") },
			jobFails("failed", "exit-code", "active/running")},
		{"hangs", func(t *testing.T) string {
			return started(t, sleeps, "ExecReload=sleep infinity", "TimeoutStartSec=3")
		}, jobFails("failed", "timeout", "active/running")},
		{"inactive", func(t *testing.T) string { return unit(t, sleeps, "ExecReload=true") },
			jobFails("invalid", "", "inactive/dead")},
		{"has none", func(t *testing.T) string { return started(t, sleeps) }, refused("reload is not applicable")},
		{"missing", func(*testing.T) string { return "certlatch-no-such.service" }, refused("not found")},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := c.unit(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c.check(t, name, manager(t).Reload(ctx, name))
		})
	}
}

func succeeds(t *testing.T, _ string, err error) {
	if err != nil {
		t.Error(err)
	}
}

func jobFails(result, unitResult, state string) func(*testing.T, string, error) {
	return func(t *testing.T, name string, err error) {
		want := &JobError{Unit: name, Verb: "reload", Result: result, UnitResult: unitResult, State: state}
		got, ok := errors.AsType[*JobError](err)
		if !ok {
			t.Fatalf("got %v, want %v", err, want)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("error (-want +got):\n%s", diff)
		}
	}
}

func refused(says string) func(*testing.T, string, error) {
	return func(t *testing.T, name string, err error) {
		e, ok := errors.AsType[*RefusedError](err)
		if !ok || e.Unit != name || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want a *RefusedError that says %q", err, says)
		}
	}
}

// TestReloadOfStoppingUnit wants a reload not to cancel a stop.
func TestReloadOfStoppingUnit(t *testing.T) {
	name := started(t, sleeps, "ExecReload=true", "ExecStop=sleep infinity")
	run(t, "systemctl", "stop", "--no-block", name)
	await(t, name, "deactivating")
	m := manager(t)
	refused("destructive")(t, name, m.Reload(t.Context(), name))
	if u := state(t, m, name); u.ActiveState != "deactivating" {
		t.Errorf("now it is %s", u.ActiveState)
	}
}

// await waits until a unit is in a state.
func await(t *testing.T, name, activeState string) {
	t.Helper()
	awaitUnit(t, name, func(u deployers.Unit) bool { return u.ActiveState == activeState })
}

// awaitUnit waits until a unit is as it should be.
func awaitUnit(t *testing.T, name string, is func(deployers.Unit) bool) {
	t.Helper()
	m := manager(t)
	now := state(t, m, name)
	for deadline := time.Now().Add(patience); !is(now); now = state(t, m, name) {
		if time.Now().After(deadline) {
			t.Fatalf("it has not become what it should: %+v", now)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestReloadNeverEnds reloads a service that never reports the end of a reload.
// Its job never ends, and no result comes (systemd 257).
func TestReloadNeverEnds(t *testing.T) {
	name := started(t, "Type=notify-reload", "NotifyAccess=all",
		`ExecStart=sh -c 'trap : HUP; systemd-notify --ready; while :; do sleep infinity & wait $!; done'`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := manager(t).Reload(ctx, name)
	e, ok := errors.AsType[*NeverEndedError](err)
	if !ok || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(e.State, "is still running, the unit is reloading/") {
		t.Errorf("the state is %q", e.State)
	}
}

// TestReloadLosesConnection wants the wait for a job to end when the connection
// is lost, over which no result can come.
func TestReloadLosesConnection(t *testing.T) {
	for _, c := range []struct {
		name string
		dial func(context.Context) (*dbus.Conn, error)
		lose []string
	}{
		{"re-execution, private socket", privateSocket, []string{"systemctl", "daemon-reexec"}},
		{"the bus is killed", dbus.NewSystemConnectionContext, []string{"systemctl", "kill", "--signal=KILL", "dbus.service"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := started(t, sleeps, "ExecReload=sleep infinity")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			m, err := connect(ctx, c.dial)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			ended := make(chan error, 1)
			go func() { ended <- m.Reload(ctx, name) }()
			await(t, name, "reloading")
			run(t, c.lose...)
			err = <-ended
			if e, ok := errors.AsType[*GoneError](err); !ok || e.Unit != name {
				t.Errorf("got %v", err)
			}
			err = m.Reload(ctx, name)
			if _, ok := errors.AsType[*GoneError](err); !ok {
				t.Errorf("over the lost connection: %v", err)
			}
		})
	}
}

func TestRestart(t *testing.T) {
	m := manager(t)
	name := started(t, sleeps)
	before := state(t, m, name)
	if err := m.Restart(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	after := state(t, m, name)
	if after.MainPID == before.MainPID || after.InvocationID == before.InvocationID || !after.Running() {
		t.Errorf("before %+v, after %+v", before, after)
	}

	broken := unit(t, "Type=oneshot", "ExecStart=false")
	err := m.Restart(t.Context(), broken)
	want := &JobError{Unit: broken, Verb: "restart", Result: "failed", UnitResult: "exit-code", State: "failed/failed"}
	got, _ := errors.AsType[*JobError](err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

// TestUnitThatCrashes wants a crash after which systemd restarted the service
// to show in the unit's state.
func TestUnitThatCrashes(t *testing.T) {
	m := manager(t)
	name := started(t, sleeps, "ExecReload=sh -c 'kill -KILL $MAINPID'", "Restart=always", "RestartSec=0")
	before := state(t, m, name)
	if err := m.Reload(t.Context(), name); err != nil {
		t.Logf("the reload said %v", err) // as it may
	}
	awaitUnit(t, name, func(after deployers.Unit) bool {
		return after.ActiveState == "active" && after.NRestarts > 0 && after.InvocationID != before.InvocationID
	})
}

// TestConnectOutlivesContext wants a connection to outlive the context that it
// was made with.
func TestConnectOutlivesContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m, err := Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cancel()
	name := started(t, sleeps, "ExecReload=true")
	if err := m.Reload(t.Context(), name); err != nil {
		t.Error(err)
	}
	if _, err := Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// TestReloadBySystemBus reloads over the system bus in place of the private
// socket.
func TestReloadBySystemBus(t *testing.T) {
	m, err := connect(t.Context(), dbus.NewSystemConnectionContext)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	name := started(t, sleeps, "ExecReload=true")
	if err := m.Reload(t.Context(), name); err != nil {
		t.Error(err)
	}
}

// TestReloadWithoutRoot wants units to be readable without root and without a
// rule of polkit's, and a reload to be refused.
func TestReloadWithoutRoot(t *testing.T) {
	const reloadThis = "CERTLATCH_SYSTEMD_TEST_UNIT"
	if os.Geteuid() == 0 {
		name := started(t, sleeps, "ExecReload=true")
		run(t, "env", inContainer+"=1", reloadThis+"="+name,
			"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", forEveryone(t), "-test.run=^"+t.Name()+"$")
		return
	}
	m, name := manager(t), os.Getenv(reloadThis)
	if u := state(t, m, name); !u.Running() {
		t.Errorf("got %+v", u)
	}
	err := m.Reload(t.Context(), name)
	if e, ok := errors.AsType[*RefusedError](err); !ok || e.Verb != "reload" {
		t.Errorf("got %v", err)
	}
}

// forEveryone returns the path of a copy of this program that everyone may run.
func forEveryone(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "certlatch-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "test")
	run(t, "install", "-m", "0755", fmt.Sprintf("/proc/%d/exe", os.Getpid()), path)
	return path
}

// TestCredentials wants the processes of a service to have the credential that
// package account returns.
func TestCredentials(t *testing.T) {
	run(t, "useradd", "--user-group", "--groups=audio,video", "latch")
	t.Cleanup(func() { programs.Run(context.Background(), []string{"userdel", "latch"}) })
	m := manager(t)
	for _, lines := range [][]string{
		{},
		{"User=latch"},
		{"User=latch", "Group=cdrom"},
		{"User=latch", "Group=root"},
		{"User=latch", "SupplementaryGroups=cdrom adm"},
		{"User=latch", "Group=cdrom", "SupplementaryGroups=audio"},
		{"User=daemon"},
		{"User=root"},
		{"User=root", "Group=cdrom"},
		{"Group=cdrom"},
		{"SupplementaryGroups=cdrom"},
	} {
		t.Run(strings.Join(lines, " "), func(t *testing.T) {
			u := state(t, m, started(t, append([]string{"Type=exec", sleeps}, lines...)...))
			foretold, err := account.CredentialOf(deployers.Account{User: u.User, Group: u.Group, SupplementaryGroups: u.SupplementaryGroups})
			if err != nil {
				t.Fatal(err)
			}
			foretold.User = ""
			if diff := cmp.Diff(credentialOf(t, u.MainPID), foretold); diff != "" {
				t.Errorf("credential (-real +foretold):\n%s", diff)
			}
		})
	}
}

// TestHandedOver wants the properties by which a unit says what systemd hands to it,
// and whom it makes up for it.
func TestHandedOver(t *testing.T) {
	m := manager(t)
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := started(t, "Type=exec", sleeps, "DynamicUser=yes", "LoadCredential=key:"+path, "LoadCredential=dir:"+filepath.Dir(path), "ImportCredential=latch.*")
	got := state(t, m, name)
	want := []deployers.Credential{{ID: "key", Path: path}, {ID: "dir", Path: filepath.Dir(path)}, {ID: "latch.*", Imported: true}}
	byID := func(a, b deployers.Credential) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(got.Credentials, byID)
	slices.SortFunc(want, byID)
	if diff := cmp.Diff(want, got.Credentials); diff != "" || !got.DynamicUser || got.User == "" || got.Group != got.User {
		t.Errorf("user %q, group %q, dynamic: %v; credentials (-want +got):\n%s", got.User, got.Group, got.DynamicUser, diff)
	}
	dynamicUser, dynamicGroup, err := account.Dynamic(got.User, got.Group)
	ids, errIDs := process.IDs(got.MainPID)
	foretold, errCredential := account.CredentialOf(deployers.Account{User: got.User, Dynamic: true, Runs: ids})
	if err := errors.Join(err, errIDs, errCredential); err != nil || !dynamicUser || !dynamicGroup {
		t.Fatalf("dynamic: %v, %v (%v)", dynamicUser, dynamicGroup, err)
	}
	foretold.User = ""
	if diff := cmp.Diff(credentialOf(t, got.MainPID), foretold); diff != "" {
		t.Errorf("credential (-real +foretold):\n%s", diff)
	}
}

// credentialOf returns the credential of a process (proc_pid_status(5)).
func credentialOf(t *testing.T, pid int) (c account.Credential) {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		key, value, _ := strings.Cut(line, ":")
		var numbers []uint32
		for _, field := range strings.Fields(value) {
			if n, err := strconv.ParseUint(field, 10, 32); err == nil {
				numbers = append(numbers, uint32(n))
			}
		}
		switch key {
		case "Uid":
			c.UID = numbers[0]
		case "Gid":
			c.GID = numbers[0]
		case "Groups":
			c.Groups = numbers
		}
	}
	return c
}
