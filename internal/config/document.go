package config

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/spelling"
)

// document is the file as it is written and shown. The types of its leaves
// check what can be checked of a value alone.
type document struct {
	State    absPath      `yaml:"state"`
	Lineages *[]rootKeys  `yaml:"lineages"`
	Policy   policyKeys   `yaml:"policy"`
	Targets  []targetKeys `yaml:"targets"` // the last, since Show looks for it there
}

// rootKeys is one entry of lineages: the keeper and its directory.
type rootKeys struct {
	Dirs map[string]*absPath `yaml:",inline"`
}

type policyKeys struct {
	Trust  trust   `yaml:"trust"`
	Accept *[]code `yaml:"accept,flow"`
}

// targetKeys is one entry of targets. Show writes a key without a value where
// unset has a note on it.
type targetKeys struct {
	Name         targetName     `yaml:"name"`
	Service      string         `yaml:"service"`
	Lineage      selector       `yaml:"lineage"`
	Directory    pattern        `yaml:"directory,omitempty"`
	Certificate  pattern        `yaml:"certificate,omitempty"`
	Key          pattern        `yaml:"key,omitempty"`
	Chain        pattern        `yaml:"chain,omitempty"`
	Combined     pattern        `yaml:"combined,omitempty"`
	User         account        `yaml:"user"`
	Group        account        `yaml:"group"`
	Mode         *mode          `yaml:"mode"`
	ACL          *[]reader      `yaml:"acl,omitempty,flow"`
	Unit         unit           `yaml:"unit"`
	Names        []hostName     `yaml:"names,flow"`
	AllowRestart bool           `yaml:"allow_restart"`
	Window       *window        `yaml:"window"`
	Probe        *probes        `yaml:"probe"`
	Contact      string         `yaml:"contact,omitempty"`
	Policy       policyKeys     `yaml:"policy"`
	Blocks       map[string]any `yaml:",inline"` // by service
}

func (k *rootKeys) extraKeys() []string { return keeperNames() }

func (k *rootKeys) extra(kind string) any {
	if k.Dirs == nil {
		k.Dirs = map[string]*absPath{}
	}
	k.Dirs[kind] = new(absPath)
	return k.Dirs[kind]
}

func (k *targetKeys) extraKeys() []string { return all.Names() }

func (k *targetKeys) extra(service string) any {
	if k.Blocks == nil {
		k.Blocks = map[string]any{}
	}
	deployer, _ := all.For(service)
	k.Blocks[service] = deployer.Options()
	return k.Blocks[service]
}

// paths returns the keys that hold paths, written or not.
func (k targetKeys) paths() []struct{ key, path string } {
	return []struct{ key, path string }{
		{"directory", string(k.Directory)},
		{"certificate", string(k.Certificate)},
		{"key", string(k.Key)},
		{"chain", string(k.Chain)},
		{"combined", string(k.Combined)},
	}
}

func keeperNames() []string {
	var names []string
	for _, keeper := range hooks.Keepers() {
		names = append(names, keeper.Name)
	}
	return names
}

// absPath is an absolute path in its shortest form.
type absPath string

func (p *absPath) UnmarshalText(text []byte) error {
	if err := checkPath(string(text)); err != nil {
		return err
	}
	if strings.ContainsAny(string(text), "{}") {
		return &complaint{fmt.Sprintf("%q holds braces, and nothing is filled in here", text), "write the path out"}
	}
	*p = absPath(text)
	return nil
}

// pattern is a path in which {lineage} stands for a lineage's name.
type pattern string

const placeholder = "{lineage}"

func (p *pattern) UnmarshalText(text []byte) error {
	if strings.ContainsAny(strings.ReplaceAll(string(text), placeholder, ""), "{}") {
		return &complaint{fmt.Sprintf("%q holds other braces than those of {lineage}", text), "write {lineage} where the lineage's name belongs, and nothing else in braces"}
	}
	if err := checkPath(string(text)); err != nil {
		return err
	}
	*p = pattern(text)
	return nil
}

func checkPath(text string) error {
	if !filepath.IsAbs(text) {
		return &complaint{fmt.Sprintf("%q is not an absolute path", text), "begin it with /"}
	}
	if clean := filepath.Clean(text); clean != text {
		return &complaint{fmt.Sprintf("%q is not the shortest form of this path", text), fmt.Sprintf("write it as %q", clean)}
	}
	return nil
}

// trust is what chains are verified against.
type trust string

func (t *trust) UnmarshalText(text []byte) error {
	if s := string(text); s != "system" && s != "any" {
		if !filepath.IsAbs(s) {
			return &complaint{fmt.Sprintf("%q is neither system, any, nor an absolute path", s), "write system, any, or the path of a PEM file of roots, beginning with /"}
		}
		if err := checkPath(s); err != nil {
			return err
		}
	}
	*t = trust(text)
	return nil
}

// code is the code of a finding that may be accepted.
type code string

