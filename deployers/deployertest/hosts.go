package deployertest

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
)

// A host answers what a deployer wants to know.
type host struct {
	name    string
	systemd bool
	unit    deployers.Unit
	names   []string // of the new leaf
	plain   bool     // its files and answers hold nothing
	mute    bool     // nothing is found out: what the first call of Wants sees
	content func(path string) string
}

// units returns units that a service may have, with what they have in common
// filled in.
func units() map[string]deployers.Unit {
	return map[string]deployers.Unit{
		"absent":        {LoadState: "not-found", ActiveState: "inactive"},
		"masked":        {LoadState: "masked", ActiveState: "inactive"},
		"stopped":       {LoadState: "loaded", ActiveState: "inactive", CanReload: true},
		"failed":        {LoadState: "loaded", ActiveState: "failed", Result: "core-dump", NRestarts: 1 << 31},
		"running":       {LoadState: "loaded", ActiveState: "active", CanReload: true, MainPID: 63, User: "own", Group: "own"},
		"irreloadable":  {LoadState: "loaded", ActiveState: "active", MainPID: 63},
		"starting":      {LoadState: "loaded", ActiveState: "activating", Job: true, NeedDaemonReload: true},
		"beyond reason": {LoadState: "\n", ActiveState: "\x00", SubState: strings.Repeat("x", 1<<16), MainPID: -1, User: "a\nb", Group: ":"},
	}
}

// contents are what files, outputs and answers may hold. Each is made for the
// path, or the words, of what was asked for.
func contents(samples []string) map[string]func(string) string {
	always := func(text string) func(string) string { return func(string) string { return text } }
	made := map[string]func(string) string{
		"nothing":            always(""),
		"binary garbage":     always(garbage(4 << 10)),
		"control characters": always("\x00\x1b[2J\r\x07\u2028\ufeff\x7f\n\t\v\f"),
		"no end of a word":   always("x = \"" + strings.Repeat("y", 64<<10)),
		"huge numbers":       always("total: 99999999999999999999\nfree: -1\nlisten 99999999999;\nport = 1e999\n:65536\n"),
		"itself":             include,
		"always another":     func(path string) string { return include(path + "x") },
		"names outside":      func(string) string { return include("../../../../etc/shadow\x00") + include("/proc/self/mem") },
	}
	for _, open := range []string{"{", "(", "[", "\"", "'", "\\", "[[", "[=[", "--[[", "/*", "<%", "a{b{", "if x then ", "function() ", "#!ifdef X\n", "[x](!)\n", "\n"} {
		made["endless "+open] = always(strings.Repeat(open, 1<<10))
	}
	for i, sample := range samples {
		name := "sample " + string(rune('a'+i%26)) + strings.Repeat("'", i/26) + " "
		half := sample[:len(sample)/2]
		made[name] = always(sample)
		made[name+"cut off"] = always(half)
		made[name+"twice"] = always(sample + sample)
		made[name+"without an end"] = always(half + half)
		made[name+"with CRLF"] = always(strings.ReplaceAll(sample, "\n", "\r\n"))
		made[name+"without spaces"] = always(strings.ReplaceAll(sample, " ", ""))
		made[name+"without values"] = always(strings.Map(withoutDigits, sample))
		made[name+"with other brackets"] = always(strings.NewReplacer("{", "}", "}", "{", "(", ")", ")", "(", "[", "]", "]", "[").Replace(sample))
	}
	return made
}

func withoutDigits(r rune) rune {
	if '0' <= r && r <= '9' {
		return -1
	}
	return r
}

// include returns the lines by which configurations include another file.
func include(path string) string {
	quoted := "\"" + path + "\""
	return "include " + path + ";\nInclude " + quoted + "\ninclude_file " + quoted + "\nimport_file " + quoted + "\n" +
		"#include " + quoted + "\n#tryinclude " + path + "\n#exec cat " + path + "\n!!import_file " + quoted + "\nIncludeConfig " + path + "\n"
}

// garbage returns n bytes that are the same in each run (a generator of D. E.
// Knuth's).
func garbage(n int) string {
	bytes, state := make([]byte, n), uint64(1)
	for i := range bytes {
		state = state*6364136223846793005 + 1442695040888963407
		bytes[i] = byte(state >> 56)
	}
	return string(bytes)
}

