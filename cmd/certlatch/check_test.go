package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/certlatch/certlatch/internal/engine"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// sighting makes one of a certificate in sync whose leaf of 90 days is some
// days old.
func sighting(target string, age int) state.Sighting {
	leaf := &lineage.Leaf{
		Fingerprint: "aaaaaaaa0000", Names: []string{target + ".example", "www.example"}, Issuer: "CN=R11,O=Let's Encrypt,C=US",
		NotBefore: noon.AddDate(0, 0, -age), NotAfter: noon.AddDate(0, 0, 90-age),
	}
	probe := "https://127.0.0.1:443?name=" + target + ".example"
	return state.Sighting{Looked: noon, Certificate: state.Certificate{
		Target: target, Lineage: target + ".example", Service: "nginx", State: string(engine.InSync), Since: &noon,
		Issued: leaf, Installed: leaf, Served: []state.Served{{Probe: &probe, Leaf: leaf}},
	}}
}

// differing lets a sighting show that another leaf is served for some time.
func differing(s state.Sighting, condition engine.Condition, lasted time.Duration) state.Sighting {
	since := noon.Add(-lasted)
	other := *s.Issued
	other.Fingerprint = "bbbbbbbb0000"
	s.Served = []state.Served{{Probe: s.Served[0].Probe, Leaf: &other}}
	s.State, s.Since, s.Differs = string(condition), &since, &since
	return s
}

func pendingFor(s state.Sighting, reason string) state.Sighting {
	s.Pending = &state.Waiting{Reason: reason, Attempts: 2}
	return s
}

func TestCheck(t *testing.T) {
	by := "by-hand"
	held := differing(sighting("web", 1), engine.HeldBack, time.Hour)
	held.Hold = &by
	crash := "service-crashed"
	crashed := held
	crashed.Hold = &crash
	reloads := func(left int) state.Sighting {
		s := sighting("web", 1)
		s.ReloadsLeft = &left
		return s
	}
	blind := sighting("web", 1)
	refused := "connection refused | 'x'=1\x1b[31m"
	blind.State, blind.Served = string(engine.Unknown), []state.Served{{Error: &refused}}
	out := pendingFor(blind, "outage")
	out.State, out.Outage = string(engine.Waiting), &state.Outage{Since: noon.Add(-time.Minute)}
	heldOut := out
	heldOut.State, heldOut.Hold = string(engine.HeldBack), &by
	team := "voice team"
	contact := sighting("web", 80)
	contact.Contact = &team
	nothing := state.Sighting{Looked: noon, Certificate: state.Certificate{Target: "web", Lineage: "x", State: string(engine.Unknown)}}
	short := sighting("web", 0)
	leaf := *short.Issued
	leaf.NotBefore, leaf.NotAfter = noon.Add(-4*day), noon.Add(2*day)
	short.Served[0].Leaf = &leaf

	for _, test := range []struct {
		name  string
		seen  state.Sighting
		level severity
		says  string
	}{
		{"good", sighting("web", 1), levelOK, "1 certificate, web/web.example is the first to expire, in 89 d"},
		{"a quarter left", sighting("web", 67), levelOK, "in 23 d"},
		{"less than a quarter left", sighting("web", 68), levelWarning, "web/web.example expires in 22 d"},
		{"less than an eighth left", sighting("web", 79), levelCritical, "web/web.example expires in 11 d"},
		{"expired", sighting("web", 92), levelCritical, "web/web.example expired 2.0 d ago"},
		{"a short one", short, levelWarning, "expires in 2.0 d"},
		{"whom to ask", contact, levelCritical, "web/web.example (voice team) expires"},
		{"just renewed", differing(sighting("web", 1), engine.Stale, 15*time.Minute), levelOK, "1 certificate"},
		{"stale", differing(sighting("web", 1), engine.Stale, 16*time.Minute), levelCritical, "web/web.example serves bbbbbbbb in place of aaaaaaaa for 16 min"},
		{"tried again", pendingFor(differing(sighting("web", 1), engine.Waiting, time.Minute), "not-proven"), levelWarning, "pending (not-proven)"},
		{"tried again and again", pendingFor(differing(sighting("web", 1), engine.Waiting, time.Hour), "not-proven"), levelCritical, "pending (not-proven), and serves bbbbbbbb"},
		{"waits for a restart", pendingFor(differing(sighting("web", 1), engine.Waiting, time.Hour), "restart-not-allowed"), levelWarning, "waits (restart-not-allowed)"},
		{"waits for its window", pendingFor(differing(sighting("web", 1), engine.Waiting, time.Hour), "outside-window"), levelWarning, "waits (outside-window)"},
		{"refused", pendingFor(differing(sighting("web", 1), engine.Broken, time.Second), "name-missing"), levelCritical, "failed (name-missing)"},
		{"held", held, levelWarning, "held (by-hand)"},
		{"held after a crash", crashed, levelCritical, "held (service-crashed)"},
		{"many reloads are left", reloads(11), levelOK, "1 certificate"},
		{"ten reloads are left", reloads(10), levelWarning, "web/web.example has 10 reloads left until it has to be restarted"},
		{"one is left", reloads(1), levelWarning, "has 1 reload left"},
		{"none is left", pendingFor(differing(reloads(0), engine.Waiting, time.Hour), "shared-memory-low"), levelWarning, "waits (shared-memory-low); web/web.example has 0 reloads left"},
		{"out of order", out, levelCritical, "has completed no handshake for 1 min: connection refused"},
		{"out of order and held", heldOut, levelCritical, "has completed no handshake for 1 min: connection refused"},
		{"no handshake", blind, levelUnknown, "connection refused / 'x'=1?[31m"},
		{"nothing known", nothing, levelUnknown, "nothing could be looked at"},
	} {
		t.Run(test.name, func(t *testing.T) {
			line, level := checkLine(inventory{seen: []state.Sighting{test.seen}}, noon, engine.Expiry{}, usualAge)
			if level != test.level || !strings.HasPrefix(line, "CERTLATCH "+test.level.String()+" - ") || !strings.Contains(line, test.says) {
				t.Errorf("%s is %s: %s", test.name, level, line)
			}
			if strings.Count(line, "|") > 1 || strings.ContainsAny(line, "\n\x1b") {
				t.Errorf("this is no line of a plugin: %q", line)
			}
		})
	}
}

