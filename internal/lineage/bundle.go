package lineage

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/internal/disk"
)

// Limits of what is read. Full chains of public CAs are below 16 KiB and have
// two to four certificates.
const (
	maxFile         = 256 << 10 // bytes
	maxCertificates = 10
)

// Bundle is a lineage read once into memory: a certificate, the key that
// belongs to it, and the certificates that lead from it towards a root.
type Bundle struct {
	Lineage       Lineage
	Leaf          *x509.Certificate
	Intermediates []*x509.Certificate // in issuing order, leaf's issuer first, without roots

	key func() Secret // PKCS#8, PKCS#1 or SEC 1 in PEM, one block; a function: see Secret
}

// Certificates returns the leaf and the intermediates, as a service sends them.
func (b *Bundle) Certificates() []*x509.Certificate {
	return append([]*x509.Certificate{b.Leaf}, b.Intermediates...)
}

// FullchainPEM returns leaf and intermediates in PEM. As with [Bundle.ChainPEM]
// and [Bundle.KeyPEM] the bytes depend only on what the bundle holds, so they
// may be compared with what was written before.
func (b *Bundle) FullchainPEM() Secret { return encodePEM(b.Certificates()) }

// ChainPEM returns the intermediates in PEM; it is empty where there are none.
func (b *Bundle) ChainPEM() Secret { return encodePEM(b.Intermediates) }

// KeyPEM returns the private key in PEM, in the encoding that the client chose.
func (b *Bundle) KeyPEM() Secret { return slices.Clone(b.key()) }

// Read returns the bundle that the files of a lineage make, and findings about
// it. Each file is opened once, judged and read once. Symlinks are followed
// within the client's own directories; a file that leads out of them, or that
// has a wrong owner, is not read. Where there is no bundle, at least one
// finding says why, with severity [Refused].
func Read(l Lineage) (*Bundle, []Finding) { return read(l, Root.store, x509.ParseCertificate) }

func read(l Lineage, storeOf func(Root) (*disk.Store, error), parse parser) (*Bundle, []Finding) {
	fullchain, chain, key, findings := readFiles(l, storeOf)
	if findings != nil {
		return nil, findings
	}
	b, findings := parseBundle(l, fullchain.data, chain.data, key.data, parse)
	if key.mode.Perm()&0o006 != 0 {
		findings = append(findings, Finding{"key-readable", Warned,
			fmt.Sprintf("%s: the private key can be read or written by every user (mode %04o)", l.Key, key.mode.Perm()),
			"take the permissions of others away: chmod o-rwx " + l.Key})
	}
	for _, file := range []struct {
		path string
		content
	}{{l.Fullchain, fullchain}, {l.Chain, chain}} {
		if file.path != l.Key && file.mode.Perm()&0o006 != 0 && holdsKey(file.data) {
			findings = append(findings, Finding{"key-readable", Warned,
				fmt.Sprintf("%s: a private key is in it, which should hold certificates, and every user can read or write it (mode %04o)", file.path, file.mode.Perm()),
				"have the client write certificates only to this file; until then: chmod o-rwx " + file.path})
		}
	}
	return b, findings
}

// Unreadable returns the findings for which Read does not come to parse anything;
// nil: the files can be read.
func Unreadable(l Lineage) []Finding {
	_, _, _, findings := readFiles(l, Root.store)
	return findings
}

// readFiles reads the files of a lineage, each once.
func readFiles(l Lineage, storeOf func(Root) (*disk.Store, error)) (fullchain, chain, key content, unreadable []Finding) {
	files := openFiles(l, storeOf)
	defer files.close()
	key, keyErr := files.read(l.Key, "no-key")
	fullchain = key
	var fullchainErr, chainErr error
	if l.Fullchain != l.Key {
		fullchain, fullchainErr = files.read(l.Fullchain, "no-certificate")
	}
	if l.Chain != "" {
		chain, chainErr = files.read(l.Chain, "no-certificate")
	}
	return fullchain, chain, key, refusals(fullchainErr, chainErr, keyErr)
}

// Parse returns the bundle that the contents of a lineage's files make, and
// findings about it; chain may be nil. It puts the chain in order, and leaves
// out what does not belong to it, with findings that say so. Where there is no
// bundle, at least one finding says why, with severity [Refused].
func Parse(l Lineage, fullchain, chain, key []byte) (*Bundle, []Finding) {
	return parseBundle(l, fullchain, chain, key, x509.ParseCertificate)
}

