// Package pki makes certificates for tests: roots, intermediates, leaves with
// all the flaws that a bundle can have, and the directories in which ACME
// clients keep them.
//
// It must only be imported by tests. It does not promise that its certificates
// resemble those of any public CA in more than what the options say.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/netip"
	"net/url"
	"slices"
	"testing"
	"time"
)

// CA is a certification authority: a root, or an intermediate below one.
type CA struct {
	Cert   *x509.Certificate
	key    crypto.Signer
	parent *CA
	// made is an hour after the time from which leaves are valid: of two leaves
	// of one CA none is older than the other, however long a test takes.
	made time.Time
}

// Leaf is an end-entity certificate with its chain (without the root) and its
// key, in the PEM forms that certbot writes.
type Leaf struct {
	Cert                  *x509.Certificate
	Fullchain, Chain, Key []byte
}

// NewCA returns a new root with an ECDSA P-256 key.
func NewCA(t testing.TB, name string) *CA { return newCA(t, nil, name) }

// Intermediate returns a new authority below ca.
func (ca *CA) Intermediate(t testing.TB, name string) *CA { return newCA(t, ca, name) }

func newCA(t testing.TB, parent *CA, name string) *CA {
	t.Helper()
	key := generate(t, ecdsaKey(elliptic.P256()))
	now := time.Now().Truncate(time.Second)
	cert := sign(t, parent, key, &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.AddDate(-20, 0, 0),
		NotAfter:              now.AddDate(20, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	})
	return &CA{cert, key, parent, now}
}

// CrossSign returns other with another certificate for its name and key, which
// ca has signed.
func (ca *CA) CrossSign(t testing.TB, other *CA) *CA {
	t.Helper()
	template := *other.Cert
	template.SerialNumber, template.AuthorityKeyId = nil, nil
	return &CA{sign(t, ca, other.key, &template), other.key, ca, other.made}
}

// Ends returns ca with another certificate for its name and key, which ends at a
// time.
func (ca *CA) Ends(t testing.TB, at time.Time) *CA {
	t.Helper()
	template := *ca.Cert
	template.SerialNumber, template.NotAfter = nil, at
	return &CA{sign(t, ca.parent, ca.key, &template), ca.key, ca.parent, ca.made}
}

// Impostor returns an authority with the name and the key identifier of ca, but
// another key.
func (ca *CA) Impostor(t testing.TB) *CA {
	t.Helper()
	key := generate(t, ecdsaKey(elliptic.P256()))
	template := *ca.Cert
	template.SerialNumber, template.PublicKey = nil, nil
	return &CA{sign(t, ca.parent, key, &template), key, ca.parent, ca.made}
}

// Root returns the root that ca leads to: itself, if it is one.
func (ca *CA) Root() *CA {
	for ca.parent != nil {
		ca = ca.parent
	}
	return ca
}

// PEM returns the authority's certificate in PEM.
func (ca *CA) PEM() []byte { return certificatePEM(ca.Cert) }

// CRL returns a revocation list in DER, which is valid for the week before
// nextUpdate.
func (ca *CA) CRL(t testing.TB, nextUpdate time.Time, revoked ...*x509.Certificate) []byte {
	t.Helper()
	thisUpdate := nextUpdate.AddDate(0, 0, -7)
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: thisUpdate, NextUpdate: nextUpdate}
	for _, cert := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: thisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.Cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Leaf returns a new leaf: without options for a.example, for TLS servers,
// valid from an hour ago for 90 days, with an ECDSA P-256 key in PKCS#8.
func (ca *CA) Leaf(t testing.TB, opts ...Option) Leaf {
	t.Helper()
	return newLeaf(t, ca, opts)
}

// SelfSigned returns a new leaf that no authority has signed.
func SelfSigned(t testing.TB, opts ...Option) Leaf {
	t.Helper()
	return newLeaf(t, nil, opts)
}

// Option changes what a leaf is.
type Option func(*request)

type request struct {
	template x509.Certificate
	generate func() (crypto.Signer, error)
}

