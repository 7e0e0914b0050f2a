package policy

import (
	"cmp"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
)

// Trust says which roots a chain may lead to. [LoadTrust] makes it; the zero
// Trust trusts no one.
type Trust struct {
	any   bool
	roots *x509.CertPool
}

// TrustError says why a setting of trust cannot be used.
type TrustError struct {
	Setting, Why, Remedy string
}

func (e *TrustError) Error() string { return fmt.Sprintf("trust %q: %s", e.Setting, e.Why) }

// systemBundles returns where distributions keep all roots of the system in one file
// (crypto/x509/root_linux.go at Go 1.26). Files beside it are no roots: in
// /etc/ssl/certs lies what packages and people put there too, as the snakeoil of
// Debian's ssl-cert, which x509.SystemCertPool would trust.
func systemBundles() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch Linux
		"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL, from where the one above leads
		"/etc/ssl/cert.pem",                                 // Alpine Linux
	}
}

// LoadTrust returns the trust for a setting: "system" for the roots of this
// host, "any" for no roots at all, or the path of a PEM file of roots. It fails
// with a [*TrustError]. Where roots are is not heard from the environment, which is
// that of whoever calls.
func LoadTrust(setting string) (Trust, error) {
	switch setting {
	case "any":
		return Trust{any: true}, nil
	case "system":
		return loadBundle(systemBundles())
	}
	text, err := os.ReadFile(setting)
	if err != nil {
		return Trust{}, &TrustError{setting, err.Error(), "write system, any, or the path of a PEM file of roots"}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return Trust{}, &TrustError{setting, "there is no certificate in it", "put the roots into it, in PEM"}
	}
	return Trust{roots: roots}, nil
}

// loadBundle returns the trust in the roots of the first bundle that there is.
func loadBundle(bundles []string) (Trust, error) {
	const remedy = "install the package ca-certificates, or set trust to a PEM file of roots"
	for _, path := range bundles {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Trust{}, &TrustError{"system", err.Error(), remedy}
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return Trust{}, &TrustError{"system", path + " holds no root", remedy}
		}
		return Trust{roots: roots}, nil
	}
	return Trust{}, &TrustError{"system", "this host has no roots: there is none of " + strings.Join(bundles, ", "), remedy}
}

// Path is the way from a leaf to a root, or what is wrong with it.
type Path struct {
	issuer *x509.Certificate // of the leaf, verified; nil: not known, or none
	code   string            // of the finding about what is wrong with the way; "": nothing
	flaw   string
	remedy string // in place of the code's; "": that

	// The certificate behind the leaf that ends first on the way that lasts longest;
	// nil: there is no such certificate.
	first *x509.Certificate
	root  *x509.Certificate // where that way leads to; nil: not known

	roots []*x509.Certificate // where any way leads to
}

// Ends returns when the way ends that lasts longest, whenever the leaf does; zero:
// there is nothing on it that ends.
func (p Path) Ends() time.Time {
	if p.first == nil {
		return time.Time{}
	}
	return p.first.NotAfter
}

