package lineage_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
)

// files are the arguments of Parse.
type files struct{ fullchain, chain, key []byte }

func (f files) parse() (*lineage.Bundle, []lineage.Finding) {
	l := lineage.Lineage{Client: "directory", Name: "a.example", Fullchain: "/certs/fullchain.pem", Chain: "/certs/chain.pem", Key: "/certs/privkey.pem"}
	return lineage.Parse(l, f.fullchain, f.chain, f.key)
}

func codes(findings []lineage.Finding) string {
	var names []string
	for _, f := range findings {
		names = append(names, f.Code)
	}
	return strings.Join(names, " ")
}

func join(parts ...any) []byte {
	var text []byte
	for _, part := range parts {
		switch part := part.(type) {
		case string:
			text = append(text, part...)
		case []byte:
			text = append(text, part...)
		}
	}
	return text
}

func TestParse(t *testing.T) {
	root := pki.NewCA(t, "Root")
	upper := root.Intermediate(t, "Upper")
	lower := upper.Intermediate(t, "Lower")
	leaf := lower.Leaf(t)
	onlyLeaf := bytes.TrimSuffix(leaf.Fullchain, leaf.Chain)
	stranger := pki.NewCA(t, "Elsewhere").Intermediate(t, "Stranger")
	good := []string{"a.example", "Lower", "Upper"}

	var crowd [][]byte
	for range 8 {
		crowd = append(crowd, root.Intermediate(t, "Crowd").PEM())
	}

	tests := map[string]struct {
		files
		chain []string // common names of the bundle; nil: there is none
		codes string
	}{
		"as certbot writes it":      {files{leaf.Fullchain, nil, leaf.Key}, good, ""},
		"leaf and chain apart":      {files{onlyLeaf, leaf.Chain, leaf.Key}, good, ""},
		"full chain and its chain":  {files{leaf.Fullchain, leaf.Chain, leaf.Key}, good, ""},
		"leaf alone":                {files{onlyLeaf, nil, leaf.Key}, []string{"a.example"}, ""},
		"CRLF":                      {files{crlf(leaf.Fullchain), nil, crlf(leaf.Key)}, good, ""},
		"byte order mark":           {files{join("\uFEFF", leaf.Fullchain), nil, join("\uFEFF", leaf.Key)}, good, ""},
		"text between":              {files{join("Bag Attributes\n", onlyLeaf, "\nsubject=CN = Lower\n", leaf.Chain, "end\n"), nil, leaf.Key}, good, ""},
		"no newline at the end":     {files{bytes.TrimSpace(leaf.Fullchain), nil, bytes.TrimSpace(leaf.Key)}, good, ""},
		"duplicates":                {files{join(leaf.Fullchain, leaf.Fullchain), nil, join(leaf.Key, leaf.Key)}, good, ""},
		"key in the same file":      {files{join(leaf.Key, leaf.Fullchain), nil, join(leaf.Key, leaf.Fullchain)}, good, ""},
		"EC parameters":             {files{leaf.Fullchain, nil, join("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n", sec1(t, leaf.Key))}, good, ""},
		"leaf last":                 {files{join(leaf.Chain, onlyLeaf), nil, leaf.Key}, good, "chain-order"},
		"intermediates turned":      {files{join(onlyLeaf, upper.PEM(), lower.PEM()), nil, leaf.Key}, good, "chain-order"},
		"stranger in between":       {files{join(onlyLeaf, stranger.PEM(), leaf.Chain), nil, leaf.Key}, good, "chain-order"},
		"another leaf first":        {files{join(pki.SelfSigned(t).Fullchain, leaf.Fullchain), nil, leaf.Key}, good, "root-included"},
		"stranger and out of order": {files{join(leaf.Chain, stranger.PEM(), onlyLeaf), nil, leaf.Key}, good, "chain-order chain-order"},
		"namesake of an issuer":     {files{join(onlyLeaf, upper.Intermediate(t, "Lower").PEM(), leaf.Chain), nil, leaf.Key}, good, "chain-order"},
		"root at the top":           {files{join(leaf.Fullchain, root.PEM()), nil, leaf.Key}, good, "root-included"},
		"root first":                {files{join(root.PEM(), leaf.Fullchain), nil, leaf.Key}, good, "root-included"},

		"empty":               {files{nil, nil, nil}, nil, "no-certificate no-key"},
		"DER":                 {files{leaf.Cert.Raw, nil, leaf.Key}, nil, "no-certificate"},
		"key for certificate": {files{leaf.Key, nil, leaf.Key}, nil, "no-certificate"},
		"empty chain":         {files{onlyLeaf, []byte{}, leaf.Key}, nil, "no-certificate"},
		"certificate for key": {files{leaf.Fullchain, nil, leaf.Fullchain}, nil, "no-key"},
		"X25519 key":          {files{leaf.Fullchain, nil, []byte(x25519Key)}, nil, "no-key"},
		"DSA key":             {files{leaf.Fullchain, nil, relabel(leaf.Key, "DSA PRIVATE KEY")}, nil, "no-key"},
		"encrypted PKCS#8":    {files{leaf.Fullchain, nil, relabel(leaf.Key, "ENCRYPTED PRIVATE KEY")}, nil, "key-encrypted"},
		"encrypted PKCS#1":    {files{leaf.Fullchain, nil, []byte(encryptedRSA)}, nil, "key-encrypted"},
		"key of another":      {files{leaf.Fullchain, nil, pki.SelfSigned(t).Key}, nil, "key-mismatch"},

		"cut short":                  {files{leaf.Fullchain[:len(leaf.Fullchain)-40], nil, leaf.Key}, nil, "pem-malformed"},
		"head lost":                  {files{leaf.Fullchain[40:], nil, leaf.Key}, nil, "pem-malformed"},
		"begins in a block":          {files{join(onlyLeaf[:200], "\n", leaf.Fullchain), nil, leaf.Key}, nil, "pem-malformed"},
		"newline lost between":       {files{join(bytes.TrimSpace(onlyLeaf), leaf.Chain), nil, leaf.Key}, nil, "pem-malformed"},
		"garbage in the base64":      {files{bytes.Replace(leaf.Fullchain, []byte("\n-----END"), []byte("!?\n-----END"), 1), nil, leaf.Key}, nil, "pem-malformed"},
		"garbage after certificate":  {files{trail(onlyLeaf), nil, leaf.Key}, nil, "pem-malformed"},
		"garbage after PKCS#8":       {files{leaf.Fullchain, nil, trail(leaf.Key)}, nil, "pem-malformed"},
		"garbage after SEC 1":        {files{leaf.Fullchain, nil, trail(sec1(t, leaf.Key))}, nil, "pem-malformed"},
		"another encoding's label":   {files{leaf.Fullchain, nil, relabel(leaf.Key, "EC PRIVATE KEY")}, nil, "pem-malformed"},
		"not a certificate":          {files{relabel(leaf.Key, "CERTIFICATE"), nil, leaf.Key}, nil, "pem-malformed"},
		"both malformed":             {files{leaf.Fullchain[:100], nil, leaf.Key[:100]}, nil, "pem-malformed pem-malformed"},
		"11 certificates":            {files{join(leaf.Fullchain, slices.Concat(crowd...)), nil, leaf.Key}, nil, "too-large"},
		"11 certificates in 2 files": {files{leaf.Fullchain, slices.Concat(crowd...), leaf.Key}, nil, "too-large"},
		"10 certificates":            {files{join(leaf.Fullchain, slices.Concat(crowd[:7]...)), nil, leaf.Key}, good, "chain-order"},
		"a file too large":           {files{join(leaf.Fullchain, bytes.Repeat([]byte("#\n"), 128<<10)), nil, leaf.Key}, nil, "too-large"},
		"a key too large":            {files{leaf.Fullchain, nil, join(leaf.Key, bytes.Repeat([]byte("#\n"), 128<<10))}, nil, "too-large"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, findings := test.parse()
			if got := codes(findings); got != test.codes {
				t.Errorf("codes are %q, want %q", got, test.codes)
			}
			var chain []string
			if b != nil {
				for _, cert := range b.Certificates() {
					chain = append(chain, cert.Subject.CommonName)
				}
			}
			if diff := cmp.Diff(test.chain, chain); diff != "" {
				t.Errorf("chain (-want +got):\n%s", diff)
			}
			if len(chain) == len(good) && !bytes.Equal(b.FullchainPEM(), leaf.Fullchain) {
				t.Error("the certificates are not those of the full chain")
			}
			for _, f := range findings {
				if want := lineage.Refused; b == nil && f.Severity != want {
					t.Errorf("no bundle, and yet %v has severity %s", f, f.Severity)
				}
				if b != nil && f.Severity != lineage.Warned {
					t.Errorf("a bundle, and yet %v has severity %s", f, f.Severity)
				}
				if f.Remedy == "" || !strings.HasPrefix(f.Detail, "/certs/") {
					t.Errorf("finding without file or remedy: %+v", f)
				}
				test.checkSilence(t, f)
			}
		})
	}
}

