package policy

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
)

// code is one kind of finding. find returns what is wrong with a subject, as
// the rest of a sentence that begins with the certificate, and what to do; an
// empty flaw means that all is well. Codes without find are found when the
// bundle is made, by package lineage, or belong to a service.
type code struct {
	name      string
	severity  lineage.Severity
	early     bool // found where no bundle can be made
	find      func(subject) (flaw, remedy string)
	onlyWarns func(subject) bool // reports whether a flaw that would refuse only warns; nil: never
}

// subject is a bundle with what is needed to judge it.
type subject struct {
	*lineage.Bundle
	Rules
}

func codes() []code {
	const refused, warned = lineage.Refused, lineage.Warned
	return []code{
		{name: "pem-malformed", severity: refused, early: true},
		{name: "serial-negative", severity: refused, early: true},
		{name: "no-certificate", severity: refused, early: true},
		{name: "no-key", severity: refused, early: true},
		{name: "outside", severity: refused, early: true},
		{name: "owner-mismatch", severity: refused, early: true},
		{name: "key-encrypted", severity: refused, early: true},
		{name: "key-mismatch", severity: refused, early: true},
		{name: lineage.Unsupported, severity: refused, find: chainCode(lineage.Unsupported,
			"have the CA sign with RSA, or with ECDSA on P-256 or P-384; policy: {accept: [algorithm-unsupported]} installs it unchecked, for clients that can tell")},
		{name: "key-weak", severity: refused, find: keyWeak},
		{name: "expired", severity: refused, find: expired},
		{name: "not-yet-valid", severity: refused, find: notYetValid},
		{name: "chain-incomplete", severity: refused, find: chainCode("chain-incomplete",
			"have the client write the full chain: leaf and intermediates")},
		{name: "untrusted", severity: refused, find: chainCode("untrusted",
			"check that the chain is whole; for a CA of your own set trust in the policy to a PEM file of its roots")},
		{name: "staging-issuer", severity: refused, find: chainCode("staging-issuer",
			"have the client issue it anew at the CA's production directory")},
		{name: "name-missing", severity: refused, find: nameMissing, onlyWarns: neverHad},
		{name: "sip-wildcard", severity: refused, find: sipWildcard, onlyWarns: wildcardBefore},
		{name: "eku-server-missing", severity: refused, find: serverUsageMissing},
		{name: "key-usage-missing", severity: refused, find: keyUsageMissing, onlyWarns: someSign},
		{name: "downgrade", severity: refused, find: downgrade},
		{name: "revoked", severity: refused, find: revoked},
		{name: "must-staple", severity: refused, find: mustStaple, onlyWarns: mayStaple},
		{name: "too-large", severity: refused, early: true},
		{name: "chain-order", severity: warned},
		{name: "root-included", severity: warned},
		{name: "chain-expires", severity: warned, find: chainExpires},
		{name: "leaf-is-ca", severity: warned, find: leafIsCA},
		{name: "key-type-changed", severity: warned, find: keyTypeChanged},
		{name: "root-changed", severity: warned, find: rootChanged},
		{name: "eku-client-lost", severity: warned, find: clientUsageLost},
		{name: "names-lost", severity: warned, find: namesLost},
		{name: "lifetime-short", severity: warned, find: lifetimeShort},
		{name: "key-readable", severity: warned},
	}
}

func keyWeak(s subject) (flaw, remedy string) {
	if isWeak(s.Leaf) {
		return "has a weak key, " + lineage.KeyType(s.Leaf.PublicKey),
			"have the client make an ECDSA P-256 key, or an RSA key of 2048 bits or more"
	}
	if i := slices.IndexFunc(s.Intermediates, isWeak); i >= 0 {
		return fmt.Sprintf("has a chain through %s, which has a weak key, %s", lineage.Label(s.Intermediates[i]), lineage.KeyType(s.Intermediates[i].PublicKey)),
			"have the client ask a CA that signs with an RSA key of 2048 bits or more, or with ECDSA on P-256 or P-384"
	}
	return "", ""
}

// isWeak reports whether a certificate has a key that OpenSSL refuses at the security
// level that Debian sets (2: SSL_CTX_set_security_level(3)).
func isWeak(cert *x509.Certificate) bool {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() < 2048
	case *ecdsa.PublicKey:
		return key.Curve.Params().BitSize < 256
	}
	return false
}

