package generic

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
)

// service is one that a preset is for, as certlatch init looks for it.
type service struct {
	Deployer
	preset PresetName
}

// Each returns the services that presets are for.
func (Deployer) Each() (all []deployers.Discoverer) {
	for _, name := range presetNames() {
		all = append(all, service{preset: PresetName(name)})
	}
	return all
}

func (s service) Options() any { return &Options{Preset: s.preset} }

// isUsed reports whether the service runs or is started with the host. A package alone
// is none: others depend on some of them.
func isUsed(f deployers.Facts) bool {
	return f.Unit.LoadState == "loaded" && (f.Unit.Running() || len(f.Texts[wanted(f.Unit.Name)]) > 0)
}

// wanted is where systemctl(1) enable links to a unit.
func wanted(unit string) string { return "/etc/systemd/system/*.wants/" + unit }

func (s service) Wants(t deployers.Target, f deployers.Facts) deployers.Wants {
	if !isUsed(f) {
		return deployers.Wants{Unit: t.Unit, Texts: []string{wanted(t.Unit)}}
	}
	wants := s.Deployer.Wants(t, f)
	presets()[string(s.preset)].reads.asks(&wants, &f)
	return wants
}

func (s service) Discover(_ deployers.Target, f deployers.Facts) (d deployers.Discovery) {
	if !isUsed(f) {
		return d
	}
	presets()[string(s.preset)].reads.discover(&d, &f)
	d.Installed, d.Preset = true, string(s.preset)
	for i := range d.Uses {
		d.Uses[i].Settings = []deployers.Setting{{Key: "preset", Value: d.Preset}}
	}
	return d
}

// door is where a service presents certificates, as its configuration has it.
type door struct {
	scheme string
	port   uint16
}

// seen sets where a use can be seen: where the service listens, or else would.
func (p preset) seen(use *deployers.Use, doors []door, f *deployers.Facts) {
	name := ""
	if names := hosts(slices.Concat(use.Names, use.Hints)...); len(names) > 0 {
		name = names[0]
	}
	for _, d := range doors {
		listeners := f.Listeners
		if !f.Unit.Running() {
			listeners = []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), d.port)}
		}
		for _, l := range listeners {
			if l.Port() == d.port {
				use.Probes = append(use.Probes, endpoint.At(d.scheme, l, name))
				use.Unusual = use.Unusual || p.schemes[d.port] != d.scheme
			}
		}
	}
	use.Probes = deployers.Distinct(use.Probes)
}

// sourceFile returns a file that was read, without links on the way; empty: it was not.
func sourceFile(texts []deployers.Text) string {
	if len(texts) == 0 {
		return ""
	}
	return texts[0].At()
}

// portsOf returns the ports of doors, beside others.
func portsOf(ports []uint16, doors []door) []uint16 {
	for _, d := range doors {
		ports = append(ports, d.port)
	}
	return deployers.Distinct(ports)
}

// pemFiles are files that a service names in one list, each with certificates, keys or
// both.
type pemFiles []deployers.Text

// readPEM returns the files of a list as far as they are there, by their paths or globs.
func readPEM(f *deployers.Facts, names []string) (files pemFiles) {
	const most = 64 // that are compared with each other
	for _, name := range names {
		files = append(files, f.Texts[name]...)
	}
	return files[:min(len(files), most)]
}

func holdsKey(text string) bool { return strings.Contains(text, "PRIVATE KEY-----") }

func holdsCertificate(text string) bool { return strings.Contains(text, "-----BEGIN CERTIFICATE-----") }

// pairs returns a use for each certificate among the files, with the file that has its
// key: the same one where that has both.
func (p pemFiles) pairs(where string) (uses []deployers.Use) {
	for _, certificate := range p {
		if !holdsCertificate(certificate.Content) {
			continue
		}
		use := deployers.Use{Where: where, Certificate: certificate.Path}
		use.Names, _ = namesOf(certificate)
		for _, key := range slices.Concat(pemFiles{certificate}, p) {
			if !holdsKey(key.Content) {
				continue
			}
			if pair, _ := lineage.Parse(lineage.Lineage{}, []byte(certificate.Content), nil, []byte(key.Content)); pair != nil {
				use.Key = key.Path
				break
			}
		}
		uses = append(uses, use)
	}
	return uses
}

// namesOf returns the names of the certificate in a file, in lower case, and the type of
// its key; none where there is none.
func namesOf(text deployers.Text) (names []string, family string) {
	certificates, err := lineage.ParseCertificates([]byte(text.Content))
	if err != nil {
		return nil, ""
	}
	leaf := lineage.Describe(certificates[0])
	for _, name := range leaf.Names {
		names = append(names, strings.ToLower(name))
	}
	return names, lineage.KeyFamily(leaf.Key)
}

// hosts returns those of some words that are names of hosts below a domain, in lower case.
func hosts(words ...string) (names []string) {
	for _, word := range words {
		if word = strings.ToLower(word); endpoint.IsHost(word) && strings.Contains(word, ".") {
			names = append(names, word)
		}
	}
	return names
}
