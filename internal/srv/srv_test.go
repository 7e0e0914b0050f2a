package srv

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The numbers of RFC 1035 sections 3.2.2 and 4.1.1, RFC 3596 and RFC 2782.
const (
	typeA, typeAAAA, typeSRV = 1, 28, 33
	serverFailure, nameError = 2, 3
)

// key is the name and type of a record.
type key struct {
	name  string // with the closing dot
	qtype uint16
}

// zone holds the data of records. Names without any do not exist, except that
// the question for one below fail.example fails.
type zone map[key][][]byte

// answer returns the reply to a query (RFC 1035 section 4.1).
func (z zone) answer(query []byte) []byte {
	var labels []string
	at := 12
	for query[at] != 0 {
		end := at + 1 + int(query[at])
		labels = append(labels, string(query[at+1:end]))
		at = end
	}
	question := query[12 : at+5]
	k := key{strings.ToLower(strings.Join(labels, ".")) + ".", binary.BigEndian.Uint16(query[at+1:])}
	rcode := uint16(nameError)
	for other := range z {
		if other.name == k.name {
			rcode = 0
		}
	}
	if strings.HasSuffix(k.name, "fail.example.") {
		rcode = serverFailure
	}
	reply := bytes.Clone(query[:2])
	for _, n := range []uint16{0x8580 | rcode, 1, uint16(len(z[k])), 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, n)
	}
	reply = append(reply, question...)
	for _, data := range z[k] {
		reply = append(reply, 0xc0, 12) // the name of the question
		reply = binary.BigEndian.AppendUint16(reply, k.qtype)
		reply = append(reply, 0, 1, 0, 0, 0, 60)
		reply = binary.BigEndian.AppendUint16(reply, uint16(len(data)))
		reply = append(reply, data...)
	}
	return reply
}

// record returns the data of an SRV record.
func record(priority, weight, port uint16, target string) []byte {
	var data []byte
	for _, n := range []uint16{priority, weight, port} {
		data = binary.BigEndian.AppendUint16(data, n)
	}
	for label := range strings.SplitSeq(strings.Trim(target, "."), ".") {
		if label != "" {
			data = append(append(data, byte(len(label))), label...)
		}
	}
	return append(data, 0)
}

func address(text string) []byte { return netip.MustParseAddr(text).AsSlice() }

