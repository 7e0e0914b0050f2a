package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/certlatch/certlatch/deployers/all"
	"github.com/certlatch/certlatch/deployers/generic"
	"github.com/certlatch/certlatch/hooks"
	"github.com/certlatch/certlatch/internal/condition"
	"github.com/certlatch/certlatch/internal/config"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/policy"
	"github.com/certlatch/certlatch/internal/report"
)

// page is a page of the manual, in Markdown for go-md2man.
type page struct {
	text string

	// terms are those of definition lists, by the headings above them: each
	// word in bold letters there.
	terms map[string][]string
}

var (
	heading = regexp.MustCompile(`^#+ (.*)$`)
	term    = regexp.MustCompile(`^\*\*.*\*\*`)
	bold    = regexp.MustCompile(`\*\*(.+?)\*\*`)
)

func readPage(t *testing.T, name string) page {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../packaging/man", name+".md"))
	if err != nil {
		t.Fatal(err)
	}
	p := page{string(data), map[string][]string{}}
	lines := strings.Split(p.text, "\n")
	if title, _, _ := strings.Cut(lines[0], ` "`); title != "% "+strings.TrimSuffix(name, filepath.Ext(name))+" "+filepath.Ext(name)[1:] {
		t.Errorf("%s has the title %q", name, title)
	}
	under := ""
	for i, line := range lines {
		switch next := lines[min(i+1, len(lines)-1)]; {
		case heading.MatchString(line):
			under = heading.FindStringSubmatch(line)[1]
			p.terms[under] = nil
		case term.MatchString(line) && strings.HasPrefix(next, ": "):
			for _, word := range bold.FindAllStringSubmatch(line, -1) {
				p.terms[under] = append(p.terms[under], word[1])
			}
		}
	}
	return p
}

// under returns the terms of the definition lists below the headings.
func (p page) under(t *testing.T, headings ...string) []string {
	t.Helper()
	var all []string
	for _, h := range headings {
		terms, ok := p.terms[h]
		if !ok {
			t.Errorf("there is no heading %q", h)
		}
		all = append(all, terms...)
	}
	return all
}

// same wants the manual to list what there is, once each and nothing else.
func same(t *testing.T, what string, there, listed []string) {
	t.Helper()
	if diff := cmp.Diff(slices.Sorted(slices.Values(there)), slices.Sorted(slices.Values(listed))); diff != "" {
		t.Errorf("%s (-there +in the manual):\n%s", what, diff)
	}
}

func TestManualOfCommands(t *testing.T) {
	manual := readPage(t, "certlatch.8")
	app := (&program{}).app()
	same(t, "flags before the command", append(flagsOf(app.Flags), "--help", "-h"), manual.under(t, "OPTIONS"))

	var there, listed []string
	var walk func(path string, commands []*cli.Command)
	walk = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			name := path + " " + c.Name
			walk(name, c.Subcommands)
			if c.Subcommands != nil && c.ArgsUsage == "" {
				continue // it has subcommands, and does nothing by itself
			}
			title := strings.TrimSpace(name + " " + c.ArgsUsage)
			there = append(there, title)
			same(t, "flags of "+name, flagsOf(c.Flags), manual.terms[title])
		}
	}
	walk("certlatch", app.Commands)
	for h := range manual.terms {
		if strings.HasPrefix(h, "certlatch ") {
			listed = append(listed, h)
		}
	}
	same(t, "commands", there, listed)

	var codes []string
	for _, code := range report.Gravity() {
		codes = append(codes, strconv.Itoa(code))
	}
	same(t, "exit codes", codes, manual.under(t, "EXIT STATUS"))
}