// A line about many: the gravest first, and no more than somebody reads.
func TestCheckOfMany(t *testing.T) {
	seen := []state.Sighting{sighting("good", 1), sighting("late", 70), sighting("gone", 91)}
	line, level := checkLine(inventory{seen: seen}, noon, engine.Expiry{}, usualAge)
	want := "CERTLATCH CRITICAL - gone/gone.example expired 24 h ago; late/late.example expires in 20 d" +
		" | 'good/good.example'=89.00;22.50:;11.25: 'late/late.example'=20.00;22.50:;11.25: 'gone/gone.example'=-1.00;22.50:;11.25:"
	if level != levelCritical || line != want {
		t.Errorf("%s\ninstead of\n%s", line, want)
	}
	for i := range 10 {
		seen = append(seen, sighting(fmt.Sprint("more", i), 70))
	}
	if line, _ := checkLine(inventory{seen: seen}, noon, engine.Expiry{}, usualAge); !strings.Contains(line, "; and 7 more | ") {
		t.Error(line)
	}
	if line, level := checkLine(inventory{}, noon, engine.Expiry{}, usualAge); level != levelUnknown || line != "CERTLATCH UNKNOWN - there is no certificate" {
		t.Error(line)
	}
}

// What was looked at long ago may have changed since; that it expires has not.
func TestCheckOfAnOldSnapshot(t *testing.T) {
	for _, test := range []struct {
		age   time.Duration
		leaf  int
		level severity
	}{{time.Hour, 1, levelOK}, {61 * time.Minute, 1, levelUnknown}, {61 * time.Minute, 85, levelCritical}} {
		s := sighting("web", test.leaf)
		s.Looked = noon.Add(-test.age)
		if line, level := checkLine(inventory{seen: []state.Sighting{s}, snapshot: "file"}, noon, engine.Expiry{}, usualAge); level != test.level {
			t.Errorf("%s instead of %s: %s", level, test.level, line)
		}
	}
}

// A snapshot of a time that has yet to come is no fresh one, and what differs
// since then has done so for who knows how long.
func TestCheckAfterTheClockWasSetBack(t *testing.T) {
	ahead := noon.AddDate(74, 0, 0)
	stale := sighting("web", 1)
	stale.State, stale.Differs = string(engine.Stale), &ahead
	fine := sighting("web", 1)
	fine.Looked = ahead
	for _, test := range []struct {
		inventory inventory
		level     severity
		says      string
	}{
		{inventory{seen: []state.Sighting{fine}, snapshot: "file"}, levelUnknown, "which has yet to come"},
		{inventory{seen: []state.Sighting{fine}}, levelOK, "OK"},
		{inventory{seen: []state.Sighting{stale}}, levelCritical, "is not installed"},
		{inventory{seen: []state.Sighting{sighting("web", 1)}, unread: &state.UnreadableError{Files: []*state.Damage{{Path: "/s", What: "is empty"}}}}, levelCritical, "nothing is deployed (read state: /s is empty)"},
	} {
		if line, level := checkLine(test.inventory, noon, engine.Expiry{}, usualAge); level != test.level || !strings.Contains(line, test.says) {
			t.Errorf("%s instead of %s: %s", level, test.level, line)
		}
	}
}

