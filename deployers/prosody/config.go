package prosody

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// configuration is what prosody.cfg.lua and the files it includes say, as far
// as that can be read without running Lua: sections, and options whose values
// are literals (core/configmanager.lua of Prosody 13.0.1). What is computed is
// not known, and is said to be so where it would have been needed.
type configuration struct {
	path     string // of the main file, to whose directory other paths are relative
	global   *section
	hosts    []*section // as they are first named
	includes []string   // the paths and globs of Include, absolute
	complete bool       // all of them have been looked at
	unread   []string   // what could not be read, for people
}

// section is the options of one host, or those that hold for all.
type section struct {
	name      string
	component bool
	options   map[string]any // string (numbers too), bool, luaTable or computed
}

// computed is a value that is known only to who runs the file.
type computed struct{ where string }

// luaTable is a table of literals.
type luaTable struct {
	items  []any
	fields map[string]any
}

// maxIncludes is how deep files that include each other are followed: each step
// takes a round of questions.
const maxIncludes = 5

// readConfiguration reads a configuration from the texts that were found; those
// of its Include that were not asked for yet stand in includes.
func readConfiguration(path string, texts map[string][]deployers.Text) *configuration {
	c := &configuration{path: path, global: &section{options: map[string]any{}}, complete: true}
	seen := map[string]bool{}
	var read func(pattern string, depth int)
	read = func(pattern string, depth int) {
		if depth > maxIncludes {
			c.cannotRead(pattern, "files that include each other are not followed any deeper")
			return
		}
		found, asked := texts[pattern]
		c.complete = c.complete && asked
		for _, text := range found {
			hidden := text.Path != pattern && strings.HasPrefix(filepath.Base(text.Path), ".")
			if hidden || seen[text.Path] {
				continue // as Prosody passes over what a wildcard finds; twice would be for ever
			}
			seen[text.Path] = true
			reader := luaReader{path: text.Path, tokens: luaTokens(text.Content), config: c, section: c.global}
			reader.include = func(name string) {
				pattern := under(filepath.Dir(text.Path), name)
				if depth < maxIncludes && !slices.Contains(c.includes, pattern) {
					c.includes = append(c.includes, pattern)
				}
				read(pattern, depth+1)
			}
			reader.statements()
		}
	}
	read(path, 0)
	if c.complete && len(texts[path]) == 0 {
		c.cannotRead(path, "it cannot be read, so what Prosody serves is not known")
	}
	return c
}

// under returns a path that is relative to a directory as an absolute one.
func under(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

func (c *configuration) resolve(path string) string { return under(filepath.Dir(c.path), path) }

func (c *configuration) cannotRead(where, what string) {
	note := where + ": " + what
	if !slices.Contains(c.unread, note) {
		c.unread = append(c.unread, note)
	}
}

// find returns the section of a host, or nil.
func (c *configuration) find(name string) *section {
	at := slices.IndexFunc(c.hosts, func(s *section) bool { return s.name == nameprep(name) })
	if at < 0 {
		return nil
	}
	return c.hosts[at]
}

// section returns that of a host, made where it is first named.
func (c *configuration) section(name string, component bool) *section {
	if s := c.find(name); s != nil {
		return s
	}
	s := &section{name: nameprep(name), component: component, options: map[string]any{}}
	c.hosts = append(c.hosts, s)
	return s
}

// nameprep returns the name of a host as Prosody has it: in lower case, and without
// letters that have none other (RFC 3491, RFC 3454 table B.2; seen with libicu 76.1).
func nameprep(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(name), "ß", "ss"), "ς", "σ")
}

// raw returns the value of an option in a section; nil where there is none, or
// none that can be read.
func (c *configuration) raw(s *section, option string) any {
	if s == nil {
		return nil
	}
	value := s.options[option]
	if v, ok := value.(computed); ok {
		c.cannotRead(v.where, option+" is computed, so what it comes to is not known")
		return nil
	}
	return value
}

// text returns an option of a host, or that which holds for all.
func (c *configuration) text(host, option string) string {
	s := c.find(host)
	if s == nil || s.options[option] == nil {
		s = c.global
	}
	text, _ := c.raw(s, option).(string)
	return text
}

