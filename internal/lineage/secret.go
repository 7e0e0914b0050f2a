package lineage

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is bytes that must not be shown: a private key in PEM. However it is
// printed, formatted, logged or marshalled, the result is [REDACTED]. The
// methods have value receivers, so a dereferenced or embedded Secret is covered
// too.
//
// One case is beyond the methods: in a struct field that is not exported, fmt
// calls none, and %s follows even a pointer. Such a field must be a function.
type Secret []byte

const redacted = "[REDACTED]"

func (Secret) String() string               { return redacted }
func (Secret) GoString() string             { return redacted }
func (Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (Secret) MarshalYAML() (any, error)    { return redacted, nil }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
