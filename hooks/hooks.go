// Package hooks knows the ACME clients that call certlatch: one file a client,
// and a table of them. A client's environment, arguments and input go in; the
// lineages that it means come out, as data. The package also knows how each
// client keeps lineages, where, and how certlatch gets into its hooks. Package
// hookstest is what every client must hold.
//
// Whatever a client hands over is hostile input: only paths are taken from it,
// never a command, and the names in a certificate are read from the
// certificate. Nothing here touches the host. Whether a path leads to a
// lineage, and to nothing else, is for package lineage to check.
package hooks

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/internal/lineage"
)

// Env looks up a variable of the environment, like os.Getenv.
type Env func(string) string

// Call is a run of certlatch by a client.
type Call struct {
	Env   Env
	Args  []string  // those of the client, without certlatch's own
	Input io.Reader // standard input; only read where a client writes to it
}

// Event is what a client said about one lineage.
type Event struct {
	Client    string // its name
	Path      string // where the lineage is, as the client said; clean and absolute
	Unchanged bool   // it was not renewed; what is pending may be tried again
}

// LineageName returns the name of the lineage at the event's path, or "" where
// the client keeps no lineage there.
func (e Event) LineageName() string {
	keeper, ok := KeeperFor(e.Client)
	if !ok {
		return ""
	}
	return keeper.Root(path.Dir(e.Path)).NameAt(e.Path)
}

// NotCalledError says that a call is not that of a client's hook.
type NotCalledError struct{ Client, Missing string }

func (e *NotCalledError) Error() string {
	return fmt.Sprintf("this was not called by %s: %s", e.Client, e.Missing)
}

// InputError says that a value that a client handed over is not what the client
// hands over there.
type InputError struct{ Client, What string }

func (e *InputError) Error() string { return fmt.Sprintf("%s hook: %s", e.Client, e.What) }

// UnsupportedError says that certlatch handles no such event. Only clients that
// want to know so have it.
type UnsupportedError struct{ Client, Event string }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s hook: nothing to do at %.100q", e.Client, e.Event)
}

// AmbiguousError says that a call shows evidence of several clients.
type AmbiguousError struct {
	Clients  []string
	Evidence []string // for each
}

func (e *AmbiguousError) Error() string {
	var said []string
	for i, client := range e.Clients {
		said = append(said, fmt.Sprintf("%s speaks of %s", e.Evidence[i], client))
	}
	return "cannot tell which ACME client called: " + strings.Join(said, ", ")
}

// Client is an ACME client: what it calls hooks with, and how and where it
// keeps lineages.
type Client interface {
	// Name returns the client's name on the command line.
	Name() string

	// Evidence returns the variable or argument that shows a call to be this
	// client's, or "".
	Evidence(Call) string

	// Events returns what the client said with a call, which may be nothing.
	// The error is a *NotCalledError where the client did not call, an
	// *UnsupportedError, or an *InputError.
	Events(Call) ([]Event, error)

	// Layout returns how the client keeps lineages below a directory.
	Layout() lineage.Layout

	// Places returns the directories in which the client usually keeps
	// lineages. Where no root is configured, the first is one, if it exists.
	Places() []string

	// Setup returns what puts the certlatch at the path self into the client's
	// hooks.
	Setup(self string) Setup
}

// All returns every client, in the order in which they are documented.
func All() []Client {
	return []Client{
		certbot{},
		acmesh{},
		lego{},
		dehydrated{},
		acmetool{},
	}
}

// For returns the client with a name, and reports whether there is one.
func For(name string) (Client, bool) {
	for _, c := range All() {
		if c.Name() == name {
			return c, true
		}
	}
	return nil, false
}

// Names returns the clients' names.
func Names() []string {
	var names []string
	for _, c := range All() {
		names = append(names, c.Name())
	}
	return names
}

// Detect returns the client that called. It fails with a *NotCalledError or an
// *AmbiguousError.
func Detect(call Call) (Client, error) {
	var found []Client
	var ambiguous AmbiguousError
	for _, c := range All() {
		if evidence := c.Evidence(call); evidence != "" {
			found = append(found, c)
			ambiguous.Clients = append(ambiguous.Clients, c.Name())
			ambiguous.Evidence = append(ambiguous.Evidence, evidence)
		}
	}
	switch len(found) {
	case 0:
		return nil, &NotCalledError{"an ACME client", "neither the environment nor the arguments name a lineage"}
	case 1:
		return found[0], nil
	}
	return nil, &ambiguous
}

// CalledAs returns the client whose hook certlatch is when it runs under the
// given name (argv[0]). Clients run hooks in the order of their names, so a
// number and a hyphen may go before.
func CalledAs(program string) (Client, bool) {
	name := path.Base(program)
	if number, rest, is := strings.Cut(name, "-"); is && number != "" && strings.Trim(number, "0123456789") == "" {
		name = rest
	}
	client, is := strings.CutPrefix(name, "certlatch-hook-")
	if !is {
		return nil, false
	}
	return For(client)
}

// variable returns the first of some variables that is set, or "".
func (call Call) variable(names ...string) string {
	for _, name := range names {
		if call.Env(name) != "" {
			return name
		}
	}
	return ""
}

// noArguments fails with an *InputError where there are arguments, for clients
// that hand over none.
func (call Call) noArguments(client string) error {
	if len(call.Args) > 0 {
		return &InputError{client, fmt.Sprintf("%.100q is one argument too many", call.Args[0])}
	}
	return nil
}

// cleanPath returns a path that a client handed over, as what, in its shortest
// form. It fails with an *InputError where the path is not absolute or holds a
// control character.
func cleanPath(client, what, text string) (string, error) {
	wrong := func(why string) (string, error) {
		return "", &InputError{client, fmt.Sprintf("%s %s: %.100q", what, why, text)}
	}
	switch {
	case len(text) > 4096:
		return "", &InputError{client, what + " is longer than any path"}
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return wrong("holds control characters")
	case !path.IsAbs(text):
		return wrong("is not an absolute path")
	case slices.Contains(strings.Split(text, "/"), ".."):
		return wrong("leads up again")
	}
	return path.Clean(text), nil
}
