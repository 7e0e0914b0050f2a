package lineage

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
)

// Here it is found out what something is of that crypto/x509 cannot make anything of.

// Unsupported is the code of the finding that an algorithm is not known here.
const Unsupported = "algorithm-unsupported"

// useOther is the remedy for algorithms that are not known.
const useOther = "have the client make an ECDSA P-256 key, or an RSA key of 2048 bits or more: certlatch could neither check nor prove another (it knows RSA, Ed25519 and the curves P-256, P-384 and P-521)"

// algorithm is an algorithm with its parameters (RFC 5280, section 4.1.1.2).
type algorithm = pkix.AlgorithmIdentifier

// tbsCertificate is the beginning of a certificate (RFC 5280, section 4.1).
// encoding/asn1 passes over what follows.
type tbsCertificate struct {
	TBS struct {
		Version   int `asn1:"optional,explicit,default:0,tag:0"`
		Serial    *big.Int
		Signature algorithm
		Issuer    asn1.RawValue
		Validity  asn1.RawValue
		Subject   asn1.RawValue
		Key       struct {
			Algorithm algorithm
			Bits      asn1.BitString
		}
	}
}

// unparsed returns the finding about a certificate that crypto/x509 does not parse.
func (b block) unparsed(path string, err error) error {
	var cert tbsCertificate
	if _, bad := asn1.Unmarshal(b.Bytes, &cert); bad != nil {
		return b.malformed(path, "certificate")
	}
	if what := unknownKey(cert.TBS.Key.Algorithm); what != "" {
		return refuse(Unsupported, useOther, "%s: the certificate at line %d has a key of an algorithm that is not known here: %s", path, b.line, what)
	}
	if serial := cert.TBS.Serial; serial.Sign() < 0 {
		return refuse("serial-negative", "have the CA issue it anew, with a positive serial number",
			"%s: the certificate at line %d has a negative serial number, %.50s, which RFC 5280 section 4.1.2.2 forbids and TLS libraries refuse", path, b.line, serial.Text(16))
	}
	return refuse("pem-malformed", "have the client write the file anew; if it stays so, have the CA issue the certificate anew",
		"%s: the certificate at line %d cannot be read: %.200s", path, b.line, withoutPackage(err))
}

// unparsedKey returns the finding about a private key that crypto/x509 does not
// parse. What it says of the key is its algorithm alone.
func (b block) unparsedKey(path string) error {
	if what := unknownKey(b.keyAlgorithm()); what != "" {
		return refuse(Unsupported, useOther, "%s: the private key at line %d is of an algorithm that is not known here: %s", path, b.line, what)
	}
	return b.malformed(path, "private key")
}

// keyAlgorithm returns the algorithm of a private key; the zero one where that
// cannot be told.
func (b block) keyAlgorithm() algorithm {
	switch b.Type {
	case "PRIVATE KEY": // RFC 5958, section 2
		var key struct {
			Version   int
			Algorithm algorithm
		}
		if _, err := asn1.Unmarshal(b.Bytes, &key); err == nil {
			return key.Algorithm
		}
	case "EC PRIVATE KEY": // RFC 5915, section 3
		var key struct {
			Version int
			Private []byte
			Curve   asn1.RawValue `asn1:"optional,explicit,tag:0"`
		}
		if _, err := asn1.Unmarshal(b.Bytes, &key); err == nil && len(key.Curve.Bytes) > 0 {
			return algorithm{Algorithm: oidEC, Parameters: asn1.RawValue{FullBytes: key.Curve.Bytes}} // what the tag is around
		}
	}
	return algorithm{}
}

var (
	oidEC    = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidCurve = asn1.ObjectIdentifier{1, 2, 840, 10045, 1, 1} // of a prime field
)

// unknownKey returns what the algorithm of a key is, where it is not known here;
// empty: it is, or there is none.
func unknownKey(a algorithm) string {
	switch {
	case a.Algorithm == nil || slices.Contains([]string{"1.2.840.113549.1.1.1", "1.3.101.112"}, a.Algorithm.String()): // RSA, Ed25519
		return ""
	case !a.Algorithm.Equal(oidEC):
		return algorithmName(a.Algorithm)
	}
	var curve asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(a.Parameters.FullBytes, &curve); err != nil {
		return explicitCurve(a.Parameters.FullBytes)
	}
	if slices.Contains([]string{"1.3.132.0.33", "1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"}, curve.String()) { // P-224 to P-521 (RFC 5480, section 2.1.1.1)
		return ""
	}
	return "ECDSA on the curve " + algorithmName(curve)
}

