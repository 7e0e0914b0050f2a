package main

import (
	"crypto/tls"
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
)

func (p *program) probeCommand() *cli.Command {
	return &cli.Command{
		Name: "probe", Usage: "make one handshake and show what is served", ArgsUsage: "URL",
		Description: "URL is SCHEME://HOST[:PORT][?name=NAME][&key=rsa|ecdsa] with one of the schemes " + schemes() + ".\n" +
			"Without name, HOST is the name asked for.\n\n" +
			"Example: certlatch probe \"https://127.0.0.1?name=api.example\"\n\n" +
			"Exit codes: 0 good; 1 findings, or unexpected; 2 usage; 3 no handshake.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "trust", Value: "system", Usage: "system, any, or a PEM `FILE` of roots"},
			jsonFlag(),
		},
		Action: p.probe,
	}
}

func schemes() string {
	var names []string
	for _, s := range endpoint.Schemes() {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

// probeJSON is the JSON of probe: certlatch.probe/1.
type probeJSON struct {
	Schema   string         `json:"schema"`
	Probe    string         `json:"probe"`
	Error    *string        `json:"error"`
	Protocol *string        `json:"protocol"`
	Cipher   *string        `json:"cipher"`
	ALPN     *string        `json:"alpn"`
	Leaf     *lineage.Leaf  `json:"leaf"`
	Chain    []lineage.Leaf `json:"chain"` // as served, the leaf first
	Findings []findingJSON  `json:"findings"`
}

func (p *program) probe(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	e, err := endpoint.Parse(c.Args().First())
	if err != nil {
		return &usageError{err.Error(), "for example: certlatch probe https://127.0.0.1?name=api.example"}
	}
	trust, err := policy.LoadTrust(c.String("trust"))
	if err != nil {
		return &usageError{err.Error(), "use --trust system, --trust any or --trust FILE"}
	}
	if e.Name == "" {
		e.Name = e.Host
	}
	seen := probe.Handshake(c.Context, e)
	findings := judgeServed(seen, trust)
	if c.Bool("json") {
		err = printJSON(p.stdout, probeView(seen, findings))
	} else {
		err = printProbe(p.stdout, seen, findings)
	}
	switch {
	case err != nil:
		return err
	case seen.Leaf() == nil:
		return exitStatus(exitNoHandshake)
	case len(findings) > 0:
		return exitStatus(exitProbeFindings)
	}
	return nil
}

// judgeServed holds the served chain against the rules for bundles, as far as
// they are about certificates.
func judgeServed(seen probe.Observation, trust policy.Trust) []lineage.Finding {
	if seen.Leaf() == nil {
		return nil
	}
	served := &lineage.Bundle{
		Lineage:       lineage.Lineage{Client: "served", Name: seen.Endpoint.Name, Fullchain: seen.Endpoint.String()},
		Leaf:          seen.Chain[0],
		Intermediates: seen.Chain[1:],
	}
	rules := policy.Rules{Trust: trust, Now: time.Now(), Names: []string{seen.Endpoint.Name}}
	if _, err := netip.ParseAddr(seen.Endpoint.Name); err == nil && seen.Endpoint.Name == seen.Endpoint.Host {
		rules.Names = nil // an address says where to connect, not whom to expect
	}
	return policy.Check(served, rules)
}

func probeView(seen probe.Observation, findings []lineage.Finding) probeJSON {
	view := probeJSON{Schema: "certlatch.probe/1", Probe: seen.Endpoint.String(), Chain: []lineage.Leaf{}, Findings: findingViews("", findings)}
	if seen.Err != nil {
		view.Error = orNull(seen.Err.Error())
	}
	for _, cert := range seen.Chain {
		view.Chain = append(view.Chain, lineage.Describe(cert))
	}
	if seen.Leaf() != nil {
		view.Leaf = &view.Chain[0]
		view.Protocol = orNull(tls.VersionName(seen.Version))
		view.Cipher = orNull(tls.CipherSuiteName(seen.Cipher))
		view.ALPN = orNull(seen.ALPN)
	}
	return view
}

func printProbe(w io.Writer, seen probe.Observation, findings []lineage.Finding) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", seen.Endpoint)
	say := func(label, format string, args ...any) {
		fmt.Fprintf(&text, "  %-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	if seen.Err != nil {
		say("error", "%v", seen.Err)
	}
	if seen.Leaf() != nil {
		say("protocol", "%s, %s", tls.VersionName(seen.Version), tls.CipherSuiteName(seen.Cipher))
		for i, cert := range seen.Chain {
			label := "issued by"
			if i == 0 {
				label = "leaf"
				say(label, "%s", leafLine(lineage.Describe(cert)))
				continue
			}
			say(label, "%s  until %s", cert.Subject, cert.NotAfter.UTC().Format(time.DateOnly))
		}
		say("issuer", "%s", seen.Chain[len(seen.Chain)-1].Issuer)
	}
	for _, f := range findings {
		say("finding", "%s; %s", f, f.Remedy)
	}
	if seen.Leaf() != nil && len(findings) == 0 {
		say("good", "no findings")
	}
	_, err := io.WriteString(w, text.String())
	return err
}
