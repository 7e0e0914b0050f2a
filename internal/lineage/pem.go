package lineage

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
)

// Here PEM is read (RFC 7468). No error quotes a file: lines are named by
// number.

// ParseCertificates returns the certificates in PEM text, in their order; in an
// installed file the first is the leaf. It passes over other blocks, and fails
// where there is no certificate, or a malformed one.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	return appendCertificates(nil, "PEM text", text, x509.ParseCertificate)
}

// parser parses one certificate, in DER.
type parser func(der []byte) (*x509.Certificate, error)

// parseChain returns the certificates in a lineage's files, each once.
func parseChain(l Lineage, fullchain, chain []byte, parse parser) ([]*x509.Certificate, error) {
	certs, err := appendCertificates(nil, l.Fullchain, fullchain, parse)
	if err != nil || chain == nil {
		return certs, err
	}
	return appendCertificates(certs, l.Chain, chain, parse)
}

func appendCertificates(certs []*x509.Certificate, path string, text []byte, parse parser) ([]*x509.Certificate, error) {
	blocks, err := decodePEM(path, text)
	if err != nil {
		return nil, err
	}
	instead := whatElse(text, blocks)
	blocks = slices.DeleteFunc(blocks, func(b block) bool { return b.Type != "CERTIFICATE" })
	if len(blocks) == 0 {
		return nil, refuse("no-certificate", "check that the client has written its full chain, in PEM, to this file",
			"%s: there is no certificate in it%s", path, instead)
	}
	for _, b := range blocks {
		cert, err := parse(b.Bytes)
		if err != nil {
			return nil, b.unparsed(path, err)
		}
		if slices.ContainsFunc(certs, cert.Equal) {
			continue
		}
		if certs = append(certs, cert); len(certs) > maxCertificates {
			return nil, refuse("too-large", "have the client write the leaf and its own chain only",
				"%s: there are more than %d certificates", path, maxCertificates)
		}
	}
	return certs, nil
}

// parseKey returns the first private key in a text, parsed and as its PEM
// block, without headers.
func parseKey(path string, text []byte) (crypto.Signer, *pem.Block, error) {
	blocks, err := decodePEM(path, text)
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(blocks, isKey)
	if i < 0 {
		return nil, nil, refuse("no-key", "check that the client has written its private key, in PEM, to this file",
			"%s: there is no private key in it%s", path, whatElse(text, blocks))
	}
	b := blocks[i]
	if b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, nil, refuse("key-encrypted", "have the client keep the key without a passphrase: no one is there to type it",
			"%s: the private key is encrypted", path)
	}
	var key any
	switch b.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	}
	switch {
	case hasTrailingBytes(b.Bytes):
		return nil, nil, b.malformed(path, "private key")
	case err != nil:
		return nil, nil, b.unparsedKey(path)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, refuse("no-key", "have the client make an RSA, ECDSA or Ed25519 key",
			"%s: the private key is not of a kind that TLS servers use", path)
	}
	return signer, &pem.Block{Type: b.Type, Bytes: b.Bytes}, nil
}

// whatElse returns what is in a file that should hold something else, as the rest of a
// sentence; empty: nobody knows.
func whatElse(text []byte, blocks []block) string {
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return ": it is empty"
	case len(blocks) > 0:
		return fmt.Sprintf(", but what its line %d calls %q", blocks[0].line, blocks[0].Type)
	case bytes.HasPrefix(text, []byte("\xFF\xFE")), bytes.HasPrefix(text, []byte("\xFE\xFF")):
		return ": it is in UTF-16, where PEM is ASCII"
	case !hasTrailingBytes(text):
		return ": it is in DER, or a PKCS#7 or PKCS#12 file, and not PEM (openssl x509, pkcs7 or pkcs12 can write that)"
	}
	return ""
}

// holdsKey reports whether there is a private key in a text.
func holdsKey(text []byte) bool {
	blocks, err := decodePEM("", text)
	return err == nil && slices.ContainsFunc(blocks, isKey)
}

func isKey(b block) bool { return strings.HasSuffix(b.Type, "PRIVATE KEY") }

// withoutPackage returns the message of an error of crypto/x509, without the
// package's name.
func withoutPackage(err error) string { return strings.TrimPrefix(err.Error(), "x509: ") }

// hasTrailingBytes reports whether something follows the DER value: crypto/x509
// passes it over in PKCS#8 and SEC 1 keys.
func hasTrailingBytes(der []byte) bool {
	rest, err := asn1.Unmarshal(der, &asn1.RawValue{})
	return err != nil || len(rest) > 0
}

// block is a PEM block and where it begins.
type block struct {
	*pem.Block
	line int
}

func (b block) malformed(path, what string) error {
	return refuse("pem-malformed", "have the client write the file anew",
		"%s: the %s at line %d cannot be read", path, what, b.line)
}

// decodePEM returns all PEM blocks of a text. Unlike pem.Decode it does not pass
// over what it cannot read, which would make a file that was cut short look
// like a shorter chain: each line that begins or ends a block must be part of
// one. Every byte is decoded at most once, whatever the text.
func decodePEM(path string, text []byte) ([]block, error) {
	if len(text) > maxFile {
		return nil, refuse("too-large", "check that this is the right file",
			"%s: it is larger than %d KiB", path, maxFile>>10)
	}
	text = bytes.TrimPrefix(text, []byte("\uFEFF")) // a byte order mark
	var blocks []block
	var open *block            // begun, not ended
	var number, start, end int // the current line; where the open block and the current line begin and end
	for line := range bytes.Lines(text) {
		number++
		end += len(line)
		begins, ends := bytes.HasPrefix(line, []byte("-----BEGIN ")), bytes.HasPrefix(line, []byte("-----END "))
		switch {
		case !begins && !ends:
		case begins && open == nil:
			open, start = &block{line: number}, end-len(line)
		case ends && open != nil:
			if open.Block, _ = pem.Decode(text[start:end]); open.Block == nil {
				return nil, open.malformed(path, "block")
			}
			blocks, open = append(blocks, *open), nil
		default:
			return nil, block{line: number}.malformed(path, "block")
		}
	}
	if open != nil {
		return nil, open.malformed(path, "block")
	}
	return blocks, nil
}

func encodePEM(certs []*x509.Certificate) Secret {
	var text []byte
	for _, cert := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return text
}
