package prepare

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/process"
)

// This file is about whom probes reach. A service may listen on an address that
// another host has, as the one of a pair does that stands by, or where another
// process gets the connections. What answers there proves nothing, so a found probe
// is looked at only where it reaches the target's own service. A written one may
// point anywhere.

// AwayError says that a found probe does not reach the target's service.
type AwayError struct {
	Probe endpoint.Endpoint
	At    netip.Addr   // its address, or one that its name leads to
	Peer  process.Peer // none of process.Own and process.Nobody
}

func (e *AwayError) Error() string {
	switch e.Peer {
	case process.NotHere:
		return fmt.Sprintf("%s: %s is no address of this host now, so what answers there is another's", e.Probe, e.At)
	case process.Apart:
		return fmt.Sprintf("%s: the service has a network namespace of its own, which is not to be reached from here", e.Probe)
	}
	if e.Peer == process.Diverted {
		return fmt.Sprintf("%s: a rule of this host leads what it asks there elsewhere (nftables, iptables)", e.Probe)
	}
	if e.Peer == process.Shared {
		return fmt.Sprintf("%s: another process than the service's listens there, too, and gets some of the connections", e.Probe)
	}
	return fmt.Sprintf("%s: another process than the service's listens there", e.Probe)
}

// Look is endpoints that are to be looked at for a plan.
type Look struct {
	Found bool // only where they reach the service
	Of    deployers.Processes
	At    []endpoint.Endpoint
}

// LookFor returns the look at some endpoints for a plan.
func LookFor(plan deployers.Plan, at []endpoint.Endpoint) Look { return Look{plan.Found, plan.Of, at} }

// Look makes one handshake at every endpoint of some looks, all at once, and tells
// done of each. A found one that does not reach the service is seen with an
// *AwayError.
func (p *Preparer) Look(ctx context.Context, looks []Look, done func()) [][]probe.Observation {
	seen := make([][]probe.Observation, len(looks))
	var going []endpoint.Endpoint
	var into []*probe.Observation
	peers := p.peersOf(ctx, looks)
	for i, look := range looks {
		seen[i] = make([]probe.Observation, len(look.At))
		for k, e := range look.At {
			if away := peers.away(look, e); away != nil {
				seen[i][k] = probe.Observation{Endpoint: e, Err: away}
				done()
				continue
			}
			going, into = append(going, e), append(into, &seen[i][k])
		}
	}
	if len(going) == 0 {
		return seen
	}
	for n, o := range p.Observe(ctx, going, done) {
		*into[n] = o
	}
	for i, look := range looks {
		for k, o := range seen[i] {
			if look.Found && o.Diverted {
				seen[i][k] = probe.Observation{Endpoint: o.Endpoint, Err: &AwayError{o.Endpoint, AddressOf(o), process.Diverted}}
			}
		}
	}
	return seen
}

// Serves reports whether one handshake with a plan's service shows a leaf of
// something else.
func (p *Preparer) Serves(ctx context.Context, plan deployers.Plan, other deployers.Other) bool {
	seen := p.Look(ctx, []Look{{Found: true, Of: plan.Of, At: other.Probes}}, func() {})
	return slices.ContainsFunc(seen[0], func(o probe.Observation) bool { return o.Leaf() != nil })
}

// Away returns, for each of some looks, the observations of those endpoints that do
// not reach the service.
func (p *Preparer) Away(ctx context.Context, looks []Look) [][]probe.Observation {
	away := make([][]probe.Observation, len(looks))
	peers := p.peersOf(ctx, looks)
	for i, look := range looks {
		for _, e := range look.At {
			if err := peers.away(look, e); err != nil {
				away[i] = append(away[i], probe.Observation{Endpoint: e, Err: err})
			}
		}
	}
	return away
}

// Elsewhere returns those of some addresses that are not this host's. Where that
// cannot be found out, there are none.
func (p *Preparer) Elsewhere(addresses []netip.Addr) (elsewhere []netip.Addr) {
	var at []netip.AddrPort
	for _, ip := range addresses {
		at = append(at, netip.AddrPortFrom(ip, 0))
	}
	found, err := p.processes.Peers(deployers.Processes{}, at)
	if err != nil {
		return nil
	}
	for i, peer := range found {
		if peer == process.NotHere {
			elsewhere = append(elsewhere, addresses[i])
		}
	}
	return elsewhere
}

// peers is whom the found probes of services reach. What is not in it is not known.
type peers struct {
	addresses map[endpoint.Endpoint][]netip.AddrPort
	whom      map[peerOf]process.Peer
}

