package hooks

import (
	"encoding/base64"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Interest is what certlatch does not want other hands at: what a target writes, and
// the service that it activates.
type Interest struct {
	Target  string
	Paths   []string // of the files, without those that only a lineage's name completes
	Service string   // the deployer's name
	Unit    string   // empty: the service has none
}

// Hand is somebody else who writes or reloads what a target does.
type Hand struct {
	File   string
	Line   int // of the file, from 1 on
	Target string
	Does   string // with what it does so, for people; nothing of what the line holds
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
	return regexp.MustCompile(`\b(?:try-)?(?:reload|restart)\b|\bforce-reload\b|-HUP\b|tls\.reload`)
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

// does returns what a command does to what a target is for, or "".
func (i Interest) does(command string) string {
	for _, file := range i.Paths {
		if word(command, file) {
			return "names " + file
		}
	}
	unit := strings.TrimSuffix(i.Unit, ".service")
	if reloading().MatchString(command) && (word(command, i.Service) || word(command, unit)) {
		if unit == "" {
			unit = i.Service
		}
		return "reloads or restarts " + unit
	}
	return ""
}

// Commands returns a [Reader] of scripts and of tables of cron: of each target the
// first line that names its files, or reloads its service, counts. certlatch's own
// lines do not.
func Commands(remedy func(file string) string) Reader {
	return func(file, text string, wanted []Interest) (found []Hand) {
		met := map[string]bool{}
		lines(text, func(number int, line string) {
			if strings.Contains(line, "certlatch") {
				return
			}
			for _, i := range wanted {
				if does := i.does(line); does != "" && !met[i.Target] {
					met[i.Target] = true
					found = append(found, Hand{file, number, i.Target, does, remedy(file)})
				}
			}
		})
		return found
	}
}

// ReadCertbotRenewal reads renewal/NAME.conf: the hooks that certbot keeps there, and
// an installer, which makes certbot reload the service itself, after all hooks (certbot
// 5.6.0 certbot/_internal/main.py renew_cert; storage.py; None is no installer to
// renewal.py, _restore_str).
func ReadCertbotRenewal(file, text string, wanted []Interest) (found []Hand) {
	lines(text, func(number int, line string) {
		key, value, _ := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		hook := slices.Contains([]string{"pre_hook", "post_hook", "renew_hook", "deploy_hook"}, key)
		for _, i := range wanted {
			switch does := i.does(value); {
			case key == "installer" && value == i.Service:
				found = append(found, Hand{file, number, i.Target, "has certbot reload " + value + " itself, after all hooks, and point its sites to live/", "write installer = None there"})
			case hook && does != "" && !strings.Contains(value, "certlatch"):
				found = append(found, Hand{file, number, i.Target, "is a " + key + " that " + does, "take that line out"})
			}
		}
	})
	return found
}

// acmeshKeeps finds what acme.sh does again with a certificate at each renewal (acme.sh
// 3.1.4 _installcert, _savedomainconf).
var acmeshKeeps = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(Le_Real(?:Cert|Key|CACert|FullChain)Path|Le_ReloadCmd)='(.*)'$`)
})

// ReadAcmeshDomain reads DOMAIN.conf of acme.sh: the paths that --install-cert copies
// to, and the command that it runs after, both before any deploy hook.
func ReadAcmeshDomain(file, text string, wanted []Interest) (found []Hand) {
	lines(text, func(number int, line string) {
		kept := acmeshKeeps().FindStringSubmatch(line)
		if kept == nil || strings.Contains(line, "certlatch") {
			return
		}
		key, value := kept[1], kept[2]
		if bare, is := strings.CutPrefix(value, "__ACME_BASE64__START_"); is {
			command, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(bare, "__ACME_BASE64__END_"))
			if err != nil || strings.Contains(string(command), "certlatch") {
				return
			}
			value = string(command)
		}
		for _, i := range wanted {
			switch does := i.does(value); {
			case key == "Le_ReloadCmd" && does != "":
				found = append(found, Hand{file, number, i.Target, "is a reload command that " + does, "write " + key + "='' there"})
			case key != "Le_ReloadCmd" && slices.Contains(i.Paths, path.Clean(value)):
				found = append(found, Hand{file, number, i.Target, "has acme.sh write " + path.Clean(value) + " itself, before any hook", "write " + key + "='' there"})
			}
		}
	})
	return found
}

// ReadPathUnit reads a systemd path unit, which starts another unit when a file
// changes (systemd.path(5)).
func ReadPathUnit(file, text string, wanted []Interest) (found []Hand) {
	lines(text, func(number int, line string) {
		key, value, _ := strings.Cut(line, "=")
		value = path.Clean(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); key != "PathChanged" && key != "PathModified" {
			return
		}
		for _, i := range wanted {
			if slices.ContainsFunc(i.Paths, func(p string) bool { return p == value || path.Dir(p) == value }) {
				found = append(found, Hand{file, number, i.Target, "starts a unit when " + value + " changes, before certlatch has proven anything", "systemctl disable --now " + path.Base(file)})
			}
		}
	})
	return found
}

// Watched is where others are looked for who act beside certlatch.
type Watched struct {
	Files string // a pattern
	Run   bool   // only what can be executed is run there
	Read  Reader
}

// HandsBeside returns where others are looked for who act beside certlatch: clients'
// own hooks and memories, tables of cron (crontab(5), cron(8)), and path units.
// Roots are where a client of the name keeps lineages.
func HandsBeside(roots map[string][]string) []Watched {
	unhook := Commands(func(file string) string { return "chmod -x " + file + ", or take that line out" })
	edit := Commands(func(string) string { return "take that line out" })
	var all []Watched
	for _, live := range roots["certbot"] {
		top := path.Dir(live)
		all = append(all, Watched{top + "/renewal/*.conf", false, ReadCertbotRenewal})
		for _, when := range []string{"pre", "deploy", "post"} {
			all = append(all, Watched{top + "/renewal-hooks/" + when + "/*", true, unhook})
		}
	}
	for _, home := range roots["acme.sh"] {
		all = append(all, Watched{home + "/*/*.conf", false, ReadAcmeshDomain})
	}
	for _, certs := range roots["dehydrated"] { // 0.7.2 load_config: HOOK is a script, or a command
		top := path.Dir(certs)
		for _, at := range []string{top, "/etc/dehydrated"} {
			all = append(all, Watched{at + "/config", false, edit}, Watched{at + "/conf.d/*.sh", false, edit}, Watched{at + "/hook.sh", true, unhook})
		}
	}
	for _, cron := range []string{"/etc/crontab", "/etc/cron.d/*", "/var/spool/cron/crontabs/*", "/var/spool/cron/*"} {
		all = append(all, Watched{cron, false, edit})
	}
	for _, every := range []string{"hourly", "daily", "weekly", "monthly"} {
		all = append(all, Watched{"/etc/cron." + every + "/*", true, unhook})
	}
	for _, units := range []string{"/etc/systemd/system/*.path", "/run/systemd/system/*.path"} {
		all = append(all, Watched{units, false, ReadPathUnit})
	}
	return all
}