// firstToEnd returns the certificate that ends first; nil of none.
func firstToEnd(certs []*x509.Certificate) *x509.Certificate {
	if len(certs) == 0 {
		return nil
	}
	return slices.MinFunc(certs, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
}

// Path returns the way from the leaf of a bundle to a root. Whether the leaf itself
// is valid now is not checked here.
func (t Trust) Path(b *lineage.Bundle, now time.Time) Path {
	if t.any {
		return checkSignatures(b)
	}
	intermediates := x509.NewCertPool()
	for _, cert := range b.Intermediates {
		intermediates.AddCert(cert)
	}
	at := clampToValidity(b.Leaf, now)
	chains, err := b.Leaf.Verify(x509.VerifyOptions{
		Roots:         cmp.Or(t.roots, x509.NewCertPool()), // nil would be the system's
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		CurrentTime:   at,
	})
	if invalid, is := errors.AsType[x509.CertificateInvalidError](err); is && invalid.Reason == x509.Expired && !at.Equal(now) &&
		clampToValidity(invalid.Cert, now).Equal(now) {
		return Path{} // of the two it is the leaf that is not valid now
	}
	if err != nil {
		return t.chainFault(b, now, err)
	}
	if !slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool { return notForServers(chain[1:]) == nil }) {
		return unfit(notForServers(chains[0][1:]))
	}
	if len(chains[0]) == 1 {
		return Path{} // the leaf is a root
	}
	longest := slices.MaxFunc(chains, func(a, b []*x509.Certificate) int {
		return firstToEnd(a[1:]).NotAfter.Compare(firstToEnd(b[1:]).NotAfter)
	})
	return Path{issuer: chains[0][1], first: firstToEnd(longest[1:]), root: longest[len(longest)-1], roots: rootsOf(chains)}
}

// rootsOf returns where chains lead to.
func rootsOf(chains [][]*x509.Certificate) (roots []*x509.Certificate) {
	for _, chain := range chains {
		roots = append(roots, chain[len(chain)-1])
	}
	return roots
}

// checkSignatures verifies the signatures of the chain alone, and returns how far
// they lead.
func checkSignatures(b *lineage.Bundle) Path {
	certs := b.Certificates()
	if path := defect(certs); path.code != "" {
		return path
	}
	for i, issuer := range certs[1:] {
		if err := certs[i].CheckSignatureFrom(issuer); errors.Is(err, x509.ErrUnsupportedAlgorithm) {
			return unsupported(certs[i : i+2])
		} else if err != nil {
			return Path{code: "untrusted", flaw: fmt.Sprintf("has a broken chain: %s was not signed by %s: %s",
				lineage.Label(certs[i]), lineage.Label(issuer), x509Message(err))}
		}
	}
	if cert := notForServers(certs[1:]); cert != nil {
		return unfit(cert)
	}
	if len(certs) == 1 {
		return Path{}
	}
	return Path{issuer: certs[1], first: firstToEnd(certs[1:])}
}

// notForServers returns the first of the certificates behind a leaf whose extended key
// usage keeps those that it issues from being servers'; nil: there is none. RFC 5280
// leaves that open, and OpenSSL (check_purpose_ssl_server in crypto/x509/v3_purp.c,
// 3.5) and browsers hold the chain to it.
func notForServers(issuers []*x509.Certificate) *x509.Certificate {
	i := slices.IndexFunc(issuers, func(cert *x509.Certificate) bool { return !allowsUsage(cert, x509.ExtKeyUsageServerAuth) })
	if i < 0 {
		return nil
	}
	return issuers[i]
}

// unfit returns the fault of a chain with a certificate that is not for servers.
func unfit(cert *x509.Certificate) Path {
	return Path{code: "eku-server-missing", remedy: "have the client ask another CA, or fetch the CA's other chain (certbot: --preferred-chain)",
		flaw: fmt.Sprintf("has a chain through %s, which does not allow TLS server authentication, and so nothing below it", lineage.Label(cert))}
}

// defect returns the fault of a chain with a certificate that no client accepts, and
// that has no other way to a root; the zero Path: there is none.
func defect(certs []*x509.Certificate) Path {
	const anew = "have the CA issue it anew, with a signature that uses SHA-256 or better"
	for i, cert := range certs {
		switch algorithm := cert.SignatureAlgorithm; {
		case i == 0 && slices.ContainsFunc(cert.UnhandledCriticalExtensions, oidPoison.Equal):
			return Path{code: "untrusted", flaw: "is a precertificate, which is for the logs of Certificate Transparency and no server's (RFC 6962 section 3.1)",
				remedy: "take what the CA hands out once the logs have it: have the client issue it anew"}
		case lineage.SelfIssued(cert): // nobody looks at that signature
		case slices.Contains(brokenSignatures, algorithm) && i == 0:
			return Path{code: "untrusted", flaw: fmt.Sprintf("has a signature that clients no longer accept, %v", algorithm), remedy: anew}
		case slices.Contains(brokenSignatures, algorithm):
			return Path{code: "untrusted", flaw: fmt.Sprintf("has a chain through %s, whose signature clients no longer accept, %v", lineage.Label(cert), algorithm), remedy: anew}
		}
	}
	return Path{}
}

