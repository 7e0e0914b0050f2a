package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
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
			"be in the certificate; for XMPP it is the domain too. Without it, it is HOST. The schemes:\n\n" +
			schemesHelp() + "\n" +
			"With --dns URL is sip:DOMAIN or xmpp:DOMAIN. Then every address of every host that the SRV\n" +
			"records of DOMAIN name is probed, and the certificates must name DOMAIN, not the host.\n\n" +
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
	if c.Bool("json") {
		view := r.view()
		view.Schema = probeSchema
		err = printJSON(p.stdout, view)
	} else {
		var text strings.Builder
		r.print(&text)
		_, err = io.WriteString(p.stdout, text.String())
	}
	switch {
	case err != nil:
		return err
	case r.Leaf() == nil:
		return exitStatus(exitNoHandshake)
	case len(r.findings) > 0:
		return exitStatus(exitProbeFindings)
	}
	return nil
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
	var err error
	if c.Bool("json") {
		err = printJSON(p.stdout, d.view())
	} else {
		_, err = io.WriteString(p.stdout, d.text())
	}
	if code := d.exit(); err == nil && code != exitOK {
		return exitStatus(code)
	}
	return err
}

// probeTargets makes a handshake with every address of every target, all at
// once. A target without an address has a result too.
func probeTargets(ctx context.Context, answers []srv.Answer, domain string) []probeResult {
	var results []probeResult
	for _, answer := range answers {
		for _, target := range answer.Targets {
			r := probeResult{record: answer.Name, target: &target}
			r.Endpoint = endpoint.Endpoint{Scheme: answer.Service, Host: target.Host, Port: target.Port, Name: domain}
			r.Err = target.Err
			for _, addr := range target.Addrs {
				r.Endpoint.Host = addr.String()
				results = append(results, r)
			}
			if len(target.Addrs) == 0 {
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

// probeResult is a handshake, and what is to be said about it.
type probeResult struct {
	probe.Observation
	findings []lineage.Finding
	record   string      // the SRV record that led here; empty: the command line did
	target   *srv.Target // of the record
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
	good := func(r probeResult) bool { return r.Leaf() != nil && len(r.findings) == 0 }
	switch {
	case !slices.ContainsFunc(d.probes, func(r probeResult) bool { return r.Leaf() != nil }):
		return exitNoHandshake
	case slices.ContainsFunc(d.probes, func(r probeResult) bool { return !good(r) }),
		slices.ContainsFunc(d.answers, func(a srv.Answer) bool { return a.Err != nil }):
		return exitProbeFindings
	}
	return exitOK
}

func (d domainResult) text() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", d.dns)
	for _, a := range d.answers {
		fmt.Fprintf(&text, "  %-10s %s: %s\n", "dns", a.Name, lookupState(a))
		if a.Err != nil {
			fmt.Fprintf(&text, "  %-10s %v\n", "error", a.Err)
		}
	}
	if failure := d.failure(); failure != "" {
		fmt.Fprintf(&text, "  %-10s %s\n", "error", failure)
	}
	for _, r := range d.probes {
		r.print(&text)
	}
	return text.String()
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

const probeSchema = "certlatch.probe/1"

// probeJSON is the JSON of probe: certlatch.probe/1.
type probeJSON struct {
	Schema   string         `json:"schema,omitempty"` // not in a list
	Probe    string         `json:"probe"`
	SRV      *srvJSON       `json:"srv"` // the record that led there
	Error    *string        `json:"error"`
	Protocol *string        `json:"protocol"`
	Cipher   *string        `json:"cipher"`
	ALPN     *string        `json:"alpn"`
	Leaf     *lineage.Leaf  `json:"leaf"`
	Chain    []lineage.Leaf `json:"chain"` // as served, the leaf first
	Findings []findingJSON  `json:"findings"`
}

type srvJSON struct {
	Name     string `json:"name"` // _sips._tcp.example.org
	Target   string `json:"target"`
	Port     uint16 `json:"port"`
	Priority uint16 `json:"priority"`
	Weight   uint16 `json:"weight"`
}

// domainJSON is the JSON of probe --dns.
type domainJSON struct {
	Schema  string       `json:"schema"`
	DNS     string       `json:"dns"`
	Error   *string      `json:"error"`
	Lookups []lookupJSON `json:"lookups"`
	Probes  []probeJSON  `json:"probes"`
}

type lookupJSON struct {
	Name   string  `json:"name"`
	Result string  `json:"result"` // as of lookupState
	Error  *string `json:"error"`
}

func (d domainResult) view() domainJSON {
	view := domainJSON{Schema: probeSchema, DNS: d.dns, Error: orNull(d.failure()), Lookups: []lookupJSON{}, Probes: []probeJSON{}}
	for _, a := range d.answers {
		lookup := lookupJSON{Name: a.Name, Result: lookupState(a)}
		if a.Err != nil {
			lookup.Error = orNull(a.Err.Error())
		}
		view.Lookups = append(view.Lookups, lookup)
	}
	for _, r := range d.probes {
		view.Probes = append(view.Probes, r.view())
	}
	return view
}

func (r probeResult) view() probeJSON {
	view := probeJSON{Probe: r.Endpoint.String(), Chain: []lineage.Leaf{}, Findings: findingViews("", r.findings)}
	if r.target != nil {
		view.SRV = &srvJSON{r.record, r.target.Host, r.target.Port, r.target.Priority, r.target.Weight}
	}
	if r.Err != nil {
		view.Error = orNull(r.Err.Error())
	}
	for _, cert := range r.Chain {
		view.Chain = append(view.Chain, lineage.Describe(cert))
	}
	if r.Leaf() != nil {
		view.Leaf = &view.Chain[0]
		view.Protocol = orNull(tls.VersionName(r.Version))
		view.Cipher = orNull(tls.CipherSuiteName(r.Cipher))
		view.ALPN = orNull(r.ALPN)
	}
	return view
}

func (r probeResult) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n", r.Endpoint)
	say := func(label, format string, args ...any) {
		fmt.Fprintf(w, "  %-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	if r.target != nil {
		say("srv", "%s: %s, priority %d, weight %d", r.record, r.target.Host, r.target.Priority, r.target.Weight)
	}
	if r.Err != nil {
		say("error", "%v", r.Err)
	}
	if r.Leaf() != nil {
		say("protocol", "%s, %s", tls.VersionName(r.Version), tls.CipherSuiteName(r.Cipher))
		for i, cert := range r.Chain {
			label := "issued by"
			if i == 0 {
				label = "leaf"
				say(label, "%s", leafLine(lineage.Describe(cert)))
				continue
			}
			say(label, "%s  until %s", cert.Subject, cert.NotAfter.UTC().Format(time.DateOnly))
		}
		say("issuer", "%s", r.Chain[len(r.Chain)-1].Issuer)
	}
	for _, f := range r.findings {
		say("finding", "%s; %s", f, f.Remedy)
	}
	if r.Leaf() != nil && len(r.findings) == 0 {
		say("good", "no findings")
	}
}