func TestExpiryOfTheCommandLine(t *testing.T) {
	for _, test := range []struct {
		warning, critical string
		want              engine.Expiry
	}{
		{"", "", engine.Expiry{}},
		{"14", "7", engine.Expiry{Warning: engine.Margin{Left: 14 * day}, Critical: engine.Margin{Left: 7 * day}}},
		{"14:", "0.5:", engine.Expiry{Warning: engine.Margin{Left: 14 * day}, Critical: engine.Margin{Left: 12 * time.Hour}}},
		{"30%", "", engine.Expiry{Warning: engine.Margin{Share: 0.3}}},
		{"30%", "7", engine.Expiry{Warning: engine.Margin{Share: 0.3}, Critical: engine.Margin{Left: 7 * day}}},
	} {
		if got, err := expiryOf(test.warning, test.critical); err != nil || got != test.want {
			t.Errorf("%s and %s: %+v, %v", test.warning, test.critical, got, err)
		}
	}
	for _, wrong := range [][2]string{
		{"7", "14"}, {"10%", "20%"}, {"0", ""}, {"-1", ""}, {"100%", ""}, {"NaN", ""}, {"", "inf"}, {"@14", ""}, {"10:20", ""}, {"~:5", ""}, {"1e9", ""}, {"two", ""},
	} {
		if got, err := expiryOf(wrong[0], wrong[1]); !errors.As(err, new(*usageError)) {
			t.Errorf("%q is taken for %+v (%v)", wrong, got, err)
		}
	}
}

func TestStatusTable(t *testing.T) {
	hostile := "team \x1b[2J\r\nroot"
	long := sighting(strings.Repeat("long-", 20)+"name", 30)
	long.Contact = &hostile
	stale := differing(sighting("sip", 62), engine.Stale, 2*time.Hour)
	failing := "tls://[2001:db8::1]:5061?name=sip.example: connection refused: nothing listens there"
	stale.Served = append(stale.Served, state.Served{Probe: stale.Served[0].Probe, Error: &failing})
	seen := []state.Sighting{
		sighting("web", 20), long, stale, sighting("mail", 72), sighting("old", 93),
		pendingFor(differing(sighting("xmpp", 1), engine.Waiting, time.Minute), "not-proven"),
		{Looked: noon, Certificate: state.Certificate{Target: "new", Lineage: "new", State: string(engine.Unknown), Since: &noon}},
	}
	for _, width := range []int{80, 120, 200} {
		var text strings.Builder
		if err := (table{inventory{seen: seen, snapshot: "/run/certlatch/status.json"}, noon.Add(time.Minute), width, pen{}}).print(&text); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d columns in place of %d: %s", n, width, line)
			}
		}
		if strings.ContainsAny(text.String(), "\x1b\r") {
			t.Errorf("a terminal may take this for a command: %q", text.String())
		}
		last := -1
		for _, want := range []string{
			`(?m)^!! expired   old `, `(?m)^!! stale     sip +sip.example +\[######----\]    27 d`,
			`(?m)^   issued aaaaaaaa  installed aaaaaaaa  served bbbbbbbb  since`, `(?m)^   tls://\[2001:db8::1\]:5061\?name=sip.example`,
			`(?m)^!  expiring  mail `, `(?m)^!  pending   xmpp `, `(?m)^   not-proven since 2026-11-23T11:59Z, 2 attempts$`,
			`(?m)^\?  unknown   new `, `(?m)^   in-sync   long-long-.*~ `, `(?m)^   in-sync   web `,
			`(?m)^7 certificates: 1 expired, 1 expiring, 1 pending, 1 stale, 1 unknown, 2 in-sync$`,
			`(?m)^as seen 1 min ago \(/run/certlatch/status.json\)$`,
		} {
			at := regexp.MustCompile(want).FindStringIndex(text.String())
			if at == nil || at[0] < last {
				t.Errorf("at %d columns %s is missing or in the wrong place:\n%s", width, want, text.String())
				break
			}
			last = at[0]
		}
		if oneLine := regexp.MustCompile(`(?m)^   in-sync   web .* R11$`).MatchString(text.String()); oneLine != (width >= wide) {
			t.Errorf("at %d columns:\n%s", width, text.String())
		}
	}
}

func TestPen(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if got := penFor(true).paint(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	if penFor(false).coloured {
		t.Error("what is no terminal gets colours")
	}
	t.Setenv("NO_COLOR", "1")
	if penFor(true).coloured {
		t.Error("NO_COLOR is not respected")
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if penFor(true).coloured {
		t.Error("a dumb terminal gets colours")
	}
}

func TestRoughly(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0 s": -time.Second, "59 s": 59 * time.Second, "1 min": time.Minute, "119 min": 119 * time.Minute, "2 h": 2 * time.Hour,
		"47 h": 47 * time.Hour, "2.0 d": 2 * day, "9.9 d": 10*day - time.Hour, "10 d": 10 * day, "89 d": 90*day - time.Second,
	} {
		if got := roughly(d); got != want {
			t.Errorf("%s is %s instead of %s", d, got, want)
		}
	}
}
