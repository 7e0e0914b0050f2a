package proposal

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// match is the lineage that belongs to a use, and what that was concluded from,
// or why there is no such lineage.
type match struct {
	lineage *Lineage
	why     string
	rival   *Lineage // of another client with the same name, and nothing tells which of both it is; nil: there is none
}

// match returns the lineage for a use, by the surest sign that there is.
func (m *maker) match(s Service, use deployers.Use) match {
	file := m.Files[use.Certificate]
	if at := slices.IndexFunc(m.Lineages, func(l Lineage) bool { return l.String() == file.Kept }); at >= 0 && use.Either == nil {
		return match{lineage: &m.Lineages[at], why: "It is the lineage's own file."}
	}
	r := ranking{exact: s.Exact, use: use, candidates: m.candidates(s, use, file)}
	if file.Leaf != nil {
		r.key, r.installed = file.Leaf.Key, file.Leaf.Fingerprint
	}
	switch {
	case len(m.Lineages) == 0:
		return match{why: "No ACME client keeps a certificate here yet."}
	case len(r.candidates) == 0:
		return match{why: "No lineage fits."}
	case len(use.Names) > 0:
		if best := r.best(use.Names); best.lineage != nil {
			return best
		}
		return match{why: fmt.Sprintf("No lineage covers %s.", someOf(use.Names))}
	}
	issued := file.Leaf != nil && !file.SelfIssued
	if file.Leaf != nil {
		if best := r.best(lower(file.Leaf.Names)); best.lineage != nil {
			best.why += " Those are names of the certificate that is there now."
			return best
		}
	}
	if best := r.best(use.Hints); best.lineage != nil {
		best.why += " The service counts those as its own names."
		return best
	}
	switch labelled := r.labelled(s.Labels); {
	case issued:
		return match{why: fmt.Sprintf("It is for whatever name, and the certificate there, of %s, is no lineage's.", someOf(file.Leaf.Names))}
	case len(r.candidates) == 1:
		return match{lineage: &r.candidates[0], why: fmt.Sprintf("It is for whatever name, and %s is the only lineage of this host.", r.candidates[0])}
	case len(labelled) == 1:
		return match{lineage: &labelled[0], why: fmt.Sprintf("It is for whatever name. %s was guessed from its name: see whether it is the right one.", labelled[0])}
	}
	return match{why: "It is for whatever name, so nothing tells which lineage it should have."}
}

// candidates returns the lineages that a use could take at all: of several with
// one leaf the one with the name of the use, or else the first; for a twin
// those with its type of key.
func (m *maker) candidates(s Service, use deployers.Use, file File) []Lineage {
	want := ""
	if use.Twin {
		want = twinFamily(use, file)
	}
	var kept []Lineage
	for _, l := range m.Lineages {
		if want != "" && keyFamily(l.Leaf.Key) != want || s.Exact && !slices.ContainsFunc(l.Leaf.Names, isPlainName) {
			continue
		}
		same := slices.IndexFunc(kept, func(k Lineage) bool { return k.Leaf.Fingerprint == l.Leaf.Fingerprint && k.Client == l.Client })
		switch {
		case same < 0:
			kept = append(kept, l)
		case slices.Contains(use.Names, l.Name) && !slices.Contains(use.Names, kept[same].Name):
			kept[same] = l
		}
	}
	return kept
}

// isPlainName reports whether a name is a DNS name without a wildcard.
func isPlainName(name string) bool {
	_, err := netip.ParseAddr(name)
	return err != nil && !strings.HasPrefix(name, "*.") && !strings.Contains(name, ":")
}

// keyFamily returns the type of a key as probe URLs name it, or "".
func keyFamily(key string) string {
	for _, family := range []string{"rsa", "ecdsa"} {
		if strings.HasPrefix(key, family) {
			return family
		}
	}
	return ""
}