// checkSilence fails the test where a finding quotes a line of the files.
func (f files) checkSilence(t *testing.T, finding lineage.Finding) {
	t.Helper()
	said := finding.Detail + finding.Remedy
	for line := range strings.Lines(string(join(f.fullchain, "\n", f.chain, "\n", f.key))) {
		if line = strings.TrimSpace(line); len(line) > 8 && strings.Contains(said, line) {
			t.Errorf("%v contains a line of a file", finding)
		}
	}
}

// TestParseAnyOrder wants the same bundle in whatever order the certificates
// are, and whatever else is among them.
func TestParseAnyOrder(t *testing.T) {
	root := pki.NewCA(t, "Root")
	upper := root.Intermediate(t, "Upper")
	leaf := upper.Intermediate(t, "Lower").Leaf(t)
	lower := bytes.TrimSuffix(leaf.Chain, upper.PEM())
	stranger := pki.NewCA(t, "Elsewhere").Intermediate(t, "Stranger")
	var permute func(done []byte, left [][]byte)
	permute = func(done []byte, left [][]byte) {
		for i, part := range left {
			permute(join(done, part), slices.Delete(slices.Clone(left), i, i+1))
		}
		if len(left) > 0 {
			return
		}
		b, findings := files{done, nil, leaf.Key}.parse()
		if b == nil || !bytes.Equal(b.FullchainPEM(), leaf.Fullchain) {
			t.Errorf("another bundle: %v, %v", b, findings)
		}
	}
	permute(nil, [][]byte{bytes.TrimSuffix(leaf.Fullchain, leaf.Chain), lower, upper.PEM(), root.PEM(), stranger.PEM()})
}

