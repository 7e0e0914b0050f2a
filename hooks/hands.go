package hooks

import (
	"encoding/base64"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/certlatch/certlatch/internal/lineage"
)

// Interest is what certlatch does not want other hands at: what a target writes, and
// the service that it activates.
type Interest struct {
	Target  string
	Paths   []string                   // of the files, without those that only a lineage's name completes
	Service string                     // the deployer's name
	Unit    string                     // empty: the service has none
	Takes   func(lineage.Lineage) bool // reports whether a lineage is the target's
}

// Hand is somebody else who writes or reloads what a target does.
type Hand struct {
	File   string
	Line   int // of the file, from 1 on
	Target string
	Does   string // with what it does so, for people; nothing of what the line holds
	Writes bool   // it is known to name a file of the target
	Remedy string // the edit or command that ends it
}

// Reader reads what one kind of file says of who else acts, in the lines of its text.
type Reader func(file, text string, wanted []Interest) []Hand

// lines calls do with each line that is no comment.
func lines(text string, do func(number int, line string)) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			do(number, line)
		}
	}
}

// reloading finds a word by which a service is made to take new files.
var reloading = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\b(?:try-)?(?:reload|restart)\b|\bforce-reload\b|-HUP\b|tls[._]reload`)
})

// word reports whether a text holds a word as a whole.
func word(text, wanted string) bool {
	if wanted == "" {
		return false
	}
	for rest := text; ; {
		at := strings.Index(rest, wanted)
		if at < 0 {
			return false
		}
		before, after := rest[:at], rest[at+len(wanted):]
		if (before == "" || !isPathRune(before[len(before)-1])) && (after == "" || !isPathRune(after[0])) {
			return true
		}
		rest = after
	}
}

func isPathRune(b byte) bool {
	return b == '-' || b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// takes reports whether a target takes a lineage, or, without a name, any.
func (i Interest) takes(l lineage.Lineage) bool { return l.Name == "" || i.Takes(l) }

// controls are programs by which a service is told to take new files, beside those of
// its own name (kamcmd(8), prosodyctl(8); opensips-cli is OpenSIPS 3's, opensipsctl and
// osipsconsole came before it).
func controls(service string) []string {
	switch service {
	case "kamailio":
		return []string{"kamcmd", "kamctl"}
	case "opensips":
		return []string{"opensips-cli", "opensipsctl", "osipsconsole"}
	case "prosody":
		return []string{"prosodyctl"}
	}
	return nil
}

// does returns what a command does to what a target is for, or "", and whether it names
// a file of the target.
func (i Interest) does(command string) (does string, writes bool) {
	for _, file := range i.Paths {
		if word(command, file) {
			return "names " + file, true
		}
	}
	unit := strings.TrimSuffix(i.Unit, ".service")
	named := func(name string) bool { return word(command, name) }
	if (named(i.Service) || named(unit) || slices.ContainsFunc(controls(i.Service), named)) && reloading().MatchString(command) {
		if unit == "" {
			unit = i.Service
		}
		return "reloads or restarts " + unit, false
	}
	return "", false
}

// Commands returns a [Reader] of scripts and of tables of cron: of each target the
// first line that names its files, or reloads its service, counts.
func Commands(remedy func(file string) string) Reader {
	return func(file, text string, wanted []Interest) (found []Hand) {
		met := map[string]bool{}
		lines(text, func(number int, line string) {
			for _, i := range wanted {
				if does, writes := i.does(line); does != "" && !met[i.Target] {
					met[i.Target] = true
					found = append(found, Hand{file, number, i.Target, does, writes, remedy(file)})
				}
			}
		})
		return found
	}
}

// certbotHooks are the keys of hooks, in cli.ini too, where they may have dashes. What
// certbot keeps of --deploy-hook is renew_hook (certbot 5.6.0 storage.py).
var certbotHooks = []string{"pre_hook", "post_hook", "renew_hook", "deploy_hook"}

// certbotSetting returns the key and the value of a line of certbot's.
func certbotSetting(line string) (key, value string) {
	key, value, _ = strings.Cut(line, "=")
	return strings.ReplaceAll(strings.TrimSpace(key), "-", "_"), strings.TrimSpace(value)
}

// readCertbot reads renewal/NAME.conf or cli.ini: hooks, and an installer, which makes
// certbot reload the service itself, after all hooks (certbot 5.6.0
// certbot/_internal/main.py renew_cert). Remedy is what ends an installer there.
func readCertbot(remedy string) Reader {
	return func(file, text string, wanted []Interest) (found []Hand) {
		renewed := lineage.Lineage{Client: certbot{}.Name(), Name: strings.TrimSuffix(path.Base(file), ".conf")}
		if path.Ext(file) == ".ini" {
			renewed.Name = "" // of all
		}
		lines(text, func(number int, line string) {
			key, value := certbotSetting(line)
			hook := slices.Contains(certbotHooks, key)
			if !hook && key != "installer" {
				return // of thousands of files and targets, few lines are to be compared
			}
			for _, i := range wanted {
				switch does, writes := i.does(value); {
				case !hook && value == i.Service && i.takes(renewed):
					found = append(found, Hand{file, number, i.Target, "has certbot reload " + value + " itself, after all hooks, and point its sites to live/", false, remedy})
				case hook && does != "":
					found = append(found, Hand{file, number, i.Target, "is a " + key + " that " + does, writes, ending(value, takeOut)})
				}
			}
		})
		return found
	}
}

// takeOut is the remedy for a line.
const takeOut = "take that line out"

// ending returns what ends a command, which may call certlatch as well.
func ending(command, remedy string) string {
	if strings.Contains(command, "certlatch") {
		return "leave nothing but certlatch's call in it"
	}
	return remedy
}

// certbotRuns returns the commands of certbot's hooks.
func certbotRuns(text string) (commands string) {
	lines(text, func(_ int, line string) {
		if key, value := certbotSetting(line); slices.Contains(certbotHooks, key) {
			commands += value + "\n"
		}
	})
	return commands
}

// acmeshKeeps finds what acme.sh does again with a certificate at each renewal (acme.sh
// 3.1.4 _installcert, _savedomainconf).
var acmeshKeeps = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(Le_Real(?:Cert|Key|CACert|FullChain)Path|Le_ReloadCmd|Le_(?:Pre|Post|Renew)Hook)='(.*)'$`)
})

