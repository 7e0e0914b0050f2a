package kamailio

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
)

// describe adds to a plan what tls.cfg and the running Kamailio say: which
// names the profiles want of the certificate, what to probe, and what the
// operator should know.
func (k observed) describe(plan *deployers.Plan, t deployers.Target, f deployers.Facts) {
	version := k.version(f)
	if version.name != "" {
		plan.Fine(deployers.Control, "%s answers at %s", version.name, k.channel.Address)
	}
	switch {
	case k.flaw != nil:
		plan.Warn(deployers.Configuration, "correct it: Kamailio reads tls.cfg up to there and then refuses it", "%v", k.flaw)
	case k.answers() && k.about == "":
		plan.Fine(deployers.Domains, "the profiles are in %s, which a reload reads again", k.config)
	case k.answers() && k.config == "":
		plan.Warn(deployers.Domains, `give the module tls a config file (modparam("tls", "config", "/etc/kamailio/tls.cfg")), and it can be reloaded`, "%s", k.why)
	}
	if k.guessed {
		plan.Warn(deployers.Configuration, "set kamailio: {tls: PATH} of target "+t.Name, "which tls.cfg Kamailio reads is left to Kamailio by its configuration, and may be another than %s: %s", k.config, strings.Join(k.script.Doubts, "; "))
	}
	known := k.flaw == nil && (len(k.tls.profiles) > 0 || k.answers() && k.config == "")
	ours := k.using(plan.Files)
	for _, p := range ours {
		plan.Fine(deployers.Configuration, "%s takes %s", p.place(), k.tls.path(p, "certificate"))
		if name := strings.ToLower(p.Options["server_name"]); name != "" && p.Options["server_name_mode"] != "2" && !slices.Contains(plan.Names, name) {
			plan.Names = append(plan.Names, name)
		}
	}
	if half := k.half(*plan); half != "" {
		plan.Warn(deployers.Configuration, bothFiles, "%s", half)
	}
	k.addBeside(plan)
	if known && len(ours) == 0 {
		sure := !k.guessed && len(k.taking(plan.Files, k.tls.profiles)) == 0 // as a client it takes them too
		plan.TakesElsewhere(sure, "name the target's paths there, or those in the target", "Kamailio does not take its certificates from "+plan.Files[0].Path, k.taken()...)
	}
	if plan.Found {
		plan.Probes = k.probes(f.Listeners, plan.Names, ours)
	}
	for _, e := range plan.Probes {
		address, err := netip.ParseAddr(e.Host)
		if err != nil || e.Name == "" || !known {
			continue
		}
		p := k.tls.serving(netip.AddrPortFrom(address, e.Port), e.Name)
		if slices.ContainsFunc(ours, func(our tlsProfile) bool { return our.place() == p.place() }) {
			plan.Fine(deployers.Serving, "%s is served by %s", e, p.place())
		} else {
			plan.Warn(deployers.Serving, "correct the probe, or tls.cfg", "%s is served by %s with %s", e, p.place(), k.tls.path(p, "certificate"))
		}
	}
	k.checkCiphers(plan, version)
	k.checkMemory(plan, t, f)
	k.checkRoots(plan, f)

	plan.SIPDomains = deployers.SIPDomains(t, *plan)
}

// half returns which profile takes only one file of the target's pair; empty: none
// does.
func (k observed) half(plan deployers.Plan) string {
	for _, p := range k.using(plan.Files) {
		for _, second := range []string{"", "2"} {
			certificate, key := k.tls.path(p, "certificate"+second), k.tls.path(p, "private_key"+second)
			if plan.Writes(certificate, deployers.Fullchain, deployers.Combined) != plan.Writes(key, deployers.Key, deployers.Combined) {
				return fmt.Sprintf("%s takes %s with the key %s, and the target has only one of the two", p.place(), certificate, key)
			}
		}
	}
	return ""
}

// addBeside adds what the profiles take besides the target's pair. Where a file of it
// cannot be used, Kamailio neither starts nor reloads anything (tls_domain.c of 6.0.1,
// ksr_tls_fix_domain and load_private_key). What a profile leaves to defaults is left out.
func (k observed) addBeside(plan *deployers.Plan) {
	if k.flaw != nil {
		return // it is not read to its end
	}
	reader := plan.Reader
	add := func(p tlsProfile, certificate, key string, reads ...string) {
		plan.Beside = append(plan.Beside, deployers.Beside{Name: "Kamailio's " + p.place(), Certificate: certificate, Key: key, Reads: reads, Called: true, Reader: &reader})
	}
	for _, p := range k.tls.profiles {
		file := func(option string) string {
			if path := k.tls.path(p, option); p.Options[option] != "" && isFile(path) {
				return path
			}
			return ""
		}
		for _, second := range []string{"", "2"} {
			certificate, key := file("certificate"+second), file("private_key"+second)
			ours := plan.Writes(certificate, deployers.Fullchain, deployers.Combined) || plan.Writes(key, deployers.Key, deployers.Combined)
			if !ours && certificate != "" && key != "" {
				add(p, certificate, key)
			}
		}
		var reads []string
		for _, option := range []string{"ca_list", "crl"} {
			if path := file(option); path != "" {
				reads = append(reads, path)
			}
		}
		if reads != nil {
			add(p, "", "", reads...)
		}
	}
}

