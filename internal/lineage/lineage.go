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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/certlatch/certlatch/internal/disk"
)

// Lineage is one named set of certificate files kept by an ACME client. The
// files may be symlinks, as certbot's are.
type Lineage struct {
	Client string // the kind of its root: a Kind.Name
	Name   string // the client's name for it; wildcards are written "_.example.org"
	Root   string // the directory of its root; empty: its files were named one by one

	Fullchain string // path of the leaf, usually followed by its intermediates
	Chain     string // path of further intermediates, where Fullchain may lack them; else empty
	Key       string // path of the private key
}

// String gives the form that tells two clients' lineages of one name apart:
// CLIENT:NAME.
func (l Lineage) String() string { return l.Client + ":" + l.Name }

// Is tells whether text names the lineage: by NAME, or by CLIENT:NAME.
func (l Lineage) Is(text string) bool { return text == l.Name || text == l.String() }

// Kind is one way of keeping lineages below a root directory.
type Kind struct {
	Name      string // the key in the configuration's lineages list
	UsualRoot string // the root that the client uses by default; empty: none

	// Patterns relative to the root. {dir} stands for the lineage's name as
	// it is in the file system, {base} for the same without the suffix that
	// acme.sh gives the directories of ECC certificates.
	Fullchain, Chain, Key string

	Literal bool     // wildcards are written "*.example.org" in the file system
	Beside  []string // directories beside the root into which the client's own links lead
}

// Kinds are the known ways, in the order in which they are documented.
//
// Sources: certbot 5.6.0 certbot/_internal/storage.py (live/NAME, links);
// acme.sh 3.1.4 _initpath (DOMAIN or DOMAIN_ecc, wildcards literal); lego
// 4.35.2 cmd/certs_storage.go and 5.3.1 cmd/internal/storage ("*" becomes "_",
// other scripts than ASCII Punycode); dehydrated 0.7.2 sign_domain (links in
// certs/ALIAS); acmetool 0.2.2 _doc/SCHEMA.md (live/HOST leads to certs/ID,
// and privkey there to keys/ID).
func Kinds() []Kind {
	return []Kind{
		{Name: "certbot", UsualRoot: "/etc/letsencrypt/live", Fullchain: "{dir}/fullchain.pem", Key: "{dir}/privkey.pem", Beside: []string{"archive"}},
		{Name: "acme.sh", UsualRoot: "/root/.acme.sh", Fullchain: "{dir}/fullchain.cer", Key: "{dir}/{base}.key", Literal: true},
		{Name: "lego", UsualRoot: "/var/lib/lego/certificates", Fullchain: "{dir}.crt", Chain: "{dir}.issuer.crt", Key: "{dir}.key"},
		{Name: "dehydrated", UsualRoot: "/var/lib/dehydrated/certs", Fullchain: "{dir}/fullchain.pem", Key: "{dir}/privkey.pem"},
		{Name: "acmetool", UsualRoot: "/var/lib/acme/live", Fullchain: "{dir}/fullchain", Key: "{dir}/privkey", Literal: true, Beside: []string{"certs", "keys"}},
		{Name: "directory", Fullchain: "{dir}/fullchain.pem", Key: "{dir}/privkey.pem"},
	}
}

// Root is a directory in which a client keeps lineages.
type Root struct {
	Kind Kind
	Dir  string // absolute and clean
}

// NotFoundError says that a root holds no lineage of a name.
type NotFoundError struct {
	Root Root
	Name string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("no lineage %s below %s", e.Name, e.Root.Dir)
}

// Lineage gives the lineage of a name below the root, whether its files exist
// or not. The name is hostile input: it must pass [CheckName].
func (r Root) Lineage(name string) (Lineage, error) {
	if err := CheckName(name); err != nil {
		return Lineage{}, err
	}
	dir := name
	if rest, ok := strings.CutPrefix(name, "_."); ok && r.Kind.Literal {
		dir = "*." + rest
	}
	path := func(pattern string) string {
		if pattern == "" {
			return ""
		}
		base := strings.TrimSuffix(dir, "_ecc")
		return filepath.Join(r.Dir, strings.NewReplacer("{dir}", dir, "{base}", base).Replace(pattern))
	}
	l := Lineage{Client: r.Kind.Name, Name: name, Root: r.Dir, Fullchain: path(r.Kind.Fullchain), Chain: path(r.Kind.Chain), Key: path(r.Kind.Key)}
	if l.Chain != "" {
		if _, err := os.Lstat(l.Chain); err != nil {
			l.Chain = "" // lego writes it only where the issuer is known
		}
	}
	return l, nil
}

