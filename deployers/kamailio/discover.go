package kamailio

import (
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// loadsTLS reports whether kamailio.cfg loads the module tls, and whether that depends
// on what is not known.
func (k observed) loadsTLS() (loads, maybe bool) {
	for _, module := range []string{"tls", "tls_wolfssl"} {
		for _, statement := range k.script.Loads(module) {
			if !statement.Maybe {
				return true, false
			}
			maybe = true
		}
	}
	return maybe, maybe
}

// names returns those that Kamailio has for itself (the core's parameter alias).
func (k observed) names() (names []string) {
	for _, set := range k.script.Set("alias") {
		for _, text := range set.Args {
			text = strings.ToLower(text)
			if protocol, rest, _ := strings.Cut(text, ":"); slices.Contains([]string{"udp", "tcp", "tls", "sctp"}, protocol) {
				text = rest
			}
			name, _, _ := strings.Cut(text, ":")
			if name != "" && name[0] != '[' && 'a' <= name[len(name)-1] && name[len(name)-1] <= 'z' {
				names = append(names, name)
			}
		}
	}
	return names
}

// Runs returns the program of Kamailio.
func (Deployer) Runs(deployers.Target) string { return "kamailio" }

// Serves reports whether a process of that serves: all do.
func (Deployer) Serves(deployers.Process) bool { return true }

// absent returns why no Kamailio says itself what it takes. One may run elsewhere.
func absent(t deployers.Target, f deployers.Facts) string {
	if f.Unit.Running() {
		return "the Kamailio of " + t.Unit + " does not answer"
	}
	return t.Unit + " does not run"
}

func (Deployer) Discover(t deployers.Target, f deployers.Facts) deployers.Discovery {
	options := t.Options.(*Options)
	d := deployers.Discovery{
		Installed: f.Unit.LoadState == "loaded" || len(f.Texts[options.config(f)]) > 0,
		Role:      "sip", Exact: true, Labels: []string{"sip", "sips", "voip", "pbx", "phone"},
		Directory: "/etc/kamailio/tls/{lineage}",
		Lines:     []string{"certificate = {certificate}", "private_key = {key}"},
	}
	seen := options.observe(f)
	loads, maybe := seen.loadsTLS()
	without := seen.about == deployers.Domains && seen.remedy != ""
	switch {
	case !d.Installed:
		return d
	case without && !loads:
		d.AddUnknown("Kamailio runs without TLS: " + seen.why + "; let it load its module tls (in Debian's kamailio.cfg: #!define WITH_TLS), call certlatch init again, and restart it when the files that its tls.cfg names are there")
		return d
	case !seen.answers() && !loads:
		d.AddUnknown(absent(t, f) + ", and " + options.config(f) + " loads no TLS (in Debian's: #!define WITH_TLS)")
		return d
	case seen.flaw != nil:
		d.AddUnknown("Kamailio stops reading tls.cfg there: " + seen.flaw.Error())
	}
	if !seen.answers() && (maybe || seen.guessed) {
		d.AddUnknown(absent(t, f) + ", and whether " + options.config(f) + " loads TLS with " + seen.config + " depends on what only Kamailio knows: " + strings.Join(seen.script.Doubts, "; "))
	}
	own := seen.names()
	for _, p := range seen.servers() {
		use := deployers.Use{Where: p.place(), Certificate: seen.tls.path(p, "certificate"), Key: seen.tls.path(p, "private_key"), Hints: own}
		switch {
		case without:
			use.Note = "Kamailio runs without TLS. Its configuration loads it: once the target's files are there, restart it."
		case seen.about == deployers.Domains:
			use.Note = "A renewed pair waits for a restart: " + seen.why + ". Give the module tls a config file, or this target allow_restart: true."
		}
		if name := strings.ToLower(p.Options["server_name"]); name != "" && p.Options["server_name_mode"] != "2" {
			use.Names = []string{name}
		}
		use.SetProbes(usualPort, seen.probes(f.Listeners, use.Names, []tlsProfile{p}))
		switch {
		case use.Certificate == "":
		case !strings.HasPrefix(use.Certificate, "/"):
			d.AddUnknown(use.Where + " takes " + use.Certificate + ", which is relative to where Kamailio was started")
		default:
			d.Add(use)
		}
	}
	return d
}
