// Package policy decides whether a target may have a bundle: it looks for the
// flaws that section 5 of the contract names, under the rules of one target.
//
// It judges by what the bundle says and by the roots and the clock of this
// host. It does not promise that every client accepts the certificate: clients
// have roots and clocks of their own.
package policy

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
)

// Rules are what a bundle is held against.
type Rules struct {
	Trust  Trust    // from LoadTrust
	Accept []string // codes that are only warned about
	Names  []string // must be covered by the leaf

	// ServiceNames are in the service's own configuration: they must be
	// covered if the installed leaf covers them. SIPDomains are those of all
	// names that are SIP domains: by RFC 5922 no wildcard covers them, and
	// beside a URI such as sip:example.org no DNS name does.
	ServiceNames, SIPDomains []string

	Installed *x509.Certificate // the leaf installed now; nil: none
	Force     bool              // accept a downgrade
	Now       time.Time         // the time to judge by

	// Revoked tells whether the issuer has taken the leaf back; nil: it is
	// not asked. An error means that it cannot be told, and changes nothing.
	Revoked func(leaf, issuer *x509.Certificate) (bool, error)
}

// Check gives the findings about a bundle: those that refuse it, then those
// that warn, both in the order of [Codes]. What lineage found when it made the
// bundle is not repeated.
func Check(b *lineage.Bundle, r Rules) []lineage.Finding {
	s := subject{Bundle: b, Rules: r, path: r.Trust.follow(b, r.Now)}
	var refused, warned []lineage.Finding
	for _, c := range codes() {
		if c.look == nil {
			continue
		}
		flaw, remedy := c.look(s)
		if flaw == "" {
			continue
		}
		finding := lineage.Finding{
			Code:     c.name,
			Severity: c.severity,
			Detail:   fmt.Sprintf("%s: certificate %s %s", b.Lineage.Fullchain, lineage.Label(b.Leaf), flaw),
			Remedy:   remedy,
		}
		if c.severity == lineage.Warned || slices.Contains(r.Accept, c.name) || c.eased != nil && c.eased(s) {
			finding.Severity = lineage.Warned
			warned = append(warned, finding)
		} else {
			refused = append(refused, finding)
		}
	}
	return append(refused, warned...)
}

// Refused tells whether any of the findings refuses the bundle.
func Refused(findings []lineage.Finding) bool {
	return slices.ContainsFunc(findings, func(f lineage.Finding) bool { return f.Severity == lineage.Refused })
}

// Codes gives every code of the contract, in its order.
func Codes() []string {
	var names []string
	for _, c := range codes() {
		names = append(names, c.name)
	}
	return names
}

// Acceptable tells whether accepting a code has a meaning: it refuses bundles,
// and there is a bundle where it is found.
func Acceptable(name string) bool {
	return slices.ContainsFunc(codes(), func(c code) bool {
		return c.name == name && c.severity == lineage.Refused && !c.early
	})
}