// ports returns an option that holds port numbers: one, or a list.
func (c *configuration) ports(option string, usual ...uint16) []uint16 {
	value := c.raw(c.global, option)
	if value == nil {
		return usual
	}
	table, isTable := value.(luaTable)
	if !isTable {
		table.items = []any{value}
	}
	var ports []uint16
	for _, item := range table.items {
		text, _ := item.(string)
		if port, err := strconv.ParseUint(text, 10, 16); err == nil && port != 0 {
			ports = append(ports, uint16(port))
		}
	}
	return ports
}

// pair returns the certificate and key of an ssl option, absolute; false: it
// names none.
func (c *configuration) pair(s *section) (pairFiles, bool) {
	ssl, _ := c.raw(s, "ssl").(luaTable)
	text := func(field string) string {
		if v, ok := ssl.fields[field].(computed); ok {
			c.cannotRead(v.where, "ssl."+field+" is computed, so what it comes to is not known")
		}
		text, _ := ssl.fields[field].(string)
		return text
	}
	certificate, key := text("certificate"), text("key")
	if certificate == "" {
		return pairFiles{}, false
	}
	pair := pairFiles{certificate: c.resolve(certificate)}
	if key != "" {
		pair.key = c.resolve(key)
	}
	return pair, true
}

// luaReader goes through the statements of one file.
type luaReader struct {
	path    string
	tokens  []luaToken
	at      int
	config  *configuration
	section *section // whose options are being set
	include func(path string)
}

// tellingWords begin the statements and options that matter here, should a
// skipped block hold one.
var tellingWords = []string{
	"VirtualHost", "Host", "host", "Component", "component", "Include", "include", "certificates", "certificate", "ssl", "http_host",
	"c2s_ports", "s2s_ports", "c2s_direct_tls_ports", "s2s_direct_tls_ports", "legacy_ssl_ports", "https_ports",
}

func (r *luaReader) statements() {
	for r.at < len(r.tokens) {
		token := r.next()
		switch {
		case token.kind == luaSymbol:
			if token.opens() {
				r.at--
				r.skipBrackets()
			}
		case token.kind != luaName:
		case slices.Contains([]string{"VirtualHost", "Host", "host"}, token.text):
			r.host(token, false)
		case slices.Contains([]string{"Component", "component"}, token.text):
			r.host(token, true)
		case slices.Contains([]string{"Include", "include"}, token.text):
			if path, ok := r.argument(); ok {
				r.include(path)
			} else {
				r.config.cannotRead(r.where(token), "the path of this Include is computed, so what it includes is not known")
			}
		case slices.Contains([]string{"if", "for", "while", "repeat", "do", "function"}, token.text):
			r.at--
			r.skipBlock()
		case token.text == "local":
			r.skipLocal()
		case r.is("="):
			r.at++
			r.section.options[token.text] = r.value()
		default: // a call, or something of which an index is set
			r.at--
			r.skipExpression()
			if r.is("=") {
				r.at++
				r.skipExpression()
			}
		}
	}
}

// host reads what follows VirtualHost or Component: a name, for a component
// its module, and perhaps a table of options.
func (r *luaReader) host(begin luaToken, component bool) {
	name, ok := r.argument()
	if !ok {
		r.config.cannotRead(r.where(begin), "the name of this "+begin.text+" is computed, so it is not known")
		r.section = &section{options: map[string]any{}}
		return
	}
	r.section = r.config.section(name, component)
	if component {
		r.argument() // the module
	}
	if r.is("{") {
		table, _ := r.value().(luaTable)
		for option, value := range table.fields {
			r.section.options[option] = value
		}
		r.section = r.config.global
	}
}

// argument reads the string that a function is called with: f "x" or f("x").
func (r *luaReader) argument() (string, bool) {
	start := r.at
	bracket := r.is("(")
	if bracket {
		r.at++
	}
	token := r.next()
	if token.kind == luaString && (!bracket || r.is(")")) {
		if bracket {
			r.at++
		}
		return token.text, true
	}
	r.at = start
	return "", false
}

// value reads an expression.
func (r *luaReader) value() any {
	start := r.at
	value, ok := r.literal(0)
	if ok && !r.goesOn() {
		return value
	}
	where := computed{r.path}
	if start < len(r.tokens) {
		where.where = r.where(r.tokens[start])
	}
	r.at = start
	r.skipExpression()
	return where
}

