package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/served"
	"github.com/certlatch/certlatch/internal/srv"
)

// Probe is what probe has to show of one handshake.
type Probe served.Probe

// Domain is what probe --dns has to show.
type Domain served.Domain

const probeSchema = "certlatch.probe/1"

// probeJSON is the schema certlatch.probe/1 without --dns: what one handshake
// showed.
type probeJSON struct {
	Schema     string         `json:"schema,omitempty"` // not in a list
	Probe      string         `json:"probe"`            // the URL
	SRV        *srvJSON       `json:"srv"`              // the record that led there; null: the command line did
	Error      *string        `json:"error"`            // why there was no handshake; null: there was one
	Protocol   *string        `json:"protocol"`         // TLS 1.3; null: no handshake
	Cipher     *string        `json:"cipher"`           // TLS_AES_128_GCM_SHA256; null: no handshake
	ALPN       *string        `json:"alpn"`             // null: no protocol was agreed on, or no handshake
	AsksClient bool           `json:"asks_client"`      // for a certificate of its own
	Leaf       *lineage.Leaf  `json:"leaf"`             // null: no handshake
	Chain      []lineage.Leaf `json:"chain"`            // as served, the leaf first
	Findings   []findingJSON  `json:"findings"`
}

// srvJSON is an SRV record (RFC 2782).
type srvJSON struct {
	Name     string `json:"name"` // _sips._tcp.example.org
	Target   string `json:"target"`
	Port     uint16 `json:"port"`
	Priority uint16 `json:"priority"`
	Weight   uint16 `json:"weight"`
}

// domainJSON is the schema certlatch.probe/1 with --dns: what the hosts serve
// that a domain's SRV records name.
type domainJSON struct {
	Schema  string       `json:"schema"`
	DNS     string       `json:"dns"`   // as asked for
	Error   *string      `json:"error"` // why there was nothing to probe; null: there was something
	Lookups []lookupJSON `json:"lookups"`
	Probes  []probeJSON  `json:"probes"`
}

// lookupJSON is a question that the DNS was asked.
type lookupJSON struct {
	Name   string  `json:"name"`
	Result string  `json:"result"` // found, none, not-offered or failed
	Error  *string `json:"error"`  // why the answer is missing or not whole; null: it is whole
}

// JSON returns the handshake in the schema certlatch.probe/1.
func (p Probe) JSON() any {
	view := p.json()
	view.Schema = probeSchema
	return view
}

// json returns the handshake as it is in a list.
func (p Probe) json() probeJSON {
	view := probeJSON{
		Probe: p.Seen.Endpoint.String(), Error: errorOrNull(p.Seen.Err), AsksClient: p.Seen.ClientAuth,
		Chain: []lineage.Leaf{}, Findings: findingsJSON("", p.Findings),
	}
	if p.Target != nil {
		view.SRV = &srvJSON{p.Record, p.Target.Host, p.Target.Port, p.Target.Priority, p.Target.Weight}
	}
	for _, cert := range p.Seen.Chain {
		view.Chain = append(view.Chain, lineage.Describe(cert))
	}
	if p.Seen.Leaf() != nil {
		view.Leaf = &view.Chain[0]
		view.Protocol = orNull(p.Seen.Protocol())
		view.Cipher = orNull(p.Seen.CipherSuite())
		view.ALPN = orNull(p.Seen.ALPN)
	}
	return view
}

// JSON returns the probes in the schema certlatch.probe/1.
func (d Domain) JSON() any {
	view := domainJSON{Schema: probeSchema, DNS: d.dns(), Error: orNull(d.failure()), Lookups: []lookupJSON{}, Probes: []probeJSON{}}
	for _, a := range d.Answers {
		view.Lookups = append(view.Lookups, lookupJSON{a.Name, resultOf(a), errorOrNull(a.Err)})
	}
	for _, p := range d.Probes {
		view.Probes = append(view.Probes, Probe(p).json())
	}
	return view
}

// dns returns what was asked for: sip:example.org.
func (d Domain) dns() string { return string(d.Kind) + ":" + d.Name }

// failure returns why there was nothing to probe; empty: there was something.
func (d Domain) failure() string {
	if len(d.Probes) > 0 {
		return ""
	}
	var asked []string
	for _, a := range d.Answers {
		asked = append(asked, a.Name)
	}
	return "no SRV record names a host; asked for were " + strings.Join(asked, ", ")
}

// resultOf returns what became of a question: found, none, not-offered or failed.
func resultOf(a srv.Answer) string {
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

// Text returns what the handshake showed.
func (p Probe) Text() string {
	var text block
	text.probe(p)
	return text.String()
}

// Text returns what the DNS answered, and what each handshake showed.
func (d Domain) Text() string {
	var text block
	fmt.Fprintf(&text, "%s\n", d.dns())
	for _, a := range d.Answers {
		result := resultOf(a)
		if a.Refused {
			result += ", its only target is \".\": the domain says that there is no such service"
		}
		text.addLine("dns", "%s: %s", a.Name, result)
		if a.Err != nil {
			text.addLine("error", "%v", a.Err)
		}
	}
	if failure := d.failure(); failure != "" {
		text.addLine("error", "%s", failure)
	}
	for _, p := range d.Probes {
		text.probe(Probe(p))
	}
	return text.String()
}

// probe adds what a handshake showed.
func (b *block) probe(p Probe) {
	fmt.Fprintf(b, "%s\n", p.Seen.Endpoint)
	if p.Target != nil {
		b.addLine("srv", "%s: %s, priority %d, weight %d", p.Record, p.Target.Host, p.Target.Priority, p.Target.Weight)
	}
	if p.Seen.Err != nil {
		b.addLine("error", "%v", p.Seen.Err)
	}
	if leaf := p.Seen.Leaf(); leaf != nil {
		chain := p.Seen.Chain
		b.addLine("protocol", "%s, %s", p.Seen.Protocol(), p.Seen.CipherSuite())
		b.addLine("leaf", "%s", leafLine(lineage.Describe(leaf)))
		for _, cert := range chain[1:] {
			b.addLine("issued by", "%s  until %s", cert.Subject, cert.NotAfter.UTC().Format(time.DateOnly))
		}
		b.addLine("issuer", "%s", chain[len(chain)-1].Issuer)
	}
	if p.Seen.ClientAuth {
		b.addLine("asks for", "a certificate of the client, which was not given one")
	}
	for _, f := range p.Findings {
		b.addLine("finding", "%s; %s", f, f.Remedy)
	}
	if p.Exit() == ExitOK {
		b.addLine("good", "no findings")
	}
}