func expired(s subject) (flaw, remedy string) {
	if !s.Now.After(s.Leaf.NotAfter) {
		return "", ""
	}
	return fmt.Sprintf("expired at %s, %s ago", timeText(s.Leaf.NotAfter), durationText(s.Now.Sub(s.Leaf.NotAfter))),
		"have the client renew it; if it has just done so, check this host's clock with timedatectl"
}

func notYetValid(s subject) (flaw, remedy string) {
	if !s.Now.Before(s.Leaf.NotBefore) {
		return "", ""
	}
	return fmt.Sprintf("is valid from %s only, in %s", timeText(s.Leaf.NotBefore), durationText(s.Leaf.NotBefore.Sub(s.Now))),
		"check this host's clock with timedatectl; if it is right, deploy again once the time has come"
}

// chainCode returns the find of a code about the way from the leaf to a root.
func chainCode(code, remedy string) func(subject) (string, string) {
	return func(s subject) (string, string) {
		if s.Path.code != code {
			return "", ""
		}
		return s.Path.flaw, cmp.Or(s.Path.remedy, remedy)
	}
}

// chainExpires finds a certificate behind the leaf that ends before it does, and
// whether that ends the chain too.
func chainExpires(s subject) (flaw, remedy string) {
	early := func(cert *x509.Certificate) bool { return cert != nil && cert.NotAfter.Before(s.Leaf.NotAfter) }
	ends := func(cert *x509.Certificate) string {
		if s.Now.After(cert.NotAfter) {
			return fmt.Sprintf("%s, which ended at %s", lineage.Label(cert), timeText(cert.NotAfter))
		}
		return fmt.Sprintf("%s, which ends at %s", lineage.Label(cert), timeText(cert.NotAfter))
	}
	sent := firstToEnd(s.Intermediates)
	switch {
	case s.Path.code != "":
		return "", "" // that says what is wrong with the way
	case early(s.Path.first):
		return "has a chain that ends before it does, and no other: it goes through " + ends(s.Path.first),
			"have the client issue it anew before that, or fetch the CA's other chain (certbot: --preferred-chain)"
	case early(sent) && s.Path.root != nil:
		return fmt.Sprintf("is sent with %s, before it does; the path to %s holds until %s, but clients that do not know that root have no other",
				ends(sent), lineage.Label(s.Path.root), timeText(s.Path.first.NotAfter)),
			"have the client fetch the CA's other chain (certbot: --preferred-chain) where older clients matter, or leave that certificate out"
	}
	return "", ""
}

func nameMissing(s subject) (flaw, remedy string) {
	missing := s.missingNames(s.Leaf)
	if len(lineage.Names(s.Leaf)) == 0 {
		return fmt.Sprintf("has a common name (CN %.80q) and no subject alternative name, and so names nothing: TLS clients do not look at the CN (RFC 9525, appendix A)", s.Leaf.Subject.CommonName),
			"have the client ask for a certificate with its names as subject alternative names (openssl req: -addext subjectAltName=DNS:NAME)"
	}
	if len(missing) == 0 {
		return "", ""
	}
	flaw = "does not cover " + quotedList(missing)
	if len(uncovered(s.Leaf, missing, nil)) < len(missing) {
		flaw += ": it has sip URIs, beside which its DNS names do not count for SIP domains (RFC 5922 section 7.1)"
	}
	return flaw, "have the client put the name into the certificate, or correct the target's names and probes, or what the service serves under it"
}

// missingNames returns the names that a rule wants and a certificate does not
// cover.
func (r Rules) missingNames(cert *x509.Certificate) []string {
	return uncovered(cert, slices.Concat(r.Names, r.ServiceNames), r.SIPDomains)
}

// neverHad reports whether the installed leaf, if any, covers the missing names
// no better, and the new one lacks none that the operator wants but by the
// rules of SIP.
func neverHad(s subject) bool {
	missing := s.missingNames(s.Leaf)
	for _, name := range uncovered(s.Leaf, missing, nil) {
		if slices.Contains(s.Names, name) {
			return false
		}
	}
	return s.Installed == nil || len(uncovered(s.Installed, missing, s.SIPDomains)) == len(missing)
}

func sipWildcard(s subject) (flaw, remedy string) {
	domains := onlyByWildcard(s.Leaf, s.SIPDomains)
	if len(domains) == 0 {
		return "", ""
	}
	return "covers " + quotedList(domains) + " by a wildcard, which RFC 5922 section 7.2 does not allow for a SIP domain",
		"have the client put the SIP domain itself into the certificate"
}