// luaDepth bounds how deep tables are read.
const luaDepth = 20

func (r *luaReader) literal(depth int) (any, bool) {
	token := r.next()
	switch {
	case token.kind == luaString || token.kind == luaNumber:
		return token.text, true
	case token.is("{") && depth < luaDepth:
		return r.table(depth)
	case token.kind == luaName:
		switch token.text {
		case "true", "false":
			return token.text == "true", true
		case "nil":
			return nil, true
		}
	}
	return nil, false
}

// table reads the rest of a table: name = value, [key] = value, or value. An
// entry that is computed is kept as such.
func (r *luaReader) table(depth int) (any, bool) {
	table := luaTable{fields: map[string]any{}}
	for r.at < len(r.tokens) {
		if r.is("}") {
			r.at++
			return table, true
		}
		var name string
		switch {
		case r.tokens[r.at].kind == luaName && r.at+1 < len(r.tokens) && r.tokens[r.at+1].is("="):
			name = r.tokens[r.at].text
			r.at += 2
		case r.is("["):
			start := r.at
			r.skipBrackets()
			if !r.is("=") {
				return nil, false
			}
			if r.at == start+3 {
				name = r.tokens[start+1].text
			}
			r.at++
		}
		start := r.at
		value, ok := r.literal(depth + 1)
		if !ok || r.goesOn() {
			r.at = start
			r.skipExpression()
			value = computed{r.path}
			if start < len(r.tokens) {
				value = computed{r.where(r.tokens[start])}
			}
		}
		if name != "" {
			table.fields[name] = value
		} else {
			table.items = append(table.items, value)
		}
		switch {
		case r.is(",") || r.is(";"):
			r.at++
		case !r.is("}"):
			return nil, false
		}
	}
	return nil, false
}

// goesOn reports whether what stands here goes on with the expression before it.
func (r *luaReader) goesOn() bool {
	if r.at >= len(r.tokens) {
		return false
	}
	token := r.tokens[r.at]
	switch token.kind {
	case luaSymbol:
		return !slices.Contains([]string{"=", ",", ";", ")", "]", "}"}, token.text)
	case luaName:
		return token.text == "and" || token.text == "or"
	default:
		return token.kind == luaString
	}
}

// skipExpression passes over an expression that is not a literal.
func (r *luaReader) skipExpression() {
	for operand := true; r.at < len(r.tokens); {
		token := r.tokens[r.at]
		switch {
		case operand && token.is("not", "-", "#", "~"):
			r.at++
		case token.opens():
			r.skipBrackets()
			operand = false
		case operand && token.is("function"):
			r.skipBlock()
			operand = false
		case operand && token.kind != luaSymbol:
			r.at++
			operand = false
		case operand || !r.goesOn():
			return
		case token.kind == luaString: // a call
			r.at++
		default: // an operator, or a dot before a name
			r.at++
			operand = true
		}
	}
}

// skipBrackets passes over a bracket and all up to its end.
func (r *luaReader) skipBrackets() {
	for depth := 0; r.at < len(r.tokens); {
		token := r.next()
		switch {
		case token.opens():
			depth++
		case token.kind == luaSymbol && strings.ContainsAny(token.text, ")]}"):
			depth--
		}
		if depth <= 0 {
			return
		}
	}
}

// skipBlock passes over a block up to its end, and adds it to what is unread
// where something in it would have mattered.
func (r *luaReader) skipBlock() {
	begin, matters := r.tokens[r.at], false
	for depth := 0; r.at < len(r.tokens); {
		token := r.next()
		switch {
		case token.kind != luaName:
		case slices.Contains([]string{"if", "do", "function", "repeat"}, token.text):
			depth++
		case token.text == "end" || token.text == "until":
			if depth--; depth <= 0 {
				if matters {
					r.config.cannotRead(r.where(begin), "what stands in this block of Lua is not known, since it would have to be run")
				}
				return
			}
		case slices.Contains(tellingWords, token.text):
			matters = true
		}
	}
}

