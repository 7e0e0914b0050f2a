// Package systemd talks to the system's service manager over D-Bus: it reads
// the state of units, and reloads or restarts them and waits for the outcome.
// It also reports certlatch's own status to the manager, and writes to the
// journal.
//
// A job that is done does not prove that the service serves a new certificate;
// package probe does. A [Manager] does not outlive the service manager's
// re-execution and is not kept: each deployment makes its own.
package systemd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/certlatch/certlatch/deployers"
)

// Booted reports whether systemd runs this host, as sd_booted(3) does.
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Manager is a connection to the service manager.
type Manager struct {
	conn *dbus.Conn
	end  context.CancelFunc
}

// Connect connects to the service manager: root by its private socket, which
// needs neither a bus nor polkit, and otherwise, or where that fails, by the
// system bus. ctx limits the attempt only. The connection must be closed.
func Connect(ctx context.Context) (*Manager, error) {
	if os.Geteuid() != 0 {
		m, err := connect(ctx, dbus.NewSystemConnectionContext)
		if err != nil {
			return nil, fmt.Errorf("connect to systemd by the system bus: %w", err)
		}
		return m, nil
	}
	m, errSocket := connect(ctx, privateSocket)
	if errSocket == nil {
		return m, nil
	}
	m, errBus := connect(ctx, dbus.NewSystemConnectionContext)
	if errBus != nil {
		return nil, fmt.Errorf("connect to systemd by its private socket: %w; by the system bus: %w", errSocket, errBus)
	}
	return m, nil
}

// privateSocket connects by the private socket of systemd, as
// dbus.NewSystemdConnectionContext does, but with one connection. go-systemd makes
// a second one for signals, so that what handles them can make calls; here nothing
// does. systemd sends every signal to each of them (systemd 257, src/core/dbus.c,
// bus_foreach_bus), and to take signals apart is most of what a deployment spends on
// D-Bus.
func privateSocket(ctx context.Context) (*dbus.Conn, error) {
	conn, err := godbus.Dial("unix:path=/run/systemd/private", godbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		conn.Close()
		return nil, err
	}
	return dbus.NewConnection(func() (*godbus.Conn, error) { return conn, nil })
}

// connect dials with a context of the connection's own, since go-systemd and
// godbus close a connection when the context that it was made with ends.
func connect(ctx context.Context, dial func(context.Context) (*dbus.Conn, error)) (*Manager, error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	conn, err := dial(life)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		end()
		return nil, err
	}
	return &Manager{conn, end}, nil
}

// Close ends the connection.
func (m *Manager) Close() {
	m.conn.Close()
	m.end()
}

// Unit returns the state of a unit. For one that does not exist the LoadState
// is not-found, and the error nil.
func (m *Manager) Unit(ctx context.Context, name string) (deployers.Unit, error) {
	properties, err := m.properties(ctx, name)
	if err != nil {
		return deployers.Unit{}, fmt.Errorf("read the state of %s: %w", name, err)
	}
	return deployers.Unit{
		Name:                name,
		LoadState:           property[string](properties, "LoadState"),
		ActiveState:         property[string](properties, "ActiveState"),
		SubState:            property[string](properties, "SubState"),
		CanReload:           property[bool](properties, "CanReload"),
		NeedDaemonReload:    property[bool](properties, "NeedDaemonReload"),
		User:                property[string](properties, "User"),
		Group:               property[string](properties, "Group"),
		SupplementaryGroups: property[[]string](properties, "SupplementaryGroups"),
		MainPID:             int(property[uint32](properties, "MainPID")),
		InvocationID:        hex.EncodeToString(property[[]byte](properties, "InvocationID")),
		NRestarts:           property[uint32](properties, "NRestarts"),
		Since:               timestamp(property[uint64](properties, "ActiveEnterTimestamp")),
		Result:              property[string](properties, "Result"),
		Job:                 hasJob(properties),
		StartLimitBurst:     property[uint32](properties, "StartLimitBurst"),
		StartLimitInterval:  duration(property[uint64](properties, "StartLimitIntervalUSec")),
		ControlGroup:        property[string](properties, "ControlGroup"),
		ExecStart:           execStart(properties),
		Environment:         property[[]string](properties, "Environment"),
		EnvironmentFiles:    environmentFiles(properties),
		DynamicUser:         property[bool](properties, "DynamicUser"),
		Credentials:         credentials(properties),
		Hidden:              hidden(properties),

		RefreshesCredentials: slices.Contains(property[[]string](properties, "RefreshOnReload"), "credentials"),
	}, nil
}

// serviceProperties are those that only services have. Older versions lack the
// last ones: credentials are read since 247, imported since 254.
const serviceProperties = "User Group SupplementaryGroups MainPID NRestarts Result ControlGroup ExecStart DynamicUser RootDirectory RootImage " +
	"LoadCredential LoadCredentialEncrypted ImportCredential"

// importProperty is ImportCredential with the patterns by which credentials are renamed,
// since 257.
const importProperty = "ImportCredentialEx"

// refreshProperty says what a service gets anew on a reload. It is in systemd 262,
// and not in 257.
const refreshProperty = "RefreshOnReload"

