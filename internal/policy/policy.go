// Package policy decides whether a target may have a bundle: it finds the flaws
// of the bundle under the rules of one target.
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
	Path   *Path    // what Trust.Path says of the bundle; nil: Check finds that out
	Accept []string // codes that are only warned about
	Names  []string // names that the leaf must cover

	// ServiceNames are in the service's own configuration: they must be
	// covered if the installed leaf covers them. SIPDomains are those of all
	// names that are SIP domains: by RFC 5922 no wildcard covers them, and
	// beside a URI such as sip:example.org no DNS name does.
	ServiceNames, SIPDomains []string

	Installed      *x509.Certificate   // the leaf installed now; nil: none
	InstalledChain []*x509.Certificate // what is installed beside it
	Holder         func() string       // where the installed leaf is kept, for people, empty: it is not known; nil: nobody is asked
	NeverStaples   string              // the service that can send no OCSP response; empty: it may
	Force          bool                // accept a downgrade
	Now            time.Time           // the time to judge by

	// Revoked reports whether the issuer has revoked the leaf; nil: nobody is
	// asked. An error means that this is not known, and makes no finding.
	Revoked func(leaf, issuer *x509.Certificate) (bool, error)
}

// Check returns the findings about a bundle: those that refuse it, then those
// that warn, both in the order of [Codes]. It does not repeat those of
// [lineage.Read].
func Check(b *lineage.Bundle, r Rules) []lineage.Finding {
	if r.Path == nil {
		path := r.Trust.Path(b, r.Now)
		r.Path = &path
	}
	s := subject{b, r}
	var refused, warned []lineage.Finding
	for _, c := range codes() {
		if c.find == nil {
			continue
		}
		flaw, remedy := c.find(s)
		if flaw == "" {
			continue
		}
		finding := lineage.Finding{
			Code:     c.name,
			Severity: c.severity,
			Detail:   fmt.Sprintf("%s: certificate %s %s", b.Lineage.Fullchain, lineage.Label(b.Leaf), flaw),
			Remedy:   remedy,
		}
		if c.severity == lineage.Warned || slices.Contains(r.Accept, c.name) || c.onlyWarns != nil && c.onlyWarns(s) {
			finding.Severity = lineage.Warned
			warned = append(warned, finding)
		} else {
			refused = append(refused, finding)
		}
	}
	return append(refused, warned...)
}

// Refused reports whether any of the findings refuses the bundle.
func Refused(findings []lineage.Finding) bool {
	return slices.ContainsFunc(findings, func(f lineage.Finding) bool { return f.Severity == lineage.Refused })
}

// Codes returns all codes of findings, in the order of the manual.
func Codes() []string {
	var names []string
	for _, c := range codes() {
		names = append(names, c.name)
	}
	return names
}

// Acceptable reports whether a code may be accepted: it refuses bundles, and is
// found where there is a bundle to install.
func Acceptable(name string) bool {
	return slices.ContainsFunc(codes(), func(c code) bool {
		return c.name == name && c.severity == lineage.Refused && !c.early
	})
}
