package engine

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/probe"
)

// at gives what a probe of an address saw: a leaf, or nothing.
func at(t *testing.T, address string, leaf *pki.Leaf) probe.Observation {
	o := probe.Observation{Endpoint: endpoint.At("tls", netip.MustParseAddrPort(address), "web.example")}
	if leaf == nil {
		o.Err = errors.New("no handshake")
	} else {
		o.Chain = append(o.Chain, leaf.Cert)
	}
	return o
}

// TestKeepAnswering is about which of the probes that were found count.
func TestKeepAnswering(t *testing.T) {
	leaf := pki.SelfSigned(t, pki.Names("web.example"))
	a, b := at(t, "127.0.0.1:1", &leaf), at(t, "127.0.0.1:2", nil)
	for _, test := range []struct {
		name           string
		first          bool
		baseline       []probe.Observation
		counts, silent []probe.Observation
	}{
		{"those that answer", false, []probe.Observation{b, a}, []probe.Observation{a}, []probe.Observation{b}},
		{"none", false, []probe.Observation{b}, nil, []probe.Observation{b}},
		{"those that answer before a first installation", true, []probe.Observation{a, b}, []probe.Observation{a}, []probe.Observation{b}},
		{"all where none answers before a first installation", true, []probe.Observation{b, b}, []probe.Observation{b, b}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			it := &item{first: test.first, baseline: test.baseline}
			it.plan.Probes = endpoints(test.baseline)
			it.keepAnswering()
			for _, compared := range []struct {
				what      string
				want, got []endpoint.Endpoint
			}{
				{"baseline", endpoints(test.counts), endpoints(it.baseline)},
				{"probes", endpoints(test.counts), it.plan.Probes},
				{"silent", endpoints(test.silent), endpoints(it.silent)},
			} {
				if diff := cmp.Diff(compared.want, compared.got); diff != "" {
					t.Errorf("%s: %s", compared.what, diff)
				}
			}
		})
	}
}

// TestHear lets a probe count that answers only since the activation.
func TestHear(t *testing.T) {
	leaf := pki.SelfSigned(t, pki.Names("web.example"))
	talks, silent := at(t, serve(t, leaf), nil), at(t, "127.0.0.1:1", nil)
	it := &item{silent: []probe.Observation{silent, talks}, plan: deployers.Plan{Found: true}}
	tx := &transaction{items: []*item{it}}
	if !tx.hear(t.Context()) {
		t.Error("nothing was heard")
	}
	if diff := cmp.Diff([]endpoint.Endpoint{talks.Endpoint}, it.plan.Probes); diff != "" {
		t.Error("probes:", diff)
	}
	if len(it.baseline) != 1 || it.baseline[0].Leaf() != nil {
		t.Errorf("the baseline is %v, which is not what was seen", it.baseline)
	}
	if diff := cmp.Diff([]endpoint.Endpoint{silent.Endpoint}, endpoints(it.silent)); diff != "" {
		t.Error("silent:", diff)
	}
	if tx.hear(t.Context()) {
		t.Error("the same was heard twice")
	}
}
