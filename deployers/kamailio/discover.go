package kamailio

import (
	"regexp"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
)

// aliasLine matches a line of kamailio.cfg with a name of Kamailio's own (the
// core's parameter alias).
var aliasLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[ \t]*alias[ \t]*=[ \t]*"?(?:(?:udp|tcp|tls|sctp):)?([A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z])`)
})

// What loads the module tls, perhaps only where WITH_TLS is defined, as in the
// packaged configuration.
var (
	loadsModule = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?m)^[ \t]*loadmodule[ \t]+"([^"\n]*/)?tls(_wolfssl)?(\.so)?"`)
	})
	asksForTLS = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^[ \t]*(#!|!!)ifdef[ \t]+WITH_TLS\b`) })
	definesTLS = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^[ \t]*(#!|!!)define[ \t]+WITH_TLS\b`) })
)

// loadsTLS reports whether kamailio.cfg and what it includes load the module tls,
// as far as that can be told without Kamailio.
func (o *Options) loadsTLS(f deployers.Facts) bool {
	text := o.text(f)
	return loadsModule().MatchString(text) && (!asksForTLS().MatchString(text) || definesTLS().MatchString(text))
}

// text returns kamailio.cfg and what it includes, one after the other.
func (o *Options) text(f deployers.Facts) string {
	var all strings.Builder
	for _, script := range o.scripts(f) {
		for _, text := range f.Texts[script] {
			all.WriteString(text.Content + "\n")
		}
	}
	return all.String()
}

// Runs returns the program of Kamailio.
func (Deployer) Runs(deployers.Target) string { return "kamailio" }

// Serves reports whether a process of that serves: all do.
func (Deployer) Serves(deployers.Process) bool { return true }

func (Deployer) Discover(t deployers.Target, f deployers.Facts) deployers.Discovery {
	options := t.Options.(*Options)
	d := deployers.Discovery{
		Installed: f.Unit.LoadState == "loaded" || len(f.Texts[options.config(f)]) > 0,
		Role:      "sip", Exact: true, Labels: []string{"sip", "sips", "voip", "pbx", "phone"},
		Directory: "/etc/kamailio/tls/{lineage}",
		Lines:     []string{"certificate = {certificate}", "private_key = {key}"},
	}
	seen := options.observe(f)
	switch {
	case !d.Installed:
		return d
	case seen.about == deployers.Domains && seen.remedy != "":
		d.AddUnknown("Kamailio runs without TLS: " + seen.why + "; " + seen.remedy)
		return d
	case !seen.answers() && !options.loadsTLS(f):
		d.AddUnknown("Kamailio does not run, and " + options.config(f) + " loads no TLS (in Debian's: #!define WITH_TLS)")
		return d
	case seen.flaw != nil:
		d.AddUnknown("Kamailio stops reading tls.cfg there: " + seen.flaw.Error())
	}
	var own []string
	for _, match := range aliasLine().FindAllStringSubmatch(options.text(f), -1) {
		own = append(own, strings.ToLower(match[1]))
	}
	for _, p := range seen.servers() {
		use := deployers.Use{Where: p.place(), Certificate: seen.tls.path(p, "certificate"), Key: seen.tls.path(p, "private_key"), Hints: own}
		if seen.about == deployers.Domains {
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
