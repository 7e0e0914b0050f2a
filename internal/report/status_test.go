package report

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// sighting returns a sighting of a certificate in sync, whose leaf of 90 days
// is age days old.
func sighting(target string, age int) state.Sighting {
	leaf := &lineage.Leaf{
		Fingerprint: "aaaaaaaa0000", Names: []string{target + ".example", "www.example"}, Issuer: "CN=R11,O=Let's Encrypt,C=US",
		NotBefore: noon.AddDate(0, 0, -age), NotAfter: noon.AddDate(0, 0, 90-age),
	}
	probe := "https://127.0.0.1:443?name=" + target + ".example"
	return state.Sighting{Looked: noon, Certificate: state.Certificate{
		Target: target, Lineage: target + ".example", Service: "nginx", State: string(condition.InSync), Since: &noon,
		Issued: leaf, Installed: leaf, Served: []state.Served{{Probe: &probe, Leaf: leaf}},
	}}
}

// differing returns a sighting in which another leaf has been served for some
// time.
func differing(s state.Sighting, condition condition.Condition, lasted time.Duration) state.Sighting {
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

// lineOf returns the plugin's line about an inventory at noon.
func lineOf(i Inventory) (string, Severity) {
	return Check{Inventory: i, Now: noon, MaxAge: UsualAge}.Line()
}

func TestCheck(t *testing.T) {
	by := "by-hand"
	held := differing(sighting("web", 1), condition.HeldBack, time.Hour)
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
	blind.State, blind.Served = string(condition.Unknown), []state.Served{{Error: &refused}}
	out := pendingFor(blind, "outage")
	out.State, out.Outage = string(condition.Waiting), &state.Outage{Since: noon.Add(-time.Minute)}
	heldOut := out
	heldOut.State, heldOut.Hold = string(condition.HeldBack), &by
	team := "voice team"
	contact := sighting("web", 80)
	contact.Contact = &team
	nothing := state.Sighting{Looked: noon, Certificate: state.Certificate{Target: "web", Lineage: "x", State: string(condition.Unknown)}}
	short := sighting("web", 0)
	leaf := *short.Issued
	leaf.NotBefore, leaf.NotAfter = noon.Add(-4*day), noon.Add(2*day)
	short.Served[0].Leaf = &leaf

	for _, test := range []struct {
		name  string
		seen  state.Sighting
		level Severity
		says  string
	}{
		{"good", sighting("web", 1), SeverityOK, "1 certificate, web/web.example is the first to expire, in 89 d"},
		{"a quarter left", sighting("web", 67), SeverityOK, "in 23 d"},
		{"less than a quarter left", sighting("web", 68), SeverityWarning, "web/web.example expires in 22 d"},
		{"less than an eighth left", sighting("web", 79), SeverityCritical, "web/web.example expires in 11 d"},
		{"expired", sighting("web", 92), SeverityCritical, "web/web.example expired 2.0 d ago"},
		{"a short one", short, SeverityWarning, "expires in 2.0 d"},
		{"whom to ask", contact, SeverityCritical, "web/web.example (voice team) expires"},
		{"just renewed", differing(sighting("web", 1), condition.Stale, 15*time.Minute), SeverityOK, "1 certificate"},
		{"stale", differing(sighting("web", 1), condition.Stale, 16*time.Minute), SeverityCritical, "web/web.example serves bbbbbbbb in place of aaaaaaaa for 16 min"},
		{"tried again", pendingFor(differing(sighting("web", 1), condition.Waiting, time.Minute), "not-proven"), SeverityWarning, "pending (not-proven)"},
		{"tried again and again", pendingFor(differing(sighting("web", 1), condition.Waiting, time.Hour), "not-proven"), SeverityCritical, "pending (not-proven), and serves bbbbbbbb"},
		{"waits for a restart", pendingFor(differing(sighting("web", 1), condition.Waiting, time.Hour), "restart-not-allowed"), SeverityWarning, "waits (restart-not-allowed)"},
		{"waits for its window", pendingFor(differing(sighting("web", 1), condition.Waiting, time.Hour), "outside-window"), SeverityWarning, "waits (outside-window)"},
		{"refused", pendingFor(differing(sighting("web", 1), condition.Broken, time.Second), "name-missing"), SeverityCritical, "failed (name-missing)"},
		{"held", held, SeverityWarning, "held (by-hand)"},
		{"held after a crash", crashed, SeverityCritical, "held (service-crashed)"},
		{"many reloads are left", reloads(11), SeverityOK, "1 certificate"},
		{"ten reloads are left", reloads(10), SeverityWarning, "web/web.example has 10 reloads left until it has to be restarted"},
		{"one is left", reloads(1), SeverityWarning, "has 1 reload left"},
		{"none is left", pendingFor(differing(reloads(0), condition.Waiting, time.Hour), "shared-memory-low"), SeverityWarning, "waits (shared-memory-low); web/web.example has 0 reloads left"},
		{"out of order", out, SeverityCritical, "has completed no handshake for 1 min: connection refused"},
		{"out of order and held", heldOut, SeverityCritical, "has completed no handshake for 1 min: connection refused"},
		{"no handshake", blind, SeverityUnknown, "connection refused / 'x'=1?[31m"},
		{"nothing known", nothing, SeverityUnknown, "nothing could be looked at"},
	} {
		t.Run(test.name, func(t *testing.T) {
			line, level := lineOf(Inventory{Seen: []state.Sighting{test.seen}})
			if level != test.level || !strings.HasPrefix(line, "CERTLATCH "+test.level.String()+" - ") || !strings.Contains(line, test.says) {
				t.Errorf("%s is %s: %s", test.name, level, line)
			}
			if strings.Count(line, "|") > 1 || strings.ContainsAny(line, "\n\x1b") {
				t.Errorf("this is no line of a plugin: %q", line)
			}
		})
	}
}

// TestCheckOfMany wants a line about many certificates to begin with the
// gravest alarm, and to be no longer than somebody reads.
func TestCheckOfMany(t *testing.T) {
	seen := []state.Sighting{sighting("good", 1), sighting("late", 70), sighting("gone", 91)}
	line, level := lineOf(Inventory{Seen: seen})
	want := "CERTLATCH CRITICAL - gone/gone.example expired 24 h ago; late/late.example expires in 20 d" +
		" | 'good/good.example'=89.00;22.50:;11.25: 'late/late.example'=20.00;22.50:;11.25: 'gone/gone.example'=-1.00;22.50:;11.25:"
	if level != SeverityCritical || line != want {
		t.Errorf("%s\ninstead of\n%s", line, want)
	}
	for i := range 10 {
		seen = append(seen, sighting(fmt.Sprint("more", i), 70))
	}
	if line, _ := lineOf(Inventory{Seen: seen}); !strings.Contains(line, "; and 7 more | ") {
		t.Error(line)
	}
	if line, level := lineOf(Inventory{}); level != SeverityUnknown || line != "CERTLATCH UNKNOWN - there is no certificate" {
		t.Error(line)
	}
}

// TestCheckOfAnOldSnapshot wants an old snapshot to be unknown, but for a
// certificate in it that expires.
func TestCheckOfAnOldSnapshot(t *testing.T) {
	for _, test := range []struct {
		age   time.Duration
		leaf  int
		level Severity
	}{{time.Hour, 1, SeverityOK}, {61 * time.Minute, 1, SeverityUnknown}, {61 * time.Minute, 85, SeverityCritical}} {
		s := sighting("web", test.leaf)
		s.Looked = noon.Add(-test.age)
		if line, level := lineOf(Inventory{Seen: []state.Sighting{s}, Snapshot: "file"}); level != test.level {
			t.Errorf("%s instead of %s: %s", level, test.level, line)
		}
	}
}

// TestCheckAfterTheClockWasSetBack wants a snapshot of a time that has yet to
// come not to pass for a fresh one, nor what differs since then for something
// new.
func TestCheckAfterTheClockWasSetBack(t *testing.T) {
	ahead := noon.AddDate(74, 0, 0)
	stale := sighting("web", 1)
	stale.State, stale.Differs = string(condition.Stale), &ahead
	fine := sighting("web", 1)
	fine.Looked = ahead
	for _, test := range []struct {
		inventory Inventory
		level     Severity
		says      string
	}{
		{Inventory{Seen: []state.Sighting{fine}, Snapshot: "file"}, SeverityUnknown, "which has yet to come"},
		{Inventory{Seen: []state.Sighting{fine}}, SeverityOK, "OK"},
		{Inventory{Seen: []state.Sighting{stale}}, SeverityCritical, "is not installed"},
		{Inventory{Seen: []state.Sighting{sighting("web", 1)}, Unread: &state.UnreadableError{Files: []*state.Damage{{Path: "/s", What: "is empty"}}}}, SeverityCritical, "nothing is deployed (read state: /s is empty)"},
	} {
		if line, level := lineOf(test.inventory); level != test.level || !strings.Contains(line, test.says) {
			t.Errorf("%s instead of %s: %s", level, test.level, line)
		}
	}
}

func TestStatusTable(t *testing.T) {
	hostile := "team \x1b[2J\r\nroot"
	long := sighting(strings.Repeat("long-", 20)+"name", 30)
	long.Contact = &hostile
	stale := differing(sighting("sip", 62), condition.Stale, 2*time.Hour)
	failing := "tls://[2001:db8::1]:5061?name=sip.example: connection refused: nothing listens there"
	stale.Served = append(stale.Served, state.Served{Probe: stale.Served[0].Probe, Error: &failing})
	seen := []state.Sighting{
		sighting("web", 20), long, stale, sighting("mail", 72), sighting("old", 93),
		pendingFor(differing(sighting("xmpp", 1), condition.Waiting, time.Minute), "not-proven"),
		{Looked: noon, Certificate: state.Certificate{Target: "new", Lineage: "new", State: string(condition.Unknown), Since: &noon}},
	}
	for _, width := range []int{80, 120, 200} {
		text := Status{Inventory{Seen: seen, Snapshot: "/run/certlatch/status.json"}, noon.Add(time.Minute), Screen{Width: width}, true}.Text()
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d columns in place of %d: %s", n, width, line)
			}
		}
		if strings.ContainsAny(text, "\x1b\r") {
			t.Errorf("a terminal may take this for a command: %q", text)
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
			at := regexp.MustCompile(want).FindStringIndex(text)
			if at == nil || at[0] < last {
				t.Errorf("at %d columns %s is missing or in the wrong place:\n%s", width, want, text)
				break
			}
			last = at[0]
		}
		if oneLine := regexp.MustCompile(`(?m)^   in-sync   web .* R11$`).MatchString(text); oneLine != (width >= wide) {
			t.Errorf("at %d columns:\n%s", width, text)
		}
	}
}

