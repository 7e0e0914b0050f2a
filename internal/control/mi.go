package control

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"syscall"
)

// miAnswerLimit bounds an answer, in bytes. In that of tls_list a domain takes
// some 400.
const miAnswerLimit = 4 << 20

// miRequest returns a request of OpenSIPS's management interface, which is
// JSON-RPC 2.0 on every transport (mi/mi.c, from 3.0 on), and its id.
func miRequest(method string) (request []byte, id int32, err error) {
	id = mathrand.Int32()
	request, err = json.Marshal(map[string]any{"jsonrpc": "2.0", "method": method, "id": id})
	return request, id, err
}

// miDecode returns the values in the answer to the call with an id. It fails
// with a *faultError, or with a *sentError.
func miDecode(text []byte, id int32) (string, error) {
	reply, err := jsonDecode(text, id)
	if _, fault := errors.AsType[*faultError](err); err != nil && !fault {
		return "", &sentError{err}
	}
	return reply, err
}

// callMIDatagram calls a method at the socket of module mi_datagram: a path,
// or HOST:PORT for UDP.
func callMIDatagram(ctx context.Context, address, method string) (string, error) {
	request, id, err := miRequest(method)
	if err != nil {
		return "", err
	}
	if filepath.IsAbs(address) {
		return callMIUnix(ctx, address, request, id)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer boundByContext(ctx, conn)()
	if _, err := conn.Write(request); err != nil {
		return "", err
	}
	buffer := make([]byte, jsonAnswerLimit)
	n, err := conn.Read(buffer)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "", err // nobody listens, so nothing was sent
	case err != nil:
		return "", &sentError{err}
	}
	return miDecode(buffer[:n], id)
}

// callMIUnix makes a call at a UNIX datagram socket. OpenSIPS answers from a
// second socket, which has no name (datagram_fnc.c of 3.6.8,
// mi_init_datagram_server), so the answer may come from anywhere, and counts
// by its id, which nobody else was told. Like Kamailio's it comes to an
// abstract address, since OpenSIPS may not write to a socket file of root's.
func callMIUnix(ctx context.Context, path string, request []byte, id int32) (string, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: "@certlatch-" + rand.Text()})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer boundByContext(ctx, conn)()
	if _, err := conn.WriteToUnix(request, &net.UnixAddr{Net: "unixgram", Name: path}); err != nil {
		return "", err // a datagram is sent as a whole or not at all
	}
	for buffer := make([]byte, jsonAnswerLimit); ; {
		n, _, err := conn.ReadFromUnix(buffer)
		if err != nil {
			return "", &sentError{err}
		}
		var answer struct{ ID int64 }
		if err := json.Unmarshal(buffer[:n], &answer); err == nil && answer.ID == int64(id) {
			return miDecode(buffer[:n], id)
		}
	}
}

// callMIHTTP calls a method at the URL of module mi_http. A fault comes with
// status 200 too, so any other status is no answer, a redirect included.
func callMIHTTP(ctx context.Context, url, method string) (string, error) {
	request, id, err := miRequest(method)
	if err != nil {
		return "", err
	}
	connected := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(request))
	if err != nil {
		return "", err
	}
	post.Header.Set("Content-Type", "application/json") // mi_http refuses any other
	client := http.Client{
		// A transport of its own: no proxy of the environment, nothing kept open.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(post)
	switch {
	case err != nil && !connected:
		return "", err
	case err != nil:
		return "", &sentError{err}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", &sentError{fmt.Errorf("POST %s: the answer has the status %s", url, printable(response.Status))}
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, miAnswerLimit))
	if err != nil {
		return "", &sentError{err}
	}
	return miDecode(text, id)
}
