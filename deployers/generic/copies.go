package generic

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// sourceOf returns the file that postmap makes a table of, and reports whether it is made
// of one.
func sourceOf(table string) (path string, ok bool) {
	kind, path, _ := strings.Cut(table, ":")
	made := slices.Contains([]string{"hash", "btree", "lmdb", "cdb", "dbm", "sdbm"}, kind)
	return path, made && filepath.IsAbs(path)
}

// postfixCopies returns the argument lists that renew the copies of a plan's files in tables
// of tls_server_sni_maps, and puts what was found into the plan. postmap -F puts the content
// of the files that a table names into an indexed file, so smtpd goes on with what was
// there when that was made (postconf(5) and postmap(1) of 3.10).
func postfixCopies(plan *deployers.Plan, f *deployers.Facts) [][]string {
	var copies [][]string
	for _, table := range (postfix{}).read(f).tables {
		path, ok := sourceOf(table)
		if !ok {
			plan.Warn(deployers.Configuration, "renew its copies by generic: {copies: [[program, argument]]}, if it holds any of these files", "of tls_server_sni_maps %s, it is not known how its copies are renewed", table)
			continue
		}
		renew := []string{"postmap", "-F", table}
		switch named, other := postfixNamed(postfixEntries(table, f), *plan, f.Names); {
		case named:
			copies = append(copies, renew)
			plan.Fine(deployers.Configuration, "%s holds copies of the files, which %s renews before each reload", table, strings.Join(renew, " "))
		case len(f.Texts[path]) == 0:
			plan.Warn(deployers.Configuration, "write the names and the target's files there, and run "+strings.Join(renew, " "), "%s, of which tls_server_sni_maps has copies, cannot be read", path)
		case other != "":
			plan.Warn(deployers.Configuration, fmt.Sprintf("let it name %s, and run %s", pathsOf(*plan), strings.Join(renew, " ")), "%s has other files than the target's for %s, and Postfix serves copies of those", path, other)
		}
	}
	return copies
}

// postfixEntry is an entry of a table of tls_server_sni_maps.
type postfixEntry struct {
	where, name string
	files       []string // in their order: each key before its certificate
}

// postfixEntries returns the entries of a table's source.
func postfixEntries(table string, f *deployers.Facts) (entries []postfixEntry) {
	path, _ := sourceOf(table)
	for _, text := range f.Texts[path] {
		for line := range strings.Lines(joinContinued(text.Content)) {
			if words := postfixWords(line); len(words) > 1 && !strings.HasPrefix(words[0], "#") {
				entries = append(entries, postfixEntry{path + ": " + words[0], words[0], absolute(words[1:])})
			}
		}
	}
	return entries
}

// postfixNamed reports whether entries name one of a plan's files, and returns the first of
// some names for which they have none of them.
func postfixNamed(entries []postfixEntry, plan deployers.Plan, names []string) (named bool, other string) {
	for _, entry := range entries {
		switch {
		case slices.ContainsFunc(entry.files, func(path string) bool { return writesAny(plan, path) }):
			named = true
		case other == "" && slices.ContainsFunc(names, func(name string) bool { return isKeyOf(entry.name, name) }):
			other = entry.name
		}
	}
	return named, other
}

// isKeyOf reports whether a key of a table is for a name: it is the name, or .DOMAIN for
// all below a domain (postconf(5), tls_server_sni_maps).
func isKeyOf(key, name string) bool {
	key, name = strings.ToLower(key), strings.ToLower(name)
	return key == name || strings.HasPrefix(key, ".") && strings.HasSuffix(name, key)
}

// joinContinued joins lines that begin with blanks to those before them (postmap(1),
// TABLE FORMAT).
func joinContinued(text string) string {
	var joined strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			joined.WriteString(strings.TrimRight(line, "\r\n"))
			continue
		}
		joined.WriteString("\n" + strings.TrimRight(line, "\r\n"))
	}
	return joined.String()
}

// pathsOf returns the paths of what a server needs: the key, then the certificate.
func pathsOf(plan deployers.Plan) string {
	var all []string
	for _, content := range []deployers.Content{deployers.Key, deployers.Fullchain} {
		for _, file := range plan.Files {
			if file.Content == content {
				all = append(all, file.Path)
			}
		}
	}
	return strings.Join(all, " ")
}
