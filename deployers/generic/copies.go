package generic

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// copyFinder finds what a service keeps as copies of the files that it takes.
type copyFinder interface {
	// wants adds what must be known for that.
	wants(deployers.Wants, deployers.Facts) deployers.Wants
	// find returns the argument lists that renew the copies of a plan's files, and puts
	// what was found into the plan.
	find(*deployers.Plan, deployers.Facts) [][]string
}

// postfixMaps are the tables of tls_server_sni_maps. postmap -F puts the content of the
// files that a table names into an indexed file, so smtpd goes on with what was
// there when that was made (postconf(5) and postmap(1) of 3.10).
type postfixMaps struct{}

// settings are the commands that print what main.cf, and what master.cf for services of
// its own, say of the tables.
func (postfixMaps) settings() [][]string {
	const setting = "tls_server_sni_maps"
	return [][]string{{"postconf", "-h", "-x", setting}, {"postconf", "-P", "-x", "*/*/" + setting}}
}

func (m postfixMaps) wants(wants deployers.Wants, f deployers.Facts) deployers.Wants {
	wants.Commands = append(wants.Commands, m.settings()...)
	for _, table := range m.tables(f) {
		if path, ok := sourceOf(table); ok {
			wants.Texts = append(wants.Texts, path)
		}
	}
	return wants
}

// tables returns the tables, such as lmdb:/etc/postfix/sni.
func (m postfixMaps) tables(f deployers.Facts) []string {
	var tables []string
	for _, argv := range m.settings() {
		for line := range strings.Lines(f.Output(argv).Stdout) {
			if name, value, ok := strings.Cut(line, " = "); ok && strings.HasSuffix(name, "/tls_server_sni_maps") {
				line = value
			}
			split := func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }
			for _, table := range strings.FieldsFunc(line, split) {
				tables = append(tables, strings.TrimPrefix(table, "proxy:")) // which reads it by another process (proxymap(8))
			}
		}
	}
	return deployers.Distinct(tables)
}

// sourceOf returns the file that postmap makes a table of, and reports whether it is made
// of one.
func sourceOf(table string) (path string, ok bool) {
	kind, path, _ := strings.Cut(table, ":")
	made := slices.Contains([]string{"hash", "btree", "lmdb", "cdb", "dbm", "sdbm"}, kind)
	return path, made && filepath.IsAbs(path)
}

// isUnknown reports whether it cannot be read what a table is made of.
func (postfixMaps) isUnknown(table string, f deployers.Facts) bool {
	path, ok := sourceOf(table)
	return !ok || len(f.Texts[path]) == 0
}

func (m postfixMaps) find(plan *deployers.Plan, f deployers.Facts) [][]string {
	var copies [][]string
	for _, table := range m.tables(f) {
		path, ok := sourceOf(table)
		if !ok {
			plan.Warn(deployers.Configuration, "renew its copies by generic: {copies: [[program, argument]]}, if it holds any of these files", "of tls_server_sni_maps %s, it is not known how its copies are renewed", table)
			continue
		}
		renew := []string{"postmap", "-F", table}
		switch named, other := m.entries(f.Texts[path], *plan, f.Names); {
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

// entries reports whether the source of a table names one of a plan's files, and returns
// the first of some names for which it has none of them.
func (postfixMaps) entries(source []deployers.Text, plan deployers.Plan, names []string) (named bool, other string) {
	contents := []deployers.Content{deployers.Fullchain, deployers.Chain, deployers.Key, deployers.Combined}
	for _, text := range source {
		for line := range strings.Lines(joinContinued(text.Content)) {
			words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
			if len(words) == 0 || strings.HasPrefix(words[0], "#") {
				continue
			}
			switch {
			case slices.ContainsFunc(words[1:], func(path string) bool { return plan.Writes(path, contents...) }):
				named = true
			case other == "" && slices.ContainsFunc(names, func(name string) bool { return isKeyOf(words[0], name) }):
				other = words[0]
			}
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