// oidPoison is the critical extension of a precertificate (RFC 6962 section 3.1).
var oidPoison = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}

// brokenSignatures are those that crypto/x509 does not verify (Certificate.CheckSignature).
var brokenSignatures = []x509.SignatureAlgorithm{x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}

// chainFault returns the most telling reason why there is no way to a root.
func (t Trust) chainFault(b *lineage.Bundle, now time.Time, err error) Path {
	certs := b.Certificates()
	if slices.ContainsFunc(certs, issuedForTests) {
		return Path{code: "staging-issuer",
			flaw: fmt.Sprintf("was issued by a CA for trials, which no client trusts: %.80q", b.Leaf.Issuer)}
	}
	if path := unsupported(certs); path.code != "" {
		return path
	}
	if path := defect(certs); path.code != "" {
		return path
	}
	last := certs[len(certs)-1]
	if invalid, is := errors.AsType[x509.CertificateInvalidError](err); is && invalid.Reason == x509.Expired && invalid.Cert != nil && !invalid.Cert.Equal(b.Leaf) {
		return outOfDate(invalid.Cert, now)
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	if unknown && last == b.Leaf && !lineage.SelfIssued(last) && !t.hasRoot(last.RawIssuer) {
		return Path{code: "chain-incomplete",
			flaw: fmt.Sprintf("comes without its issuer, which is not among the roots either: %.80q", last.Issuer)}
	}
	if flaw := forbidden(b, err); flaw != "" {
		return Path{code: "untrusted", flaw: flaw, remedy: "have the CA that issued it put that right, or have the client ask another one"}
	}
	if len(certs) == 1 && lineage.SelfIssued(last) {
		return selfSigned(last)
	}
	return Path{code: "untrusted",
		flaw: fmt.Sprintf("leads to no trusted root: the last issuer of its chain is %.80q: %s", last.Issuer, x509Message(err))}
}

// forbidden returns what a certificate of a chain that is whole demands and the chain
// does not keep to; empty: that is not what an error says.
func forbidden(b *lineage.Bundle, err error) string {
	if _, is := errors.AsType[x509.UnhandledCriticalExtension](err); is {
		for _, cert := range b.Certificates() {
			if len(cert.UnhandledCriticalExtensions) > 0 {
				return fmt.Sprintf("has a chain that no client can judge: %s has the critical extension %v, which is not known here",
					lineage.Label(cert), cert.UnhandledCriticalExtensions[0])
			}
		}
	}
	if invalid, is := errors.AsType[x509.CertificateInvalidError](err); is && invalid.Reason != x509.Expired && invalid.Cert != nil {
		return fmt.Sprintf("has a chain that breaks a rule of its own: %s: %s", lineage.Label(invalid.Cert), x509Message(err))
	}
	issuers := b.Intermediates
	if i := slices.IndexFunc(issuers, func(cert *x509.Certificate) bool {
		return cert.Version == 3 && !(cert.BasicConstraintsValid && cert.IsCA)
	}); i >= 0 {
		return fmt.Sprintf("has a chain through %s, which is no CA's certificate", lineage.Label(issuers[i]))
	}
	return ""
}

// selfSigned returns the fault of a leaf that vouches for itself.
func selfSigned(leaf *x509.Certificate) Path {
	flaw := "is self-signed, as those are that packages make at their installation: no client trusts it"
	if isSnakeoil(leaf) {
		flaw = "is self-signed, and by its name and its ten years the snakeoil of Debian's package ssl-cert: no client trusts it"
	}
	return Path{code: "untrusted", flaw: flaw,
		remedy: "have a CA issue one, and the service take it; where peers are to trust this very one, set trust to a PEM file of it, or to any"}
}

// isSnakeoil reports whether a self-signed leaf is as make-ssl-cert
// generate-default-snakeoil makes it: for 3650 days, and with the host's name alone
// in its subject (ssl-cert 1.1: make-ssl-cert, ssleay.cnf).
func isSnakeoil(leaf *x509.Certificate) bool {
	const lasts = 3650 * 24 * time.Hour
	return leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Hour) == lasts && len(leaf.Subject.Names) == 1 && leaf.Subject.CommonName != ""
}

