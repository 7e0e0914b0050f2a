package sipscript

import "strings"

// statements reads all that stand outside of routes.
func (r *reader) statements() {
	for {
		if !r.again {
			r.tainted = false // by what was no statement
		}
		switch t := r.next(); {
		case t.kind == end:
			return
		case t.is("{"):
			r.depth++
		case t.is("}"):
			r.depth = max(0, r.depth-1)
		case r.depth == 0 && t.kind == word:
			r.statement(t)
		}
	}
}

// statement reads the one that begins with a word, if it is of those that count.
func (r *reader) statement(first token) {
	maybe := r.tainted || r.unsure()
	r.tainted = false
	switch first.text {
	case "loadmodule", "loadmodulex":
		r.loadmodule(maybe)
	case "modparam", "modparamx":
		r.modparam(first.text == "modparamx", maybe)
	default:
		switch t := r.next(); {
		case !t.is("="):
			r.unread(t)
		default:
			r.parameter(first.text, maybe)
		}
	}
	r.tainted = false
}

// add adds a statement.
func (r *reader) add(maybe bool, name string, args ...string) {
	r.script.Statements = append(r.script.Statements, Statement{Name: name, Args: args, Maybe: maybe || r.tainted})
}

// loadmodule reads the path of a module, perhaps in brackets and with options behind.
func (r *reader) loadmodule(maybe bool) {
	t := r.next()
	if t.is("(") {
		t = r.next()
	}
	if t.kind != quoted {
		r.unread(t)
		return
	}
	if r.dialect == Kamailio { // sr_module.c of 6.0.1, register_module
		r.define("MOD_"+moduleName(t.text), definition{maybe: maybe || r.tainted})
	}
	r.add(maybe, "loadmodule", t.text)
}

// modparam reads the three arguments. In those of modparamx, Kamailio looks for
// variables.
func (r *reader) modparam(evaluated, maybe bool) {
	if t := r.next(); !t.is("(") {
		r.unread(t)
		return
	}
	args := make([]string, 0, 3)
	for {
		arg, last, ok := r.argument()
		if !ok {
			return
		}
		if evaluated && strings.Contains(arg, "$") {
			arg, r.tainted = "", true
		}
		if args = append(args, arg); last {
			break
		}
	}
	if len(args) == 3 {
		r.add(maybe, "modparam", args...)
	}
}

// argument reads one of modparam, and reports whether it is the last; ok is false where
// there is none. One that is neither a string nor a number is not known.
func (r *reader) argument() (text string, last, ok bool) {
	strange := 0
	for first := true; ; first = false {
		switch t := r.next(); {
		case t.kind == end, t.is("{"), t.is("}"), t.is(";"):
			r.unread(t)
			return "", false, false
		case t.is(","), t.is(")"):
			if strange > 0 {
				text, r.tainted = "", true
			}
			return text, t.is(")"), !first
		case t.kind == quoted, t.is("-"), t.kind == word && isSwitch(t.text), t.kind == other && isWord(t.text[0]):
			text += t.text
		default:
			strange++
		}
	}
}

// isSwitch reports whether a word is a number to the lexers (YES and NO).
func isSwitch(name string) bool {
	switch name {
	case "yes", "true", "on", "enable", "no", "false", "off", "disable":
		return true
	}
	return false
}

// parameter reads what is set for the core: a value, or a block (Kamailio's
// socket = {bind = ...; name = ...;}).
func (r *reader) parameter(name string, maybe bool) {
	t := r.next()
	if !t.is("{") {
		r.add(maybe, name, r.words(name, t)...)
		return
	}
	for t = r.next(); t.kind != end && !t.is("}"); t = r.next() {
		key := t
		if key.kind != word {
			continue
		}
		if t = r.next(); !t.is("=") {
			r.unread(t)
			continue
		}
		r.add(maybe, name+"."+key.text, r.words("", r.next())...)
	}
}

// words reads the value of a parameter, beginning with a token.
func (r *reader) words(name string, t token) (words []string) {
	for first := true; t.kind != end && (first || !r.follows(name, t)) && !t.is(";") && !t.is("}"); first = false {
		if first || t.space || t.line {
			words = append(words, "")
		}
		words[len(words)-1] += t.text
		t = r.next()
	}
	r.unread(t)
	return words
}

// follows reports whether a token belongs to what follows the value of a parameter: it is
// the name of another one, or begins a line, and no further socket of a list (id_lst of
// cfg.y). Of those that are one word alone it knows none.
func (r *reader) follows(name string, t token) bool {
	behind := r.behind()
	if t.kind == word && behind == '=' {
		return true
	}
	lists := name == "alias" || name == "listen" && r.dialect == Kamailio
	return t.line && (!lists || t.kind == word && strings.IndexByte(":.-", behind) < 0)
}

// behind returns the first character behind the last token that is no blank; 0: there is
// none.
func (r *reader) behind() byte {
	for i := len(r.inputs) - 1; i >= 0; i-- {
		in := r.inputs[i]
		for at := in.at; at < len(in.text); at++ {
			if !isBlank(in.text[at]) {
				return in.text[at]
			}
		}
		if in.path != "" {
			break
		}
	}
	return 0
}
