package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/probe"
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
	r := probeResult{Observation: probe.Handshake(c.Context, e)}
	r.judge(trust)
	view := r.view()
	view.Schema = probeSchema
	return p.showProbe(c, view, r.text(), r.exit())
}

// showProbe prints a view as JSON if that is asked for, else the text, and
// makes a code the program's.
func (p *program) showProbe(c *cli.Context, view any, text string, code int) error {
	var err error
	if c.Bool("json") {
		err = printJSON(p.stdout, view)
	} else {
		_, err = io.WriteString(p.stdout, text)
	}
	return errors.Join(err, status(code))
}

// probeResult is a handshake, and what is to be said about it.
type probeResult struct {
	probe.Observation
	findings []lineage.Finding
	record   string      // the SRV record that led here; empty: the command line did
	target   *srv.Target // of the record
}

func (r probeResult) exit() int {
	switch {
	case r.Leaf() == nil:
		return exitNoHandshake
	case len(r.findings) > 0:
		return exitProbeFindings
	}
	return exitOK
}

// judge holds the served chain against the rules for bundles, as far as they
// are about certificates.
func (r *probeResult) judge(trust policy.Trust) {
	if r.Leaf() == nil {
		return
	}
	name := r.Endpoint.Name
	served := &lineage.Bundle{
		Lineage:       lineage.Lineage{Client: "served", Name: name, Fullchain: r.Endpoint.String()},
		Leaf:          r.Chain[0],
		Intermediates: r.Chain[1:],
	}
	rules := policy.Rules{Trust: trust, Now: time.Now(), Names: []string{name}}
	if _, err := netip.ParseAddr(name); err == nil && name == r.Endpoint.Host {
		rules.Names = nil // an address says where to connect, not whom to expect
	}
	if r.Endpoint.Scheme == "sips" {
		rules.SIPDomains = rules.Names
	}
	r.findings = policy.Check(served, rules)
	if r.target == nil {
		return
	}
	for i, f := range r.findings {
		if f.Code == "name-missing" && r.Leaf().VerifyHostname(r.target.Host) == nil {
			// RFC 6120 section 13.7.1.2 and RFC 5922 section 7.2.
			r.findings[i].Detail += fmt.Sprintf(", only the SRV target %q", r.target.Host)
			r.findings[i].Remedy = "have the client put the domain into the certificate: it is what peers look for, wherever SRV records lead them"
		}
	}
}