// outOfDate returns the fault of a chain of which a certificate is not valid now, and
// that leads to no root in any other way.
func outOfDate(cert *x509.Certificate, now time.Time) Path {
	which := "the intermediate"
	if lineage.SelfIssued(cert) {
		which = "the root"
	}
	if now.Before(cert.NotBefore) {
		return Path{code: "untrusted", flaw: fmt.Sprintf("leads to no trusted root: %s %s is valid from %s only, and no other path holds", which, lineage.Label(cert), timeText(cert.NotBefore)),
			remedy: "check this host's clock with timedatectl"}
	}
	return Path{
		code: "untrusted", first: cert,
		flaw:   fmt.Sprintf("leads to no trusted root: %s %s ended at %s, %s ago, and no other path holds", which, lineage.Label(cert), timeText(cert.NotAfter), durationText(now.Sub(cert.NotAfter))),
		remedy: "have the client issue it anew, or fetch the CA's other chain (certbot: --preferred-chain); where the CA is your own, renew that certificate of it",
	}
}

// unsupported returns the fault of a chain that cannot be checked, since the
// algorithm of one of its certificates is not known here; the zero Path: it is none.
func unsupported(certs []*x509.Certificate) Path {
	for _, cert := range certs {
		if what := lineage.UnknownAlgorithm(cert); what != "" {
			return Path{code: lineage.Unsupported, flaw: fmt.Sprintf(
				"comes with a chain that cannot be checked: of %s an algorithm is not known here: %s", lineage.Label(cert), what)}
		}
	}
	return Path{}
}

// x509Message returns the message of an error of crypto/x509, without the
// package's name.
func x509Message(err error) string { return strings.TrimPrefix(err.Error(), "x509: ") }

// hasRoot reports whether there is a root with a name.
func (t Trust) hasRoot(name []byte) bool {
	if t.roots == nil {
		return false
	}
	//lint:ignore SA1019 what it warns of, system roots that are left out, are those of x509.SystemCertPool
	subjects := t.roots.Subjects()
	return slices.ContainsFunc(subjects, func(subject []byte) bool { return string(subject) == string(name) })
}

// clampToValidity returns now, or the time nearest to it at which the
// certificate is valid.
func clampToValidity(cert *x509.Certificate, now time.Time) time.Time {
	switch {
	case now.Before(cert.NotBefore):
		return cert.NotBefore
	case now.After(cert.NotAfter):
		return cert.NotAfter
	}
	return now
}

// issuedForTests reports whether the issuer of cert is a CA for tests, by the
// beginning of its name:
//
//   - Let's Encrypt staging: "(STAGING) ", and until 2021 "Fake LE ", until 2016
//     "happy hacker fake CA"; https://letsencrypt.org/docs/staging-environment
//   - Pebble: "Pebble Root CA ", "Pebble Intermediate CA "; ca/ca.go at v2.10.1
func issuedForTests(cert *x509.Certificate) bool {
	names := []string{"(STAGING) ", "Fake LE ", "happy hacker fake CA", "Pebble Root CA ", "Pebble Intermediate CA "}
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(cert.Issuer.CommonName, name) })
}
