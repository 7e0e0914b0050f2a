package generic

import (
	"cmp"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// coturnPairs finds what coturn takes (README.turnserver and mainrelay.c of 4.6.1).
type coturnPairs struct{}

// config returns the path of the configuration that coturn was started with, or would be.
func (coturnPairs) config(f *deployers.Facts) string {
	argv := f.Argv
	if argv == nil {
		argv = f.Unit.ExecStart
	}
	for n, word := range argv {
		if n+1 < len(argv) && word == "-c" && filepath.IsAbs(argv[n+1]) {
			return filepath.Clean(argv[n+1])
		}
	}
	return "/etc/turnserver.conf"
}

// read returns the last values of the configuration's keys, which stand before a = or a
// blank; of those without one, that they are there.
func (p coturnPairs) read(f *deployers.Facts) (values map[string]string, ok bool) {
	values = map[string]string{}
	for _, text := range f.Texts[p.config(f)] {
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

// doors returns where coturn listens with TLS: at the default of --tls-listening-port, or
// another port.
func (coturnPairs) doors(values map[string]string) []door {
	port, err := strconv.ParseUint(cmp.Or(values["tls-listening-port"], "5349"), 10, 16)
	if err != nil || port == 0 {
		return nil
	}
	return []door{{"tls", uint16(port)}}
}

func (p coturnPairs) asks(wants *deployers.Wants, f *deployers.Facts) {
	wants.Argv = true
	wants.Texts = append(wants.Texts, p.config(f))
	values, _ := p.read(f)
	wants.Ports = portsOf(wants.Ports, p.doors(values))
}

func (p coturnPairs) discover(d *deployers.Discovery, f *deployers.Facts) {
	*d = deployers.Discovery{
		Role: "turn", Labels: []string{"turn", "stun", "turns"},
		Directory: "/etc/coturn/{lineage}",
		Lines:     []string{"cert={certificate}", "pkey={key}"},
	}
	values, ok := p.read(f)
	use := deployers.Use{
		Where: p.config(f), Source: sourceFile(f.Texts[p.config(f)]), Certificate: values["cert"], Key: cmp.Or(values["pkey"], values["cert"]),
		Hints: hosts(values["server-name"], values["realm"]),
	}
	switch _, off := values["no-tls"]; {
	case !ok:
		d.AddUnknown("coturn's " + p.config(f) + " cannot be read")
	case off:
		d.AddUnknown("coturn serves without TLS: " + p.config(f) + " says no-tls")
	case use.Certificate == "":
		d.AddUnknown("coturn has no certificate, and serves without TLS; " + "cert and pkey in " + p.config(f) + " give it one")
	case !filepath.IsAbs(use.Certificate) || !filepath.IsAbs(use.Key):
		d.AddUnknown("coturn takes " + use.Certificate + ", which is relative to wherever it looks")
	default:
		presets()["coturn"].seen(&use, p.doors(values), f)
		d.Add(use)
	}
}
