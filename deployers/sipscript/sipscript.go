// Package sipscript reads the scripts of Kamailio and OpenSIPS, which both come
// from SER: which modules they load, and what they set for these and for the core.
//
// It does not promise to find what routes do, nor that a script is right. What it
// cannot tell without the program (an expression, a variable of the environment, the
// version) it marks, and does not guess.
package sipscript

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// Dialect is that of one of the two programs.
type Dialect int

const (
	Kamailio Dialect = iota // src/core/cfg.lex, cfg.y and ppcfg.c of 6.0.1
	OpenSIPS                // cfg.lex, cfg.y and cfg_pp.c of 3.6.8
)

// Script is what a script says.
type Script struct {
	// Paths are those that the script is read from: the main file, and what it
	// includes or would include, whether they exist or not. Those that are not among
	// the texts are to be read before the script is known.
	Paths []string

	Statements []Statement // outside of routes, in order
	Doubts     []string    // what it depends on that is not known, for people
}

// Statement is one of a script: a module that is loaded, what is set for a module,
// or what is set for the core.
type Statement struct {
	Name string // loadmodule, modparam or that of the core's parameter; of a block NAME.KEY

	// Args are the path of loadmodule; the module, parameter and value of modparam; or
	// the words of a core parameter, those in quotes being one. What is not known is
	// empty, or a question mark within a word.
	Args []string

	Maybe bool // whether it counts, or what it says, is not known
}

// Read reads a script from its texts, beginning with the main file. Defined are the
// values of Kamailio's option -A, NAME or NAME=VALUE.
func Read(dialect Dialect, main string, defined []string, texts map[string][]deployers.Text) Script {
	r := &reader{dialect: dialect, texts: texts, preprocessor: preprocessor{defines: map[string]definition{}}}
	for _, text := range defined {
		name, value, _ := strings.Cut(text, "=")
		r.defines[name] = definition{value: value}
	}
	r.script.Paths = []string{main}
	text, ok := r.text(main)
	if !ok {
		return r.script
	}
	if dialect == OpenSIPS {
		text = r.flattened(text, main, 0)
	}
	r.open(main, text)
	r.statements()
	return r.script
}

// Set returns the statements that set a parameter of the core.
func (s Script) Set(names ...string) (found []Statement) {
	for _, statement := range s.Statements {
		if slices.Contains(names, statement.Name) {
			found = append(found, statement)
		}
	}
	return found
}

// Params returns the statements of modparam that are about a module.
func (s Script) Params(module string) (found []Statement) {
	for _, statement := range s.Statements {
		if statement.Name == "modparam" && matches(statement.Args[0], module) {
			found = append(found, statement)
		}
	}
	return found
}

// Param returns what is set for a module last; the zero Statement: nothing.
func (s Script) Param(module, param string) (last Statement) {
	for _, statement := range s.Params(module) {
		if statement.Args[1] == param {
			last = statement
		}
	}
	return last
}

// Value returns the last of a statement's arguments; empty: there is none, or it is not
// known.
func (s Statement) Value() string {
	if len(s.Args) == 0 {
		return ""
	}
	return s.Args[len(s.Args)-1]
}

// matches reports whether the first argument of modparam is about a module: it is an
// extended regular expression for the whole name, in any case (modparam.c of Kamailio
// 6.0.1 and of OpenSIPS 3.6.8, set_mod_param_regex).
func matches(pattern, module string) bool {
	if !strings.ContainsAny(pattern, `.*+?[](){}^$\`) {
		return slices.ContainsFunc(strings.Split(pattern, "|"), func(name string) bool { return strings.EqualFold(name, module) })
	}
	expression, err := regexp.Compile("(?i)^(" + pattern + ")$")
	return err == nil && expression.MatchString(module)
}

// Loads returns the statements that load a module, by its name or by that of its file.
func (s Script) Loads(module string) (found []Statement) {
	for _, statement := range s.Statements {
		if strings.HasPrefix(statement.Name, "loadmodule") && moduleName(statement.Value()) == module {
			found = append(found, statement)
		}
	}
	return found
}

// moduleName returns the name of the module that a file holds.
func moduleName(file string) string { return strings.TrimSuffix(path.Base(file), ".so") }

// Socket is where the program listens.
type Socket struct {
	Protocol string // in lower case; empty: it is not told
	Host     string // an address, a name or an interface; without brackets
	Port     string // empty: the protocol's
}

// ParseSocket parses PROTOCOL:HOST:PORT, of which both programs let protocol and port be
// left out; an IPv6 address is in brackets (cfg.y, phostport and phostportrange). It
// reports whether the text has that form.
func ParseSocket(text string) (Socket, bool) {
	protocol, host, ok := strings.Cut(text, ":")
	if !ok || strings.HasPrefix(text, "[") || !isName(protocol) {
		protocol, host = "", text
	}
	port := ""
	if inside, behind, closed := strings.Cut(strings.TrimPrefix(host, "["), "]"); strings.HasPrefix(host, "[") && closed {
		host, port = inside, strings.TrimPrefix(behind, ":")
	} else {
		host, port, _ = strings.Cut(host, ":")
	}
	return Socket{strings.ToLower(protocol), host, port}, host != ""
}

func isName(text string) bool { return text != "" && wordAt(text, 0) == text && isLetter(text[0]) }
