package prepare

import (
	"crypto/x509"
	"errors"
	"slices"
	"testing"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

func at(t *testing.T, text string) endpoint.Endpoint {
	t.Helper()
	e, err := endpoint.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestShows(t *testing.T) {
	leaf := pki.SelfSigned(t).Cert
	seen := probe.Observation{Chain: []*x509.Certificate{leaf}}
	print := lineage.Fingerprint(leaf)
	if !Shows(seen, print) || Shows(seen, "another") || Shows(probe.Observation{}, print) || Shows(probe.Observation{}, "") {
		t.Error("it is not told what was shown")
	}
}

// TestProved is about the probes that are remembered of a proof.
func TestProved(t *testing.T) {
	a, b, c := at(t, "tls://127.0.0.1:1?name=a.example"), at(t, "tls://127.0.0.1:2?name=a.example"), at(t, "smtp://127.0.0.1:1?name=a.example")
	renamed := at(t, "tls://127.0.0.1:1?name=b.example")
	proof := &state.Proof{Probes: []string{a.String(), "no probe", b.String()}}
	for _, test := range []struct {
		name       string
		proof      *state.Proof
		plan       deployers.Plan
		want, lost []endpoint.Endpoint
	}{
		{"found", proof, deployers.Plan{Found: true}, []endpoint.Endpoint{a, b}, []endpoint.Endpoint{a, b}},
		{"found at the same listener, by another name", proof, deployers.Plan{Found: true, Probes: []endpoint.Endpoint{renamed, c}}, []endpoint.Endpoint{a, b}, []endpoint.Endpoint{b}},
		{"written down", proof, deployers.Plan{}, nil, nil},
		{"never proven", nil, deployers.Plan{Found: true}, nil, nil},
	} {
		if got := Proved(test.proof, test.plan); !slices.Equal(got, test.want) {
			t.Errorf("%s: proved were %v", test.name, got)
		}
		if got := LostProbes(test.proof, test.plan); !slices.Equal(got, test.lost) {
			t.Errorf("%s: lost are %v", test.name, got)
		}
	}
	for _, other := range []string{"tls://127.0.0.2:1", "tls://127.0.0.1:3", "imap://127.0.0.1:1"} {
		if e := at(t, other); Among(e, []endpoint.Endpoint{a, b}) {
			t.Errorf("%s is among %s and %s", e, a, b)
		}
	}
}

// TestOutage is about what it is called where nothing completes a handshake.
func TestOutage(t *testing.T) {
	seen, unproven := errors.New("seen"), errors.New("unproven")
	target := config.Target{Target: deployers.Target{Unit: "x.service"}}
	proof := &state.Proof{Generation: "g"}
	outage := Outage(target, proof, seen)
	if outage == nil || outage.Err != seen || outage.Unit != "x.service" || outage.Proven.Generation != "g" {
		t.Errorf("got %+v", outage)
	}
	if Outage(target, nil, seen) != nil {
		t.Error("what was never proven is out of order")
	}
	if err := Unserved(target, deployers.Plan{}, nil, seen, unproven); err != unproven {
		t.Errorf("got %v", err)
	}
	if err := Unserved(target, deployers.Plan{}, proof, seen, unproven); !is[*outcome.OutageError](err) || !errors.Is(err, seen) {
		t.Errorf("got %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	a, b := at(t, "tls://127.0.0.1:1"), at(t, "tls://127.0.0.1:2")
	if got := Endpoints([]probe.Observation{{Endpoint: a}, {Endpoint: b}}); !slices.Equal(got, []endpoint.Endpoint{a, b}) {
		t.Errorf("got %v", got)
	}
}
