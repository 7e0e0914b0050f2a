package hooks

import (
	"fmt"
	"strings"
)

// Caller is what can be made to call certlatch after a renewal, if only by hand. Every
// [Client] is one.
type Caller interface {
	// Name returns the caller's name on the command line.
	Name() string

	// Setup returns what makes it call the certlatch at the path self.
	Setup(self string) Setup
}

// byHand is a caller that certlatch can put nothing into: what calls "certlatch deploy"
// is its admin's to write, or there is nothing that could call.
type byHand struct {
	name   string
	advice func(self string) string
}

func (b byHand) Name() string            { return b.name }
func (b byHand) Setup(self string) Setup { return Setup{Advice: b.advice(self)} }

// Callers returns all callers: the clients, then those that are set up by hand, and
// last what calls nobody.
func Callers() []Caller {
	var callers []Caller
	for _, c := range All() {
		callers = append(callers, c)
	}
	for _, k := range Keepers() {
		if k.ByHand != nil {
			callers = append(callers, byHand{k.Name, k.ByHand})
		}
	}
	callers = append(callers, step(), certmonger())
	for _, o := range Others() {
		callers = append(callers, byHand{o.Name, func(string) string { return "That is " + o.Is + ".\n" }})
	}
	return callers
}

// CallerFor returns the caller with a name, and reports whether there is one.
func CallerFor(name string) (Caller, bool) {
	for _, c := range Callers() {
		if c.Name() == name {
			return c, true
		}
	}
	return nil, false
}

// CallerNames returns the callers' names.
func CallerNames() []string {
	var names []string
	for _, c := range Callers() {
		names = append(names, c.Name())
	}
	return names
}

// servesItself returns the advice about a keeper that serves what it keeps itself.
func servesItself(name, server, place, why string) func(string) string {
	return func(string) string {
		return fmt.Sprintf(`%[2]s serves what it has had issued by itself, and certlatch does nothing for that. %[4]s
Where another service is to have such a certificate, write

    lineages:
      - %[1]s: %[3]s

and let the daemon deploy what changes there:

    systemctl enable --now certlatch-watch.service
`, name, server, place, why)
	}
}

// blanks returns the advice about a path with blanks to a program that splits
// commands at them, or "".
func blanks(program, self string) string {
	if !strings.ContainsAny(self, " \t\n\v\f\r") {
		return ""
	}
	return fmt.Sprintf(`%s splits its hooks at blanks, and knows no quotes: it cannot call

    %s

Put certlatch, or a link to it, at a path without blanks.
`, program, self)
}
