package system

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// leastLimit is the least number of seconds in which a scenario may say that a
// program hangs.
const leastLimit = 40

var (
	sleeps   = regexp.MustCompile(`(^|[ ;'])sleep [0-9.]`)
	polls    = regexp.MustCompile(`timeout [0-9.]+ sh -c '(until|while) `)
	journals = regexp.MustCompile(`journalctl (-u|-t|--unit|--output|--boot|MESSAGE_ID|SYSLOG_IDENTIFIER)`)
	limits   = regexp.MustCompile(`(?:^|[^-\w])timeout (?:--kill-after=\d+ )?(\d+) `)
)

// synced has journald write down all that it was told (journalctl(1)).
const synced = "journalctl --sync"

// hasty returns why a scenario may fail only since the machine is busy; empty:
// not for what is looked for here.
func hasty(scenario *txtar.Archive) (faults []string) {
	before := ""
	for line := range strings.Lines(string(scenario.Comment)) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), " #")
		switch {
		case strings.HasPrefix(command, "#") || command == "":
			continue
		case sleeps.MatchString(command):
			faults = append(faults, command+": wait for the thing itself (until, wait-says, wait-unit, wait-served)")
		case polls.MatchString(command):
			faults = append(faults, command+": until has the limit that all waits have")
		case strings.HasPrefix(command, "host ") && journals.MatchString(command) && !strings.Contains(command, synced) && before != "host "+synced:
			faults = append(faults, command+": the journal may not have it yet; host journalctl --sync")
		}
		before = command
	}
	text := string(scenario.Comment)
	for _, file := range scenario.Files {
		text += string(file.Data)
	}
	for _, limit := range limits.FindAllStringSubmatch(text, -1) {
		if seconds, err := strconv.Atoi(limit[1]); err != nil || seconds < leastLimit {
			faults = append(faults, strings.TrimSpace(limit[0])+": a program that is kept waiting for the processor takes that long, too")
		}
	}
	return faults
}

// TestScenariosWait holds every scenario to what has made one fail for no other
// reason than a busy machine.
func TestScenariosWait(t *testing.T) {
	count := 0
	err := filepath.WalkDir("testdata", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".txtar" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		count++
		for _, fault := range hasty(txtar.Parse(text)) {
			t.Errorf("%s: %s", path, fault)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 100 {
		t.Errorf("only %d scenarios were looked at", count)
	}
}

func TestHasty(t *testing.T) {
	for text, want := range map[string]int{
		"host sleep 1\n": 1,
		"host timeout 90 sh -c 'until test -e /x; do sleep .1; done'\n": 1,
		"host journalctl --output=cat MESSAGE_ID=1\n":                   1,
		"host sh -c 'journalctl -u nginx | grep x'\n":                   1,
		"host timeout 20 certlatch deploy\n":                            1,
		"host rounds\n-- rounds --\ntimeout --kill-after=1 20 x\n":      1,

		"host journalctl --sync\nhost journalctl --output=cat MESSAGE_ID=1\n":          0,
		"host sh -c 'journalctl --sync; journalctl -u nginx'\n":                        0,
		"wait-says x journalctl --output=cat MESSAGE_ID=1\n":                           0,
		"host lego --no-random-sleep\n":                                                0,
		"host timeout 90 certlatch deploy\n":                                           0,
		"until host test -e /x\n-- kill --\ntimeout --signal=KILL 0.020 certlatch x\n": 0,
		"-- haproxy.cfg --\ntimeout client 5s\n":                                       0,
	} {
		if got := hasty(txtar.Parse([]byte(text))); len(got) != want {
			t.Errorf("%q has %d faults (%q), want %d", text, len(got), got, want)
		}
	}
}