// Names sets the subject alternative names: DNS names, addresses, and URIs,
// which have a colon. The first is the common name too.
func Names(names ...string) Option {
	return func(r *request) {
		r.template.DNSNames, r.template.IPAddresses, r.template.URIs = nil, nil, nil
		for _, name := range names {
			ip, ipErr := netip.ParseAddr(name)
			uri, uriErr := url.Parse(name)
			switch {
			case ipErr == nil:
				r.template.IPAddresses = append(r.template.IPAddresses, ip.AsSlice())
			case uriErr == nil && uri.Scheme != "":
				r.template.URIs = append(r.template.URIs, uri)
			default:
				r.template.DNSNames = append(r.template.DNSNames, name)
			}
		}
		r.template.Subject.CommonName = names[0]
	}
}

// OnlyCN sets the common name, and leaves subject alternative names out.
func OnlyCN(name string) Option {
	return func(r *request) {
		Names(name)(r)
		r.template.DNSNames, r.template.IPAddresses, r.template.URIs = nil, nil, nil
	}
}

// Valid sets the validity.
func Valid(from, to time.Time) Option {
	return func(r *request) { r.template.NotBefore, r.template.NotAfter = from, to }
}

// RSA asks for an RSA key.
func RSA(bits int) Option {
	return func(r *request) {
		r.generate = func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, bits) }
	}
}

// ECDSA asks for an ECDSA key on a curve.
func ECDSA(curve elliptic.Curve) Option {
	return func(r *request) { r.generate = ecdsaKey(curve) }
}

// Ed25519 asks for an Ed25519 key.
func Ed25519() Option {
	return func(r *request) {
		r.generate = func() (crypto.Signer, error) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			return key, err
		}
	}
}

// ClientAuth allows TLS client authentication too.
func ClientAuth() Option {
	return func(r *request) {
		r.template.ExtKeyUsage = append(r.template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
}

// NoServerAuth replaces TLS server authentication by OCSP signing, so that the
// extension is there.
func NoServerAuth() Option {
	return func(r *request) {
		r.template.ExtKeyUsage = slices.DeleteFunc(r.template.ExtKeyUsage, func(usage x509.ExtKeyUsage) bool {
			return usage == x509.ExtKeyUsageServerAuth
		})
		r.template.ExtKeyUsage = append(r.template.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning)
	}
}

// KeyUsage sets what the key may be used for; 0 leaves the extension out.
func KeyUsage(usage x509.KeyUsage) Option {
	return func(r *request) { r.template.KeyUsage = usage }
}

// IsCA makes the leaf the certificate of a CA.
func IsCA() Option {
	return func(r *request) { r.template.IsCA = true }
}

// NoUsages leaves the extended key usage extension out.
func NoUsages() Option {
	return func(r *request) { r.template.ExtKeyUsage = nil }
}

// MustStaple adds the TLS feature extension with status_request (RFC 7633).
func MustStaple() Option {
	return func(r *request) {
		r.template.ExtraExtensions = append(r.template.ExtraExtensions, pkix.Extension{
			Id:    asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24},
			Value: []byte{0x30, 0x03, 0x02, 0x01, 0x05}, // SEQUENCE { INTEGER 5 }
		})
	}
}

// CRLAt sets the URLs of the revocation list.
func CRLAt(urls ...string) Option {
	return func(r *request) { r.template.CRLDistributionPoints = urls }
}

func newLeaf(t testing.TB, ca *CA, opts []Option) Leaf {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	if ca != nil {
		now = ca.made
	}
	r := request{generate: ecdsaKey(elliptic.P256()), template: x509.Certificate{
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(0, 0, 90),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}}
	Names("a.example")(&r)
	for _, opt := range opts {
		opt(&r)
	}
	key := generate(t, r.generate)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := Leaf{Cert: sign(t, ca, key, &r.template), Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
	for ; ca != nil && ca.parent != nil; ca = ca.parent {
		leaf.Chain = append(leaf.Chain, ca.PEM()...)
	}
	leaf.Fullchain = slices.Concat(certificatePEM(leaf.Cert), leaf.Chain)
	return leaf
}

// sign returns the certificate of a template, signed by ca or, where that is
// nil, by its own key.
func sign(t testing.TB, ca *CA, key crypto.Signer, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	parent, signer := template, key
	if ca != nil {
		parent, signer = ca.Cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func generate(t testing.TB, from func() (crypto.Signer, error)) crypto.Signer {
	t.Helper()
	key, err := from()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecdsaKey(curve elliptic.Curve) func() (crypto.Signer, error) {
	return func() (crypto.Signer, error) { return ecdsa.GenerateKey(curve, rand.Reader) }
}

func certificatePEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}
