// Package control calls running services at their control channels: one small
// client a protocol. It makes one call and reads one answer, with a time limit.
//
// It does not judge whether an answer means success, and does not promise that
// a call without an answer had no effect: Answer.Sent reports whether it may
// have had one.
package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/certlatch/certlatch/deployers"
)

// callLimit bounds a call, whatever the caller's limit. A Kamailio with many
// domains and processes is busy with tls.reload for seconds.
const callLimit = 15 * time.Second

// Call makes one call without parameters and returns the service's answer,
// which says why where there is none.
func Call(ctx context.Context, q deployers.Query) deployers.Answer {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var reply string
	var err error
	switch q.Channel.Protocol {
	case deployers.BinRPC:
		reply, err = callBinRPC(ctx, q.Channel.Address, q.Method)
	case deployers.JSONRPC:
		reply, err = callJSONRPC(ctx, q.Channel.Address, q.Method)
	case deployers.MIFIFO:
		reply, err = callMIFIFO(ctx, q.Channel.Address, q.Channel.ReplyDir, q.Method)
	case deployers.MIDatagram:
		reply, err = callMIDatagram(ctx, q.Channel.Address, q.Method)
	case deployers.MIHTTP:
		reply, err = callMIHTTP(ctx, q.Channel.Address, q.Method)
	default:
		err = fmt.Errorf("no way to talk %s", q.Channel.Protocol)
	}
	if fault, ok := errors.AsType[*faultError](err); ok {
		return deployers.Answer{Fault: fault.Error(), Sent: true}
	}
	if err != nil {
		_, sent := errors.AsType[*sentError](err)
		return deployers.Answer{Err: err.Error(), Sent: sent}
	}
	return deployers.Answer{Reply: reply, Sent: true}
}

// faultError is a service's answer that it did not do what was asked.
type faultError struct {
	code int
	text string
}

func (e *faultError) Error() string {
	if e.text == "" {
		return fmt.Sprintf("fault %d", e.code)
	}
	return e.text
}

// sentError is a call that went out and got no answer, or none that can be
// understood.
type sentError struct{ error }

func (e *sentError) Unwrap() error { return e.error }

// boundByContext ends reads and writes of a connection or FIFO when the context
// ends, until release is called.
func boundByContext(ctx context.Context, conn interface{ SetDeadline(time.Time) error }) (release func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// lines are the values of a reply, a line each, those with a name as "name:
// value".
type lines struct{ strings.Builder }

func (l *lines) add(name, value string) {
	if l.Len() > 0 {
		l.WriteByte('\n')
	}
	if name != "" {
		l.WriteString(printable(name) + ": ")
	}
	l.WriteString(printable(value))
}

// printable returns a text with spaces for its control characters, so that it
// stays on one line.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
