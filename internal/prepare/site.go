// Package prepare finds out all that a deployment depends on before anything is
// touched: which lineages go to which targets, the bundle, the plan, what is
// installed, and what the target's policy says of the bundle.
//
// It changes nothing. A deployment goes on from what it returns, and whoever
// only looks puts the same parts together in another way.
package prepare

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/command"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/control"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/install"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pairs"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/process"
	"github.com/certlatch/certlatch/internal/rows"
	"github.com/certlatch/certlatch/internal/state"
)

// Site is a host: its configuration, what is remembered of it, and the ways to
// its services.
type Site struct {
	Config *config.Config
	Store  *state.Store
	World  World
	Log    *slog.Logger

	// Progress is told what is being done, for somebody who watches, by several
	// goroutines; nil: nobody does.
	Progress func(doing string)
}

// World is what lies outside of certlatch and its files.
type World struct {
	Systemd   func(context.Context) (Units, error) // nil: systemd does not run this host
	Programs  Programs
	Channels  Channels
	Network   Network
	Processes Processes
	Databases pairs.Databases
	Revoked   func(ctx context.Context, leaf, issuer *x509.Certificate) (bool, error) // nil: nobody is asked
}

// RealWorld returns the World of this host, where nobody is asked for
// revocations.
func RealWorld(systemd func(context.Context) (Units, error), databases rows.Databases) World {
	return World{
		Systemd: systemd, Databases: pairs.In(databases),
		Programs: programs{}, Channels: channels{}, Network: network{}, Processes: processes{},
	}
}

// Units is systemd's units.
type Units interface {
	// Unit looks at a unit. One that does not exist has the LoadState
	// not-found; that is no error.
	Unit(ctx context.Context, name string) (deployers.Unit, error)
	// Reload and Restart return when the job has ended well, and with a
	// typed error of package systemd otherwise.
	Reload(ctx context.Context, name string) error
	Restart(ctx context.Context, name string) error
	Close()
}

// Programs starts programs, as the functions of package command do.
type Programs interface {
	Ask(ctx context.Context, argv []string) (command.Output, error)
	Run(ctx context.Context, argv []string) (command.Output, error)
	CanRead(ctx context.Context, as command.Credential, paths []string) error
}

// Channels calls services at their control channels, as package control does.
type Channels interface {
	Call(ctx context.Context, query deployers.Query) deployers.Answer
}

// Network makes TLS handshakes, as the functions of package probe do.
type Network interface {
	// Observe makes one handshake at every endpoint. Each that is done is told of.
	Observe(ctx context.Context, at []endpoint.Endpoint, done func()) []probe.Observation
	// Prove makes handshakes until each endpoint shows what is wanted. They are
	// begun until a time; a row that goes well then may go on until ctx ends.
	Prove(ctx context.Context, until time.Time, wants []probe.Want) []probe.Seen
	// Addresses returns those that a name leads to; none: it leads nowhere now.
	Addresses(ctx context.Context, name string) []netip.Addr
}

// Processes looks at processes, each told from the next that has its number, and
// signals them, as the functions of package process do.
type Processes interface {
	Started(pid int) (uint64, error)
	Children(pid int) ([]process.ID, error)
	Title(id process.ID) (string, error) // empty: it has ended
	// Peers returns whom connections from here to some addresses reach, seen from a
	// service's processes.
	Peers(of deployers.Processes, at []netip.AddrPort) ([]process.Peer, error)
	Signal(pid int, started uint64, name string) error
	SharesMounts(pid int) bool
	SeesAnother(pid int, path string) (bool, error)
}

type (
	programs  struct{}
	channels  struct{}
	network   struct{}
	processes struct{}
)

func (programs) Ask(ctx context.Context, argv []string) (command.Output, error) {
	return command.Ask(ctx, argv)
}

func (programs) Run(ctx context.Context, argv []string) (command.Output, error) {
	return command.Run(ctx, argv)
}

func (programs) CanRead(ctx context.Context, as command.Credential, paths []string) error {
	return command.CanRead(ctx, as, paths)
}

func (channels) Call(ctx context.Context, query deployers.Query) deployers.Answer {
	return control.Call(ctx, query)
}

func (network) Observe(ctx context.Context, at []endpoint.Endpoint, done func()) []probe.Observation {
	return observe(ctx, at, func(ctx context.Context, e endpoint.Endpoint) probe.Observation {
		return probe.HandshakeAsking(ctx, e, process.EndsAt)
	}, done)
}