// TestManualOfCodes wants the manual to list the codes of the sources that
// scripts may rely on.
func TestManualOfCodes(t *testing.T) {
	manual := readPage(t, "certlatch.8")
	outcomes, deployers := parse(t, "../../internal/outcome"), parseDeployers(t)

	same(t, "findings", policy.Codes(), manual.under(t, "Refused, and cannot be accepted", "Refused", "Warned"))
	same(t, "results", slices.Sorted(maps.Keys(typed(outcomes, "Result"))), manual.under(t, "RESULTS"))
	var states []string
	for _, c := range condition.Conditions() {
		states = append(states, string(c))
	}
	same(t, "states", states, manual.under(t, "STATES"))
	same(t, "steps", slices.Sorted(maps.Keys(typed(outcomes, "Step"))), manual.under(t, "DESCRIPTION"))

	reasons := typed(deployers, "Wait")
	maps.Copy(reasons, reasonsIn(deployers))
	for _, known := range []string{"service-inactive", "domain-dropped", "tls-config-missing"} {
		if !reasons[known] {
			t.Errorf("the reason %s was not found in the sources: look at reasonsIn", known)
		}
	}
	for _, row := range outcome.Reasons() {
		reasons[string(row.Reason)] = true
	}
	same(t, "reasons", slices.Sorted(maps.Keys(reasons)), manual.under(t, "Waiting", "Served", "Held", "Configuration and host (exit code 2)",
		"Installing (exit code 4)", "Activating (exit code 5)", "Proving (exit code 6)", "Unexpected (exit code 1)"))

	var kinds []string
	for kind, id := range report.MessageIDs() {
		kinds = append(kinds, kind, id)
	}
	same(t, "kinds of journal entries", kinds, manual.under(t, "Kinds"))
	for _, result := range slices.Sorted(maps.Keys(typed(outcomes, "Result"))) {
		if _, ok := report.MessageIDs()["certificate-"+result]; !ok && result != "unchanged" && result != "planned" {
			t.Errorf("journal entries of the result %s have no id", result)
		}
	}
	for event := range typed(parse(t, "../../internal/daemon"), "Event") {
		if id := report.MessageIDs()[event]; !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
			t.Errorf("journal entries of the kind %s have no id: %q", event, id)
		}
	}

	schema := regexp.MustCompile(`^certlatch\.\w+/\d+$`)
	schemas := map[string]bool{}
	for _, f := range parse(t, "../../internal/report") {
		for text := range texts(f) {
			if schema.MatchString(text) {
				schemas[text] = true
			}
		}
	}
	same(t, "JSON schemas", slices.Sorted(maps.Keys(schemas)), manual.under(t, "JSON"))
	for _, word := range slices.Concat(slices.Collect(maps.Keys(typed(deployers, "Aspect"))), slices.Collect(maps.Keys(typed(deployers, "Level")))) {
		if !strings.Contains(manual.text, "*"+word+"*") {
			t.Errorf("the JSON of doctor has %q, and the manual does not", word)
		}
	}
	for _, named := range regexp.MustCompile(`\[\*([\w-]+)\*\]`).FindAllStringSubmatch(readPage(t, "certlatch-services.7").text, -1) {
		if !reasons[named[1]] {
			t.Errorf("the page of the services names the reason %s, which there is not", named[1])
		}
	}

	variable := regexp.MustCompile(`^[A-Z]+(_[A-Z]+)+$`)
	for _, f := range parse(t, "../../hooks") {
		for text := range texts(f) {
			if variable.MatchString(text) && !slices.Contains(manual.under(t, "ENVIRONMENT"), text) {
				t.Errorf("the manual does not name the variable %s", text)
			}
		}
	}
	for _, client := range hooks.Names() {
		if _, ok := manual.terms[client]; !ok {
			t.Errorf("the manual has no heading for the client %s", client)
		}
	}
}

// TestManualOfConsequences wants the manual to say of each client what it does where
// its hook fails, and what the hook ends with.
func TestManualOfConsequences(t *testing.T) {
	text := strings.Join(strings.Fields(readPage(t, "certlatch.8").text), " ")
	for _, row := range hooks.Consequences() {
		ends := map[hooks.Telling]string{
			hooks.TellAll: "its exit code", hooks.TellFailures: "its exit code, but 0 where it waits (9)", hooks.TellNothing: "0",
		}[row.Telling]
		inTable := regexp.MustCompile(`\| ` + regexp.QuoteMeta(row.Client) + `( \d)? \| [a-z ]+ \| ` + regexp.QuoteMeta(ends) + ` \|`)
		does := strings.ToUpper(row.Does[:1]) + row.Does[1:] + "."
		if !inTable.MatchString(text) || !strings.Contains(text, ": "+does) {
			t.Errorf("the manual does not say of %s that it ends with %s, and: %s", row.Client, ends, does)
		}
	}
}

