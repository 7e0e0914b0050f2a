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
	"github.com/certlatch/certlatch/internal/report"
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
	result := report.Domain{DNS: kind + ":" + domain, Answers: answers, Probes: probeTargets(c.Context, answers, domain)}
	for i, p := range result.Probes {
		result.Probes[i].Findings = judge(p, trust)
	}
	return p.print(c, result, result.Exit())
}

// probeTargets makes a handshake with every address of every target, all at
// once. What is wrong with a target's addresses is a result too.
func probeTargets(ctx context.Context, answers []srv.Answer, domain string) []report.Probe {
	var results []report.Probe
	for _, answer := range answers {
		for _, target := range answer.Targets {
			p := report.Probe{Record: answer.Name, Target: &target}
			p.Seen.Endpoint = endpoint.Endpoint{Scheme: answer.Service, Host: target.Host, Port: target.Port, Name: domain}
			for _, addr := range target.Addrs {
				p.Seen.Endpoint.Host = addr.String()
				results = append(results, p)
			}
			if target.Err != nil {
				p.Seen.Endpoint.Host, p.Seen.Err = target.Host, target.Err
				results = append(results, p)
			}
		}
	}
	var all sync.WaitGroup
	for i := range results {
		if results[i].Seen.Err == nil {
			all.Go(func() { results[i].Seen = probe.Handshake(ctx, results[i].Seen.Endpoint) })
		}
	}
	all.Wait()
	return results
}
