package kamailio

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// Here tls.cfg is read, the configuration of Kamailio's modules tls and
// tls_wolfssl: sections of options, one of each to a line. There are no
// includes; where the modules are given a directory, its files count as one.
// The scanner follows src/core/cfg_parser.c and the options
// src/modules/tls/tls_config.c of Kamailio 6.0.1 (certificate2 and so on:
// master of August 2026).

// tlsProfile is one section of tls.cfg.
type tlsProfile struct {
	Path string // the file, and the line in it where the section begins
	Line int

	Title   string // as in [server:default]
	Server  bool   // for connections that come in
	Default bool
	Any     bool           // whichever address; needs a server_name
	Address netip.AddrPort // where neither Default nor Any

	Options map[string]string // by the first of their names, in lower case
}

// place returns where a profile is, for people.
func (p tlsProfile) place() string {
	if p.Path == "" {
		return p.Title
	}
	return fmt.Sprintf("%s (%s:%d)", p.Title, p.Path, p.Line)
}

// tlsOptions returns the names of the options, by which those with two names
// have the same one.
func tlsOptions() map[string]string {
	names := map[string]string{
		"tls_method": "method", "verify_cert": "verify_certificate", "require_cert": "require_certificate",
		"pkey_file": "private_key", "pkey_password": "private_key_password", "cert_file": "certificate", "calist_file": "ca_list",
		"pkey_file2": "private_key2", "pkey_password2": "private_key_password2", "cert_file2": "certificate2",
	}
	for _, name := range []string{
		"method", "verify_certificate", "verify_depth", "require_certificate", "verify_client",
		"private_key", "private_key_password", "certificate", "private_key2", "private_key_password2", "certificate2",
		"ca_list", "ca_path", "crl", "cipher_list", "server_name", "server_name_mode", "server_id",
	} {
		names[name] = name
	}
	return names
}

// tlsError is a place in tls.cfg where Kamailio stops reading.
type tlsError struct {
	path string
	line int
	what string
}

func (e *tlsError) Error() string { return fmt.Sprintf("%s:%d: %s", e.path, e.line, e.what) }

// parseTLS returns the profiles of tls.cfg. It fails with a *tlsError, and then
// returns those before it.
func parseTLS(text deployers.Text) ([]tlsProfile, error) {
	s := &tlsScanner{text: text.Content, line: 1}
	profiles, err := s.profiles()
	for i := range profiles {
		profiles[i].Path = text.Path
	}
	if err != nil {
		return profiles, &tlsError{text.Path, s.line, err.Error()}
	}
	return profiles, nil
}

// profiles reads all sections.
func (s *tlsScanner) profiles() (found []tlsProfile, err error) {
	names := tlsOptions()
	for {
		t, err := s.next(false)
		switch {
		case err != nil:
			return found, err
		case t.kind == tlsEnd:
			return found, nil
		case t.kind == '\n':
		case t.kind == '[':
			profile, err := s.section()
			if err != nil {
				return found, err
			}
			found = append(found, profile)
		case t.kind != tlsWord:
			return found, fmt.Errorf("%q stands where a section or an option begins", t.text)
		default:
			name := names[strings.ToLower(t.text)]
			if name == "" {
				return found, fmt.Errorf("there is no option %.40q", t.text)
			}
			if len(found) == 0 {
				return found, fmt.Errorf("the option %s stands before the first section", name)
			}
			value, err := s.value(name)
			if err != nil {
				return found, err
			}
			found[len(found)-1].Options[name] = value
		}
	}
}