func TestParseKeys(t *testing.T) {
	ca := pki.NewCA(t, "Root").Intermediate(t, "Intermediate")
	rsaLeaf := ca.Leaf(t, pki.RSA(2048))
	p256 := ca.Leaf(t)
	tests := map[string]struct {
		leaf pki.Leaf
		key  []byte
	}{
		"RSA in PKCS#8":        {rsaLeaf, rsaLeaf.Key},
		"RSA in PKCS#1":        {rsaLeaf, pkcs1(t, rsaLeaf.Key)},
		"ECDSA P-256 PKCS#8":   {p256, p256.Key},
		"ECDSA P-256 in SEC 1": {p256, sec1(t, p256.Key)},
	}
	for name, opt := range map[string]pki.Option{
		"ECDSA P-384": pki.ECDSA(elliptic.P384()),
		"ECDSA P-521": pki.ECDSA(elliptic.P521()),
		"Ed25519":     pki.Ed25519(),
	} {
		leaf := ca.Leaf(t, opt)
		tests[name] = struct {
			leaf pki.Leaf
			key  []byte
		}{leaf, leaf.Key}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, findings := files{crlf(test.leaf.Fullchain), nil, crlf(test.key)}.parse()
			if b == nil || findings != nil {
				t.Fatalf("refused: %v", findings)
			}
			if !bytes.Equal(b.KeyPEM(), test.key) {
				t.Error("the key is not as it was written")
			}
			if !bytes.Equal(b.ChainPEM(), test.leaf.Chain) || !bytes.Equal(b.FullchainPEM(), test.leaf.Fullchain) {
				t.Error("the certificates are not as they were written")
			}
			if _, err := tls.X509KeyPair(b.FullchainPEM(), b.KeyPEM()); err != nil {
				t.Errorf("crypto/tls does not take the pair: %v", err)
			}
		})
	}
}