func (c *code) UnmarshalText(text []byte) error {
	s := string(text)
	if slices.Contains(fatalCodes(), s) {
		return &complaint{fmt.Sprintf("%q cannot be accepted: such a bundle holds nothing that a service could use", s), "remove it, and mend the lineage"}
	}
	if !slices.Contains(policy.Codes(), s) {
		known := slices.DeleteFunc(policy.Codes(), func(name string) bool { return !policy.Acceptable(name) })
		remedy := "the codes to accept are " + strings.Join(known, ", ")
		if near := spelling.Nearest(s, known); near != "" {
			remedy = fmt.Sprintf("did you mean %q?", near)
		}
		return &complaint{fmt.Sprintf("%.80q is not the code of a finding", s), remedy}
	}
	*c = code(s)
	return nil
}

// fatalCodes returns the codes of findings that leave nothing to install.
func fatalCodes() []string {
	return []string{"pem-malformed", "no-certificate", "no-key", "outside", "owner-mismatch", "key-encrypted", "key-mismatch", "too-large"}
}

// targetName names a target on command lines and in the state directory.
type targetName string

var targetNames = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`) })

func (n *targetName) UnmarshalText(text []byte) error {
	if len(text) > 64 || !targetNames().Match(text) {
		return &complaint{fmt.Sprintf("%.80q does not do as a name", text), "use letters, digits, '.', '_' and '-', a letter or digit first, at most 64 in all"}
	}
	*n = targetName(text)
	return nil
}

// selector is which lineages a target takes: NAME, CLIENT:NAME, or a glob in
// place of NAME.
type selector string

func (s *selector) UnmarshalText(text []byte) error {
	chosen := selector(text)
	_, names := chosen.split()
	if kind, _, is := strings.Cut(string(names), ":"); is && spelling.Nearest(kind, keeperNames()) != "" {
		return &complaint{fmt.Sprintf("%q is not a kind of lineages", kind), fmt.Sprintf("did you mean %q?", spelling.Nearest(kind, keeperNames()))}
	}
	if strings.Contains(string(names), "/") {
		return &complaint{fmt.Sprintf("%.80q is a path", text), fmt.Sprintf("write the lineage's name: %q", path.Base(string(names)))}
	}
	if names.glob() {
		if _, err := path.Match(string(names), ""); err != nil {
			return &complaint{fmt.Sprintf("the glob %.80q is not well formed", names), `close its brackets, and let something follow each \`}
		}
	} else if err := lineage.CheckName(names.literal()); err != nil {
		return &complaint{err.Error(), "write the name as the ACME client does, a wildcard's as _.example.org"}
	}
	*s = chosen
	return nil
}

// split returns the two parts of CLIENT:NAME; client is empty where there is
// only a name.
func (s selector) split() (client string, names selector) {
	client, name := hooks.SplitName(string(s))
	return client, selector(name)
}

// takes reports whether a target with the selector takes a lineage.
func (s selector) takes(l lineage.Lineage) bool {
	client, names := s.split()
	return names.matches(l.Name) && (client == "" || client == l.Client)
}

// glob reports whether the selector, without a client, may take several lineages. A
// backslash takes its meaning from what follows.
func (s selector) glob() bool {
	_, only := lineage.Literal(string(s))
	return !only
}

// literal returns the name that a selector without a client, which is no glob, takes.
func (s selector) literal() string {
	name, _ := lineage.Literal(string(s))
	return name
}

// matches reports whether the selector, without a client, takes a name.
func (s selector) matches(name string) bool {
	ok, err := path.Match(string(s), name)
	return ok && err == nil
}

// mayOverlap reports whether a name may match both of two globs. It is false
// where their beginnings or ends differ, as those of *.sip.example and
// *.web.example.
func (s selector) mayOverlap(other selector) bool {
	ends := func(glob selector) (first, last string) {
		text := string(glob)
		return text[:strings.IndexAny(text, `*?[\`)], text[strings.LastIndexAny(text, `*?]\`)+1:]
	}
	first, last := ends(s)
	first2, last2 := ends(other)
	return (strings.HasPrefix(first, first2) || strings.HasPrefix(first2, first)) &&
		(strings.HasSuffix(last, last2) || strings.HasSuffix(last2, last))
}

// account is the name or number of a user or group.
type account string

func (a *account) UnmarshalText(text []byte) error {
	s := string(text)
	number, err := strconv.ParseUint(s, 10, 32)
	switch {
	case err == nil && number == 1<<32-1, err != nil && strings.Trim(s, "0123456789") == "":
		return &complaint{fmt.Sprintf("%.80q is beyond the numbers of users and groups", s), "write a number up to 4294967294, or a name"}
	case s[0] == '-' || strings.ContainsAny(s, ":/, "):
		return &complaint{fmt.Sprintf("%.80q is neither a name nor a number", s), "write one name or number, as in /etc/passwd or /etc/group"}
	}
	*a = account(s)
	return nil
}

// reader is an entry of an ACL as setfacl(1) takes it: user:NAME:r or
// group:NAME:r.
type reader deployers.Reader

func (r *reader) UnmarshalText(text []byte) error {
	kinds := map[string]string{"user": "user", "u": "user", "group": "group", "g": "group"}
	parts := strings.Split(string(text), ":")
	if len(parts) != 3 || kinds[parts[0]] == "" || parts[1] == "" || strings.Trim(parts[2], "-") != "r" {
		return &complaint{fmt.Sprintf("%.80q is not who else may read the files", text), "write user:NAME:r or group:NAME:r"}
	}
	var name account
	if err := name.UnmarshalText([]byte(parts[1])); err != nil {
		return err
	}
	*r = reader{kinds[parts[0]], string(name)}
	return nil
}

func (r reader) MarshalText() ([]byte, error) { return []byte(r.Kind + ":" + r.Name + ":r"), nil }

// mode is the mode of files that hold the key.
type mode fs.FileMode

// DefaultMode is the mode of files that hold a key where none is written.
const DefaultMode fs.FileMode = 0o640

const defaultMode = mode(DefaultMode)

var octal = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^0[0-7]{3}$`) })

