package report

import (
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/state"
)

// TestPictures compares the pictures of README with golden files, so that they show
// what people see.
func TestPictures(t *testing.T) {
	leaf := func(fingerprint string, age int, names ...string) *lineage.Leaf {
		return &lineage.Leaf{
			Fingerprint: strings.Repeat(fingerprint, 8), Names: names, Issuer: "CN=R11,O=Let's Encrypt,C=US", Key: "ecdsa-p256",
			NotBefore: noon.AddDate(0, 0, -age), NotAfter: noon.AddDate(0, 0, 90-age),
		}
	}
	seen := func(target, service string, is condition.Condition, issued, installed *lineage.Leaf) state.Sighting {
		since := noon.Add(-3 * time.Hour)
		return state.Sighting{Looked: noon, Certificate: state.Certificate{
			Target: target, Lineage: issued.Names[0], Service: service, Issued: issued, Installed: installed,
			Served: []state.Served{{Leaf: installed}}, State: string(is), Since: &since,
		}}
	}
	web, sip := leaf("5d0c41ee", 31, "www.example.org", "example.org"), leaf("c2f1a09b", 12, "sip.example.org")
	chat, without := leaf("08b7d3e4", 63, "example.org", "conference.example.org"), leaf("9ae65c10", 0, "example.org")
	refused := seen("chat", "prosody", condition.Waiting, without, chat)
	refused.Differs = refused.Since
	refused.Pending = &state.Waiting{Reason: "name-missing", Attempts: 1}
	failed := outcome.Outcome{
		Target: "chat", Lineage: "example.org", Service: "prosody", Result: outcome.Refused, Reason: "name-missing", At: outcome.Validate,
		Detail: "does not cover conference.example.org", Remedy: "have the client put the name into the certificate",
		New: without, Previous: chat,
	}
	for name, shown := range map[string]struct{ says, command string }{
		"picture-status.svg": {command: "certlatch status", says: Status{Now: noon, Screen: Screen{Width: 80, Coloured: true}, Inventory: Inventory{Seen: []state.Sighting{
			refused, seen("sip", "kamailio", condition.InSync, sip, sip), seen("web", "nginx", condition.InSync, web, web),
		}}}.Text()},
		"picture-refused.svg": {command: "certlatch deploy example.org", says: Deployment{Outcomes: []outcome.Outcome{failed}}.Text()},
	} {
		golden(t, name, picture("$ "+shown.command+"\n"+shown.says))
	}
}

// colouring matches what colours a terminal's text.
var colouring = regexp.MustCompile("\x1b\\[(\\d*)m")

// picture returns what a terminal shows as a picture in SVG.
func picture(text string) string {
	const size, advance, height, margin = 14, 8.43, 19, 14 // in pixels; advance is that of a monospaced letter
	colours := map[string]string{"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "35": "#d2a8ff", "90": "#8b949e"}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	columns := 0
	var b strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&b, `<text x="%d" y="%d" xml:space="preserve">`, margin, margin+height*(i+1)-5)
		columns = max(columns, utf8.RuneCountInString(colouring.ReplaceAllString(line, "")))
		for at := 0; at < len(line); {
			next := colouring.FindStringSubmatchIndex(line[at:])
			if next == nil {
				b.WriteString(html.EscapeString(line[at:]))
				break
			}
			b.WriteString(html.EscapeString(line[at : at+next[0]]))
			if fill, is := colours[line[at+next[2]:at+next[3]]]; is {
				fmt.Fprintf(&b, `<tspan fill="%s">`, fill)
			} else {
				b.WriteString("</tspan>")
			}
			at += next[1]
		}
		b.WriteString("</text>\n")
	}
	width, tall := int(float64(columns)*advance)+2*margin, height*len(lines)+2*margin
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="%[3]d" fill="#e6edf3">
<rect width="100%%" height="100%%" rx="8" fill="#0d1117"/>
%[4]s</svg>
`, width, tall, size, b.String())
}
