package main

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
)

// The JSON of probe: certlatch.probe/1.
const probeSchema = "certlatch.probe/1"

type probeJSON struct {
	Schema   string         `json:"schema,omitempty"` // not in a list
	Probe    string         `json:"probe"`
	SRV      *srvJSON       `json:"srv"` // the record that led there
	Error    *string        `json:"error"`
	Protocol *string        `json:"protocol"`
	Cipher   *string        `json:"cipher"`
	ALPN     *string        `json:"alpn"`
	AsksBack bool           `json:"asks_client"` // for a certificate of its own
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

// domainJSON is that of probe --dns.
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

func (r probeResult) view() probeJSON {
	view := probeJSON{
		Probe: r.Endpoint.String(), Error: errorOrNull(r.Err), AsksBack: r.ClientAuth,
		Chain: []lineage.Leaf{}, Findings: findingViews("", r.findings),
	}
	if r.target != nil {
		view.SRV = &srvJSON{r.record, r.target.Host, r.target.Port, r.target.Priority, r.target.Weight}
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

func (d domainResult) view() domainJSON {
	view := domainJSON{Schema: probeSchema, DNS: d.dns, Error: orNull(d.failure()), Lookups: []lookupJSON{}, Probes: []probeJSON{}}
	for _, a := range d.answers {
		view.Lookups = append(view.Lookups, lookupJSON{a.Name, lookupState(a), errorOrNull(a.Err)})
	}
	for _, r := range d.probes {
		view.Probes = append(view.Probes, r.view())
	}
	return view
}

func errorOrNull(err error) *string {
	if err == nil {
		return nil
	}
	return orNull(err.Error())
}

func (r probeResult) text() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", r.Endpoint)
	say := func(label, format string, args ...any) { sayTo(&text, label, format, args...) }
	if r.target != nil {
		say("srv", "%s: %s, priority %d, weight %d", r.record, r.target.Host, r.target.Priority, r.target.Weight)
	}
	if r.Err != nil {
		say("error", "%v", r.Err)
	}
	if r.Leaf() != nil {
		say("protocol", "%s, %s", tls.VersionName(r.Version), tls.CipherSuiteName(r.Cipher))
		say("leaf", "%s", leafLine(lineage.Describe(r.Leaf())))
		for _, cert := range r.Chain[1:] {
			say("issued by", "%s  until %s", cert.Subject, cert.NotAfter.UTC().Format(time.DateOnly))
		}
		say("issuer", "%s", r.Chain[len(r.Chain)-1].Issuer)
	}
	if r.ClientAuth {
		say("asks for", "a certificate of the client, which was not given one")
	}
	for _, f := range r.findings {
		say("finding", "%s; %s", f, f.Remedy)
	}
	if r.exit() == exitOK {
		say("good", "no findings")
	}
	return text.String()
}

func (d domainResult) text() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", d.dns)
	for _, a := range d.answers {
		state := lookupState(a)
		if a.Refused {
			state += ", its only target is \".\": the domain says that there is no such service"
		}
		sayTo(&text, "dns", "%s: %s", a.Name, state)
		if a.Err != nil {
			sayTo(&text, "error", "%v", a.Err)
		}
	}
	if failure := d.failure(); failure != "" {
		sayTo(&text, "error", "%s", failure)
	}
	for _, r := range d.probes {
		text.WriteString(r.text())
	}
	return text.String()
}

// sayTo writes a line below the one that names what it is about.
func sayTo(text *strings.Builder, label, format string, args ...any) {
	fmt.Fprintf(text, "  %-10s %s\n", label, fmt.Sprintf(format, args...))
}
