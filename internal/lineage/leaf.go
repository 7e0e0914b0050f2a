package lineage

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Leaf describes an end-entity certificate, as all JSON output and the files of
// package state do.
type Leaf struct {
	Fingerprint string    `json:"fingerprint_sha256"` // of the DER encoding, lower-case hexadecimal
	Serial      string    `json:"serial"`             // lower-case hexadecimal, even digits
	Names       []string  `json:"names"`              // subject alternative names: DNS, IP, URI, as written
	Issuer      string    `json:"issuer"`             // RFC 2253 form
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Key         string    `json:"key"` // rsa-2048, ecdsa-p256, ed25519
}

// Describe returns the description of a certificate.
func Describe(cert *x509.Certificate) Leaf {
	serial := cert.SerialNumber.Text(16)
	if len(serial)%2 == 1 {
		serial = "0" + serial
	}
	return Leaf{
		Fingerprint: Fingerprint(cert),
		Serial:      serial,
		Names:       Names(cert),
		Issuer:      cert.Issuer.String(),
		NotBefore:   cert.NotBefore.UTC(),
		NotAfter:    cert.NotAfter.UTC(),
		Key:         KeyType(cert.PublicKey),
	}
}

// Short returns the beginning of the fingerprint, for people.
func (l Leaf) Short() string {
	if len(l.Fingerprint) < 8 {
		return l.Fingerprint
	}
	return l.Fingerprint[:8]
}

// Label returns what a certificate is called in messages: its first name and
// the beginning of its serial number.
func Label(cert *x509.Certificate) string {
	name := cert.Subject.CommonName
	if names := Names(cert); name == "" && len(names) > 0 {
		name = names[0]
	}
	return fmt.Sprintf("%.80q (serial %.8s)", name, Describe(cert).Serial)
}

// SelfIssued reports whether a certificate names itself as its issuer, as roots
// and self-signed leaves do. The signature is not verified.
func SelfIssued(cert *x509.Certificate) bool { return isIssuer(cert, cert) }

// isIssuer reports whether issuer is what cert names as its issuer: by name, and
// by key identifier where both have one (RFC 5280, sections 4.2.1.1 and
// 4.2.1.2).
func isIssuer(issuer, cert *x509.Certificate) bool {
	wanted, had := cert.AuthorityKeyId, issuer.SubjectKeyId
	return bytes.Equal(issuer.RawSubject, cert.RawIssuer) &&
		(len(wanted) == 0 || len(had) == 0 || bytes.Equal(wanted, had))
}

// Fingerprint returns the SHA-256 of a certificate's DER encoding in lower-case
// hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Names returns a certificate's subject alternative names, never null.
func Names(cert *x509.Certificate) []string {
	names := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	return names
}

// KeyType returns a word for the type of a public key, its algorithm and its
// size or curve: ecdsa-p256.
func KeyType(public any) string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ecdsa-" + strings.ToLower(strings.ReplaceAll(key.Curve.Params().Name, "-", ""))
	case ed25519.PublicKey:
		return "ed25519"
	default:
		return "unknown"
	}
}

// KeyFamily returns the algorithm of a type of key: rsa, ecdsa, ed25519.
func KeyFamily(keyType string) string {
	family, _, _ := strings.Cut(keyType, "-")
	return family
}
