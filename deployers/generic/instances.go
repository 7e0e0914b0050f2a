package generic

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/certlatch/certlatch/deployers"
)

// postfixInstances reads which other instances of Postfix a host has
// (MULTI_INSTANCE_README of 3.10). What the preset does is for the primary one.
type postfixInstances struct{}

// listed is the command that prints the directories of the other instances.
func (postfixInstances) listed() []string {
	return []string{"postconf", "-h", "-x", "multi_instance_directories"}
}

// wrapper is the command that prints by what postfix reload goes on to the others, if it
// does (postfix-wrapper(5)).
func (postfixInstances) wrapper() []string {
	return []string{"postconf", "-h", "-x", "multi_instance_wrapper"}
}

// takes is the command that prints, a line each, whether an instance is reloaded by the
// wrapper, and the files that it takes.
func (postfixInstances) takes(dir string) []string {
	return []string{"postconf", "-c", dir, "-h", "-x", "multi_instance_enable", "smtpd_tls_cert_file", "smtpd_tls_chain_files", "smtpd_tls_eccert_file"}
}

// dirs returns the directories of the other instances.
func (p postfixInstances) dirs(f deployers.Facts) []string {
	return slices.DeleteFunc(postfixWords(f.Output(p.listed()).Stdout), func(dir string) bool { return !filepath.IsAbs(dir) })
}

// postfixWords splits a list of a setting.
func postfixWords(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

func (p postfixInstances) wants(wants deployers.Wants, f deployers.Facts) deployers.Wants {
	wants.Commands = slices.Concat(wants.Commands, [][]string{p.listed(), p.wrapper()}, postfixTakes{}.commands())
	for _, dir := range p.dirs(f) {
		wants.Commands = append(wants.Commands, p.takes(dir))
	}
	return wants
}

func (p postfixInstances) describe(plan *deployers.Plan, f deployers.Facts) bool {
	if name, is := strings.CutPrefix(f.Unit.Name, "postfix@"); is && name != "-.service" {
		plan.Warn(deployers.Configuration, "leave preset out, so that the unit is reloaded, and write probes such as smtp://ADDRESS:25",
			"what the preset tests and reloads is the primary instance of Postfix, and not %s", f.Unit.Name)
		return true
	}
	shared := false
	for _, dir := range p.dirs(f) {
		enabled, files, _ := strings.Cut(f.Output(p.takes(dir)).Stdout, "\n")
		taken := postfixWords(files)
		at := slices.IndexFunc(taken, func(path string) bool {
			return plan.Writes(path, deployers.Fullchain, deployers.Combined)
		})
		unit := "postfix@" + strings.TrimPrefix(filepath.Base(dir), "postfix-") + ".service" // as Debian 13 names it
		shared = shared || at >= 0
		switch {
		case at >= 0 && enabled == "yes" && postfixWords(f.Output(p.wrapper()).Stdout) != nil:
			plan.Fine(deployers.Configuration, "another instance of Postfix, %s, takes %s too, and is reloaded with the primary one", dir, taken[at])
		case at >= 0:
			plan.Warn(deployers.Configuration, "write generic: {preset: postfix, activate: [systemctl, reload, postfix.service]}, which reloads all instances where their units are Debian's; or let it have files and a target of its own, with unit: "+unit,
				"another instance of Postfix, %s, takes %s too, and is not reloaded", dir, taken[at])
		case len(taken) > 0:
			plan.Fine(deployers.Configuration, "another instance of Postfix, %s, takes %s: that is for a target of its own, without the preset, with unit: %s and probes such as smtp://ADDRESS:25", dir, strings.Join(taken, " "), unit)
		}
	}
	isPrimary := isUsual("postfix.service", f) || f.Unit.Name == "postfix@-.service"
	if tables := (postfixMaps{}).tables(f); isPrimary && !shared && !slices.ContainsFunc(tables, func(table string) bool { return (postfixMaps{}).isUnknown(table, f) }) {
		compare(plan, "Postfix", "smtpd_tls_chain_files", postfixTakes{}.takes(f))
	}
	return true
}