// twinFamily returns the type of key that one of two pairs is for, by the leaf
// that is there, or else by its path.
func twinFamily(use deployers.Use, file File) string {
	if file.Leaf != nil {
		return keyFamily(file.Leaf.Key)
	}
	switch path := strings.ToLower(use.Certificate); {
	case strings.Contains(path, "ecdsa") || strings.Contains(path, "ecc"):
		return "ecdsa"
	case strings.Contains(path, "rsa"):
		return "rsa"
	}
	return ""
}

// ranking ranks the candidates for one use.
type ranking struct {
	candidates []Lineage
	use        deployers.Use
	exact      bool   // a wildcard covers nothing
	key        string // the type of the key that is there now
	installed  string // the fingerprint of the leaf that is there now; empty: none is known
}

// best returns the lineage that covers most of the names. Among equals it takes
// the one whose leaf is there now, then the one with the type of its key, then the
// one with the name, then the one that expires last.
func (r ranking) best(names []string) match {
	covered := func(l Lineage) int {
		return len(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !r.covers(l, name) }))
	}
	ranked := slices.DeleteFunc(slices.Clone(r.candidates), func(l Lineage) bool { return covered(l) == 0 })
	if len(ranked) == 0 {
		return match{}
	}
	prefer := func(is func(Lineage) bool, a, b Lineage) int {
		switch {
		case is(a) == is(b):
			return 0
		case is(a):
			return -1
		}
		return 1
	}
	isInstalled := func(l Lineage) bool { return l.Leaf.Fingerprint == r.installed }
	sameKey := func(l Lineage) bool { return keyFamily(l.Leaf.Key) == keyFamily(r.key) }
	sameName := func(l Lineage) bool { return slices.Contains(names, l.Name) }
	slices.SortStableFunc(ranked, func(a, b Lineage) int {
		return cmp.Or(
			cmp.Compare(covered(b), covered(a)), prefer(isInstalled, a, b), prefer(sameKey, a, b), prefer(sameName, a, b),
			cmp.Compare(len(a.Leaf.Names), len(b.Leaf.Names)), b.Leaf.NotAfter.Compare(a.Leaf.NotAfter),
		)
	})
	first := ranked[0]
	rival := slices.IndexFunc(ranked, func(l Lineage) bool {
		return l.Name == first.Name && l.Client != first.Client && covered(l) == covered(first) && l.Leaf.Fingerprint != first.Leaf.Fingerprint
	})
	var has, lacks []string
	for _, name := range names {
		if r.covers(first, name) {
			has = append(has, name)
		} else {
			lacks = append(lacks, name)
		}
	}
	why := fmt.Sprintf("%s covers %s", first, someOf(has))
	if len(lacks) > 0 {
		why += fmt.Sprintf(", but not %s", someOf(lacks))
	}
	for _, other := range ranked[1:] {
		if covered(other) == covered(first) {
			why += fmt.Sprintf("; so does %s", other)
		}
	}
	found := match{lineage: &first, why: why + "."}
	switch {
	case rival < 0:
	case isInstalled(first):
		found.why += " Its leaf is the one that is installed."
	default:
		found.rival = &ranked[rival]
	}
	return found
}

// covers reports whether the leaf of a lineage covers a name (RFC 9525 section
// 6.3: a wildcard stands for one label).
func (r ranking) covers(l Lineage, name string) bool {
	_, parent, _ := strings.Cut(name, ".")
	names := lower(l.Leaf.Names)
	return slices.Contains(names, name) || !r.exact && slices.Contains(names, "*."+parent)
}

// coversAll reports whether the leaf of a lineage covers all names.
func coversAll(l Lineage, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !ranking{}.covers(l, name) })
}

// labelled returns the lineages with a name that begins with one of the labels.
func (r ranking) labelled(labels []string) []Lineage {
	return slices.DeleteFunc(slices.Clone(r.candidates), func(l Lineage) bool {
		return !slices.ContainsFunc(lower(l.Leaf.Names), func(name string) bool {
			label, _, _ := strings.Cut(name, ".")
			return slices.Contains(labels, label)
		})
	})
}

func lower(names []string) []string {
	var all []string
	for _, name := range names {
		all = append(all, strings.ToLower(name))
	}
	return all
}

// someOf returns some of the names, and how many more there are, for people.
func someOf(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
