// Package lineage knows the certificates that ACME clients keep: where a
// client puts the files of one named certificate (a lineage, certbot's word),
// and what those files hold once they are read into memory (a [Bundle]).
//
// It reads files, once each, and never writes. It judges only whether a bundle
// is whole and well formed, and whether those who keep it may hand out what they
// have put there; whether a target may have it is package policy's business. It
// does not promise that a lineage on disk is consistent while its client is
// writing it.
package lineage

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/certlatch/certlatch/internal/disk"
	"github.com/certlatch/certlatch/internal/paths"
)

// Lineage is one named set of certificate files kept by an ACME client. The
// files may be symlinks, as certbot's are.
type Lineage struct {
	Client string // who keeps it: the client of its root
	Name   string // the client's name for it; wildcards are written "_.example.org"
	Root   Root   // the root that it is in; zero: its files were named one by one

	Fullchain string // path of the leaf, usually followed by its intermediates
	Chain     string // path of further intermediates, where Fullchain may lack them; else empty
	Key       string // path of the private key
}

// String returns CLIENT:NAME, which differs for two clients' lineages of one
// name.
func (l Lineage) String() string { return l.Client + ":" + l.Name }

// Is reports whether text names the lineage: by NAME, or by CLIENT:NAME.
func (l Lineage) Is(text string) bool { return text == l.Name || text == l.String() }

// Layout is how lineages are kept below a directory. Layouts are compared
// with ==.
type Layout struct {
	// Patterns relative to the directory. {dir} stands for the lineage's name
	// as it is in the file system, {base} for the same without the suffix, and {tail}
	// for what follows a name where there may be several of it: a hyphen and a
	// hexadecimal number.
	Fullchain, Chain, Key string

	// Above are directories between that one and the lineages, as a pattern
	// ([path.Match]); empty: none. The directory may also be the first or the last of
	// these itself.
	Above string

	// Own is the last of these directories where that is the client's own CA's; empty: it
	// has none.
	Own string

	Suffix   string    // what a name may end in, and {base} does not
	Literal  bool      // wildcards are written "*.example.org" in the file system
	Wildcard string    // what they are written with in place of "*."; empty: "_."
	Beside   [2]string // names of directories beside that one, into which the client's own links lead; empty: none
}

// Root is a directory in which lineages are kept.
type Root struct {
	Client string // who keeps them there: the key in the configuration's lineages list
	Layout Layout
	Dir    string // absolute and clean
}

// store opens the root and the directories beside it.
func (r Root) store() (*disk.Store, error) {
	beside := slices.DeleteFunc(r.Layout.Beside[:], func(name string) bool { return name == "" })
	return disk.OpenStore(r.Dir, beside...)
}

// NotFoundError says that a root holds no lineage with a name.
type NotFoundError struct {
	Root  Root
	Name  string
	Lacks string // the file that is missing where the other one is there; empty: there is neither
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("no lineage %s below %s", e.Name, e.Root.Dir)
}

// Lineage returns the lineage with a name below the root, whether its files
// exist or not. The name may be hostile input: where it does not pass
// [CheckName], the error is a *NameError.
func (r Root) Lineage(name string) (Lineage, error) {
	if err := CheckName(name); err != nil {
		return Lineage{}, err
	}
	dir := name
	if rest, ok := strings.CutPrefix(name, "_."); ok {
		dir = r.Layout.wildcard() + rest
	}
	at := r.newest(dir)
	names := strings.NewReplacer("{dir}", dir, "{base}", strings.TrimSuffix(dir, r.Layout.Suffix), "{tail}", at.tail)
	path := func(pattern string) string {
		if pattern == "" {
			return ""
		}
		return filepath.Join(at.dir, names.Replace(pattern))
	}
	l := Lineage{Client: r.Client, Name: name, Root: r, Fullchain: path(r.Layout.Fullchain), Chain: path(r.Layout.Chain), Key: path(r.Layout.Key)}
	if l.Chain != "" {
		if _, err := os.Lstat(l.Chain); err != nil {
			l.Chain = "" // lego writes it only where the issuer is known
		}
	}
	return l, nil
}

