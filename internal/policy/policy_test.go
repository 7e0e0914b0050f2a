package policy_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/policy"
)

// check is a leaf on disk, and what the findings about it must be.
type check struct {
	leaf  pki.Leaf
	mode  os.FileMode  // of the key
	rules policy.Rules // without Now; Trust is in the test's own root where it is zero
	want  []string     // severity and code
	spoil func(key string) error
}

func expect(leaf pki.Leaf, rules policy.Rules, want ...string) check {
	return check{leaf: leaf, mode: 0o600, rules: rules, want: want}
}

func TestCheck(t *testing.T) {
	now := time.Now()
	root := pki.NewCA(t, "Root")
	ca := root.Intermediate(t, "Intermediate")
	leaf := ca.Leaf(t, pki.Names("a.example", "*.b.example", "192.0.2.1"))
	deep := ca.Intermediate(t, "Below the intermediate").Leaf(t)
	staging := pki.NewCA(t, "(STAGING) Pretend Pear X1").Intermediate(t, "(STAGING) False Fennel E6")
	stranger := pki.NewCA(t, "Elsewhere").Intermediate(t, "Stranger")
	trust, anyone := trustIn(t, root), load(t, "any")
	since := func(from, to time.Duration, opts ...pki.Option) pki.Leaf {
		return ca.Leaf(t, append(opts, pki.Valid(now.Add(from), now.Add(to)))...)
	}
	const day = 24 * time.Hour
	installed := func(l pki.Leaf) policy.Rules { return policy.Rules{Installed: l.Cert} }
	named := func(names ...string) policy.Rules { return policy.Rules{Names: names} }
	sip := func(domains ...string) policy.Rules { return policy.Rules{Names: domains, SIPDomains: domains} }
	answer := func(revoked bool, err error) policy.Rules {
		return policy.Rules{Revoked: func(leaf, issuer *x509.Certificate) (bool, error) {
			if !issuer.Equal(ca.Cert) {
				t.Errorf("asked with the issuer %s", issuer.Subject)
			}
			return revoked, err
		}}
	}
	// Only this issuer has revoked the leaf.
	issuerIs := func(name string) func(leaf, issuer *x509.Certificate) (bool, error) {
		return func(_, issuer *x509.Certificate) (bool, error) { return issuer.Subject.CommonName == name, nil }
	}
	with := func(l pki.Leaf, fullchain, key []byte) pki.Leaf {
		l.Fullchain, l.Key = fullchain, key
		return l
	}
	alone := func(l pki.Leaf) []byte { return bytes.TrimSuffix(l.Fullchain, l.Chain) }
	forged := ca.Impostor(t).Leaf(t)

	// Chains of which something ends early. The elder root has signed the younger one.
	ends := func(in time.Duration) pki.Leaf { return ca.Ends(t, now.Add(in)).Leaf(t) }
	younger := pki.NewCA(t, "Younger root")
	crossed := root.CrossSign(t, younger)
	tailed := func(in time.Duration) pki.Leaf {
		return crossed.Ends(t, now.Add(in)).Intermediate(t, "Crossed").Leaf(t)
	}
	onlyYounger, both := trustIn(t, younger), trustIn(t, root, younger)

	leafNames := pki.Names("a.example", "*.b.example", "192.0.2.1")
	installedWith := func(l pki.Leaf, chain ...*pki.CA) policy.Rules {
		rules := installed(l)
		for _, ca := range chain {
			rules.InstalledChain = append(rules.InstalledChain, ca.Cert)
		}
		return rules
	}
	withTrust := func(trust policy.Trust, rules policy.Rules) policy.Rules {
		rules.Trust = trust
		return rules
	}

	tests := map[string]check{
		"RSA became ECDSA":                 expect(leaf, installedWith(ca.Leaf(t, pki.RSA(2048), leafNames), ca), "warned key-type-changed"),
		"ECDSA became Ed25519":             expect(ca.Leaf(t, pki.Ed25519(), leafNames), installedWith(leaf, ca), "warned key-type-changed"),
		"RSA became longer":                expect(ca.Leaf(t, pki.RSA(3072), leafNames), installedWith(ca.Leaf(t, pki.RSA(2048), leafNames), ca)),
		"RSA became self-signed ECDSA":     expect(pki.SelfSigned(t), policy.Rules{Trust: anyone, Installed: pki.SelfSigned(t, pki.RSA(2048)).Cert}),
		"another root":                     expect(stranger.Leaf(t), withTrust(trustIn(t, root, stranger.Root()), installedWith(ca.Leaf(t), ca)), "warned root-changed"),
		"anyone: another root":             expect(stranger.Leaf(t), withTrust(anyone, installedWith(ca.Leaf(t), ca)), "warned root-changed"),
		"anyone: the same root":            expect(leaf, withTrust(anyone, installedWith(ca.Leaf(t, leafNames), ca))),
		"one of two roots":                 expect(crossed.Intermediate(t, "Of both").Leaf(t, leafNames), withTrust(both, installedWith(leaf, ca))),
		"another root, never trusted":      expect(leaf, installedWith(stranger.Leaf(t, leafNames), stranger)),
		"a CN alone":                       expect(ca.Leaf(t, pki.OnlyCN("a.example")), policy.Rules{}, "warned name-missing"),
		"a CN alone, and a name":           expect(ca.Leaf(t, pki.OnlyCN("a.example")), named("a.example"), "refused name-missing"),
		"intermediate ends early":          expect(ends(30*day), policy.Rules{}, "warned chain-expires"),
		"intermediate has ended":           expect(ends(-day), policy.Rules{}, "refused untrusted"),
		"anyone: intermediate ended":       expect(ends(-day), policy.Rules{Trust: anyone}, "warned chain-expires"),
		"a root ends early":                expect(leaf, policy.Rules{Trust: trustIn(t, root.Ends(t, now.Add(day)))}, "warned chain-expires"),
		"a root has ended":                 expect(leaf, policy.Rules{Trust: trustIn(t, root.Ends(t, now.Add(-day)))}, "refused untrusted"),
		"a tail has ended, alone":          expect(tailed(-day), policy.Rules{}, "refused untrusted"),
		"a tail has ended, not needed":     expect(tailed(-day), policy.Rules{Trust: onlyYounger}, "warned chain-expires"),
		"a tail ends, one of two":          expect(tailed(day), policy.Rules{Trust: both}, "warned chain-expires"),
		"a tail that lasts":                expect(tailed(1000*day), policy.Rules{Trust: both}),
		"all well":                         expect(leaf, policy.Rules{Names: []string{"a.example", "x.b.example", "192.0.2.1"}, Installed: leaf.Cert}),
		"malformed":                        expect(with(leaf, leaf.Fullchain[:99], leaf.Key), policy.Rules{}, "refused pem-malformed"),
		"a negative serial":                expect(with(leaf, altered(leaf.Fullchain, leaf.Cert.SerialNumber.Bytes(), negated(leaf.Cert.SerialNumber.Bytes())), leaf.Key), policy.Rules{}, "refused serial-negative"),
		"issuer's signature unknown":       expect(with(leaf, slices.Concat(alone(leaf), altered(leaf.Chain, ecdsaSHA256, unknownECDSA)), leaf.Key), policy.Rules{}, "refused algorithm-unsupported"),
		"anyone: signature unknown":        expect(with(leaf, altered(leaf.Fullchain, ecdsaSHA256, unknownECDSA), leaf.Key), policy.Rules{Trust: anyone}, "refused algorithm-unsupported"),
		"accepted: signature unknown":      expect(with(leaf, altered(leaf.Fullchain, ecdsaSHA256, unknownECDSA), leaf.Key), policy.Rules{Accept: []string{"algorithm-unsupported"}}, "warned algorithm-unsupported"),
		"no certificate":                   expect(with(leaf, leaf.Key, leaf.Key), policy.Rules{}, "refused no-certificate", "warned key-readable"),
		"no key":                           expect(with(leaf, leaf.Fullchain, leaf.Chain), policy.Rules{}, "refused no-key"),
		"encrypted key":                    expect(with(leaf, leaf.Fullchain, bytes.ReplaceAll(leaf.Key, []byte("PRIVATE"), []byte("ENCRYPTED PRIVATE"))), policy.Rules{}, "refused key-encrypted"),
		"another's key":                    expect(with(leaf, leaf.Fullchain, ca.Leaf(t).Key), policy.Rules{}, "refused key-mismatch"),
		"too large":                        expect(with(leaf, bytes.Repeat([]byte("\n"), 1<<20), leaf.Key), policy.Rules{}, "refused too-large"),
		"out of order":                     expect(with(leaf, slices.Concat(leaf.Chain, alone(leaf)), leaf.Key), policy.Rules{}, "warned chain-order"),
		"a service's name, new":            expect(leaf, policy.Rules{ServiceNames: []string{"c.example"}}, "warned name-missing"),
		"a service's name, lost":           expect(leaf, policy.Rules{ServiceNames: []string{"c.example"}, Installed: ca.Leaf(t, pki.Names("c.example", "a.example")).Cert}, "refused name-missing", "warned names-lost"),
		"a service's name, never":          expect(leaf, policy.Rules{ServiceNames: []string{"c.example"}, Installed: leaf.Cert}, "warned name-missing"),
		"SIP by a wildcard":                expect(leaf, policy.Rules{SIPDomains: []string{"x.b.example", "a.example"}}, "refused sip-wildcard"),
		"SIP by a wildcard, as it was":     expect(leaf, policy.Rules{SIPDomains: []string{"x.b.example"}, Installed: leaf.Cert}, "warned sip-wildcard"),
		"SIP by name":                      expect(leaf, policy.Rules{SIPDomains: []string{"A.example", "192.0.2.1"}}),
		"SIP by URI":                       expect(ca.Leaf(t, pki.Names("*.example", "SIP:A.example;transport=tls", "sip:b.example:5061")), sip("a.example", "b.example")),
		"SIP by URI alone":                 expect(ca.Leaf(t, pki.Names("sip:a.example")), sip("a.example")),
		"SIP by URI, the web by name":      expect(ca.Leaf(t, pki.Names("www.example", "sip:a.example")), policy.Rules{Names: []string{"www.example", "a.example"}, SIPDomains: []string{"a.example"}}),
		"another's URI":                    expect(ca.Leaf(t, pki.Names("a.example", "sip:b.example")), sip("a.example"), "warned name-missing"),
		"another's URI, first":             expect(ca.Leaf(t, pki.Names("a.example", "sip:b.example")), policy.Rules{Names: []string{"a.example"}, SIPDomains: []string{"a.example"}, Installed: leaf.Cert}, "refused name-missing", "warned names-lost"),
		"another's URI, and no name":       expect(ca.Leaf(t, pki.Names("sip:b.example")), sip("a.example"), "refused name-missing"),
		"a wildcard beside a URI":          expect(ca.Leaf(t, pki.Names("*.a.example", "sip:b.example")), sip("x.a.example"), "refused sip-wildcard", "warned name-missing"),
		"URIs of users and the web":        expect(ca.Leaf(t, pki.Names("a.example", "sip:me@b.example", "sips:b.example", "https://b.example/")), sip("a.example")),
		"with a stranger":                  expect(with(leaf, slices.Concat(leaf.Fullchain, stranger.PEM()), leaf.Key), policy.Rules{}, "warned chain-order"),
		"with the root":                    expect(with(leaf, slices.Concat(leaf.Fullchain, root.PEM()), leaf.Key), policy.Rules{}, "warned root-included"),
		"RSA of 1024 bits":                 expect(ca.Leaf(t, pki.RSA(1024)), policy.Rules{}, "refused key-weak"),
		"RSA of 2048 bits":                 expect(ca.Leaf(t, pki.RSA(2048)), policy.Rules{}),
		"ECDSA P-224":                      expect(ca.Leaf(t, pki.ECDSA(elliptic.P224())), policy.Rules{}, "refused key-weak"),
		"Ed25519":                          expect(ca.Leaf(t, pki.Ed25519()), policy.Rules{}),
		"expired":                          expect(since(-90*day, -time.Minute), policy.Rules{}, "refused expired"),
		"not yet valid":                    expect(since(time.Minute, 90*day), policy.Rules{}, "refused not-yet-valid"),
		"issuer not there":                 expect(with(leaf, alone(leaf), leaf.Key), policy.Rules{}, "refused chain-incomplete"),
		"issuer is a root":                 expect(root.Leaf(t), policy.Rules{}),
		"unknown root":                     expect(stranger.Leaf(t), policy.Rules{}, "refused untrusted"),
		"signed by an impostor":            expect(with(forged, slices.Concat(alone(forged), leaf.Chain), forged.Key), policy.Rules{}, "refused untrusted"),
		"by a root's impostor":             expect(root.Impostor(t).Leaf(t), policy.Rules{}, "refused untrusted"),
		"self-signed":                      expect(pki.SelfSigned(t), policy.Rules{}, "refused untrusted"),
		"anyone: self-signed":              expect(pki.SelfSigned(t), policy.Rules{Trust: anyone}),
		"anyone: unknown root":             expect(stranger.Leaf(t), policy.Rules{Trust: anyone}),
		"anyone: no issuer":                expect(with(leaf, alone(leaf), leaf.Key), policy.Rules{Trust: anyone}),
		"anyone: broken link":              expect(with(leaf, slices.Concat(alone(leaf), ca.Impostor(t).PEM()), leaf.Key), policy.Rules{Trust: anyone}, "refused untrusted"),
		"anyone: staging":                  expect(staging.Leaf(t), policy.Rules{Trust: anyone}),
		"staging":                          expect(staging.Leaf(t), policy.Rules{}, "refused staging-issuer"),
		"staging, no issuer":               expect(staging.Root().Leaf(t), policy.Rules{}, "refused staging-issuer"),
		"staging, trusted":                 expect(staging.Leaf(t), policy.Rules{Trust: trustIn(t, staging.Root())}),
		"Pebble":                           expect(pki.NewCA(t, "Pebble Root CA 1a2b3c").Leaf(t), policy.Rules{}, "refused staging-issuer"),
		"name":                             expect(leaf, named("a.example", "c.example"), "refused name-missing"),
		"name in capitals":                 expect(leaf, named("A.Example", "*.B.example")),
		"name two below":                   expect(leaf, named("x.y.b.example"), "refused name-missing"),
		"name above":                       expect(leaf, named("b.example"), "refused name-missing"),
		"wildcard":                         expect(leaf, named("*.b.example")),
		"other wildcard":                   expect(leaf, named("*.a.example"), "refused name-missing"),
		"address":                          expect(leaf, named("192.0.2.2"), "refused name-missing"),
		"not for servers":                  expect(ca.Leaf(t, pki.NoServerAuth()), policy.Rules{}, "refused eku-server-missing"),
		"may not sign":                     expect(ca.Leaf(t, pki.KeyUsage(x509.KeyUsageKeyEncipherment)), policy.Rules{}, "refused key-usage-missing"),
		"Ed25519 may not sign":             expect(ca.Leaf(t, pki.Ed25519(), pki.KeyUsage(x509.KeyUsageKeyAgreement)), policy.Rules{}, "refused key-usage-missing"),
		"RSA may only encipher":            expect(ca.Leaf(t, pki.RSA(2048), pki.KeyUsage(x509.KeyUsageKeyEncipherment)), policy.Rules{}, "warned key-usage-missing"),
		"RSA may only agree":               expect(ca.Leaf(t, pki.RSA(2048), pki.KeyUsage(x509.KeyUsageKeyAgreement)), policy.Rules{}, "warned key-usage-missing"),
		"RSA may only sign certificates":   expect(ca.Leaf(t, pki.RSA(2048), pki.KeyUsage(x509.KeyUsageCertSign)), policy.Rules{}, "refused key-usage-missing"),
		"may sign what it will":            expect(ca.Leaf(t, pki.KeyUsage(0)), policy.Rules{}),
		"may not sign, as it was":          expect(ca.Leaf(t, pki.KeyUsage(x509.KeyUsageKeyEncipherment)), installed(ca.Leaf(t, pki.KeyUsage(x509.KeyUsageKeyAgreement))), "warned key-usage-missing"),
		"may not sign, by another key":     expect(ca.Leaf(t, pki.KeyUsage(x509.KeyUsageKeyEncipherment)), installed(ca.Leaf(t, pki.RSA(2048), pki.KeyUsage(x509.KeyUsageKeyEncipherment))), "refused key-usage-missing", "warned key-type-changed"),
		"of a CA":                          expect(ca.Leaf(t, pki.IsCA()), policy.Rules{}, "warned leaf-is-ca"),
		"of itself as a CA":                expect(pki.SelfSigned(t, pki.IsCA()), policy.Rules{Trust: anyone}),
		"for anything":                     expect(ca.Leaf(t, pki.NoUsages()), policy.Rules{}),
		"clients lost":                     expect(ca.Leaf(t), installed(ca.Leaf(t, pki.ClientAuth())), "warned eku-client-lost"),
		"clients of a self-signed one":     expect(ca.Leaf(t), installed(pki.SelfSigned(t, pki.NoUsages()))),
		"clients lost to EKU":              expect(ca.Leaf(t), installed(ca.Leaf(t, pki.NoUsages())), "warned eku-client-lost"),
		"clients kept":                     expect(ca.Leaf(t, pki.ClientAuth()), installed(ca.Leaf(t, pki.ClientAuth()))),
		"downgrade":                        expect(since(-9*day, 80*day), installed(since(-8*day, 81*day)), "refused downgrade"),
		"older than what is not valid yet": expect(since(-9*day, 80*day), installed(since(day, 91*day))),
		"downgrade, forced":                expect(since(-9*day, 80*day), policy.Rules{Installed: since(-8*day, 81*day).Cert, Force: true}),
		"issued later, shorter":            expect(since(-8*day, 80*day), installed(since(-9*day, 81*day))),
		"issued before, longer":            expect(since(-9*day, 81*day), installed(since(-8*day, 80*day))),
		"replaces self-signed":             expect(since(-9*day, 80*day), installed(pki.SelfSigned(t, pki.Valid(now, now.AddDate(10, 0, 0))))),
		"revoked":                          expect(leaf, answer(true, nil), "refused revoked"),
		"not revoked":                      expect(leaf, answer(false, nil)),
		"cannot be told":                   expect(leaf, answer(true, errors.New("no answer"))),
		"anyone: revoked":                  expect(leaf, policy.Rules{Trust: anyone, Revoked: answer(true, nil).Revoked}, "refused revoked"),
		"anyone: revoked, a long way":      expect(deep, policy.Rules{Trust: anyone, Revoked: issuerIs("Below the intermediate")}, "refused revoked"),
		"revoked, a long way":              expect(deep, policy.Rules{Revoked: issuerIs("Below the intermediate")}, "refused revoked"),
		"anyone: nobody to ask":            expect(with(leaf, alone(leaf), leaf.Key), policy.Rules{Trust: anyone, Revoked: answer(true, nil).Revoked}),
		"untrusted, not asked":             expect(stranger.Leaf(t), answer(true, nil), "refused untrusted"),
		"names lost":                       expect(ca.Leaf(t, pki.Names("b.example")), installed(leaf), "warned names-lost"),
		"URI kept":                         expect(ca.Leaf(t, pki.Names("a.example", "sip:a.example")), installed(ca.Leaf(t, pki.Names("a.example", "sip:a.example")))),
		"URI lost":                         expect(ca.Leaf(t), installed(ca.Leaf(t, pki.Names("a.example", "sip:a.example"))), "warned names-lost"),
		"names generalised":                expect(ca.Leaf(t, pki.Names("*.example")), installed(ca.Leaf(t))),
		"less than a tenth":                expect(since(-90*day, 9*day), policy.Rules{}, "warned lifetime-short"),
		"more than a tenth":                expect(since(-90*day, 11*day), policy.Rules{}),
		"key for all to read":              {leaf: leaf, mode: 0o644, want: []string{"warned key-readable"}},
		"key elsewhere": {leaf: leaf, mode: 0o600, want: []string{"refused outside"}, spoil: func(key string) error {
			elsewhere := filepath.Join(t.TempDir(), "privkey.pem")
			return errors.Join(os.Rename(key, elsewhere), os.Symlink(elsewhere, key))
		}},
		"key where others may put it": {leaf: leaf, mode: 0o600, want: []string{"refused owner-mismatch", "refused owner-mismatch"}, spoil: func(key string) error {
			return os.Chmod(filepath.Dir(key), 0o777)
		}},
		"must staple, and never can":           expect(ca.Leaf(t, pki.MustStaple(), leafNames), policy.Rules{NeverStaples: "kamailio", Installed: leaf.Cert}, "refused must-staple"),
		"must staple, at first":                expect(ca.Leaf(t, pki.MustStaple(), leafNames), policy.Rules{NeverStaples: "kamailio"}, "refused must-staple"),
		"must staple, as it was":               expect(ca.Leaf(t, pki.MustStaple(), leafNames), policy.Rules{NeverStaples: "kamailio", Installed: ca.Leaf(t, pki.MustStaple(), leafNames).Cert}, "warned must-staple"),
		"must staple, and never can, accepted": expect(ca.Leaf(t, pki.MustStaple(), leafNames), policy.Rules{NeverStaples: "kamailio", Accept: []string{"must-staple"}}, "warned must-staple"),
		"must staple":                          expect(ca.Leaf(t, pki.MustStaple()), policy.Rules{}, "warned must-staple"),
		"accepted":                             expect(ca.Leaf(t, pki.RSA(1024)), policy.Rules{Accept: []string{"key-weak", "expired"}}, "warned key-weak"),
		"others accepted":                      expect(ca.Leaf(t, pki.RSA(1024)), policy.Rules{Accept: []string{"untrusted"}}, "refused key-weak"),
		"in order": expect(since(time.Minute, day, pki.RSA(1024), pki.NoServerAuth(), pki.MustStaple()),
			policy.Rules{Names: []string{"c.example"}, Installed: leaf.Cert, Accept: []string{"not-yet-valid"}},
			"refused key-weak", "refused name-missing", "refused eku-server-missing", "warned not-yet-valid", "warned must-staple", "warned key-type-changed", "warned names-lost"),
	}
	var seen []string
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.rules.Now = now
			if test.rules.Trust == (policy.Trust{}) {
				test.rules.Trust = trust
			}
			findings := test.findings(t)
			var got []string
			for _, f := range findings {
				got = append(got, string(f.Severity)+" "+f.Code)
				seen = append(seen, f.Code)
				if f.Remedy == "" || !strings.HasPrefix(f.Detail, "/") || strings.HasSuffix(f.Detail, ".") || strings.Contains(f.Detail, "%!") {
					t.Errorf("finding without file or remedy: %+v", f)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s%+v", diff, findings)
			}
			if want := strings.Contains(strings.Join(test.want, " "), "refused"); policy.Refused(findings) != want {
				t.Errorf("Refused is %v", !want)
			}
		})
	}
	for _, code := range policy.Codes() {
		if !slices.Contains(seen, code) {
			t.Errorf("the code %s has no case", code)
		}
	}
}

