package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/certlatch/certlatch/deployers"
)

// TestTLSList decodes the answers of OpenSIPS 3.6.8 to tls_list.
func TestTLSList(t *testing.T) {
	answers, err := filepath.Glob("../../deployers/opensips/testdata/tls_list-*.json")
	if err != nil || len(answers) == 0 {
		t.Fatalf("no answers: %v", err)
	}
	for _, path := range answers {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(strings.TrimSuffix(path, "json") + "txt")
			if err != nil {
				t.Fatal(err)
			}
			got, err := jsonDecode(text, 1)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// answering returns an answerer whose answers hold a part of a JSON-RPC object,
// and the request's id.
func answering(part string) answerer {
	return func(request []byte) []byte {
		var call struct{ ID json.RawMessage }
		if err := json.Unmarshal(request, &call); err != nil {
			return []byte(err.Error())
		}
		return []byte(`{"jsonrpc":"2.0",` + part + `,"id":` + string(call.ID) + `}`)
	}
}

// fifoServer reads one call as mi_fifo does. It answers in two pieces, to each
// of which it opens the caller's FIFO anew. Where the answer is nil, it closes
// the FIFO, as a daemon that crashes does.
func fifoServer(t *testing.T, answer answerer) deployers.Channel {
	t.Helper()
	dir := t.TempDir()
	channel := deployers.Channel{Protocol: deployers.MIFIFO, Address: filepath.Join(dir, "opensips_fifo"), ReplyDir: filepath.Join(dir, "replies")}
	if err := errors.Join(os.Mkdir(channel.ReplyDir, 0o1777), unix.Mkfifo(channel.Address, 0o600)); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(channel.Address, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fifo.Close()
		if left, err := os.ReadDir(channel.ReplyDir); err != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, err)
		}
	})
	go func() {
		buffer := make([]byte, 4096)
		n, err := fifo.Read(buffer)
		if err != nil {
			return
		}
		parts := regexp.MustCompile(`^:([^:./\\]+):(.*)$`).FindSubmatch(buffer[:n])
		if parts == nil {
			t.Errorf("the call is %q", buffer[:n])
			return
		}
		reply := answer(parts[2])
		if reply == nil {
			fifo.Close()
		}
		for _, piece := range [][]byte{reply[:len(reply)/2], reply[len(reply)/2:]} {
			caller, err := os.OpenFile(filepath.Join(channel.ReplyDir, string(parts[1])), os.O_WRONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				return // the caller has given up, as the test expects, or fails for
			}
			_, _ = caller.Write(piece)
			caller.Close()
		}
	}()
	return channel
}

// unixServer answers from a second socket without a name, as mi_datagram does,
// after somebody else has sent nonsense.
func unixServer(t *testing.T, answer answerer) deployers.Channel {
	t.Helper()
	conn := listenUnixgram(t)
	answerOnce(t, conn, func(request []byte, from net.Addr) {
		for _, reply := range [][]byte{[]byte("nonsense"), []byte(`{"jsonrpc":"2.0","result":"OK","id":-1}`), answer(request)} {
			sender, err := net.DialUnix("unixgram", nil, from.(*net.UnixAddr))
			if err != nil {
				return
			}
			_, _ = sender.Write(reply)
			sender.Close()
		}
	})
	return deployers.Channel{Protocol: deployers.MIDatagram, Address: conn.LocalAddr().String()}
}

func udpServer(t *testing.T, answer answerer) deployers.Channel {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answerOnce(t, conn, func(request []byte, from net.Addr) { _, _ = conn.WriteTo(answer(request), from) })
	return deployers.Channel{Protocol: deployers.MIDatagram, Address: conn.LocalAddr().String()}
}

func httpServer(t *testing.T, answer answerer) deployers.Channel {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		if _, err := body.ReadFrom(r.Body); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.URL.Path != "/mi" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		_, _ = w.Write(answer(body.Bytes()))
	}))
	t.Cleanup(server.Close)
	return deployers.Channel{Protocol: deployers.MIHTTP, Address: server.URL + "/mi"}
}

func TestMI(t *testing.T) {
	for name, serve := range map[string]func(*testing.T, answerer) deployers.Channel{
		"FIFO": fifoServer, "UNIX": unixServer, "UDP": udpServer, "HTTP": httpServer,
	} {
		t.Run(name, func(t *testing.T) {
			for _, test := range []struct {
				name   string
				answer answerer
				want   deployers.Answer
			}{
				{"a reply", answering(`"result":"OK"`), deployers.Answer{Reply: "OK", Sent: true}},
				{"a long one", answering(`"result":"` + strings.Repeat("x", 60_000) + `"`), deployers.Answer{Reply: strings.Repeat("x", 60_000), Sent: true}},
				{"a fault", answering(`"error":{"code":500,"message":"DB url not set"}`), deployers.Answer{Fault: "DB url not set", Sent: true}},
				{"neither", answering(`"more":1`), deployers.Answer{Err: "the answer holds neither a result nor an error", Sent: true}},
			} {
				t.Run(test.name, func(t *testing.T) {
					got := Call(t.Context(), deployers.Query{Channel: serve(t, test.answer), Method: "tls_reload"})
					if diff := cmp.Diff(test.want, got); diff != "" {
						t.Error(diff)
					}
				})
			}
		})
	}
}

// TestMICrash wants a call to a daemon that dies of it to end at once, as one
// that was sent.
func TestMICrash(t *testing.T) {
	for name, test := range map[string]struct {
		channel deployers.Channel
		says    string
	}{
		"FIFO": {fifoServer(t, func([]byte) []byte { return nil }), "read the answer: OpenSIPS stopped reading its FIFO before it answered"},
		"HTTP": {httpServer(t, func([]byte) []byte { panic(http.ErrAbortHandler) }), "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Call(t.Context(), deployers.Query{Channel: test.channel, Method: "tls_reload"})
			if !got.Sent || !strings.HasSuffix(got.Err, test.says) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestMIUnreachable(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(at("file"), nil, 0o600), unix.Mkfifo(at("unread"), 0o600), os.Symlink("unread", at("link"))); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	for _, test := range []struct {
		protocol      deployers.Protocol
		address, says string
	}{
		{deployers.MIFIFO, at("none"), "no such file"},
		{deployers.MIFIFO, at("file"), "is not a FIFO"},
		{deployers.MIFIFO, at("unread"), "nobody reads it"},
		{deployers.MIFIFO, at("link"), "symbolic links"},
		{deployers.MIDatagram, at("none"), "no such file"},
		{deployers.MIDatagram, closed, "connection refused"},
		{deployers.MIHTTP, "http://" + closed + "/mi", "connection refused"},
	} {
		query := deployers.Query{Channel: deployers.Channel{Protocol: test.protocol, Address: test.address, ReplyDir: dir}, Method: "tls_reload"}
		if got := Call(t.Context(), query); got.Sent || !strings.Contains(got.Err, test.says) {
			t.Errorf("%s: got %+v, want %q", test.address, got, test.says)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 3 {
		t.Errorf("there is %v, %v", left, err)
	}
}

func TestMIHTTPStaysThere(t *testing.T) {
	elsewhere := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere = true }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	got := Call(t.Context(), deployers.Query{Channel: deployers.Channel{Protocol: deployers.MIHTTP, Address: server.URL}, Method: "tls_reload"})
	if !got.Sent || !strings.HasSuffix(got.Err, "the answer has the status 307 Temporary Redirect") || elsewhere {
		t.Errorf("got %+v", got)
	}
}
