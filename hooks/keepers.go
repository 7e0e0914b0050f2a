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
		keepers = append(keepers, Keeper{c.Name(), c.Layout(), c.Places()})
	}
	return append(keepers, plainDirectories())
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