// The object identifiers of ecdsa-with-SHA256 (RFC 5758, section 3.2), and of
// nothing.
var (
	ecdsaSHA256  = []byte("\x2a\x86\x48\xce\x3d\x04\x03\x02")
	unknownECDSA = []byte("\x2a\x86\x48\xce\x3d\x04\x03\x7f")
)

// altered returns the certificates of a PEM text with some bytes of their DER
// encoding replaced by as many others.
func altered(text, old, new []byte) (all []byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		block.Bytes = bytes.ReplaceAll(block.Bytes, old, new)
		all = append(all, pem.EncodeToMemory(block)...)
	}
	return all
}

// negated returns a serial number as one that is negative in DER.
func negated(serial []byte) []byte { return append([]byte{serial[0] | 0x80}, serial[1:]...) }

// findings returns those of reading the bundle and those of checking it against
// the rules.
func (c check) findings(t *testing.T) []lineage.Finding {
	t.Helper()
	dir := t.TempDir()
	pki.WriteDirectory(t, dir, "a.example", c.leaf)
	l := lineage.Lineage{Client: "directory", Root: lineage.Root{Dir: dir}, Fullchain: filepath.Join(dir, "a.example/fullchain.pem"), Key: filepath.Join(dir, "a.example/privkey.pem")}
	if err := os.Chmod(l.Key, c.mode); err != nil {
		t.Fatal(err)
	}
	if c.spoil != nil {
		if err := c.spoil(l.Key); err != nil {
			t.Fatal(err)
		}
	}
	b, findings := lineage.Read(l)
	if b == nil {
		return findings
	}
	return append(policy.Check(b, c.rules), findings...)
}

