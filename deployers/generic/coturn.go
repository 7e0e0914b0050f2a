package generic

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// coturn reads the file that turnserver is started with, of lines NAME=VALUE or NAME VALUE,
// of which the last one counts. Options of the command line go before it (README.turnserver,
// read_config_file and parse_arg_string in src/apps/relay/mainrelay.c of 4.6.1).
type coturn struct{}

// config returns the path of the configuration that coturn was started with, or would be.
func (coturn) config(f *deployers.Facts) string {
	return cmp.Or(f.CommandLine().File("-c"), "/etc/turnserver.conf")
}

// read returns the last values of the configuration's keys; of those without one, that they
// are there.
func (c coturn) read(f *deployers.Facts) (values map[string]string, ok bool) {
	values = map[string]string{}
	for _, text := range f.Texts[c.config(f)] {
		ok = true
		for line := range strings.Lines(text.Content) {
			line = strings.TrimSpace(line)
			if at := strings.IndexAny(line, "= \t"); line != "" && line[0] != '#' && at > 0 {
				values[line[:at]] = strings.Trim(line[at:], "= \t\"")
			} else if line != "" {
				values[line] = "yes"
			}
		}
	}
	return values, ok
}

// pair returns what coturn takes; ok: it takes something.
func (c coturn) pair(f *deployers.Facts, values map[string]string) (use deployers.Use, ok bool) {
	return deployers.Use{Where: c.config(f), Certificate: values["cert"], Key: cmp.Or(values["pkey"], values["cert"])}, values["cert"] != ""
}

// doors returns where coturn listens with TLS: at the default of --tls-listening-port, or
// another port.
func (coturn) doors(values map[string]string) []door {
	port, err := strconv.ParseUint(cmp.Or(values["tls-listening-port"], "5349"), 10, 16)
	if err != nil || port == 0 {
		return nil
	}
	return []door{{"tls", uint16(port)}}
}

func (coturn) wants(wants *deployers.Wants, f *deployers.Facts) {
	wants.Argv = true
	if path := f.CommandLine().File("-c"); path != "" {
		wants.Texts = append(wants.Texts, path)
	}
}

// describe is not sure where the file is none of the command line's, or not all: -n lets
// coturn read none.
func (c coturn) describe(plan *deployers.Plan, f *deployers.Facts) {
	line := f.CommandLine()
	unsure := func(word string) bool { return word == "-n" || strings.HasPrefix(word, "--cert") }
	values, _ := c.read(f)
	if pair, ok := c.pair(f, values); ok && line.File("-c") != "" && !slices.ContainsFunc(line.Argv, unsure) {
		compare(plan, "coturn", "cert", []deployers.Use{pair})
	}
}

func (c coturn) asks(wants *deployers.Wants, f *deployers.Facts) {
	wants.Texts = append(wants.Texts, c.config(f))
	values, _ := c.read(f)
	wants.Ports = portsOf(wants.Ports, c.doors(values))
}

func (c coturn) discover(d *deployers.Discovery, f *deployers.Facts) {
	*d = deployers.Discovery{
		Role: "turn", Labels: []string{"turn", "stun", "turns"},
		Directory: "/etc/coturn/{lineage}",
		Lines:     []string{"cert={certificate}", "pkey={key}"},
	}
	values, ok := c.read(f)
	use, takes := c.pair(f, values)
	use.Source, use.Hints = sourceFile(f.Texts[use.Where]), hosts(values["server-name"], values["realm"])
	switch _, off := values["no-tls"]; {
	case !ok:
		d.AddUnknown("coturn's " + use.Where + " cannot be read")
	case off:
		d.AddUnknown("coturn serves without TLS: " + use.Where + " says no-tls")
	case !takes:
		d.AddUnknown("coturn has no certificate, and serves without TLS; " + "cert and pkey in " + use.Where + " give it one")
	case !filepath.IsAbs(use.Certificate) || !filepath.IsAbs(use.Key):
		d.AddUnknown("coturn takes " + use.Certificate + ", which is relative to wherever it looks")
	default:
		presets()["coturn"].seen(&use, c.doors(values), f)
		d.Add(use)
	}
}