func TestParseSelfSigned(t *testing.T) {
	leaf := pki.SelfSigned(t)
	b, findings := files{leaf.Fullchain, nil, leaf.Key}.parse()
	if b == nil || findings != nil || !b.Leaf.Equal(leaf.Cert) || len(b.Intermediates) != 0 {
		t.Errorf("a self-signed leaf gives %v, %v", b, findings)
	}
	if chain := b.ChainPEM(); len(chain) != 0 {
		t.Errorf("its chain is %d bytes", len(chain))
	}
	namesake := pki.NewCA(t, "Root").Intermediate(t, "a.example")
	b, findings = files{join(leaf.Fullchain, namesake.PEM()), nil, leaf.Key}.parse()
	if b == nil || codes(findings) != "chain-order" || len(b.Intermediates) != 0 {
		t.Errorf("with a CA of its name it gives %v, %v", b, findings)
	}
}

// TestParseCrossSigned parses chains with a cross-signed root beside or instead
// of the root of its name, as with ISRG Root X1.
func TestParseCrossSigned(t *testing.T) {
	young := pki.NewCA(t, "Young Root")
	crossed := pki.NewCA(t, "Old Root").CrossSign(t, young)
	leaf := young.Intermediate(t, "Intermediate").Leaf(t)
	b, findings := files{join(leaf.Fullchain, young.PEM(), crossed.PEM()), nil, leaf.Key}.parse()
	if b == nil || codes(findings) != "root-included" {
		t.Fatalf("findings: %v", findings)
	}
	if n := len(b.Intermediates); n != 2 || !b.Intermediates[1].Equal(crossed.Cert) {
		t.Errorf("of %d intermediates the last is not the cross-signed one", n)
	}
}

func TestRead(t *testing.T) {
	ca := pki.NewCA(t, "Root").Intermediate(t, "Intermediate")
	root := rootOf(t, "certbot", filepath.Join(t.TempDir(), "live"))
	l, err := root.Lineage("a.example")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // first issued, then renewed
		leaf := ca.Leaf(t)
		pki.WriteCertbot(t, root.Dir, l.Name, leaf)
		b, findings := lineage.Read(l)
		if b == nil || findings != nil || !b.Leaf.Equal(leaf.Cert) || b.Lineage != l {
			t.Fatalf("read %v, %v", b, findings)
		}
	}
}

