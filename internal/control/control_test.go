package control

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certlatch/certlatch/deployers"
)

// cookie is the cookie in the recorded packets. Kamailio 6.0.1 wrote them in
// answer to calls with a cookie of four bytes; it leaves out leading zeros.
const cookie = 0xab12

// recorded are answers of Kamailio 6.0.1.
var recorded = map[string]string{
	"tls.reload":        "a11122ab1291204f6b2e20544c5320636f6e66696775726174696f6e2072656c6f616465642e00",
	"tls.list":          "a11100ab12",
	"core.shmmem":       "a1115aab120365746f74616c00520fa0000000556672656500520c760d1380557573656400520228b2b900950a7265616c5f7573656400520329f2ec8095096d61785f757365640052032bc09800950a667261676d656e7473003201b96883",
	"core.sockets_list": "a1150161ab120375736f636b65740003356166005149507634006570726f746f00417564700095086164647265737300910a3132372e302e302e310055706f7274005135303630007561676e616d6500516e6f6e6500656d6361737400316e6f00756d686f6d656400316e6f0095087669727475616c00316e6f008375736f636b65740003356166005149507634006570726f746f00417463700095086164647265737300910a3132372e302e302e310055706f7274005135303630007561676e616d6500516e6f6e6500656d6361737400316e6f00756d686f6d656400316e6f0095087669727475616c00316e6f008375736f636b65740003356166005149507634006570726f746f0041746c730095086164647265737300910a3132372e302e302e310055706f7274005135303631007561676e616d6500516e6f6e6500656d6361737400316e6f00756d686f6d656400316e6f0095087669727475616c00316e6f008383",
	"no such method":    "a1311cab122001f49117636f6d6d616e64206e6f7065206e6f7420666f756e6400",
}