// explicitCurve describes a curve that is written out in place of its name (RFC
// 3279, section 2.3.5); empty: it is no curve at all.
func explicitCurve(parameters []byte) string {
	var curve struct {
		Version int
		Field   struct {
			Kind  asn1.ObjectIdentifier
			Prime asn1.RawValue
		}
	}
	if _, err := asn1.Unmarshal(parameters, &curve); err != nil {
		return ""
	}
	prime := new(big.Int)
	if _, err := asn1.Unmarshal(curve.Field.Prime.FullBytes, &prime); err != nil || !curve.Field.Kind.Equal(oidCurve) {
		return "ECDSA on a curve that is written out, not named"
	}
	return fmt.Sprintf("ECDSA on a curve of %d bits that is written out (explicit parameters), not named", prime.BitLen())
}

// UnknownAlgorithm returns what keeps a certificate from being checked, or from
// checking others: the algorithm of its signature or of its key. Empty: nothing does.
func UnknownAlgorithm(cert *x509.Certificate) string {
	if cert.SignatureAlgorithm == x509.UnknownSignatureAlgorithm {
		var outer struct {
			TBS       asn1.RawValue
			Signature algorithm
		}
		if _, err := asn1.Unmarshal(cert.Raw, &outer); err == nil {
			return "its signature is " + algorithmName(outer.Signature.Algorithm)
		}
		return "its signature is of an unknown kind"
	}
	if cert.PublicKey == nil {
		var key struct{ Algorithm algorithm }
		if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &key); err == nil {
			return "its key is " + algorithmName(key.Algorithm.Algorithm)
		}
		return "its key is of an unknown kind"
	}
	return ""
}

// algorithmName returns the name of an algorithm or curve, or else its number.
func algorithmName(oid asn1.ObjectIdentifier) string {
	number := oid.String()
	for _, known := range algorithmNames() {
		if known.oid == number {
			return known.name
		}
	}
	return "of the object identifier " + number
}

type nameOf struct{ oid, name string }

// algorithmNames returns what algorithms are called.
func algorithmNames() []nameOf {
	all := []nameOf{
		{"1.2.840.113549.1.1.10", "RSA-PSS"},                                         // RFC 4055, section 3.1
		{"1.3.101.110", "X25519"}, {"1.3.101.111", "X448"}, {"1.3.101.113", "Ed448"}, // RFC 8410, section 3
		{"1.2.840.10040.4.1", "DSA"}, {"1.2.840.10046.2.1", "Diffie-Hellman"}, // RFC 3279, section 2.3
		{"1.2.156.10197.1.301", "SM2"}, {"1.2.156.10197.1.501", "SM2 with SM3"}, // RFC 8998, section 3.2.1
		{"1.2.643.7.1.1.1.1", "GOST R 34.10-2012 (256 bits)"}, {"1.2.643.7.1.1.1.2", "GOST R 34.10-2012 (512 bits)"}, // RFC 9215, section 2
		{"1.3.132.0.10", "secp256k1"}, {"1.3.132.0.31", "secp192k1"}, {"1.3.132.0.32", "secp224k1"}, {"1.2.840.10045.3.1.1", "P-192"}, // SEC 2, section A.2
		{"2.16.840.1.101.3.4.3.17", "ML-DSA-44"}, {"2.16.840.1.101.3.4.3.18", "ML-DSA-65"}, {"2.16.840.1.101.3.4.3.19", "ML-DSA-87"}, // RFC 9881, section 2
	}
	// RFC 9909, section 3: 12 sets of parameters in a row.
	for i, set := range []string{"SHA2-128s", "SHA2-128f", "SHA2-192s", "SHA2-192f", "SHA2-256s", "SHA2-256f", "SHAKE-128s", "SHAKE-128f", "SHAKE-192s", "SHAKE-192f", "SHAKE-256s", "SHAKE-256f"} {
		all = append(all, nameOf{fmt.Sprintf("2.16.840.1.101.3.4.3.%d", 20+i), "SLH-DSA-" + set})
	}
	for i, bits := range []int{160, 192, 224, 256, 320, 384, 512} { // RFC 5639, section 3
		all = append(all,
			nameOf{fmt.Sprintf("1.3.36.3.3.2.8.1.1.%d", 2*i+1), fmt.Sprintf("brainpoolP%dr1", bits)},
			nameOf{fmt.Sprintf("1.3.36.3.3.2.8.1.1.%d", 2*i+2), fmt.Sprintf("brainpoolP%dt1", bits)})
	}
	return all
}
