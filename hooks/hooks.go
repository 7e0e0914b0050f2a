// Package hooks knows the ACME clients that call certlatch: one file a client,
// and a table of them. A client's environment and arguments go in; which
// lineage it means comes out, as data.
//
// Whatever a client hands over is hostile input: only a path is taken from it,
// never a command, and the names in a certificate are read from the
// certificate. Nothing here touches the host.
package hooks

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Env looks up a variable of the environment, like os.Getenv.
type Env func(string) string

// Event is what a client said: the files of this lineage were renewed.
type Event struct {
	Client string // a lineage.Kind's name
	Path   string // where the lineage is, as the client said; clean and absolute
}

// NotCalledError says that the environment is not that of a client's hook.
type NotCalledError struct{ Client, Missing string }

func (e *NotCalledError) Error() string {
	return fmt.Sprintf("this was not called by %s: %s", e.Client, e.Missing)
}

// InputError says that a client's word cannot be what the client means.
type InputError struct{ Client, What string }

func (e *InputError) Error() string { return fmt.Sprintf("%s hook: %s", e.Client, e.What) }

// Setup is how certlatch gets into a client's hooks.
type Setup struct {
	Dir    string // the client runs every executable in it; empty: it has no such directory
	Link   string // the name to give certlatch there
	Advice string // for people: what it does, and the line to add by hand; %s is certlatch's path
}

// Client knows one ACME client.
type Client interface {
	// Name is the word for the command line.
	Name() string

	// Event reads a client's call. It fails with a *NotCalledError where
	// the client did not call, else with an *InputError.
	Event(env Env, args []string) (Event, error)

	Setup() Setup
}

// All is the table of clients.
func All() []Client { return []Client{certbot{}} }

// For finds a client by its name.
func For(name string) (Client, bool) {
	for _, c := range All() {
		if c.Name() == name {
			return c, true
		}
	}
	return nil, false
}

// Names lists the clients' names.
func Names() []string {
	var names []string
	for _, c := range All() {
		names = append(names, c.Name())
	}
	return names
}

// Detect finds the client that called, from the environment.
func Detect(env Env, args []string) (Client, error) {
	for _, c := range All() {
		if _, err := c.Event(env, args); err == nil || !isNotCalled(err) {
			return c, nil
		}
	}
	return nil, &NotCalledError{Client: "an ACME client", Missing: "the environment names no lineage"}
}

func isNotCalled(err error) bool {
	_, is := err.(*NotCalledError)
	return is
}

// linkName is the form of the names under which certlatch is a client's hook.
// Clients run hooks in the order of their names, so a number may go before.
var linkName = regexp.MustCompile(`^(?:[0-9]+-)?certlatch-hook-([a-z.]+)$`)

// CalledAs finds the client whose hook certlatch is when it runs under the
// given name (argv[0]).
func CalledAs(program string) (Client, bool) {
	match := linkName.FindStringSubmatch(path.Base(program))
	if match == nil {
		return nil, false
	}
	return For(match[1])
}

// cleanPath checks a path that came from outside.
func cleanPath(client, variable, text string) (string, error) {
	switch {
	case len(text) > 4096:
		return "", &InputError{client, variable + " is longer than any path"}
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", &InputError{client, fmt.Sprintf("%s holds control characters: %.100q", variable, text)}
	case !path.IsAbs(text):
		return "", &InputError{client, fmt.Sprintf("%s is not an absolute path: %.100q", variable, text)}
	}
	return path.Clean(text), nil
}
