package hooks

import (
	"strings"

	"github.com/certlatch/certlatch/internal/lineage"
)

// Keeper is a program that keeps lineages: a client, or whatever fills plain
// directories.
type Keeper struct {
	Name   string // the key in the configuration's lineages list
	Layout lineage.Layout
	Places []string // the usual ones

	OnlyAsked bool   // its usual places are not taken where the configuration names none
	Serves    string // the server that serves what it keeps itself; empty: none

	// ByHand returns what its admin has to write so that the certlatch at the path self
	// is called, or why nothing can; nil: it is a client, or has a caller of its own.
	ByHand func(self string) string
}

// Root returns a directory in which the keeper keeps lineages.
func (k Keeper) Root(dir string) lineage.Root {
	return lineage.Root{Client: k.Name, Layout: k.Layout, Dir: dir}
}

// plainDirectories returns the keeper of plain directories, which is no client
// and calls no hooks.
func plainDirectories() Keeper {
	return Keeper{Name: "directory", Layout: lineage.Layout{Fullchain: "{dir}/fullchain.pem", Key: "{dir}/privkey.pem"}}
}

// Keepers returns all keepers, in the order in which they are documented.
func Keepers() []Keeper {
	var keepers []Keeper
	for _, c := range All() {
		keepers = append(keepers, Keeper{Name: c.Name(), Layout: c.Layout(), Places: c.Places()})
	}
	return append(keepers, plainDirectories(), getssl(), uacme(), caddy(), nginxACME())
}

// Other is what keeps certificates in a way of its own that certlatch does not read.
type Other struct {
	Name   string
	Places []string // the usual ones
	Is     string   // what it is, for people
}

// Others returns what is known to keep certificates in a way that certlatch does not
// read: Apache's (mod_md 2.6.11 md_store_fs.c) and Traefik's (traefik 3
// pkg/provider/acme/local_store.go).
func Others() []Other {
	return []Other{
		{"mod_md", []string{"/etc/apache2/md/domains", "/etc/httpd/state/md/domains", "/etc/httpd/md/domains"},
			"Apache's own module, which renews its certificates and takes them by itself, at a graceful restart; certlatch does not read its store"},
		{"traefik", []string{"/etc/traefik/acme.json", "/var/lib/traefik/acme.json", "/data/acme.json"},
			"Traefik's own file, which holds all its certificates and keys in one, and Traefik serves them by itself; certlatch does not read it"},
	}
}

// OtherFor returns the one with a name, and reports whether there is one.
func OtherFor(name string) (Other, bool) {
	for _, o := range Others() {
		if o.Name == name {
			return o, true
		}
	}
	return Other{}, false
}

// KeeperFor returns the keeper with a name, and reports whether there is one.
func KeeperFor(name string) (Keeper, bool) {
	for _, k := range Keepers() {
		if k.Name == name {
			return k, true
		}
	}
	return Keeper{}, false
}

// SplitName returns the parts of CLIENT:NAME. The client is empty where a text has
// none before its first colon: names have colons, too, as that of an IPv6 address.
func SplitName(text string) (client, name string) {
	if client, name, is := strings.Cut(text, ":"); is {
		if _, known := KeeperFor(client); known {
			return client, name
		}
	}
	return "", text
}

// UsualRoots returns the usual places of all clients.
func UsualRoots() []lineage.Root {
	var roots []lineage.Root
	for _, k := range Keepers() {
		for _, dir := range k.Places {
			roots = append(roots, k.Root(dir))
		}
	}
	return roots
}