func unhex(t testing.TB, digits string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestBinDecode(t *testing.T) {
	socket := func(proto, port string) string {
		return "af: IPv4\nproto: " + proto + "\naddress: 127.0.0.1\nport: " + port + "\nagname: none\nmcast: no\nmhomed: no\nvirtual: no"
	}
	for _, test := range []struct{ name, packet, want, fails string }{
		{"a text", recorded["tls.reload"], "Ok. TLS configuration reloaded.", ""},
		{"nothing", recorded["tls.list"], "", ""},
		{"a struct of doubles", recorded["core.shmmem"], "total: 67108864\nfree: 53520176\nused: 9272736\nreal_used: 13588688\nmax_used: 13618944\nfragments: 113", ""},
		{"structs in a struct", recorded["core.sockets_list"], socket("udp", "5060") + "\n" + socket("tcp", "5060") + "\n" + socket("tls", "5061"), ""},
		{"a fault", recorded["no such method"], "", "command nope not found"},

		// The examples of binrpc.h.
		{"an integer", "a111 03 ab12 201234", "4660", ""},
		{"no bytes are zero", "a111 01 ab12 00", "0", ""},
		{"a negative integer", "a111 05 ab12 40ffffffff", "-1", ""},
		{"a length of its own", "a111 04 ab12 90021234", "4660", ""},
		{"a length of two bytes", "a111 05 ab12 a000021234", "4660", ""},
		{"an empty text", "a111 02 ab12 1100", "", ""},
		{"bytes", "a111 04 ab12 36616263", "abc", ""},
		{"a fraction", "a111 03 ab12 2205dd", "1.501", ""},
		{"an array", "a111 09 ab12 04 1007 4161626300 84", "7\nabc", ""},
		{"a line break in a text", "a111 05 ab12 41610a6200", "a b", ""},

		{"another version", "a211 01 ab12 00", "", "not BINRPC"},
		{"another call", "a111 01 ab13 00", "", "another call"},
		{"a request", "a101 01 ab12 00", "", "type 0"},
		{"cut off in the head", "a111", "", "read the head"},
		{"cut off", "a111 05 ab12 00", "", "read the answer"},
		{"too much", "a11d 7fffffff ab12", "", "more than"},
		{"a record that is too long", "a111 02 ab12 5161", "", "beyond the end"},
		{"a length that is too long", "a111 05 ab12 d1ffffffff", "", "beyond the end"},
		{"an integer of five bytes", "a111 06 ab12 500102030405", "", "not known"},
		{"an unknown type", "a111 01 ab12 07", "", "not known"},
		{"a struct without end", "a111 01 ab12 03", "", "beyond the end"},
		{"an end without struct", "a111 01 ab12 83", "", "nothing ends"},
		{"an end of something else", "a111 02 ab12 0384", "", "nothing ends"},
		{"a name outside", "a111 03 ab12 256100", "", "none belongs"},
		{"a name without value", "a111 05 ab12 03 256100 83", "", "nothing ends"},
		{"too deep", "a111 14 ab12" + strings.Repeat("04", 20), "", "deep"},
		{"a fault without text", "a131 03 ab12 2001f4", "", "beyond the end"},
		{"a fault of something else", "a131 04 ab12 2001f404", "", "not a number and a text"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := binDecode(bytes.NewReader(unhex(t, test.packet)), cookie)
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Fatalf("error %v, want %q", err, test.fails)
			}
			if diff := cmp.Diff(test.want, got); err == nil && diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBinEncode(t *testing.T) {
	got, err := binEncode("tls.reload", 0x01020304)
	if err != nil {
		t.Fatal(err)
	}
	if want := unhex(t, "a103 0d 01020304 910b 746c732e72656c6f616400"); !bytes.Equal(want, got) {
		t.Errorf("%x instead of %x", got, want)
	}
	for _, method := range []string{"", "a\x00b", strings.Repeat("x", 128)} {
		if _, err := binEncode(method, 1); err == nil {
			t.Errorf("%q is taken", method)
		}
	}
}

func FuzzBinDecode(f *testing.F) {
	for _, packet := range recorded {
		f.Add(unhex(f, packet))
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		reply, err := binDecode(bytes.NewReader(packet), cookie)
		if len(reply) > 4*len(packet)+64 {
			t.Errorf("%d bytes make a reply of %d", len(packet), len(reply))
		}
		fault := new(faultError)
		if errors.As(err, &fault) && strings.ContainsAny(fault.Error(), "\n\x00") {
			t.Errorf("the fault %q has control characters", fault)
		}
	})
}

// The results are those of Kamailio 6.0.1, with jsonrpcs's pretty_format.
func TestJSONDecode(t *testing.T) {
	for _, test := range []struct{ name, text, want, fails string }{
		{"a text", "{\n\t\"jsonrpc\":\t\"2.0\",\n\t\"result\":\t\"Ok. TLS configuration reloaded.\",\n\t\"id\":\t77\n}", "Ok. TLS configuration reloaded.", ""},
		{"an object", `{"jsonrpc":"2.0","result":{"force_run":0,"method":"TLSv1","ca_list":null},"id":77}`, "force_run: 0\nmethod: TLSv1\nca_list: <null string>", ""},
		{"an array", `{"jsonrpc":"2.0","result":[100,"main process",101,"udp"],"id":77}`, "100\nmain process\n101\nudp", ""},
		{"names that come twice", `{"jsonrpc":"2.0","result":[{"socket":{"port":"5060"}},{"socket":{"port":"5061"}}],"id":77}`, "port: 5060\nport: 5061", ""},
		{"nothing", `{"jsonrpc":"2.0","result":[],"id":77}`, "", ""},
		{"a large number", `{"jsonrpc":"2.0","result":67108864000,"id":77}`, "67108864000", ""},
		{"a fault", `{"jsonrpc":"2.0","error":{"code":500,"message":"Method Not Found"},"id":77}`, "", "Method Not Found"},
		{"a fault without text", `{"jsonrpc":"2.0","error":{"code":500},"id":77}`, "", "fault 500"},
		{"another call", `{"jsonrpc":"2.0","result":"","id":78}`, "", "another call"},
		{"no call", `{"jsonrpc":"2.0","result":""}`, "", "another call"},
		{"no result", `{"jsonrpc":"2.0","id":77}`, "", "neither"},
		{"no JSON", `Ok.`, "", "not JSON-RPC"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := jsonDecode([]byte(test.text), 77)
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Fatalf("error %v, want %q", err, test.fails)
			}
			if diff := cmp.Diff(test.want, got); err == nil && diff != "" {
				t.Error(diff)
			}
		})
	}
}