// samples returns the contents of the files in the testdata of a room.
func samples(room string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(filepath.Join(room, "testdata"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if d.Name() == "fuzz" {
			return fs.SkipDir
		}
		text, err := os.ReadFile(path)
		found = append(found, string(text))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return found, err
}

// plainHosts returns those whose files and answers hold nothing.
func plainHosts() []host {
	quiet := func(string) string { return "" }
	found := []host{
		{name: "that nothing was found out about yet", mute: true},
		{name: "that nothing was found out about yet but that it has systemd", systemd: true, mute: true},
		{name: "without systemd", content: quiet, plain: true},
	}
	for state, unit := range units() {
		found = append(found, host{name: "whose unit is " + state, systemd: true, unit: unit, content: quiet, plain: true})
	}
	return found
}

// hosts returns all of them.
func hosts(samples []string) []host {
	found := plainHosts()
	for name, content := range contents(samples) {
		found = append(found, host{
			name: "whose files and answers hold " + name, systemd: true, unit: units()["running"], content: content,
			names: []string{"web.example", "", "*.\x00", strings.Repeat("a.", 1<<10)},
		})
	}
	for name, content := range contents(nil) {
		found = append(found, host{name: "without systemd whose files and answers hold " + name, content: content})
	}
	return found
}

// addresses returns addresses at which a service may listen.
func addresses(ports []uint16) []netip.AddrPort {
	found := []netip.AddrPort{{}}
	for _, port := range append(ports, 0) {
		for _, address := range []string{"0.0.0.0", "::", "127.0.0.1", "::ffff:192.0.2.1", "fe80::1%eth0"} {
			found = append(found, netip.AddrPortFrom(netip.MustParseAddr(address), port))
		}
	}
	return found
}

// rounds is how often a deployer may be asked before it wants nothing more: the
// engine asks as often.
const rounds = 10

// facts asks a deployer what it wants to know until it wants nothing more, and
// reports whether that came to an end. At each question something else goes
// wrong: the content says what is in files, and every third answer is a fault, or
// none.
func (h host) facts(d deployers.Deployer, t deployers.Target) (f deployers.Facts, ended bool) {
	if h.mute {
		return deployers.Facts{Systemd: h.systemd}, true
	}
	f = deployers.Facts{
		Systemd: h.systemd, Names: h.names, Activated: time.Unix(1<<40, 0),
		Outputs: map[string]deployers.Output{}, Texts: map[string][]deployers.Text{}, Answers: map[deployers.Query]deployers.Answer{},
	}
	for range rounds {
		wants, news := d.Wants(t, f), false
		if h.systemd && wants.Unit != "" && f.Unit.Name == "" {
			f.Unit, news = h.unit, true
			f.Unit.Name = wants.Unit
			if f.Unit.ActiveState == "active" {
				f.Unit.ExecStart = []string{"/usr/sbin/" + d.Name()}
			}
		}
		if len(wants.Ports) > 0 && f.Listeners == nil {
			f.Listeners, news = addresses(wants.Ports), true
		}
		if wants.Titles && f.Titles == nil {
			f.Titles, news = strings.Split(h.content("titles")+"\nmaster", "\n"), true
		}
		for _, argv := range wants.Commands {
			key := strings.Join(argv, "\x00")
			if _, known := f.Outputs[key]; !known {
				text := h.content(key)
				f.Outputs[key], news = deployers.Output{Stdout: text, Stderr: text}, true
			}
		}
		for _, path := range wants.Texts {
			if _, known := f.Texts[path]; !known {
				f.Texts[path], news = []deployers.Text{{Path: path, Content: h.content(path)}, {Path: path + "\n", Content: "\n"}}, true
			}
		}
		for _, query := range wants.Queries {
			if _, known := f.Answers[query]; !known {
				f.Answers[query], news = h.answer(query, len(f.Answers)), true
			}
		}
		if !news {
			return f, true
		}
	}
	return f, false
}

func (h host) answer(query deployers.Query, nth int) deployers.Answer {
	text := h.content(query.Method)
	switch nth % 7 {
	case 3:
		return deployers.Answer{Fault: text}
	case 4:
		return deployers.Answer{Err: text + "no answer", Sent: true}
	case 5:
		return deployers.Answer{Err: text + "no such file"}
	}
	return deployers.Answer{Reply: text}
}