// Find is like Lineage, but fails with a *NotFoundError where the lineage's
// full chain or key does not exist. Where links lead is left to [Read], which
// reads what it has judged.
func (r Root) Find(name string) (Lineage, error) {
	l, err := r.Lineage(name)
	if err != nil {
		return Lineage{}, err
	}
	for _, path := range []string{l.Fullchain, l.Key} {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			if r.leadsOut(path) {
				continue // Read says where
			}
			return Lineage{}, &NotFoundError{r, name, l.lacks()}
		} else if err != nil {
			return Lineage{}, fmt.Errorf("look for lineage %s: %w", name, err)
		}
	}
	return l, nil
}

// lacks returns which of full chain and key is missing; empty: none, or both.
func (l Lineage) lacks() string {
	_, fullchain := os.Lstat(l.Fullchain)
	_, key := os.Lstat(l.Key)
	switch {
	case fullchain == nil && key != nil:
		return l.Key
	case fullchain != nil && key == nil:
		return l.Fullchain
	}
	return ""
}

// leadsOut reports whether what is in the root on the way to a path is a link that
// leads out of it. Where that leads may be gone, as when it is not mounted.
func (r Root) leadsOut(path string) bool {
	rest, _ := paths.Below(path, r.Dir)
	entry, _, _ := strings.Cut(rest, "/")
	info, err := os.Lstat(filepath.Join(r.Dir, entry))
	if err != nil || info.Mode().Type() != os.ModeSymlink {
		return false
	}
	store, err := r.store()
	if err != nil {
		return false
	}
	defer store.Close()
	return store.LeadsOut(rest)
}

// Holds reports whether a path lies in the root, or leads to something in it or
// in the directories beside it that are the client's.
func (r Root) Holds(path string) bool {
	if _, below := paths.Below(filepath.Clean(path), r.Dir); below {
		return true
	}
	store, err := r.store()
	if err != nil {
		return false
	}
	defer store.Close()
	return store.Holds(path)
}

