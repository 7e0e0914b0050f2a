package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/state"
)

// The rules by which the inventory is drawn for a terminal:
//   - The gravest comes first, and every word of it can be read without colour:
//     a mark (!! critical, ! look at it, ? unknown), the state, a bar.
//   - A certificate takes one line where the terminal is wide, and two where it
//     is narrow. What is not in sync has more below, which is never cut off.
//   - Of many, those that are well are only counted.

// table is an inventory to be drawn.
type table Status

const (
	wide      = 120 // columns from which on a certificate takes one line
	barLength = 10
	between   = 2
	inset     = 3  // of what is below a certificate
	few       = 20 // certificates or targets, which are all shown
)

// row is a certificate as it is drawn.
type row struct {
	seen  state.Sighting    // with the state that it was seen in
	now   state.Certificate // with the state that it is in
	level Severity
	cells []string // target, lineage, and where the terminal is wide names, issuer, contact
}

func (t table) String() string {
	var text strings.Builder
	rows := t.rows()
	shown := rows
	if len(rows) > few && !t.Every {
		shown = slices.DeleteFunc(slices.Clone(rows), row.isWell)
	}
	if len(shown) > 0 {
		widths := t.fit(shown)
		t.head(&text, widths)
		for _, r := range shown {
			t.line(&text, r, widths)
			t.details(&text, r)
		}
		text.WriteString("\n")
	}
	text.WriteString(t.summary(rows, len(rows)-len(shown)))
	return text.String()
}

// rows returns the certificates in order.
func (t table) rows() []row {
	var rows []row
	for _, s := range t.Inventory.Seen {
		r := row{seen: s, now: condition.At(s.Certificate, t.Now, condition.Expiry{}), level: worst(alarms(s, t.Now, condition.Expiry{}))}
		r.cells = []string{s.Target, quotedName(s.Lineage)}
		if t.Screen.Width >= wide {
			r.cells = append(r.cells, r.names(), r.issuer(), orEmpty(s.Contact))
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(a.gravity(), b.gravity()), cmp.Compare(a.left(t.Now), b.left(t.Now)))
	})
	return rows
}

// gravity returns a number that is smaller for graver states.
func (r row) gravity() int {
	return slices.Index(condition.Conditions(), condition.Condition(r.now.State))
}

// left returns what is left of the lifetime of the leaf that counts, or of its chain.
func (r row) left(now time.Time) time.Duration {
	ends, _ := condition.Ends(r.now)
	if ends.IsZero() {
		return 0
	}
	return ends.Sub(now)
}

func headings() []string { return []string{"TARGET", "LINEAGE", "NAMES", "ISSUER", "CONTACT"} }

// The widths of what is in every line before and between the cells.
const (
	stateWidth = len("!! expiring")
	barWidth   = barLength + len("[]")
	leftWidth  = len("-100 d")
)

// fit returns the widths of the cells: as they are, but the widest cut down until
// all fit.
func (t table) fit(rows []row) []int {
	widths := make([]int, len(rows[0].cells))
	for i := range widths {
		widths[i] = len(headings()[i])
		for _, r := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(r.cells[i]))
		}
	}
	room := t.Screen.Width - stateWidth - barWidth - leftWidth - between*(len(widths)+2)
	for {
		total, widest := 0, 0
		for i, w := range widths {
			total += w
			if w > widths[widest] {
				widest = i
			}
		}
		if total <= room || widths[widest] <= len("LINEAGE") {
			return widths
		}
		widths[widest]--
	}
}

func (t table) head(text *strings.Builder, widths []int) {
	cells := headings()
	t.write(text, fmt.Sprintf("%-*s", stateWidth, "   STATE"), cells[:len(widths)], fmt.Sprintf("%-*s", barWidth, "USED"), fmt.Sprintf("%*s", leftWidth, "LEFT"), widths, grey)
	if t.Screen.Width < wide {
		fmt.Fprintf(text, "%s%s\n", strings.Repeat(" ", stateWidth+between), t.Screen.paint(grey, "names, issuer, contact"))
	}
}

