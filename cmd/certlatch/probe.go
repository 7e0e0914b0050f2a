package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/report"
	"github.com/certlatch/certlatch/internal/served"
	"github.com/certlatch/certlatch/internal/srv"
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

// schemesHelp returns a line of help for each scheme.
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
	if err := checkArguments(c, 1, 1); err != nil {
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
	result := report.Probe(served.ProbeEndpoint(c.Context, e, trust))
	return p.print(c, result, result.Exit())
}

// dnsHelp returns the help of --dns.
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
	domain, isHost := endpoint.ASCII(domain)
	_, notAddress := netip.ParseAddr(domain)
	if !slices.Contains([]srv.Kind{srv.SIP, srv.XMPP}, srv.Kind(kind)) || !isHost || notAddress == nil {
		return &usageError{fmt.Sprintf("%q is neither sip:DOMAIN nor xmpp:DOMAIN", c.Args().First()), "for example: certlatch probe --dns sip:example.org"}
	}
	result := report.Domain(served.ProbeDomain(c.Context, srv.Kind(kind), domain, trust))
	return p.print(c, result, result.Exit())
}
