package lineage_test

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
)

// altered returns the first certificate of a PEM text with some bytes of its DER
// encoding replaced by as many others.
func altered(t *testing.T, text, old, new []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	der := bytes.ReplaceAll(block.Bytes, old, new)
	if len(old) != len(new) || bytes.Equal(der, block.Bytes) {
		t.Fatalf("%x is not there to be replaced by %x", old, new)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// pkcs8 returns a private key of an algorithm, in PEM. Its bytes are no key's.
func pkcs8(t *testing.T, oid asn1.ObjectIdentifier, parameters any) []byte {
	t.Helper()
	key := struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{Algorithm: pkix.AlgorithmIdentifier{Algorithm: oid}, Key: []byte("secret")}
	if parameters != nil {
		key.Algorithm.Parameters.FullBytes = marshal(t, parameters)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: marshal(t, key)})
}

func marshal(t *testing.T, value any) []byte {
	t.Helper()
	der, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestUnsupported wants keys and certificates that crypto/x509 knows nothing of to
// be told as what they are, and nothing of the key to be told but its algorithm.
func TestUnsupported(t *testing.T) {
	leaf := pki.NewCA(t, "Root").Intermediate(t, "Issuer").Leaf(t)
	ec := asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	p256, p239 := []byte("\x2a\x86\x48\xce\x3d\x03\x01\x07"), []byte("\x2a\x86\x48\xce\x3d\x03\x01\x06")
	serial := leaf.Cert.SerialNumber.Bytes()
	negative := append([]byte{serial[0] | 0x80}, serial[1:]...)
	dsa := asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}
	type field struct {
		Kind  asn1.ObjectIdentifier
		Prime *big.Int
	}
	explicit := struct {
		Version int
		Field   field
	}{1, field{asn1.ObjectIdentifier{1, 2, 840, 10045, 1, 1}, new(big.Int).Lsh(big.NewInt(1), 255)}}
	sec1 := struct {
		Version int
		Key     []byte
		Curve   asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
	}{1, []byte("secret"), asn1.ObjectIdentifier{1, 3, 132, 0, 10}}
	onlyLeaf := bytes.TrimSuffix(leaf.Fullchain, leaf.Chain)

	for name, c := range map[string]struct {
		files
		codes, says string
	}{
		"ML-DSA":               {files{leaf.Fullchain, nil, pkcs8(t, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}, nil)}, lineage.Unsupported, "ML-DSA-65"},
		"SLH-DSA":              {files{leaf.Fullchain, nil, pkcs8(t, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 31}, nil)}, lineage.Unsupported, "SLH-DSA-SHAKE-256f"},
		"RSA-PSS":              {files{leaf.Fullchain, nil, pkcs8(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, nil)}, lineage.Unsupported, "RSA-PSS"},
		"Ed448":                {files{leaf.Fullchain, nil, pkcs8(t, asn1.ObjectIdentifier{1, 3, 101, 113}, nil)}, lineage.Unsupported, "Ed448"},
		"DSA":                  {files{leaf.Fullchain, nil, pkcs8(t, dsa, nil)}, lineage.Unsupported, ": DSA"},
		"brainpool":            {files{leaf.Fullchain, nil, pkcs8(t, ec, asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 7})}, lineage.Unsupported, "ECDSA on the curve brainpoolP256r1"},
		"brainpool, twisted":   {files{leaf.Fullchain, nil, pkcs8(t, ec, asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 14})}, lineage.Unsupported, "brainpoolP512t1"},
		"secp256k1 in SEC 1":   {files{leaf.Fullchain, nil, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: marshal(t, sec1)})}, lineage.Unsupported, "secp256k1"},
		"an explicit curve":    {files{leaf.Fullchain, nil, pkcs8(t, ec, explicit)}, lineage.Unsupported, "a curve of 256 bits that is written out"},
		"whatever comes next":  {files{leaf.Fullchain, nil, pkcs8(t, asn1.ObjectIdentifier{1, 2, 3, 4}, nil)}, lineage.Unsupported, "of the object identifier 1.2.3.4"},
		"a curve of the leaf":  {files{join(altered(t, onlyLeaf, p256, p239), leaf.Chain), nil, leaf.Key}, lineage.Unsupported, "line 1 has a key of an algorithm that is not known here: ECDSA on the curve of the object identifier 1.2.840.10045.3.1.6"},
		"a curve of an issuer": {files{join(onlyLeaf, altered(t, leaf.Chain, p256, p239)), nil, leaf.Key}, lineage.Unsupported, "ECDSA on the curve"},
		"both":                 {files{altered(t, onlyLeaf, p256, p239), nil, pkcs8(t, dsa, nil)}, lineage.Unsupported + " " + lineage.Unsupported, "ECDSA"},
		"a negative serial":    {files{altered(t, onlyLeaf, serial, negative), nil, leaf.Key}, "serial-negative", "negative serial number, -"},
		"P-256, but broken":    {files{leaf.Fullchain, nil, pkcs8(t, ec, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})}, "pem-malformed", "the private key"},
		"RSA, but broken":      {files{leaf.Fullchain, nil, pkcs8(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, nil)}, "pem-malformed", "the private key"},
		"a curve of no kind":   {files{leaf.Fullchain, nil, pkcs8(t, ec, "curve")}, "pem-malformed", "the private key"},
		"a broken extension":   {files{altered(t, onlyLeaf, []byte("\x06\x03\x55\x1d\x13"), []byte("\x06\x03\x55\x1d\x0f")), nil, leaf.Key}, "pem-malformed", "line 1 cannot be read: "},
	} {
		b, findings := c.parse()
		if got := codes(findings); b != nil || got != c.codes {
			t.Errorf("%s: got %q", name, got)
			continue
		}
		if f := findings[0]; !strings.Contains(f.Detail, c.says) || f.Remedy == "" || strings.Contains(f.Detail, "secret") {
			t.Errorf("%s: %s; %s", name, f, f.Remedy)
		}
	}
}