// serve answers queries from a zone until the test ends, and returns a resolver
// that asks it.
func serve(t *testing.T, z zone) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for buffer := make([]byte, 4096); ; {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			conn.WriteTo(z.answer(buffer[:n]), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestLookup(t *testing.T) {
	resolver := serve(t, zone{
		{"_sips._tcp.a.example.", typeSRV}: {
			record(20, 0, 5061, "late.example"), record(10, 1, 5061, "light.example"),
			record(10, 9, 5071, "heavy.example"), record(10, 1, 5061, "gone.example"),
		},
		{"late.example.", typeA}:                   {address("192.0.2.20")},
		{"light.example.", typeAAAA}:               {address("2001:db8::1")},
		{"heavy.example.", typeA}:                  {address("192.0.2.9"), address("192.0.2.8")},
		{"heavy.example.", typeAAAA}:               {address("2001:db8::9")},
		{"_xmpp-client._tcp.a.example.", typeSRV}:  {record(5, 0, 5222, "heavy.example")},
		{"_xmpps-client._tcp.a.example.", typeSRV}: {record(0, 0, 0, ".")},
		{"_xmpps-server._tcp.a.example.", typeA}:   {address("192.0.2.1")},
		{"_xmpp-server._tcp.a.example.", typeSRV}:  {record(0, 0, 5269, "fail.example")},
	})
	addrs := func(texts ...string) (parsed []netip.Addr) {
		for _, text := range texts {
			parsed = append(parsed, netip.MustParseAddr(text))
		}
		return parsed
	}
	heavy := addrs("192.0.2.8", "192.0.2.9", "2001:db8::9")
	for _, c := range []struct {
		domain string
		kind   Kind
		want   []Answer
		says   []string // the errors, in their order
	}{
		{
			domain: "a.example", kind: SIP,
			want: []Answer{{Name: "_sips._tcp.a.example", Service: "sips", Targets: []Target{
				{Host: "heavy.example", Port: 5071, Priority: 10, Weight: 9, Addrs: heavy},
				{Host: "gone.example", Port: 5061, Priority: 10, Weight: 1},
				{Host: "light.example", Port: 5061, Priority: 10, Weight: 1, Addrs: addrs("2001:db8::1")},
				{Host: "late.example", Port: 5061, Priority: 20, Addrs: addrs("192.0.2.20")},
			}}},
			says: []string{"the SRV target gone.example has no address"},
		},
		{
			domain: "a.example", kind: XMPP,
			want: []Answer{
				{Name: "_xmpp-client._tcp.a.example", Service: "xmpp-client", Targets: []Target{
					{Host: "heavy.example", Port: 5222, Priority: 5, Addrs: heavy},
				}},
				{Name: "_xmpps-client._tcp.a.example", Service: "xmpps-client", Refused: true},
				{Name: "_xmpp-server._tcp.a.example", Service: "xmpp-server", Targets: []Target{
					{Host: "fail.example", Port: 5269},
				}},
				{Name: "_xmpps-server._tcp.a.example", Service: "xmpps-server"},
			},
			says: []string{"look up addresses of fail.example"},
		},
		{
			domain: "none.example", kind: SIP,
			want: []Answer{{Name: "_sips._tcp.none.example", Service: "sips"}},
		},
		{
			domain: "fail.example", kind: SIP,
			want: []Answer{{Name: "_sips._tcp.fail.example", Service: "sips"}},
			says: []string{"look up SRV records of _sips._tcp.fail.example"},
		},
	} {
		t.Run(string(c.kind)+" "+c.domain, func(t *testing.T) {
			got := Lookup(t.Context(), resolver, c.domain, c.kind)
			errorless := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Err" }, cmp.Ignore())
			if diff := cmp.Diff(c.want, got, errorless, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var errs []error
			for _, answer := range got {
				if answer.Err != nil {
					errs = append(errs, answer.Err)
				}
				for _, target := range answer.Targets {
					if target.Err != nil {
						errs = append(errs, target.Err)
					}
				}
			}
			if len(errs) != len(c.says) {
				t.Fatalf("errors %v, want %q", errs, c.says)
			}
			for i, err := range errs {
				if !strings.Contains(err.Error(), c.says[i]) {
					t.Errorf("error %q does not say %q", err, c.says[i])
				}
			}
		})
	}
}

// TestLookupHasLimits wants whoever writes the records not to decide how many
// connections are made.
func TestLookupHasLimits(t *testing.T) {
	z := zone{}
	for i := range MostTargets + 1 {
		host := fmt.Sprintf("h%d.example.", i)
		z[key{"_sips._tcp.a.example.", typeSRV}] = append(z[key{"_sips._tcp.a.example.", typeSRV}], record(uint16(i), 0, 5061, host))
		z[key{host, typeA}] = [][]byte{{192, 0, 2, byte(i)}}
	}
	for i := range MostAddrs + 1 {
		z[key{"h0.example.", typeAAAA}] = append(z[key{"h0.example.", typeAAAA}], address(fmt.Sprintf("2001:db8::%d", i)))
	}
	got := Lookup(t.Context(), serve(t, z), "a.example", SIP)[0]
	if len(got.Targets) != MostTargets || got.Targets[MostTargets-1].Host != "h15.example" || got.Err == nil || !strings.Contains(got.Err.Error(), "names 17 hosts, of which only the first 16") {
		t.Errorf("targets %v, error %v", got.Targets, got.Err)
	}
	first := got.Targets[0]
	if len(first.Addrs) != MostAddrs || first.Addrs[0] != netip.MustParseAddr("192.0.2.0") || first.Err == nil || !strings.Contains(first.Err.Error(), "h0.example has 10 addresses, of which only the first 8") {
		t.Errorf("addresses %v, error %v", first.Addrs, first.Err)
	}
}