func (m *mode) UnmarshalText(text []byte) error {
	if !octal().Match(text) {
		// YAML takes 640 for a decimal number, mode 01200; and whether 0640
		// or 0o640 is octal depends on its version. So there is one way only.
		remedy := defaultMode
		if bare := "0" + strings.TrimPrefix(string(text), "0o"); octal().MatchString(bare) {
			remedy = parseMode(bare)
		}
		return &complaint{fmt.Sprintf("%.80q is not octal", text), fmt.Sprintf(`write it as "%s"`, remedy)}
	}
	parsed, remedy := parseMode(string(text)), fmt.Sprintf(`write it as "%s"`, defaultMode)
	switch {
	case parsed&0o007 != 0:
		return &complaint{fmt.Sprintf("%q would let every user of this host reach the key", text), remedy + ", and let the service be in the group"}
	case parsed&0o020 != 0:
		return &complaint{fmt.Sprintf("%q would let the group overwrite the key", text), remedy}
	case parsed&0o110 != 0:
		return &complaint{fmt.Sprintf("%q would let the key be executed", text), remedy}
	}
	*m = parsed
	return nil
}

// parseMode returns the mode that a text means, which octal must match.
func parseMode(text string) mode {
	bits, _ := strconv.ParseUint(text, 8, 32)
	return mode(bits)
}

func (m mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

func (m mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// unit is a systemd service unit. The characters are those of
// systemd.unit(5).
type unit string

var unitNames = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+$`) })

func (u *unit) UnmarshalText(text []byte) error {
	if len(text) > 255 || !unitNames().Match(text) {
		return &complaint{fmt.Sprintf("%.80q is not the name of a unit", text), `write it as systemctl shows it, such as "nginx.service"`}
	}
	if !strings.HasSuffix(string(text), ".service") {
		return &complaint{fmt.Sprintf("%q is not the full name of a service unit", text), fmt.Sprintf("write it as %q", string(text)+".service")}
	}
	*u = unit(text)
	return nil
}

// hostName is a DNS name, with or without a wildcard, or an IP address, as
// certificates have them: in ASCII, in lower case and without a closing dot.
type hostName string

func (n *hostName) UnmarshalText(text []byte) error {
	below, isWildcard := strings.CutPrefix(string(text), "*.")
	name, isHost := endpoint.ASCII(below)
	if isWildcard {
		name = "*." + name
	}
	if !isHost {
		return &complaint{fmt.Sprintf("%.80q is neither a DNS name nor an IP address", text), "write it as it stands in the certificate, an international name in its xn-- form"}
	}
	*n = hostName(name)
	return nil
}

// window is a time of day.
type window deployers.Window

const clock = "15:04"

func (w *window) UnmarshalText(text []byte) error {
	from, to, _ := strings.Cut(string(text), "-")
	start, err := time.Parse(clock, from)
	end, err2 := time.Parse(clock, to)
	if err != nil || err2 != nil {
		return &complaint{fmt.Sprintf("%.80q is not a time of day", text), `write it as "02:00-04:30"`}
	}
	if start.Equal(end) {
		return &complaint{fmt.Sprintf("%q begins when it ends, so nothing would ever be activated", text), "leave the key out to activate at once"}
	}
	midnight, _ := time.Parse(clock, "00:00")
	*w = window{From: start.Sub(midnight), To: end.Sub(midnight)}
	return nil
}

func (w window) MarshalText() ([]byte, error) { return []byte(deployers.Window(w).String()), nil }

// probes is a list that may be written as its only element.
type probes []probe

type probe endpoint.Endpoint

func (p *probe) UnmarshalText(text []byte) error {
	parsed, err := endpoint.Parse(string(text))
	if err != nil {
		return complaintOf(err, "write it as SCHEME://HOST:PORT?name=NAME")
	}
	*p = probe(parsed)
	return nil
}

func (p probe) MarshalText() ([]byte, error) { return []byte(endpoint.Endpoint(p).String()), nil }
