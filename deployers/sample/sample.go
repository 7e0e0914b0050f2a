// Package sample has targets, and compares discoveries, for tests of services.
package sample

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
)

// Target returns a target of a deployer as a short configuration makes it,
// after a change.
func Target(d deployers.Deployer, change func(*deployers.Target)) deployers.Target {
	t := deployers.Target{
		Name: "web", Service: d.Name(), Lineage: "web.example", Mode: 0o640,
		Certificate: "/etc/x/cert.pem", Key: "/etc/x/key.pem",
		Probes:  []endpoint.Endpoint{{Scheme: "https", Host: "127.0.0.1", Port: 443, Name: "web.example"}},
		Options: d.Options(),
	}
	if change != nil {
		change(&t)
	}
	d.Defaults(&t)
	return t
}

// Discover returns the discovery of a deployer for a target of defaults.
func Discover(d deployers.Discoverer, f deployers.Facts) deployers.Discovery {
	t := deployers.Target{Service: d.Name(), Options: d.Options()}
	d.Defaults(&t)
	return d.Discover(t, f)
}

// CheckUses wants a discovery to have the uses, and as many unknown things as
// are given, each with that beginning.
func CheckUses(t *testing.T, got deployers.Discovery, want []deployers.Use, unknown ...string) {
	t.Helper()
	if !got.Installed {
		t.Error("the service counts as not installed")
	}
	if diff := cmp.Diff(want, got.Uses); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
	if len(got.Unknown) != len(unknown) {
		t.Fatalf("unknown: %q, want %q", got.Unknown, unknown)
	}
	for i, text := range unknown {
		if !strings.HasPrefix(got.Unknown[i], text) {
			t.Errorf("unknown: %q, want %q", got.Unknown[i], text)
		}
	}
}