type peerOf struct {
	of deployers.Processes
	at netip.AddrPort
}

// peersOf finds out whom the found probes of looks reach, those of each service at
// once. Where that cannot be found out, each counts as one that reaches its service.
func (p *Preparer) peersOf(ctx context.Context, looks []Look) peers {
	all := peers{map[endpoint.Endpoint][]netip.AddrPort{}, map[peerOf]process.Peer{}}
	at := map[deployers.Processes][]netip.AddrPort{}
	for _, look := range looks {
		if !look.Found {
			continue
		}
		for _, e := range look.At {
			all.addresses[e] = p.addressesOf(ctx, e)
			for _, address := range all.addresses[e] {
				if !slices.Contains(at[look.Of], address) {
					at[look.Of] = append(at[look.Of], address)
				}
			}
		}
	}
	for of, addresses := range at {
		found, err := p.processes.Peers(of, addresses)
		if err != nil {
			continue
		}
		for i, peer := range found {
			all.whom[peerOf{of, addresses[i]}] = peer
		}
	}
	return all
}

// away returns why an endpoint of a look does not reach the service; nil: it does,
// or nobody listens there.
func (p peers) away(look Look, e endpoint.Endpoint) *AwayError {
	if !look.Found {
		return nil
	}
	for _, address := range p.addresses[e] {
		if peer := p.whom[peerOf{look.Of, address}]; peer != process.Own && peer != process.Nobody {
			return &AwayError{e, address.Addr(), peer}
		}
	}
	return nil
}

// addressesOf returns the addresses of an endpoint, which are several where a service
// listens at a name: a handshake may reach any.
func (p *Preparer) addressesOf(ctx context.Context, e endpoint.Endpoint) (at []netip.AddrPort) {
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(e.Host); err == nil {
		ips = append(ips, ip)
	} else {
		ips = p.network.Addresses(ctx, e.Host)
	}
	for _, ip := range ips {
		at = append(at, netip.AddrPortFrom(ip, e.Port))
	}
	return at
}

// AddressOf returns the address that an observation was made at, or was to be; the
// zero Addr: a name led to none.
func AddressOf(o probe.Observation) netip.Addr {
	if o.Peer.IsValid() {
		return o.Peer
	}
	ip, _ := netip.ParseAddr(o.Endpoint.Host)
	return ip.Unmap()
}

// IsAway reports whether an observation is of a found probe that does not reach the
// service.
func IsAway(o probe.Observation) bool {
	_, is := errors.AsType[*AwayError](o.Err)
	return is
}

// Unreached returns the wait of a plan none of whose found probes counts, given those
// that do not reach the service: an address of it is not this host's, or it has a
// network namespace of its own. Nil: neither is so.
func Unreached(plan deployers.Plan, away []probe.Observation) *outcome.WaitError {
	for _, o := range away {
		if why := WhyUnreached(o); why != "" {
			return &outcome.WaitError{Reason: why, Detail: o.Err.Error()}
		}
	}
	if !plan.Found || !plan.Of.Apart {
		return nil
	}
	return &outcome.WaitError{Reason: outcome.NetworkApart, Detail: "the service has a network namespace of its own, and none of its listeners is to be reached from here"}
}

// WhyUnreached returns the reason for which nothing can be seen at a found probe as
// long as things are as they are; empty: there is none.
func WhyUnreached(o probe.Observation) outcome.Reason {
	switch {
	case IsNotHere(o):
		return outcome.AddressNotHere
	case isApart(o):
		return outcome.NetworkApart
	}
	return ""
}

// isApart reports whether an observation is of a found probe of a service that has a
// network namespace of its own.
func isApart(o probe.Observation) bool {
	away, is := errors.AsType[*AwayError](o.Err)
	return is && away.Peer == process.Apart
}

// IsTaken reports whether an observation is of a found probe at which another process
// of this host listens, alone or beside the service.
func IsTaken(o probe.Observation) bool {
	away, is := errors.AsType[*AwayError](o.Err)
	return is && (away.Peer == process.Another || away.Peer == process.Shared)
}

// IsDiverted reports whether an observation is of a found probe from which a packet
// filter of this host leads away.
func IsDiverted(o probe.Observation) bool {
	away, is := errors.AsType[*AwayError](o.Err)
	return is && away.Peer == process.Diverted
}

// IsNotHere reports whether an observation is of a found probe whose address this
// host has not got.
func IsNotHere(o probe.Observation) bool {
	away, is := errors.AsType[*AwayError](o.Err)
	return is && away.Peer == process.NotHere
}