// isFile reports whether what tls.cfg names is a file whose place is known, and not a key
// of an engine or of a provider (KEY_PREFIX of tls_openssl.h).
func isFile(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/engine:") && !strings.HasPrefix(path, "/uri:")
}

// using returns the server profiles that take one of the files; where tls.cfg
// has no default profile, that of modparam counts as one.
func (k observed) using(files []deployers.File) []tlsProfile { return k.taking(files, k.servers()) }

// taking returns those of some profiles that take one of the files.
func (k observed) taking(files []deployers.File, profiles []tlsProfile) []tlsProfile {
	return slices.DeleteFunc(slices.Clone(profiles), func(p tlsProfile) bool {
		return !slices.ContainsFunc(files, func(f deployers.File) bool {
			return slices.ContainsFunc([]string{"certificate", "private_key", "certificate2", "private_key2"}, func(option string) bool {
				return f.IsAt(k.tls.path(p, option))
			})
		})
	})
}

// servers returns the profiles for connections that come in.
func (k observed) servers() []tlsProfile {
	servers := slices.DeleteFunc(slices.Clone(k.tls.profiles), func(p tlsProfile) bool { return !p.Server })
	if k.tls.modparam != nil && !slices.ContainsFunc(servers, func(p tlsProfile) bool { return p.Default }) {
		servers = append(servers, modparamProfile())
	}
	return servers
}

// taken returns what the profiles name.
func (k observed) taken() (takes []deployers.Taken) {
	for _, p := range k.servers() {
		takes = append(takes, deployers.Taken{Where: p.place(), File: k.tls.path(p, "certificate"), Key: k.tls.path(p, "private_key")})
	}
	return takes
}

// probes returns probes of the listeners: with each name by which a client
// reaches one of our profiles there, and where there is none with that of the
// leaf.
func (k observed) probes(listeners []netip.AddrPort, names []string, ours []tlsProfile) (found []endpoint.Endpoint) {
	for _, listener := range listeners {
		before := len(found)
		for _, name := range names {
			serving := k.tls.serving(listener, name).place()
			if slices.ContainsFunc(ours, func(p tlsProfile) bool { return p.place() == serving }) {
				found = append(found, endpoint.At("sips", listener, name))
			}
		}
		if len(found) == before {
			found = append(found, endpoint.At("sips", listener, ""))
		}
	}
	return found
}

// programVersion is a version of Kamailio.
type programVersion struct {
	name    string // empty: it is not known
	numbers []int
}

var versionReply = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^kamailio (\d+)\.(\d+)\.(\d+)`) })

// version returns the version in the reply to core.version.
func (k observed) version(f deployers.Facts) programVersion {
	match := versionReply().FindStringSubmatch(f.Answers[deployers.Query{Channel: k.channel, Method: "core.version"}].Reply)
	if match == nil {
		return programVersion{}
	}
	release := programVersion{name: match[0]}
	for _, digits := range match[1:] {
		n, err := strconv.Atoi(digits)
		if err != nil {
			return programVersion{}
		}
		release.numbers = append(release.numbers, n)
	}
	return release
}

// checkCiphers adds a check of profiles that Kamailio can neither start nor
// reload with: before 6.0.2 the cipher_list of a profile for TLS 1.3 alone goes
// to SSL_CTX_set_cipher_list, which knows no cipher of TLS 1.3 (tls_domain.c,
// set_cipher_list; seen with 6.0.1).
func (k observed) checkCiphers(plan *deployers.Plan, version programVersion) {
	if version.name == "" || slices.Compare(version.numbers, []int{6, 0, 2}) >= 0 {
		return
	}
	for _, p := range k.tls.profiles {
		method, ciphers := p.Options["method"], p.Options["cipher_list"]
		old := func(cipher string) bool { return !strings.HasPrefix(cipher, "TLS_") }
		if strings.HasPrefix(strings.ToLower(method), "tlsv1.3") && ciphers != "" && !slices.ContainsFunc(strings.Split(ciphers, ":"), old) {
			plan.Warn(deployers.Reload, "remove the cipher_list, or the next reload and the next start fail", "%s has method %s and a cipher_list of TLS 1.3, which %s refuses", p.place(), method, version.name)
		}
	}
}