// credentials returns what systemd reads for a service and hands to it.
func credentials(properties map[string]any) (all []deployers.Credential) {
	for _, key := range []string{"LoadCredential", "LoadCredentialEncrypted"} {
		for _, pair := range property[[][]any](properties, key) {
			if len(pair) != 2 {
				continue
			}
			id, _ := pair[0].(string)
			path, _ := pair[1].(string)
			all = append(all, deployers.Credential{ID: id, Path: path, Encrypted: key == "LoadCredentialEncrypted"})
		}
	}
	for _, glob := range property[[]string](properties, "ImportCredential") {
		all = append(all, deployers.Credential{ID: glob, Imported: true, Renamed: renames(properties)[glob]})
	}
	return all
}

// renames returns the patterns by which imported credentials are renamed, by their
// globs.
func renames(properties map[string]any) map[string]string {
	by := map[string]string{}
	for _, pair := range property[[][]any](properties, importProperty) {
		if len(pair) == 2 {
			glob, _ := pair[0].(string)
			by[glob], _ = pair[1].(string)
		}
	}
	return by
}

// properties returns the properties of a unit that all units have, and of a
// service some more. They are asked for in the way that is cheapest for both
// sides, measured with systemd 257: of a service all properties take 1.4 ms and,
// together with those of its control group, two times as much of systemd as what
// is used; of what all units have, each by its name is dearer than all of them.
func (m *Manager) properties(ctx context.Context, name string) (map[string]any, error) {
	properties, err := m.conn.GetUnitPropertiesContext(ctx, name)
	if err != nil || !strings.HasSuffix(name, ".service") {
		return properties, err
	}
	ask := func(key string) error {
		property, err := m.conn.GetServicePropertyContext(ctx, name, key)
		if lacks(err) {
			return nil
		}
		if err == nil {
			properties[key] = property.Value.Value()
		}
		return err
	}
	for key := range strings.FieldsSeq(serviceProperties) {
		if err := ask(key); err != nil {
			return nil, err
		}
	}
	if property[uint32](properties, "MainPID") == 0 || hasRoot(properties) {
		for key := range strings.FieldsSeq(hidingProperties) {
			if err := ask(key); err != nil {
				return nil, err
			}
		}
	}
	if property[[]string](properties, "ImportCredential") != nil {
		if err := ask(importProperty); err != nil {
			return nil, err
		}
	}
	if credentials(properties) != nil {
		if err := ask(refreshProperty); err != nil {
			return nil, err
		}
	}
	state := property[string](properties, "ActiveState")
	if stopped := state == "inactive" || state == "failed"; stopped && slices.ContainsFunc(execStart(properties), func(word string) bool { return strings.Contains(word, "$") }) {
		for _, key := range []string{"Environment", "EnvironmentFiles"} {
			if err := ask(key); err != nil {
				return nil, err
			}
		}
	}
	return properties, nil
}

// environmentFiles returns the files that variables of ExecStart are set in
// (org.freedesktop.systemd1(5): an array of structures of a path and whether it may be
// missing).
func environmentFiles(properties map[string]any) (all []deployers.EnvironmentFile) {
	for _, pair := range property[[][]any](properties, "EnvironmentFiles") {
		if len(pair) == 2 {
			path, _ := pair[0].(string)
			optional, _ := pair[1].(bool)
			all = append(all, deployers.EnvironmentFile{Path: path, Optional: optional})
		}
	}
	return all
}

// lacks reports whether a call failed since this version of systemd has no such
// property.
func lacks(err error) bool {
	e, is := errors.AsType[godbus.Error](err)
	return is && e.Name == "org.freedesktop.DBus.Error.UnknownProperty"
}

// ReadUnitFiles makes the service manager read all unit files again, as
// systemctl daemon-reload does.
func (m *Manager) ReadUnitFiles(ctx context.Context) error {
	if err := m.conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("have systemd read its unit files again: %w", err)
	}
	return nil
}

// execStart returns the arguments of the first command of a service's ExecStart, its path
// in place of the first (org.freedesktop.systemd1(5): an array of structures that begin
// with path and arguments).
func execStart(properties map[string]any) []string {
	all := property[[][]any](properties, "ExecStart")
	if len(all) == 0 || len(all[0]) < 2 {
		return nil
	}
	path, _ := all[0][0].(string)
	argv, _ := all[0][1].([]string)
	if path == "" || len(argv) == 0 {
		return nil
	}
	return append([]string{path}, argv[1:]...)
}

// hasJob reports whether a unit has a job; without one the number of its job is
// 0.
func hasJob(properties map[string]any) bool {
	job := property[[]any](properties, "Job")
	return len(job) > 0 && job[0] != uint32(0)
}

// duration returns the duration of a property in microseconds, in which all bits
// are set where there is no limit.
func duration(microseconds uint64) time.Duration {
	return time.Duration(min(microseconds, math.MaxInt64/1000)) * time.Microsecond
}

// timestamp returns the time of a property in microseconds since 1970; zero for
// 0.
func timestamp(microseconds uint64) time.Time {
	if microseconds == 0 || microseconds > math.MaxInt64 {
		return time.Time{}
	}
	return time.UnixMicro(int64(microseconds))
}

// property returns a property of a unit (org.freedesktop.systemd1(5)), or the
// zero value: units other than services lack some, and so do those that do
// not exist.
func property[T any](properties map[string]any, name string) T {
	value, _ := properties[name].(T)
	return value
}
