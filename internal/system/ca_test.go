package system

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/certlatch/certlatch/internal/pki"
)

// authority is a scenario's own CA: a root and the intermediate that signs.
type authority struct{ intermediate *pki.CA }

func newAuthority(t testing.TB) authority {
	return authority{pki.NewCA(t, "Example Root").Intermediate(t, "Example Intermediate")}
}

func (a authority) root() []byte { return a.intermediate.Root().PEM() }

func (a authority) leaf(t testing.TB, name string, opts ...pki.Option) pki.Leaf {
	return a.intermediate.Leaf(t, append([]pki.Option{pki.Names(name)}, opts...)...)
}

// flaws make bundles that no ACME client should produce, by the words that
// scripts have for them.
var flaws = map[string]func(t testing.TB, a authority, name string) pki.Leaf{
	"other-key": func(t testing.TB, a authority, name string) pki.Leaf {
		leaf := a.leaf(t, name)
		leaf.Key = a.leaf(t, name).Key
		return leaf
	},
	"expired": func(t testing.TB, a authority, name string) pki.Leaf {
		now := time.Now()
		return a.leaf(t, name, pki.Valid(now.AddDate(0, 0, -90), now.AddDate(0, 0, -1)))
	},
	"not-yet-valid": func(t testing.TB, a authority, name string) pki.Leaf {
		now := time.Now()
		return a.leaf(t, name, pki.Valid(now.AddDate(0, 0, 3), now.AddDate(0, 0, 93)))
	},
	"expiring": func(t testing.TB, a authority, name string) pki.Leaf {
		now := time.Now()
		return a.leaf(t, name, pki.Valid(now.AddDate(0, 0, -70), now.AddDate(0, 0, 20)))
	},
	"chain-ended": func(t testing.TB, a authority, name string) pki.Leaf {
		return a.intermediate.Ends(t, time.Now().AddDate(0, 0, -1)).Leaf(t, pki.Names(name))
	},
	"chain-ends": func(t testing.TB, a authority, name string) pki.Leaf {
		return a.intermediate.Ends(t, time.Now().AddDate(0, 0, 20)).Leaf(t, pki.Names(name))
	},
	"tail-ended": func(t testing.TB, a authority, name string) pki.Leaf {
		leaf := a.leaf(t, name)
		tail := pki.NewCA(t, "Elder Root").CrossSign(t, a.intermediate.Root()).Ends(t, time.Now().AddDate(0, 0, -1))
		leaf.Fullchain, leaf.Chain = append(leaf.Fullchain, tail.PEM()...), append(leaf.Chain, tail.PEM()...)
		return leaf
	},
	"other-root": func(t testing.TB, _ authority, name string) pki.Leaf {
		root := pki.NewCA(t, "Other Root")
		leaf := root.Intermediate(t, "Other Intermediate").Leaf(t, pki.Names(name))
		leaf.Fullchain = append(leaf.Fullchain, root.PEM()...) // for whoever is to trust it
		return leaf
	},
	"rsa":     func(t testing.TB, a authority, name string) pki.Leaf { return a.leaf(t, name, pki.RSA(2048)) },
	"only-cn": func(t testing.TB, a authority, name string) pki.Leaf { return a.leaf(t, name, pki.OnlyCN(name)) },
	"must-staple": func(t testing.TB, a authority, name string) pki.Leaf {
		return a.leaf(t, name, pki.MustStaple())
	},
	"other-name": func(t testing.TB, a authority, _ string) pki.Leaf {
		return a.leaf(t, "other.example")
	},
	"no-chain": func(t testing.TB, a authority, name string) pki.Leaf {
		leaf := a.leaf(t, name)
		leaf.Fullchain, leaf.Chain = leaf.Fullchain[:len(leaf.Fullchain)-len(leaf.Chain)], nil
		return leaf
	},
}

// pebble starts the real Pebble in the host, with its API on 127.0.0.1:14000.
// The root that it issues under is put at /root/pebble-root.pem, and the CA of
// its API at /root/pebble-ca.pem.
func (s *scenario) pebble(_ *testscript.TestScript, args []string) error {
	if len(args) != 0 {
		return errUsage
	}
	ca := pki.NewCA(s, "Pebble API")
	api := ca.Leaf(s, pki.Names("127.0.0.1"))
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress":           "127.0.0.1:14000",
		"managementListenAddress": "127.0.0.1:15000",
		"certificate":             "/root/pebble.pem",
		"privateKey":              "/root/pebble.key",
		"httpPort":                5002,
		"tlsPort":                 5001,
		"keyAlgorithm":            "ecdsa",
	}})
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{
		"/root/pebble.json":   config,
		"/root/pebble.pem":    api.Fullchain,
		"/root/pebble.key":    api.Key,
		"/root/pebble-ca.pem": ca.PEM(),
	} {
		if err := s.host.write(path, content, "0600", "root"); err != nil {
			return err
		}
	}
	// Pebble is to validate every name, and to be neither slow nor forgetful
	// (README of Pebble v2.10.1, "Testing at full speed" and "Invalid
	// Anti-Replay Nonce Errors").
	if _, err := s.host.run("systemd-run", "--quiet", "--unit=pebble", "--setenv=PEBBLE_VA_ALWAYS_VALID=1",
		"--setenv=PEBBLE_VA_NOSLEEP=1", "--setenv=PEBBLE_WFE_NONCEREJECT=0", "pebble", "-config", "/root/pebble.json"); err != nil {
		return err
	}
	var root []byte
	if err := s.until(func() (err error) {
		root, err = s.pebbleRoot(ca)
		return err
	}); err != nil {
		return err
	}
	return s.host.write("/root/pebble-root.pem", root, "0644", "root")
}

// pebbleRoot returns the root that Pebble has made, from its management
// interface.
func (s *scenario) pebbleRoot(ca *pki.CA) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.Context(), waitLimit)
	defer cancel()
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	client := &http.Client{Transport: &http.Transport{
		DialContext:       s.host.dial,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:15000/roots/0", nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask Pebble for its root: %s", response.Status)
	}
	return io.ReadAll(response.Body)
}

// certbot runs the real certbot against Pebble. A renewal takes the settings
// that the first run stored.
func (s *scenario) certbot(ts *testscript.TestScript, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := []string{"--non-interactive"}
	switch args[0] {
	case "certonly":
		flags = append(flags, "--server=https://127.0.0.1:14000/dir", "--standalone", "--http-01-port=5002",
			"--agree-tos", "--register-unsafely-without-email")
	case "renew":
		flags = append(flags, "--no-random-sleep-on-renew")
	}
	return s.runHost(ts, append(append([]string{"REQUESTS_CA_BUNDLE=/root/pebble-ca.pem", "certbot"}, args...), flags...))
}