// wildcardBefore reports whether the installed leaf covers the domains by a
// wildcard too.
func wildcardBefore(s subject) bool {
	domains := onlyByWildcard(s.Leaf, s.SIPDomains)
	return s.Installed != nil && len(onlyByWildcard(s.Installed, domains)) == len(domains)
}

// onlyByWildcard returns the domains that a certificate covers by a wildcard
// and does not name.
func onlyByWildcard(cert *x509.Certificate, domains []string) []string {
	names := slices.Concat(cert.DNSNames, sipURIs(cert))
	var found []string
	for _, domain := range domains {
		named := slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, domain) })
		if !named && !strings.HasPrefix(domain, "*.") && cert.VerifyHostname(domain) == nil && net.ParseIP(domain) == nil {
			found = append(found, domain)
		}
	}
	return found
}

func serverUsageMissing(s subject) (flaw, remedy string) {
	if allowsUsage(s.Leaf, x509.ExtKeyUsageServerAuth) {
		return chainCode("eku-server-missing", "")(s)
	}
	return "does not allow TLS server authentication",
		"have the client ask for a certificate for servers (extended key usage serverAuth)"
}

// keyUsageMissing finds a key that may not sign, as TLS 1.3 and each ECDHE cipher demand
// where there is the extension (RFC 8446 section 4.4.2.2; RFC 5280 section 4.2.1.3; for
// ECDSA RFC 5480 section 3, for Ed25519 RFC 8410 section 5).
func keyUsageMissing(s subject) (flaw, remedy string) {
	remedy = "have the CA issue it with the key usage digitalSignature, or without that extension"
	switch {
	case maySign(s.Leaf):
		return "", ""
	case keepsRSA(s.Leaf):
		return "does not allow its key to sign (keyUsage without digitalSignature): clients built on GnuTLS or BoringSSL, as Chrome is, refuse it, others take it", remedy
	}
	return "does not allow its key to sign (keyUsage without digitalSignature), as a TLS server must: with TLS 1.2 no handshake succeeds, and with TLS 1.3 many clients refuse it", remedy
}

// someSign reports whether there are clients for a leaf that may not sign, or those that
// there are get along with it, since they do with the installed one.
//
// Measured with leaves of each key type and usage, served by nginx 1.26.3 and OpenSSL
// 3.5.9, with TLS 1.2 and 1.3. OpenSSL 3.0.22 and 3.5.9 take an RSA key that may encipher
// or agree, GnuTLS 3.7.9 and BoringSSL of Android 13 do not. With any other use alone, all
// but Go refuse. The server itself makes no TLS 1.2 handshake with such an ECDSA key
// (ssl_lib.c, ssl_set_masks), clients none with Ed25519.
func someSign(s subject) bool {
	return keepsRSA(s.Leaf) || s.Installed != nil && !maySign(s.Installed) &&
		lineage.KeyFamily(lineage.KeyType(s.Installed.PublicKey)) == lineage.KeyFamily(lineage.KeyType(s.Leaf.PublicKey))
}

func maySign(cert *x509.Certificate) bool {
	return cert.KeyUsage == 0 || cert.KeyUsage&x509.KeyUsageDigitalSignature != 0
}

// keepsRSA reports whether a leaf has an RSA key for what TLS 1.2 could do without
// signatures.
func keepsRSA(cert *x509.Certificate) bool {
	_, is := cert.PublicKey.(*rsa.PublicKey)
	return is && cert.KeyUsage&(x509.KeyUsageKeyEncipherment|x509.KeyUsageKeyAgreement) != 0
}

// leafIsCA finds a leaf that is a CA's certificate. NSS refuses it (measured with 3.87:
// SEC_ERROR_INADEQUATE_KEY_USAGE), as Firefox does (mozilla::pkix,
// ERROR_CA_CERT_USED_AS_END_ENTITY); OpenSSL, GnuTLS, BoringSSL and Go do not. Nobody
// trusts a self-signed one for its issuer.
func leafIsCA(s subject) (flaw, remedy string) {
	if !s.Leaf.IsCA || lineage.SelfIssued(s.Leaf) {
		return "", ""
	}
	return "is that of a CA (basicConstraints with CA:TRUE), which some clients refuse for a server, Firefox among them",
		"have the CA issue one for an end entity (basicConstraints=CA:FALSE)"
}