// acmeshKept returns the key and the value of a line of acme.sh's; the key is empty where
// it is another line.
func acmeshKept(line string) (key, value string) {
	kept := acmeshKeeps().FindStringSubmatch(line)
	if kept == nil {
		return "", ""
	}
	bare, encoded := strings.CutPrefix(kept[2], "__ACME_BASE64__START_")
	if !encoded {
		return kept[1], kept[2]
	}
	command, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(bare, "__ACME_BASE64__END_"))
	if err != nil {
		return "", ""
	}
	return kept[1], string(command)
}

// readAcmesh reads DOMAIN.conf of acme.sh: the paths that --install-cert copies to, the
// command that it runs after, both before any deploy hook, and other hooks.
func readAcmesh(file, text string, wanted []Interest) (found []Hand) {
	lines(text, func(number int, line string) {
		key, value := acmeshKept(line)
		if key == "" {
			return
		}
		isPath := strings.HasPrefix(key, "Le_Real")
		for _, i := range wanted {
			switch does, writes := i.does(value); {
			case isPath && slices.Contains(i.Paths, path.Clean(value)):
				found = append(found, Hand{file, number, i.Target, "has acme.sh write " + path.Clean(value) + " itself, before any hook", true, "write " + key + "='' there"})
			case !isPath && does != "":
				found = append(found, Hand{file, number, i.Target, "is a command of acme.sh's (" + key + ") that " + does, writes, ending(value, "write "+key+"='' there")})
			}
		}
	})
	return found
}

// acmeshRuns returns the commands that acme.sh keeps.
func acmeshRuns(text string) (commands string) {
	lines(text, func(_ int, line string) {
		if key, value := acmeshKept(line); !strings.HasPrefix(key, "Le_Real") {
			commands += value + "\n"
		}
	})
	return commands
}

// readPathUnit reads a systemd path unit, which starts another unit when a file
// changes (systemd.path(5)).
func readPathUnit(file, text string, wanted []Interest) (found []Hand) {
	lines(text, func(number int, line string) {
		key, value, _ := strings.Cut(line, "=")
		value = path.Clean(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); key != "PathChanged" && key != "PathModified" {
			return
		}
		for _, i := range wanted {
			if slices.ContainsFunc(i.Paths, func(p string) bool { return p == value || path.Dir(p) == value }) {
				found = append(found, Hand{file, number, i.Target, "starts a unit when " + value + " changes, before certlatch has proven anything", false, "systemctl disable --now " + path.Base(file)})
			}
		}
	})
	return found
}

// started returns the service that a path unit or timer starts: that of its own name,
// where it says nothing else (systemd.path(5), systemd.timer(5), Unit=).
func started(file, text string) []Watched {
	unit := strings.TrimSuffix(path.Base(file), path.Ext(file)) + ".service"
	lines(text, func(_ int, line string) {
		if key, value, _ := strings.Cut(line, "="); strings.TrimSpace(key) == "Unit" {
			unit = strings.TrimSpace(value)
		}
	})
	if strings.ContainsAny(unit, unfollowed+"/") {
		return nil
	}
	return []Watched{{Files: path.Dir(file) + "/" + unit, Read: readExec, Then: runs(execs)}}
}

// execs returns the lines of a unit that are commands, the others empty, so that their
// numbers stay.
func execs(text string) (commands string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "Exec") {
			commands += line
		} else {
			commands += "\n"
		}
	}
	return commands
}

// readExec reads the commands of a service, or of a drop-in of one, that is not a target's
// own.
func readExec(file, text string, wanted []Interest) []Hand {
	others := slices.DeleteFunc(slices.Clone(wanted), func(i Interest) bool {
		return i.Unit == path.Base(file) || i.Unit+".d" == path.Base(path.Dir(file))
	})
	return Commands(func(string) string { return takeOut + ", then systemctl daemon-reload" })(file, execs(text), others)
}

