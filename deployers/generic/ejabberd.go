package generic

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
)

// ejabberdPairs finds what ejabberd takes: the files of certfiles, of which it brings
// certificates and keys together by itself and chooses by names (ejabberd_pkix of 24.12).
type ejabberdPairs struct{}

// ejabberdConfig is the configuration of Debian's package, and the default of ejabberdctl.
const ejabberdConfig = "/etc/ejabberd/ejabberd.yml"

// ejabberdSection matches a key at the top of the configuration, and what stands behind it.
var ejabberdSection = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^["']?([a-z][a-z0-9_]*)["']?:(.*)$`) })

// ejabberdValue matches a key and its plain or quoted value.
var ejabberdValue = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`["']?\b([a-z_]+)["']?:[ \t]+(?:"([^"]*)"|'([^']*)'|([^\s,{}\[\]"']+))`)
})

// sections returns the lines of the configuration below its top keys, without comments.
func (ejabberdPairs) sections(f *deployers.Facts) (sections map[string]string, ok bool) {
	sections = map[string]string{}
	for _, text := range f.Texts[ejabberdConfig] {
		ok = true
		section := ""
		for line := range strings.Lines(text.Content) {
			if at := strings.IndexByte(line, '#'); at == 0 || at > 0 && (line[at-1] == ' ' || line[at-1] == '\t') {
				line = line[:at] + "\n"
			}
			if match := ejabberdSection().FindStringSubmatch(strings.TrimRight(line, "\r\n")); match != nil {
				section, line = match[1], match[2]+"\n"
			}
			sections[section] += line
		}
	}
	return sections, ok
}

// mostCertfiles is how many paths and globs of certfiles are followed: whoever ejabberd
// runs as can write them.
const mostCertfiles = 16

// certfiles returns what the configuration names as such.
func (ejabberdPairs) certfiles(sections map[string]string) []string {
	list := ejabberdList(sections["certfiles"])
	return list[:min(len(list), mostCertfiles)]
}

// ejabberdList returns the values of a list, in lines that begin with a - or in brackets.
func ejabberdList(section string) (values []string) {
	for _, word := range strings.FieldsFunc(section, func(r rune) bool { return strings.ContainsRune("\n\r,[]", r) }) {
		word = strings.TrimSpace(word)
		word = strings.Trim(strings.TrimSpace(strings.TrimPrefix(word, "- ")), `"'`)
		if word != "" && word != "-" {
			values = append(values, word)
		}
	}
	return values
}

// ejabberdItems returns the values of the keys of each item of a list.
func ejabberdItems(section string) (items []map[string]string) {
	indent := -1 // of the items
	for line := range strings.Lines(section) {
		trimmed := strings.TrimLeft(line, " ")
		if at := len(line) - len(trimmed); strings.HasPrefix(trimmed, "-") && (indent < 0 || at == indent) {
			indent, items = at, append(items, map[string]string{})
		}
		for _, match := range ejabberdValue().FindAllStringSubmatch(line, -1) {
			if len(items) > 0 {
				items[len(items)-1][match[1]] = match[2] + match[3] + match[4]
			}
		}
	}
	return items
}

// doors returns where ejabberd listens with TLS (ejabberd.yml.example).
func (ejabberdPairs) doors(sections map[string]string) (doors []door) {
	for _, values := range ejabberdItems(sections["listen"]) {
		port, err := strconv.ParseUint(values["port"], 10, 16)
		direct, later := values["tls"] == "true", values["starttls"] == "true" || values["starttls_required"] == "true"
		scheme := ""
		switch module := values["module"]; {
		case err != nil || port == 0:
		case module == "ejabberd_c2s" && direct:
			scheme = "xmpps-client"
		case module == "ejabberd_c2s" && later:
			scheme = "xmpp-client"
		case module == "ejabberd_s2s_in" && direct:
			scheme = "xmpps-server"
		case module == "ejabberd_s2s_in" && strings.TrimSpace(sections["s2s_use_starttls"]) != "false":
			scheme = "xmpp-server"
		case module == "ejabberd_http" && direct:
			scheme = "https"
		}
		if scheme != "" {
			doors = append(doors, door{scheme, uint16(port)})
		}
	}
	return doors
}

func (p ejabberdPairs) asks(wants *deployers.Wants, f *deployers.Facts) {
	sections, _ := p.sections(f)
	wants.Texts = slices.Concat(wants.Texts, []string{ejabberdConfig}, absolute(p.certfiles(sections)))
	wants.Ports = portsOf(wants.Ports, p.doors(sections))
}

func (p ejabberdPairs) discover(d *deployers.Discovery, f *deployers.Facts) {
	*d = deployers.Discovery{
		Role: "xmpp", Labels: []string{"xmpp", "chat", "jabber", "im"},
		Directory: "/etc/ejabberd/tls/{lineage}",
		Lines:     []string{"certfiles:", "  - {certificate}", "  - {key}"},
	}
	sections, ok := p.sections(f)
	list := p.certfiles(sections)
	names := hosts(ejabberdList(sections["hosts"])...)
	files := readPEM(f, absolute(slices.Clone(list)))
	uses := files.pairs("certfiles")
	if missing := absent(f, list); len(uses) == 0 && len(missing) > 0 && len(missing) <= 2 { // they are not there yet
		uses = []deployers.Use{{Where: "certfiles", Certificate: missing[0], Key: missing[len(missing)-1]}}
	}
	for _, use := range uses {
		use.Source = sourceFile(f.Texts[ejabberdConfig])
		if len(uses) == 1 { // it is for all hosts
			use.Names = names
		}
		presets()["ejabberd"].seen(&use, p.doors(sections), f)
		d.Add(use)
	}
	for _, other := range list {
		if !filepath.IsAbs(other) {
			d.AddUnknown("certfiles of " + ejabberdConfig + " names " + other + ", which is no path that could be followed")
		}
	}
	switch {
	case !ok:
		d.AddUnknown("ejabberd's " + ejabberdConfig + " cannot be read")
	case sections["include_config_file"] != "":
		d.AddUnknown(ejabberdConfig + " includes other files, which were not read")
	case len(d.Uses) == 0:
		d.AddUnknown("ejabberd has no certificate in a file of certfiles of " + ejabberdConfig)
	}
}

// absent returns those paths that lead to no file, globs aside.
func absent(f *deployers.Facts, paths []string) (missing []string) {
	for _, path := range paths {
		if filepath.IsAbs(path) && !strings.ContainsAny(path, "*?[{") && len(f.Texts[path]) == 0 {
			missing = append(missing, path)
		}
	}
	return missing
}
