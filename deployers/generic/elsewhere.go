package generic

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/deployers"
)

// This file reads which certificates the services of presets take. Where that cannot be
// read, or is not known to be all, nothing is said of it.

// compare notes who takes a plan's files, or what is taken in their place. The remedy is
// of a setting.
func compare(plan *deployers.Plan, service, setting string, takes []deployers.Taken) {
	ours, fixed := false, takes != nil
	for _, t := range takes {
		if plan.Writes(t.File, deployers.Fullchain, deployers.Chain, deployers.Combined, deployers.Key) {
			ours = true
			plan.Fine(deployers.Configuration, "%s", t)
		}
		fixed = fixed && t.IsFixed()
	}
	if !ours && fixed {
		plan.TakesElsewhere(true, "let "+setting+" name the target's files ("+pathsOf(*plan)+"), or the target those that it names", service+"'s configuration names none of the target's files", takes...)
	}
}

// isUsual reports whether a unit is that of a preset, and so reads the usual configuration.
func isUsual(unit string, f deployers.Facts) bool { return !f.Systemd || f.Unit.Name == unit }

// postfixTakes reads the settings of main.cf, and those of master.cf for services of its
// own (postconf(5) of 3.10). An empty chain_files lets the others count.
type postfixTakes struct{}

func (postfixTakes) settings() (settings, ofServices []string) {
	for _, program := range []string{"smtpd_tls_", "tlsproxy_tls_", "smtp_tls_", "lmtp_tls_", "tlsproxy_client_"} {
		for _, kind := range []string{"chain_files", "cert_file", "eccert_file", "dcert_file"} {
			settings = append(settings, program+kind)
			ofServices = append(ofServices, "*/*/"+program+kind)
		}
	}
	return settings, ofServices
}

// commands print them, each as NAME = VALUE.
func (p postfixTakes) commands() [][]string {
	settings, ofServices := p.settings()
	return [][]string{append([]string{"postconf", "-x"}, settings...), append([]string{"postconf", "-P", "-x"}, ofServices...)}
}

// takes returns what Postfix takes; nil: it cannot be read.
func (p postfixTakes) takes(f deployers.Facts) (takes []deployers.Taken) {
	for _, argv := range p.commands() {
		output := f.Output(argv)
		if output.Failed != "" {
			return nil
		}
		for line := range strings.Lines(output.Stdout) {
			name, value, _ := strings.Cut(line, " =")
			for _, path := range postfixWords(value) {
				same := func(t deployers.Taken) bool { return t.File == path }
				if path != "none" && !slices.ContainsFunc(takes, same) {
					takes = append(takes, deployers.Taken{Where: name, File: path})
				}
			}
		}
	}
	return takes
}

// dovecotTakes reads what doveconf prints: ssl_cert = <FILE up to 2.3, and
// ssl_server_cert_file = FILE since, or cert_file in the block ssl_server, also of single
// names and addresses (doc/example-config/conf.d/10-ssl.conf of 2.3.21 and 2.4.1).
type dovecotTakes struct{}