func parseBundle(l Lineage, fullchain, chain, key []byte, parse parser) (*Bundle, []Finding) {
	certs, certErr := parseChain(l, fullchain, chain, parse)
	private, block, keyErr := parseKey(l.Key, key)
	if findings := refusals(certErr, keyErr); findings != nil {
		return nil, findings
	}
	i := slices.IndexFunc(certs, func(cert *x509.Certificate) bool { return keyMatches(cert, private) })
	if i < 0 {
		return nil, refusals(refuse("key-mismatch",
			"wait until the client has written all files; if it stays so, have the client issue the certificate anew",
			"%s: the private key is not that of certificate %s in %s", l.Key, Label(presumedLeaf(certs)), l.Fullchain))
	}
	leaf := certs[i]
	secret := Secret(pem.EncodeToMemory(block))
	intermediates, roots, strangers := orderChain(leaf, certs)
	b := &Bundle{l, leaf, intermediates, func() Secret { return secret }}
	return b, b.chainFindings(certs, roots, strangers)
}

// chainFindings returns findings about what Parse changed about the
// certificates.
func (b *Bundle) chainFindings(read, roots, strangers []*x509.Certificate) []Finding {
	var findings []Finding
	warn := func(code, remedy, format string, args ...any) {
		findings = append(findings, Finding{code, Warned, b.Lineage.Fullchain + ": " + fmt.Sprintf(format, args...), remedy})
	}
	kept := slices.DeleteFunc(slices.Clone(read), func(cert *x509.Certificate) bool {
		return slices.Contains(roots, cert) || slices.Contains(strangers, cert)
	})
	if !slices.Equal(kept, b.Certificates()) {
		warn("chain-order", "have the client write the leaf first and each issuer after what it issued",
			"the certificates are not in issuing order from %s on; this was put right", Label(b.Leaf))
	}
	if len(strangers) > 0 {
		warn("chain-order", "have the client write the leaf and its own chain only",
			"%s left out: not of the chain of %s", labels(strangers), Label(b.Leaf))
	}
	if len(roots) > 0 {
		warn("root-included", "have the client write the chain without the root: whoever trusts it has it already",
			"%s left out: self-signed, as roots are", labels(roots))
	}
	return findings
}

// orderChain returns the certificates that lead from leaf towards a root, in
// issuing order, and apart from them the roots and those that do not belong. It
// goes by issuers' names and key identifiers; the signatures are policy's
// business.
func orderChain(leaf *x509.Certificate, certs []*x509.Certificate) (chain, roots, strangers []*x509.Certificate) {
	for _, cert := range certs {
		switch {
		case cert == leaf:
		case SelfIssued(cert):
			roots = append(roots, cert)
		default:
			strangers = append(strangers, cert)
		}
	}
	for last := leaf; !SelfIssued(last); {
		i := slices.IndexFunc(strangers, func(cert *x509.Certificate) bool { return isIssuer(cert, last) })
		if i < 0 {
			break
		}
		last = strangers[i]
		chain = append(chain, last)
		strangers = slices.Delete(strangers, i, i+1)
	}
	return chain, roots, strangers
}

// presumedLeaf returns the certificate that messages name where the key belongs
// to none.
func presumedLeaf(certs []*x509.Certificate) *x509.Certificate {
	if i := slices.IndexFunc(certs, func(cert *x509.Certificate) bool { return !cert.IsCA }); i >= 0 {
		return certs[i]
	}
	return certs[0]
}

func keyMatches(cert *x509.Certificate, private crypto.Signer) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(private.Public())
}

// refusal is an error that becomes a finding.
type refusal struct{ code, detail, remedy string }

func (r *refusal) Error() string { return r.detail }

func refuse(code, remedy, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...), remedy}
}

// refusals turns errors that refuse made into findings.
func refusals(errs ...error) []Finding {
	var findings []Finding
	for _, err := range errs {
		if r, ok := errors.AsType[*refusal](err); ok {
			findings = append(findings, Finding{r.code, Refused, r.detail, r.remedy})
		}
	}
	return findings
}

func labels(certs []*x509.Certificate) string {
	var texts []string
	for _, cert := range certs {
		texts = append(texts, Label(cert))
	}
	return strings.Join(texts, ", ")
}
