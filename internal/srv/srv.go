// Package srv looks up in the DNS where a domain's SIP or XMPP services are:
// its SRV records (RFC 2782) and the addresses of the hosts that they name.
//
// It promises only what the resolver says: answers are not validated by DNSSEC.
// It does not fall back to the domain's own addresses where there are no
// records, as clients do, and does not look at NAPTR records (RFC 3263). Very
// long answers are cut off, with an error that says so.
package srv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is a kind of service.
type Kind string

const (
	SIP  Kind = "sip"  // RFC 3263 section 4.1
	XMPP Kind = "xmpp" // RFC 6120 section 3.2.1 and XEP-0368 section 2
)

// services returns the names of a kind's services over TLS, which are also
// schemes of probe URLs.
func (k Kind) services() []string {
	switch k {
	case SIP:
		return []string{"sips"}
	case XMPP:
		return []string{"xmpp-client", "xmpps-client", "xmpp-server", "xmpps-server"}
	}
	return nil
}

// Answer is the answer to the question for one service of a domain.
type Answer struct {
	Name    string   // what was asked for, such as _sips._tcp.example.org
	Service string   // sips
	Targets []Target // in the order in which clients should try them, at most MostTargets
	Refused bool     // the domain says that it does not offer this: its only target is "."
	Err     error    // why the answer is missing or not whole; that there are no records is no error
}

// Target is a host that a record names.
type Target struct {
	Host             string // without the closing dot
	Port             uint16
	Priority, Weight uint16
	Addrs            []netip.Addr // IPv4 first, at most MostAddrs
	Err              error        // why there are none, or not all
}

// Limit bounds the time of a Lookup.
const Limit = 15 * time.Second

// The limits of an answer, so that whoever writes a domain's records does not
// decide how many connections are made. Honest domains stay far below.
const (
	MostTargets = 16 // targets of a service
	MostAddrs   = 8  // addresses of a target
)

// Lookup looks up all services of a kind at once, and returns the answers in a
// fixed order. Targets are sorted by priority, and those of one priority by
// falling weight, where RFC 2782 has clients choose at random.
func Lookup(ctx context.Context, resolver *net.Resolver, domain string, kind Kind) []Answer {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	services := kind.services()
	answers := make([]Answer, len(services))
	var all sync.WaitGroup
	for i, service := range services {
		all.Go(func() { answers[i] = lookup(ctx, resolver, domain, service) })
	}
	all.Wait()
	return answers
}

func lookup(ctx context.Context, resolver *net.Resolver, domain, service string) Answer {
	answer := Answer{Name: "_" + service + "._tcp." + domain, Service: service}
	_, records, err := resolver.LookupSRV(ctx, "", "", answer.Name+".") // absolute: no search list
	if err != nil && !notFound(err) {
		answer.Err = fmt.Errorf("look up SRV records of %s: %w", answer.Name, err)
	}
	for _, r := range records {
		if r.Target == "." {
			answer.Refused = len(records) == 1
			continue
		}
		answer.Targets = append(answer.Targets, Target{
			Host: strings.TrimSuffix(r.Target, "."), Port: r.Port, Priority: r.Priority, Weight: r.Weight,
		})
	}
	slices.SortFunc(answer.Targets, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Weight, a.Weight),
			cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	if n := len(answer.Targets); n > MostTargets {
		answer.Targets = answer.Targets[:MostTargets]
		answer.Err = fmt.Errorf("%s names %d hosts, of which only the first %d are looked at", answer.Name, n, MostTargets)
	}
	var all sync.WaitGroup
	for i := range answer.Targets {
		all.Go(func() { answer.Targets[i].resolve(ctx, resolver) })
	}
	all.Wait()
	return answer
}

// resolve sets the addresses of a target.
func (t *Target) resolve(ctx context.Context, resolver *net.Resolver) {
	addrs, err := resolver.LookupNetIP(ctx, "ip", t.Host+".")
	switch {
	case notFound(err):
		t.Err = fmt.Errorf("the SRV target %s has no address", t.Host)
	case err != nil:
		t.Err = fmt.Errorf("look up addresses of %s: %w", t.Host, err)
	}
	for _, addr := range addrs {
		t.Addrs = append(t.Addrs, addr.Unmap())
	}
	slices.SortFunc(t.Addrs, netip.Addr.Compare)
	t.Addrs = slices.Compact(t.Addrs)
	if n := len(t.Addrs); n > MostAddrs {
		t.Addrs = t.Addrs[:MostAddrs]
		t.Err = fmt.Errorf("the SRV target %s has %d addresses, of which only the first %d are looked at", t.Host, n, MostAddrs)
	}
}

func notFound(err error) bool {
	failed, ok := errors.AsType[*net.DNSError](err)
	return ok && failed.IsNotFound
}