// section reads what follows the bracket that opens a section.
func (s *tlsScanner) section() (tlsProfile, error) {
	p := tlsProfile{Line: s.line, Options: map[string]string{}}
	var parts []string
	for depth := 1; depth > 0; {
		t, err := s.next(false)
		switch {
		case err != nil:
			return p, err
		case t.kind == tlsEnd || t.kind == '\n':
			return p, errors.New("the section's closing bracket is missing")
		case t.kind == '[':
			depth++
		case t.kind == ']':
			depth--
		}
		if depth > 0 {
			parts = append(parts, t.text)
		}
	}
	title := strings.Join(parts, "")
	p.Title = "[" + title + "]"
	side, address, _ := strings.Cut(strings.ToLower(title), ":")
	var err error
	switch {
	case !slices.Contains([]string{"server", "srv", "s", "client", "cli", "c"}, side):
		return p, fmt.Errorf("%s is neither [server:...] nor [client:...]", p.Title)
	case address == "default" || address == "def":
		p.Default = true
	case address == "any" || address == "all":
		p.Any = true
	default:
		if p.Address, err = netip.ParseAddrPort(address); err != nil {
			return p, fmt.Errorf("%s names neither default, any, nor an address and a port", p.Title)
		}
	}
	p.Server = strings.HasPrefix(side, "s")
	return p, s.endOfLine()
}

// value reads what follows the name of an option.
func (s *tlsScanner) value(name string) (string, error) {
	if t, err := s.next(false); err != nil || t.kind != '=' {
		return "", cmp.Or(err, fmt.Errorf("the option %s lacks its equals sign", name))
	}
	t, err := s.next(true)
	if err != nil || t.kind != tlsWord && t.kind != tlsQuoted {
		return "", cmp.Or(err, fmt.Errorf("the option %s lacks its value", name))
	}
	return t.text, s.endOfLine()
}

func (s *tlsScanner) endOfLine() error {
	if t, err := s.next(false); err != nil || t.kind != '\n' && t.kind != tlsEnd {
		return cmp.Or(err, fmt.Errorf("%q stands where the line should end", t.text))
	}
	return nil
}

// The kinds of tokens in tls.cfg; other tokens are single characters.
const (
	tlsEnd    = -1
	tlsWord   = -2
	tlsQuoted = -3
)

type tlsToken struct {
	kind rune
	text string
}

// tlsScanner splits tls.cfg into tokens.
type tlsScanner struct {
	text string
	at   int
	line int
}

const tlsDelimiters = "=:;.,?[]/@!$%&*()-+|'"

func isTLSWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// next returns the next token. In values, delimiters belong to words.
func (s *tlsScanner) next(inValue bool) (tlsToken, error) {
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case c == ' ' || c == '\t' || c == '\r':
			s.at++
		case c == '#':
			s.skipComment()
		case c == '"':
			return s.quoted()
		case isTLSWord(c), c == '\\', inValue && strings.IndexByte(tlsDelimiters, c) >= 0:
			return s.word(inValue)
		case c == '\n':
			s.line++
			fallthrough
		case strings.IndexByte(tlsDelimiters, c) >= 0:
			s.at++
			return tlsToken{rune(c), string(c)}, nil
		default:
			return tlsToken{}, fmt.Errorf("the character %q has no meaning outside of quotes", c)
		}
	}
	return tlsToken{kind: tlsEnd}, nil
}

// skipComment goes to the end of the line. A backslash hides the end of the
// line, so the comment goes on in the next one.
func (s *tlsScanner) skipComment() {
	for ; s.at < len(s.text) && s.text[s.at] != '\n'; s.at++ {
		if s.text[s.at] == '\\' && s.at+1 < len(s.text) {
			s.at++
			if s.text[s.at] == '\n' {
				s.line++
			}
		}
	}
}

func (s *tlsScanner) quoted() (tlsToken, error) {
	var text []byte
	for s.at++; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; c {
		case '"':
			s.at++
			return tlsToken{tlsQuoted, string(text)}, nil
		case '\\':
			escaped, err := s.escape()
			if err != nil {
				return tlsToken{}, err
			}
			text = append(text, escaped...)
		case '\n':
			s.line++
			fallthrough
		default:
			text = append(text, c)
		}
	}
	return tlsToken{}, errors.New("a closing quote is missing")
}

