package engine

import (
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/state"
)

type observation = probe.Observation

func fingerprintOf(leaf pki.Leaf) string { return lineage.Fingerprint(leaf.Cert) }

// provenBy makes a run that remembers that an item was proven by some probes.
func provenBy(it *item, probes ...endpoint.Endpoint) *run {
	proof := &state.Proof{}
	for _, e := range probes {
		proof.Probes = append(proof.Probes, e.String())
	}
	return &run{state: &state.State{Records: []state.Record{{Target: it.target.Name, Lineage: it.lineage.Name, Proven: proof}}}}
}

// TestExpectProved is about which probes count where none that was found
// completes a handshake.
func TestExpectProved(t *testing.T) {
	leaf := pki.SelfSigned(t, pki.Names("web.example"))
	listener, err := net.Listen("tcp", "127.0.0.1:0") // and nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	gone := at(t, listener.Addr().String(), nil)
	listener.Close()
	silent, plain, foreign := at(t, "127.0.0.1:1", nil), at(t, "127.0.0.1:2", nil), at(t, serve(t, leaf), nil)
	renamed := silent
	renamed.Endpoint.Name = "www.example"
	for _, test := range []struct {
		name                 string
		found                []observation
		proved               []observation
		counts, counted, not []observation
	}{
		{name: "one that was proved", found: []observation{silent, plain}, proved: []observation{silent}, counts: []observation{silent}, not: []observation{plain}},
		{name: "by another name", found: []observation{silent}, proved: []observation{renamed}, counts: []observation{silent}},
		{name: "one that is gone", found: nil, proved: []observation{gone}, counts: []observation{gone}},
		{name: "one that is gone beside what never counted", found: []observation{plain}, proved: []observation{gone}, counts: []observation{gone}, not: []observation{plain}},
		{name: "another service's", found: nil, proved: []observation{foreign}},
		{name: "none is remembered", found: []observation{silent, plain}, counts: []observation{silent, plain}},
	} {
		t.Run(test.name, func(t *testing.T) {
			it := &item{silent: slices.Clone(test.found), plan: deployers.Plan{Found: true}}
			provenBy(it, endpoints(test.proved)...).expectProved(t.Context(), it)
			for _, compared := range []struct {
				what      string
				want, got []endpoint.Endpoint
			}{
				{"probes", endpoints(test.counts), it.plan.Probes},
				{"baseline", endpoints(test.counts), endpoints(it.baseline)},
				{"silent", endpoints(test.not), endpoints(it.silent)},
			} {
				if diff := cmp.Diff(compared.want, compared.got); diff != "" {
					t.Errorf("%s: %s", compared.what, diff)
				}
			}
		})
	}
}

// TestRemembered is about which probes are remembered of a proof.
func TestRemembered(t *testing.T) {
	a, b, c := at(t, "127.0.0.1:1", nil), at(t, "127.0.0.1:2", nil), at(t, "127.0.0.1:3", nil)
	it := &item{silent: []observation{b, c}}
	showed, before := []endpoint.Endpoint{a.Endpoint}, []endpoint.Endpoint{a.Endpoint, b.Endpoint}
	if got := it.remembered(showed, before); got != nil {
		t.Errorf("of those that are written down %v", got)
	}
	it.plan.Found = true
	if diff := cmp.Diff([]string{a.Endpoint.String(), b.Endpoint.String()}, it.remembered(showed, before)); diff != "" {
		t.Error(diff)
	}
}