// Find is like Lineage, and demands that the lineage is there: both of its
// files exist, or it fails with a *NotFoundError. Where they lead to, if they
// are links, is for [Read] to judge, which reads what it has judged.
func (r Root) Find(name string) (Lineage, error) {
	l, err := r.Lineage(name)
	if err != nil {
		return Lineage{}, err
	}
	for _, path := range []string{l.Fullchain, l.Key} {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			return Lineage{}, &NotFoundError{r, name}
		} else if err != nil {
			return Lineage{}, fmt.Errorf("look for lineage %s: %w", name, err)
		}
	}
	return l, nil
}

// Holds reports whether a path lies in the root, or leads to something in it or
// in the directories beside it that are the client's.
func (r Root) Holds(path string) bool {
	if strings.HasPrefix(filepath.Clean(path), strings.TrimSuffix(r.Dir, "/")+"/") {
		return true
	}
	store, err := disk.OpenStore(r.Dir, r.Kind.Beside...)
	if err != nil {
		return false
	}
	defer store.Close()
	return store.Holds(path)
}

// List gives the lineages below the root, by name. Whatever else lies there
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
	var found []Lineage
	for _, entry := range entries {
		name := r.nameOf(entry.Name())
		if name == "" {
			continue
		}
		if l, err := r.Find(name); err == nil {
			found = append(found, l)
		}
	}
	slices.SortFunc(found, func(a, b Lineage) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// NameAt gives the name of the lineage that a client says is at path (a
// directory, or for flat kinds a file), or "" where path is not directly
// below the root. Nothing is looked up.
func (r Root) NameAt(path string) string {
	path = filepath.Clean(path)
	if filepath.Dir(path) != r.Dir {
		return ""
	}
	return r.nameOf(filepath.Base(path))
}

// nameOf turns a name in the file system into that of a lineage, or "".
func (r Root) nameOf(file string) string {
	if flat := strings.TrimPrefix(r.Kind.Fullchain, "{dir}"); !strings.Contains(flat, "/") {
		if !strings.HasSuffix(file, flat) || strings.HasSuffix(file, strings.TrimPrefix(r.Kind.Chain, "{dir}")) {
			return ""
		}
		file = strings.TrimSuffix(file, flat)
	}
	if rest, ok := strings.CutPrefix(file, "*."); ok && r.Kind.Literal {
		file = "_." + rest
	}
	if CheckName(file) != nil {
		return ""
	}
	return file
}

// NameError says why a text is not accepted as a lineage's name.
type NameError struct{ Name, Why string }

func (e *NameError) Error() string {
	return fmt.Sprintf("lineage name %.80q: %s", e.Name, e.Why)
}

// CheckName accepts what certbot's --cert-name and the other clients make of
// names in practice: letters and digits, of any script since acme.sh keeps a
// name as it was typed, hyphens, underscores and inner dots, at most 253 bytes,
// not starting with a hyphen. Names come from the environment of hooks; a
// slash, a "..", or a control character never passes.
func CheckName(name string) error {
	switch {
	case name == "":
		return &NameError{name, "it is empty"}
	case len(name) > 253:
		return &NameError{name, "it is longer than 253 bytes"}
	case name[0] == '-' || name[0] == '.':
		return &NameError{name, "it starts with a " + name[:1]}
	case strings.Contains(name, "..") || strings.HasSuffix(name, "."):
		return &NameError{name, "it has an empty label"}
	}
	for _, c := range name {
		if !unicode.In(c, unicode.Letter, unicode.Mark, unicode.Digit) && c != '-' && c != '_' && c != '.' {
			return &NameError{name, "only letters, digits, '-', '_' and '.' may stand in it"}
		}
	}
	return nil
}
