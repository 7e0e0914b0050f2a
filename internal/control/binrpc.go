package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
)

// The parts of packets of BINRPC (Kamailio 5.6.3 to 6.1.4,
// src/modules/ctl/binrpc.h).
const (
	binMagic = 0xA1 // the magic number 0xA, and version 1

	binRequest = 0
	binReply   = 1
	binFault   = 3

	binInt    = 0
	binString = 1 // ends with a zero byte that its length counts
	binDouble = 2 // a number of thousandths
	binStruct = 3 // values with names, up to an end mark
	binArray  = 4 // values, up to an end mark
	binName   = 5 // of the value that follows; otherwise like a string
	binBytes  = 6 // like a string, without the zero byte
	binTop    = 0xF
)

const (
	binPayloadLimit = 1 << 20 // bytes of a packet's payload; ctl's own buffers hold 64 KiB
	binDepthLimit   = 16      // structs and arrays within each other
	binMethodLimit  = 0x7F    // bytes of a method's name
)

var errBinShort = errors.New("a record goes beyond the end of its packet")

// callBinRPC calls a method at the UNIX stream socket of Kamailio's module
// ctl. The socket belongs to the user that Kamailio runs as, with mode 0600
// (ctl.c), so root and that user reach it.
func callBinRPC(ctx context.Context, path, method string) (reply string, err error) {
	cookie := rand.Uint32()
	request, err := binEncode(method, cookie)
	if err != nil {
		return "", err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer boundByContext(ctx, conn)()
	if _, err := conn.Write(request); err != nil {
		return "", &sentError{err}
	}
	if reply, err = binDecode(conn, cookie); err != nil {
		return "", &sentError{err}
	}
	return reply, nil
}

// binEncode returns the packet that calls a method without parameters.
func binEncode(method string, cookie uint32) ([]byte, error) {
	if method == "" || len(method) > binMethodLimit || strings.ContainsRune(method, 0) {
		return nil, fmt.Errorf("%.20q is not the name of a method", method)
	}
	packet := []byte{
		binMagic, binRequest<<4 | 0<<2 | 3, // one byte of length, four of the cookie
		byte(2 + len(method) + 1),
		byte(cookie >> 24), byte(cookie >> 16), byte(cookie >> 8), byte(cookie),
		9<<4 | binString, byte(len(method) + 1), // the length stands in one more byte
	}
	return append(append(packet, method...), 0), nil
}

// binDecode returns the values in the packet that answers the call with a
// cookie. It fails with a *faultError where the packet is a fault.
func binDecode(r io.Reader, cookie uint32) (string, error) {
	var fixed [2]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return "", fmt.Errorf("read the head of the answer: %w", err)
	}
	if fixed[0] != binMagic {
		return "", errors.New("the answer is not BINRPC of version 1")
	}
	lengthSize, cookieSize := int(fixed[1]>>2&3)+1, int(fixed[1]&3)+1
	head := make([]byte, lengthSize+cookieSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", fmt.Errorf("read the head of the answer: %w", err)
	}
	if bigEndian(head[lengthSize:]) != uint64(cookie) {
		return "", errors.New("the answer is to another call")
	}
	length := bigEndian(head[:lengthSize])
	if length > binPayloadLimit {
		return "", fmt.Errorf("the answer has %d bytes, more than the %d that are read", length, binPayloadLimit)
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	switch records := (&binRecords{rest: payload}); fixed[1] >> 4 {
	case binReply:
		err := records.read(binTop, 0)
		return records.lines.String(), err
	case binFault:
		return "", records.readFault()
	default:
		return "", fmt.Errorf("the answer is neither a reply nor a fault but of type %d", fixed[1]>>4)
	}
}

// binRecords is the part of a payload that is not read yet, and the values that
// were.
type binRecords struct {
	rest  []byte
	lines lines
}

// readFault reads a code and a text, and returns them as a *faultError.
func (b *binRecords) readFault() error {
	kind, code, _, err := b.nextRecord()
	if err != nil {
		return err
	}
	textKind, text, _, err := b.nextRecord()
	if err != nil {
		return err
	}
	if kind != binInt || len(code) > 4 || textKind != binString {
		return errors.New("the fault is not a number and a text")
	}
	return &faultError{int(int32(bigEndian(code))), printable(strings.TrimSuffix(string(text), "\x00"))}
}

// read reads records up to the end mark of what they are in, or at the top to
// the end of the payload.
func (b *binRecords) read(in byte, depth int) error {
	if depth > binDepthLimit {
		return fmt.Errorf("structs and arrays stand more than %d deep in each other", binDepthLimit)
	}
	name := ""
	for len(b.rest) > 0 {
		kind, data, end, err := b.nextRecord()
		switch {
		case err != nil:
			return err
		case end && kind == in && name == "":
			return nil
		case end:
			return errors.New("an end mark stands where nothing ends")
		case kind == binName && (in != binStruct || name != ""):
			return errors.New("a name stands where none belongs")
		case kind == binName:
			name = strings.TrimSuffix(string(data), "\x00")
			continue
		case kind == binStruct || kind == binArray:
			err = b.read(kind, depth+1)
		default:
			var value string
			if value, err = binValue(kind, data); err == nil {
				b.lines.add(name, value)
			}
		}
		if err != nil {
			return err
		}
		name = ""
	}
	if in != binTop || name != "" {
		return errBinShort
	}
	return nil
}

// nextRecord returns the next record, or end where it is an end mark: a record
// whose length stands in no bytes.
func (b *binRecords) nextRecord() (kind byte, data []byte, end bool, err error) {
	head, err := b.takeBytes(1)
	if err != nil {
		return 0, nil, false, err
	}
	kind, size := head[0]&0xF, uint64(head[0]>>4)
	if kind != binDouble && size&8 != 0 {
		if size == 8 {
			return kind, nil, true, nil
		}
		length, err := b.takeBytes(size & 7)
		if err != nil {
			return 0, nil, false, err
		}
		size = bigEndian(length)
	}
	data, err = b.takeBytes(size)
	return kind, data, false, err
}

func (b *binRecords) takeBytes(n uint64) ([]byte, error) {
	if n > uint64(len(b.rest)) {
		return nil, errBinShort
	}
	taken := b.rest[:n]
	b.rest = b.rest[n:]
	return taken, nil
}

// binValue returns the text of a value. Integers have 32 bits and a sign, and
// come without leading zero bytes.
func binValue(kind byte, data []byte) (string, error) {
	switch {
	case kind == binInt && len(data) <= 4:
		return strconv.Itoa(int(int32(bigEndian(data)))), nil
	case kind == binDouble && len(data) <= 8:
		return strconv.FormatFloat(float64(int64(bigEndian(data)))/1000, 'f', -1, 64), nil
	case kind == binString:
		return strings.TrimSuffix(string(data), "\x00"), nil
	case kind == binBytes:
		return string(data), nil
	}
	return "", fmt.Errorf("a value of type %d with %d bytes is not known", kind, len(data))
}

// bigEndian returns the number that at most eight bytes hold.
func bigEndian(data []byte) (n uint64) {
	for _, b := range data {
		n = n<<8 | uint64(b)
	}
	return n
}
