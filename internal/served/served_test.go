package served

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/pki"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/probe"
	"github.com/certlatch/certlatch/internal/srv"
)

// trusting returns a trust that trusts one CA.
func trusting(t *testing.T, ca *pki.CA) policy.Trust {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(path, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	trust, err := policy.LoadTrust(path)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// codes returns those of a probe's findings.
func codes(p Probe) []string {
	found := []string{}
	for _, f := range p.Findings {
		found = append(found, f.Code)
	}
	return found
}

// serving returns the address of a server that serves a leaf.
func serving(t *testing.T, leaf pki.Leaf) netip.AddrPort {
	t.Helper()
	pair, err := tls.X509KeyPair(leaf.Fullchain, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddrPort(pki.Serve(t, &tls.Config{Certificates: []tls.Certificate{pair}}))
}

func TestProbeEndpoint(t *testing.T) {
	ca := pki.NewCA(t, "Root")
	at := serving(t, ca.Intermediate(t, "Between").Leaf(t, pki.Names("api.example")))
	to := endpoint.Endpoint{Scheme: "https", Host: at.Addr().String(), Port: at.Port(), Name: "api.example"}
	if p := ProbeEndpoint(t.Context(), to, trusting(t, ca)); p.Seen.Err != nil || len(p.Findings) > 0 {
		t.Errorf("what is good: %v, %q", p.Seen.Err, codes(p))
	}
	if p := ProbeEndpoint(t.Context(), to, trusting(t, pki.NewCA(t, "Other"))); !cmp.Equal(codes(p), []string{"untrusted"}) {
		t.Errorf("what nobody trusts: %q", codes(p))
	}
	to.Name = "other.example"
	if p := ProbeEndpoint(t.Context(), to, trusting(t, ca)); !cmp.Equal(codes(p), []string{"name-missing"}) {
		t.Errorf("another name: %q", codes(p))
	}
	to.Name = to.Host
	if p := ProbeEndpoint(t.Context(), to, trusting(t, ca)); len(p.Findings) > 0 {
		t.Errorf("an address, which says where to connect and not whom to expect: %q", codes(p))
	}
}

// TestJudge wants findings about a chain to depend on the name that it is to be
// for.
func TestJudge(t *testing.T) {
	ca := pki.NewCA(t, "Root")
	trust := trusting(t, ca)
	host := srv.Target{Host: "edge.example.net"}
	judged := func(scheme, name string, target *srv.Target, names ...string) Probe {
		leaf := ca.Leaf(t, pki.Names(names...)).Cert
		p := Probe{Target: target}
		p.Seen = probe.Observation{Endpoint: endpoint.Endpoint{Scheme: scheme, Host: "192.0.2.1", Port: 443, Name: name}, Chain: []*x509.Certificate{leaf}}
		p.judge(trust)
		return p
	}
	for _, test := range []struct {
		says string
		p    Probe
		want []string
	}{
		{"good", judged("https", "a.example", nil, "a.example"), []string{}},
		{"a wildcard", judged("https", "a.example", nil, "*.example"), []string{}},
		{"a wildcard for a SIP domain", judged("sips", "a.example", nil, "*.example"), []string{"sip-wildcard"}},
		{"another address in place of a name", judged("https", "192.0.2.2", nil, "a.example"), []string{"name-missing"}},
		{"only the host that a record names", judged("sips", "a.example", &host, "edge.example.net"), []string{"name-missing"}},
	} {
		if got := codes(test.p); !cmp.Equal(got, test.want) {
			t.Errorf("%s: %q instead of %q", test.says, got, test.want)
		}
	}
	for target, word := range map[*srv.Target]bool{&host: true, nil: false} {
		f := judged("sips", "a.example", target, "edge.example.net").Findings[0]
		if strings.Contains(f.Detail, `only the SRV target "edge.example.net"`) != word || strings.Contains(f.Remedy, "it is what peers look for") != word {
			t.Errorf("of %v: %s; %s", target, f, f.Remedy)
		}
	}
	if f := judged("sips", "a.example", &host, "other.example").Findings[0]; strings.Contains(f.Detail, "SRV target") {
		t.Errorf("the host is not in the certificate either: %s", f)
	}
	silent := Probe{Seen: probe.Observation{Err: errors.New("no answer")}}
	if silent.judge(trust); silent.Findings != nil {
		t.Errorf("nothing was served: %q", codes(silent))
	}
}

// TestProbeTargets wants a probe for each address of each host that a record
// names, and a failed one for a host without any.
func TestProbeTargets(t *testing.T) {
	ca := pki.NewCA(t, "Root")
	one, two := serving(t, ca.Leaf(t, pki.Names("a.example"))), serving(t, ca.Leaf(t, pki.Names("b.example")))
	lost := errors.New("no addresses")
	answers := []srv.Answer{
		{Name: "_sips._tcp.a.example", Service: "sips", Targets: []srv.Target{
			{Host: "one.example", Port: one.Port(), Addrs: []netip.Addr{one.Addr(), one.Addr()}},
			{Host: "gone.example", Port: 5061, Err: lost},
		}},
		{Name: "_sip._tcp.a.example", Service: "sips"},
		{Name: "_xmpps-client._tcp.a.example", Service: "https", Targets: []srv.Target{{Host: "two.example", Port: two.Port(), Addrs: []netip.Addr{two.Addr()}}}},
	}
	domain := probeAnswers(t.Context(), Domain{Kind: srv.SIP, Name: "a.example", Answers: answers}, trusting(t, ca))
	type shown struct {
		record, host, url, serves string
		findings                  int
	}
	var got []shown
	for _, p := range domain.Probes {
		s := shown{record: p.Record, host: p.Target.Host, url: p.Seen.Endpoint.String(), findings: len(p.Findings)}
		if leaf := p.Seen.Leaf(); leaf != nil {
			s.serves = leaf.DNSNames[0]
		} else if !errors.Is(p.Seen.Err, lost) {
			t.Error(p.Seen.Err)
		}
		got = append(got, s)
	}
	want := []shown{
		{"_sips._tcp.a.example", "one.example", "sips://" + one.String() + "?name=a.example", "a.example", 0},
		{"_sips._tcp.a.example", "one.example", "sips://" + one.String() + "?name=a.example", "a.example", 0},
		{"_sips._tcp.a.example", "gone.example", "sips://gone.example:5061?name=a.example", "", 0},
		{"_xmpps-client._tcp.a.example", "two.example", "https://" + two.String() + "?name=a.example", "b.example", 1},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(shown{})); diff != "" {
		t.Error(diff)
	}
}