func downgrade(s subject) (flaw, remedy string) {
	old := s.Installed
	if s.Force || old == nil || lineage.SelfIssued(old) || s.Now.Before(old.NotBefore) || // no client takes that one now
		!s.Leaf.NotBefore.Before(old.NotBefore) || !s.Leaf.NotAfter.Before(old.NotAfter) {
		return "", ""
	}
	flaw = fmt.Sprintf("is older than the installed %s: issued at %s, not %s", lineage.Label(old), timeText(s.Leaf.NotBefore), timeText(old.NotBefore))
	if s.Holder != nil {
		if holder := s.Holder(); holder != "" {
			return flaw, "the installed leaf is kept by " + holder + ": let the target take that lineage; deploy with --force to accept the older one"
		}
	}
	return flaw, "find out why the client went back to an older certificate; deploy with --force to accept it"
}

func revoked(s subject) (flaw, remedy string) {
	if s.Revoked == nil || s.Path.issuer == nil {
		return "", ""
	}
	if is, err := s.Revoked(s.Leaf, s.Path.issuer); err != nil || !is {
		return "", ""
	}
	return "was revoked by its issuer", "have the client issue it anew, with a new key"
}

// clientUsageLost names what peers make of a leaf that has no clientAuth any
// more: Prosody 13.0 verifies with lsec_ignore_purpose (plugins/mod_tls.lua,
// plugins/mod_s2s.lua); Kamailio and OpenSIPS leave it to OpenSSL's purpose
// sslclient, and have no option for it. Let's Encrypt's last profile with
// clientAuth ended on 2026-07-08.
func clientUsageLost(s subject) (flaw, remedy string) {
	if s.Installed == nil || lineage.SelfIssued(s.Installed) || !allowsUsage(s.Installed, x509.ExtKeyUsageClientAuth) || allowsUsage(s.Leaf, x509.ExtKeyUsageClientAuth) {
		return "", "" // no peer has ever trusted a self-signed leaf
	}
	return "does not allow TLS client authentication, which the installed one does; a server that calls others shows it as a client: " +
			"in XMPP federation (s2s) Prosody, and ejabberd from 25.08 on, take it all the same, while others fall back to dialback or refuse; " +
			"SIP trunks fail where the peer verifies clients, as Kamailio and OpenSIPS can be set to",
		"for a SIP trunk use a certificate of a private CA that the peer trusts, or another way to tell who calls; for s2s leave dialback on: " +
			"public CAs no longer issue for clients"
}

// keyTypeChanged finds a key of another type than that of the installed leaf: a
// service whose ciphers were chosen for the one may have none for the other, and some
// peers know only the one.
func keyTypeChanged(s subject) (flaw, remedy string) {
	if s.Installed == nil || lineage.SelfIssued(s.Installed) {
		return "", ""
	}
	old, new := lineage.KeyType(s.Installed.PublicKey), lineage.KeyType(s.Leaf.PublicKey)
	if lineage.KeyFamily(old) == lineage.KeyFamily(new) {
		return "", ""
	}
	return fmt.Sprintf("has a key of another type than the installed one, %s in place of %s: with TLS 1.2 the service needs ciphers for it, and older phones and trunks may know only the other", new, old),
		"let the service's ciphers allow both types, as those do that certlatch template prints for it; or have the client keep the type (certbot: --key-type rsa; acme.sh: --keylength 2048; lego: --key-type rsa2048)"
}

// rootChanged finds a chain that leads to none of the roots to which the installed one
// does. Where no roots are asked for, the name of the last issuer tells.
func rootChanged(s subject) (flaw, remedy string) {
	if s.Installed == nil || s.Installed.Equal(s.Leaf) || lineage.SelfIssued(s.Installed) || s.Path.code != "" {
		return "", ""
	}
	before := &lineage.Bundle{Leaf: s.Installed, Intermediates: s.InstalledChain}
	old, new := []string{lastIssuer(before)}, []string{lastIssuer(s.Bundle)}
	if !s.Trust.any {
		path := s.Trust.Path(before, s.Now)
		if path.code != "" {
			return "", "" // whoever pins roots did not take it either
		}
		old, new = subjects(path.roots), subjects(s.Path.roots)
	}
	if slices.ContainsFunc(new, func(name string) bool { return slices.Contains(old, name) }) {
		return "", ""
	}
	return fmt.Sprintf("leads to another root than the installed one, %.80q in place of %.80q: older phones, and trunks that pin roots, may not know it", new[0], old[0]),
		"see that every peer knows the new root, or have the client fetch the CA's other chain (certbot: --preferred-chain), before the next reload of the service"
}

// lastIssuer returns the name of the issuer of the last certificate of a chain.
func lastIssuer(b *lineage.Bundle) string {
	certs := b.Certificates()
	return certs[len(certs)-1].Issuer.String()
}

