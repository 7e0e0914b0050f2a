package engine

import (
	"encoding/json"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/lineage"
)

// channel is a control channel of Kamailio's kind, whose answers to its methods
// are those of the map, as JSON; it does not answer others. asked is sent each.
func channel(t *testing.T, answers map[string]string, asked chan<- string) deployers.Channel {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rpc.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 1<<10)
		for {
			n, from, err := conn.ReadFromUnix(buffer)
			if err != nil {
				return
			}
			var call struct {
				Method string
				ID     json.RawMessage
			}
			if json.Unmarshal(buffer[:n], &call) != nil {
				continue
			}
			asked <- call.Method
			if answer := answers[call.Method]; answer != "" {
				_, _ = conn.WriteTo([]byte(`{"jsonrpc":"2.0","id":`+string(call.ID)+`,`+answer+`}`), from)
			}
		}
	}()
	return deployers.Channel{Protocol: deployers.JSONRPC, Address: path}
}

// A question is asked once a run, and again once its service was activated.
func TestAskedOnce(t *testing.T) {
	asked := make(chan string, 10)
	talks := channel(t, map[string]string{"a": `"result":"1"`, "b": `"result":"2"`}, asked)
	ask := func(l *lookups, method, want string) {
		t.Helper()
		if got := l.answer(t.Context(), "sip.service", deployers.Query{Channel: talks, Method: method}); got.Reply != want {
			t.Errorf("the answer to %s is %+v", method, got)
		}
	}
	l := newLookups()
	l.units["sip.service"] = deployers.Unit{MainPID: 1}
	for range 2 {
		ask(l, "a", "1")
		ask(l, "b", "2")
	}
	l.forget("web.service")
	ask(l, "a", "1")
	if len(asked) != 2 {
		t.Errorf("%d questions were asked", len(asked))
	}
	l.forget("sip.service")
	ask(l, "a", "1")
	if len(asked) != 3 || len(l.units) != 0 {
		t.Errorf("after the activation it is %d questions, and the units are %v", len(asked), l.units)
	}
}

// A channel that gives no answer is asked nothing else, and costs the time of
// one answer.
func TestSilentChannel(t *testing.T) {
	asked := make(chan string, 10)
	silent, talks := channel(t, nil, asked), channel(t, map[string]string{"a": `"result":"1"`}, asked)
	l := newLookups()
	l.left = 0
	began := time.Now()
	for _, method := range []string{"a", "a", "b", "c"} {
		if got := l.answer(t.Context(), "sip.service", deployers.Query{Channel: silent, Method: method}); got.Err == "" || !got.Sent {
			t.Errorf("got %+v", got)
		}
	}
	if took := time.Since(began); took < lastPatience || took >= 2*lastPatience {
		t.Errorf("it took %s", took)
	}
	if l.left > -lastPatience {
		t.Errorf("what is left of the patience is %s", l.left)
	}
	if got := l.answer(t.Context(), "sip.service", deployers.Query{Channel: talks, Method: "a"}); got.Reply != "1" {
		t.Errorf("the other channel: %+v", got)
	}
	if len(asked) != 2 {
		t.Errorf("%d questions were asked", len(asked))
	}
	l.forget("sip.service")
	if len(l.silent) != 0 {
		t.Errorf("it is not asked again after its activation: %v", l.silent)
	}
}

// Services that are asked nothing do not wait for those that are, and those
// that are only taken along wait for the others.
func TestInTurn(t *testing.T) {
	make := func(name, service, unit, lineageName string) *item {
		d, _ := deployers.For(service)
		return newItem(config.Target{Target: deployers.Target{Name: name, Service: service, Unit: unit, Options: d.Options()}}, lineage.Lineage{Name: lineageName})
	}
	items := []*item{
		make("sip", "kamailio", "kamailio.service", "own"), make("web", "nginx", "nginx.service", "own"),
		make("web2", "nginx", "nginx.service", "other"), make("xmpp", "prosody", "prosody.service", "other"),
		make("sip2", "kamailio", "kamailio2.service", "other"), make("trunk", "generic", "kamailio.service", "other"),
	}
	for _, test := range []struct {
		req  Request
		want string
	}{
		{Request{}, "web web2 xmpp|sip sip2 trunk||"},
		{Request{Share: true, Lineages: []string{"own"}}, "web web2|sip trunk|xmpp|sip2"},
	} {
		var turns []string
		for _, turn := range (&run{req: test.req}).inTurn(slices.Clone(items)) {
			var names []string
			for _, it := range turn {
				names = append(names, it.target.Name)
			}
			turns = append(turns, strings.Join(names, " "))
		}
		if got := strings.Join(turns, "|"); got != test.want {
			t.Errorf("got %s and not %s", got, test.want)
		}
	}
}