// TestNoteProbes is about what a proof, and a look after it, remember.
func TestNoteProbes(t *testing.T) {
	leaf := pki.SelfSigned(t, pki.Names("web.example"))
	a, b := at(t, "127.0.0.1:1", &leaf), at(t, "127.0.0.1:2", &leaf)
	for _, test := range []struct {
		name     string
		result   Result
		baseline []observation // that was looked at
		want     []endpoint.Endpoint
	}{
		{"deployed", Deployed, nil, []endpoint.Endpoint{b.Endpoint}},
		{"unchanged", Unchanged, nil, []endpoint.Endpoint{a.Endpoint}},
		{"unchanged, and looked at", Unchanged, []observation{a, b}, []endpoint.Endpoint{a.Endpoint, b.Endpoint}},
	} {
		it := &item{baseline: test.baseline, plan: deployers.Plan{Target: "web", Found: true, Probes: []endpoint.Endpoint{b.Endpoint}}}
		it.out.Result = test.result
		r := provenBy(it, a.Endpoint)
		r.note(it, noon)
		if diff := cmp.Diff(test.want, r.proved(it)); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// TestServeFound is about what a look tells of probes that were found.
func TestServeFound(t *testing.T) {
	leaf := pki.SelfSigned(t, pki.Names("web.example"))
	talks, silent, proved, gone, foreign := at(t, "127.0.0.1:1", &leaf), at(t, "127.0.0.1:2", nil), at(t, "127.0.0.1:3", nil), at(t, "127.0.0.1:4", nil), at(t, "127.0.0.1:5", &leaf)
	for _, test := range []struct {
		name        string
		found, lost []observation
		shows, errs []observation
	}{
		{"what answers", []observation{talks, silent}, nil, []observation{talks}, nil},
		{"what proved it, beside what answers", []observation{talks, proved}, nil, []observation{talks}, []observation{proved}},
		{"what is gone, beside what answers", []observation{talks}, []observation{gone}, []observation{talks}, nil},
		{"nothing answers", []observation{silent}, []observation{gone}, nil, []observation{silent, gone}},
		{"what is written down", []observation{talks, silent}, nil, []observation{talks}, []observation{silent}},
		{"another service in its place", nil, []observation{foreign}, nil, []observation{foreign}},
	} {
		it := &item{plan: deployers.Plan{Found: test.name != "what is written down", Probes: endpoints(test.found)}}
		v := &view{run: provenBy(it, talks.Endpoint, proved.Endpoint, gone.Endpoint, foreign.Endpoint), it: it, lost: endpoints(test.lost)}
		v.serve(slices.Concat(test.found, test.lost))
		var shows, errs []string
		for _, s := range v.seen.Served {
			if s.Leaf != nil {
				shows = append(shows, *s.Probe)
			} else {
				errs = append(errs, *s.Probe)
			}
		}
		for _, compared := range []struct {
			want []observation
			got  []string
		}{{test.shows, shows}, {test.errs, errs}} {
			var want []string
			for _, o := range compared.want {
				want = append(want, o.Endpoint.String())
			}
			if diff := cmp.Diff(want, compared.got); diff != "" {
				t.Errorf("%s: %s", test.name, diff)
			}
		}
	}
}

// TestChooseProbes is about what a baseline makes of the probes that were found.
func TestChooseProbes(t *testing.T) {
	leaf := pki.SelfSigned(t, pki.Names("web.example"))
	talks, silent, plain := at(t, "127.0.0.1:1", &leaf), at(t, "127.0.0.1:2", nil), at(t, "127.0.0.1:3", nil)
	for _, test := range []struct {
		name   string
		found  []observation
		proved []observation
		wait   deployers.Wait
		goesOn bool
		notes  int
	}{
		{"some answer", []observation{talks, plain}, []observation{talks}, "", true, 0},
		{"some answer, and one does not any more", []observation{talks, silent, plain}, []observation{talks, silent}, "", true, 1},
		{"none answers any more", []observation{silent}, []observation{silent}, "", true, 0},
		{"nothing is left", nil, nil, "", false, 0},
		{"it is stopped", nil, []observation{silent}, deployers.ServiceInactive, true, 0},
	} {
		it := &item{baseline: test.found, plan: deployers.Plan{Found: true, Probes: endpoints(test.found), Activate: deployers.Activation{Wait: test.wait}}}
		tx := &transaction{run: provenBy(it, endpoints(test.proved)...)}
		for range 2 { // attempts
			if tx.chooseProbes(t.Context(), it) != test.goesOn || len(it.out.Notes) != test.notes {
				t.Errorf("%s: %v, with the notes %q", test.name, !test.goesOn, it.out.Notes)
			}
		}
	}
}
