package generic

import (
	"path"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// haproxyTaken is a file with a certificate that a bind takes: one that it names, or one
// of a directory.
type haproxyTaken struct {
	deployers.Text
	names []string // that a crt-list has for it
	key   string   // the file that its key is in
}

// taken returns what a bind takes. Of a directory those are all but what belongs to
// others of them, and the key is in a file with .key added to the name where it does not
// stand with the certificate (configuration.txt of 3.0 section 5.1, crt, and section 3.1,
// ssl-load-extra-files).
func (b haproxyBind) taken(f *deployers.Facts) (all []haproxyTaken) {
	for _, file := range b.files {
		below := f.Texts[path.Join(file.path, "*")]
		texts := slices.Clone(f.Texts[file.path])
		for _, text := range below {
			if !strings.HasPrefix(path.Base(text.Path), ".") && !slices.Contains([]string{".key", ".issuer", ".ocsp", ".sctl"}, path.Ext(text.Path)) {
				texts = append(texts, text)
			}
		}
		if texts == nil && below == nil { // it is not there yet
			texts = []deployers.Text{{Path: file.path}}
		}
		for _, text := range texts {
			taken := haproxyTaken{text, file.names, text.Path}
			isBeside := func(t deployers.Text) bool { return t.Path == text.Path+".key" }
			if slices.ContainsFunc(slices.Concat(below, f.Texts[text.Path+".key"]), isBeside) && !holdsKey(text.Content) {
				taken.key = text.Path + ".key"
			}
			all = append(all, taken)
		}
	}
	return all
}

func (haproxyFiles) asks(wants *deployers.Wants, f *deployers.Facts) {
	read, _ := readHAProxy(*f)
	for _, b := range read.binds {
		for _, file := range b.files {
			wants.Texts = append(wants.Texts, file.path, file.path+".key", path.Join(file.path, "*"))
		}
	}
}

func (haproxyFiles) discover(d *deployers.Discovery, f *deployers.Facts) {
	*d = deployers.Discovery{
		Role: "edge", Labels: []string{"www", "web", "edge"},
		Certificate: "/etc/haproxy/{lineage}.fullchain.pem", Key: "/etc/haproxy/{lineage}.privkey.pem", Combined: "/etc/haproxy/{lineage}.pem",
		Lines: []string{"crt {certificate}"},
	}
	read, ok := readHAProxy(*f)
	for _, b := range read.binds {
		taken := b.taken(f)
		for _, file := range taken {
			use := deployers.Use{Where: b.where, Certificate: file.Path, Key: file.key, Names: file.names, Twin: file.hasTwin(taken)}
			use.InDirectory = !slices.ContainsFunc(b.files, func(named haproxyFile) bool { return named.path == file.Path })
			if b.unprobed != "" {
				use.Note = b.says + " of " + b.where + " is not probed: " + b.unprobed + "."
			} else {
				use.Probes = b.probes(haproxyFile{names: file.names}, f.Listeners)
			}
			d.Add(use)
		}
	}
	for _, what := range read.unread {
		d.AddUnknown("HAProxy: " + what)
	}
	switch {
	case !ok:
		d.AddUnknown("HAProxy's " + strings.Join(read.files, " and ") + " cannot be read")
	case len(read.binds) == 0:
		d.AddUnknown("HAProxy serves without TLS: no bind of " + strings.Join(read.files, " and ") + " has ssl crt FILE")
	}
}

// hasTwin reports whether another file has a certificate for the same names with a key of
// another type.
func (h haproxyTaken) hasTwin(all []haproxyTaken) bool {
	names, family := namesOf(h.Text)
	return slices.ContainsFunc(all, func(other haproxyTaken) bool {
		same, its := namesOf(other.Text)
		return names != nil && its != family && slices.Equal(names, same)
	})
}