func TestReadWhatIsWrong(t *testing.T) {
	ca := pki.NewCA(t, "Root").Intermediate(t, "Intermediate")
	tests := map[string]struct {
		spoil func(t *testing.T, l *lineage.Lineage)
		codes string
		says  string
	}{
		"no full chain": {func(t *testing.T, l *lineage.Lineage) { remove(t, l.Fullchain) }, "no-certificate", "no such file"},
		"no key":        {func(t *testing.T, l *lineage.Lineage) { remove(t, l.Key) }, "no-key", "no such file"},
		"neither": {func(t *testing.T, l *lineage.Lineage) { remove(t, l.Fullchain); remove(t, l.Key) },
			"no-certificate no-key", "no such file"},
		"no chain":      {func(t *testing.T, l *lineage.Lineage) { l.Chain = l.Fullchain + ".gone" }, "no-certificate", "no such file"},
		"a directory":   {func(t *testing.T, l *lineage.Lineage) { l.Key = filepath.Dir(l.Key) }, "no-key", "not a regular file"},
		"a FIFO":        {func(t *testing.T, l *lineage.Lineage) { remove(t, l.Key); fifo(t, l.Key) }, "no-key", "not a regular file"},
		"too large":     {func(t *testing.T, l *lineage.Lineage) { truncate(t, l.Fullchain, 1<<20) }, "too-large", "256 KiB"},
		"0644":          {func(t *testing.T, l *lineage.Lineage) { chmod(t, l.Key, 0o644) }, "key-readable", "0644"},
		"0602":          {func(t *testing.T, l *lineage.Lineage) { chmod(t, l.Key, 0o602) }, "key-readable", "0602"},
		"0640":          {func(t *testing.T, l *lineage.Lineage) { chmod(t, l.Key, 0o640) }, "", ""},
		"one file":      {oneFile, "", ""},
		"one open file": {func(t *testing.T, l *lineage.Lineage) { oneFile(t, l); chmod(t, l.Key, 0o644) }, "key-readable", "0644"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pki.WriteDirectory(t, dir, "a.example", ca.Leaf(t))
			l := lineage.Lineage{Fullchain: filepath.Join(dir, "a.example/fullchain.pem"), Key: filepath.Join(dir, "a.example/privkey.pem")}
			test.spoil(t, &l)
			b, findings := lineage.Read(l)
			if got := codes(findings); got != test.codes {
				t.Fatalf("codes are %q, want %q", got, test.codes)
			}
			for _, f := range findings {
				if !strings.Contains(f.Detail, test.says) || !strings.Contains(f.Detail, dir) || f.Remedy == "" {
					t.Errorf("%+v does not say %q, or not where, or no remedy", f, test.says)
				}
				if refused := f.Severity == lineage.Refused; refused != (b == nil) {
					t.Errorf("%v is %s, and the bundle is %v", f, f.Severity, b)
				}
			}
		})
	}
}

func TestBundleHidesItsKey(t *testing.T) {
	leaf := pki.SelfSigned(t)
	b, _ := files{leaf.Fullchain, nil, leaf.Key}.parse()
	var said bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&said, verb+verb+verb+verb, b, *b, struct{ b any }{*b}, struct{ K any }{b.KeyPEM()})
	}
	for _, logger := range []*slog.Logger{slog.New(slog.NewTextHandler(&said, nil)), slog.New(slog.NewJSONHandler(&said, nil))} {
		logger.Info("bundle", "pointer", b, "value", *b, "key", b.KeyPEM())
	}
	if err := json.NewEncoder(&said).Encode([]any{b, b.KeyPEM()}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "[REDACTED]") {
		t.Error("nothing was redacted")
	}
	for _, form := range []string{"PRIVATE KEY", "45 45 45 45 45", "0x2d, 0x2d", "2d2d2d2d2d"} {
		if strings.Contains(said.String(), form) {
			t.Errorf("the key shows as %q", form)
		}
	}
}

func TestParseCertificates(t *testing.T) {
	leaf := pki.NewCA(t, "Root").Intermediate(t, "Intermediate").Leaf(t)
	certs, err := lineage.ParseCertificates(join(leaf.Key, leaf.Fullchain))
	if err != nil || len(certs) != 2 || !certs[0].Equal(leaf.Cert) {
		t.Errorf("ParseCertificates: %d certificates, %v", len(certs), err)
	}
	for name, text := range map[string][]byte{"empty": nil, "key": leaf.Key, "cut short": leaf.Fullchain[:200]} {
		if certs, err := lineage.ParseCertificates(text); err == nil || certs != nil {
			t.Errorf("%s: %d certificates, %v", name, len(certs), err)
		}
	}
}