func (s *tlsScanner) word(inValue bool) (tlsToken, error) {
	var text []byte
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case isTLSWord(c), inValue && (c == '"' || strings.IndexByte(tlsDelimiters, c) >= 0):
			text = append(text, c)
		case c == '\\':
			escaped, err := s.escape()
			if err != nil {
				return tlsToken{}, err
			}
			text = append(text, escaped...)
		default:
			return tlsToken{tlsWord, string(text)}, nil
		}
	}
	return tlsToken{tlsWord, string(text)}, nil
}

// escape reads the character behind a backslash. The end of the line is
// nothing then.
func (s *tlsScanner) escape() (string, error) {
	if s.at++; s.at >= len(s.text) {
		return "", errors.New("nothing follows a backslash")
	}
	switch c := s.text[s.at]; c {
	case '\\', '"', '#', ' ':
		return string(c), nil
	case 'n':
		return "\n", nil
	case 'r':
		return "\r", nil
	case 't':
		return "\t", nil
	case '\n':
		s.line++
		return "", nil
	default:
		return "", fmt.Errorf("the backslash before %q has no meaning", c)
	}
}

// tlsConfig is the configuration by which Kamailio serves TLS: the profiles in
// their order, and the settings of modparam, which fill in what a profile
// leaves out.
type tlsConfig struct {
	profiles []tlsProfile
	modparam map[string]string
	base     string // the directory that relative paths begin at
}

// path returns the file that an option of a profile names (tls_domain.c,
// ksr_tls_fill_missing and fix_shm_pathname). Paths that begin with a dot
// begin at the directory that Kamailio runs in, which is not known. A profile for
// clients takes nothing from modparam (tls_mod.c, cli_defaults).
func (c tlsConfig) path(p tlsProfile, option string) string {
	path := p.Options[option]
	if path == "" && p.Server {
		path = c.modparam[option]
	}
	if path == "" || path[0] == '/' || path[0] == '.' {
		return path
	}
	return filepath.Join(c.base, path)
}

// serving returns the profile for a connection to an address with an SNI name,
// or without one where it is empty (tls_domain.c, tls_lookup_cfg and
// tls_server_name_cb). Of several that match, the one that stands last in the
// file counts.
func (c tlsConfig) serving(to netip.AddrPort, name string) tlsProfile {
	serves := func(p tlsProfile) bool {
		return p.Server && p.Address.Addr() == to.Addr().Unmap() && (p.Address.Port() == 0 || p.Address.Port() == to.Port())
	}
	socket, ofSocket := c.last(serves)
	if ofSocket && (name == "" || socket.Options["server_name"] == "") {
		return socket // only profiles with a server_name look at the SNI name
	}
	if named, ok := c.last(func(p tlsProfile) bool { return (p.Server && p.Any || serves(p)) && p.matches(name) }); ok {
		return named
	}
	if fallback, ok := c.last(func(p tlsProfile) bool { return p.Server && p.Default }); ok {
		return fallback
	}
	return modparamProfile()
}

// modparamProfile returns the default profile where tls.cfg has none.
func modparamProfile() tlsProfile {
	return tlsProfile{Title: "[server:default] of modparam", Server: true, Default: true}
}

// last returns the last of the profiles for which is reports true.
func (c tlsConfig) last(is func(tlsProfile) bool) (tlsProfile, bool) {
	for _, p := range slices.Backward(c.profiles) {
		if is(p) {
			return p, true
		}
	}
	return tlsProfile{}, false
}

// matches reports whether a profile's server_name stands for an SNI name.
func (p tlsProfile) matches(name string) bool {
	own, name := strings.ToLower(p.Options["server_name"]), strings.ToLower(name)
	below := own != "" && strings.HasSuffix(name, "."+own)
	switch p.Options["server_name_mode"] {
	case "1":
		return below || name == own
	case "2":
		return below
	default:
		return own != "" && name == own
	}
}
