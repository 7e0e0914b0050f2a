package policy

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
)

// TestSystemsRoots wants the roots of the system to be those of the first bundle that
// there is: not the files beside it, nor what the environment names.
func TestSystemsRoots(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	root, beside := pki.NewCA(t, "Root"), pki.NewCA(t, "Beside")
	bundle, other := write("ca-certificates.crt", root.PEM()), write("beside.pem", beside.PEM())
	empty, gone := write("empty.crt", nil), filepath.Join(dir, "gone")
	t.Setenv("SSL_CERT_FILE", other)
	t.Setenv("SSL_CERT_DIR", dir)

	trust, err := loadBundle([]string{gone, bundle, other})
	if err != nil {
		t.Fatal(err)
	}
	for ca, want := range map[*pki.CA]string{root: "", beside: "untrusted"} {
		leaf := ca.Intermediate(t, "Intermediate").Leaf(t)
		b, findings := lineage.Parse(lineage.Lineage{}, leaf.Fullchain, nil, leaf.Key)
		if b == nil {
			t.Fatal(findings)
		}
		if got := trust.Path(b, time.Now()); got.code != want {
			t.Errorf("%s: %q instead of %q: %s", leaf.Cert.Issuer, got.code, want, got.flaw)
		}
	}
	for _, bundles := range [][]string{{gone}, {empty, bundle}, {dir}} {
		if _, err := loadBundle(bundles); !isTrustError(err, "ca-certificates") {
			t.Errorf("%q gives %v", bundles, err)
		}
	}
}

func isTrustError(err error, remedy string) bool {
	e, is := errors.AsType[*TrustError](err)
	return is && strings.Contains(e.Remedy, remedy)
}

// TestSelfSigned wants a leaf that vouches for itself to be called what it is.
func TestSelfSigned(t *testing.T) {
	lasting := func(d time.Duration, names int) *x509.Certificate {
		now := time.Now()
		return &x509.Certificate{NotBefore: now, NotAfter: now.Add(d), Subject: pkix.Name{CommonName: "host.example", Names: make([]pkix.AttributeTypeAndValue, names)}}
	}
	for name, test := range map[string]struct {
		leaf     *x509.Certificate
		snakeoil bool
	}{
		"snakeoil":     {lasting(3650*24*time.Hour, 1), true},
		"a year":       {lasting(365*24*time.Hour, 1), false},
		"with a place": {lasting(3650*24*time.Hour, 4), false},
	} {
		if got := selfSigned(test.leaf); got.code != "untrusted" || !strings.HasPrefix(got.flaw, "is self-signed, ") || strings.Contains(got.flaw, "snakeoil") != test.snakeoil {
			t.Errorf("%s: %s: %s", name, got.code, got.flaw)
		}
	}
}