// TestPaint wants colours only where the screen shows them.
func TestPaint(t *testing.T) {
	if got := (Screen{Coloured: true}).paint(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := (Screen{}).paint(red, "x"); got != "x" {
		t.Errorf("%q", got)
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

// TestQuotedName holds that a name is told from what stands around it, and performance data
// from each other.
func TestQuotedName(t *testing.T) {
	for name, want := range map[string]string{
		"a.example": "a.example", "2001:db8::1": "2001:db8::1", "mail+imap": "mail+imap", "🔒": "🔒",
		"Mail server": `"Mail server"`, `a"b`: `"a\"b"`, "a\u200bb": `"a\u200bb"`, "": `""`,
	} {
		if got := quotedName(name); got != want {
			t.Errorf("%q is shown as %s", name, got)
		}
	}
	for text, want := range map[string]string{"web/a.example": "web/a.example", "web/it's=1|2": "web/it''s_1/2"} {
		if got := label(text); got != want {
			t.Errorf("%q is the label %s", text, got)
		}
	}
}

// TestStatusOfMany wants the table of many certificates to hold those alone that are
// not well, unless all are asked for, and the summary to say how many there are.
func TestStatusOfMany(t *testing.T) {
	seen := []state.Sighting{differing(sighting("late", 1), condition.Stale, time.Hour), sighting("ending", 70)}
	for i := len(seen); i < 20; i++ {
		seen = append(seen, sighting(fmt.Sprint("well", i), 1))
	}
	text := func(every bool) string {
		return Status{Inventory: Inventory{Seen: seen}, Now: noon, Screen: Screen{Width: 80}, Every: every}.Text()
	}
	if got := text(false); strings.Count(got, "in-sync") != 18+1 || strings.Contains(got, "not shown") {
		t.Errorf("twenty are not few:\n%s", got)
	}
	seen = append(seen, sighting("last", 1))
	got := text(false)
	for _, want := range []string{"!! stale ", "!  expiring ", "21 certificates: 1 expiring, 1 stale, 19 in-sync\n", "not shown are 19 that are well: certlatch status -v shows them\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "well2") {
		t.Errorf("what is well is shown:\n%s", got)
	}
	if got := text(true); strings.Count(got, "in-sync") != 19+1 || strings.Contains(got, "not shown") {
		t.Errorf("not all are shown:\n%s", got)
	}
	seen = seen[2:]
	for i := range 10 {
		seen = append(seen, sighting(fmt.Sprint("more", i), 1))
	}
	if got, want := text(false), "29 certificates: 29 in-sync\nnot shown are 29 that are well: certlatch status -v shows them\n"; got != want {
		t.Errorf("%s\ninstead of\n%s", got, want)
	}
}
