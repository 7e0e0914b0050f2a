package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/report"
)

func (p *program) probeCommand() *cli.Command {
	return &cli.Command{
		Name: "probe", Usage: "make one handshake and show what is served", ArgsUsage: "URL",
		Description: "URL is SCHEME://HOST[:PORT][?name=NAME][&key=rsa|ecdsa]. NAME is asked for by SNI and must\n" +
			"be in the certificate; for XMPP it is the domain too. Without it, it is HOST. Of a HOST that has\n" +
			"several addresses the one that answers first is probed. A key proves one of two types that a\n" +
			"service holds, where it speaks TLS 1.2. The schemes:\n\n" +
			schemesHelp() + "\n" +
			dnsHelp() + "\n\n" +
			"Example: certlatch probe \"https://127.0.0.1?name=api.example\"\n" +
			"         certlatch probe --dns xmpp:example.org\n\n" +
			"Exit codes: 0 good; 1 findings, or unexpected; with --dns also where a part of what DOMAIN\n" +
			"offers could not be probed; 2 usage; 3 no handshake.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dns", Usage: "probe what the SRV records of sip:DOMAIN or xmpp:DOMAIN name"},
			&cli.StringFlag{Name: "trust", Value: "system", Usage: "system, any, or a PEM `FILE` of roots"},
			jsonFlag(),
		},
		Action: p.probe,
	}
}

// schemesHelp says of each scheme what it is for.
func schemesHelp() string {
	var text strings.Builder
	for _, s := range endpoint.Schemes() {
		about := []string{s.About, "no usual port"}
		if s.Port != 0 {
			about[1] = fmt.Sprintf("port %d", s.Port)
		}
		if s.StartTLS {
			about = append(about, "STARTTLS")
		}
		if len(s.ALPN) > 0 {
			about = append(about, "ALPN "+strings.Join(s.ALPN, " and "))
		}
		fmt.Fprintf(&text, "  %-13s %s\n", s.Name, strings.Join(about, ", "))
	}
	return text.String()
}

func (p *program) probe(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	trust, err := policy.LoadTrust(c.String("trust"))
	if err != nil {
		return &usageError{err.Error(), "use --trust system, --trust any or --trust FILE"}
	}
	if c.Bool("dns") {
		return p.probeDomain(c, trust)
	}
	e, err := endpoint.Parse(c.Args().First())
	if err != nil {
		return &usageError{err.Error(), "for example: certlatch probe https://127.0.0.1?name=api.example"}
	}
	if e.Name == "" {
		e.Name = e.Host
	}
	result := report.Probe{Seen: probe.Handshake(c.Context, e)}
	result.Findings = judge(result, trust)
	return p.print(c, result, result.Exit())
}

// judge holds a served chain against the rules for bundles, as far as they are
// about certificates.
func judge(p report.Probe, trust policy.Trust) []lineage.Finding {
	leaf, at := p.Seen.Leaf(), p.Seen.Endpoint
	if leaf == nil {
		return nil
	}
	served := &lineage.Bundle{
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
	findings := policy.Check(served, rules)
	for i, f := range findings {
		if p.Target != nil && f.Code == "name-missing" && leaf.VerifyHostname(p.Target.Host) == nil {
			// RFC 6120 section 13.7.1.2 and RFC 5922 section 7.2.
			findings[i].Detail += fmt.Sprintf(", only the SRV target %q", p.Target.Host)
			findings[i].Remedy = "have the client put the domain into the certificate: it is what peers look for, wherever SRV records lead them"
		}
	}
	return findings
}