func subjects(certs []*x509.Certificate) (names []string) {
	for _, cert := range certs {
		names = append(names, cert.Subject.String())
	}
	return names
}

func namesLost(s subject) (flaw, remedy string) {
	if s.Installed == nil {
		return "", ""
	}
	lost := uncovered(s.Leaf, lineage.Names(s.Installed), nil)
	if len(lost) == 0 {
		return "", ""
	}
	return "does not cover names of the installed one: " + quotedList(lost),
		"have the client put them back into the certificate if they are still in use"
}

func lifetimeShort(s subject) (flaw, remedy string) {
	left, lifetime := s.Leaf.NotAfter.Sub(s.Now), s.Leaf.NotAfter.Sub(s.Leaf.NotBefore)
	if left < 0 || left >= lifetime/10 {
		return "", ""
	}
	return fmt.Sprintf("expires at %s, in %s: less than a tenth of its lifetime is left", timeText(s.Leaf.NotAfter), durationText(left)),
		"find out why the client did not renew it in time"
}

// mustStaple finds a leaf that demands what some services cannot send.
func mustStaple(s subject) (flaw, remedy string) {
	switch {
	case !demandsStaple(s.Leaf):
		return "", ""
	case s.NeverStaples != "":
		return "demands a stapled OCSP response, which no version of " + s.NeverStaples + " can send: clients that go by that refuse every handshake",
			"have the client issue it without must-staple: certbot and lego with no --must-staple, acme.sh with no --ocsp"
	}
	return "demands a stapled OCSP response: strict clients refuse it without",
		"make sure that the service staples, or have the client issue it without must-staple"
}

// mayStaple reports whether the service may be able to send an OCSP response, or its
// clients get along without, since they do with the installed leaf.
func mayStaple(s subject) bool {
	return s.NeverStaples == "" || s.Installed != nil && demandsStaple(s.Installed)
}

// demandsStaple reports whether a certificate has the TLS feature extension (RFC 7633)
// with status_request (5, RFC 6066) or status_request_v2 (17, RFC 6961).
func demandsStaple(cert *x509.Certificate) bool {
	i := slices.IndexFunc(cert.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24})
	})
	if i < 0 {
		return false
	}
	var features []int
	_, err := asn1.Unmarshal(cert.Extensions[i].Value, &features)
	return err == nil && (slices.Contains(features, 5) || slices.Contains(features, 17))
}

// allowsUsage reports whether a certificate may be used for a purpose: without
// the extension, for any (RFC 5280, section 4.2.1.12).
func allowsUsage(cert *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 ||
		slices.Contains(cert.ExtKeyUsage, usage) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// uncovered returns the names that a certificate does not cover. Names match as
// in a handshake (RFC 6125, wildcards included); a wildcard or a URI only
// matches itself. The SIP domains among them match as of RFC 5922 section 7,
// but for wildcards: sip URIs count alone, where there are any.
func uncovered(cert *x509.Certificate, names, sipDomains []string) []string {
	byURI := sipURIs(cert)
	var missing []string
	for _, name := range names {
		covered := cert.VerifyHostname(name) == nil || slices.Contains(lineage.Names(cert), name)
		if len(byURI) > 0 && slices.Contains(sipDomains, name) {
			covered = slices.Contains(byURI, strings.ToLower(name))
		}
		if !covered && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

// sipURIs returns the domains, in lower case, that a certificate names by sip
// URIs. URIs with a user name a person, and those of other schemes no SIP
// domain (RFC 5922 section 7.1).
func sipURIs(cert *x509.Certificate) []string {
	var domains []string
	for _, uri := range cert.URIs {
		host := uri.Opaque
		if end := strings.IndexAny(host, ":;"); end >= 0 {
			host = host[:end] // without port and parameters
		}
		if uri.Scheme == "sip" && host != "" && !strings.Contains(uri.Opaque, "@") {
			domains = append(domains, strings.ToLower(host))
		}
	}
	return domains
}

// quotedList returns a list of quoted names, for people.
func quotedList(names []string) string {
	var all []string
	for _, name := range names {
		all = append(all, fmt.Sprintf("%.80q", name))
	}
	return strings.Join(all, ", ")
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// durationText returns a duration in its largest unit or two, for people.
func durationText(d time.Duration) string {
	if days := d / (24 * time.Hour); days >= 2 {
		return fmt.Sprintf("%d days", days)
	}
	return d.Round(time.Second).String()
}