// List returns the lineages below the root, by name. Whatever else lies there
// (certbot's README, acme.sh's accounts) is passed over. A root that does not
// exist holds none.
func (r Root) List() ([]Lineage, error) {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list lineages: %w", err)
	}
	var names []string
	for _, entry := range slices.Concat(entries, r.entriesAbove()) {
		if name := r.nameOf(entry.Name()); name != "" {
			names = append(names, name)
		}
	}
	if r.Layout.mayHoldSeveral() {
		slices.Sort(names)
		names = slices.Compact(names)
	}
	var found []Lineage
	for _, name := range names {
		if l, err := r.Find(name); err == nil {
			found = append(found, l)
		}
	}
	slices.SortFunc(found, func(a, b Lineage) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// Unnamed returns why some of what lies below the root as a lineage does is none: its
// name can be that of none. Whoever may write there decides how many there are, so more
// counts those beyond a limit.
func (r Root) Unnamed(limit int) (why []*NameError, more int) {
	for _, dir := range append(r.above(), r.Dir) {
		entries, _ := os.ReadDir(dir) // List says why that fails
		for _, entry := range entries {
			name := r.calledBy(entry.Name())
			flaw, is := errors.AsType[*NameError](CheckName(name))
			if name == "" || !is {
				continue
			}
			fullchain := entry.Name()
			if _, inside, is := strings.Cut(r.Layout.Fullchain, "/"); is {
				fullchain = filepath.Join(fullchain, strings.ReplaceAll(inside, "{dir}", name))
			}
			if _, err := os.Lstat(filepath.Join(dir, fullchain)); err == nil {
				why = append(why, flaw)
			}
		}
	}
	slices.SortStableFunc(why, func(a, b *NameError) int { return cmp.Compare(hiddenLast(a), hiddenLast(b)) })
	shown := min(limit, len(why))
	return why[:shown:shown], len(why) - shown
}

// hiddenLast returns where in an order a flaw stands: what is hidden is meant to be.
func hiddenLast(flaw *NameError) int {
	if flaw.Hidden() {
		return 1
	}
	return 0
}

// Listed returns the lineage with a name, if [Root.List] would return it, and fails
// where that would. It looks at no other.
func (r Root) Listed(name string) (l Lineage, is bool, err error) {
	l, err = r.Find(name)
	if err != nil {
		if _, missing := errors.AsType[*NotFoundError](err); !missing && CheckName(name) == nil {
			_, err = r.List() // it may be the root that cannot be looked at
			return Lineage{}, false, err
		}
		return Lineage{}, false, nil
	}
	return l, r.nameOf(r.entryOf(l)) == name, nil
}

// NameAt returns the name of the lineage that would be at path (a directory, or
// for flat layouts a file), or "" where path is not directly below the root. It
// does not look at the file system.
func (r Root) NameAt(path string) string {
	path = filepath.Clean(path)
	if !r.isAbove(filepath.Dir(path)) {
		return ""
	}
	return r.nameOf(filepath.Base(path))
}

// nameOf returns the name of the lineage whose directory or file has a name, or
// "".
func (r Root) nameOf(file string) string {
	name := r.calledBy(file)
	if rest, ok := strings.CutPrefix(name, r.Layout.wildcard()); ok {
		name = "_." + rest
	}
	if CheckName(name) != nil {
		return ""
	}
	return name
}

// calledBy returns what a lineage is called in the file system whose directory or file
// has a name, whether it may be called so or not; empty: it would not have that.
func (r Root) calledBy(file string) string {
	if tailed, is := strings.CutPrefix(r.Layout.Fullchain, "{dir}{tail}"); is {
		name, tail, ok := cutTail(strings.TrimSuffix(file, tailed))
		if !ok || name+tail+tailed != file {
			return ""
		}
		return name
	}
	if flat := strings.TrimPrefix(r.Layout.Fullchain, "{dir}"); !strings.Contains(flat, "/") {
		chain := strings.TrimPrefix(r.Layout.Chain, "{dir}")
		if !strings.HasSuffix(file, flat) || chain != "" && strings.HasSuffix(file, chain) {
			return ""
		}
		return strings.TrimSuffix(file, flat)
	}
	return file
}

// NameError says why a text is not accepted as a lineage's name.
type NameError struct{ Name, Why string }

func (e *NameError) Error() string {
	return fmt.Sprintf("lineage name %.80q: %s", e.Name, e.Why)
}

// Hidden reports whether that is since such a name is hidden in the file system.
func (e *NameError) Hidden() bool { return strings.HasPrefix(e.Name, ".") }

// CheckName fails with a *NameError where a text cannot be the name of a lineage.
// Clients keep a name as it was typed (certbot 5.6.0 client.py, acme.sh 3.1.4
// _initpath, dehydrated 0.7.2 command_sign_domains), so any single component of a
// path is one, of at most 253 bytes and not hidden, that a line of text can hold:
// no control character, also none of those that turn the direction of text, and no
// line ends. Names come from the environment of hooks; a slash or a ".." never
// passes.
func CheckName(name string) error {
	switch {
	case name == "":
		return &NameError{name, "it is empty"}
	case len(name) > 253:
		return &NameError{name, "it is longer than 253 bytes"}
	case name[0] == '.':
		return &NameError{name, "it starts with a ."}
	case strings.Contains(name, "/"):
		return &NameError{name, "a slash stands in it"}
	case !utf8.ValidString(name):
		return &NameError{name, "it is not UTF-8"}
	case strings.ContainsFunc(name, func(c rune) bool { return unicode.In(c, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) }):
		return &NameError{name, "a control character stands in it"}
	}
	return nil
}

// plainWord matches names that a POSIX shell takes as they are.
var plainWord = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_.:@%+,][A-Za-z0-9_.:@%+,-]*$`) })

// Argument returns the lineage as an argument of a certlatch command line in a POSIX
// shell. A name that begins as a flag does is written with its client.
func (l Lineage) Argument() string {
	name := l.Name
	if strings.HasPrefix(name, "-") {
		name = l.String()
	}
	if plainWord().MatchString(name) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// Pattern returns the pattern ([path.Match]) that matches a name, and no other.
func Pattern(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// Literal returns the name that a pattern matches, and reports whether it matches
// only that.
func Literal(pattern string) (name string, only bool) {
	var literal strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case strings.IndexByte("*?[", c) >= 0, c == '\\' && i+1 == len(pattern):
			return "", false
		case c == '\\':
			i++
			literal.WriteByte(pattern[i])
		default:
			literal.WriteByte(c)
		}
	}
	return literal.String(), true
}