var dovecotCertificate = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^\s*((?:ssl_)?(?:server_|client_)?(?:alt_)?cert(?:_file)?)\s*=\s*(\S.*)$`)
})

func (dovecotTakes) command() []string { return []string{"doveconf", "-n"} }

func (d dovecotTakes) wants(wants deployers.Wants, f deployers.Facts) deployers.Wants {
	if isUsual("dovecot.service", f) {
		wants.Commands = append(wants.Commands, d.command())
	}
	return wants
}

func (d dovecotTakes) describe(plan *deployers.Plan, f deployers.Facts) bool {
	output, own := f.Output(d.command()), f.CommandLine().Options("-c")
	if output.Failed != "" || own != nil || !isUsual("dovecot.service", f) {
		return false
	}
	var takes []deployers.Taken
	for _, match := range dovecotCertificate().FindAllStringSubmatch(output.Stdout, -1) {
		takes = append(takes, deployers.Taken{Where: match[1], File: strings.TrimSpace(strings.TrimLeft(match[2], "<"))})
	}
	compare(plan, "Dovecot", "ssl_server_cert_file (ssl_cert before 2.4)", takes)
	return true
}

// coturnTakes reads the file that turnserver is started with (-c), of lines NAME=VALUE or
// NAME VALUE. Options of the command line go before it (src/apps/relay/mainrelay.c of
// 4.6.1, read_config_file).
type coturnTakes struct{}

func (coturnTakes) wants(wants deployers.Wants, f deployers.Facts) deployers.Wants {
	wants.Argv = true
	if path := f.CommandLine().File("-c"); path != "" {
		wants.Texts = append(wants.Texts, path)
	}
	return wants
}

func (coturnTakes) describe(plan *deployers.Plan, f deployers.Facts) bool {
	line := f.CommandLine()
	if slices.ContainsFunc(line.Argv, func(word string) bool { return strings.HasPrefix(word, "--cert") }) {
		return false
	}
	var takes []deployers.Taken
	for _, text := range f.Texts[line.File("-c")] {
		for one := range strings.Lines(text.Content) {
			one = strings.TrimSpace(one)
			if at := strings.IndexAny(one, " \t="); at > 0 && one[:at] == "cert" {
				takes = append(takes, deployers.Taken{Where: text.Path, File: strings.Trim(one[at:], " \t=\"'")})
			}
		}
	}
	compare(plan, "coturn", "cert", takes)
	return true
}

// ejabberdTakes reads the lists and values of ejabberd.yml whose keys end with certfile or
// certfiles (ejabberd_pkix and ejabberd_options of 24.12). Another file or macros may hold
// more, and ejabberdctl.cfg name another file.
type ejabberdTakes struct{}

const (
	ejabberdFile    = "/etc/ejabberd/ejabberd.yml"
	ejabberdCtlFile = "/etc/ejabberd/ejabberdctl.cfg"
)

func (ejabberdTakes) wants(wants deployers.Wants, f deployers.Facts) deployers.Wants {
	wants.Texts = append(wants.Texts, ejabberdFile, ejabberdCtlFile)
	return wants
}

var ejabberdKey = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\b\w*certfiles?['"]?\s*:\s*(.*)$`) })

func (e ejabberdTakes) describe(plan *deployers.Plan, f deployers.Facts) bool {
	var takes []deployers.Taken
	for _, text := range f.Texts[ejabberdFile] {
		if strings.Contains(text.Content, "include_config_file") || strings.Contains(text.Content, "define_macro") {
			return false
		}
		for _, path := range e.values(text.Content) {
			takes = append(takes, deployers.Taken{Where: text.Path, File: path})
		}
	}
	if e.isOther(f) || !isUsual("ejabberd.service", f) {
		return false
	}
	compare(plan, "ejabberd", "certfiles", takes)
	return true
}

// isOther reports whether ejabberd is told to read another file.
func (ejabberdTakes) isOther(f deployers.Facts) bool {
	for _, text := range f.Texts[ejabberdCtlFile] {
		for line := range strings.Lines(text.Content) {
			if value, is := strings.CutPrefix(strings.TrimSpace(line), "EJABBERD_CONFIG_PATH="); is && strings.Trim(value, `"'`) != ejabberdFile {
				return true
			}
		}
	}
	return strings.Contains(strings.Join(f.Unit.ExecStart, " "), "--config")
}

// values returns what stands behind such keys, in their line or as a list below.
func (ejabberdTakes) values(config string) (values []string) {
	listed := false
	for line := range strings.Lines(config) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		item, isItem := strings.CutPrefix(line, "- ")
		match := ejabberdKey().FindStringSubmatch(line)
		switch {
		case match != nil:
			item, listed = match[1], strings.TrimSpace(match[1]) == ""
		case line == "":
			continue
		case !listed || !isItem:
			listed = false
			continue
		}
		values = append(values, strings.FieldsFunc(item, func(r rune) bool { return strings.ContainsRune("[]{}, \t\"'", r) })...)
	}
	return values
}
