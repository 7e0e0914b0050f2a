package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// NotStartedError says that a program could not be started.
type NotStartedError struct {
	Program string
	Err     error
}

func (e *NotStartedError) Error() string { return fmt.Sprintf("start %s: %v", e.Program, e.Err) }
func (e *NotStartedError) Unwrap() error { return e.Err }

// ExitError says that a program ended with a status other than 0.
type ExitError struct {
	Program string
	Code    int
	Output  Output
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s ended with status %d%s", e.Program, e.Code, e.Output.tail())
}

// KilledError says that a signal ended a program, which this package did not
// send.
type KilledError struct {
	Program string
	Signal  syscall.Signal
	Output  Output
}

func (e *KilledError) Error() string {
	return fmt.Sprintf("%s was ended by a signal: %s%s", e.Program, e.Signal, e.Output.tail())
}

// TimeoutError says that a program was killed because its context ended.
type TimeoutError struct {
	Program string
	Output  Output
	Err     error // the context's cause
}

func (e *TimeoutError) Error() string {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return fmt.Sprintf("%s did not end in time and was killed%s", e.Program, e.Output.tail())
	}
	return fmt.Sprintf("%s was killed before its end: %v%s", e.Program, e.Err, e.Output.tail())
}

func (e *TimeoutError) Unwrap() error { return e.Err }

// tail returns the last lines of standard error, or of standard output where
// that is empty, for an error's message.
func (o Output) tail() string {
	const limit = 400
	text := strings.TrimSpace(o.Stderr)
	if text == "" {
		text = strings.TrimSpace(o.Stdout)
	}
	if text == "" {
		return ""
	}
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\n", "; ")
	if cut := len(text) - limit; cut > 0 {
		if _, whole, found := strings.Cut(text[cut:], "; "); found {
			text = whole
		} else {
			text = strings.ToValidUTF8(text[cut:], "")
		}
	}
	return ": " + text
}
