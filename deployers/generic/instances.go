package generic

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// instances returns the directories of the other instances of Postfix that a host has
// (MULTI_INSTANCE_README of 3.10). What the preset does is for the primary one, from which
// postfix reload goes on to the others by a wrapper, if it does (postfix-wrapper(5)).
func (c *postfixConfig) instances() []string {
	return absolute(postfixWords(c.main["multi_instance_directories"]))
}

// postfixInstance is the command that prints, a line each, whether an instance is reloaded by
// the wrapper, and the files that it takes.
func postfixInstance(dir string) []string {
	return []string{"postconf", "-c", dir, "-h", "-x", "multi_instance_enable", "smtpd_tls_cert_file", "smtpd_tls_chain_files", "smtpd_tls_eccert_file"}
}

// postfixWords splits a list of a setting.
func postfixWords(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

// describeInstances puts into a plan what the other instances take, and reports whether one
// takes its files.
func (c *postfixConfig) describeInstances(plan *deployers.Plan, f *deployers.Facts) (shared bool) {
	for _, dir := range c.instances() {
		enabled, files, _ := strings.Cut(f.Output(postfixInstance(dir)).Stdout, "\n")
		taken := postfixWords(files)
		at := slices.IndexFunc(taken, func(path string) bool {
			return plan.Writes(path, deployers.Fullchain, deployers.Combined)
		})
		unit := "postfix@" + strings.TrimPrefix(filepath.Base(dir), "postfix-") + ".service" // as Debian 13 names it
		shared = shared || at >= 0
		switch {
		case at >= 0 && enabled == "yes" && c.main["multi_instance_wrapper"] != "":
			plan.Fine(deployers.Configuration, "another instance of Postfix, %s, takes %s too, and is reloaded with the primary one", dir, taken[at])
		case at >= 0:
			plan.Warn(deployers.Configuration, "write generic: {preset: postfix, activate: [systemctl, reload, postfix.service]}, which reloads all instances where their units are Debian's; or let it have files and a target of its own, with unit: "+unit,
				"another instance of Postfix, %s, takes %s too, and is not reloaded", dir, taken[at])
		case len(taken) > 0:
			plan.Fine(deployers.Configuration, "another instance of Postfix, %s, takes %s: that is for a target of its own, without the preset, with unit: %s and probes such as smtp://ADDRESS:25", dir, strings.Join(taken, " "), unit)
		}
	}
	return shared
}
