package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/srv"
)

// dnsHelp says what --dns does, and what it does not.
func dnsHelp() string {
	return fmt.Sprintf("With --dns URL is sip:DOMAIN or xmpp:DOMAIN. Then what the SRV records of DOMAIN name is probed,\n"+
		"and the certificates must name DOMAIN, not the host: of each service up to %d hosts, with up to\n"+
		"%d addresses each, all at once and within %s. NAPTR records are not followed, and where there\n"+
		"are no SRV records, the addresses of DOMAIN itself are not probed.",
		srv.MostTargets, srv.MostAddrs, srv.Limit+probe.Limit)
}

// probeDomain probes what a domain's SRV records name.
func (p *program) probeDomain(c *cli.Context, trust policy.Trust) error {
	kind, domain, _ := strings.Cut(c.Args().First(), ":")
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	_, notAddress := netip.ParseAddr(domain)
	if !slices.Contains([]srv.Kind{srv.SIP, srv.XMPP}, srv.Kind(kind)) || !endpoint.IsHost(domain) || notAddress == nil {
		return &usageError{fmt.Sprintf("%q is neither sip:DOMAIN nor xmpp:DOMAIN", c.Args().First()), "for example: certlatch probe --dns sip:example.org"}
	}
	answers := srv.Lookup(c.Context, &net.Resolver{PreferGo: true}, domain, srv.Kind(kind))
	d := domainResult{dns: kind + ":" + domain, answers: answers, probes: probeTargets(c.Context, answers, domain)}
	for i := range d.probes {
		d.probes[i].judge(trust)
	}
	return p.showProbe(c, d.view(), d.text(), d.exit())
}

// probeTargets makes a handshake with every address of every target, all at
// once. What is wrong with a target's addresses is a result too.
func probeTargets(ctx context.Context, answers []srv.Answer, domain string) []probeResult {
	var results []probeResult
	for _, answer := range answers {
		for _, target := range answer.Targets {
			r := probeResult{record: answer.Name, target: &target}
			r.Endpoint = endpoint.Endpoint{Scheme: answer.Service, Host: target.Host, Port: target.Port, Name: domain}
			for _, addr := range target.Addrs {
				r.Endpoint.Host = addr.String()
				results = append(results, r)
			}
			if target.Err != nil {
				r.Endpoint.Host, r.Err = target.Host, target.Err
				results = append(results, r)
			}
		}
	}
	var all sync.WaitGroup
	for i := range results {
		if results[i].Err == nil {
			all.Go(func() { results[i].Observation = probe.Handshake(ctx, results[i].Endpoint) })
		}
	}
	all.Wait()
	return results
}

// domainResult is what became of the probes of a domain.
type domainResult struct {
	dns     string // as asked for: sip:example.org
	answers []srv.Answer
	probes  []probeResult
}

// failure says why there was nothing to probe; empty: there was something.
func (d domainResult) failure() string {
	if len(d.probes) > 0 {
		return ""
	}
	var asked []string
	for _, a := range d.answers {
		asked = append(asked, a.Name)
	}
	return "no SRV record names a host; asked for were " + strings.Join(asked, ", ")
}

func (d domainResult) exit() int {
	switch {
	case !slices.ContainsFunc(d.probes, func(r probeResult) bool { return r.exit() != exitNoHandshake }):
		return exitNoHandshake
	case slices.ContainsFunc(d.probes, func(r probeResult) bool { return r.exit() != exitOK }),
		slices.ContainsFunc(d.answers, func(a srv.Answer) bool { return a.Err != nil }):
		return exitProbeFindings
	}
	return exitOK
}

// lookupState sums an answer up: found, none, not-offered or failed.
func lookupState(a srv.Answer) string {
	switch {
	case len(a.Targets) > 0:
		return "found"
	case a.Err != nil:
		return "failed"
	case a.Refused:
		return "not-offered"
	}
	return "none"
}