// hookLine finds the HOOK of dehydrated's configuration, which is a script of its own, or a
// command (dehydrated 0.7.2 load_config).
var hookLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:export\s+)?HOOK=["']?([^"']+)`)
})

// dehydratedRuns returns the HOOK of a configuration that lies below a directory, which
// dehydrated knows as BASEDIR.
func dehydratedRuns(top string) func(text string) string {
	return func(text string) (commands string) {
		lines(text, func(_ int, line string) {
			if hook := hookLine().FindStringSubmatch(line); hook != nil {
				commands += strings.NewReplacer("${BASEDIR}", top, "$BASEDIR", top).Replace(hook[1]) + "\n"
			}
		})
		return commands
	}
}

// Watched is where others are looked for who act beside certlatch.
type Watched struct {
	Files string // a pattern
	Run   bool   // only what can be executed is run there
	Read  Reader

	// Then returns where it goes on: what a file runs, so that it acts by that. Nil:
	// nowhere.
	Then func(file, text string) []Watched
}

// unfollowed are the runes of words that are no names of files: a shell, or a pattern,
// would make others of them.
const unfollowed = "*?[]\\$`~{}"

// mostRun is how many scripts are looked at that one file names.
const mostRun = 20

// runs returns how to go on to the scripts that the commands of a text name by absolute
// paths. What packages bring is no admin's script.
func runs(commandsOf func(text string) string) func(file, text string) []Watched {
	return func(_, text string) (all []Watched) {
		lines(commandsOf(text), func(_ int, line string) {
			for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\"'();&|<>=@", r) }) {
				name := path.Clean(word)
				packaged := slices.ContainsFunc([]string{"/bin/", "/sbin/", "/lib/", "/usr/bin/", "/usr/sbin/", "/usr/lib/", "/usr/share/"}, func(dir string) bool { return strings.HasPrefix(name, dir) })
				if path.IsAbs(word) && !packaged && !strings.ContainsAny(name, unfollowed) && len(all) < mostRun {
					all = append(all, Watched{Files: name, Run: true, Read: Commands(func(string) string { return takeOut }), Then: runs(whole)})
				}
			}
		})
		return all
	}
}

// whole returns a text as it is: a script is commands.
func whole(text string) string { return text }

// HandsBeside returns where others are looked for who act beside certlatch: clients'
// own hooks and memories, tables of cron (crontab(5), cron(8)), and systemd's units.
// Roots are where a client of the name keeps lineages.
func HandsBeside(roots map[string][]string) []Watched {
	unhook := Commands(func(file string) string { return "chmod -x " + file + ", or " + takeOut })
	edit := Commands(func(string) string { return takeOut })
	var all []Watched
	for _, live := range roots["certbot"] {
		top := path.Dir(live)
		all = append(all,
			Watched{top + "/renewal/*.conf", false, readCertbot("write installer = None there"), runs(certbotRuns)}, // None is none (renewal.py _restore_str; run with 4.0.0)
			Watched{top + "/cli.ini", false, readCertbot(takeOut), runs(certbotRuns)})
		for _, when := range []string{"pre", "deploy", "post"} {
			all = append(all, Watched{top + "/renewal-hooks/" + when + "/*", true, unhook, runs(whole)})
		}
	}
	for _, home := range roots["acme.sh"] {
		all = append(all, Watched{home + "/*/*.conf", false, readAcmesh, runs(acmeshRuns)})
	}
	for _, certs := range roots["dehydrated"] {
		for _, top := range []string{path.Dir(certs), "/etc/dehydrated"} {
			hook := runs(dehydratedRuns(top))
			all = append(all, Watched{top + "/config", false, edit, hook}, Watched{top + "/conf.d/*.sh", false, edit, hook}, Watched{top + "/hook.sh", true, unhook, runs(whole)})
		}
		all = append(all, Watched{certs + "/*/config", false, edit, runs(dehydratedRuns(path.Dir(certs)))})
	}
	for _, certs := range roots["lego"] { // 5.3.1: hooks.deploy.command, beside --path .lego
		all = append(all, Watched{path.Dir(path.Dir(certs)) + "/.lego.y*ml", false, edit, runs(whole)})
	}
	for _, cron := range []string{"/etc/crontab", "/etc/cron.d/*", "/var/spool/cron/crontabs/*", "/var/spool/cron/*"} {
		all = append(all, Watched{cron, false, edit, runs(whole)})
	}
	for _, every := range []string{"hourly", "daily", "weekly", "monthly"} {
		all = append(all, Watched{"/etc/cron." + every + "/*", true, unhook, runs(whole)})
	}
	for _, units := range []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"} { // systemd.unit(5)
		all = append(all, Watched{units + "/*.path", false, readPathUnit, started})
	}
	return append(all,
		Watched{"/etc/systemd/system/*.timer", false, func(string, string, []Interest) []Hand { return nil }, started},
		Watched{"/etc/systemd/system/*.service.d/*.conf", false, readExec, runs(execs)})
}