// TestCheckDetails wants the details to say what an operator needs to know to
// decide whom to believe.
func TestCheckDetails(t *testing.T) {
	ca := pki.NewCA(t, "Root")
	from := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	leaf := ca.Leaf(t, pki.Names("a.example", "sip:s.example"), pki.Valid(from, from.AddDate(0, 0, 90)))
	installed := ca.Leaf(t, pki.Names("b.example", "*.c.example"), pki.ClientAuth(), pki.Valid(from, from.AddDate(0, 0, 90)))
	tests := []struct {
		code string
		now  time.Time
		says []string
	}{
		{"not-yet-valid", from.Add(-90 * time.Second), []string{"2026-03-01T12:00:00Z", "in 1m30s"}},
		{"expired", from.AddDate(0, 0, 95), []string{"2026-05-30T12:00:00Z", "5 days ago"}},
		{"names-lost", from, []string{`"b.example", "*.c.example"`}},
		{"name-missing", from, []string{`does not cover "a.example": it has sip URIs`, "RFC 5922 section 7.1"}},
		{"eku-client-lost", from, []string{"federation (s2s)", "Prosody", "dialback", "SIP trunks"}},
	}
	for _, test := range tests {
		rules := policy.Rules{Trust: trustIn(t, ca), Now: test.now, Installed: installed.Cert, Names: []string{"a.example"}, SIPDomains: []string{"a.example"}}
		findings := check{leaf: leaf, mode: 0o600, rules: rules}.findings(t)
		i := slices.IndexFunc(findings, func(f lineage.Finding) bool { return f.Code == test.code })
		if i < 0 {
			t.Errorf("%s is not found: %v", test.code, findings)
			continue
		}
		for _, words := range append(test.says, lineage.Label(leaf.Cert)) {
			if !strings.Contains(findings[i].Detail, words) {
				t.Errorf("%s: %q does not say %s", test.code, findings[i].Detail, words)
			}
		}
	}
}

func TestAcceptable(t *testing.T) {
	for code, want := range map[string]bool{"key-weak": true, "sip-wildcard": true, "untrusted": true, "no-key": false, "too-large": false, "names-lost": false, "nonsense": false} {
		if got := policy.Acceptable(code); got != want {
			t.Errorf("Acceptable(%s) is %v", code, got)
		}
	}
}

func TestLoadTrust(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("no roots\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{empty, filepath.Join(dir, "gone.pem"), dir, "nonsense"} {
		_, err := policy.LoadTrust(setting)
		if e, ok := errors.AsType[*policy.TrustError](err); !ok || e.Remedy == "" || !strings.Contains(e.Error(), setting) {
			t.Errorf("LoadTrust(%q) gives %v", setting, err)
		}
	}
}

func trustIn(t *testing.T, roots ...*pki.CA) policy.Trust {
	t.Helper()
	path := filepath.Join(t.TempDir(), "roots.pem")
	var text []byte
	for _, root := range roots {
		text = append(text, root.PEM()...)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return load(t, path)
}

func load(t *testing.T, setting string) policy.Trust {
	t.Helper()
	trust, err := policy.LoadTrust(setting)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}