func (t table) line(text *strings.Builder, r row, widths []int) {
	c := colourOf(r.level)
	bar, left := strings.Repeat(" ", barWidth), strings.Repeat(" ", leftWidth-1)+"-"
	if leaf := condition.Presented(r.now); leaf != nil {
		bar, left = barOf(*leaf, t.Now), fmt.Sprintf("%*s", leftWidth, leftOf(r.left(t.Now)))
	}
	state := t.Screen.paint(c, fmt.Sprintf("%-*s", stateWidth, fmt.Sprintf("%-2s %s", r.mark(), stateCell(r.now.State))))
	t.write(text, state, r.cells, t.Screen.paint(c, bar), t.Screen.paint(c, left), widths, 0)
	if t.Screen.Width < wide {
		var parts []string
		for _, part := range []string{r.names(), r.issuer(), orEmpty(r.seen.Contact)} {
			if part != "" {
				parts = append(parts, Printable(part))
			}
		}
		indent := stateWidth + between
		fmt.Fprintf(text, "%s%s\n", strings.Repeat(" ", indent), t.Screen.paint(grey, cut(strings.Join(parts, ", "), t.Screen.Width-indent)))
	}
}

// write writes a line of its parts: those of a fixed width may have colours in
// them already. The first two cells come before the bar.
func (t table) write(text *strings.Builder, state string, cells []string, bar, left string, widths []int, c colour) {
	var drawn []string
	for i, cell := range cells {
		cell = cut(Printable(cell), widths[i])
		drawn = append(drawn, t.Screen.paint(c, cell)+strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
	}
	parts := slices.Concat([]string{t.Screen.paint(c, state)}, drawn[:2], []string{t.Screen.paint(c, bar), t.Screen.paint(c, left)}, drawn[2:])
	text.WriteString(strings.TrimRight(strings.Join(parts, strings.Repeat(" ", between)), " ") + "\n")
}

// details adds lines on what is not as it should be about a certificate.
func (t table) details(text *strings.Builder, r row) {
	s := r.seen
	say := func(format string, args ...any) {
		for _, line := range wrap(Printable(fmt.Sprintf(format, args...)), t.Screen.Width-inset) {
			fmt.Fprintf(text, "%s%s\n", strings.Repeat(" ", inset), line)
		}
	}
	if s.Differs != nil {
		say("issued %s  installed %s  served %s  since %s", short(s.Issued), short(s.Installed), servedLeaves(s), at(*s.Differs))
	}
	if condition.Condition(s.State) == condition.Changed {
		say("%s", changed(s))
		say("%s", remedyOfChange(s))
	}
	if says := notOurs(s); says != "" {
		say("%s", says)
	}
	for _, p := range s.Served {
		switch {
		case p.Error != nil && p.Probe != nil:
			say("%s", unseen(p.Probe, *p.Error))
		case p.Error != nil:
			say("%s: certlatch doctor --target %s tells more", *p.Error, s.Target)
		case s.Differs != nil && len(s.Served) > 1 && p.Leaf != nil && p.Leaf.Fingerprint != s.Wanted().Fingerprint:
			say("%s serves %s until %s", *p.Probe, p.Leaf.Short(), at(p.Leaf.NotAfter))
		}
	}
	if s.Outage != nil {
		say("no handshake since %s: %s", at(s.Outage.Since), s.Outage.Remedy)
	}
	if left := s.ReloadsLeft; left != nil && *left <= fewReloads {
		say("%s left until it has to be restarted: certlatch doctor --target %s tells more", Count(*left, "reload", "reloads"), s.Target)
	}
	if s.Endangers != nil {
		say("the next reload could not load %s: certlatch doctor --target %s tells more", *s.Endangers, s.Target)
	}
	switch c := condition.Condition(s.State); {
	case s.Since == nil:
	case c == condition.HeldBack:
		say("held since %s (%s): certlatch release %s ends that", at(*s.Since), orDash(s.Hold), s.Target)
	case c == condition.Changed && s.Pending != nil:
		say("%s, %s%s", s.Pending.Reason, Count(s.Pending.Attempts, "attempt", "attempts"), t.nextOf(s.Pending.Next)+onceOf(s))
	case s.Pending != nil:
		say("%s since %s, %s%s", s.Pending.Reason, at(*s.Since), Count(s.Pending.Attempts, "attempt", "attempts"), t.nextOf(s.Pending.Next)+onceOf(s))
	case c == condition.Unknown:
		say("unknown since %s", at(*s.Since))
	}
	of := ""
	if _, byChain := condition.Ends(r.now); byChain {
		of = "its chain "
	}
	switch condition.Condition(r.now.State) {
	case condition.Expired:
		say(of+"expired on %s", at(*r.now.Since))
	case condition.Expiring:
		say(of+"expires on %s", at(t.Now.Add(r.left(t.Now))))
	}
}

func (t table) nextOf(next *time.Time) string {
	switch {
	case next == nil:
		return ""
	case next.Before(t.Now):
		return ", next is due"
	}
	return ", next in " + roughly(next.Sub(t.Now))
}

// summary returns a line with the number of certificates in each state, how many are
// not shown, and the age of the inventory.
func (t table) summary(rows []row, hidden int) string {
	var parts []string
	for _, c := range condition.Conditions() {
		n := 0
		for _, r := range rows {
			if r.now.State == string(c) {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
		}
	}
	text := Count(len(rows), "certificate", "certificates")
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	lines := wrap(text, t.Screen.Width)
	if hidden > 0 {
		lines = append(lines, fmt.Sprintf("not shown are %d that are well: certlatch status -v shows them", hidden))
	}
	for _, line := range t.Inventory.unclaimed() {
		lines = append(lines, wrap(line, t.Screen.Width)...)
	}
	if t.Inventory.Snapshot != "" {
		lines = append(lines, fmt.Sprintf("as seen %s ago (%s)", roughly(t.Inventory.age(t.Now)), t.Inventory.Snapshot))
	}
	return strings.Join(lines, "\n") + "\n"
}

// barOf returns a bar of how much of a lifetime is used.
func barOf(leaf lineage.Leaf, now time.Time) string {
	lifetime, used := leaf.NotAfter.Sub(leaf.NotBefore), now.Sub(leaf.NotBefore)
	n := 0
	if lifetime > 0 {
		n = min(max(int(float64(barLength)*float64(used)/float64(lifetime)), 0), barLength)
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat("-", barLength-n) + "]"
}

func leftOf(left time.Duration) string {
	if left < 0 {
		return "-" + roughly(-left)
	}
	return roughly(left)
}

// stateCell returns a state as the table has room for it.
func stateCell(state string) string {
	if state == string(condition.Changed) {
		return "changed"
	}
	return state
}

// isWell reports whether there is nothing to be said about a certificate.
func (r row) isWell() bool { return r.mark() == "" }

func (r row) mark() string {
	switch {
	case r.level == SeverityCritical:
		return "!!"
	case r.level == SeverityUnknown:
		return "?"
	case r.level == SeverityWarning || condition.Condition(r.now.State) != condition.InSync:
		return "!"
	}
	return ""
}

func colourOf(s Severity) colour {
	return map[Severity]colour{SeverityOK: green, SeverityUnknown: magenta, SeverityWarning: yellow, SeverityCritical: red}[s]
}

// wanted returns the leaf that is to be served; nil: it is not known.
func (r row) wanted() *lineage.Leaf { return cmp.Or(r.now.Issued, condition.Presented(r.now)) }

// names returns the names of the leaf, as many as are read at a glance.
func (r row) names() string {
	leaf := r.wanted()
	switch {
	case leaf == nil || len(leaf.Names) == 0:
		return "no names"
	case len(leaf.Names) > 1:
		return fmt.Sprintf("%s +%d", leaf.Names[0], len(leaf.Names)-1)
	}
	return leaf.Names[0]
}

// issuer returns the common name of the issuer, or else all of it.
func (r row) issuer() string {
	leaf := r.wanted()
	if leaf == nil {
		return ""
	}
	for part := range strings.SplitSeq(leaf.Issuer, ",") {
		if name, ok := strings.CutPrefix(part, "CN="); ok {
			return name
		}
	}
	return leaf.Issuer
}

func short(leaf *lineage.Leaf) string {
	if leaf == nil {
		return "nothing"
	}
	return leaf.Short()
}

// servedLeaves returns the leaves that are served, for people.
func servedLeaves(s state.Sighting) string {
	var found []string
	for _, p := range s.Served {
		if p.Leaf != nil && !slices.Contains(found, p.Leaf.Short()) {
			found = append(found, p.Leaf.Short())
		}
	}
	if found == nil {
		return "nothing seen"
	}
	return strings.Join(found, " ")
}

func at(t time.Time) string { return t.UTC().Format("2006-01-02T15:04Z") }
