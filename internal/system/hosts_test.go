package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"
)

// How much of an operator's work the first hour may take, on each of the hosts in
// testdata/packages/hosts: from the package to a renewal that is proven.
const (
	mostCommands = 6
	mostEdits    = 2
)

// effort is what the operator of one host has to do.
type effort struct {
	host     string // what the script's first line says
	commands []string
	edits    []string // the files
}

// row returns the effort as a row of a table.
func (e effort) row() string {
	return fmt.Sprintf("| %s | %d | %d |", e.host, len(e.commands), len(e.edits))
}

var (
	operates = regexp.MustCompile(`^(?:exits \d+ )?operator (.+)`)
	edits    = regexp.MustCompile(`^edit (\S+) `)
	renews   = regexp.MustCompile(`^host (?:certbot renew|acme\.sh --cron) `)
	looks    = regexp.MustCompile(`^(?:(?:! )?(?:stdout|stderr)|served|host shows|(?:exits \d )?host certlatch (?:status|check|history|doctor)\b)`)
)

// measureEffort counts what a script has the operator do. After the operator's first
// command, nobody else does anything but the client, which renews when all is done.
// Scripts of hosts have no conditions, so what is written there is what is done.
func measureEffort(script *txtar.Archive) (effort, error) {
	title, commands, _ := strings.Cut(string(script.Comment), "\n")
	e := effort{host: strings.TrimPrefix(title, "# ")}
	var errs []error
	if e.host == title {
		errs = append(errs, errors.New("the first line does not say which host it is"))
	}
	renewed, proven := false, false
	for line := range strings.Lines(commands) {
		line = strings.TrimSpace(line)
		switch command, edit := operates.FindStringSubmatch(line), edits.FindStringSubmatch(line); {
		case command != nil:
			e.commands = append(e.commands, command[1])
			renewed, proven = false, false
		case edit != nil:
			e.edits = append(e.edits, edit[1])
			renewed, proven = false, false
		case renews.MatchString(line):
			renewed = true
		case strings.HasPrefix(line, "served "):
			proven = renewed
		case line == "" || strings.HasPrefix(line, "#") || looks.MatchString(line):
		case strings.HasPrefix(line, "["), len(e.commands) > 0:
			errs = append(errs, fmt.Errorf("%s: who does that, and is it always done?", line))
		}
	}
	switch {
	case len(e.commands) > mostCommands:
		errs = append(errs, fmt.Errorf("%d commands, and there may be %d: %q", len(e.commands), mostCommands, e.commands))
	case len(e.edits) > mostEdits:
		errs = append(errs, fmt.Errorf("%d edits, and there may be %d: %q", len(e.edits), mostEdits, e.edits))
	case !proven:
		errs = append(errs, errors.New("the end is no renewal of which is seen that it is served"))
	}
	return e, errors.Join(errs...)
}

// TestEffort counts what the operators of the hosts have to do, and holds README's
// table to it. That it is enough is what TestPackages shows, which plays the scripts.
func TestEffort(t *testing.T) {
	scripts, err := filepath.Glob("testdata/packages/hosts/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no script of a host", err)
	}
	var rows []string
	for _, path := range scripts {
		script, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		e, err := measureEffort(script)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		rows = append(rows, e.row()+"\n")
	}
	slices.SortFunc(rows, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	table := "| host | commands | edits |\n|---|---|---|\n" + strings.Join(rows, "")
	t.Logf("what the first hour takes:\n%s", table)
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "\n"+table+"\n") {
		t.Errorf("README has not this table:\n%s", table)
	}
}

func TestMeasureEffort(t *testing.T) {
	const end = "host certbot renew --force-renewal\nserved 127.0.0.1:443 a /a\n"
	for text, want := range map[string]effort{
		"# a\nhost x\noperator certlatch init\nexits 9 operator certlatch deploy\n" + end:            {"a", []string{"certlatch init", "certlatch deploy"}, nil},
		"# a\noperator x\nedit /etc/x sed s/a/b/\nexits 1 host certlatch doctor\n! stdout b\n" + end: {"a", []string{"x"}, []string{"/etc/x"}},
	} {
		got, err := measureEffort(txtar.Parse([]byte(text)))
		if err != nil || got.row() != want.row() || !slices.Equal(got.commands, want.commands) || !slices.Equal(got.edits, want.edits) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"operator certlatch init\n" + end,
		"# a\noperator x\nhost certlatch init\n" + end,
		"# a\noperator x\nput config.yaml /etc/certlatch/config.yaml\n" + end,
		"# a\n[real] operator certlatch init\n" + end,
		"# a\n" + end + "operator certlatch deploy\n",
		"# a\n" + strings.Repeat("operator certlatch init\n", mostCommands+1) + end,
		"# a\n" + strings.Repeat("edit /etc/x sed s/a/b/\n", mostEdits+1) + end,
	} {
		if _, err := measureEffort(txtar.Parse([]byte(text))); err == nil {
			t.Errorf("%q: no fault is found", text)
		}
	}
}

// operator runs a command of the operator's inside; it is one of those that are
// counted.
func (s *scenario) operator(ts *testscript.TestScript, args []string) error {
	return s.runHost(ts, args)
}

// edit changes a file as the operator does with an editor: by a script of sed's, which has
// to change something, or to what a file of the scenario holds.
func (s *scenario) edit(ts *testscript.TestScript, args []string) error {
	if len(args) != 3 {
		return errUsage
	}
	switch args[1] {
	case "put":
		return s.put(ts, []string{args[2], args[0]})
	case "sed":
		before, err := s.host.run("cat", args[0])
		if err != nil {
			return err
		}
		after, err := s.host.run("sed", args[2], args[0])
		switch {
		case err != nil:
			return err
		case after == before:
			return mismatchf("%s stays as it is", args[0])
		}
		_, err = s.host.run("sed", "--in-place", args[2], args[0])
		return err
	}
	return errUsage
}

// newcomer makes the host one of somebody who has heard of certlatch: the package is at
// /root/certlatch.deb, and Pebble is a CA that the host trusts and that certbot takes
// by default.
func (s *scenario) newcomer(ts *testscript.TestScript, args []string) error {
	if len(args) != 0 {
		return errUsage
	}
	if err := s.pebble(ts, nil); err != nil {
		return err
	}
	roots, err := s.host.run("cat", "/etc/ssl/certs/ca-certificates.crt", "/root/pebble-root.pem", "/root/pebble-ca.pem")
	if err != nil {
		return err
	}
	for path, content := range map[string]string{
		"/etc/ssl/certs/ca-certificates.crt":       roots,
		"/root/.config/letsencrypt/cli.ini":        certbotDefaults,
		"/usr/lib/python3/dist-packages/hurry.pth": hurry,
		"/usr/local/bin/sleep":                     hurrySleep,
		"/root/certlatch.deb":                      ts.ReadFile(ts.Getenv("NEW") + ".deb"),
	} {
		if err := s.host.write(path, []byte(content), "0755", "root"); err != nil {
			return err
		}
	}
	return nil
}

// certbotDefaults has certbot take Pebble for its CA, and ask nobody.
const certbotDefaults = `server = https://127.0.0.1:14000/dir
non-interactive = true
agree-tos = true
register-unsafely-without-email = true
no-random-sleep-on-renew = true
`

// certbot and acme.sh sleep for seconds again and again while they wait for their CA. Here
// they sleep shorter: by what Python runs at its start (site.py of 3.13, addpackage), and
// by the sleep that shells find first.
const (
	hurry      = "import time; time.sleep = lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.02))\n"
	hurrySleep = "#!/bin/sh\nexec /usr/bin/sleep 0.05\n"
)