func TestManualOfConfiguration(t *testing.T) {
	manual := readPage(t, "certlatch.yaml.5")
	var services []string
	for _, d := range all.Deployers() {
		services = append(services, d.Name())
		same(t, "keys of the block "+d.Name(), keysAt(t, "targets: [{"+d.Name()+": x}]"), manual.under(t, d.Name()))
	}
	var keepers []string
	for _, keeper := range hooks.Keepers() {
		keepers = append(keepers, keeper.Name)
	}
	var schemes []string
	for _, s := range endpoint.Schemes() {
		schemes = append(schemes, s.Name)
	}
	same(t, "keys at the top level", keysAt(t, "x"), manual.under(t, "TOP LEVEL"))
	same(t, "kinds of lineages", keepers, manual.under(t, "LINEAGES"))
	same(t, "keys of the policy", keysAt(t, "policy: x"), manual.under(t, "POLICY"))
	same(t, "keys of a target", keysAt(t, "targets: [x]"), manual.under(t, "TARGETS"))
	same(t, "schemes of probes", schemes, manual.under(t, "PROBES"))

	chapters := readPage(t, "certlatch-services.7")
	for _, service := range services {
		chapters.under(t, strings.ToUpper(service))
	}
	_, names, _ := strings.Cut(new(generic.PresetName).UnmarshalText([]byte("none")).Error(), "use one of ")
	names, _, _ = strings.Cut(names, ", or ")
	for preset := range strings.SplitSeq(names, ", ") {
		chapters.under(t, preset)
		if !strings.Contains(manual.text, "*"+preset+"*") {
			t.Errorf("the page of the configuration does not name the preset %s", preset)
		}
	}
}

// keysAt returns the keys that the configuration may have where a text stands in
// place of a block, as the complaint about it lists them.
func keysAt(t *testing.T, wrong string) []string {
	t.Helper()
	_, err := config.Parse("config.yaml", []byte(wrong))
	_, list, ok := strings.Cut(fmt.Sprint(err), "the keys that this version of certlatch knows here are ")
	if !ok {
		t.Fatalf("%q does not say which keys there are: %v", wrong, err)
	}
	list, _, _ = strings.Cut(list, "\n")
	return strings.Split(list, ", ")
}