// answerer returns the bytes that answer a request.
type answerer func(request []byte) []byte

// binServer answers one call at a UNIX stream socket.
func binServer(t *testing.T, answer answerer) deployers.Channel {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ctl")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		request := make([]byte, 7+2+11)
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		_, _ = conn.Write(answer(request)) // where this fails, the caller fails
	}()
	return deployers.Channel{Protocol: deployers.BinRPC, Address: path}
}

// jsonServer answers one call at a UNIX datagram socket.
func jsonServer(t *testing.T, answer answerer) deployers.Channel {
	t.Helper()
	conn := listenUnixgram(t)
	answerOnce(t, conn, func(request []byte, from net.Addr) {
		_, _ = conn.WriteTo(answer(request), from) // where this fails, the caller fails
	})
	return deployers.Channel{Protocol: deployers.JSONRPC, Address: conn.LocalAddr().String()}
}

// listenUnixgram opens a UNIX datagram socket with a name of its own.
func listenUnixgram(t *testing.T) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(t.TempDir(), "sock")})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// answerOnce calls answer with the next datagram, unless the test ends before.
func answerOnce(t *testing.T, conn net.PacketConn, answer func(request []byte, from net.Addr)) {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	go func() {
		request := make([]byte, 4096)
		n, from, err := conn.ReadFrom(request)
		if err == nil {
			answer(request[:n], from)
		}
	}()
}

func TestCall(t *testing.T) {
	binReply := func(rest string) answerer {
		return func(request []byte) []byte {
			return append([]byte{0xa1, rest[0], byte(len(rest) - 1), request[3], request[4], request[5], request[6]}, rest[1:]...)
		}
	}
	jsonReply := func(old, new string) answerer {
		return func(request []byte) []byte { return bytes.ReplaceAll(request, []byte(old), []byte(new)) }
	}
	nowhere := filepath.Join(t.TempDir(), "none")
	for _, test := range []struct {
		name    string
		channel deployers.Channel
		want    deployers.Answer
	}{
		{"BINRPC, a reply", binServer(t, binReply("\x13\x31Ok\x00")), deployers.Answer{Reply: "Ok", Sent: true}},
		{"BINRPC, a fault", binServer(t, binReply("\x33\x20\x01\xf4\x31no\x00")), deployers.Answer{Fault: "no", Sent: true}},
		{"BINRPC, the end", binServer(t, func([]byte) []byte { return nil }), deployers.Answer{Err: "read the head of the answer: EOF", Sent: true}},
		{"BINRPC, nobody", deployers.Channel{Protocol: deployers.BinRPC, Address: nowhere}, deployers.Answer{Err: "dial unix " + nowhere + ": connect: no such file or directory"}},
		{"JSON-RPC, a reply", jsonServer(t, jsonReply(`"method":"tls.reload"`, `"result":"Ok"`)), deployers.Answer{Reply: "Ok", Sent: true}},
		{"JSON-RPC, a fault", jsonServer(t, jsonReply(`"method":"tls.reload"`, `"error":{"code":500,"message":"no"}`)), deployers.Answer{Fault: "no", Sent: true}},
		{"JSON-RPC, an echo", jsonServer(t, jsonReply("", "")), deployers.Answer{Err: "the answer holds neither a result nor an error", Sent: true}},
		{"another protocol", deployers.Channel{Protocol: "carrier pigeon"}, deployers.Answer{Err: "no way to talk carrier pigeon"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Call(t.Context(), deployers.Query{Channel: test.channel, Method: "tls.reload"})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCallEnds wants a call to a service that says nothing to end with its
// context.
func TestCallEnds(t *testing.T) {
	for name, serve := range map[string]func(*testing.T, answerer) deployers.Channel{
		"BINRPC": binServer, "JSON-RPC": jsonServer, "FIFO": fifoServer, "UNIX": unixServer, "UDP": udpServer, "HTTP": httpServer,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			silent := make(chan struct{})
			channel := serve(t, func([]byte) []byte {
				cancel()
				<-silent
				return []byte("late")
			})
			got := Call(ctx, deployers.Query{Channel: channel, Method: "tls.reload"})
			close(silent)
			if !got.Sent || got.Err == "" {
				t.Errorf("the call was answered: %+v", got)
			}
		})
	}
}