// FuzzBundle wants the PEM of whatever bundle there is to make the same bundle
// again, without findings.
func FuzzBundle(f *testing.F) {
	root := pki.NewCA(f, "Root")
	upper := root.Intermediate(f, "Upper")
	leaf := upper.Intermediate(f, "Lower").Leaf(f)
	self := pki.SelfSigned(f, pki.Ed25519())
	f.Add(leaf.Fullchain, []byte(nil), leaf.Key)
	f.Add(crlf(leaf.Fullchain), leaf.Chain, join("\uFEFF", leaf.Key))
	f.Add(join(root.PEM(), leaf.Chain, "text\n", leaf.Fullchain), upper.PEM(), join(leaf.Fullchain, leaf.Key))
	f.Add(join(upper.PEM(), self.Fullchain), self.Fullchain, self.Key)
	f.Add(leaf.Fullchain[:300], leaf.Chain[20:], []byte(encryptedRSA))
	f.Fuzz(func(t *testing.T, fullchain, chain, key []byte) {
		first, findings := files{fullchain, chain, key}.parse()
		if first == nil {
			if len(findings) == 0 || slices.ContainsFunc(findings, func(f lineage.Finding) bool { return f.Severity != lineage.Refused }) {
				t.Fatalf("no bundle, and the findings are %v", findings)
			}
			return
		}
		again, findings := files{first.FullchainPEM(), nil, first.KeyPEM()}.parse()
		if again == nil || findings != nil {
			t.Fatalf("its own PEM gives %v, %v", again, findings)
		}
		if !bytes.Equal(again.FullchainPEM(), first.FullchainPEM()) || !bytes.Equal(again.ChainPEM(), first.ChainPEM()) ||
			!bytes.Equal(again.KeyPEM(), first.KeyPEM()) || !again.Leaf.Equal(first.Leaf) {
			t.Fatal("its own PEM gives another bundle")
		}
	})
}

func crlf(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }

// relabel changes the type of the first block.
func relabel(text []byte, kind string) []byte {
	block, _ := pem.Decode(text)
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: block.Bytes})
}

// trail adds bytes to the first block, after the DER value.
func trail(text []byte) []byte {
	block, _ := pem.Decode(text)
	return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: append(block.Bytes, 1, 2, 3)})
}

func pkcs1(t *testing.T, pkcs8 []byte) []byte {
	t.Helper()
	key := parseKey(t, pkcs8).(*rsa.PrivateKey)
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func sec1(t *testing.T, pkcs8 []byte) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(parseKey(t, pkcs8).(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func parseKey(t *testing.T, pkcs8 []byte) any {
	t.Helper()
	block, _ := pem.Decode(pkcs8)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func oneFile(t *testing.T, l *lineage.Lineage) {
	t.Helper()
	fullchain, err := os.ReadFile(l.Fullchain)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(l.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.Key, join(key, fullchain), 0o600); err != nil {
		t.Fatal(err)
	}
	l.Fullchain = l.Key
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func fifo(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// Keys of this kind (RFC 8410) agree on secrets and cannot sign.
const x25519Key = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEIBD5m0X5jGWyFh33SStjOkdTnIZwCl/n7LosXDWxm/Z3
-----END PRIVATE KEY-----
`

// This is the form of OpenSSL 1.x, of which only the headers matter here.
const encryptedRSA = `-----BEGIN RSA PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,6D8D9C9A3B6E6A2F8E0C0B1F2D4A5C7E

c2VjcmV0
-----END RSA PRIVATE KEY-----
`
