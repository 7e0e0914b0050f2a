// Package served looks at what services serve, and checks it by the rules for
// bundles: with one handshake, or with all that the SRV records of a domain
// lead to. It changes nothing. It does not promise that a chain without
// findings is the one that was issued.
package served

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/srv"
)

// Probe is a handshake, and the findings about the chain that it showed.
type Probe struct {
	Seen     probe.Observation
	Findings []lineage.Finding
	Record   string      // the SRV record that led there; empty: none did
	Target   *srv.Target // of the record; nil: there is none
}

// Domain is a domain, and the probes of all that its SRV records lead to.
type Domain struct {
	Kind    srv.Kind
	Name    string
	Answers []srv.Answer
	Probes  []Probe
}

// ProbeEndpoint makes a handshake, and returns it with the findings about what
// is served.
func ProbeEndpoint(ctx context.Context, e endpoint.Endpoint, trust policy.Trust) Probe {
	p := Probe{Seen: probe.Handshake(ctx, e)}
	p.judge(trust)
	return p
}

// ProbeDomain makes a handshake with every address of every host that the SRV
// records of a domain name, and returns them with the findings about what each
// serves.
func ProbeDomain(ctx context.Context, kind srv.Kind, name string, trust policy.Trust) Domain {
	answers := srv.Lookup(ctx, &net.Resolver{PreferGo: true}, name, kind)
	return probeAnswers(ctx, Domain{Kind: kind, Name: name, Answers: answers}, trust)
}

// probeAnswers returns a domain with the probes of what its answers name.
func probeAnswers(ctx context.Context, d Domain, trust policy.Trust) Domain {
	d.Probes = probeTargets(ctx, d.Answers, d.Name)
	for i := range d.Probes {
		d.Probes[i].judge(trust)
	}
	return d
}

// probeTargets makes all handshakes at once. A target without addresses is a
// probe with the error.
func probeTargets(ctx context.Context, answers []srv.Answer, domain string) []Probe {
	var probes []Probe
	for _, answer := range answers {
		for _, target := range answer.Targets {
			p := Probe{Record: answer.Name, Target: &target}
			p.Seen.Endpoint = endpoint.Endpoint{Scheme: answer.Service, Host: target.Host, Port: target.Port, Name: domain}
			for _, addr := range target.Addrs {
				p.Seen.Endpoint.Host = addr.String()
				probes = append(probes, p)
			}
			if target.Err != nil {
				p.Seen.Endpoint.Host, p.Seen.Err = target.Host, target.Err
				probes = append(probes, p)
			}
		}
	}
	var all sync.WaitGroup
	for i := range probes {
		if probes[i].Seen.Err == nil {
			all.Go(func() { probes[i].Seen = probe.Handshake(ctx, probes[i].Seen.Endpoint) })
		}
	}
	all.Wait()
	return probes
}

// judge adds the findings about the served chain, by those rules for bundles
// that are about certificates.
func (p *Probe) judge(trust policy.Trust) {
	leaf, at := p.Seen.Leaf(), p.Seen.Endpoint
	if leaf == nil {
		return
	}
	bundle := &lineage.Bundle{
		Lineage:       lineage.Lineage{Client: "served", Name: at.Name, Fullchain: at.String()},
		Leaf:          leaf,
		Intermediates: p.Seen.Chain[1:],
	}
	rules := policy.Rules{Trust: trust, Now: time.Now(), Names: []string{at.Name}}
	if _, err := netip.ParseAddr(at.Name); err == nil && at.Name == at.Host {
		rules.Names = nil // an address says where to connect, not whom to expect
	}
	if at.Scheme == "sips" {
		rules.SIPDomains = rules.Names
	}
	p.Findings = policy.Check(bundle, rules)
	if p.Target == nil {
		return
	}
	for i, f := range p.Findings {
		if f.Code == "name-missing" && leaf.VerifyHostname(p.Target.Host) == nil {
			// RFC 6120 section 13.7.1.2 and RFC 5922 section 7.2.
			p.Findings[i].Detail += fmt.Sprintf(", only the SRV target %q", p.Target.Host)
			p.Findings[i].Remedy = "have the client put the domain into the certificate: it is what peers look for, wherever SRV records lead them"
		}
	}
}