// skipLocal passes over local a, b = x, y.
func (r *luaReader) skipLocal() {
	for r.at < len(r.tokens) {
		if r.is("function") {
			return
		}
		r.at++ // a name
		if !r.is(",") {
			break
		}
		r.at++
	}
	for r.is("=") || r.is(",") {
		r.at++
		r.skipExpression()
	}
}

func (r *luaReader) next() luaToken {
	if r.at >= len(r.tokens) {
		return luaToken{}
	}
	r.at++
	return r.tokens[r.at-1]
}

func (r *luaReader) is(symbol string) bool {
	return r.at < len(r.tokens) && r.tokens[r.at].is(symbol)
}

func (r *luaReader) where(token luaToken) string { return fmt.Sprintf("%s:%d", r.path, token.line) }

// luaToken is a word of Lua (section 3.1 of its 5.4 manual).
type luaToken struct {
	kind luaKind
	text string // of a string, what it means
	line int
}

type luaKind int

const (
	luaSymbol luaKind = iota + 1
	luaName           // keywords too
	luaNumber
	luaString
)

func (t luaToken) is(texts ...string) bool {
	return (t.kind == luaSymbol || t.kind == luaName) && slices.Contains(texts, t.text)
}

func (t luaToken) opens() bool { return t.kind == luaSymbol && strings.ContainsAny(t.text, "([{") }

// luaTokens splits a text into tokens. Of escapes in strings it knows those
// that are one character long; no path or host name needs another.
func luaTokens(text string) []luaToken {
	var tokens []luaToken
	line := 1
	for len(text) > 0 {
		length, token := luaScan(text)
		if token.kind != 0 {
			token.line = line
			tokens = append(tokens, token)
		}
		line += strings.Count(text[:length], "\n")
		text = text[length:]
	}
	return tokens
}

// luaScan returns the token that a text begins with, and its length; the zero
// token is blank, or a comment.
func luaScan(text string) (int, luaToken) {
	c := text[0]
	length := func(more func(byte) bool) int {
		n := 1
		for n < len(text) && more(text[n]) {
			n++
		}
		return n
	}
	switch {
	case strings.HasPrefix(text, "--"):
		if n, _ := luaLong(text[2:]); n > 0 {
			return 2 + n, luaToken{}
		}
		return length(func(c byte) bool { return c != '\n' }), luaToken{}
	case c == '"' || c == '\'':
		return luaQuoted(text)
	case c == '[':
		if n, content := luaLong(text); n > 0 {
			return n, luaToken{kind: luaString, text: content}
		}
	case isLetter(c):
		n := length(func(c byte) bool { return isLetter(c) || isDigit(c) })
		return n, luaToken{kind: luaName, text: text[:n]}
	case isDigit(c):
		n := length(func(c byte) bool { return isLetter(c) || isDigit(c) || c == '.' })
		return n, luaToken{kind: luaNumber, text: text[:n]}
	case strings.ContainsRune(" \t\r\n\f\v", rune(c)):
		return 1, luaToken{}
	}
	for _, symbol := range []string{"...", "..", "==", "~=", "<=", ">=", "//", "<<", ">>", "::"} {
		if strings.HasPrefix(text, symbol) {
			return len(symbol), luaToken{kind: luaSymbol, text: symbol}
		}
	}
	return 1, luaToken{kind: luaSymbol, text: text[:1]}
}

// luaLong reads [[...]] or [==[...]==]; its length is 0 where there is none.
func luaLong(text string) (int, string) {
	level := strings.TrimPrefix(text, "[")
	equals := level[:len(level)-len(strings.TrimLeft(level, "="))]
	open := "[" + equals + "["
	if !strings.HasPrefix(text, open) {
		return 0, ""
	}
	content, _, closed := strings.Cut(text[len(open):], "]"+equals+"]")
	n := len(open) + len(content)
	if closed {
		n += len(open)
	}
	return n, strings.TrimPrefix(content, "\n")
}

// luaQuoted reads a string in quotes, which ends with its line at the latest.
func luaQuoted(text string) (int, luaToken) {
	var content strings.Builder
	n := 1
	for ; n < len(text) && text[n] != text[0] && text[n] != '\n'; n++ {
		if text[n] == '\\' && n+1 < len(text) {
			n++
		}
		content.WriteByte(text[n])
	}
	return min(n+1, len(text)), luaToken{kind: luaString, text: content.String()}
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