func (network) Prove(ctx context.Context, until time.Time, wants []probe.Want) []probe.Seen {
	return probe.Prove(ctx, until, wants, mostHandshakes)
}

func (network) Addresses(ctx context.Context, name string) []netip.Addr {
	return probe.Addresses(ctx, name)
}

func (processes) Started(pid int) (uint64, error) { return process.Started(pid) }

func (processes) Children(pid int) ([]process.ID, error) { return process.Children(pid) }

func (processes) SharesMounts(pid int) bool { return process.SharesMounts(pid) }

func (processes) SeesAnother(pid int, path string) (bool, error) {
	return process.SeesAnother(pid, path)
}

func (processes) Title(id process.ID) (string, error) { return id.Title() }

func (processes) Peers(of deployers.Processes, at []netip.AddrPort) ([]process.Peer, error) {
	peers, err := peersNow(of, at)
	if slices.Contains(peers, process.Shared) { // or the service has a new process since they were listed
		return peersNow(of, at)
	}
	return peers, err
}

func peersNow(of deployers.Processes, at []netip.AddrPort) ([]process.Peer, error) {
	pids, err := process.Members(of.ControlGroup)
	if err == nil && of.Main != 0 {
		var beside []int
		beside, err = process.Descendants(of.Main)
		pids = append(pids, beside...)
	}
	if err != nil {
		return nil, err
	}
	return process.Peers(pids, at)
}

func (processes) Signal(pid int, started uint64, name string) error {
	return process.Signal(pid, started, name)
}

// Tell tells whoever watches what is being done.
func (s Site) Tell(format string, args ...any) {
	if s.Progress != nil {
		s.Progress(fmt.Sprintf(format, args...))
	}
}

// Storage returns the storage of pairs.
func (s Site) Storage() pairs.Storage {
	return pairs.New(install.New(s.Store.JournalDir()), s.World.Databases)
}

// State reads the state. Where it cannot be read at all, unread says why, and
// the state is an empty one to look with. Who may not read it is told so: err.
func (s Site) State() (st *state.State, unread, err error) { return readable(s.Store.Load()) }

// StateOf is like State, with the records that have some keys: others may be
// missing.
func (s Site) StateOf(keys []state.Key) (st *state.State, unread, err error) {
	return readable(s.Store.LoadOf(keys))
}

func readable(st *state.State, err error) (_ *state.State, unread, _ error) {
	switch {
	case err == nil:
		return st, nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, err
	}
	return new(state.State), err, nil
}

// Marks returns the marks that there are, by lineage (CLIENT:NAME), and none where
// they cannot be read: what is pending is tried all the same.
func (s Site) Marks() map[string]state.Mark {
	all, err := s.Store.Marks()
	if err != nil {
		s.Log.Error("what hooks have asked for cannot be read", "error", err)
	}
	marks := make(map[string]state.Mark, len(all))
	for _, mark := range all {
		marks[mark.Lineage] = mark
	}
	return marks
}

// Connection is a connection to systemd, made when it is first needed. It may be
// used by several goroutines.
type Connection struct {
	connect func(context.Context) (Units, error)

	mutex sync.Mutex
	units Units
}

func (c *Connection) manager(ctx context.Context) (Units, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.units == nil {
		units, err := c.connect(ctx)
		if err != nil {
			return nil, &outcome.SystemdError{Err: err}
		}
		c.units = units
	}
	return c.units, nil
}

// Unit looks at a unit, as [Units] says. This and the other methods fail with
// an *outcome.SystemdError where there is no connection to be had.
func (c *Connection) Unit(ctx context.Context, name string) (deployers.Unit, error) {
	units, err := c.manager(ctx)
	if err != nil {
		return deployers.Unit{}, err
	}
	return units.Unit(ctx, name)
}

// Reload reloads a unit.
func (c *Connection) Reload(ctx context.Context, name string) error {
	units, err := c.manager(ctx)
	if err != nil {
		return err
	}
	return units.Reload(ctx, name)
}

// Restart restarts a unit.
func (c *Connection) Restart(ctx context.Context, name string) error {
	units, err := c.manager(ctx)
	if err != nil {
		return err
	}
	return units.Restart(ctx, name)
}

// Close ends the connection, if there is one.
func (c *Connection) Close() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.units != nil {
		c.units.Close()
		c.units = nil
	}
}
