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

// ejabberd reads the files of certfiles, of which ejabberd brings certificates and keys
// together by itself and chooses by names (ejabberd_pkix and ejabberd_options of 24.12).
type ejabberd struct{}

// ejabberdConfig is the configuration of Debian's package, and the default of ejabberdctl,
// for which ejabberdctl.cfg may name another.
const (
	ejabberdConfig  = "/etc/ejabberd/ejabberd.yml"
	ejabberdCtlFile = "/etc/ejabberd/ejabberdctl.cfg"
)

// isOther reports whether ejabberd is told to read another file.
func (ejabberd) isOther(f *deployers.Facts) bool {
	for _, text := range f.Texts[ejabberdCtlFile] {
		for line := range strings.Lines(text.Content) {
			if value, is := strings.CutPrefix(strings.TrimSpace(line), "EJABBERD_CONFIG_PATH="); is && strings.Trim(value, `"'`) != ejabberdConfig {
				return true
			}
		}
	}
	return strings.Contains(strings.Join(f.Unit.ExecStart, " "), "--config")
}

// ejabberdSection matches a key at the top of the configuration, and what stands behind it.
var ejabberdSection = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^["']?([a-z][a-z0-9_]*)["']?:(.*)$`) })

// ejabberdValue matches a key and its plain or quoted value.
var ejabberdValue = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`["']?\b([a-z_]+)["']?:[ \t]+(?:"([^"]*)"|'([^']*)'|([^\s,{}\[\]"']+))`)
})

// sections returns the lines of the configuration below its top keys, without comments.
func (ejabberd) sections(f *deployers.Facts) (sections map[string]string, ok bool) {
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

// certfiles returns what the configuration names as such, as far as it is followed.
func (ejabberd) certfiles(sections map[string]string) []string {
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
func (ejabberd) doors(sections map[string]string) (doors []door) {
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

func (ejabberd) wants(wants *deployers.Wants, _ *deployers.Facts) {
	wants.Texts = append(wants.Texts, ejabberdConfig, ejabberdCtlFile)
}

// describe is not sure where another file, or a macro, may hold more.
func (e ejabberd) describe(plan *deployers.Plan, f *deployers.Facts) {
	unsure := e.isOther(f) || !isUsual("ejabberd.service", f)
	var texts []string
	for _, text := range f.Texts[ejabberdConfig] {
		unsure = unsure || strings.Contains(text.Content, "include_config_file") || strings.Contains(text.Content, "define_macro")
		texts = append(texts, text.Content)
	}
	sections, _ := e.sections(f)
	var all []deployers.Use
	for _, path := range ejabberdList(sections["certfiles"]) {
		all = append(all, deployers.Use{Where: ejabberdConfig, Certificate: path})
	}
	if !unsure {
		compare(plan, "ejabberd", "certfiles", all, texts...)
	}
}

func (e ejabberd) asks(wants *deployers.Wants, f *deployers.Facts) {
	sections, _ := e.sections(f)
	wants.Texts = append(wants.Texts, absolute(e.certfiles(sections))...)
	wants.Ports = portsOf(wants.Ports, e.doors(sections))
}

func (e ejabberd) discover(d *deployers.Discovery, f *deployers.Facts) {
	*d = deployers.Discovery{
		Role: "xmpp", Labels: []string{"xmpp", "chat", "jabber", "im"},
		Directory: "/etc/ejabberd/tls/{lineage}",
		Lines:     []string{"certfiles:", "  - {certificate}", "  - {key}"},
	}
	sections, ok := e.sections(f)
	list := e.certfiles(sections)
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
		presets()["ejabberd"].seen(&use, e.doors(sections), f)
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
