package control

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
)

// jsonAnswerLimit is more than Linux lets a datagram hold by default
// (net.core.wmem_default, 208 KiB).
const jsonAnswerLimit = 256 << 10

// callJSONRPC calls a method at the UNIX datagram socket of Kamailio's module
// jsonrpcs. The reply is sent to the address that the call came from
// (jsonrpcs_sock.c of 6.0.1, jsonrpc_dgram_server), and Kamailio may not write
// to a socket file of root's. So the call comes from an abstract address
// (unix(7)), which has no file, and must be in Kamailio's network namespace.
func callJSONRPC(ctx context.Context, path, method string) (string, error) {
	request, id, err := miRequest(method) // OpenSIPS and Kamailio take the same request
	if err != nil {
		return "", err
	}
	local := &net.UnixAddr{Net: "unixgram", Name: "@certlatch-" + rand.Text()}
	// Once it is connected, the kernel lets nobody else write to it.
	conn, err := net.DialUnix("unixgram", local, &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer boundByContext(ctx, conn)()
	if _, err := conn.Write(request); err != nil {
		return "", err // a datagram is sent as a whole or not at all
	}
	buffer := make([]byte, jsonAnswerLimit)
	n, err := conn.Read(buffer)
	if err != nil {
		return "", &sentError{err}
	}
	return miDecode(buffer[:n], id)
}

// jsonDecode returns the values in the answer to the call with an id (JSON-RPC
// 2.0, section 5). It fails with a *faultError where the answer is an error.
func jsonDecode(text []byte, id int32) (string, error) {
	var answer struct {
		ID     *int64
		Result json.RawMessage
		Error  *struct {
			Code    int
			Message string
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return "", fmt.Errorf("the answer is not JSON-RPC: %w", err)
	}
	switch {
	case answer.ID == nil || *answer.ID != int64(id):
		return "", errors.New("the answer is to another call")
	case answer.Error != nil:
		return "", &faultError{answer.Error.Code, printable(answer.Error.Message)}
	case answer.Result == nil:
		return "", errors.New("the answer holds neither a result nor an error")
	}
	var values lines
	decoder := json.NewDecoder(bytes.NewReader(answer.Result))
	decoder.UseNumber()
	if err := jsonValues(decoder, "", &values); err != nil {
		return "", fmt.Errorf("the answer is not JSON-RPC: %w", err)
	}
	return values.String(), nil
}

// jsonValues adds the values of a result, as binDecode does those of BINRPC. A
// name may stand in an object several times.
func jsonValues(decoder *json.Decoder, name string, values *lines) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	opened, nested := token.(json.Delim)
	if !nested {
		if token == nil {
			token = "<null string>" // the text that module ctl has for it
		}
		values.add(name, fmt.Sprint(token))
		return nil
	}
	for decoder.More() {
		name := ""
		if opened == '{' {
			key, err := decoder.Token()
			if err != nil {
				return err
			}
			name = fmt.Sprint(key)
		}
		if err := jsonValues(decoder, name, values); err != nil {
			return err
		}
	}
	_, err = decoder.Token() // the closing bracket
	return err
}