// fence matches a configuration in a page.
func fence() *regexp.Regexp { return regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$") }

// TestManualOfScripts wants the page for those who come from a deploy script to have
// the scripts that are met most, each with the configuration that takes its place, in
// which certlatch config check finds no fault.
func TestManualOfScripts(t *testing.T) {
	_, scripts, _ := strings.Cut(readPage(t, "certlatch-scripts.7").text, "\n# SCRIPTS\n")
	scripts, _, _ = strings.Cut(scripts, "\n# SEE ALSO\n")
	sections := strings.Split(scripts, "\n## ")[1:]
	for _, met := range []string{
		"systemctl reload nginx", "systemctl reload haproxy", "chown prosody", "kamcmd tls.reload", "docker restart", "reload postfix dovecot",
		"systemctl restart opensips", "--install-cert", "rsync", "ejabberdctl", "restart coturn",
	} {
		if !slices.ContainsFunc(sections, func(s string) bool {
			before, _, _ := strings.Cut(s, "```yaml")
			return strings.Contains(before, "\n    ") && strings.Contains(before, met)
		}) {
			t.Errorf("no script has %q", met)
		}
	}
	for _, section := range sections {
		title, _, _ := strings.Cut(section, "\n")
		t.Run(title, func(t *testing.T) {
			examples := fence().FindAllStringSubmatch(section, -1)
			if len(examples) != 1 {
				t.Fatalf("there are %d configurations in place of one", len(examples))
			}
			text, path := examples[0][1], filepath.Join(t.TempDir(), "config.yaml")
			if !strings.Contains(text, "lineages:") {
				text = "lineages: [{certbot: /etc/letsencrypt/live}]\n" + text // as on the host that has the script
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), []string{"certlatch", "--config", path, "config", "check"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
				t.Errorf("exit %d: %s%s", code, stdout.String(), stderr.String())
			}
		})
	}
}

// TestManualExamples runs what can be run of the examples: configurations are
// read, and command lines must have the commands and flags that there are.
func TestManualExamples(t *testing.T) {
	inline := regexp.MustCompile("(?s)`(certlatch .*?)`")
	line := regexp.MustCompile(`(?m)^    (?:.*[&"/ ])?(certlatch .*)$`)
	for _, name := range []string{"certlatch.8", "certlatch.yaml.5", "certlatch-services.7", "certlatch-scripts.7"} {
		text := readPage(t, name).text
		for _, example := range fence().FindAllStringSubmatch(text, -1) {
			if _, err := config.Parse(name, []byte(example[1])); err != nil {
				t.Errorf("%s: %v\n%s", name, err, example[1])
			}
		}
		var lines []string
		for _, found := range slices.Concat(inline.FindAllStringSubmatch(text, -1), line.FindAllStringSubmatch(text, -1)) {
			lines = append(lines, strings.Join(strings.Fields(found[1]), " "))
		}
		for _, l := range lines {
			if err := checkCommandLine(l); err != nil {
				t.Errorf("%s: %s: %v", name, l, err)
			}
		}
		if len(lines) == 0 {
			t.Errorf("%s has no command lines: look at the expressions here", name)
		}
	}
}

// checkCommandLine returns an error where an example, certlatch COMMAND ..., has a
// command or flag that there is not.
func checkCommandLine(text string) error {
	app := (&program{}).app()
	commands, flags := app.Commands, app.Flags
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(` "()`, r) })
	known := false
	for _, word := range words[1:] {
		name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch next := findCommand(commands, word); {
		case strings.ContainsAny(word, `&|>\`):
			return nil // another program's, from here on
		case strings.HasPrefix(word, "-") && name != "help" && !slices.Contains(flagsOf(flags), dashed(name)):
			return fmt.Errorf("there is no flag %s", word)
		case strings.HasPrefix(word, "-"):
		case next != nil:
			commands, flags, known = next.Subcommands, next.Flags, true
		case !known:
			return fmt.Errorf("there is no command %s", word)
		}
	}
	return nil
}

// parseDeployers reads the sources of the words and of all services.
func parseDeployers(t *testing.T) []*ast.File {
	t.Helper()
	files := parse(t, "../../deployers")
	for _, service := range all.Names() {
		files = append(files, parse(t, filepath.Join("../../deployers", service))...)
	}
	return files
}

// parse reads the sources of a package, but for its tests.
func parse(t *testing.T, dir string) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// texts returns the string literals below a node.
func texts(n ast.Node) map[string]bool {
	found := map[string]bool{}
	ast.Inspect(n, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				found[text] = true
			}
		}
		return true
	})
	return found
}

// typed returns the constants of a type.
func typed(files []*ast.File, name string) map[string]bool {
	found := map[string]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				if is, ok := spec.Type.(*ast.Ident); ok && is.Name == name {
					maps.Copy(found, texts(spec))
				}
			}
			return true
		})
	}
	return found
}

// reasonsIn returns the reasons of outcomes that deployers' sources hold: in what
// is given to a field Reason, and in faults.
func reasonsIn(files []*ast.File) map[string]bool {
	found := map[string]bool{}
	add := func(n ast.Node) {
		if literal, ok := n.(*ast.BasicLit); ok {
			maps.Copy(found, texts(literal))
		}
	}
	look := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, to := range n.Lhs {
				if field, ok := to.(*ast.SelectorExpr); ok && field.Sel.Name == "Reason" && i < len(n.Rhs) {
					add(n.Rhs[i])
				}
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Reason" {
				add(n.Value)
			}
		case *ast.CompositeLit:
			list, _ := n.Type.(*ast.ArrayType)
			if list == nil {
				break
			}
			if of, ok := list.Elt.(*ast.Ident); ok && of.Name == "Fault" {
				for _, fault := range n.Elts {
					if fault, ok := fault.(*ast.CompositeLit); ok && len(fault.Elts) == 3 {
						add(fault.Elts[1])
					}
				}
			}
		}
		return true
	}
	for _, f := range files {
		ast.Inspect(f, look)
	}
	return found
}
