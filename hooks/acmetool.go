package hooks

import (
	"bufio"
	"fmt"
	"path"

	"github.com/certlatch/certlatch/internal/lineage"
)

// acmetool runs every executable in its hook directory with an event as the
// first argument. live-updated has the host names whose link in live/ leads to
// another certificate now, one a line, on standard input, and the state
// directory in ACME_STATE_DIR. A hook says by exit status 42 that it does not
// handle an event (acmetool 0.2.2 hooks/hooks.go, _doc/SCHEMA.md; Debian sets
// the directory /etc/acme/hooks).
type acmetool struct{}

func (acmetool) Name() string { return "acmetool" }

// maxHosts bounds what is read from acmetool, in bytes: certificates have at
// most some hundred names, and a name at most 253 bytes.
const maxHosts = 1 << 20

func (acmetool) Evidence(call Call) string {
	if len(call.Args) == 0 {
		return ""
	}
	return call.variable("ACME_STATE_DIR")
}

func (a acmetool) Events(call Call) ([]Event, error) {
	if len(call.Args) == 0 {
		return nil, &NotCalledError{a.Name(), "there is no event such as live-updated"}
	}
	if event := call.Args[0]; event != "live-updated" {
		return nil, &UnsupportedError{a.Name(), event}
	}
	if call.variable("ACME_STATE_DIR") == "" {
		return nil, &NotCalledError{a.Name(), "ACME_STATE_DIR is not set"}
	}
	state, err := cleanPath(a.Name(), "ACME_STATE_DIR", call.Env("ACME_STATE_DIR"))
	if err != nil {
		return nil, err
	}
	var events []Event
	lines := bufio.NewScanner(call.Input)
	for size := 0; lines.Scan(); {
		host := lines.Text()
		if size += len(host) + 1; size > maxHosts {
			return nil, &InputError{a.Name(), "there are more host names than any certificate has"}
		}
		dir, err := cleanPath(a.Name(), "a host name", state+"/live/"+host)
		if err != nil {
			return nil, err
		}
		if path.Dir(dir) != path.Join(state, "live") || path.Base(dir) != host {
			return nil, &InputError{a.Name(), fmt.Sprintf("this is no host name: %.100q", host)}
		}
		events = append(events, Event{Client: a.Name(), Path: dir})
	}
	if err := lines.Err(); err != nil {
		return nil, &InputError{a.Name(), fmt.Sprintf("read host names: %v", err)}
	}
	return events, nil
}

// Layout is that of live/HOST, a link to certs/ID, where privkey is a link to
// keys/ID (acmetool 0.2.2 _doc/SCHEMA.md).
func (acmetool) Layout() lineage.Layout {
	return lineage.Layout{Fullchain: "{dir}/fullchain", Key: "{dir}/privkey", Literal: true, Beside: [2]string{"certs", "keys"}}
}

func (acmetool) Places() []string { return []string{"/var/lib/acme/live"} }

func (acmetool) Setup(self string) Setup {
	return Setup{
		Dirs:  []string{"/etc/acme/hooks", "/usr/lib/acme/hooks", "/usr/libexec/acme/hooks"},
		Needs: ".",
		Parts: []Part{{Name: "certlatch-hook-acmetool", Link: self}},
		Advice: `acmetool runs every executable in that directory when it has put a certificate
live. It names hosts: each name of a certificate is a lineage, and a target takes it
by any one of them. Services that acmetool's own "reload" hook reloads are better left
out of that (SERVICES in /etc/default/acme-reload): certlatch does it.
`,
	}
}
